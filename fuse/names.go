package fuse

import (
	"bytes"
	"syscall"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

const (
	// maxTarget is the longest target of a symbolic link, less its NUL.
	maxTarget = 4095
	// renameMask are the flags of renameat2(2).
	renameMask = 1<<0 | 1<<1 | 1<<2
)

// oneName parses a request that ends in one name.
func (c *Call) oneName() (vfs.Name, syscall.Errno) {
	name, rest, errno := vfs.ParseName(c.tail())
	if errno == 0 && len(rest) != 0 {
		errno = syscall.EINVAL
	}
	return name, errno
}

// twoNames parses a request that ends in two names.
func (c *Call) twoNames() (first, second vfs.Name, errno syscall.Errno) {
	first, rest, errno := vfs.ParseName(c.tail())
	if errno != 0 {
		return vfs.Name{}, vfs.Name{}, errno
	}
	second, rest, errno = vfs.ParseName(rest)
	if errno == 0 && len(rest) != 0 {
		errno = syscall.EINVAL
	}
	return first, second, errno
}

// newName parses the name that a creating request gives, and the extensions.
func (c *Call) newName() (vfs.Name, syscall.Errno) {
	name, rest, errno := vfs.ParseName(c.tail())
	if errno == 0 {
		errno = c.extensions(rest)
	}
	return name, errno
}

func (s *Server) lookup(c *Call) (int, syscall.Errno) {
	name, errno := c.oneName()
	if errno != 0 {
		return 0, errno
	}
	c.entry = vfs.Entry{}
	errno = s.fs.Lookup(&c.req, c.node(), name, &c.entry)
	if errno == 0 && c.entry.Node == 0 {
		w := out[entryOut](c)
		w.entryValid, w.entryValidNsec = timeout(c.entry.EntryTTL)
		return sizeof[entryOut](), 0
	}
	return c.entryReply(errno)
}

func (s *Server) symlink(c *Call) (int, syscall.Errno) {
	name, rest, errno := vfs.ParseName(c.tail())
	if errno != 0 {
		return 0, errno
	}
	n := bytes.IndexByte(rest, 0)
	switch {
	case n < 0:
		return 0, syscall.EINVAL
	case n == 0:
		return 0, syscall.ENOENT // as symlink(2)
	case n > maxTarget:
		return 0, syscall.ENAMETOOLONG
	}
	target := rest[: n+1 : n+1]
	if errno := c.extensions(rest[n+1:]); errno != 0 {
		return 0, errno
	}
	c.entry = vfs.Entry{}
	return c.entryReply(s.fs.Symlink(&c.req, c.node(), name, target, &c.entry))
}

func (s *Server) mknod(c *Call) (int, syscall.Errno) {
	in := args[mknodIn](c)
	name, errno := c.newName()
	if errno != 0 {
		return 0, errno
	}
	c.req.Umask = in.umask & 0o777
	c.entry = vfs.Entry{}
	return c.entryReply(s.fs.Mknod(&c.req, c.node(), name, in.mode, in.rdev, &c.entry))
}

func (s *Server) mkdir(c *Call) (int, syscall.Errno) {
	in := args[mkdirIn](c)
	name, errno := c.newName()
	if errno != 0 {
		return 0, errno
	}
	c.req.Umask = in.umask & 0o777
	c.entry = vfs.Entry{}
	return c.entryReply(s.fs.Mkdir(&c.req, c.node(), name, in.mode, &c.entry))
}

func (s *Server) link(c *Call) (int, syscall.Errno) {
	in := args[linkIn](c)
	name, errno := c.oneName()
	if errno != 0 {
		return 0, errno
	}
	c.entry = vfs.Entry{}
	return c.entryReply(s.fs.Link(&c.req, vfs.NodeID(in.oldnodeid), c.node(), name, &c.entry))
}

func (s *Server) unlink(c *Call) (int, syscall.Errno) {
	name, errno := c.oneName()
	if errno != 0 {
		return 0, errno
	}
	return 0, s.fs.Unlink(&c.req, c.node(), name)
}

func (s *Server) rmdir(c *Call) (int, syscall.Errno) {
	name, errno := c.oneName()
	if errno != 0 {
		return 0, errno
	}
	return 0, s.fs.Rmdir(&c.req, c.node(), name)
}

func (s *Server) rename(c *Call) (int, syscall.Errno) {
	return s.renameNames(c, args[renameIn](c).newdir, 0)
}

func (s *Server) rename2(c *Call) (int, syscall.Errno) {
	in := args[rename2In](c)
	if in.flags&^renameMask != 0 {
		return 0, syscall.EINVAL
	}
	return s.renameNames(c, in.newdir, in.flags)
}

func (s *Server) renameNames(c *Call, newdir uint64, flags uint32) (int, syscall.Errno) {
	oldName, newName, errno := c.twoNames()
	if errno != 0 {
		return 0, errno
	}
	return 0, s.fs.Rename(&c.req, c.node(), oldName, vfs.NodeID(newdir), newName, flags)
}

func (s *Server) forget(c *Call) (int, syscall.Errno) {
	s.fs.Forget(c.node(), args[forgetIn](c).nlookup)
	return 0, 0
}

// batchForget reads its list in portions, since it may be as long as a message
// can be. A list that is shorter than its count is ignored as a whole.
func (s *Server) batchForget(c *Call) (int, syscall.Errno) {
	todo := uint64(args[batchForgetIn](c).count) * uint64(forgetOneSize)
	if todo > c.dataLen {
		return 0, syscall.EINVAL
	}
	c.bigIn = buffers.Get().(*buffer)
	off := uint64(inHeaderSize + c.op.args)
	for todo > 0 {
		part := c.bigIn.b[:min(todo, bufferSize/uint64(forgetOneSize)*uint64(forgetOneSize))]
		n, ok := oslib.IovRead(part, c.window(c.In, c.inLen, off, c.inLen-off))
		if n < len(part) {
			return 0, missing(ok)
		}
		for ; len(part) > 0; part = part[forgetOneSize:] {
			one := view[forgetOne](part)
			s.fs.Forget(vfs.NodeID(one.nodeid), one.nlookup)
		}
		off += uint64(n)
		todo -= uint64(n)
	}
	return 0, 0
}
