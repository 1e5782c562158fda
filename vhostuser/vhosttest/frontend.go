package vhosttest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vhostuser"
)

// ErrRefused is what the back end's non-zero acknowledgement becomes.
var ErrRefused = errors.New("the back end answered with a failure")

// Message is a message of either side. Flags are as on the wire, the version
// included.
type Message struct {
	Request vhostuser.Request
	Flags   uint32
	Payload []byte
	// FDs are sent along and stay the sender's.
	FDs []int
}

// Append appends the message as it is on the wire, without its descriptors.
func (m *Message) Append(b []byte) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(m.Request))
	b = binary.NativeEndian.AppendUint32(b, m.Flags)
	b = binary.NativeEndian.AppendUint32(b, uint32(len(m.Payload)))
	return append(b, m.Payload...)
}

// FrontEnd is the front end's side of a connection.
type FrontEnd struct {
	// NeedReply makes [FrontEnd.Do] ask for an acknowledgement and wait for
	// it (REPLY_ACK).
	NeedReply bool
	// Timeout is how long the back end may take to answer; 0: for ever.
	Timeout time.Duration
	// Before, unless nil, sees each message before it is sent. An error keeps
	// it from being sent and is what the sender gets.
	Before func(Message) error

	conn     *net.UnixConn
	protocol uint64 // negotiated by Negotiate
}

// New returns a front end on a connection, which it closes.
func New(conn *net.UnixConn) *FrontEnd { return &FrontEnd{conn: conn} }

// Dial connects to a back end that listens at path.
func Dial(path string) (*FrontEnd, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	return New(conn), nil
}

// Pair returns a front end and the other end of its connection, for a back end
// in the same process.
func Pair() (*FrontEnd, *net.UnixConn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	var conns [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		c, cerr := net.FileConn(f)
		f.Close()
		if cerr != nil {
			err = cerr
			continue
		}
		conns[i] = c.(*net.UnixConn)
	}
	if err != nil {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
		return nil, nil, err
	}
	return New(conns[0]), conns[1], nil
}

// Close hangs up.
func (f *FrontEnd) Close() error { return f.conn.Close() }

// CloseWrite says that no more messages come, while replies can still be read.
func (f *FrontEnd) CloseWrite() error { return f.conn.CloseWrite() }

// SendBytes sends b and fds with one sendmsg, whatever they are. The descriptors
// stay the caller's.
func (f *FrontEnd) SendBytes(b []byte, fds ...int) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	f.expire()
	n, oobn, err := f.conn.WriteMsgUnix(b, oob, nil)
	if err == nil && (n < len(b) || oobn < len(oob)) {
		err = io.ErrShortWrite
	}
	return err
}

// Send sends a message as it is.
func (f *FrontEnd) Send(m Message) error {
	if f.Before != nil {
		if err := f.Before(m); err != nil {
			return err
		}
	}
	return f.SendBytes(m.Append(nil), m.FDs...)
}

// Recv waits for a message of the back end, which has to come with one sendmsg:
// some front ends rely on that.
func (f *FrontEnd) Recv() (Message, error) {
	f.expire()
	b := make([]byte, vhostuser.HeaderSize+vhostuser.MaxPayload)
	n, err := f.conn.Read(b)
	if err != nil {
		return Message{}, err
	}
	if n < vhostuser.HeaderSize {
		return Message{}, fmt.Errorf("%d bytes of a reply came: not even its header", n)
	}
	m := Message{
		Request: vhostuser.Request(binary.NativeEndian.Uint32(b)),
		Flags:   binary.NativeEndian.Uint32(b[4:]),
		Payload: b[vhostuser.HeaderSize:n],
	}
	if size := binary.NativeEndian.Uint32(b[8:]); uint64(size) != uint64(len(m.Payload)) {
		return m, fmt.Errorf("%s: the reply announces %d bytes and has %d", m.Request, size, len(m.Payload))
	}
	return m, nil
}

// Discard reads and forgets what the back end sends until the connection ends.
// Another goroutine may send meanwhile.
func (f *FrontEnd) Discard() {
	// However it ends, it has ended.
	_, _ = io.Copy(io.Discard, f.conn)
}

func (f *FrontEnd) expire() {
	var t time.Time
	if f.Timeout > 0 {
		t = time.Now().Add(f.Timeout)
	}
	// On a closed connection what follows fails too.
	_ = f.conn.SetDeadline(t)
}

// Call sends a message that has a reply of its own and returns the reply's
// payload.
func (f *FrontEnd) Call(r vhostuser.Request, payload []byte, fds ...int) ([]byte, error) {
	if err := f.Send(Message{r, vhostuser.FlagVersion, payload, fds}); err != nil {
		return nil, fmt.Errorf("%s: %w", r, err)
	}
	return f.reply(r)
}

// Do sends a message without a reply of its own. With NeedReply it waits for the
// acknowledgement, and a failure becomes [ErrRefused].
func (f *FrontEnd) Do(r vhostuser.Request, payload []byte, fds ...int) error {
	flags := vhostuser.FlagVersion
	if f.NeedReply {
		flags |= vhostuser.FlagNeedReply
	}
	if err := f.Send(Message{r, flags, payload, fds}); err != nil {
		return fmt.Errorf("%s: %w", r, err)
	}
	if !f.NeedReply {
		return nil
	}
	p, err := f.reply(r)
	if err != nil {
		return err
	}
	ack, err := asU64(r, p)
	if err == nil && ack != 0 {
		err = fmt.Errorf("%s: %w", r, ErrRefused)
	}
	return err
}

// reply takes the reply to a message.
func (f *FrontEnd) reply(r vhostuser.Request) ([]byte, error) {
	m, err := f.Recv()
	if err != nil {
		return nil, fmt.Errorf("reply to %s: %w", r, err)
	}
	if want := vhostuser.FlagVersion | vhostuser.FlagReply; m.Request != r || m.Flags != want {
		return nil, fmt.Errorf("reply to %s: %s with flags %#x came, want flags %#x", r, m.Request, m.Flags, want)
	}
	return m.Payload, nil
}

func asU64(r vhostuser.Request, p []byte) (uint64, error) {
	if len(p) != 8 {
		return 0, fmt.Errorf("reply to %s: %d bytes, want 8", r, len(p))
	}
	return binary.NativeEndian.Uint64(p), nil
}
