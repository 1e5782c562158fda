package tree

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Open implements [vfs.FileSystem].
func (fs *FS) Open(r *vfs.Request, node vfs.NodeID, flags uint32, kill bool, out *vfs.Opened) syscall.Errno {
	if node <= vfs.MaxNodeID {
		return fs.root.child.Open(r, node, flags, kill, out)
	}
	m, id := fs.enter(node)
	if m == nil {
		return syscall.ESTALE
	}
	errno := m.child.Open(r, id, flags, kill, out)
	m.leave(id)
	return errno
}

// Create implements [vfs.FileSystem].
func (fs *FS) Create(r *vfs.Request, parent vfs.NodeID, name vfs.Name, flags, mode uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	a, errno := fs.attached(parent, name)
	switch {
	case errno != 0:
		return errno
	case a != nil && a.hidden:
		return fs.taken(a)
	case a != nil:
		return fs.createMount(r, a, flags, out, opened)
	}
	m, id := fs.call(parent)
	if m == nil {
		return syscall.ESTALE
	}
	errno = m.child.Create(r, id, name, flags, m.masked(r, mode), out, opened)
	errno = m.opened(r, errno, out, opened)
	m.leave(id)
	return fs.instead(m, errno, syscall.EOPNOTSUPP)
}

// opened takes in the entry of a file that a call has made and opened.
func (m *mount) opened(r *vfs.Request, errno syscall.Errno, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	node := out.Node
	if errno != 0 {
		return errno
	}
	if errno = m.took(out); errno != 0 {
		m.child.Release(r, node, opened.Handle, &vfs.ReleaseIn{})
	}
	return errno
}

// createMount opens the file that is mounted where a guest thought there is none,
// which has not checked whether its caller may.
func (fs *FS) createMount(r *vfs.Request, a *attachment, flags uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	switch {
	case flags&unix.O_EXCL != 0:
		return syscall.EEXIST
	case a.typ == unix.S_IFDIR:
		return syscall.EISDIR
	}
	if errno := fs.enterMount(r, a, out); errno != 0 {
		return errno
	}
	errno := syscall.ESTALE
	if m, id := fs.enter(out.Node); m != nil {
		errno = m.child.Access(r, id, wanted(flags))
		switch errno {
		case 0:
			errno = m.child.Open(r, id, flags&^unix.O_CREAT, r.UID != 0, opened)
		case syscall.EACCES, syscall.ENOSYS:
			// The request may not tell all groups of the caller. This answer
			// makes a guest look the name up and decide itself.
			errno = syscall.ESTALE
		}
		m.leave(id)
	}
	if errno != 0 {
		fs.Forget(out.Node, 1)
	}
	return errno
}

// wanted turns open flags into a mask for access(2).
func wanted(flags uint32) (mask uint32) {
	switch flags & unix.O_ACCMODE {
	case unix.O_RDONLY:
		mask = unix.R_OK
	case unix.O_WRONLY:
		mask = unix.W_OK
	default:
		mask = unix.R_OK | unix.W_OK
	}
	if flags&unix.O_TRUNC != 0 {
		mask |= unix.W_OK
	}
	return mask
}

// Tmpfile implements [vfs.FileSystem].
func (fs *FS) Tmpfile(r *vfs.Request, parent vfs.NodeID, flags, mode uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	m, id := fs.call(parent)
	if m == nil {
		return syscall.ESTALE
	}
	errno := m.child.Tmpfile(r, id, flags, m.masked(r, mode), out, opened)
	errno = m.opened(r, errno, out, opened)
	m.leave(id)
	return fs.instead(m, errno, syscall.EOPNOTSUPP)
}

// Release implements [vfs.FileSystem]. The handles of a mount that is gone were
// released with it.
func (fs *FS) Release(r *vfs.Request, node vfs.NodeID, h vfs.Handle, in *vfs.ReleaseIn) syscall.Errno {
	m, id := fs.call(node)
	if m == nil {
		return syscall.ESTALE
	}
	errno := m.child.Release(r, id, h, in)
	m.leave(id)
	return errno
}

// Opendir implements [vfs.FileSystem].
func (fs *FS) Opendir(r *vfs.Request, node vfs.NodeID, flags uint32, out *vfs.Opened) syscall.Errno {
	m, id := fs.call(node)
	if m == nil {
		return syscall.ESTALE
	}
	errno := m.child.Opendir(r, id, flags, out)
	if fs.changing {
		out.Flags &^= vfs.OpenCacheDir
	}
	m.leave(id)
	return errno
}

// Releasedir implements [vfs.FileSystem].
func (fs *FS) Releasedir(r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
	m, id := fs.call(node)
	if m == nil {
		return syscall.ESTALE
	}
	errno := m.child.Releasedir(r, id, h)
	m.leave(id)
	return errno
}
