package oslib

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Getdents is getdents64(2): it fills buf with records, for [Dirents] to take
// apart, and returns how many bytes of it; 0 at the end of the directory.
func Getdents(fd int, buf []byte) (int, syscall.Errno) {
	return count(fdPtrCall(unix.SYS_GETDENTS64, fd, unsafe.Pointer(unsafe.SliceData(buf)), uintptr(len(buf)), 0, 0, 0))
}
