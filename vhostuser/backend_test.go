package vhostuser_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/vhostuser"
	"github.com/isthmus-fs/isthmus/vhostuser/vhosttest"
	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

// things is what the messages of the table below are made of.
type things struct {
	t       *testing.T
	regions []guestmem.Region
	event   int
	sock    int
	pipe    int
	timer   int
}

func newThings(t *testing.T) *things {
	mem := newMemory(t, virtqtest.Segment{GPA: 0, Size: 1 << 16}, virtqtest.Segment{GPA: 1 << 20, Size: 1 << 16})
	x := &things{t: t, regions: regionsOf(t, mem), event: eventfd(t)}
	sp, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	ok(t, err)
	var p [2]int
	ok(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
	x.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC)
	ok(t, err)
	t.Cleanup(func() {
		for _, fd := range []int{sp[0], sp[1], p[0], p[1], x.timer} {
			unix.Close(fd)
		}
	})
	x.sock, x.pipe = sp[0], p[0]
	return x
}

func (x *things) table(n int) []byte {
	p, _ := vhosttest.MemTable(x.regions[:n]...)
	return p
}

// outcome is what is to become of a message.
type outcome int

const (
	done     outcome = iota // acknowledged with 0
	failed                  // acknowledged as failed; without NEED_REPLY it ends the connection
	unknown                 // acknowledged as failed; without NEED_REPLY it is ignored
	answered                // a reply of its own, whether or not NEED_REPLY is set
	fatal                   // a reply of its own would be due, but cannot be given
)

func TestEveryMessage(t *testing.T) {
	u64 := vhosttest.U64
	state := vhosttest.State
	type fds []int
	const (
		offered  = virtq.FeatVersion1 | virtq.FeatRingIndirectDesc | virtq.FeatRingEventIdx | vhostuser.FeatProtocol | 1<<3
		protocol = 1<<0 | 1<<3 | 1<<5 | 1<<9 | 1<<10 | 1<<13 | 1<<15
	)
	tests := []struct {
		name    string
		request vhostuser.Request
		payload func(x *things) []byte
		fds     func(x *things) fds
		want    outcome
		reply   []byte
		log     string // in the error or the log
	}{
		{name: "message 0", request: 0, want: unknown},
		{name: "the first unknown", request: 45, want: unknown, log: "message 45"},
		{name: "the last unknown", request: 1<<32 - 1, want: unknown},
		{name: "unknown with descriptors", request: 77, fds: func(x *things) fds { return fds{x.event, x.pipe} }, want: unknown},
		{name: "SET_LOG_BASE", request: 6, payload: func(*things) []byte { return make([]byte, 16) }, fds: func(x *things) fds { return fds{x.regions[0].FD} }, want: unknown, log: "SET_LOG_BASE"},
		{name: "SET_LOG_FD", request: 7, fds: func(x *things) fds { return fds{x.event} }, want: unknown},
		{name: "IOTLB_MSG", request: 22, payload: func(*things) []byte { return make([]byte, 40) }, want: unknown},
		{name: "GET_INFLIGHT_FD", request: 31, payload: func(*things) []byte { return make([]byte, 24) }, want: unknown},
		{name: "VRING_KICK", request: 35, payload: func(*things) []byte { return state(0, 0) }, want: unknown},
		{name: "SET_STATUS", request: 39, payload: func(*things) []byte { return u64(15) }, want: unknown},
		{name: "SET_DEVICE_STATE_FD", request: 42, payload: func(*things) []byte { return make([]byte, 8) }, fds: func(x *things) fds { return fds{x.pipe} }, want: unknown},
		{name: "GET_SHMEM_CONFIG", request: 44, want: unknown},

		{name: "GET_FEATURES", request: 1, want: answered, reply: u64(offered)},
		{name: "GET_FEATURES with a payload", request: 1, payload: func(*things) []byte { return u64(1) }, want: answered, reply: u64(offered)},
		{name: "GET_FEATURES with a descriptor", request: 1, fds: func(x *things) fds { return fds{x.event} }, want: fatal},
		{name: "SET_FEATURES", request: 2, payload: func(*things) []byte { return u64(offered) }, want: done},
		{name: "SET_FEATURES of a part", request: 2, payload: func(*things) []byte { return u64(virtq.FeatVersion1) }, want: done},
		{name: "SET_FEATURES too many", request: 2, payload: func(*things) []byte { return u64(offered | 1<<34) }, want: failed, log: "features 0x400000000 are not offered"},
		{name: "SET_FEATURES too short", request: 2, payload: func(*things) []byte { return u64(0)[:7] }, want: failed, log: "payload of 7 bytes: at least 8"},
		{name: "SET_FEATURES with trailing bytes", request: 2, payload: func(*things) []byte { return append(u64(offered), 1, 2, 3) }, want: done},
		{name: "SET_OWNER", request: 3, want: done},
		{name: "RESET_OWNER", request: 4, want: done},
		{name: "GET_PROTOCOL_FEATURES", request: 15, want: answered, reply: u64(protocol)},
		{name: "SET_PROTOCOL_FEATURES", request: 16, payload: func(*things) []byte { return u64(protocol) }, want: done},
		{name: "SET_PROTOCOL_FEATURES too many", request: 16, payload: func(*things) []byte { return u64(1 << 22) }, want: failed, log: "protocol features 0x400000 are not offered"},
		{name: "SET_PROTOCOL_FEATURES empty", request: 16, want: failed},
		{name: "GET_QUEUE_NUM", request: 17, want: answered, reply: u64(2)},
		{name: "GET_MAX_MEM_SLOTS", request: 36, want: answered, reply: u64(509)},

		{name: "SET_MEM_TABLE", request: 5, payload: func(x *things) []byte { return x.table(2) }, fds: func(x *things) fds { return fds{x.regions[0].FD, x.regions[1].FD} }, want: done},
		{name: "SET_MEM_TABLE with room to spare", request: 5, payload: func(x *things) []byte { return append(x.table(1), make([]byte, 32)...) }, fds: func(x *things) fds { return fds{x.regions[0].FD} }, want: done},
		{name: "SET_MEM_TABLE not shared", request: 5, payload: func(x *things) []byte { return x.table(2) }, want: failed, log: "guest memory is not shared"},
		{name: "SET_MEM_TABLE with a descriptor too few", request: 5, payload: func(x *things) []byte { return x.table(2) }, fds: func(x *things) fds { return fds{x.regions[0].FD} }, want: failed, log: "2 memory regions came with 1 file descriptors"},
		{name: "SET_MEM_TABLE with a descriptor too many", request: 5, payload: func(x *things) []byte { return x.table(1) }, fds: func(x *things) fds { return fds{x.regions[0].FD, x.event} }, want: failed},
		{name: "SET_MEM_TABLE of nothing", request: 5, payload: func(x *things) []byte { return x.table(0) }, want: failed},
		{name: "SET_MEM_TABLE of nothing with a descriptor", request: 5, payload: func(x *things) []byte { return x.table(0) }, fds: func(x *things) fds { return fds{x.event} }, want: failed},
		{name: "SET_MEM_TABLE of 9", request: 5, payload: func(x *things) []byte { return append(state(9, 0), make([]byte, 288)...) }, fds: func(x *things) fds { return fds{x.event} }, want: failed, log: "at most 8"},
		{name: "SET_MEM_TABLE short", request: 5, payload: func(x *things) []byte { return x.table(2)[:71] }, fds: func(x *things) fds { return fds{x.regions[0].FD, x.regions[1].FD} }, want: failed},
		{name: "SET_MEM_TABLE of the same twice", request: 5, payload: func(x *things) []byte { p, _ := vhosttest.MemTable(x.regions[0], x.regions[0]); return p }, fds: func(x *things) fds { return fds{x.regions[0].FD, x.regions[0].FD} }, want: failed, log: "overlap"},
		{name: "SET_MEM_TABLE of a pipe", request: 5, payload: func(x *things) []byte { return x.table(1) }, fds: func(x *things) fds { return fds{x.pipe} }, want: failed},
		{name: "ADD_MEM_REG", request: 37, payload: func(x *things) []byte { return vhosttest.MemReg(x.regions[0]) }, fds: func(x *things) fds { return fds{x.regions[0].FD} }, want: done},
		{name: "ADD_MEM_REG not shared", request: 37, payload: func(x *things) []byte { return vhosttest.MemReg(x.regions[0]) }, want: failed, log: "guest memory is not shared"},
		{name: "ADD_MEM_REG with two descriptors", request: 37, payload: func(x *things) []byte { return vhosttest.MemReg(x.regions[0]) }, fds: func(x *things) fds { return fds{x.regions[0].FD, x.event} }, want: failed},
		{name: "ADD_MEM_REG short", request: 37, payload: func(x *things) []byte { return make([]byte, 39) }, fds: func(x *things) fds { return fds{x.regions[0].FD} }, want: failed},
		{name: "ADD_MEM_REG empty", request: 37, payload: func(x *things) []byte { return make([]byte, 40) }, fds: func(x *things) fds { return fds{x.regions[0].FD} }, want: failed},
		{name: "ADD_MEM_REG beyond the end", request: 37, payload: func(x *things) []byte {
			return vhosttest.MemReg(guestmem.Region{GPA: 1<<64 - 4096, Size: 8192})
		}, fds: func(x *things) fds { return fds{x.regions[0].FD} }, want: failed},
		{name: "REM_MEM_REG of nothing", request: 38, payload: func(x *things) []byte { return vhosttest.MemReg(x.regions[0]) }, fds: func(x *things) fds { return fds{x.regions[0].FD} }, want: failed, log: "no memory region"},

		{name: "SET_VRING_NUM", request: 8, payload: func(*things) []byte { return state(1, 1024) }, want: done},
		{name: "SET_VRING_NUM largest", request: 8, payload: func(*things) []byte { return state(0, 32768) }, want: done},
		{name: "SET_VRING_NUM 0", request: 8, payload: func(*things) []byte { return state(0, 0) }, want: failed},
		{name: "SET_VRING_NUM 100", request: 8, payload: func(*things) []byte { return state(0, 100) }, want: failed, log: "power of two"},
		{name: "SET_VRING_NUM 65536", request: 8, payload: func(*things) []byte { return state(0, 65536) }, want: failed},
		{name: "SET_VRING_NUM of no ring", request: 8, payload: func(*things) []byte { return state(2, 128) }, want: failed, log: "ring 2: there are 2"},
		{name: "SET_VRING_NUM of no ring at all", request: 8, payload: func(*things) []byte { return state(1<<31, 128) }, want: failed},
		{name: "SET_VRING_ADDR", request: 9, payload: func(*things) []byte { return vhosttest.Addr(1, 0, 16, 32, 64, 0) }, want: done},
		{name: "SET_VRING_ADDR with log", request: 9, payload: func(*things) []byte { return vhosttest.Addr(1, 1, 16, 32, 64, 0) }, want: failed, log: "log"},
		{name: "SET_VRING_ADDR of no ring", request: 9, payload: func(*things) []byte { return vhosttest.Addr(2, 0, 16, 32, 64, 0) }, want: failed},
		{name: "SET_VRING_ADDR short", request: 9, payload: func(*things) []byte { return vhosttest.Addr(1, 0, 16, 32, 64, 0)[:39] }, want: failed},
		{name: "SET_VRING_BASE", request: 10, payload: func(*things) []byte { return state(1, 65535) }, want: done},
		{name: "SET_VRING_BASE too large", request: 10, payload: func(*things) []byte { return state(1, 65536) }, want: failed},
		{name: "SET_VRING_BASE of no ring", request: 10, payload: func(*things) []byte { return state(2, 0) }, want: failed},
		{name: "GET_VRING_BASE", request: 11, payload: func(*things) []byte { return state(1, 99) }, want: answered, reply: state(1, 0)},
		{name: "GET_VRING_BASE of no ring", request: 11, payload: func(*things) []byte { return state(2, 0) }, want: fatal, log: "GET_VRING_BASE: ring 2"},
		{name: "GET_VRING_BASE short", request: 11, payload: func(*things) []byte { return state(1, 0)[:4] }, want: fatal},
		{name: "SET_VRING_KICK", request: 12, payload: func(*things) []byte { return u64(1) }, fds: func(x *things) fds { return fds{x.event} }, want: done},
		{name: "SET_VRING_KICK none", request: 12, payload: func(*things) []byte { return u64(0x101) }, want: done},
		{name: "SET_VRING_KICK missing", request: 12, payload: func(*things) []byte { return u64(1) }, want: failed, log: "missing"},
		{name: "SET_VRING_KICK none and one", request: 12, payload: func(*things) []byte { return u64(0x101) }, fds: func(x *things) fds { return fds{x.event} }, want: failed},
		{name: "SET_VRING_KICK twice", request: 12, payload: func(*things) []byte { return u64(1) }, fds: func(x *things) fds { return fds{x.event, x.event} }, want: failed},
		{name: "SET_VRING_KICK of no ring", request: 12, payload: func(*things) []byte { return u64(2) }, fds: func(x *things) fds { return fds{x.event} }, want: failed},
		{name: "SET_VRING_KICK pipe", request: 12, payload: func(*things) []byte { return u64(1) }, fds: func(x *things) fds { return fds{x.pipe} }, want: failed, log: "no eventfd but \\\"pipe:"},
		{name: "SET_VRING_KICK file", request: 12, payload: func(*things) []byte { return u64(1) }, fds: func(x *things) fds { return fds{x.regions[0].FD} }, want: failed, log: "no eventfd"},
		{name: "SET_VRING_KICK timer", request: 12, payload: func(*things) []byte { return u64(1) }, fds: func(x *things) fds { return fds{x.timer} }, want: failed, log: "timerfd"},
		{name: "SET_VRING_CALL", request: 13, payload: func(*things) []byte { return u64(0) }, fds: func(x *things) fds { return fds{x.event} }, want: done},
		{name: "SET_VRING_CALL socket", request: 13, payload: func(*things) []byte { return u64(0) }, fds: func(x *things) fds { return fds{x.sock} }, want: done},
		{name: "SET_VRING_CALL none", request: 13, payload: func(*things) []byte { return u64(0x100) }, want: done},
		{name: "SET_VRING_CALL missing", request: 13, payload: func(*things) []byte { return u64(0) }, want: failed},
		{name: "SET_VRING_ERR", request: 14, payload: func(*things) []byte { return u64(0) }, fds: func(x *things) fds { return fds{x.event} }, want: done},
		{name: "SET_VRING_ERR none", request: 14, payload: func(*things) []byte { return u64(0x100) }, want: done},
		{name: "SET_VRING_ERR short", request: 14, payload: func(*things) []byte { return u64(0)[:1] }, fds: func(x *things) fds { return fds{x.event} }, want: failed},
		{name: "SET_VRING_ENABLE", request: 18, payload: func(*things) []byte { return state(1, 1) }, want: done},
		{name: "SET_VRING_ENABLE 0", request: 18, payload: func(*things) []byte { return state(1, 0) }, want: done},
		{name: "SET_VRING_ENABLE 2", request: 18, payload: func(*things) []byte { return state(1, 2) }, want: failed},
		{name: "SET_VRING_ENABLE of no ring", request: 18, payload: func(*things) []byte { return state(255, 1) }, want: failed},

		{name: "SET_BACKEND_REQ_FD", request: 21, fds: func(x *things) fds { return fds{x.sock} }, want: done},
		{name: "SET_BACKEND_REQ_FD missing", request: 21, want: failed},
		{name: "SET_BACKEND_REQ_FD pipe", request: 21, fds: func(x *things) fds { return fds{x.pipe} }, want: failed, log: "no socket"},
		{name: "GET_CONFIG", request: 24, payload: func(*things) []byte { return vhosttest.ConfigRange(2, 4, 5, make([]byte, 4)) }, want: answered, reply: vhosttest.ConfigRange(2, 4, 5, []byte("cdef"))},
		{name: "GET_CONFIG without room", request: 24, payload: func(*things) []byte { return vhosttest.ConfigRange(0, 2, 0, nil) }, want: answered, reply: vhosttest.ConfigRange(0, 2, 0, []byte("ab"))},
		{name: "GET_CONFIG beyond the end", request: 24, payload: func(*things) []byte { return vhosttest.ConfigRange(7, 4, 0, make([]byte, 4)) }, want: answered, reply: vhosttest.ConfigRange(7, 4, 0, []byte("h\x00\x00\x00"))},
		{name: "GET_CONFIG of nothing", request: 24, payload: func(*things) []byte { return vhosttest.ConfigRange(0, 0, 0, nil) }, want: answered},
		{name: "GET_CONFIG of too much", request: 24, payload: func(*things) []byte { return vhosttest.ConfigRange(0, 1<<31, 0, nil) }, want: answered},
		{name: "GET_CONFIG short", request: 24, payload: func(*things) []byte { return make([]byte, 11) }, want: fatal},
		{name: "SET_CONFIG", request: 25, payload: func(*things) []byte { return vhosttest.ConfigRange(0, 1, 0, []byte("x")) }, want: failed, log: "read-only"},
		{name: "RESET_DEVICE", request: 34, want: done},
	}
	for _, tt := range tests {
		for _, flags := range []uint32{plain, needReply} {
			name := tt.name
			if flags == needReply {
				name += " with NEED_REPLY"
			}
			t.Run(name, func(t *testing.T) {
				dev := newEcho(2)
				dev.features = 1 << 3
				dev.config = []byte("abcdefgh")
				s := serve(t, dev)
				x := newThings(t)
				m := vhosttest.Message{Request: tt.request, Flags: flags}
				if tt.payload != nil {
					m.Payload = tt.payload(x)
				}
				if tt.fds != nil {
					m.FDs = tt.fds(x)
				}
				ok(t, s.fe.Send(m))
				ends := tt.want == fatal || tt.want == failed && flags == plain
				want := tt.reply
				switch {
				case tt.want == answered:
				case tt.want == done:
					want = u64(0)
				default:
					want = u64(1)
				}
				said := ""
				switch {
				case ends:
					err := s.wait()
					if err == nil || !strings.HasPrefix(err.Error(), tt.request.String()) {
						t.Fatalf("the connection ended with %v, want an error of %s", err, tt.request)
					}
					if r, err := s.fe.Recv(); err == nil || !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET) {
						t.Fatalf("the connection is still there: %+v, %v", r, err)
					}
					said = err.Error()
					// The log has its quotes escaped.
					said = strings.ReplaceAll(said, `"`, `\"`)
				case tt.want == answered || flags == needReply:
					r, err := s.fe.Recv()
					ok(t, err)
					if r.Request != tt.request || r.Flags != vhostuser.FlagVersion|vhostuser.FlagReply || !bytes.Equal(r.Payload, want) {
						t.Fatalf("reply %+v, want %x", r, want)
					}
					said = s.log.String()
				}
				if !ends {
					// The connection goes on, and no second reply came.
					n, err := s.fe.GetQueueNum()
					ok(t, err)
					if n != 2 {
						t.Fatalf("%d queues, want 2", n)
					}
					said += s.log.String()
				}
				if tt.want != done && !strings.Contains(said, tt.log) {
					t.Errorf("said %q, want %q in it", said, tt.log)
				}
			})
		}
	}
}

// A back end without a configuration space does not offer one, and says so when
// it is asked all the same.
func TestNoConfig(t *testing.T) {
	s := serve(t, newEcho(2))
	f, err := s.fe.GetProtocolFeatures()
	ok(t, err)
	if f&vhostuser.ProtoConfig != 0 {
		t.Errorf("protocol features %#x: CONFIG is offered", f)
	}
	if _, err := s.fe.GetConfig(0, 40); !errors.Is(err, vhosttest.ErrRefused) {
		t.Errorf("GET_CONFIG: %v, want a refusal", err)
	}
}

// All 509 slots can be filled, and no more.
func TestMemSlots(t *testing.T) {
	s := serve(t, newEcho(1))
	mem := newMemory(t, virtqtest.Segment{GPA: 0, Size: 4096})
	r := regionsOf(t, mem)[0]
	s.fe.NeedReply = true
	slots, err := s.fe.GetMaxMemSlots()
	ok(t, err)
	at := func(i uint64) guestmem.Region {
		return guestmem.Region{GPA: i << 20, UVA: i << 30, Size: 4096, FD: r.FD}
	}
	for i := range slots {
		ok(t, s.fe.AddMemReg(at(i)))
	}
	refused(t, s.fe.AddMemReg(at(slots)))
	ok(t, s.fe.RemMemReg(at(7)))
	refused(t, s.fe.RemMemReg(at(7)))
	ok(t, s.fe.AddMemReg(at(slots)))
	ok(t, s.fe.Do(vhostuser.ReqRemMemReg, vhosttest.MemReg(at(slots)), r.FD))
}

// The memory of the guest is unmapped and its files are closed as soon as the
// front end has gone.
func TestNothingSurvivesTheFrontEnd(t *testing.T) {
	dev := newEcho(2)
	s := serve(t, dev)
	mem := newMemory(t)
	g := newGuest(t, mem, virtqtest.Config{})
	before := held(t)
	_, err := s.fe.Negotiate(0)
	ok(t, err)
	ok(t, s.fe.ShareMemory(mem))
	ok(t, s.fe.StartRing(1, mem, g.drv, 0))
	ok(t, s.fe.SetVringErr(1, eventfd(t)))
	s.hold(1, g, 2)
	s.fe.Close()
	ok(t, s.wait())
	ev := dev.takeEvents()
	if got, want := ev[len(ev)-2:], "[stop 1 false reset]"; !strings.Contains(want, strings.Join(got, " ")) {
		t.Errorf("the device saw %q at the end, want %s", got, want)
	}
	// The test's own error descriptor came, the two ends of the socket went.
	if after := held(t); after.total != before.total+1-2 || after.maps != before.maps {
		t.Errorf("after: %+v\nbefore: %+v", after, before)
	}
	g.collect()
	if g.drv.Outstanding() != 2 {
		t.Errorf("%d requests are outstanding, want 2: they were dropped", g.drv.Outstanding())
	}
}
