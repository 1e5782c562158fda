package oslib

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Fstat is fstat(2).
func Fstat(fd int, st *unix.Stat_t) syscall.Errno {
	_, errno := fdPtrCall(unix.SYS_FSTAT, fd, unsafe.Pointer(st), 0, 0, 0, 0)
	return errno
}

// Fstatat is fstatat(2). With [Empty] and AT_EMPTY_PATH it is fstat that also
// takes O_PATH descriptors of old kernels.
func Fstatat(dirfd int, path []byte, st *unix.Stat_t, flags int) syscall.Errno {
	_, errno := atPtrCall(unix.SYS_NEWFSTATAT, dirfd, path, unsafe.Pointer(st), uintptr(flags))
	return errno
}

// Statx is statx(2).
func Statx(dirfd int, path []byte, flags int, mask uint32, stx *unix.Statx_t) syscall.Errno {
	if !isPath(path) {
		return syscall.EINVAL
	}
	for {
		_, _, errno := syscall.Syscall6(unix.SYS_STATX, uintptr(dirfd), uintptr(unsafe.Pointer(&path[0])),
			uintptr(flags), uintptr(mask), uintptr(unsafe.Pointer(stx)), 0)
		if errno != syscall.EINTR {
			return errno
		}
	}
}

// Fstatfs is fstatfs(2).
func Fstatfs(fd int, st *unix.Statfs_t) syscall.Errno {
	_, errno := fdPtrCall(unix.SYS_FSTATFS, fd, unsafe.Pointer(st), 0, 0, 0, 0)
	return errno
}

// Mkdirat is mkdirat(2).
func Mkdirat(dirfd int, path []byte, mode uint32) syscall.Errno {
	_, errno := atCall(unix.SYS_MKDIRAT, dirfd, path, uintptr(mode), 0, 0)
	return errno
}

// Mknodat is mknodat(2). dev is in the kernel's 32-bit form: the low 8 bits of
// the minor number, 12 bits of major, the high 12 bits of the minor.
func Mknodat(dirfd int, path []byte, mode, dev uint32) syscall.Errno {
	_, errno := atCall(unix.SYS_MKNODAT, dirfd, path, uintptr(mode), uintptr(dev), 0)
	return errno
}

// Unlinkat is unlinkat(2); AT_REMOVEDIR makes it rmdir.
func Unlinkat(dirfd int, path []byte, flags int) syscall.Errno {
	_, errno := atCall(unix.SYS_UNLINKAT, dirfd, path, uintptr(flags), 0, 0)
	return errno
}

// Symlinkat is symlinkat(2): a link to target, called name, in dirfd.
func Symlinkat(target []byte, dirfd int, name []byte) syscall.Errno {
	if !isPath(target) || !isPath(name) {
		return syscall.EINVAL
	}
	for {
		_, _, errno := syscall.Syscall(unix.SYS_SYMLINKAT, uintptr(unsafe.Pointer(&target[0])),
			uintptr(dirfd), uintptr(unsafe.Pointer(&name[0])))
		if errno != syscall.EINTR {
			return errno
		}
	}
}

// Linkat is linkat(2).
func Linkat(olddirfd int, oldpath []byte, newdirfd int, newpath []byte, flags int) syscall.Errno {
	return at2Call(unix.SYS_LINKAT, olddirfd, oldpath, newdirfd, newpath, uintptr(flags))
}

// Renameat2 is renameat2(2); flags are RENAME_*.
func Renameat2(olddirfd int, oldpath []byte, newdirfd int, newpath []byte, flags uint) syscall.Errno {
	return at2Call(unix.SYS_RENAMEAT2, olddirfd, oldpath, newdirfd, newpath, uintptr(flags))
}

// Readlinkat is readlinkat(2). The target has no NUL and is cut to len(buf).
func Readlinkat(dirfd int, path, buf []byte) (int, syscall.Errno) {
	r, errno := atPtrCall(unix.SYS_READLINKAT, dirfd, path, unsafe.Pointer(unsafe.SliceData(buf)), uintptr(len(buf)))
	return count(r, errno)
}

// Fchmod is fchmod(2).
func Fchmod(fd int, mode uint32) syscall.Errno {
	_, errno := fdCall(unix.SYS_FCHMOD, fd, uintptr(mode), 0, 0)
	return errno
}

// Fchmodat is fchmodat(2) as the kernel has it: a symbolic link is followed.
func Fchmodat(dirfd int, path []byte, mode uint32) syscall.Errno {
	_, errno := atCall(unix.SYS_FCHMODAT, dirfd, path, uintptr(mode), 0, 0)
	return errno
}

// Fchownat is fchownat(2). An id of ^0 stays as it is.
func Fchownat(dirfd int, path []byte, uid, gid uint32, flags int) syscall.Errno {
	_, errno := atCall(unix.SYS_FCHOWNAT, dirfd, path, uintptr(uid), uintptr(gid), uintptr(flags))
	return errno
}

// Utimensat is utimensat(2): access time, then modification time; UTIME_NOW
// and UTIME_OMIT stand in Nsec. A nil times means now for both.
func Utimensat(dirfd int, path []byte, times *[2]unix.Timespec, flags int) syscall.Errno {
	_, errno := atPtrCall(unix.SYS_UTIMENSAT, dirfd, path, unsafe.Pointer(times), uintptr(flags))
	return errno
}

// Futimens is futimens(3), which needs a descriptor that is not O_PATH.
func Futimens(fd int, times *[2]unix.Timespec) syscall.Errno {
	_, errno := fdArgPtrCall(unix.SYS_UTIMENSAT, fd, 0, unsafe.Pointer(times), 0)
	return errno
}
