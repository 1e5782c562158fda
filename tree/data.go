package tree

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Read implements [vfs.FileSystem].
func (fs *FS) Read(r *vfs.Request, node vfs.NodeID, h vfs.Handle, dst []unix.Iovec, off uint64, openFlags uint32) (int, syscall.Errno) {
	if node <= vfs.MaxNodeID {
		return fs.root.child.Read(r, node, h, dst, off, openFlags)
	}
	m, id := fs.enter(node)
	if m == nil {
		return 0, syscall.ESTALE
	}
	n, errno := m.child.Read(r, id, h, dst, off, openFlags)
	m.leave(id)
	return n, errno
}

// Write implements [vfs.FileSystem].
func (fs *FS) Write(r *vfs.Request, node vfs.NodeID, h vfs.Handle, src []unix.Iovec, off uint64, openFlags uint32, flags vfs.WriteFlags) (int, syscall.Errno) {
	if node <= vfs.MaxNodeID {
		return fs.root.child.Write(r, node, h, src, off, openFlags, flags)
	}
	m, id := fs.enter(node)
	if m == nil {
		return 0, syscall.ESTALE
	}
	n, errno := m.child.Write(r, id, h, src, off, openFlags, flags)
	m.leave(id)
	return n, errno
}

// Flush implements [vfs.FileSystem].
func (fs *FS) Flush(r *vfs.Request, node vfs.NodeID, h vfs.Handle, lockOwner uint64) syscall.Errno {
	m, id := fs.call(node)
	if m == nil {
		return syscall.ESTALE
	}
	errno := fs.instead(m, m.child.Flush(r, id, h, lockOwner), 0)
	m.leave(id)
	return errno
}

// Fsync implements [vfs.FileSystem].
func (fs *FS) Fsync(r *vfs.Request, node vfs.NodeID, h vfs.Handle, datasync bool) syscall.Errno {
	m, id := fs.call(node)
	if m == nil {
		return syscall.ESTALE
	}
	errno := fs.instead(m, m.child.Fsync(r, id, h, datasync), 0)
	m.leave(id)
	return errno
}

// Fsyncdir implements [vfs.FileSystem].
func (fs *FS) Fsyncdir(r *vfs.Request, node vfs.NodeID, h vfs.Handle, datasync bool) syscall.Errno {
	m, id := fs.call(node)
	if m == nil {
		return syscall.ESTALE
	}
	errno := fs.instead(m, m.child.Fsyncdir(r, id, h, datasync), 0)
	m.leave(id)
	return errno
}

// Fallocate implements [vfs.FileSystem].
func (fs *FS) Fallocate(r *vfs.Request, node vfs.NodeID, h vfs.Handle, off, length uint64, mode uint32) syscall.Errno {
	m, id := fs.call(node)
	if m == nil {
		return syscall.ESTALE
	}
	errno := fs.instead(m, m.child.Fallocate(r, id, h, off, length, mode), syscall.EOPNOTSUPP)
	m.leave(id)
	return errno
}

// Lseek implements [vfs.FileSystem].
func (fs *FS) Lseek(r *vfs.Request, node vfs.NodeID, h vfs.Handle, off uint64, whence uint32) (uint64, syscall.Errno) {
	m, id := fs.call(node)
	if m == nil {
		return 0, syscall.ESTALE
	}
	pos, errno := m.child.Lseek(r, id, h, off, whence)
	if errno == syscall.ENOSYS && fs.instead(m, errno, 0) == 0 {
		pos, errno = m.seek(r, id, h, off, whence)
	}
	m.leave(id)
	return pos, errno
}

// seek is Lseek for a file system without: a file is all data, up to its end.
func (m *mount) seek(r *vfs.Request, id vfs.NodeID, h vfs.Handle, off uint64, whence uint32) (uint64, syscall.Errno) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	errno := m.child.Getattr(r, id, h, &s.attr)
	switch size := s.attr.Attr.Size; {
	case errno != 0:
		return 0, errno
	case whence != unix.SEEK_DATA && whence != unix.SEEK_HOLE:
		return 0, syscall.EINVAL
	case off >= size:
		return 0, syscall.ENXIO
	case whence == unix.SEEK_DATA:
		return off, 0
	default:
		return size, 0
	}
}

// CopyFileRange implements [vfs.FileSystem].
func (fs *FS) CopyFileRange(r *vfs.Request, in *vfs.CopyRange) (uint64, syscall.Errno) {
	src, from := fs.call(in.SrcNode)
	if src == nil {
		return 0, syscall.ESTALE
	}
	defer src.leave(from)
	dst, to := fs.call(in.DstNode)
	if dst == nil {
		return 0, syscall.ESTALE
	}
	defer dst.leave(to)
	if src != dst {
		return 0, src.refuse(r, from, dst.refuse(r, to, syscall.EXDEV))
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.copy = *in
	s.copy.SrcNode, s.copy.DstNode = from, to
	n, errno := src.child.CopyFileRange(r, &s.copy)
	return n, fs.instead(src, errno, syscall.EOPNOTSUPP)
}

// Ioctl implements [vfs.FileSystem].
func (fs *FS) Ioctl(r *vfs.Request, node vfs.NodeID, h vfs.Handle, cmd uint32, arg uint64, in, out []byte) (int, int32, syscall.Errno) {
	m, id := fs.call(node)
	if m == nil {
		return 0, 0, syscall.ESTALE
	}
	n, result, errno := m.child.Ioctl(r, id, h, cmd, arg, in, out)
	m.leave(id)
	return n, result, fs.instead(m, errno, syscall.ENOTTY)
}
