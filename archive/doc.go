// Package archive is a tar archive, plain or compressed, as a read-only
// vfs.FileSystem in memory.
//
// # Formats
//
// tar as v7, ustar, GNU and PAX write it: long names, sparse files (GNU's old
// format and its PAX formats 0.0, 0.1 and 1.0), extended attributes
// (SCHILY.xattr), times with nanoseconds. Around it may be gzip (RFC 1952) or
// zstd (RFC 8878), with any number of members or frames. What an archive is,
// its first bytes say, never its name.
//
// # What becomes of it
//
// An archive is read once, front to back, by [Open] or [Read], and then no
// longer needed. The data of its files are in one memfd, which is sealed against
// any change; holes and pages of zeros take no space in it. All else is in an
// index of flat arrays. A read is one preadv(2) from the memfd into the guest's
// memory, and all that an answer holds never changes; so guests may cache
// everything for a day.
//
// # Trust
//
// An archive may be hostile. Reading one takes no more memory than the limits of
// [Options] allow: for what is kept, for twice as much again of the index while it
// grows, and 200 MiB at most to work with, most of it for zstd's window where that
// is wide. It takes no more time than the length of the archive, unpacked,
// justifies. What is not plainly right is refused with an [Error], and nothing is
// served of an archive that has one fault. Names are relative paths without "."
// (but for the "./" that tar(1) puts in front) and "..", no path is there twice,
// nothing lies below a file or a symbolic link, and hard links go to files that
// came before.
// Links are shown to the guest as they are and never followed here.
//
// What an archive says of owners, setuid bits, file capabilities and device
// numbers is shown to the guest as well: as with any disk image, whoever mounts
// it decides whether to honour them.
//
// # Concurrency
//
// All methods of [FS] but Close may be called from any number of goroutines at
// once. After [Open] nothing changes but counts of references and the table of
// handles.
package archive
