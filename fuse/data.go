package fuse

import (
	"bytes"
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

func (s *Server) open(c *Call) (int, syscall.Errno) {
	in := args[openIn](c)
	c.opened = vfs.Opened{}
	if errno := s.fs.Open(&c.req, c.node(), in.flags, in.openFlags&openKillSUIDGID != 0, &c.opened); errno != 0 {
		return 0, errno
	}
	c.given = givenFile
	putOpened(out[openOut](c), &c.opened)
	return sizeof[openOut](), 0
}

func (s *Server) create(c *Call) (int, syscall.Errno) {
	in := args[createIn](c)
	name, errno := c.newName()
	if errno != 0 {
		return 0, errno
	}
	c.req.Umask = in.umask & 0o777
	c.entry, c.opened = vfs.Entry{}, vfs.Opened{}
	return c.createReply(s.fs.Create(&c.req, c.node(), name, in.flags, in.mode, &c.entry, &c.opened))
}

// tmpfile has a name among its arguments only because CREATE has one: Linux
// sends "/".
func (s *Server) tmpfile(c *Call) (int, syscall.Errno) {
	in := args[createIn](c)
	tail := c.tail()
	n := bytes.IndexByte(tail, 0)
	if n < 0 {
		return 0, syscall.EINVAL
	}
	if errno := c.extensions(tail[n+1:]); errno != 0 {
		return 0, errno
	}
	c.req.Umask = in.umask & 0o777
	c.entry, c.opened = vfs.Entry{}, vfs.Opened{}
	return c.createReply(s.fs.Tmpfile(&c.req, c.node(), in.flags, in.mode, &c.entry, &c.opened))
}

// createReply answers with c.entry and c.opened.
func (c *Call) createReply(errno syscall.Errno) (int, syscall.Errno) {
	if _, errno := c.entryReply(errno); errno != 0 {
		return 0, errno
	}
	c.given |= givenFile
	w := out[createOut](c)
	putEntry(&w.entry, &c.entry)
	putOpened(&w.open, &c.opened)
	return sizeof[createOut](), 0
}

// read has the file system fill the reply area behind the header. The header
// comes last, when the length is known.
func (s *Server) read(c *Call) (int, syscall.Errno) {
	in := args[readIn](c)
	size := uint64(in.size)
	if in.size > s.maxWrite || c.outLen < uint64(outHeaderSize)+size {
		return 0, syscall.EINVAL
	}
	dst := c.window(c.Out, c.outLen, uint64(outHeaderSize), size)
	n, errno := s.fs.Read(&c.req, c.node(), vfs.Handle(in.fh), dst, in.offset, in.flags)
	if errno == 0 && uint64(n) > size {
		errno = syscall.EIO
	}
	c.inPlace = true
	return n, errno
}

// write passes on the data that is left in c.In behind the arguments.
func (s *Server) write(c *Call) (int, syscall.Errno) {
	in := args[writeIn](c)
	size := uint64(in.size)
	if in.size > s.maxWrite || size != c.dataLen {
		return 0, syscall.EINVAL
	}
	var flags vfs.WriteFlags
	if in.writeFlags&writeCache != 0 {
		flags |= vfs.WriteCache
	}
	if in.writeFlags&writeKillSUIDGID != 0 {
		flags |= vfs.WriteKillSUIDGID
	}
	src := c.window(c.In, c.inLen, uint64(inHeaderSize+c.op.args), size)
	n, errno := s.fs.Write(&c.req, c.node(), vfs.Handle(in.fh), src, in.offset, in.flags, flags)
	if errno != 0 {
		return 0, errno
	}
	if uint64(n) > size {
		return 0, syscall.EIO
	}
	out[writeOut](c).size = uint32(n)
	return sizeof[writeOut](), 0
}

func (s *Server) flush(c *Call) (int, syscall.Errno) {
	in := args[flushIn](c)
	return 0, s.fs.Flush(&c.req, c.node(), vfs.Handle(in.fh), in.lockOwner)
}

func (s *Server) release(c *Call) (int, syscall.Errno) {
	in := args[releaseIn](c)
	c.rel = vfs.ReleaseIn{
		OpenFlags:   in.flags,
		LockOwner:   in.lockOwner,
		FlockUnlock: in.releaseFlags&releaseFlockUnlock != 0,
	}
	return 0, s.fs.Release(&c.req, c.node(), vfs.Handle(in.fh), &c.rel)
}

func (s *Server) fsync(c *Call) (int, syscall.Errno) {
	in := args[fsyncIn](c)
	return 0, s.fs.Fsync(&c.req, c.node(), vfs.Handle(in.fh), in.flags&fsyncFDatasync != 0)
}

func (s *Server) fallocate(c *Call) (int, syscall.Errno) {
	in := args[fallocateIn](c)
	return 0, s.fs.Fallocate(&c.req, c.node(), vfs.Handle(in.fh), in.offset, in.length, in.mode)
}

func (s *Server) lseek(c *Call) (int, syscall.Errno) {
	in := args[lseekIn](c)
	off, errno := s.fs.Lseek(&c.req, c.node(), vfs.Handle(in.fh), in.offset, in.whence)
	if errno != 0 {
		return 0, errno
	}
	out[lseekOut](c).offset = off
	return sizeof[lseekOut](), 0
}

// copyFileRange cuts the length to what its reply can tell.
func (s *Server) copyFileRange(c *Call) (int, syscall.Errno) {
	n, errno := s.copyRange(c, maxCopyFileRange)
	if errno != 0 {
		return 0, errno
	}
	out[writeOut](c).size = uint32(n)
	return sizeof[writeOut](), 0
}

func (s *Server) copyFileRange64(c *Call) (int, syscall.Errno) {
	n, errno := s.copyRange(c, ^uint64(0))
	if errno != 0 {
		return 0, errno
	}
	out[copyFileRangeOut](c).copied = n
	return sizeof[copyFileRangeOut](), 0
}

func (s *Server) copyRange(c *Call, most uint64) (uint64, syscall.Errno) {
	in := args[copyFileRangeIn](c)
	c.copying = vfs.CopyRange{
		SrcNode:   c.node(),
		DstNode:   vfs.NodeID(in.nodeidOut),
		SrcHandle: vfs.Handle(in.fhIn),
		DstHandle: vfs.Handle(in.fhOut),
		SrcOff:    in.offIn,
		DstOff:    in.offOut,
		Len:       min(in.length, most),
		Flags:     in.flags,
	}
	n, errno := s.fs.CopyFileRange(&c.req, &c.copying)
	if errno == 0 && n > min(in.length, most) {
		errno = syscall.EIO
	}
	return n, errno
}
