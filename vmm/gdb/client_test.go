package gdb

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vmm"
)

// client is a debugger that speaks the protocol, no more.
type client struct {
	t      testing.TB
	conn   net.Conn
	r      *bufio.Reader
	noAck  bool
	served chan error // what Serve returned
}

// connect starts a session with a machine.
func connect(t testing.TB, m Target) *client {
	t.Helper()
	return connectContext(t.Context(), t, m)
}

func connectContext(ctx context.Context, t testing.TB, m Target) *client {
	t.Helper()
	conn, other := pair(t)
	c := newClient(t, conn)
	c.served = make(chan error, 1)
	over := make(chan struct{})
	go func() {
		c.served <- Serve(ctx, other, m)
		close(over)
	}()
	t.Cleanup(func() {
		m.End(vmm.Outcome{Reason: vmm.Stopped})
		conn.Close()
		<-over
	})
	return c
}

// pair are the two ends of a connection, without a network.
func pair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "end of a connection")
		ends[i], err = net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	return ends[0], ends[1]
}

func newClient(t testing.TB, conn net.Conn) *client {
	t.Cleanup(func() { conn.Close() })
	// A server that does not answer is an error, not a test that never ends.
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return &client{t: t, conn: conn, r: bufio.NewReader(conn)}
}

// raw writes bytes as they are.
func (c *client) raw(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.t.Fatal(err)
	}
}

// send sends a packet and wants it acknowledged.
func (c *client) send(packet string) {
	c.t.Helper()
	c.raw(string(appendPacket(nil, packet)))
	if !c.noAck {
		c.wantByte('+')
	}
}

func (c *client) wantByte(want byte) {
	c.t.Helper()
	if b, err := c.r.ReadByte(); err != nil || b != want {
		c.t.Fatalf("%q, %v, want %q", b, err, want)
	}
}

// receive takes a packet and acknowledges it.
func (c *client) receive() string {
	c.t.Helper()
	c.wantByte('$')
	raw, err := c.r.ReadString('#')
	if err != nil {
		c.t.Fatal(err)
	}
	var sum [2]byte
	if _, err := io.ReadFull(c.r, sum[:]); err != nil {
		c.t.Fatal(err)
	}
	data, ok := unescape([]byte(raw[:len(raw)-1]))
	if !ok || string(appendPacket(nil, string(data))) != "$"+raw+string(sum[:]) {
		c.t.Fatalf("packet %q with sum %q", raw, sum)
	}
	if len(raw)-1 > maxPacket {
		c.t.Fatalf("a packet of %d bytes", len(raw)-1)
	}
	if !c.noAck {
		io.WriteString(c.conn, "+") // nobody reads it if that was the last
	}
	return string(data)
}

func (c *client) ask(packet string) string {
	c.t.Helper()
	c.send(packet)
	return c.receive()
}

// want asks and wants a reply.
func (c *client) want(packet, want string) {
	c.t.Helper()
	if got := c.ask(packet); got != want {
		c.t.Errorf("%q is answered %q, want %q", packet, got, want)
	}
}

// wantStop wants a reply that tells of a stop of a processor at a place.
func (c *client) wantStop(packet, head string, pc uint64) {
	c.t.Helper()
	got := c.ask(packet)
	tail := "10:" + hex64(pc) + ";"
	if !strings.HasPrefix(got, head+"06:") || !strings.HasSuffix(got, tail) {
		c.t.Errorf("%q is answered %q, want %s…%s", packet, got, head, tail)
	}
}

// wantEnd wants the session to be over, and Serve's error to wrap one, or nil.
func (c *client) wantEnd(want error) {
	c.t.Helper()
	// What the server does not read any more must not keep it waiting.
	if b, err := c.r.ReadByte(); err == nil {
		c.t.Errorf("%q after the end", b)
	}
	c.conn.Close()
	if err := <-c.served; !errors.Is(err, want) || (err == nil) != (want == nil) {
		c.t.Errorf("Serve: %v, want %v", err, want)
	}
}

// wantOver closes a connection whose last reply has come.
func (c *client) wantOver() {
	c.t.Helper()
	c.conn.Close()
	if err := <-c.served; err != nil {
		c.t.Error(err)
	}
}

// hex64 is a number as registers are told.
func hex64(v uint64) string {
	var b [8]byte
	for i := range b {
		b[i] = byte(v >> (8 * i))
	}
	return formatBytes(b[:])
}
