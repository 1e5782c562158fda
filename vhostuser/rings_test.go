package vhostuser_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vhostuser"
	"github.com/isthmus-fs/isthmus/vhostuser/vhosttest"
	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

// calls checks what the device has been told since the last time.
func (s *session) calls(want ...string) {
	s.t.Helper()
	if got := s.dev.takeEvents(); !slices.Equal(got, want) {
		s.t.Fatalf("the device was called %q, want %q", got, want)
	}
}

// A ring starts with the last thing that it needs, whichever that is.
func TestRingStartsWithTheLastThing(t *testing.T) {
	steps := map[string]func(*session, *guest) error{
		"num":    func(s *session, g *guest) error { return s.fe.SetVringNum(1, g.drv.Size()) },
		"addr":   func(s *session, g *guest) error { return s.fe.SetDriverAddr(1, g.mem, g.drv) },
		"kick":   func(s *session, g *guest) error { return s.fe.SetVringKick(1, g.drv.KickFD) },
		"enable": func(s *session, _ *guest) error { return s.fe.SetVringEnable(1, true) },
	}
	for last := range steps {
		t.Run(last, func(t *testing.T) {
			s := serve(t, newEcho(2))
			mem := newMemory(t)
			g := newGuest(t, mem, virtqtest.Config{Start: 65530})
			_, err := s.fe.Negotiate(0)
			ok(t, err)
			ok(t, s.fe.ShareMemory(mem))
			ok(t, s.fe.SetVringBase(1, 65530))
			ok(t, s.fe.SetVringCall(1, g.drv.CallFD))
			for name, step := range steps {
				if name != last {
					ok(t, step(s, g))
				}
			}
			g.send(false) // its kick must not be lost
			s.calls()
			ok(t, steps[last](s, g))
			s.calls("start 1 65530")
			g.await()
			g.echoes(10)
		})
	}
}

func TestGetVringBaseDrains(t *testing.T) {
	s, g := started(t, virtqtest.Config{EventIdx: true})
	g.echoes(3)
	s.hold(1, g, 4)
	s.calls("start 1 0")
	base, err := s.fe.GetVringBase(1)
	ok(t, err)
	if base != 7 {
		t.Fatalf("base %d, want 7", base)
	}
	s.calls("stop 1 true")
	if g.collect() != 4 {
		t.Fatal("the answer came before those of the requests in flight")
	}
	// What comes now is for whoever goes on with the ring. The kick
	// descriptor of before is gone.
	s.dev.release()
	g.send(false)
	ok(t, s.fe.SetVringEnable(1, true))
	ok(t, s.fe.SetDriverAddr(1, g.mem, g.drv))
	s.calls()
	if base, err = s.fe.GetVringBase(1); err != nil || base != 7 {
		t.Fatalf("base %d (%v), want 7 as before", base, err)
	}
	ok(t, s.fe.SetVringKick(1, g.drv.KickFD))
	s.calls("start 1 7")
	g.await()
	g.echoes(2)
}

func TestDisabledRing(t *testing.T) {
	s, g := started(t, virtqtest.Config{})
	s.hold(1, g, 2)
	ok(t, s.fe.SetVringEnable(1, false))
	s.calls("start 1 0", "stop 1 true")
	if n := g.collect(); n != 2 {
		t.Fatalf("%d answers, want 2: those in flight", n)
	}
	s.dev.release()
	for range 3 {
		g.send(false)
	}
	ok(t, s.fe.SetVringEnable(1, false))
	ok(t, s.fe.SetVringEnable(1, true))
	ok(t, s.fe.SetVringEnable(1, true))
	s.calls("start 1 2")
	g.await()
}

// Descriptors may be replaced while requests are in flight.
func TestReplaceDescriptors(t *testing.T) {
	s, g := started(t, virtqtest.Config{EventIdx: true})
	for _, tt := range []struct {
		name string
		set  func(index, fd int) error
		slot *int
	}{
		{"kick", s.fe.SetVringKick, &g.drv.KickFD},
		{"call", s.fe.SetVringCall, &g.drv.CallFD},
		{"err", s.fe.SetVringErr, new(int)},
	} {
		s.dev.takeEvents()
		s.hold(1, g, 2)
		fresh, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
		ok(t, err)
		ok(t, tt.set(1, fresh))
		if ev := s.dev.takeEvents(); len(ev) != 2 || ev[0] != "stop 1 false" || !strings.HasPrefix(ev[1], "start 1 ") {
			t.Fatalf("%s: the device was called %q", tt.name, ev)
		}
		if *tt.slot != 0 {
			unix.Close(*tt.slot)
			*tt.slot = fresh
		} else {
			unix.Close(fresh)
		}
		if n := g.collect(); n != 0 {
			t.Fatalf("%s: %d requests were answered", tt.name, n)
		}
		s.dev.release()
		g.await()
		g.echoes(3)
	}
}

// An answer that was given while there was no call descriptor is announced when
// there is one.
func TestLateCallDescriptor(t *testing.T) {
	s, g := started(t, virtqtest.Config{})
	ok(t, s.fe.SetVringCall(1, -1))
	for {
		if got, err := g.drv.Wait(0); err != nil || !got {
			break
		}
	}
	g.send(false)
	eventually(t, "the request is answered", func() bool { return g.drv.UsedIdx() == 1 })
	ok(t, s.fe.SetVringCall(1, g.drv.CallFD))
	if got, err := g.drv.Wait(0); err != nil || !got {
		t.Fatalf("no interrupt (%v)", err)
	}
	g.await()
}

// Without a kick descriptor the device polls.
func TestPolling(t *testing.T) {
	s, g := started(t, virtqtest.Config{})
	ok(t, s.fe.SetVringKick(1, -1))
	g.echoes(5)
	if n, errno := oslib.EventfdRead(g.drv.KickFD); errno == 0 && n > 5 {
		t.Errorf("%d kicks", n)
	}
}

func TestRunningRingRefuses(t *testing.T) {
	s, g := started(t, virtqtest.Config{Size: 16})
	refused(t, s.fe.SetVringNum(1, 32))
	refused(t, s.fe.SetVringBase(1, 5))
	ok(t, s.fe.SetVringNum(1, 16))
	ok(t, s.fe.SetDriverAddr(1, g.mem, g.drv))
	s.calls("start 1 0")
	g.echoes(1)
}

// Addresses that do not fit are refused by the message that would start the
// ring, and can be corrected.
func TestWrongAddresses(t *testing.T) {
	s, g := started(t, virtqtest.Config{Size: 16})
	at := g.drv.Layout()
	d, u, a := g.mem.UVA(at.Desc), g.mem.UVA(at.Used), g.mem.UVA(at.Avail)
	end := g.mem.UVA(0x10000) + 1<<20
	for name, addr := range map[string][3]uint64{
		"guest-physical":            {at.Desc, at.Used, at.Avail},
		"null":                      {},
		"descriptors at the end":    {end - 16, u, a},
		"used ring at the end":      {d, end - 4, a},
		"available ring at the end": {d, u, end - 4},
		"beyond the address space":  {^uint64(0) &^ 15, u, a},
		"unaligned descriptors":     {d + 8, u, a},
		"unaligned used ring":       {d, u + 2, a},
		"unaligned available ring":  {d, u, a + 1},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, s.fe.SetVringAddr(1, addr[0], addr[1], addr[2]))
			if g.send(false); g.collect() != 0 {
				t.Fatal("the ring runs")
			}
			ok(t, s.fe.SetDriverAddr(1, g.mem, g.drv))
			g.await()
			g.echoes(2)
		})
	}
}

func TestDeviceRefusesToStart(t *testing.T) {
	dev := newEcho(1)
	dev.startErr = errors.New("the device is on strike")
	s := serve(t, dev)
	mem := newMemory(t)
	g := newGuest(t, mem, virtqtest.Config{})
	_, err := s.fe.Negotiate(0)
	ok(t, err)
	ok(t, s.fe.ShareMemory(mem))
	refused(t, s.fe.StartRing(0, mem, g.drv, 0))
	if !strings.Contains(s.log.String(), "on strike") {
		t.Errorf("the log does not say why: %s", s.log)
	}
}

// A ring that the guest broke is reported, and the others go on.
func TestBrokenRing(t *testing.T) {
	s, g := started(t, virtqtest.Config{})
	other := newGuest(t, g.mem, virtqtest.Config{})
	ok(t, s.fe.StartRing(0, g.mem, other.drv, 0))
	errFD := eventfd(t)
	ok(t, s.fe.SetVringErr(1, errFD))
	g.drv.SetAvailIdx(1000)
	g.drv.Kick()
	eventually(t, "the error is reported", func() bool { _, errno := oslib.EventfdRead(errFD); return errno == 0 })
	other.echoes(5)
	base, err := s.fe.GetVringBase(1)
	ok(t, err)
	if base != 0 {
		t.Errorf("base %d, want 0", base)
	}
	// The guest reboots: the ring can be used again.
	again := newGuest(t, g.mem, virtqtest.Config{})
	ok(t, s.fe.StartRing(1, g.mem, again.drv, 0))
	again.echoes(5)
}

func TestResetDevice(t *testing.T) {
	s, g := started(t, virtqtest.Config{})
	s.hold(1, g, 2)
	s.dev.takeEvents()
	ok(t, s.fe.ResetDevice())
	s.calls("stop 1 false", "reset")
	s.dev.release()
	// Nothing of what was known starts the ring now.
	ok(t, s.fe.SetVringEnable(1, true))
	ok(t, s.fe.SetVringKick(1, g.drv.KickFD))
	s.calls()
	// The memory is still there: the guest can begin again.
	again := newGuest(t, g.mem, virtqtest.Config{EventIdx: true})
	ok(t, s.fe.SetFeatures(virtq.FeatVersion1|virtq.FeatRingEventIdx|vhostuser.FeatProtocol))
	ok(t, s.fe.StartRing(1, g.mem, again.drv, 0))
	again.echoes(5)
	if g.drv.UsedIdx() != 0 {
		t.Error("requests from before the reset were answered")
	}
}

// SET_FEATURES while a ring runs takes effect, and never disables one.
func TestFeaturesWhileRunning(t *testing.T) {
	s, g := started(t, virtqtest.Config{})
	const base = virtq.FeatVersion1 | vhostuser.FeatProtocol
	s.dev.takeEvents()
	ok(t, s.fe.SetFeatures(base))
	s.calls()
	ok(t, s.fe.SetFeatures(base|virtq.FeatRingIndirectDesc))
	s.calls("stop 1 false", "start 1 0")
	g.echoes(3)
}

// Rings are enabled for a front end that cannot do it, and only then.
func TestEnabledWithoutProtocolFeatures(t *testing.T) {
	s, g := started(t, virtqtest.Config{})
	ok(t, s.fe.SetVringEnable(1, false))
	s.dev.takeEvents()
	ok(t, s.fe.SetFeatures(virtq.FeatVersion1|vhostuser.FeatProtocol))
	s.calls()
	ok(t, s.fe.SetFeatures(virtq.FeatVersion1))
	s.calls("start 1 0")
	g.echoes(1)
}

// When the daemon ends, requests in flight are answered.
func TestContextEndDrains(t *testing.T) {
	s, g := started(t, virtqtest.Config{})
	s.hold(1, g, 3)
	s.dev.takeEvents()
	s.cancel()
	ok(t, s.wait())
	s.calls("stop 1 true", "reset")
	if n := g.collect(); n != 3 {
		t.Fatalf("%d requests were answered, want 3", n)
	}
}

// One after the other, front ends find the device as new.
func TestNextFrontEnd(t *testing.T) {
	dev := newEcho(2)
	for range 3 {
		fe, sock, err := vhosttest.Pair()
		ok(t, err)
		fe.Timeout = patience
		done := make(chan error, 1)
		go func() { done <- vhostuser.ServeConn(context.Background(), sock, dev, vhostuser.Options{}) }()
		mem := newMemory(t)
		g := newGuest(t, mem, virtqtest.Config{})
		_, err = fe.Negotiate(0)
		ok(t, err)
		ok(t, fe.ShareMemory(mem))
		ok(t, fe.StartRing(1, mem, g.drv, 0))
		g.echoes(5)
		fe.Close()
		ok(t, <-done)
	}
	ok(t, dev.close())
}
