// Package fsx tests what a directory does to the content of files: random
// sequences of system calls on a few files in it, next to a model that is a
// slice of bytes for each file. It knows nothing of isthmus. The directory may
// be on a file system of the host, which validates the tests, a mount of this
// host, or a share in a guest.
//
// # What is done
//
// Files are made, opened with all kinds of flags, read and written at random
// places (pread, pwrite, readv and writev of several pieces, appends, O_DIRECT),
// cut and extended, mapped (stores and loads, with msync and without), filled,
// punched, zeroed, collapsed and widened by fallocate, copied within and between
// each other by copy_file_range, searched for data and holes, synced, dropped
// from the cache, renamed, linked and removed while they are open. Half of the
// descriptors belong to a second process, and some steps have several
// descriptors at work at the same time, in different parts of a file.
//
// After each step the sizes of all files are compared, by name and by
// descriptor, and the content around what was touched. At the end everything is
// compared by all descriptors, mappings and names in both processes, once more
// after it has been synced and dropped from the cache, and, where
// [Config.Behind] names it, in the directory that is behind the one under
// test.
//
// A sequence that fails is made as short as it can be and printed with the seed
// that finds it again (-rapid.seed).
//
// # Running it
//
// [Check] is for tests; the program that has them calls [MaybeServe] first, for
// the sake of the second process. A process must not use a FUSE mount that it
// serves itself: the test then runs in another one. The tests of this package
// are a program for that, and for guests: they take the directory from
// ISTHMUS_FSX_DIR, the one behind it from ISTHMUS_FSX_BEHIND and what it lacks,
// words of [Lack] separated by commas, from ISTHMUS_FSX_LACKS. With
// ISTHMUS_FSX_FOUND they use what [Prepare] has made there. The flags
// -rapid.checks and -rapid.steps say how much is done.
package fsx
