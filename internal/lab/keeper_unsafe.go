package lab

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// refuseXstate makes PTRACE_GETREGSET for NT_X86_XSTATE fail with ENODEV in
// this thread and in what it executes, by a seccomp filter. Every other system
// call is left alone. The goroutine stays locked to its thread.
func refuseXstate() error {
	runtime.LockOSThread()
	const (
		offsetNr   = 0 // in struct seccomp_data of linux/seccomp.h
		offsetArch = 4
		offsetArg0 = 16
		offsetArg2 = 32
	)
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	// unless jumps over skip instructions if the word loaded is not value.
	unless := func(value uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: skip, K: value}
	}
	result := func(value uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: value}
	}
	filter := []unix.SockFilter{
		load(offsetArch), unless(unix.AUDIT_ARCH_X86_64, 7),
		load(offsetNr), unless(unix.SYS_PTRACE, 5),
		load(offsetArg0), unless(unix.PTRACE_GETREGSET, 3),
		load(offsetArg2), unless(ntX86Xstate, 1),
		result(unix.SECCOMP_RET_ERRNO | uint32(unix.ENODEV)),
		result(unix.SECCOMP_RET_ALLOW),
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// Needed to install a filter without CAP_SYS_ADMIN.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0); err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	runtime.KeepAlive(filter)
	return nil
}
