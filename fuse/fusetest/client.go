package fusetest

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/vfs"
)

// Transport carries one message at a time to a server and back.
type Transport interface {
	// Roundtrip sends the request whose bytes are those of in and returns,
	// when it has been served, how many bytes of out the reply has. The
	// slices are the caller's again after it returned.
	Roundtrip(in, out [][]byte) (used int, err error)
}

// Client speaks FUSE over a [Transport]. It lays messages out as Linux does: a
// piece each for header, arguments, every name, and data. Methods return zero
// or the error number of the reply. What a correct server never does (a reply
// of the wrong length or number) is EIO and kept for [Client.Err].
//
// A Client belongs to one goroutine. Its methods do not allocate, those for
// creating calls with Ext set, Init and BatchForget aside.
type Client struct {
	// UID, GID and PID are put into every header.
	UID, GID, PID uint32
	// Ext are the extensions of creating requests.
	Ext []byte
	// SetxattrExt selects the longer form of SETXATTR; Init sets it.
	SetxattrExt bool

	t       Transport
	unique  uint64
	err     error
	header  Append
	args    Append
	names   Append
	replyHd [OutHeaderSize]byte
	payload [StatxSize]byte
	in, out [][]byte
}

// NewClient returns a client. Its first call is to be Init.
func NewClient(t Transport) *Client {
	return &Client{
		t:      t,
		header: make(Append, 0, InHeaderSize),
		args:   make(Append, 0, 128),
		names:  make(Append, 0, 8192),
		in:     make([][]byte, 0, 8),
		out:    make([][]byte, 0, 8),
	}
}

// Err returns the first breach of the protocol by the server or the transport.
func (c *Client) Err() error { return c.err }

// LastUnique returns the number of the latest request.
func (c *Client) LastUnique() uint64 { return c.unique }

// Do sends a request of any kind. rest are pieces behind args, reply is the room
// behind the reply's header; the number of bytes used of it is returned.
func (c *Client) Do(op fuse.Opcode, node vfs.NodeID, args []byte, reply []byte, rest ...[]byte) (int, syscall.Errno) {
	n, used, errno := c.send(op, node, args, nil, reply, rest)
	if errno == 0 && used == 0 {
		return 0, c.broken(fmt.Errorf("%v: no reply", op))
	}
	return n, errno
}

// Post sends a request that takes no reply.
func (c *Client) Post(op fuse.Opcode, node vfs.NodeID, args []byte, rest ...[]byte) {
	c.unique++
	c.message(op, node, args, nil, rest)
	used, err := c.t.Roundtrip(c.in, nil)
	if err == nil && used != 0 {
		err = fmt.Errorf("%v: reply of %d bytes to a request that has none", op, used)
	}
	if err != nil {
		c.broken(err)
	}
}

func (c *Client) broken(err error) syscall.Errno {
	if c.err == nil {
		c.err = err
	}
	return syscall.EIO
}

// message puts the pieces of a request into c.in.
func (c *Client) message(op fuse.Opcode, node vfs.NodeID, args, ext []byte, rest [][]byte) {
	n := InHeaderSize + len(args) + len(ext)
	c.in = append(c.in[:0], nil)
	if len(args) > 0 {
		c.in = append(c.in, args)
	}
	for _, r := range rest {
		n += len(r)
		c.in = append(c.in, r)
	}
	if len(ext) > 0 {
		c.in = append(c.in, ext)
	}
	h := Header{
		Len: uint32(n), Op: op, Unique: c.unique, Node: uint64(node),
		UID: c.UID, GID: c.GID, PID: c.PID, ExtLen: uint16(len(ext) / 8),
	}
	c.header = h.Append(c.header[:0])
	c.in[0] = c.header
}

func (c *Client) send(op fuse.Opcode, node vfs.NodeID, args, ext, reply []byte, rest [][]byte) (n, used int, errno syscall.Errno) {
	c.unique += 2 // Linux keeps the lowest bit for INTERRUPT
	c.message(op, node, args, ext, rest)
	c.out = append(c.out[:0], c.replyHd[:])
	if len(reply) > 0 {
		c.out = append(c.out, reply)
	}
	used, err := c.t.Roundtrip(c.in, c.out)
	if err != nil {
		return 0, 0, c.broken(err)
	}
	if used == 0 {
		return 0, 0, 0
	}
	n, errno, err = Reply(used, c.replyHd[:], c.unique)
	if err == nil && n > len(reply) {
		err = errors.New("reply is longer than its room")
	}
	if err != nil {
		return 0, used, c.broken(fmt.Errorf("%v: %w", op, err))
	}
	if errno != 0 {
		n = 0
	}
	return n, used, errno
}

// fixed sends a request whose reply has exactly size bytes behind its header.
func (c *Client) fixed(op fuse.Opcode, node vfs.NodeID, size int, args []byte, rest ...[]byte) ([]byte, syscall.Errno) {
	return c.fixedExt(op, node, size, args, nil, rest)
}

func (c *Client) fixedExt(op fuse.Opcode, node vfs.NodeID, size int, args, ext []byte, rest [][]byte) ([]byte, syscall.Errno) {
	n, used, errno := c.send(op, node, args, ext, c.payload[:size], rest)
	if errno != 0 {
		return nil, errno
	}
	if used == 0 || n != size {
		return nil, c.broken(fmt.Errorf("%v: payload of %d bytes, want %d", op, n, size))
	}
	return c.payload[:size], 0
}

func (c *Client) entry(op fuse.Opcode, node vfs.NodeID, args, ext []byte, rest ...[]byte) (vfs.Entry, syscall.Errno) {
	b, errno := c.fixedExt(op, node, EntrySize, args, ext, rest)
	if errno != 0 {
		return vfs.Entry{}, errno
	}
	return Entry(b), 0
}

func (c *Client) empty(op fuse.Opcode, node vfs.NodeID, args []byte, rest ...[]byte) syscall.Errno {
	_, errno := c.fixedExt(op, node, 0, args, nil, rest)
	return errno
}

// a begins the arguments of a request.
func (c *Client) a() Append { return c.args[:0] }

// name returns s with a NUL.
func (c *Client) name(s string) []byte {
	c.names = c.names[:0].Str(s)
	return c.names
}

// twoNames returns both with a NUL, as the two pieces that Linux sends.
func (c *Client) twoNames(first, second string) (a, b []byte) {
	c.names = c.names[:0].Str(first).Str(second)
	return c.names[:len(first)+1], c.names[len(first)+1:]
}
