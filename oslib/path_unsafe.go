package oslib

import (
	"syscall"
	"unsafe"
)

// Empty is the empty path, with its NUL: with AT_EMPTY_PATH a call acts on
// the descriptor itself. It is not to be written to.
var Empty = []byte{0}

// isPath reports whether p ends in a NUL, without which the kernel would read
// on behind it. What follows an earlier NUL is ignored.
func isPath(p []byte) bool {
	return len(p) > 0 && p[len(p)-1] == 0
}

// The functions below make one system call and make it again after EINTR. They
// take pointers as such, and turn them into numbers only in the argument list
// of the call, so that what they point to stays alive and in place and yet need
// not be on the heap.

// fdCall is for calls that take a descriptor and numbers.
func fdCall(trap uintptr, fd int, a, b, c uintptr) (uintptr, syscall.Errno) {
	for {
		r, _, errno := syscall.Syscall6(trap, uintptr(fd), a, b, c, 0, 0)
		if errno != syscall.EINTR {
			return r, errno
		}
	}
}

// fdPtrCall is for calls whose second argument is a pointer.
func fdPtrCall(trap uintptr, fd int, p unsafe.Pointer, a, b, c, d uintptr) (uintptr, syscall.Errno) {
	for {
		r, _, errno := syscall.Syscall6(trap, uintptr(fd), uintptr(p), a, b, c, d)
		if errno != syscall.EINTR {
			return r, errno
		}
	}
}

// fdArgPtrCall is for calls whose third argument is a pointer.
func fdArgPtrCall(trap uintptr, fd int, a uintptr, p unsafe.Pointer, b uintptr) (uintptr, syscall.Errno) {
	for {
		r, _, errno := syscall.Syscall6(trap, uintptr(fd), a, uintptr(p), b, 0, 0)
		if errno != syscall.EINTR {
			return r, errno
		}
	}
}

// atCall is for calls that take a directory, a path in it, and numbers.
func atCall(trap uintptr, dirfd int, path []byte, a, b, c uintptr) (uintptr, syscall.Errno) {
	if !isPath(path) {
		return 0, syscall.EINVAL
	}
	return fdPtrCall(trap, dirfd, unsafe.Pointer(&path[0]), a, b, c, 0)
}

// atPtrCall is for calls that take a directory, a path in it, a pointer, and
// numbers.
func atPtrCall(trap uintptr, dirfd int, path []byte, p unsafe.Pointer, a uintptr) (uintptr, syscall.Errno) {
	if !isPath(path) {
		return 0, syscall.EINVAL
	}
	for {
		r, _, errno := syscall.Syscall6(trap, uintptr(dirfd), uintptr(unsafe.Pointer(&path[0])), uintptr(p), a, 0, 0)
		if errno != syscall.EINTR {
			return r, errno
		}
	}
}

// at2Call is for calls that take two pairs of a directory and a path.
func at2Call(trap uintptr, fd1 int, path1 []byte, fd2 int, path2 []byte, flags uintptr) syscall.Errno {
	if !isPath(path1) || !isPath(path2) {
		return syscall.EINVAL
	}
	for {
		_, _, errno := syscall.Syscall6(trap, uintptr(fd1), uintptr(unsafe.Pointer(&path1[0])),
			uintptr(fd2), uintptr(unsafe.Pointer(&path2[0])), flags, 0)
		if errno != syscall.EINTR {
			return errno
		}
	}
}
