package oslib

import (
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Attribute names end in a NUL, as paths do. With an empty buf the calls that
// read return the length that they would need; ERANGE says that buf is too small.

func ptr(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }

// Getxattr is getxattr(2). The last link of path is followed.
func Getxattr(path, name, buf []byte) (int, syscall.Errno) {
	if !isPath(path) || !isPath(name) {
		return 0, syscall.EINVAL
	}
	return xattrCall(unix.SYS_GETXATTR, ptr(path), ptr(name), ptr(buf), len(buf), 0)
}

// Setxattr is setxattr(2); flags are XATTR_CREATE and XATTR_REPLACE.
func Setxattr(path, name, value []byte, flags int) syscall.Errno {
	if !isPath(path) || !isPath(name) {
		return syscall.EINVAL
	}
	_, errno := xattrCall(unix.SYS_SETXATTR, ptr(path), ptr(name), ptr(value), len(value), flags)
	return errno
}

// Listxattr is listxattr(2): the names, each with its NUL.
func Listxattr(path, buf []byte) (int, syscall.Errno) {
	if !isPath(path) {
		return 0, syscall.EINVAL
	}
	for {
		r, _, errno := syscall.Syscall(unix.SYS_LISTXATTR, uintptr(ptr(path)), uintptr(ptr(buf)), uintptr(len(buf)))
		if errno != syscall.EINTR {
			return count(r, errno)
		}
	}
}

// Removexattr is removexattr(2).
func Removexattr(path, name []byte) syscall.Errno {
	if !isPath(path) || !isPath(name) {
		return syscall.EINVAL
	}
	_, errno := xattrCall(unix.SYS_REMOVEXATTR, ptr(path), ptr(name), nil, 0, 0)
	return errno
}

func xattrCall(trap uintptr, path, name, value unsafe.Pointer, size, flags int) (int, syscall.Errno) {
	for {
		r, _, errno := syscall.Syscall6(trap, uintptr(path), uintptr(name), uintptr(value), uintptr(size), uintptr(flags), 0)
		if errno != syscall.EINTR {
			return count(r, errno)
		}
	}
}

// Fgetxattr is fgetxattr(2), which refuses O_PATH descriptors, as do the
// three that follow.
func Fgetxattr(fd int, name, buf []byte) (int, syscall.Errno) {
	r, errno := atPtrCall(unix.SYS_FGETXATTR, fd, name, ptr(buf), uintptr(len(buf)))
	return count(r, errno)
}

// Fsetxattr is fsetxattr(2).
func Fsetxattr(fd int, name, value []byte, flags int) syscall.Errno {
	if !isPath(name) {
		return syscall.EINVAL
	}
	for {
		_, _, errno := syscall.Syscall6(unix.SYS_FSETXATTR, uintptr(fd), uintptr(ptr(name)), uintptr(ptr(value)), uintptr(len(value)), uintptr(flags), 0)
		if errno != syscall.EINTR {
			return errno
		}
	}
}

// Flistxattr is flistxattr(2).
func Flistxattr(fd int, buf []byte) (int, syscall.Errno) {
	return count(fdPtrCall(unix.SYS_FLISTXATTR, fd, ptr(buf), uintptr(len(buf)), 0, 0, 0))
}

// Fremovexattr is fremovexattr(2).
func Fremovexattr(fd int, name []byte) syscall.Errno {
	_, errno := atCall(unix.SYS_FREMOVEXATTR, fd, name, 0, 0, 0)
	return errno
}

// HaveXattrat reports whether the kernel (6.13 and later) and its seccomp filter
// let us call getxattrat and its kin. It asks once.
func HaveXattrat() bool { return haveXattrat() }

var haveXattrat = sync.OnceValue(func() bool {
	_, _, errno := syscall.Syscall6(unix.SYS_GETXATTRAT, ^uintptr(0), 0, 0, 0, 0, 0)
	return errno == syscall.EINVAL // a size of 0 is all that it complains of
})

// xattrArgs is struct xattr_args.
type xattrArgs struct {
	value unsafe.Pointer
	size  uint32
	flags uint32
}

// Getxattrat is getxattrat(2); atFlags are AT_SYMLINK_NOFOLLOW and AT_EMPTY_PATH,
// the latter for descriptors that are not O_PATH.
func Getxattrat(dirfd int, path []byte, atFlags int, name, buf []byte) (int, syscall.Errno) {
	args := xattrArgs{value: ptr(buf), size: uint32(len(buf))}
	return xattratCall(unix.SYS_GETXATTRAT, dirfd, path, atFlags, name, &args)
}

// Setxattrat is setxattrat(2); flags are XATTR_CREATE and XATTR_REPLACE.
func Setxattrat(dirfd int, path []byte, atFlags int, name, value []byte, flags int) syscall.Errno {
	if uint64(len(value)) > 1<<32-1 {
		return syscall.E2BIG
	}
	args := xattrArgs{value: ptr(value), size: uint32(len(value)), flags: uint32(flags)}
	_, errno := xattratCall(unix.SYS_SETXATTRAT, dirfd, path, atFlags, name, &args)
	return errno
}

// Listxattrat is listxattrat(2).
func Listxattrat(dirfd int, path []byte, atFlags int, buf []byte) (int, syscall.Errno) {
	if !isPath(path) {
		return 0, syscall.EINVAL
	}
	for {
		r, _, errno := syscall.Syscall6(unix.SYS_LISTXATTRAT, uintptr(dirfd), uintptr(ptr(path)), uintptr(atFlags),
			uintptr(ptr(buf)), uintptr(len(buf)), 0)
		if errno != syscall.EINTR {
			return count(r, errno)
		}
	}
}

// Removexattrat is removexattrat(2).
func Removexattrat(dirfd int, path []byte, atFlags int, name []byte) syscall.Errno {
	_, errno := xattratCall(unix.SYS_REMOVEXATTRAT, dirfd, path, atFlags, name, nil)
	return errno
}

func xattratCall(trap uintptr, dirfd int, path []byte, atFlags int, name []byte, args *xattrArgs) (int, syscall.Errno) {
	if !isPath(path) || !isPath(name) {
		return 0, syscall.EINVAL
	}
	for {
		r, _, errno := syscall.Syscall6(trap, uintptr(dirfd), uintptr(ptr(path)), uintptr(atFlags),
			uintptr(ptr(name)), uintptr(unsafe.Pointer(args)), unsafe.Sizeof(xattrArgs{}))
		if errno != syscall.EINTR {
			return count(r, errno)
		}
	}
}
