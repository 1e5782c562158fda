package fuse

import (
	"bytes"
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

const (
	maxXattr     = 64 << 10 // XATTR_SIZE_MAX and XATTR_LIST_MAX
	maxXattrName = 255      // XATTR_NAME_MAX
)

// xattrName takes the name of an attribute, with its NUL, from the front of b
// and returns what follows. The errors are those of the system calls.
func xattrName(b []byte) (name, rest []byte, errno syscall.Errno) {
	n := bytes.IndexByte(b, 0)
	switch {
	case n < 0:
		return nil, nil, syscall.EINVAL
	case n == 0, n > maxXattrName:
		return nil, nil, syscall.ERANGE
	}
	return b[: n+1 : n+1], b[n+1:], 0
}

func (s *Server) setxattr(c *Call) (int, syscall.Errno) {
	var in setxattrIn
	rest := c.tail()
	if c.sess.features.Has(vfs.FeatSetxattrExt) {
		if len(c.body) < sizeof[setxattrIn]() {
			return 0, syscall.EINVAL
		}
		in = *args[setxattrIn](c)
		rest = c.body[sizeof[setxattrIn]():]
	} else {
		in.setxattrCompatIn = *args[setxattrCompatIn](c)
	}
	name, value, errno := xattrName(rest)
	switch {
	case errno != 0:
		return 0, errno
	case in.size > maxXattr:
		return 0, syscall.E2BIG
	case uint64(in.size) != uint64(len(value)):
		return 0, syscall.EINVAL
	}
	kill := in.setxattrFlags&setxattrACLKillSGID != 0
	return 0, s.fs.Setxattr(&c.req, c.node(), name, value, in.flags, kill)
}

func (s *Server) getxattr(c *Call) (int, syscall.Errno) {
	name, rest, errno := xattrName(c.tail())
	if errno == 0 && len(rest) != 0 {
		errno = syscall.EINVAL
	}
	if errno != 0 {
		return 0, errno
	}
	buf, errno := c.xattrRoom()
	if errno != 0 {
		return 0, errno
	}
	n, errno := s.fs.Getxattr(&c.req, c.node(), name, buf)
	return c.xattrReply(buf, n, errno)
}

func (s *Server) listxattr(c *Call) (int, syscall.Errno) {
	buf, errno := c.xattrRoom()
	if errno != 0 {
		return 0, errno
	}
	n, errno := s.fs.Listxattr(&c.req, c.node(), buf)
	return c.xattrReply(buf, n, errno)
}

// xattrRoom returns the buffer for what GETXATTR or LISTXATTR asks for; nil if
// it asks for the length alone.
func (c *Call) xattrRoom() ([]byte, syscall.Errno) {
	size := min(args[getxattrIn](c).size, maxXattr)
	want := int(size)
	if size == 0 {
		want = sizeof[getxattrOut]()
	}
	if c.outLen < uint64(outHeaderSize+want) {
		return nil, syscall.EINVAL
	}
	if size == 0 {
		return nil, 0
	}
	return c.room(want), 0
}

// xattrReply answers with n bytes of buf, or with the number if there is no buf.
func (c *Call) xattrReply(buf []byte, n int, errno syscall.Errno) (int, syscall.Errno) {
	switch {
	case errno != 0:
		return 0, errno
	case buf != nil && uint(n) <= uint(len(buf)):
		return n, 0
	case buf == nil && uint(n) <= maxXattr:
		out[getxattrOut](c).size = uint32(n)
		return sizeof[getxattrOut](), 0
	}
	return 0, syscall.EIO
}

func (s *Server) removexattr(c *Call) (int, syscall.Errno) {
	name, rest, errno := xattrName(c.tail())
	if errno == 0 && len(rest) != 0 {
		errno = syscall.EINVAL
	}
	if errno != 0 {
		return 0, errno
	}
	return 0, s.fs.Removexattr(&c.req, c.node(), name)
}
