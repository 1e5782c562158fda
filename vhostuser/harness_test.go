package vhostuser_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/vhostuser"
	"github.com/isthmus-fs/isthmus/vhostuser/vhosttest"
	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

// patience is how long a test waits for what has to come.
const patience = 15 * time.Second

// session is a back end with an echo device, and the front end that it serves.
// At the end of the test it checks that nothing of it is left behind.
type session struct {
	t      testing.TB
	fe     *vhosttest.FrontEnd
	dev    *echo
	cancel context.CancelFunc
	log    *logBuffer
	done   chan error
	ended  bool
	err    error
}

// serve starts a session. A test makes memory and rings after it.
func serve(t testing.TB, dev *echo) *session {
	t.Helper()
	before, goroutines := held(t), runtime.NumGoroutine()
	fe, sock, err := vhosttest.Pair()
	if err != nil {
		t.Fatal(err)
	}
	fe.Timeout = patience
	ctx, cancel := context.WithCancel(context.Background())
	s := &session{t: t, fe: fe, dev: dev, cancel: cancel, log: &logBuffer{}, done: make(chan error, 1)}
	opt := vhostuser.Options{Logger: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	go func() { s.done <- vhostuser.ServeConn(ctx, sock, dev, opt) }()
	t.Cleanup(func() {
		cancel()
		fe.Close()
		s.wait()
		if after := held(t); !reflect.DeepEqual(after, before) {
			t.Errorf("held afterwards: %+v\nbefore: %+v", after, before)
		}
		if err := dev.close(); err != nil {
			t.Error(err)
		}
		eventually(t, "all goroutines end", func() bool { return runtime.NumGoroutine() <= goroutines })
		if t.Failed() {
			t.Logf("log:\n%s", s.log)
		}
	})
	return s
}

// hold makes the device keep n requests of a guest on ring i.
func (s *session) hold(i int, g *guest, n int) {
	s.t.Helper()
	s.dev.hold.Store(true)
	for range n {
		g.send(false)
	}
	eventually(s.t, "the device takes the requests", func() bool { return int(s.dev.queues[i].held.Load()) == n })
}

// wait returns what ServeConn returned.
func (s *session) wait() error {
	s.t.Helper()
	if !s.ended {
		select {
		case s.err = <-s.done:
			s.ended = true
		case <-time.After(patience):
			s.t.Fatal("ServeConn does not return")
		}
	}
	return s.err
}

// holding is what this process has open and mapped.
type holding struct {
	fds   map[string]int // by kind
	total int
	maps  int // of guest memory
}

func held(t testing.TB) holding {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	ok(t, err)
	h := holding{fds: map[string]int{}}
	for _, n := range names {
		link, err := os.Readlink("/proc/self/fd/" + n.Name())
		if err != nil {
			continue // the descriptor of ReadDir itself
		}
		kind, _, _ := strings.Cut(link, ":[")
		if kind == "anon_inode" {
			kind = link
		}
		h.fds[kind]++
		h.total++
	}
	maps, err := os.ReadFile("/proc/self/maps")
	ok(t, err)
	h.maps = bytes.Count(maps, []byte("memfd:virtqtest"))
	return h
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: it never came to that", what)
		}
	}
}

func newMemory(t testing.TB, segments ...virtqtest.Segment) *virtqtest.Memory {
	t.Helper()
	if len(segments) == 0 {
		segments = []virtqtest.Segment{{GPA: 0x10000, Size: 1 << 20}}
	}
	m, err := virtqtest.NewMemory(segments...)
	ok(t, err)
	t.Cleanup(m.Close)
	return m
}

func regionsOf(t testing.TB, m *virtqtest.Memory) []guestmem.Region {
	t.Helper()
	r, err := m.Regions()
	ok(t, err)
	t.Cleanup(func() { vhosttest.CloseRegions(r) })
	return r
}

// guest drives one ring of an echo device.
type guest struct {
	t    testing.TB
	mem  *virtqtest.Memory
	drv  *virtqtest.Driver
	in   []virtqtest.Buf
	out  []virtqtest.Buf
	sent []string // by slot; empty: free
	slot map[uint16]int
	n    int
}

const echoLen = 64

func newGuest(t testing.TB, mem *virtqtest.Memory, cfg virtqtest.Config) *guest {
	t.Helper()
	if cfg.Size == 0 {
		cfg.Size = 16
	}
	drv, err := virtqtest.New(mem, cfg)
	ok(t, err)
	t.Cleanup(drv.Close)
	g := &guest{t: t, mem: mem, drv: drv, slot: map[uint16]int{}, sent: make([]string, cfg.Size)}
	for range cfg.Size {
		for _, bufs := range []*[]virtqtest.Buf{&g.in, &g.out} {
			b, err := mem.Alloc(echoLen, 1)
			ok(t, err)
			*bufs = append(*bufs, b)
		}
	}
	return g
}

// send makes one request available and kicks if the device wants it. It returns
// false if the ring is full.
func (g *guest) send(deferIt bool) bool {
	for i, s := range g.sent {
		if s != "" {
			continue
		}
		g.n++
		text := fmt.Sprintf("request %d of ring at %#x", g.n, g.drv.Layout().Desc)
		if deferIt {
			text = string([]byte{deferred}) + text
		}
		in, out := g.in[i], g.out[i]
		in.Len = uint32(copy(g.mem.Bytes(in), text))
		clear(g.mem.Bytes(out))
		head, ok := g.drv.AddChain([]virtqtest.Buf{in}, []virtqtest.Buf{out})
		if !ok {
			return false
		}
		g.sent[i] = text
		g.slot[head] = i
		if g.drv.Publish() {
			g.drv.Kick()
		}
		return true
	}
	return false
}

// collect takes answers back, checks them, and returns how many there were.
func (g *guest) collect() int {
	g.t.Helper()
	n := 0
	for {
		head, written, ok := g.drv.Poll()
		if !ok {
			if err := g.drv.Err(); err != nil {
				g.t.Fatal(err)
			}
			return n
		}
		i := g.slot[head]
		delete(g.slot, head)
		if got := string(g.mem.Bytes(g.out[i])[:min(written, echoLen)]); got != g.sent[i] {
			g.t.Fatalf("answer %q to %q", got, g.sent[i])
		}
		g.sent[i] = ""
		n++
	}
}

// await waits until nothing is outstanding.
func (g *guest) await() {
	g.t.Helper()
	deadline := time.Now().Add(patience)
	for g.drv.Outstanding() > 0 {
		if g.collect() > 0 || g.drv.EnableInterrupts() {
			continue
		}
		got, err := g.drv.Wait(time.Until(deadline))
		ok(g.t, err)
		if !got {
			g.t.Fatalf("%d requests were never answered", g.drv.Outstanding())
		}
	}
}

// echoes sends n requests, one after the other.
func (g *guest) echoes(n int) {
	g.t.Helper()
	for range n {
		if !g.send(false) {
			g.t.Fatal("the ring is full")
		}
		g.await()
	}
}

// started returns a session whose ring 1 runs.
func started(t testing.TB, cfg virtqtest.Config) (*session, *guest) {
	t.Helper()
	s := serve(t, newEcho(2))
	mem := newMemory(t)
	g := newGuest(t, mem, cfg)
	want := uint64(0)
	if cfg.EventIdx {
		want |= virtq.FeatRingEventIdx
	}
	if cfg.Indirect > 0 {
		want |= virtq.FeatRingIndirectDesc
	}
	_, err := s.fe.Negotiate(want)
	ok(t, err)
	ok(t, s.fe.ShareMemory(mem))
	ok(t, s.fe.StartRing(1, mem, g.drv, cfg.Start))
	return s, g
}

// refused checks that the back end answered with a failure.
func refused(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, vhosttest.ErrRefused) {
		t.Fatalf("got %v, want a refusal", err)
	}
}

func eventfd(t testing.TB) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	ok(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}
