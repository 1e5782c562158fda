package fuse

import (
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

const (
	// smallSize holds the header, the longest arguments and two names of
	// the longest kind, so all of an ordinary request.
	smallSize = 1024
	// bufferSize holds a SETXATTR with a name and a value of the longest
	// kind, and the largest reply that is not file data.
	bufferSize = maxXattr + 8192
	// maxKeptIovecs bounds what a Call keeps of a scratch that a request
	// of many pieces made grow.
	maxKeptIovecs = 1024
)

// Completer takes back a [Call] that [Server.Serve] handed to a goroutine of
// its own.
type Completer interface {
	// Complete is called once, on another goroutine, when the request of c
	// has been served; used is what Serve would have returned. It must not
	// wait for anything that a goroutine in [Server.Serve] or
	// [Server.Reset] does.
	Complete(c *Call, used uint32)
}

// Call is one request with the room for its reply and all the scratch memory
// that serving it takes. A door makes it once with [NewCall] and uses it for
// one request after another; it belongs to the [Server] from Serve until Serve
// returns done, or until Complete.
type Call struct {
	// In is the request and Out the room for the reply. The door sets both
	// before Serve. The memory may be a guest's: it is read once, written
	// once, and an iovec with a nil Base stands for memory that is not there.
	In, Out []unix.Iovec
	// Done takes the call back if Serve returns with done unset.
	Done Completer
	// Tag is for the door; the server does not look at it.
	Tag uint64

	op      *operation
	sess    *session // that the request belongs to, nil before INIT
	class   class
	inLen   uint64
	outLen  uint64
	dataLen uint64 // bytes behind the arguments that were not copied
	body    []byte // copied arguments and names, without extensions
	ext     []byte // copied extensions

	reply   []byte        // header and payload of the reply, where it is not small
	inPlace bool          // the payload is in Out already
	given   given         // what the guest gets a reference to by this reply
	errno   syscall.Errno // that the request failed with; see Stats.begin

	// Set where requests are counted.
	stats *Stats // that shard is of
	shard *shard
	began time.Duration // when Serve was called, since the start of stats

	small    scratch // header, then arguments and names
	fixed    reply   // header and payload of most replies
	bigIn    *buffer // instead of small
	bigOut   *buffer // instead of fixed
	iov      []unix.Iovec
	groups   [maxGroups]uint32
	security []vfs.SecurityContext

	req       vfs.Request
	sink      dirSink
	entry     vfs.Entry
	opened    vfs.Opened
	attr      vfs.AttrOut
	statx     vfs.Statx
	statfsOut vfs.Statfs
	set       vfs.SetAttr
	lock      vfs.Lock
	copying   vfs.CopyRange
	rel       vfs.ReleaseIn

	// The rest is guarded by pending.mu.
	slot      int           // index in pending.table while in it
	interrupt chan struct{} // reused until it was closed
	closed    bool          // interrupt is closed
}

// The zero-length array aligns the bytes so that structures can be laid over
// them.
type (
	scratch struct {
		_ [0]uint64
		b [smallSize]byte
	}
	reply struct {
		_ [0]uint64
		b [16 + 288]byte // the longest is STATX's
	}
	buffer struct {
		_ [0]uint64
		b [bufferSize]byte
	}
)

// buffers holds *buffer for what does not fit into a Call.
var buffers = sync.Pool{New: func() any { return new(buffer) }}

// NewCall returns a Call for any number of requests, of any Server.
func NewCall() *Call {
	return &Call{
		iov:      make([]unix.Iovec, 0, 64),
		security: make([]vfs.SecurityContext, 0, 1),
	}
}

// header returns the copy of the request's header.
func (c *Call) header() *inHeader { return view[inHeader](c.small.b[:]) }

// node returns the node that the request is for.
func (c *Call) node() vfs.NodeID { return vfs.NodeID(c.header().nodeid) }

// args lays a structure over the copied arguments. The operation's entry in the
// table guarantees that they are long enough.
func args[T wire](c *Call) *T { return view[T](c.body) }

// tail returns the copied bytes behind the fixed arguments.
func (c *Call) tail() []byte { return c.body[c.op.args:] }

// begin prepares the call for a new request.
func (c *Call) begin() {
	c.op = &unknown
	c.sess = nil
	c.class = ordinary
	c.dataLen = 0
	c.body, c.ext = nil, nil
	c.req.Groups, c.req.Security = nil, nil
	c.req.Umask = 0
	c.req.Nowait = true
	c.req.Interrupt = nil
	c.rewind()
}

// rewind forgets the reply of an earlier attempt.
func (c *Call) rewind() {
	c.reply = nil
	c.inPlace = false
	c.given = 0
}

// end gives back what the request borrowed.
func (c *Call) end() {
	if c.bigIn != nil {
		buffers.Put(c.bigIn)
		c.bigIn = nil
	}
	if c.bigOut != nil {
		buffers.Put(c.bigOut)
		c.bigOut = nil
	}
	c.body, c.ext, c.reply = nil, nil, nil
	if cap(c.iov) > maxKeptIovecs {
		c.iov = nil
	}
}

// window returns n of the total bytes of v from off on. It is part of v itself
// where the pieces allow it, else made in the call's only iovec scratch and
// valid until the next window.
func (c *Call) window(v []unix.Iovec, total, off, n uint64) []unix.Iovec {
	whole := off+n == total
	for len(v) > 0 && v[0].Len <= off {
		off -= v[0].Len
		v = v[1:]
	}
	if off == 0 && whole {
		return v
	}
	c.iov = oslib.IovSlice(c.iov[:0], v, off, n)
	return c.iov
}

// receive copies the header and as much else of the request as the operation's
// table entry says, and checks lengths. What lies beyond the header's length is
// ignored, as are bytes behind arguments that no name or data follows. Nothing
// of the request is read twice.
func (s *Server) receive(c *Call) syscall.Errno {
	c.inLen, c.outLen = oslib.IovLen(c.In), oslib.IovLen(c.Out)
	n, ok := oslib.IovRead(c.small.b[:inHeaderSize], c.In)
	if n < inHeaderSize {
		clear(c.small.b[n:inHeaderSize])
		return missing(ok)
	}
	h := c.header()
	if uint64(h.opcode) < uint64(len(operations)) {
		c.op = &operations[h.opcode]
	}
	op := c.op
	if op.handle == nil {
		return syscall.ENOSYS
	}
	length, ext := uint64(h.length), uint64(h.extlen)*8
	fixed := uint64(inHeaderSize + op.args)
	switch {
	case length > s.maxMessage:
		return syscall.ENOMEM
	case length > c.inLen, length < fixed+ext:
		return syscall.EINVAL
	case op.replies == always && c.outLen < uint64(outHeaderSize+op.reply):
		return syscall.EINVAL
	}
	c.sess = s.session.Load()
	if c.sess == nil && !op.stateless {
		return syscall.EIO
	}
	c.class = op.class
	c.req.UID, c.req.GID, c.req.PID = h.uid, h.gid, h.pid

	want := uint64(op.args)
	switch op.tail {
	case copied:
		want = length - uint64(inHeaderSize)
	case left:
		c.dataLen = length - fixed - ext
	}
	buf := c.small.b[inHeaderSize:]
	if want > uint64(len(buf)) {
		if want > bufferSize {
			return syscall.E2BIG
		}
		c.bigIn = buffers.Get().(*buffer)
		buf = c.bigIn.b[:]
	}
	buf = buf[:want]
	if want != 0 {
		rest := c.window(c.In, c.inLen, uint64(inHeaderSize), c.inLen-uint64(inHeaderSize))
		if n, ok := oslib.IovRead(buf, rest); n < len(buf) {
			return missing(ok)
		}
	}
	c.body = buf
	if op.tail == copied {
		end := want - ext
		c.body, c.ext = buf[:end:end], buf[end:]
	}
	return 0
}

// missing returns the error for a request of which less could be read than it
// claims to have.
func missing(ok bool) syscall.Errno {
	if !ok {
		return syscall.EFAULT
	}
	return syscall.EINVAL
}
