package tree

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// maker begins a call that makes a name, which must not be that of a mount. The
// mount is nil on failure; otherwise leave ends the call.
func (fs *FS) maker(parent vfs.NodeID, name vfs.Name) (*mount, vfs.NodeID, syscall.Errno) {
	a, errno := fs.attached(parent, name)
	if a != nil {
		return nil, 0, fs.taken(a)
	}
	if errno != 0 {
		return nil, 0, errno
	}
	m, id := fs.call(parent)
	if m == nil {
		return nil, 0, syscall.ESTALE
	}
	return m, id, 0
}

// masked applies the umask where the file system does not.
func (m *mount) masked(r *vfs.Request, mode uint32) uint32 {
	if m.adapt(adaptUmask) {
		mode &^= r.Umask & 0o777
	}
	return mode
}

// Symlink implements [vfs.FileSystem].
func (fs *FS) Symlink(r *vfs.Request, parent vfs.NodeID, name vfs.Name, target []byte, out *vfs.Entry) syscall.Errno {
	m, id, errno := fs.maker(parent, name)
	if errno != 0 {
		return errno
	}
	errno = m.made(m.child.Symlink(r, id, name, target, out), out)
	m.leave(id)
	return fs.instead(m, errno, syscall.EPERM)
}

// Mknod implements [vfs.FileSystem].
func (fs *FS) Mknod(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode, rdev uint32, out *vfs.Entry) syscall.Errno {
	m, id, errno := fs.maker(parent, name)
	if errno != 0 {
		return errno
	}
	errno = m.made(m.child.Mknod(r, id, name, m.masked(r, mode), rdev, out), out)
	m.leave(id)
	return fs.instead(m, errno, syscall.EPERM)
}

// Mkdir implements [vfs.FileSystem].
func (fs *FS) Mkdir(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode uint32, out *vfs.Entry) syscall.Errno {
	m, id, errno := fs.maker(parent, name)
	if errno != 0 {
		return errno
	}
	errno = m.made(m.child.Mkdir(r, id, name, m.masked(r, mode), out), out)
	m.leave(id)
	return fs.instead(m, errno, syscall.EPERM)
}

// Link implements [vfs.FileSystem]. A name that is there is EEXIST, also where
// another mount would be EXDEV, as on Linux.
func (fs *FS) Link(r *vfs.Request, node, newParent vfs.NodeID, newName vfs.Name, out *vfs.Entry) syscall.Errno {
	p, parent, errno := fs.maker(newParent, newName)
	if errno != 0 {
		return errno
	}
	defer p.leave(parent)
	m, id := fs.call(node)
	if m == nil {
		return syscall.ESTALE
	}
	defer m.leave(id)
	if m == p {
		return fs.instead(m, m.made(m.child.Link(r, id, parent, newName, out), out), syscall.EPERM)
	}
	switch _, _, errno = fs.find(r, p, parent, newName); {
	case errno == 0:
		errno = syscall.EEXIST
	case errno != syscall.ENOENT:
	case p.child == fs.synth:
		errno = syscall.EROFS
	default:
		errno = syscall.EXDEV
	}
	return m.refuse(r, id, errno)
}

// find looks a name up that is not that of a mount, without a reference for the
// guest. It returns the node's id in the mount, which may be gone by then, and its
// type.
func (fs *FS) find(r *vfs.Request, m *mount, parent vfs.NodeID, name vfs.Name) (id vfs.NodeID, typ uint32, errno syscall.Errno) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	e := &s.entry
	if errno = m.child.Lookup(r, parent, name, e); errno != 0 {
		return 0, 0, errno
	}
	if e.Node == 0 {
		return 0, 0, syscall.ENOENT
	}
	m.child.Forget(e.Node, 1)
	return e.Node, e.Attr.Mode & unix.S_IFMT, 0
}

// Rmdir implements [vfs.FileSystem].
func (fs *FS) Rmdir(r *vfs.Request, parent vfs.NodeID, name vfs.Name) syscall.Errno {
	a, errno := fs.attached(parent, name)
	if errno != 0 {
		return errno
	}
	m, id := fs.call(parent)
	if m == nil {
		return syscall.ESTALE
	}
	defer m.leave(id)
	switch {
	case m.child == fs.synth:
		return m.child.Rmdir(r, id, name)
	case a != nil && a.hidden:
		return syscall.ENOENT
	case a != nil && a.typ != unix.S_IFDIR:
		return syscall.ENOTDIR
	case a != nil:
		return syscall.EBUSY
	}
	if t := fs.table.Load(); t != nil {
		// It may be empty but for mounts, which the file system does not know.
		target, _, errno := fs.find(r, m, id, name)
		if errno != 0 {
			return errno
		}
		if t.dir(m.base|target) != nil {
			return syscall.ENOTEMPTY
		}
	}
	return m.child.Rmdir(r, id, name)
}
