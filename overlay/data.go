package overlay

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Read implements [vfs.FileSystem].
func (fs *FS) Read(r *vfs.Request, id vfs.NodeID, v vfs.Handle, dst []unix.Iovec, off uint64, openFlags uint32) (int, syscall.Errno) {
	child, node, h, errno := fs.file(id, v)
	if errno != 0 {
		return 0, errno
	}
	return child.Read(r, node, h, dst, off, openFlags)
}

// written finds an open file for a call that changes it. What is open in the
// lower layer only is not open for writing.
func (fs *FS) written(id vfs.NodeID, v vfs.Handle) (vfs.NodeID, vfs.Handle, syscall.Errno) {
	child, node, h, errno := fs.file(id, v)
	if errno == 0 && child != fs.upper {
		errno = syscall.EBADF
	}
	return node, h, errno
}

// Write implements [vfs.FileSystem].
func (fs *FS) Write(r *vfs.Request, id vfs.NodeID, v vfs.Handle, src []unix.Iovec, off uint64, openFlags uint32, flags vfs.WriteFlags) (int, syscall.Errno) {
	node, h, errno := fs.written(id, v)
	if errno != 0 {
		return 0, errno
	}
	return fs.upper.Write(r, node, h, src, off, openFlags, flags)
}

// Flush implements [vfs.FileSystem].
func (fs *FS) Flush(r *vfs.Request, id vfs.NodeID, v vfs.Handle, lockOwner uint64) syscall.Errno {
	child, node, h, errno := fs.file(id, v)
	if errno != 0 {
		return errno
	}
	return child.Flush(r, node, h, lockOwner)
}

// Fsync implements [vfs.FileSystem]. What is in the lower layer is not written,
// so there is nothing to wait for.
func (fs *FS) Fsync(r *vfs.Request, id vfs.NodeID, v vfs.Handle, datasync bool) syscall.Errno {
	child, node, h, errno := fs.file(id, v)
	if errno != 0 || child != fs.upper {
		return errno
	}
	return fs.upper.Fsync(r, node, h, datasync)
}

// Fallocate implements [vfs.FileSystem].
func (fs *FS) Fallocate(r *vfs.Request, id vfs.NodeID, v vfs.Handle, off, length uint64, mode uint32) syscall.Errno {
	node, h, errno := fs.written(id, v)
	if errno != 0 {
		return errno
	}
	return fs.upper.Fallocate(r, node, h, off, length, mode)
}

// Lseek implements [vfs.FileSystem].
func (fs *FS) Lseek(r *vfs.Request, id vfs.NodeID, v vfs.Handle, off uint64, whence uint32) (uint64, syscall.Errno) {
	child, node, h, errno := fs.file(id, v)
	if errno != 0 {
		return 0, errno
	}
	return child.Lseek(r, node, h, off, whence)
}

// CopyFileRange implements [vfs.FileSystem]. From the lower layer it copies
// through memory, a part at a time.
func (fs *FS) CopyFileRange(r *vfs.Request, in *vfs.CopyRange) (uint64, syscall.Errno) {
	child, from, sh, errno := fs.file(in.SrcNode, in.SrcHandle)
	if errno != 0 {
		return 0, errno
	}
	to, dh, errno := fs.written(in.DstNode, in.DstHandle)
	if errno != 0 {
		return 0, errno
	}
	if child == fs.upper {
		c := *in
		c.SrcNode, c.SrcHandle, c.DstNode, c.DstHandle = from, sh, to, dh
		return fs.upper.CopyFileRange(r, &c)
	}
	const maxOff = 1<<63 - 1
	switch {
	case in.Flags != 0 || in.SrcOff > maxOff || in.DstOff > maxOff:
		return 0, syscall.EINVAL
	case in.Len > maxOff-in.SrcOff || in.Len > maxOff-in.DstOff:
		return 0, syscall.EOVERFLOW
	case in.Len == 0:
		return 0, 0
	case r.Nowait:
		return 0, vfs.WouldBlock
	}
	buf := copyBufs.Get().(*[copySize]byte)
	n, errno := pump(child, from, sh, in.SrcOff, fs.upper, to, dh, in.DstOff, buf[:min(copySize, in.Len)])
	copyBufs.Put(buf)
	if n > 0 {
		errno = 0 // a part is copied
	}
	return n, errno
}

// Statfs implements [vfs.FileSystem]: the space is that for changes.
func (fs *FS) Statfs(r *vfs.Request, id vfs.NodeID, out *vfs.Statfs) syscall.Errno {
	if fs.get(id) == nil {
		return syscall.ESTALE
	}
	return fs.upper.Statfs(r, vfs.Root, out)
}

// Syncfs implements [vfs.FileSystem].
func (fs *FS) Syncfs(r *vfs.Request, id vfs.NodeID) syscall.Errno {
	if fs.get(id) == nil {
		return syscall.ESTALE
	}
	return fs.upper.Syncfs(r, vfs.Root)
}

// Getlk and Setlk are never asked for: no lock feature is agreed to.
func (fs *FS) Getlk(*vfs.Request, vfs.NodeID, vfs.Handle, *vfs.Lock) syscall.Errno {
	return syscall.ENOSYS
}

// Setlk: see Getlk.
func (fs *FS) Setlk(*vfs.Request, vfs.NodeID, vfs.Handle, *vfs.Lock) syscall.Errno {
	return syscall.ENOSYS
}
