package scratch

import (
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// noID stands for an id that is not told: guests that let mounts be id-mapped name
// the caller in calls that create only.
const noID = ^uint32(0)

// inherit gives a new node of directory p its owner and mode, as Linux does: the
// umask where it is ours to apply, the group of a directory with setgid, and setgid
// itself not for those who are not in that group.
func (fs *FS) inherit(r *vfs.Request, p, n *node) {
	p.mu.Lock()
	dirMode, dirGID := p.mode, p.gid
	p.mu.Unlock()
	n.uid, n.gid = r.UID, r.GID
	setgid := dirMode&unix.S_ISGID != 0
	const groupExec = unix.S_ISGID | unix.S_IXGRP
	if setgid && !n.isDir() && n.mode&groupExec == groupExec && n.uid != 0 && !inGroup(r, dirGID) {
		n.mode &^= unix.S_ISGID
	}
	if n.typ != unix.S_IFLNK && fs.agreed(vfs.FeatDontMask) {
		n.mode &^= r.Umask & 0o777
	}
	if setgid {
		n.gid = dirGID
		if n.isDir() {
			n.mode |= unix.S_ISGID
		}
	}
}

func inGroup(r *vfs.Request, gid uint32) bool {
	return r.GID == gid || slices.Contains(r.Groups, gid)
}

// newIn completes a new node for directory p. It has no name yet.
func (fs *FS) newIn(r *vfs.Request, p, n *node) syscall.Errno {
	if r.UID == noID || r.GID == noID {
		return syscall.EINVAL
	}
	fs.inherit(r, p, n)
	if errno := fs.addNode(n); errno != 0 {
		return errno
	}
	if !fs.agreed(vfs.FeatSecurityContext) {
		return 0
	}
	for i := range r.Security {
		s := &r.Security[i]
		errno := fs.setxattr(n, s.Name, s.Value, 0)
		if errno != 0 {
			fs.discard(n)
			return errno
		}
	}
	return 0
}

// makeName gives the new node n a name in p. The caller holds FS.tree.
func (fs *FS) makeName(r *vfs.Request, p *node, name vfs.Name, n *node) syscall.Errno {
	cost := uint64(entryCost + name.Len())
	if !fs.charge(cost) {
		return syscall.ENOSPC
	}
	if errno := fs.newIn(r, p, n); errno != 0 {
		fs.refund(cost)
		return errno
	}
	p.dir.add(name.String(), n)
	dirs := 0
	n.nlink = 1 // nobody knows it yet
	if n.isDir() {
		dirs, n.nlink, n.dir.parent = 1, 2, p
	}
	p.named(1, dirs, n.ctime)
	return 0
}

// vacant says why a new name cannot be made in p, or 0. The caller holds FS.tree.
func vacant(p *node, name vfs.Name) syscall.Errno {
	switch {
	case p.dir.removed:
		return syscall.ENOENT
	case p.dir.find(name.Bytes()) != nil:
		return syscall.EEXIST
	}
	return 0
}

// make makes a node and its name.
func (fs *FS) make(r *vfs.Request, parent vfs.NodeID, name vfs.Name, n *node, out *vfs.Entry) syscall.Errno {
	p, errno := fs.dirNode(parent)
	if errno != 0 {
		return errno
	}
	fs.tree.Lock()
	if errno = vacant(p, name); errno == 0 {
		errno = fs.makeName(r, p, name, n)
	}
	if errno == 0 {
		fs.enter(n, out)
	}
	fs.tree.Unlock()
	return errno
}

// Mkdir implements [vfs.FileSystem].
func (fs *FS) Mkdir(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode uint32, out *vfs.Entry) syscall.Errno {
	return fs.make(r, parent, name, &node{typ: unix.S_IFDIR, attrs: attrs{mode: mode & 0o1777}}, out)
}

// Mknod implements [vfs.FileSystem]. What is made of a device or a pipe takes effect
// in the guest only.
func (fs *FS) Mknod(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode, rdev uint32, out *vfs.Entry) syscall.Errno {
	n := &node{typ: mode & unix.S_IFMT, attrs: attrs{mode: mode & 0o7777}}
	switch n.typ {
	case 0:
		n.typ = unix.S_IFREG
	case unix.S_IFCHR, unix.S_IFBLK:
		n.rdev = rdev
	case unix.S_IFREG, unix.S_IFIFO, unix.S_IFSOCK:
	case unix.S_IFDIR:
		return syscall.EPERM
	default:
		return syscall.EINVAL
	}
	return fs.make(r, parent, name, n, out)
}

// Symlink implements [vfs.FileSystem].
func (fs *FS) Symlink(r *vfs.Request, parent vfs.NodeID, name vfs.Name, target []byte, out *vfs.Entry) syscall.Errno {
	end := slices.Index(target, 0)
	switch {
	case end < 0 || end != len(target)-1:
		return syscall.EINVAL
	case end == 0:
		return syscall.ENOENT
	case end >= unix.PathMax:
		return syscall.ENAMETOOLONG
	}
	n := &node{typ: unix.S_IFLNK, target: string(target[:end]), attrs: attrs{mode: 0o777, size: uint64(end)}}
	return fs.make(r, parent, name, n, out)
}

// fileFlags are those of all open files.
const fileFlags = vfs.OpenKeepCache | vfs.OpenNoFlush

// Open implements [vfs.FileSystem].
func (fs *FS) Open(_ *vfs.Request, id vfs.NodeID, flags uint32, kill bool, out *vfs.Opened) syscall.Errno {
	n, errno := fs.node(id)
	if errno != 0 {
		return errno
	}
	return fs.openFile(n, flags, kill, out)
}

func (fs *FS) openFile(n *node, flags uint32, kill bool, out *vfs.Opened) syscall.Errno {
	if errno := vfs.OpenErrno(n.typ); errno != 0 {
		return errno
	}
	h, errno := fs.openNode(n, kindFile, flags)
	if errno != 0 {
		return errno
	}
	if flags&unix.O_TRUNC != 0 {
		if errno = fs.truncate(n, 0, kill); errno != 0 {
			fs.release(n.id, h, kindFile)
			return errno
		}
	}
	*out = vfs.Opened{Handle: h, Flags: fileFlags}
	return 0
}

// Create implements [vfs.FileSystem].
func (fs *FS) Create(r *vfs.Request, parent vfs.NodeID, name vfs.Name, flags, mode uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	p, errno := fs.dirNode(parent)
	if errno != 0 {
		return errno
	}
	n := &node{typ: unix.S_IFREG, attrs: attrs{mode: mode & 0o7777}}
	fs.tree.Lock()
	exists := false
	if errno = vacant(p, name); errno == 0 {
		errno = fs.makeName(r, p, name, n)
	} else if errno == syscall.EEXIST && flags&unix.O_EXCL == 0 {
		n, errno, exists = p.dir.find(name.Bytes()).node, 0, true
	}
	if errno == 0 {
		fs.enter(n, out)
	}
	fs.tree.Unlock()
	if errno != 0 {
		return errno
	}
	if exists {
		errno = fs.openExisting(r, n, flags, out, opened)
	} else {
		errno = fs.openFile(n, flags&^unix.O_TRUNC, false, opened)
	}
	if errno != 0 {
		fs.forget(n, 1)
	}
	return errno
}

// openExisting opens the file that Create found in its place. The guest believed
// that there is none, so it has not checked whether its caller may open it. As the
// groups that came with the call may not be all of the caller's, a refusal is
// ESTALE: the guest then looks the name up and checks for itself.
func (fs *FS) openExisting(r *vfs.Request, n *node, flags uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	if errno := vfs.OpenErrno(n.typ); errno != 0 {
		return errno
	}
	mask := [...]uint32{
		unix.O_RDONLY: unix.R_OK, unix.O_WRONLY: unix.W_OK, unix.O_RDWR: unix.R_OK | unix.W_OK, unix.O_ACCMODE: unix.R_OK | unix.W_OK,
	}[flags&unix.O_ACCMODE]
	if flags&unix.O_TRUNC != 0 {
		mask |= unix.W_OK
	}
	n.mu.Lock()
	ok := n.allows(r, mask)
	n.mu.Unlock()
	if !ok {
		return syscall.ESTALE
	}
	if errno := fs.openFile(n, flags, fs.clears(r), opened); errno != 0 {
		return errno
	}
	n.mu.Lock()
	n.attr(&out.Attr) // after O_TRUNC
	n.mu.Unlock()
	return 0
}

// Tmpfile implements [vfs.FileSystem]. With O_EXCL the file will never have a name.
func (fs *FS) Tmpfile(r *vfs.Request, parent vfs.NodeID, flags, mode uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	p, errno := fs.dirNode(parent)
	if errno != 0 {
		return errno
	}
	n := &node{typ: unix.S_IFREG, attrs: attrs{mode: mode & 0o7777, nameless: flags&unix.O_EXCL == 0}}
	fs.tree.RLock()
	if errno = syscall.ENOENT; !p.dir.removed {
		errno = fs.newIn(r, p, n)
	}
	fs.tree.RUnlock()
	if errno != 0 {
		return errno
	}
	fs.enter(n, out) // it has no name to lose
	if errno = fs.openFile(n, flags&^unix.O_TRUNC, false, opened); errno != 0 {
		fs.forget(n, 1)
	}
	return errno
}
