package oslib

import (
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// HaveOpenat2 reports whether the kernel (5.6 and later) and its seccomp filter
// let us call openat2. It asks once.
func HaveOpenat2() bool { return haveOpenat2() }

var haveOpenat2 = sync.OnceValue(func() bool {
	_, _, errno := syscall.Syscall6(unix.SYS_OPENAT2, ^uintptr(0), 0, 0, 0, 0, 0)
	return errno == syscall.EINVAL // a size of 0 is all that it complains of
})

// creates reports whether open flags make the mode argument count.
func creates(flags uint64) bool {
	return flags&unix.O_CREAT != 0 || flags&unix.O_TMPFILE == unix.O_TMPFILE
}

// Openat2 is openat2(2). resolve is made of RESOLVE_*. The descriptor is the
// caller's to close. Of mode, only 07777 counts and only in calls that create,
// where the kernel would refuse the rest.
func Openat2(dirfd int, path []byte, flags, mode, resolve uint64) (int, syscall.Errno) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve}
	if creates(flags) {
		how.Mode = mode & 0o7777
	}
	r, errno := atPtrCall(unix.SYS_OPENAT2, dirfd, path, unsafe.Pointer(&how), unix.SizeofOpenHow)
	return descriptor(r, errno)
}

// Openat is openat(2). The descriptor is the caller's to close.
func Openat(dirfd int, path []byte, flags int, mode uint32) (int, syscall.Errno) {
	r, errno := atCall(unix.SYS_OPENAT, dirfd, path, uintptr(flags|unix.O_CLOEXEC), uintptr(mode&0o7777), 0)
	return descriptor(r, errno)
}

// descriptor makes the result of a call that opens: -1 goes with an error, so
// that a result used by mistake is no descriptor of another.
func descriptor(r uintptr, errno syscall.Errno) (int, syscall.Errno) {
	if errno != 0 {
		return -1, errno
	}
	return int(r), 0
}

// Close is close(2). After EINTR the descriptor is gone as well and may already
// be another's, so the call is not repeated.
func Close(fd int) syscall.Errno {
	_, _, errno := syscall.Syscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
	return errno
}

// Dup returns a second descriptor of the same open file, closed at exec.
func Dup(fd int) (int, syscall.Errno) {
	return descriptor(fdCall(unix.SYS_FCNTL, fd, unix.F_DUPFD_CLOEXEC, 0, 0))
}

// Pipe2 is pipe2(2): a reader and a writer, both the caller's to close.
func Pipe2(flags int) (r, w int, errno syscall.Errno) {
	var p [2]int32
	_, _, errno = syscall.Syscall(unix.SYS_PIPE2, uintptr(unsafe.Pointer(&p)), uintptr(flags|unix.O_CLOEXEC), 0)
	if errno != 0 {
		return -1, -1, errno
	}
	return int(p[0]), int(p[1]), 0
}

// MemfdCreate is memfd_create(2): anonymous memory as a file. name shows in
// /proc only.
func MemfdCreate(name []byte, flags int) (int, syscall.Errno) {
	if !isPath(name) {
		return -1, syscall.EINVAL
	}
	r, _, errno := syscall.Syscall(unix.SYS_MEMFD_CREATE, uintptr(unsafe.Pointer(&name[0])), uintptr(flags|unix.MFD_CLOEXEC), 0)
	return descriptor(r, errno)
}

// Eventfd is eventfd2(2): a counter that starts at init.
func Eventfd(init uint32, flags int) (int, syscall.Errno) {
	r, _, errno := syscall.Syscall(unix.SYS_EVENTFD2, uintptr(init), uintptr(flags|unix.EFD_CLOEXEC), 0)
	return descriptor(r, errno)
}

// EventfdWrite adds n to the counter of an eventfd and so wakes its readers.
func EventfdWrite(fd int, n uint64) syscall.Errno {
	_, errno := fdPtrCall(unix.SYS_WRITE, fd, unsafe.Pointer(&n), 8, 0, 0, 0)
	return errno
}

// EventfdRead takes the counter of an eventfd. At zero it waits or, with
// EFD_NONBLOCK, returns EAGAIN.
func EventfdRead(fd int) (uint64, syscall.Errno) {
	var n uint64
	_, errno := fdPtrCall(unix.SYS_READ, fd, unsafe.Pointer(&n), 8, 0, 0, 0)
	return n, errno
}
