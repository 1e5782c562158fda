package fuse

import (
	"syscall"
	"time"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// maxErrno is the largest error number that Linux takes in a reply; those from
// 512 on are the kernel's own (ERESTARTSYS and its kin).
const maxErrno = 511

// given says what a reply gives the guest that it would have to give back. If
// the reply cannot be delivered, takeBack does so in its place.
type given uint8

const (
	givenEntry given = 1 << iota // a reference to c.entry.Node
	givenFile                    // c.opened of that node, or of the request's
	givenDir                     // c.opened of the request's node
	givenList                    // a reference to each node in c.sink
)

// out returns a zeroed structure that begins the payload of c's reply. It fits
// the fixed reply buffer.
func out[T wire](c *Call) *T {
	p := view[T](c.fixed.b[outHeaderSize:])
	*p = *new(T)
	return p
}

// room returns n bytes for the payload of c's reply, not zeroed, aligned to 8
// bytes. n is at most bufferSize less the reply header.
func (c *Call) room(n int) []byte {
	n += outHeaderSize
	if n <= len(c.fixed.b) {
		c.reply = c.fixed.b[:n]
	} else {
		if c.bigOut == nil {
			c.bigOut = buffers.Get().(*buffer)
		}
		c.reply = c.bigOut.b[:n]
	}
	return c.reply[outHeaderSize:]
}

// answer puts the result of an operation into c.Out: a payload of n bytes or an
// error. It returns the length of the reply, zero if there is none.
func (s *Server) answer(c *Call, n int, errno syscall.Errno) uint32 {
	if errno != 0 {
		return s.fail(c, errno)
	}
	length := outHeaderSize + n
	if c.op.replies == never || c.op.replies == ifRoom && c.outLen < uint64(length) {
		return 0
	}
	if uint64(length) > c.outLen {
		s.takeBack(c)
		return s.fail(c, syscall.EINVAL)
	}
	msg := c.reply
	if msg == nil {
		msg = c.fixed.b[:]
	}
	*view[outHeader](msg) = outHeader{length: uint32(length), unique: c.header().unique}
	if c.inPlace {
		msg = msg[:outHeaderSize]
	} else {
		msg = msg[:length]
	}
	if sent, _ := oslib.IovWrite(c.Out, msg); sent < len(msg) {
		s.takeBack(c)
		return s.fail(c, syscall.EFAULT)
	}
	return uint32(length)
}

// fail puts an error reply into c.Out, where there is room for one.
func (s *Server) fail(c *Call, errno syscall.Errno) uint32 {
	if errno == 0 || errno > maxErrno {
		errno = syscall.EIO
	}
	c.errno = errno
	if c.op.replies == never || c.outLen < uint64(outHeaderSize) {
		return 0
	}
	msg := c.fixed.b[:outHeaderSize]
	*view[outHeader](msg) = outHeader{length: uint32(outHeaderSize), errno: -int32(errno), unique: c.header().unique}
	if n, _ := oslib.IovWrite(c.Out, msg); n < len(msg) {
		return 0
	}
	return uint32(outHeaderSize)
}

// takeBack undoes what an undelivered reply would have given the guest.
func (s *Server) takeBack(c *Call) {
	g := c.given
	c.given = 0
	c.req.Nowait = false
	node := c.node()
	if g&givenEntry != 0 {
		node = c.entry.Node
	}
	switch {
	case g&givenFile != 0:
		c.rel = vfs.ReleaseIn{}
		s.fs.Release(&c.req, node, c.opened.Handle, &c.rel)
	case g&givenDir != 0:
		s.fs.Releasedir(&c.req, node, c.opened.Handle)
	case g&givenList != 0:
		s.takeBackList(&c.sink)
	}
	if g&givenEntry != 0 {
		s.fs.Forget(c.entry.Node, 1)
	}
}

// timeout splits the time that the guest may keep something.
func timeout(d time.Duration) (sec uint64, nsec uint32) {
	if d <= 0 {
		return 0, 0
	}
	return uint64(d / time.Second), uint32(d % time.Second)
}

func putAttr(w *wireAttr, a *vfs.Attr) {
	*w = wireAttr{
		ino:       a.Ino,
		size:      a.Size,
		blocks:    a.Blocks,
		atime:     uint64(a.Atime.Sec),
		mtime:     uint64(a.Mtime.Sec),
		ctime:     uint64(a.Ctime.Sec),
		atimensec: a.Atime.Nsec,
		mtimensec: a.Mtime.Nsec,
		ctimensec: a.Ctime.Nsec,
		mode:      a.Mode,
		nlink:     a.Nlink,
		uid:       a.UID,
		gid:       a.GID,
		rdev:      a.Rdev,
		blksize:   a.Blksize,
		flags:     uint32(a.Flags),
	}
}

func putEntry(w *entryOut, e *vfs.Entry) {
	w.nodeid = uint64(e.Node)
	w.generation = e.Generation
	w.entryValid, w.entryValidNsec = timeout(e.EntryTTL)
	w.attrValid, w.attrValidNsec = timeout(e.AttrTTL)
	putAttr(&w.attr, &e.Attr)
}

func putOpened(w *openOut, o *vfs.Opened) {
	*w = openOut{fh: uint64(o.Handle), openFlags: uint32(o.Flags & openFlagMask)}
}

// entryReply answers with c.entry, to which the guest now holds a reference.
func (c *Call) entryReply(errno syscall.Errno) (int, syscall.Errno) {
	if errno != 0 {
		return 0, errno
	}
	if c.entry.Node == 0 {
		return 0, syscall.EIO
	}
	c.given = givenEntry
	putEntry(out[entryOut](c), &c.entry)
	return sizeof[entryOut](), 0
}

// attrReply answers with c.attr.
func (c *Call) attrReply(errno syscall.Errno) (int, syscall.Errno) {
	if errno != 0 {
		return 0, errno
	}
	w := out[attrOut](c)
	w.attrValid, w.attrValidNsec = timeout(c.attr.TTL)
	putAttr(&w.attr, &c.attr.Attr)
	return sizeof[attrOut](), 0
}
