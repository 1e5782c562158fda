package watch

import (
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// call is a call that will be recorded. Methods of FS hold a nil one where nobody
// wants records, and look at it before each use.
type call struct {
	rec  Record
	to   Recorder
	s    *session
	node vfs.NodeID // that the path is of
	name []byte     // in the directory node, if not nil
	// node2 and name2 are the same for Path2, where node2 is not 0.
	node2 vfs.NodeID
	name2 []byte

	path, path2 pathBuffer
}

var calls = sync.Pool{New: func() any { return new(call) }}

// begin begins a record of a call on a node, or returns nil.
func (fs *FS) begin(op Op, r *vfs.Request, node vfs.NodeID) *call {
	to := fs.recorder.Load()
	if to == nil {
		return nil
	}
	c := calls.Get().(*call)
	c.to, c.s, c.node = to.Recorder, fs.session.Load(), node
	c.rec = Record{
		Start: time.Now(), Op: op, PID: r.PID, UID: r.UID, GID: r.GID,
		Node: node, Handle: vfs.NoHandle,
	}
	return c
}

// made notes what a call found or made.
func (c *call) made(errno syscall.Errno, e *vfs.Entry) {
	if errno == 0 {
		c.rec.Node = e.Node
	}
}

// opened notes the handle that a call returned.
func (c *call) opened(errno syscall.Errno, o *vfs.Opened) {
	if errno == 0 {
		c.rec.Handle = o.Handle
	}
}

// end hands the record over. A call that will be made again is not recorded.
func (c *call) end(errno syscall.Errno) {
	if errno != vfs.WouldBlock {
		c.rec.Duration = time.Since(c.rec.Start)
		c.rec.Errno = errno
		if c.rec.Path == nil {
			c.rec.Path = c.build(&c.path, c.node, c.name)
		}
		if c.node2 != 0 {
			c.rec.Path2 = c.build(&c.path2, c.node2, c.name2)
		}
		c.to.Record(&c.rec)
	}
	c.to, c.s = nil, nil
	c.name, c.node2, c.name2 = nil, 0, nil
	c.rec.Path, c.rec.Path2 = nil, nil
	calls.Put(c)
}

func (c *call) build(b *pathBuffer, id vfs.NodeID, name []byte) []byte {
	n := c.s.nodes.find(id)
	if n == nil && name == nil {
		return nil
	}
	return b.build(&c.s.nodes.root, n, name)
}

// room adds up the pieces of a buffer.
func room(iov []unix.Iovec) uint64 {
	total := uint64(0)
	for i := range iov {
		total += iov[i].Len
	}
	return total
}

// text returns a string without the NUL that ends it.
func text(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == 0 {
		return b[:n-1]
	}
	return b
}
