package gdb

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-fs/isthmus/vmm"
)

// sink is a connection to a peer that reads everything and is told nothing.
type sink struct {
	net.Conn
	bytes.Buffer
}

func (*sink) SetWriteDeadline(time.Time) error { return nil }
func (*sink) Read([]byte) (int, error)         { return 0, io.EOF }
func (s *sink) Write(b []byte) (int, error)    { return s.Buffer.Write(b) }

// FuzzPacket has a session answer any packets, one a line, of a machine that is
// interrupted as soon as it runs. Whatever they are, memory is the guest's again in the end.
func FuzzPacket(f *testing.F) {
	f.Add("?\ng\nm400000,10\nZ0,400000,1\nvCont;c\nvCont;s:1;c\nD")
	f.Add("Z1,400002,1\nZ2,400800,8\nZ4,400801,3\nc\nc\ns\nz1,400002,1\nHc2\ns400000")
	f.Add("qSupported:swbreak+;hwbreak+\nqXfer:features:read:target.xml:0,ffb\nqOffsets\nqThreadExtraInfo,2\nT2\nHg2")
	f.Add("P10=0008400000000000\nvCont;r400000,400800:1\nG00\nX400000,3:abc\nM400001,1:cc\nx400000,10\nvCont;c:2;s")
	f.Add("Z0,400002,1\nvCont;c\nX400002,2:\xf4\xcc\nvCont;c\nm400000,10\nvKill;1")
	f.Add("m400fff,ffffffffffffffff\nMffffffffffffffff,2:0000\nmfffffffffffff000,2000\nvCont;C05:1;S0a:2;t")
	f.Fuzz(func(t *testing.T, packets string) {
		m := newFake(2, strings.Replace(program, "\x88\x03", "\x90\x90", 1)) // it writes nothing
		before := bytes.Clone(m.mem)
		changes := strings.ContainsAny(packets, "MX")
		events, done := make(chan event), make(chan struct{})
		go func() {
			for {
				select {
				case events <- event{kind: eventInterrupt}:
				case <-done:
					return
				}
			}
		}()
		defer close(done)
		defer m.End(vmm.Outcome{})
		conn := new(sink)
		s := newSession(t.Context(), conn, events, m)
		for i, p := range strings.Split(packets, "\n") {
			if i == 64 || s.take(event{kind: eventPacket, data: p}) != nil {
				break
			}
			answers := newDecoder(&conn.Buffer)
			for answers.r.Buffered() > 0 || conn.Len() > 0 {
				if e := answers.next(); e.kind != eventPacket || len(e.data) > maxPacket {
					t.Fatalf("%q is answered with event %d of %d bytes", p, e.kind, len(e.data))
				}
			}
		}
		if err := s.release(); err != nil {
			t.Fatal(err)
		}
		if !m.Pause() {
			return
		}
		if len(s.soft.patches) != 0 || len(s.soft.at) != 0 {
			t.Errorf("breakpoints %v", s.soft.at)
		}
		if !changes && !bytes.Equal(m.mem, before) {
			t.Error("memory is not as before")
		}
	})
}

// FuzzDecoder reads any bytes as packets: what is taken for one can be framed again to
// mean the same.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte("+$qC#b4-\x03$X1,2:}\x03}]#00$#00"))
	f.Add([]byte("$}#7d"))
	f.Add([]byte("$$#24$#0"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d := newDecoder(bytes.NewReader(raw))
		for range len(raw) + 1 {
			e := d.next()
			switch e.kind {
			case eventLost:
				if e.err == nil {
					t.Fatal("an end without an error")
				}
				return
			case eventPacket:
				again := newDecoder(bytes.NewReader(appendPacket(nil, e.data))).next()
				if len(e.data) < maxPacket/2 && again != e {
					t.Fatalf("%q becomes %+v", e.data, again)
				}
			}
		}
		t.Fatal("it does not end")
	})
}
