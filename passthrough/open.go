package passthrough

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// openable are the open flags that a guest's open may have on the host. All
// others are the guest's own affair (O_APPEND, which is applied to each write,
// O_NOFOLLOW, O_DIRECTORY, O_NOCTTY, O_CREAT, O_EXCL) or none of its business
// (O_ASYNC, O_PATH, O_TMPFILE).
const openable = unix.O_ACCMODE | unix.O_TRUNC | unix.O_NONBLOCK | unix.O_SYNC | unix.O_DIRECT | unix.O_NOATIME

// hostFlags turns the guest's open flags into those for the host.
func (fs *FS) hostFlags(guest uint32) int {
	f := int(guest & openable)
	if !fs.cfg.PreserveNoatime {
		f &^= unix.O_NOATIME
	}
	if !fs.cfg.DirectIO || fs.cfg.IO&IODirect != 0 {
		f &^= unix.O_DIRECT
	}
	if fs.cfg.IO&IOSync != 0 && f&unix.O_ACCMODE != unix.O_RDONLY {
		f |= unix.O_SYNC
	}
	// A guest that collects writes reads the rest of a page it writes to.
	if f&unix.O_ACCMODE == unix.O_WRONLY && fs.agreed(vfs.FeatWriteback) {
		f = f&^unix.O_ACCMODE | unix.O_RDWR
	}
	return f
}

// reply says how the guest may cache a file that was opened with host flags f.
func (fs *FS) reply(n *node, f int) vfs.OpenFlags {
	flags := policies[fs.cfg.Cache].file
	if flags&vfs.OpenDirectIO != 0 || f&unix.O_DIRECT != 0 {
		flags |= vfs.OpenParallelDirectWrites
	}
	// Flush has something to do where locks end with a close, and where
	// closing may report a failed write.
	if !fs.agreed(vfs.FeatPOSIXLocks) && !fs.agreed(vfs.FeatWriteback) &&
		(n.key.dev == fs.localDev || f&unix.O_ACCMODE == unix.O_RDONLY) {
		flags |= vfs.OpenNoFlush
	}
	return flags
}

// dirReply says how the guest may cache an open directory.
func (fs *FS) dirReply() vfs.OpenFlags { return policies[fs.cfg.Cache].dir }

// Open implements [vfs.FileSystem]. What is not a regular file is refused with
// the error of open(2) where it has one, and with EBADF where it would open a
// pipe or a device.
func (fs *FS) Open(r *vfs.Request, id vfs.NodeID, flags uint32, kill bool, out *vfs.Opened) syscall.Errno {
	if r.Nowait && fs.openWaits(flags) {
		return vfs.WouldBlock
	}
	n, fd, errno := fs.pin(id)
	if errno != 0 {
		return errno
	}
	errno = fs.openNode(n, fd, flags, kill, out)
	n.unpin()
	return errno
}

// openWaits tells whether opening a file with these flags waits for the disk.
func (fs *FS) openWaits(flags uint32) bool { return flags&unix.O_TRUNC != 0 && fs.cfg.IO != 0 }

func (fs *FS) openNode(n *node, fd int, flags uint32, kill bool, out *vfs.Opened) syscall.Errno {
	if n.isDir() {
		return syscall.EISDIR
	}
	if !fs.fds.room(1) {
		return syscall.ENFILE // before O_TRUNC takes effect
	}
	f := fs.hostFlags(flags)
	var opened int
	var errno syscall.Errno
	if kill && f&unix.O_TRUNC != 0 {
		without := dropFSETID()
		opened, errno = fs.openRetry(n, fd, f, flags)
		without.restore()
	} else {
		opened, errno = fs.openRetry(n, fd, f, flags)
	}
	if errno != 0 {
		return errno
	}
	if f&unix.O_TRUNC != 0 {
		if errno = fs.settle(opened); errno != 0 {
			oslib.Close(opened)
			return errno
		}
	}
	return fs.deliver(n, opened, f, out)
}

// openRetry opens with the host flags f and, if these ask for more than the
// daemon may have, with less: without O_NOATIME, which only owners may use, and
// with the access mode that the guest itself asked for.
func (fs *FS) openRetry(n *node, fd, f int, guest uint32) (int, syscall.Errno) {
	opened, errno := fs.reopen(n, fd, f)
	if errno == syscall.EPERM && f&unix.O_NOATIME != 0 {
		f &^= unix.O_NOATIME
		opened, errno = fs.reopen(n, fd, f)
	}
	if asked := int(guest & unix.O_ACCMODE); errno == syscall.EACCES && f&unix.O_ACCMODE != asked {
		opened, errno = fs.reopen(n, fd, f&^unix.O_ACCMODE|asked)
	}
	return opened, errno
}

// deliver makes a handle of an open file, which it owns from then on.
func (fs *FS) deliver(n *node, fd, f int, out *vfs.Opened) syscall.Errno {
	h, errno := fs.addHandle(n, fd, uint32(f&^unix.O_TRUNC), kindFile)
	if errno != 0 {
		return errno
	}
	*out = vfs.Opened{Handle: h, Flags: fs.reply(n, f)}
	return 0
}

// Release implements [vfs.FileSystem]. A call on the handle that is still under
// way keeps the file open until it ends.
func (fs *FS) Release(_ *vfs.Request, id vfs.NodeID, v vfs.Handle, in *vfs.ReleaseIn) syscall.Errno {
	h, errno := fs.dropHandle(id, v, kindFile)
	if errno != 0 {
		return errno
	}
	fs.endLocks(id, v, h, in)
	h.unpin()
	return 0
}

// pathFD gets an O_PATH descriptor of what an open descriptor stands for.
func (fs *FS) pathFD(fd int) (int, syscall.Errno) {
	var buf [12]byte
	return oslib.Openat(fs.procSelfFD, oslib.ProcFDName(&buf, fd), unix.O_PATH|unix.O_CLOEXEC, 0)
}
