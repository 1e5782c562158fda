package vfstest

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// root reports whether c is the caller that the process itself is.
func (c caller) root() bool {
	return c.uid == 0 && c.gid == 0 && len(c.groups) == 0 && c.umask == 0
}

// do runs f as c, on a thread that ends with it.
func (c caller) do(f func()) {
	if c.root() {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: the runtime ends the thread with the goroutine.
		runtime.LockOSThread()
		c.become()
		f()
	}()
	<-done
}

// become gives the calling thread, and no other, the identity of c. The x/sys
// calls would change the whole process.
func (c caller) become() {
	must := func(what string, errno syscall.Errno) {
		if errno != 0 {
			panic(fmt.Sprintf("vfstest: %s: %v", what, errno))
		}
	}
	must("unshare", errnoOf(unix.Unshare(unix.CLONE_FS)))
	unix.Umask(int(c.umask))
	var groups unsafe.Pointer
	if len(c.groups) > 0 {
		groups = unsafe.Pointer(&c.groups[0])
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(c.groups)), uintptr(groups), 0)
	must("setgroups", errno)
	_, _, errno = unix.RawSyscall(unix.SYS_SETRESGID, uintptr(c.gid), uintptr(c.gid), uintptr(c.gid))
	must("setresgid", errno)
	_, _, errno = unix.RawSyscall(unix.SYS_SETRESUID, uintptr(c.uid), uintptr(c.uid), uintptr(c.uid))
	must("setresuid", errno)
}

// ioctlBuf is ioctl(2) with a buffer as its argument.
func ioctlBuf(fd int, cmd uint32, buf []byte) syscall.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(cmd), uintptr(unsafe.Pointer(unsafe.SliceData(buf))))
	return errno
}
