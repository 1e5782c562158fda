package passthrough

import (
	"os"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// identity is who a thread acts as.
type identity struct {
	uid, gid uint32
	groups   []uint32
}

// overflowGID is what a user namespace calls a group that it has no id for.
const overflowGID = 65534

// noID stands for an id that is not told: guests that let mounts of the share be
// id-mapped name the caller in calls that create only.
const noID = ^uint32(0)

// ownIdentity finds out who the daemon is. Groups without an id here could not be
// put back after a thread acted as somebody else, so all of the daemon's are
// given up for good, as container engines do too. Where that is not allowed
// (user_namespaces(7), /proc/PID/setgroups), nor is acting as somebody else.
func ownIdentity() identity {
	id := identity{uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}
	groups, _ := os.Getgroups()
	if slices.Contains(groups, overflowGID) && syscall.Setgroups(nil) == nil {
		return id
	}
	for _, g := range groups {
		id.groups = append(id.groups, uint32(g))
	}
	return id
}

// acting is what [FS.become] changed in the calling thread and restore puts
// back.
type acting struct {
	fs       *FS
	locked   bool
	uid, gid bool
	groups   bool
	umask    bool
	oldUmask uint32
}

// umaskUse says whether become applies the caller's umask too.
type umaskUse bool

const (
	keepUmask   umaskUse = false
	callerUmask umaskUse = true
)

// become makes the calling thread act as the caller of a request until restore
// is called. Root of the guest, and whoever the daemon itself is, act as the
// daemon: a guest's root gets no rights from this that the daemon lacks, and an
// unprivileged daemon serves its own user, whatever groups come along. Any other
// id needs CAP_SETUID and CAP_SETGID. Without them it is EPERM, and so is an id
// that the daemon's user namespace lacks, though the kernel says EINVAL of the
// attempt and EOVERFLOW of files that such a user would own: to a guest, all
// are ids that the share does not serve.
//
// With callerUmask, new files get the request's umask where that was agreed: the
// kernel then chooses between it and the default ACL of the directory. Threads
// share a umask unless they part, which this one then does.
func (fs *FS) become(r *vfs.Request, use umaskUse) (acting, syscall.Errno) {
	a := acting{fs: fs}
	uid := r.UID != 0 && r.UID != fs.daemon.uid
	gid := r.GID != 0 && r.GID != fs.daemon.gid
	umask := use == callerUmask && fs.agreed(vfs.FeatDontMask)
	if !uid && !gid && !umask {
		return a, 0
	}
	runtime.LockOSThread()
	a.locked = true
	if uid || gid {
		errno := a.setIDs(r, uid, gid)
		if errno == syscall.EINVAL {
			errno = syscall.EPERM
		}
		if errno != 0 {
			a.restore()
			return acting{}, errno
		}
	}
	if umask {
		if errno := oslib.UnshareFS(); errno != 0 {
			a.restore()
			return acting{}, errno
		}
		a.umask = true
		a.oldUmask = oslib.ThreadUmask(r.Umask & 0o777)
	}
	return a, 0
}

func (a *acting) setIDs(r *vfs.Request, uid, gid bool) syscall.Errno {
	if r.UID == noID || r.GID == noID {
		return syscall.EINVAL // to the kernel, it would mean no change
	}
	extended := a.fs.agreed(vfs.FeatSuppGroups)
	var groups []uint32
	if extended {
		groups = r.Groups
	}
	// The daemon's groups are not the caller's.
	if len(groups) != 0 || len(a.fs.daemon.groups) != 0 {
		if errno := oslib.SetThreadGroups(groups); errno != 0 {
			return errno
		}
		a.groups = true
	}
	if gid {
		if errno := oslib.SetThreadIDs(oslib.KeepID, r.GID); errno != 0 {
			return errno
		}
		a.gid = true
	}
	if uid {
		if errno := oslib.SetThreadIDs(r.UID, oslib.KeepID); errno != 0 {
			return errno
		}
		a.uid = true
	}
	// A guest that does not tell the caller's groups has checked them itself;
	// a directory that only they may write in must not be refused here.
	if a.uid && a.fs.daemon.uid == 0 && !extended {
		if errno := oslib.SetThreadCap(unix.CAP_DAC_OVERRIDE, true); errno != syscall.EPERM {
			return errno
		} // EPERM: the daemon does not have it either
	}
	return 0
}

// restore makes the thread the daemon's again. If that fails, the process ends:
// what ran on this thread next would run as somebody else.
func (a *acting) restore() {
	if !a.locked {
		return
	}
	if a.umask {
		oslib.ThreadUmask(a.oldUmask)
	}
	own := &a.fs.daemon
	// The uid comes first: with it the right to change the others returns.
	if a.uid {
		mustRestore("uid", oslib.SetThreadIDs(own.uid, oslib.KeepID))
	}
	if a.gid {
		mustRestore("gid", oslib.SetThreadIDs(oslib.KeepID, own.gid))
	}
	if a.groups {
		mustRestore("groups", oslib.SetThreadGroups(own.groups))
	}
	a.locked = false
	runtime.UnlockOSThread()
}

// mustRestore ends the process, without running anything more in it, if a
// thread could not get its own rights back. The message goes past the logger,
// which may need other threads.
func mustRestore(what string, errno syscall.Errno) {
	if errno == 0 {
		return
	}
	os.Stderr.WriteString("isthmus: cannot restore the " + what + " of a thread: " + errno.Error() + "; aborting\n")
	os.Exit(134)
}

// clears tells whether a change of a file's data by the caller of r is to clear
// setuid and setgid. A guest that does not tell the caller is a new one, and does
// it by itself unless it was agreed that we do.
func (fs *FS) clears(r *vfs.Request) bool {
	if r.UID == noID {
		return fs.agreed(vfs.FeatKillPriv)
	}
	return r.UID != 0
}

// withoutFSETID is what [dropFSETID] changed in the calling thread.
type withoutFSETID struct{ dropped bool }

// dropFSETID takes CAP_FSETID from the calling thread until restore is called,
// so that the kernel clears setuid and setgid of a file that is written or
// truncated, as it does for an ordinary user.
func dropFSETID() withoutFSETID {
	runtime.LockOSThread()
	if !oslib.ThreadHasCap(unix.CAP_FSETID) || oslib.SetThreadCap(unix.CAP_FSETID, false) != 0 {
		runtime.UnlockOSThread()
		return withoutFSETID{}
	}
	return withoutFSETID{dropped: true}
}

func (w withoutFSETID) restore() {
	if w.dropped {
		mustRestore("capability CAP_FSETID", oslib.SetThreadCap(unix.CAP_FSETID, true))
		runtime.UnlockOSThread()
	}
}
