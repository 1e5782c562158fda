package vhostuser_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/vhostuser/vhosttest"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

// twoRegions returns a session whose ring 1 runs in the first of two regions.
func twoRegions(t *testing.T) (*session, *guest, []guestmem.Region) {
	s := serve(t, newEcho(2))
	mem := newMemory(t, virtqtest.Segment{GPA: 0, Size: 1 << 20}, virtqtest.Segment{GPA: 1 << 30, Size: 1 << 16})
	g := newGuest(t, mem, virtqtest.Config{Size: 64, EventIdx: true})
	_, err := s.fe.Negotiate(driverFeatures)
	ok(t, err)
	ok(t, s.fe.ShareMemory(mem))
	ok(t, s.fe.StartRing(1, mem, g.drv, 0))
	return s, g, regionsOf(t, mem)
}

// Memory changes while the guest works: all requests are answered, once, and
// those in flight keep the memory that they came with.
func TestMemoryChangesUnderLoad(t *testing.T) {
	s, g, r := twoRegions(t)
	changed := make(chan struct{})
	go func() {
		defer close(changed)
		for i := range 200 {
			var err error
			step := func(e error) {
				if err == nil {
					err = e
				}
			}
			switch i % 4 {
			case 0: // memory is unplugged and plugged in
				step(s.fe.RemMemReg(r[1]))
				step(s.fe.AddMemReg(r[1]))
			case 1: // the region that the ring is in changes its size
				step(s.fe.RemMemReg(r[0]))
				step(s.fe.AddMemReg(r[0]))
			case 2:
				step(s.fe.SetMemTable(r[0]))
			case 3:
				step(s.fe.SetMemTable(r[1], r[0]))
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for i, going := 0, true; going || g.drv.Outstanding() > 0; i++ {
		select {
		case <-changed:
			going = false
		default:
		}
		if going && g.send(i%3 == 0) {
			g.collect()
			continue
		}
		if g.collect() == 0 && g.drv.Outstanding() > 0 && !g.drv.EnableInterrupts() {
			got, err := g.drv.Wait(patience)
			ok(t, err)
			if !got {
				t.Fatalf("%d of %d requests were never answered", g.drv.Outstanding(), g.n)
			}
		}
	}
	t.Logf("%d requests", g.n)
	if g.n < 100 {
		t.Errorf("only %d requests were made", g.n)
	}
}

// A ring whose memory goes away waits for it, with its requests.
func TestRingWaitsForItsMemory(t *testing.T) {
	s, g, r := twoRegions(t)
	s.hold(1, g, 2)
	s.dev.takeEvents()
	ok(t, s.fe.RemMemReg(r[0]))
	s.calls("stop 1 false")
	if !strings.Contains(s.log.String(), "is not in guest memory") {
		t.Errorf("the log does not say why the ring stopped: %s", s.log)
	}
	// None of these depends on whether the ring can run.
	ok(t, s.fe.SetVringCall(1, g.drv.CallFD))
	ok(t, s.fe.SetVringErr(1, -1))
	g.send(false)
	s.calls()
	ok(t, s.fe.AddMemReg(r[0]))
	s.calls("start 1 2")
	s.dev.release()
	g.await()
	g.echoes(3)
}

// New addresses do as well.
func TestRingMoves(t *testing.T) {
	s, g, r := twoRegions(t)
	g.echoes(2)
	s.dev.takeEvents()
	moved := r[0]
	moved.UVA += 1 << 40
	ok(t, s.fe.SetMemTable(moved))
	s.calls("stop 1 false")
	at := g.drv.Layout()
	ok(t, s.fe.SetVringAddr(1, g.mem.UVA(at.Desc)+1<<40, g.mem.UVA(at.Used)+1<<40, g.mem.UVA(at.Avail)+1<<40))
	s.calls("start 1 2")
	g.echoes(2)
}

// When a ring that waits for its memory begins a new life, its requests are
// dropped: no answer of an old one comes to a new one.
func TestNewLifeOfARingWithoutMemory(t *testing.T) {
	for name, end := range map[string]func(*session) error{
		"GET_VRING_BASE": func(s *session) error { _, err := s.fe.GetVringBase(1); return err },
		"disabled":       func(s *session) error { return s.fe.SetVringEnable(1, false) },
		"another size": func(s *session) error {
			// The new size is taken, but the ring cannot start with it.
			if err := s.fe.SetVringNum(1, 32); !errors.Is(err, vhosttest.ErrRefused) {
				return fmt.Errorf("SET_VRING_NUM: got %v, want a refusal", err)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, g, r := twoRegions(t)
			s.hold(1, g, 3)
			ok(t, s.fe.RemMemReg(r[0]))
			s.dev.takeEvents()
			ok(t, end(s))
			s.calls("stop 1 true")
			s.dev.release()
			ok(t, s.fe.AddMemReg(r[0]))
			again := newGuest(t, g.mem, virtqtest.Config{Size: 32, EventIdx: true})
			ok(t, s.fe.SetVringEnable(1, false))
			ok(t, s.fe.StartRing(1, g.mem, again.drv, 0))
			again.echoes(5)
			if g.drv.UsedIdx() != 0 {
				t.Error("requests of the old ring were answered")
			}
		})
	}
}

// A change that is refused leaves memory and rings as they were.
func TestRefusedChange(t *testing.T) {
	s, g, r := twoRegions(t)
	refused(t, s.fe.AddMemReg(r[0]))
	refused(t, s.fe.RemMemReg(guestmem.Region{GPA: 1 << 50, Size: 4096}))
	refused(t, s.fe.SetMemTable(r[1], r[1]))
	g.echoes(3)
}

// A front end that truncates the memory it shared gets an error, nothing more.
func TestTruncatedMemory(t *testing.T) {
	s, g, _ := twoRegions(t)
	other := newGuest(t, g.mem, virtqtest.Config{})
	errFD := eventfd(t)
	ok(t, s.fe.SetVringErr(1, errFD))
	// The driver of package virtqtest maps the same file: it is not touched
	// from here on.
	ok(t, s.fe.SetVringEnable(1, false))
	ok(t, unix.Ftruncate(g.mem.FD(), 0))
	refused(t, s.fe.SetVringEnable(1, true))
	refused(t, s.fe.StartRing(0, g.mem, other.drv, 0))
	if !strings.Contains(s.log.String(), "truncated") {
		t.Errorf("the log does not say why: %s", s.log)
	}
	if _, err := s.fe.GetVringBase(1); err != nil {
		t.Fatal(err)
	}
}
