package overlay

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// object finds the node of a call that may be made on a handle, and what that
// call is made on in the layer that has the node's attributes.
func (fs *FS) object(id vfs.NodeID, v vfs.Handle) (n *node, child vfs.FileSystem, node vfs.NodeID, ch vfs.Handle, errno syscall.Errno) {
	if v != vfs.NoHandle {
		h, errno := fs.handle(id, v, kindAny)
		if errno != 0 {
			return nil, nil, 0, 0, errno
		}
		child, node, ch, errno = fs.current(h)
		return h.node, child, node, ch, errno
	}
	n = fs.get(id)
	if n == nil {
		return nil, nil, 0, 0, syscall.ESTALE
	}
	child, node = fs.layer(n)
	return n, child, node, vfs.NoHandle, 0
}

// whichOf names a layer.
func (fs *FS) whichOf(child vfs.FileSystem) which {
	if child == fs.upper {
		return inUpper
	}
	return inLower
}

// Getattr implements [vfs.FileSystem].
func (fs *FS) Getattr(r *vfs.Request, id vfs.NodeID, v vfs.Handle, out *vfs.AttrOut) syscall.Errno {
	n, child, node, h, errno := fs.object(id, v)
	if errno != 0 {
		return errno
	}
	if errno = child.Getattr(r, node, h, out); errno == 0 {
		n.present(&out.Attr, fs.whichOf(child))
	}
	return errno
}

// Statx implements [vfs.FileSystem].
func (fs *FS) Statx(r *vfs.Request, id vfs.NodeID, v vfs.Handle, flags, mask uint32, out *vfs.Statx) syscall.Errno {
	n, child, node, h, errno := fs.object(id, v)
	if errno != 0 {
		return errno
	}
	if errno = child.Statx(r, node, h, flags, mask, out); errno == 0 {
		n.present(&out.Attr, fs.whichOf(child))
	}
	return errno
}

// Setattr implements [vfs.FileSystem]. Of a file that is truncated, only what is
// left is copied.
func (fs *FS) Setattr(r *vfs.Request, id vfs.NodeID, v vfs.Handle, in *vfs.SetAttr, out *vfs.AttrOut) syscall.Errno {
	if v != vfs.NoHandle {
		if _, errno := fs.handle(id, v, kindAny); errno != 0 {
			return errno
		}
	}
	n := fs.getPinned(id)
	if n == nil {
		return syscall.ESTALE
	}
	defer fs.unpin(n)
	limit := uint64(all)
	if in.Valid&vfs.SetSize != 0 {
		switch {
		case n.isDir():
			return syscall.EISDIR
		case n.typ != unix.S_IFREG:
			return syscall.EINVAL
		}
		limit = in.Size
	}
	made, errno := fs.copyUp(r, n, limit, func(upper vfs.NodeID) syscall.Errno {
		return fs.upper.Setattr(r, upper, vfs.NoHandle, in, out)
	})
	if errno == 0 && !made {
		var node vfs.NodeID
		var h vfs.Handle
		if _, _, node, h, errno = fs.object(id, v); errno == 0 {
			errno = fs.upper.Setattr(r, node, h, in, out)
		}
	}
	if errno == 0 {
		n.present(&out.Attr, inUpper)
	}
	return errno
}

// Access implements [vfs.FileSystem]. That the lower layer is read-only is no
// reason to refuse writing: then the permission bits decide.
func (fs *FS) Access(r *vfs.Request, id vfs.NodeID, mask uint32) syscall.Errno {
	n := fs.get(id)
	if n == nil {
		return syscall.ESTALE
	}
	child, node := fs.layer(n)
	errno := child.Access(r, node, mask)
	if errno != syscall.EROFS || mask&unix.W_OK == 0 || child == fs.upper {
		return errno
	}
	if errno = child.Access(r, node, mask&^unix.W_OK); errno != 0 {
		return errno
	}
	var a vfs.AttrOut
	if errno = child.Getattr(r, node, vfs.NoHandle, &a); errno == 0 && !mayWrite(r, &a.Attr) {
		errno = syscall.EACCES
	}
	return errno
}

// mayWrite goes by the permission bits.
func mayWrite(r *vfs.Request, a *vfs.Attr) bool {
	bits := a.Mode
	switch {
	case r.UID == 0:
		return true
	case r.UID == a.UID:
		bits >>= 6
	case inGroup(r, a.GID):
		bits >>= 3
	}
	return bits&unix.W_OK != 0
}

func inGroup(r *vfs.Request, gid uint32) bool {
	for _, g := range r.Groups {
		if g == gid {
			return true
		}
	}
	return r.GID == gid
}

// Readlink implements [vfs.FileSystem].
func (fs *FS) Readlink(r *vfs.Request, id vfs.NodeID, buf []byte) (int, syscall.Errno) {
	n := fs.get(id)
	if n == nil {
		return 0, syscall.ESTALE
	}
	child, node := fs.layer(n)
	return child.Readlink(r, node, buf)
}
