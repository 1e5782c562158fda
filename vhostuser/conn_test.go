package vhostuser_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vhostuser"
	"github.com/isthmus-fs/isthmus/vhostuser/vhosttest"
)

const (
	plain     = vhostuser.FlagVersion
	needReply = vhostuser.FlagVersion | vhostuser.FlagNeedReply
)

func wire(r vhostuser.Request, flags uint32, payload []byte) []byte {
	m := vhosttest.Message{Request: r, Flags: flags, Payload: payload}
	return m.Append(nil)
}

// A message may come in any number of pieces.
func TestMessageInPieces(t *testing.T) {
	for _, at := range []string{"first", "last"} {
		t.Run("descriptor with the "+at+" byte", func(t *testing.T) {
			s := serve(t, newEcho(2))
			fd := eventfd(t)
			b := wire(vhostuser.ReqSetVringCall, needReply, vhosttest.FDIndex(0, fd))
			for i := range b {
				if at == "first" && i == 0 || at == "last" && i == len(b)-1 {
					ok(t, s.fe.SendBytes(b[i:i+1], fd))
				} else {
					ok(t, s.fe.SendBytes(b[i:i+1]))
				}
			}
			m, err := s.fe.Recv()
			ok(t, err)
			if string(m.Payload) != string(vhosttest.U64(0)) {
				t.Fatalf("the answer is %x", m.Payload)
			}
		})
	}
}

// Messages may come faster than they are handled: descriptors stay with theirs.
func TestMessagesAtOnce(t *testing.T) {
	s := serve(t, newEcho(2))
	fd := eventfd(t)
	ok(t, s.fe.SendBytes(append(
		wire(vhostuser.ReqSetVringCall, plain, vhosttest.FDIndex(0, -1)),
		wire(vhostuser.ReqSetVringErr, plain, vhosttest.FDIndex(0, -1))...)))
	for range 20 {
		ok(t, s.fe.SendBytes(wire(vhostuser.ReqSetVringKick, plain, vhosttest.FDIndex(0, fd)), fd))
		ok(t, s.fe.SendBytes(wire(vhostuser.ReqSetVringKick, plain, vhosttest.FDIndex(1, -1))))
	}
	n, err := s.fe.GetQueueNum()
	ok(t, err)
	if n != 2 {
		t.Fatalf("%d queues, want 2", n)
	}
}

func TestBrokenFraming(t *testing.T) {
	many := func(t *testing.T, n int) []int {
		fds := make([]int, n)
		for i := range fds {
			fds[i] = eventfd(t)
		}
		return fds
	}
	for _, tt := range []struct {
		name string
		send func(t *testing.T, fe *vhosttest.FrontEnd)
		want string
	}{
		{"version 0", func(t *testing.T, fe *vhosttest.FrontEnd) {
			ok(t, fe.SendBytes(wire(1, 0, nil), many(t, 1)...))
		}, "version 0"},
		{"a reply", func(t *testing.T, fe *vhosttest.FrontEnd) {
			ok(t, fe.SendBytes(wire(1, vhostuser.FlagVersion|vhostuser.FlagReply, nil), many(t, 3)...))
		}, "reply to nothing"},
		{"too long", func(t *testing.T, fe *vhosttest.FrontEnd) {
			ok(t, fe.SendBytes(wire(1, plain, make([]byte, vhostuser.MaxPayload+1)), many(t, 1)...))
		}, "payload of 4097 bytes"},
		{"one descriptor too many", func(t *testing.T, fe *vhosttest.FrontEnd) {
			ok(t, fe.SendBytes(wire(5, plain, make([]byte, 8)), many(t, vhostuser.MaxFDs+1)...))
		}, "more than 32 file descriptors"},
		{"as many as the kernel takes", func(t *testing.T, fe *vhosttest.FrontEnd) {
			ok(t, fe.SendBytes(wire(5, plain, make([]byte, 8)), many(t, 253)...))
		}, "more than 32 file descriptors"},
		{"too many in pieces", func(t *testing.T, fe *vhosttest.FrontEnd) {
			b := wire(5, plain, make([]byte, 8))
			fds := many(t, 20)
			ok(t, fe.SendBytes(b[:1], fds...))
			ok(t, fe.SendBytes(b[1:2], fds...))
		}, "more than 32 file descriptors"},
		{"end in a header", func(t *testing.T, fe *vhosttest.FrontEnd) {
			ok(t, fe.SendBytes(wire(1, plain, nil)[:11], many(t, 1)...))
			ok(t, fe.CloseWrite())
		}, io.ErrUnexpectedEOF.Error()},
		{"end before a payload", func(t *testing.T, fe *vhosttest.FrontEnd) {
			ok(t, fe.SendBytes(wire(2, plain, make([]byte, 8))[:12], many(t, 1)...))
			ok(t, fe.CloseWrite())
		}, "SET_FEATURES: " + io.ErrUnexpectedEOF.Error()},
		{"end in a payload", func(t *testing.T, fe *vhosttest.FrontEnd) {
			ok(t, fe.SendBytes(wire(2, plain, make([]byte, 8))[:19], many(t, 1)...))
			ok(t, fe.CloseWrite())
		}, "SET_FEATURES: " + io.ErrUnexpectedEOF.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, newEcho(2))
			tt.send(t, s.fe)
			if err := s.wait(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// As many descriptors as are allowed do come through.
func TestMostDescriptors(t *testing.T) {
	s := serve(t, newEcho(2))
	fds := make([]int, vhostuser.MaxFDs)
	for i := range fds {
		fds[i] = eventfd(t)
	}
	s.fe.NeedReply = true
	refused(t, s.fe.Do(vhostuser.ReqSetMemTable, vhosttest.State(1, 0), fds...))
	_, err := s.fe.GetFeatures()
	ok(t, err)
}

// The end of the context interrupts a wait wherever it is, and a front end that
// does not take its replies.
func TestContextEnds(t *testing.T) {
	for name, send := range map[string]func(t *testing.T, s *session){
		"between messages": func(*testing.T, *session) {},
		"in a header":      func(t *testing.T, s *session) { ok(t, s.fe.SendBytes([]byte{1}, eventfd(t))) },
		"in a payload":     func(t *testing.T, s *session) { ok(t, s.fe.SendBytes(wire(2, plain, make([]byte, 8))[:15])) },
		"in a reply": func(t *testing.T, s *session) {
			// The socket takes no more when the back end waits to reply.
			s.fe.Timeout = 100 * time.Millisecond
			many := []byte{}
			for range 1000 {
				many = append(many, wire(vhostuser.ReqGetFeatures, plain, nil)...)
			}
			for {
				if s.fe.SendBytes(many) != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, newEcho(2))
			send(t, s)
			s.cancel()
			ok(t, s.wait())
			if s.fe.Timeout == patience {
				if _, err := s.fe.Recv(); !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET) {
					t.Fatalf("the connection is still there: %v", err)
				}
			}
		})
	}
	t.Run("before the beginning", func(t *testing.T) {
		fe, sock, err := vhosttest.Pair()
		ok(t, err)
		defer fe.Close()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		dev := newEcho(1)
		ok(t, vhostuser.ServeConn(ctx, sock, dev, vhostuser.Options{}))
		ok(t, dev.close())
	})
}

// A front end that leaves without reading what it asked for has done no wrong.
func TestHangUpWithRepliesUnread(t *testing.T) {
	s := serve(t, newEcho(2))
	for range 3 {
		ok(t, s.fe.Send(vhosttest.Message{Request: vhostuser.ReqGetFeatures, Flags: plain}))
	}
	s.fe.Close()
	ok(t, s.wait())
}
