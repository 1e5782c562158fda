package passthrough

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// createTries bounds how often Create turns between making a file that is
// there by then and opening one that is gone by then.
const createTries = 16

// newFileFDs is how many descriptors of the quota a new file may need: for the
// handle and for the node.
const newFileFDs = 2

// Create implements [vfs.FileSystem]. The entry is made from the new file's
// descriptor, so it is that of the opened file whatever the name means by then.
func (fs *FS) Create(r *vfs.Request, parent vfs.NodeID, name vfs.Name, flags, mode uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	if r.Nowait && fs.openWaits(flags) {
		return vfs.WouldBlock // if the file is there
	}
	p, pfd, errno := fs.pinDir(parent)
	if errno != 0 {
		return errno
	}
	defer p.unpin()
	if !fs.fds.room(newFileFDs) {
		return syscall.ENFILE
	}
	for range createTries {
		f := fs.hostFlags(flags)
		as, errno := fs.become(r, callerUmask)
		if errno != 0 {
			return errno
		}
		fd, errno := oslib.Openat(pfd, name.CString(), f&^unix.O_TRUNC|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		as.restore()
		if errno == 0 {
			return fs.finishCreate(r, p, pfd, fd, f, name.CString(), out, opened)
		}
		if errno != syscall.EEXIST || flags&unix.O_EXCL != 0 {
			return errno
		}
		if errno = fs.createExisting(r, p, pfd, name.CString(), flags, out, opened); errno != syscall.ENOENT {
			return errno
		}
	}
	return syscall.EAGAIN
}

// finishCreate turns a file that was just made in p into an entry and a
// handle; it owns fd. A file without a name (nil) is held by its descriptor, also
// where others are held by file handle: not every file system finds it again.
func (fs *FS) finishCreate(r *vfs.Request, p *node, pfd, fd, f int, name []byte, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	errno := fs.label(r, fd)
	var n *node
	if errno == 0 {
		n, errno = fs.enter(p, fd, name != nil, out)
	}
	if errno != 0 {
		if name != nil {
			fs.undo(pfd, name, fd, 0)
		}
		oslib.Close(fd)
		return errno
	}
	if errno = fs.deliver(n, fd, f, opened); errno != 0 {
		fs.putEntry(n.id)
	}
	return errno
}

// enter makes the entry of an opened file in p. byHandle is for [FS.adopt].
func (fs *FS) enter(p *node, fd int, byHandle bool, out *vfs.Entry) (*node, syscall.Errno) {
	path, errno := fs.pathFD(fd)
	if errno != 0 {
		return nil, errno
	}
	var stx unix.Statx_t
	n, errno := fs.adopt(path, byHandle, &stx)
	if errno != 0 {
		return nil, errno
	}
	fs.fillEntry(p, n, &stx, out)
	return n, 0
}

// createExisting opens the file that Create found in its place. The guest
// believed that there is none, so it has not checked whether its caller may open
// it: here the host does, for the ids that the guest told. As these may lack
// some of the caller's groups, a refusal is ESTALE, which makes a guest look the
// name up anew and check for itself.
func (fs *FS) createExisting(r *vfs.Request, p *node, pfd int, name []byte, flags uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	errno := fs.lookupEntry(r, p, pfd, name, out)
	if errno != 0 {
		return errno
	}
	n, fd, errno := fs.pin(out.Node)
	if errno == 0 {
		var as acting
		if as, errno = fs.become(r, keepUmask); errno == 0 {
			kill := fs.agreed(vfs.FeatKillPriv) && r.UID != 0
			errno = fs.openNode(n, fd, flags, kill, opened)
			if errno == syscall.EACCES && as.locked {
				errno = syscall.ESTALE
			}
			as.restore()
		}
		var stx unix.Statx_t
		if errno == 0 && statFD(fd, &stx) == 0 {
			fs.fillEntry(p, n, &stx, out) // after O_TRUNC
		}
		n.unpin()
	}
	if errno != 0 {
		fs.putEntry(out.Node)
	}
	return errno
}

// dot is the name of a directory in itself.
var dot = []byte(".\x00")

// Tmpfile implements [vfs.FileSystem].
func (fs *FS) Tmpfile(r *vfs.Request, parent vfs.NodeID, flags, mode uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	p, pfd, errno := fs.pinDir(parent)
	if errno != 0 {
		return errno
	}
	defer p.unpin()
	if !fs.fds.room(newFileFDs) {
		return syscall.ENFILE
	}
	f := fs.hostFlags(flags) &^ unix.O_TRUNC
	as, errno := fs.become(r, callerUmask)
	if errno != 0 {
		return errno
	}
	// O_EXCL here says that the file will never be given a name.
	fd, errno := oslib.Openat(pfd, dot, f|unix.O_TMPFILE|int(flags&unix.O_EXCL)|unix.O_CLOEXEC, mode)
	as.restore()
	if errno != 0 {
		return errno
	}
	return fs.finishCreate(r, p, pfd, fd, f, nil, out, opened)
}

// making is a call that makes a name, between begin and end.
type making struct {
	fs   *FS
	r    *vfs.Request
	p    *node  // the directory, pinned
	dir  int    // its descriptor
	name []byte // ends in a NUL
	as   acting
}

// begin pins the directory and becomes the caller. Unless it fails, end follows.
func (m *making) begin(fs *FS, r *vfs.Request, parent vfs.NodeID, name vfs.Name, use umaskUse) syscall.Errno {
	p, fd, errno := fs.pinDir(parent)
	if errno != 0 {
		return errno
	}
	*m = making{fs: fs, r: r, p: p, dir: fd, name: name.CString()}
	// What is made is on the same mount, so it has a handle if others there do.
	handles := p.mount != nil || p == fs.root && fs.rootMount != nil
	if !handles && !fs.fds.room(1) {
		errno = syscall.ENFILE
	} else {
		m.as, errno = fs.become(r, use)
	}
	if errno != 0 {
		p.unpin()
	}
	return errno
}

// end makes the thread the daemon's again and fills out, unless what was to be
// made failed with errno. rmFlags are for finish.
func (m *making) end(errno syscall.Errno, rmFlags int, out *vfs.Entry) syscall.Errno {
	m.as.restore()
	if errno == 0 {
		errno = m.finish(rmFlags, out)
	}
	m.p.unpin()
	return errno
}

// Mknod implements [vfs.FileSystem]. What is made of a device or a pipe here
// takes effect in the guest; the host never opens it.
func (fs *FS) Mknod(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode, rdev uint32, out *vfs.Entry) syscall.Errno {
	var m making
	if errno := m.begin(fs, r, parent, name, callerUmask); errno != 0 {
		return errno
	}
	return m.end(oslib.Mknodat(m.dir, m.name, mode, rdev), 0, out)
}

// Mkdir implements [vfs.FileSystem].
func (fs *FS) Mkdir(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode uint32, out *vfs.Entry) syscall.Errno {
	var m making
	if errno := m.begin(fs, r, parent, name, callerUmask); errno != 0 {
		return errno
	}
	return m.end(oslib.Mkdirat(m.dir, m.name, mode&0o7777), unix.AT_REMOVEDIR, out)
}

// Symlink implements [vfs.FileSystem].
func (fs *FS) Symlink(r *vfs.Request, parent vfs.NodeID, name vfs.Name, target []byte, out *vfs.Entry) syscall.Errno {
	var m making
	if errno := m.begin(fs, r, parent, name, keepUmask); errno != 0 {
		return errno
	}
	return m.end(oslib.Symlinkat(target, m.dir, m.name), 0, out)
}

// finish labels what was just made and fills out. None of the calls that make
// it return a descriptor, so if somebody on the host replaces it in between, the
// entry, and the label, are those of what is there then, which is what a lookup a
// moment later would give. rmFlags are those for removing it if it cannot be
// labelled.
func (m *making) finish(rmFlags int, out *vfs.Entry) syscall.Errno {
	if len(m.r.Security) == 0 {
		return m.fs.lookupEntry(m.r, m.p, m.dir, m.name, out)
	}
	fd, errno := openName(m.dir, m.name)
	if errno != 0 {
		return errno
	}
	if errno = m.fs.label(m.r, fd); errno != 0 {
		m.fs.undo(m.dir, m.name, fd, rmFlags)
		oslib.Close(fd)
		return errno
	}
	var stx unix.Statx_t
	n, errno := m.fs.adopt(fd, true, &stx)
	if errno != 0 {
		return errno
	}
	m.fs.fillEntry(m.p, n, &stx, out)
	return 0
}

// undo removes a name again if it still stands for the object behind fd.
func (fs *FS) undo(pfd int, name []byte, fd, flags int) {
	var is, was unix.Stat_t
	if oslib.Fstat(fd, &was) == 0 &&
		oslib.Fstatat(pfd, name, &is, unix.AT_SYMLINK_NOFOLLOW) == 0 &&
		is.Dev == was.Dev && is.Ino == was.Ino {
		oslib.Unlinkat(pfd, name, flags)
	}
}

// label sets the security contexts of a request on a new object, of which fd
// may be an O_PATH descriptor.
func (fs *FS) label(r *vfs.Request, fd int) syscall.Errno {
	if !fs.agreed(vfs.FeatSecurityContext) {
		return 0
	}
	for i := range r.Security {
		s := &r.Security[i]
		if errno := fs.checkXattrName(s.Name); errno != 0 {
			return errno
		}
		if errno := fs.setxattr(fd, s.Name, s.Value, 0); errno != 0 {
			return errno
		}
	}
	return 0
}
