package fuse

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// maxListing is the longest directory listing in one reply, in bytes. A listing
// may always be shorter than was asked for.
const maxListing = 64 << 10

func (s *Server) opendir(c *Call) (int, syscall.Errno) {
	in := args[openIn](c)
	c.opened = vfs.Opened{}
	if errno := s.fs.Opendir(&c.req, c.node(), in.flags, &c.opened); errno != 0 {
		return 0, errno
	}
	c.given = givenDir
	putOpened(out[openOut](c), &c.opened)
	return sizeof[openOut](), 0
}

func (s *Server) releasedir(c *Call) (int, syscall.Errno) {
	return 0, s.fs.Releasedir(&c.req, c.node(), vfs.Handle(args[releaseIn](c).fh))
}

func (s *Server) fsyncdir(c *Call) (int, syscall.Errno) {
	in := args[fsyncIn](c)
	return 0, s.fs.Fsyncdir(&c.req, c.node(), vfs.Handle(in.fh), in.flags&fsyncFDatasync != 0)
}

func (s *Server) readdir(c *Call) (int, syscall.Errno)     { return s.list(c, false) }
func (s *Server) readdirplus(c *Call) (int, syscall.Errno) { return s.list(c, true) }

// list serves both forms of READDIR. An error that the file system meets behind
// entries is dropped: the guest gets the entries and meets the error, if it is
// still there, when it asks for more.
func (s *Server) list(c *Call, plus bool) (int, syscall.Errno) {
	in := args[readIn](c)
	size := min(uint64(in.size), c.outLen-uint64(outHeaderSize), maxListing)
	c.sink = dirSink{buf: c.room(int(size)), plus: plus}
	errno := s.fs.Readdir(&c.req, c.node(), vfs.Handle(in.fh), in.offset, &c.sink)
	switch {
	case c.sink.n > 0:
		c.given = givenList
		return c.sink.n, 0
	case errno == 0 && c.sink.full:
		errno = syscall.EINVAL // no room for a single entry
	}
	return 0, errno
}

// takeBackList gives back the references in a listing.
func (s *Server) takeBackList(d *dirSink) {
	if !d.plus {
		return
	}
	for b := d.buf[:d.n]; len(b) > 0; {
		e := view[direntPlus](b)
		if e.entry.nodeid != 0 {
			s.fs.Forget(vfs.NodeID(e.entry.nodeid), 1)
		}
		b = b[recordSize(true, int(e.namelen)):]
	}
}

// dirSink encodes a directory listing. It is the vfs.DirSink of the server.
type dirSink struct {
	buf  []byte // aligned to 8 bytes
	n    int    // bytes of buf that are filled, a multiple of 8
	plus bool
	full bool // an entry did not fit
}

var _ vfs.DirSink = (*dirSink)(nil)

// recordSize returns the size of an entry whose name has n bytes: the name is
// padded to 8.
func recordSize(plus bool, n int) int {
	size := direntSize
	if plus {
		size = plusSize
	}
	return (size + n + 7) &^ 7
}

func (d *dirSink) Plus() bool { return d.plus }

func (d *dirSink) Fits(n int) bool {
	if uint(n) > vfs.MaxName || recordSize(d.plus, n) > len(d.buf)-d.n {
		d.full = true
		return false
	}
	return true
}

// Add appends an entry. Without an entry of its own a record of READDIRPLUS has
// node 0, which tells the guest only number and type.
func (d *dirSink) Add(name []byte, ino, next uint64, typ uint32, e *vfs.Entry) {
	if !d.Fits(len(name)) {
		return
	}
	rec := d.buf[d.n : d.n+recordSize(d.plus, len(name))]
	d.n += len(rec)
	clear(rec[len(rec)-8:]) // the padding
	ent := dirent{ino: ino, off: next, namelen: uint32(len(name)), typ: typ & unix.S_IFMT >> 12}
	if !d.plus {
		*view[dirent](rec) = ent
		copy(rec[direntSize:], name)
		return
	}
	w := view[direntPlus](rec)
	*w = direntPlus{dirent: ent}
	if e != nil {
		putEntry(&w.entry, e)
	} else {
		w.entry.attr.ino, w.entry.attr.mode = ino, typ&unix.S_IFMT
	}
	copy(rec[plusSize:], name)
}
