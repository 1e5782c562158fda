package watch

import (
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Getattr implements [vfs.FileSystem].
func (fs *FS) Getattr(r *vfs.Request, node vfs.NodeID, h vfs.Handle, out *vfs.AttrOut) syscall.Errno {
	c := fs.beginOpen(OpGetattr, r, node, h)
	errno := fs.inner.Getattr(r, node, h, out)
	if c != nil {
		c.end(errno)
	}
	return errno
}

// Setattr implements [vfs.FileSystem].
func (fs *FS) Setattr(r *vfs.Request, node vfs.NodeID, h vfs.Handle, in *vfs.SetAttr, out *vfs.AttrOut) syscall.Errno {
	c := fs.beginOpen(OpSetattr, r, node, h)
	if c != nil {
		c.set(in)
	}
	errno := fs.inner.Setattr(r, node, h, in, out)
	if c != nil {
		c.end(errno)
	}
	return errno
}

// set notes a change of attributes.
func (c *call) set(in *vfs.SetAttr) {
	c.rec.Flags = uint32(in.Valid)
	if in.Valid&vfs.SetSize != 0 {
		c.rec.Length = in.Size
	}
	if in.Valid&vfs.SetMode != 0 {
		c.rec.Mode = in.Mode
	}
	if in.Valid&vfs.SetUID != 0 {
		c.rec.Owner = in.UID
	}
	if in.Valid&vfs.SetGID != 0 {
		c.rec.Group = in.GID
	}
}

// Statx implements [vfs.FileSystem].
func (fs *FS) Statx(r *vfs.Request, node vfs.NodeID, h vfs.Handle, flags, mask uint32, out *vfs.Statx) syscall.Errno {
	c := fs.beginOpen(OpStatx, r, node, h)
	errno := fs.inner.Statx(r, node, h, flags, mask, out)
	if c != nil {
		c.rec.Flags = mask
		c.end(errno)
	}
	return errno
}

// Access implements [vfs.FileSystem].
func (fs *FS) Access(r *vfs.Request, node vfs.NodeID, mask uint32) syscall.Errno {
	c := fs.begin(OpAccess, r, node)
	errno := fs.inner.Access(r, node, mask)
	if c != nil {
		c.rec.Flags = mask
		c.end(errno)
	}
	return errno
}

// Readlink implements [vfs.FileSystem].
func (fs *FS) Readlink(r *vfs.Request, node vfs.NodeID, buf []byte) (int, syscall.Errno) {
	c := fs.begin(OpReadlink, r, node)
	n, errno := fs.inner.Readlink(r, node, buf)
	if c != nil {
		c.rec.Count = uint64(n)
		c.end(errno)
	}
	return n, errno
}

// Statfs implements [vfs.FileSystem].
func (fs *FS) Statfs(r *vfs.Request, node vfs.NodeID, out *vfs.Statfs) syscall.Errno {
	c := fs.begin(OpStatfs, r, node)
	errno := fs.inner.Statfs(r, node, out)
	if c != nil {
		c.end(errno)
	}
	return errno
}

// Syncfs implements [vfs.FileSystem].
func (fs *FS) Syncfs(r *vfs.Request, node vfs.NodeID) syscall.Errno {
	c := fs.begin(OpSyncfs, r, node)
	errno := fs.inner.Syncfs(r, node)
	if c != nil {
		c.end(errno)
	}
	return errno
}

// Getxattr implements [vfs.FileSystem].
func (fs *FS) Getxattr(r *vfs.Request, node vfs.NodeID, name, buf []byte) (int, syscall.Errno) {
	c := fs.begin(OpGetxattr, r, node)
	n, errno := fs.inner.Getxattr(r, node, name, buf)
	if c != nil {
		c.rec.Path2, c.rec.Length, c.rec.Count = text(name), uint64(len(buf)), uint64(n)
		c.end(errno)
	}
	return n, errno
}

// Listxattr implements [vfs.FileSystem].
func (fs *FS) Listxattr(r *vfs.Request, node vfs.NodeID, buf []byte) (int, syscall.Errno) {
	c := fs.begin(OpListxattr, r, node)
	n, errno := fs.inner.Listxattr(r, node, buf)
	if c != nil {
		c.rec.Length, c.rec.Count = uint64(len(buf)), uint64(n)
		c.end(errno)
	}
	return n, errno
}

// Setxattr implements [vfs.FileSystem].
func (fs *FS) Setxattr(r *vfs.Request, node vfs.NodeID, name, value []byte, flags uint32, killSGID bool) syscall.Errno {
	c := fs.begin(OpSetxattr, r, node)
	errno := fs.inner.Setxattr(r, node, name, value, flags, killSGID)
	if c != nil {
		c.rec.Path2, c.rec.Length, c.rec.Flags = text(name), uint64(len(value)), flags
		c.end(errno)
	}
	return errno
}

// Removexattr implements [vfs.FileSystem].
func (fs *FS) Removexattr(r *vfs.Request, node vfs.NodeID, name []byte) syscall.Errno {
	c := fs.begin(OpRemovexattr, r, node)
	errno := fs.inner.Removexattr(r, node, name)
	if c != nil {
		c.rec.Path2 = text(name)
		c.end(errno)
	}
	return errno
}
