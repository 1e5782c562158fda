package vfstest

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// openFile is an open file of a session. It holds a reference to its node, as
// an open file of a guest does.
type openFile struct {
	c     *session
	node  vfs.NodeID
	h     vfs.Handle
	flags int
	dir   bool
}

// open does what open(2) does: it finds out what is there, and asks the file
// system for an open of what may be opened.
func (c *session) open(path string, flags int, mode uint32) (file, syscall.Errno) {
	switch {
	case flags&unix.O_TMPFILE == unix.O_TMPFILE:
		return c.tmpfile(path, flags, mode)
	case flags&unix.O_CREAT != 0:
		return c.create(path, flags, mode)
	}
	node, a, errno := c.walk(path)
	if errno != 0 {
		return nil, errno
	}
	f, errno := c.openNode(node, a, flags)
	if errno != 0 {
		c.put(node)
		return nil, errno
	}
	return f, 0
}

// openNode opens a node, and takes over the caller's reference if it can.
func (c *session) openNode(node vfs.NodeID, a attr, flags int) (file, syscall.Errno) {
	f := &openFile{c: c, node: node, flags: flags}
	var out vfs.Opened
	writes := flags&unix.O_ACCMODE != unix.O_RDONLY || flags&unix.O_TRUNC != 0
	if flags&unix.O_DIRECTORY != 0 && !a.isType(unix.S_IFDIR) {
		return nil, syscall.ENOTDIR
	}
	switch a.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if writes {
			return nil, syscall.EISDIR
		}
		f.dir = true
		errno := c.try(func(r *vfs.Request) syscall.Errno { return c.fs.Opendir(r, node, uint32(flags), &out) })
		f.h = out.Handle
		return f, errno
	case unix.S_IFLNK:
		return nil, syscall.ELOOP
	case unix.S_IFREG:
	default:
		return nil, syscall.ENXIO
	}
	pass, truncate := flags, flags&unix.O_TRUNC != 0
	if truncate && !c.feat.Has(vfs.FeatAtomicTrunc) {
		pass &^= unix.O_TRUNC
	} else {
		truncate = false
	}
	errno := c.try(func(r *vfs.Request) syscall.Errno {
		return c.fs.Open(r, node, uint32(pass), c.kills() && pass&unix.O_TRUNC != 0, &out)
	})
	if errno != 0 {
		return nil, errno
	}
	f.h = out.Handle
	if truncate {
		if _, errno := c.setattrOf(node, f.h, vfs.SetAttr{Valid: vfs.SetSize}); errno != 0 {
			c.fs.Release(&vfs.Request{}, node, f.h, &vfs.ReleaseIn{OpenFlags: uint32(flags)})
			return nil, errno
		}
	}
	return f, 0
}

// create asks the file system to make a file where there is none or where
// that is an error, and where there is one, which a guest with an old cache
// does too.
func (c *session) create(path string, flags int, mode uint32) (file, syscall.Errno) {
	if flags&unix.O_EXCL == 0 {
		node, a, errno := c.walk(path)
		if errno == 0 && !a.isType(unix.S_IFREG) {
			defer c.put(node)
			switch a.Mode & unix.S_IFMT {
			case unix.S_IFDIR:
				return nil, syscall.EISDIR
			case unix.S_IFLNK:
				return nil, syscall.ELOOP
			}
			return nil, syscall.ENXIO
		}
		if errno == 0 {
			c.put(node)
		}
	}
	var e vfs.Entry
	var out vfs.Opened
	errno := c.onName(path, func(r *vfs.Request, parent vfs.NodeID, n vfs.Name) syscall.Errno {
		return c.fs.Create(r, parent, n, uint32(flags), c.mode(mode&^unix.S_IFMT|unix.S_IFREG), &e, &out)
	})
	return c.opened(&e, &out, flags, errno)
}

func (c *session) tmpfile(path string, flags int, mode uint32) (file, syscall.Errno) {
	var e vfs.Entry
	var out vfs.Opened
	errno := c.onNode(path, func(r *vfs.Request, node vfs.NodeID) syscall.Errno {
		return c.fs.Tmpfile(r, node, uint32(flags), c.mode(mode&^unix.S_IFMT|unix.S_IFREG), &e, &out)
	})
	return c.opened(&e, &out, flags, errno)
}

// opened makes a file of what Create and Tmpfile return.
func (c *session) opened(e *vfs.Entry, out *vfs.Opened, flags int, errno syscall.Errno) (file, syscall.Errno) {
	if errno != 0 {
		return nil, errno
	}
	c.checked(e)
	c.took(e.Node)
	return &openFile{c: c, node: e.Node, h: out.Handle, flags: flags}, 0
}

func (f *openFile) try(call func(*vfs.Request) syscall.Errno) syscall.Errno { return f.c.try(call) }

func (f *openFile) close() syscall.Errno {
	errno := f.try(func(r *vfs.Request) syscall.Errno {
		if f.dir {
			return f.c.fs.Releasedir(r, f.node, f.h)
		}
		if errno := f.c.fs.Flush(r, f.node, f.h, 1); errno != 0 && errno != syscall.ENOSYS {
			return errno
		}
		return 0
	})
	if !f.dir {
		rel := f.try(func(r *vfs.Request) syscall.Errno {
			return f.c.fs.Release(r, f.node, f.h, &vfs.ReleaseIn{OpenFlags: uint32(f.flags)})
		})
		if errno == 0 {
			errno = rel
		}
	}
	f.c.put(f.node)
	return errno
}

// pread reads into two pieces, so that the order of pieces counts.
func (f *openFile) pread(n int, off uint64) (string, syscall.Errno) {
	switch {
	case f.dir:
		return "", syscall.EISDIR
	case n == 0 && f.flags&unix.O_ACCMODE == unix.O_WRONLY:
		return "", syscall.EBADF // no file system is asked for nothing
	}
	buf, got := make([]byte, n), 0
	errno := f.try(func(r *vfs.Request) (errno syscall.Errno) {
		iov := []unix.Iovec{oslib.Iov(buf[:n/3]), oslib.Iov(buf[n/3:])}
		got, errno = f.c.fs.Read(r, f.node, f.h, iov, off, uint32(f.flags))
		return errno
	})
	if errno != 0 {
		return "", errno
	}
	return string(buf[:got]), 0
}

func (f *openFile) pwrite(data string, off uint64) (int, syscall.Errno) {
	if data == "" && f.flags&unix.O_ACCMODE == unix.O_RDONLY {
		return 0, syscall.EBADF
	}
	buf, put := []byte(data), 0
	var flags vfs.WriteFlags
	if f.c.kills() {
		flags |= vfs.WriteKillSUIDGID
	}
	errno := f.try(func(r *vfs.Request) (errno syscall.Errno) {
		iov := []unix.Iovec{oslib.Iov(buf[:len(buf)/3]), oslib.Iov(buf[len(buf)/3:])}
		put, errno = f.c.fs.Write(r, f.node, f.h, iov, off, uint32(f.flags), flags)
		return errno
	})
	return put, errno
}

func (f *openFile) stat() (attr, syscall.Errno) {
	if f.dir {
		return f.c.getattr(f.node, vfs.NoHandle)
	}
	return f.c.getattr(f.node, f.h)
}

func (f *openFile) setattr(change vfs.SetAttr) (attr, syscall.Errno) {
	h := f.h
	if f.dir {
		h = vfs.NoHandle
	}
	return f.c.setattrOf(f.node, h, change)
}

func (f *openFile) fsync(datasync bool) syscall.Errno {
	return f.try(func(r *vfs.Request) syscall.Errno {
		if f.dir {
			return f.c.fs.Fsyncdir(r, f.node, f.h, datasync)
		}
		return f.c.fs.Fsync(r, f.node, f.h, datasync)
	})
}

func (f *openFile) fallocate(mode uint32, off, length uint64) syscall.Errno {
	return f.try(func(r *vfs.Request) syscall.Errno {
		return f.c.fs.Fallocate(r, f.node, f.h, off, length, mode)
	})
}

func (f *openFile) seek(off uint64, whence uint32) (uint64, syscall.Errno) {
	var pos uint64
	errno := f.try(func(r *vfs.Request) (errno syscall.Errno) {
		pos, errno = f.c.fs.Lseek(r, f.node, f.h, off, whence)
		return errno
	})
	if errno != 0 {
		return 0, errno
	}
	return pos, 0
}

func (f *openFile) copyTo(dst file, srcOff, dstOff, n, flags uint64) (uint64, syscall.Errno) {
	d := dst.(*openFile)
	var done uint64
	errno := f.try(func(r *vfs.Request) (errno syscall.Errno) {
		done, errno = f.c.fs.CopyFileRange(r, &vfs.CopyRange{
			SrcNode: f.node, SrcHandle: f.h, SrcOff: srcOff,
			DstNode: d.node, DstHandle: d.h, DstOff: dstOff,
			Len: n, Flags: flags,
		})
		return errno
	})
	return done, errno
}

func (f *openFile) link(path string) (attr, syscall.Errno) { return f.c.linkNode(f.node, path) }

func (f *openFile) ioctl(cmd uint32, in []byte, out int) ([]byte, syscall.Errno) {
	buf, n := make([]byte, out), 0
	errno := f.try(func(r *vfs.Request) (errno syscall.Errno) {
		n, _, errno = f.c.fs.Ioctl(r, f.node, f.h, cmd, 0, in, buf)
		return errno
	})
	if errno != 0 {
		return nil, errno
	}
	return buf[:n], 0
}
