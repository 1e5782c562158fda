package oslib

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// KeepID stands for an id that [SetThreadIDs] is to leave as it is.
const KeepID = ^uint32(0)

// SetThreadIDs sets the effective (and so the file system) gid and then uid of
// the calling thread alone; real and saved ids stay. The
// caller holds the goroutine on its thread. When the uid leaves 0, the kernel
// clears the effective capabilities of the thread, and restores them from the
// permitted ones when it returns.
//
// The way back is the same call with the ids of the daemon: a thread may always
// return to its real and saved ids. If the call fails half way, the gid has been
// changed.
func SetThreadIDs(uid, gid uint32) syscall.Errno {
	const keep = ^uintptr(0)
	if gid != KeepID {
		if _, _, errno := syscall.RawSyscall(unix.SYS_SETRESGID, keep, uintptr(gid), keep); errno != 0 {
			return errno
		}
	}
	if uid != KeepID {
		if _, _, errno := syscall.RawSyscall(unix.SYS_SETRESUID, keep, uintptr(uid), keep); errno != 0 {
			return errno
		}
	}
	return 0
}

// SetThreadGroups sets the supplementary groups of the calling thread alone; an
// empty list drops all. The caller holds the goroutine on its thread.
func SetThreadGroups(groups []uint32) syscall.Errno {
	_, _, errno := syscall.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(unsafe.SliceData(groups))), 0)
	return errno
}

// UnshareFS gives the calling thread a umask, root and working directory of its
// own, which threads otherwise share. The caller holds the goroutine on its
// thread, for good: there is no way back.
func UnshareFS() syscall.Errno {
	_, _, errno := syscall.RawSyscall(unix.SYS_UNSHARE, unix.CLONE_FS, 0, 0)
	return errno
}

// ThreadUmask sets the umask and returns the one before. The caller holds the
// goroutine on a thread for which it called [UnshareFS]: on any other the umask
// of the whole process changes.
func ThreadUmask(mask uint32) (old uint32) {
	r, _, _ := syscall.RawSyscall(unix.SYS_UMASK, uintptr(mask), 0, 0)
	return uint32(r)
}

// UmaskScope is a umask that holds until Restore is called.
type UmaskScope struct {
	old uint32
}

// ScopedUmask sets the umask until Restore is called; otherwise as
// [ThreadUmask]. Scopes nest.
func ScopedUmask(mask uint32) UmaskScope { return UmaskScope{ThreadUmask(mask)} }

// Restore puts back the umask that was set before the scope began.
func (s UmaskScope) Restore() { ThreadUmask(s.old) }

// threadCaps are the capability sets of the calling thread, 64 bits in two halves.
type threadCaps [2]unix.CapUserData

func capCall(trap uintptr, c *threadCaps) syscall.Errno {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	_, _, errno := syscall.RawSyscall(trap, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(c)), 0)
	return errno
}

// ThreadHasCap reports whether a capability (CAP_*) is in the effective set of
// the calling thread.
func ThreadHasCap(capability int) bool {
	var c threadCaps
	if capability < 0 || capability >= 64 || capCall(unix.SYS_CAPGET, &c) != 0 {
		return false
	}
	return c[capability/32].Effective&(1<<(capability%32)) != 0
}

// SetThreadCap puts a capability into the effective set of the calling thread or
// takes it out, leaving the permitted set as it is. To add one that is not
// permitted is EPERM. The caller holds the goroutine on its thread.
func SetThreadCap(capability int, on bool) syscall.Errno {
	if capability < 0 || capability >= 64 {
		return syscall.EINVAL
	}
	var c threadCaps
	if errno := capCall(unix.SYS_CAPGET, &c); errno != 0 {
		return errno
	}
	set, bit := &c[capability/32].Effective, uint32(1)<<(capability%32)
	if on == (*set&bit != 0) {
		return 0
	}
	*set ^= bit
	return capCall(unix.SYS_CAPSET, &c)
}
