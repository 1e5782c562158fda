package guesttest

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setThreadGroups sets the supplementary groups of the calling thread alone.
func setThreadGroups(groups []uint32) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS,
		uintptr(len(groups)), uintptr(unsafe.Pointer(unsafe.SliceData(groups))), 0)
	return asError(errno)
}

// fsxattr is struct fsxattr of linux/fs.h.
type fsxattr struct {
	xflags     uint32
	extsize    uint32
	nextents   uint32
	projid     uint32
	cowextsize uint32
	_          [8]byte
}

const (
	fsIocFsgetxattr = 0x801c581f // FS_IOC_FSGETXATTR
	fsIocFssetxattr = 0x401c5820 // FS_IOC_FSSETXATTR
)

func ioctlFsxattr(fd int, req uintptr, x *fsxattr) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), req, uintptr(unsafe.Pointer(x)))
	return asError(errno)
}

// sigaction is struct sigaction as rt_sigaction(2) takes it.
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

const saRestart = 0x10000000

// swapSigaction installs act, if it is not nil, and returns what stood before.
func swapSigaction(sig syscall.Signal, act *sigaction) (old sigaction, err error) {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(act)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	return old, asError(errno)
}

// aligned returns a buffer of n bytes at an address divisible by 4096, as
// O_DIRECT wants it.
func aligned(n int) []byte {
	b := make([]byte, n+4096)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(b))) & 4095
	return b[skip : int(skip)+n : int(skip)+n]
}

// asError keeps a zero errno from becoming an error that is not nil.
func asError(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}
