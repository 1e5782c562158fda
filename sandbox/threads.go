package sandbox

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// errCgo: with a C library, threads may run that Go knows nothing of. Other ways to
// reach them read /proc, which is gone in the sandbox.
var errCgo = errors.New("a program with cgo cannot change the rights of all its threads; build it with CGO_ENABLED=0")

func allThreadsError(errno syscall.Errno) error {
	switch errno {
	case 0:
		return nil
	case syscall.ENOTSUP:
		return errCgo
	}
	return errno
}

// prctlAll is prctl(2) in every thread of the process.
func prctlAll(option int, arg uintptr) error {
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, uintptr(option), arg, 0, 0, 0, 0)
	return allThreadsError(errno)
}
