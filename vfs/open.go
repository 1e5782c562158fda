package vfs

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// OpenErrno is what [FileSystem.Open] answers to an object of a type, the S_IFMT
// bits of mode: zero for a regular file, otherwise what open(2) with O_NOFOLLOW says
// where it says anything, and EBADF where it would open a pipe or a device. A
// directory is EISDIR, as Open is not for it.
func OpenErrno(mode uint32) syscall.Errno {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return 0
	case unix.S_IFDIR:
		return syscall.EISDIR
	case unix.S_IFLNK:
		return syscall.ELOOP
	case unix.S_IFSOCK:
		return syscall.ENXIO
	}
	return syscall.EBADF
}
