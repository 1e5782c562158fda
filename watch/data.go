package watch

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// beginOpen begins a record of a call on a handle.
func (fs *FS) beginOpen(op Op, r *vfs.Request, node vfs.NodeID, h vfs.Handle) *call {
	c := fs.begin(op, r, node)
	if c != nil {
		c.rec.Handle = h
	}
	return c
}

// Open implements [vfs.FileSystem].
func (fs *FS) Open(r *vfs.Request, node vfs.NodeID, flags uint32, kill bool, out *vfs.Opened) syscall.Errno {
	c, s := fs.begin(OpOpen, r, node), fs.session.Load()
	errno := fs.inner.Open(r, node, flags, kill, out)
	if errno == 0 {
		s.opened(r, node, out.Handle, flags, false)
	}
	if c != nil {
		c.rec.Flags = flags
		c.opened(errno, out)
		c.end(errno)
	}
	return errno
}

// Read implements [vfs.FileSystem].
func (fs *FS) Read(r *vfs.Request, node vfs.NodeID, h vfs.Handle, dst []unix.Iovec, off uint64, openFlags uint32) (int, syscall.Errno) {
	c := fs.beginOpen(OpRead, r, node, h)
	if c == nil && !fs.countBytes {
		return fs.inner.Read(r, node, h, dst, off, openFlags)
	}
	n, errno := fs.inner.Read(r, node, h, dst, off, openFlags)
	if fs.countBytes && n > 0 {
		if f := fs.session.Load().files.find(node, h); f != nil {
			f.read.Add(uint64(n))
		}
	}
	if c != nil {
		c.rec.Offset, c.rec.Length, c.rec.Count = off, room(dst), uint64(n)
		c.end(errno)
	}
	return n, errno
}

// Write implements [vfs.FileSystem].
func (fs *FS) Write(r *vfs.Request, node vfs.NodeID, h vfs.Handle, src []unix.Iovec, off uint64, openFlags uint32, flags vfs.WriteFlags) (int, syscall.Errno) {
	c := fs.beginOpen(OpWrite, r, node, h)
	if c == nil && !fs.countBytes {
		return fs.inner.Write(r, node, h, src, off, openFlags, flags)
	}
	n, errno := fs.inner.Write(r, node, h, src, off, openFlags, flags)
	if fs.countBytes && n > 0 {
		if f := fs.session.Load().files.find(node, h); f != nil {
			f.written.Add(uint64(n))
		}
	}
	if c != nil {
		c.rec.Offset, c.rec.Length, c.rec.Count = off, room(src), uint64(n)
		c.end(errno)
	}
	return n, errno
}

// Flush implements [vfs.FileSystem].
func (fs *FS) Flush(r *vfs.Request, node vfs.NodeID, h vfs.Handle, lockOwner uint64) syscall.Errno {
	c := fs.beginOpen(OpFlush, r, node, h)
	errno := fs.inner.Flush(r, node, h, lockOwner)
	if c != nil {
		c.end(errno)
	}
	return errno
}

// Release implements [vfs.FileSystem].
func (fs *FS) Release(r *vfs.Request, node vfs.NodeID, h vfs.Handle, in *vfs.ReleaseIn) syscall.Errno {
	c, s := fs.beginOpen(OpRelease, r, node, h), fs.session.Load()
	f, errno := s.closing(node, h)
	if errno == 0 {
		errno = fs.inner.Release(r, node, h, in)
		s.closed(f, node, false, errno)
	}
	if c != nil {
		c.end(errno)
	}
	return errno
}

// flag is 1 for true.
func flag(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// Fsync implements [vfs.FileSystem].
func (fs *FS) Fsync(r *vfs.Request, node vfs.NodeID, h vfs.Handle, datasync bool) syscall.Errno {
	c := fs.beginOpen(OpFsync, r, node, h)
	errno := fs.inner.Fsync(r, node, h, datasync)
	if c != nil {
		c.rec.Flags = flag(datasync)
		c.end(errno)
	}
	return errno
}

// Fallocate implements [vfs.FileSystem].
func (fs *FS) Fallocate(r *vfs.Request, node vfs.NodeID, h vfs.Handle, off, length uint64, mode uint32) syscall.Errno {
	c := fs.beginOpen(OpFallocate, r, node, h)
	errno := fs.inner.Fallocate(r, node, h, off, length, mode)
	if c != nil {
		c.rec.Offset, c.rec.Length, c.rec.Flags = off, length, mode
		c.end(errno)
	}
	return errno
}

// Lseek implements [vfs.FileSystem].
func (fs *FS) Lseek(r *vfs.Request, node vfs.NodeID, h vfs.Handle, off uint64, whence uint32) (uint64, syscall.Errno) {
	c := fs.beginOpen(OpLseek, r, node, h)
	pos, errno := fs.inner.Lseek(r, node, h, off, whence)
	if c != nil {
		c.rec.Offset, c.rec.Flags, c.rec.Count = off, whence, pos
		c.end(errno)
	}
	return pos, errno
}

// CopyFileRange implements [vfs.FileSystem].
func (fs *FS) CopyFileRange(r *vfs.Request, in *vfs.CopyRange) (uint64, syscall.Errno) {
	c := fs.beginOpen(OpCopyRange, r, in.SrcNode, in.SrcHandle)
	if c != nil {
		c.node2 = in.DstNode
		c.rec.Offset, c.rec.Length = in.SrcOff, in.Len
	}
	n, errno := fs.inner.CopyFileRange(r, in)
	if fs.countBytes && n > 0 {
		files := &fs.session.Load().files
		if f := files.find(in.SrcNode, in.SrcHandle); f != nil {
			f.read.Add(n)
		}
		if f := files.find(in.DstNode, in.DstHandle); f != nil {
			f.written.Add(n)
		}
	}
	if c != nil {
		c.rec.Count = n
		c.end(errno)
	}
	return n, errno
}

// Getlk implements [vfs.FileSystem].
func (fs *FS) Getlk(r *vfs.Request, node vfs.NodeID, h vfs.Handle, lk *vfs.Lock) syscall.Errno {
	c := fs.beginOpen(OpGetlk, r, node, h)
	if c != nil {
		c.lock(lk)
	}
	errno := fs.inner.Getlk(r, node, h, lk)
	if c != nil {
		c.end(errno)
	}
	return errno
}

// Setlk implements [vfs.FileSystem].
func (fs *FS) Setlk(r *vfs.Request, node vfs.NodeID, h vfs.Handle, lk *vfs.Lock) syscall.Errno {
	c := fs.beginOpen(OpSetlk, r, node, h)
	if c != nil {
		c.lock(lk)
	}
	errno := fs.inner.Setlk(r, node, h, lk)
	if c != nil {
		c.end(errno)
	}
	return errno
}

// lock notes the lock that is asked for, as fcntl(2) describes it.
func (c *call) lock(lk *vfs.Lock) {
	c.rec.Offset, c.rec.Flags = lk.Start, lk.Type
	if lk.End < vfs.MaxLockEnd && lk.Start <= lk.End {
		c.rec.Length = lk.End - lk.Start + 1
	}
}

// Ioctl implements [vfs.FileSystem].
func (fs *FS) Ioctl(r *vfs.Request, node vfs.NodeID, h vfs.Handle, cmd uint32, arg uint64, in, out []byte) (int, int32, syscall.Errno) {
	c := fs.beginOpen(OpIoctl, r, node, h)
	n, result, errno := fs.inner.Ioctl(r, node, h, cmd, arg, in, out)
	if c != nil {
		c.rec.Flags = cmd
		c.end(errno)
	}
	return n, result, errno
}
