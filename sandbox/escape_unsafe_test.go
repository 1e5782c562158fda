//go:build !cgo

package sandbox

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// structCall makes a system call on a structure of zeros but for its first words.
func structCall(trap, before uintptr, size uintptr, words ...uint32) error {
	var arg [64]uint32
	copy(arg[:], words)
	var errno syscall.Errno
	if size == 0 {
		_, _, errno = syscall.Syscall(trap, before, uintptr(unsafe.Pointer(&arg)), 0)
	} else {
		_, _, errno = syscall.Syscall(trap, before, uintptr(unsafe.Pointer(&arg)), size)
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// bpfMap makes an array of one element for BPF programs.
func bpfMap() error {
	const mapCreate, array = 0, 2
	return structCall(unix.SYS_BPF, mapCreate, 20, array, 4, 4, 1)
}

// ioUring makes a ring of one entry.
func ioUring() error { return structCall(unix.SYS_IO_URING_SETUP, 1, 0) }

// readMemory reads a word of another process.
func readMemory(pid int, addr uintptr) error {
	var b [8]byte
	local := []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
	_, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: addr, Len: len(b)}}, 0)
	return err
}
