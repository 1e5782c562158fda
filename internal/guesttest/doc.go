// Package guesttest holds tests of a file system as a process sees it: plain
// Go tests made of system calls, which know nothing of isthmus. What they say
// is true of a directory on the host's own file system, and must be just as
// true of the same directory mounted in a guest over virtio-fs.
//
// # Running them
//
// The tests work in the directory named by ISTHMUS_TEST_DIR, each in a
// sub-directory of its own that it removes again; without that variable they
// work in the test's temporary directory, which is how they are themselves
// tested on the host. For a guest they are built into one static binary,
//
//	CGO_ENABLED=0 go test -c -o guesttest.test ./internal/guesttest
//
// which needs nothing of the guest but /proc and a writable /tmp: no shell, no
// commands, no network. It runs itself again where a second process is wanted.
// It must run as root, because half of the tests give up rights to see what is
// then refused. With -short the long tests do a tenth of their work; -v shows
// how long each test takes.
//
// # What is expected
//
// Nothing is skipped. Where an answer rightly differs from mount to mount,
// ISTHMUS_TEST_FEATURES, a list of words separated by commas, says which answer
// is the right one, and the other is a failure:
//
//	locks      the daemon holds the locks, so that they count between guests:
//	           there is no deadlock detection, the process id of a lock's
//	           holder may be unknown, and no signal ends a wait, as Linux's
//	           virtio-fs driver never sends FUSE_INTERRUPT
//	noxattr    every extended attribute call answers EOPNOTSUPP
//	notrusted  attributes in trusted. and security. answer EPERM: the daemon
//	           runs without CAP_SYS_ADMIN
//	nommap     shared mappings answer ENODEV: files are in direct mode, and the
//	           daemon does not allow them to be mapped or the guest is older
//	           than Linux 6.6
//	dax        regular files are mapped through the DAX window, and say so in
//	           STATX_ATTR_DAX
//	nobtime    statx has no birth time: the guest's FUSE is older than Linux 6.6
//	notmpfile  O_TMPFILE answers EOPNOTSUPP: the guest's FUSE is older than
//	           Linux 6.1
//	noflags    FS_IOC_GETFLAGS and its kin answer ENOTTY
//	noatime    reads leave the access time alone
//	stripnoatime
//	           O_NOATIME is without effect: the daemon leaves it out
//	zerorange  fallocate takes FALLOC_FL_ZERO_RANGE; otherwise EOPNOTSUPP
//	collapse   fallocate takes FALLOC_FL_COLLAPSE_RANGE and
//	           FALLOC_FL_INSERT_RANGE; otherwise EOPNOTSUPP
//	acl        there are POSIX access control lists; otherwise EOPNOTSUPP
//	aligned    O_DIRECT takes only what begins and ends with a block of the
//	           disk; otherwise anything
//	readonly   nothing can be changed. This is for the tests of that name
//	           alone, in a directory that has been prepared (see below)
//	submounts  other file systems have been mounted on one/ and two/, each with
//	           a file f that holds its name, and have devices of their own
//	flatmounts the same, but all of it looks like one file system
//
// All tests hold on ext4 and, from Linux 6.6 on, on tmpfs, which before had no
// user attributes, no direct I/O and no lasting directory positions.
//
// An unknown word stops the run. When the variable is not set at all, the
// expectations are those of a plain mount of the file system's kind: all have
// acl, ext4 also zerorange, collapse and aligned. A test that
// has nothing to examine under the given words says so in its log, with the
// word APPLIES in capitals. Two things are not examined in guests at all, as FUSE
// has no means for them: what a write does to S_ISGID where the group may not
// execute the file, which depends on who is a member, and that root's fallocate
// and copy_file_range leave S_ISUID and S_ISGID alone, as newer guests do not tell
// whose they are.
//
// # Helpers
//
// With ISTHMUS_TEST_HELPER=prepare the binary makes the directory that the
// word readonly asks for, and with =calls it makes the calls that its input
// lists, one a line, and prints what came of each (see helpCalls). So the answers
// of a guest and of the host to the same calls can be compared.
package guesttest
