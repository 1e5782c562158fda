package virtiopci_test

import (
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vhostuser"
	"github.com/isthmus-fs/isthmus/virtiofs"
	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
	"github.com/isthmus-fs/isthmus/vmm/virtiopci"
)

// What serves a front end of vhost-user serves a machine.
var (
	_ virtiopci.Backend = vhostuser.Device(nil)
	_ virtiopci.Backend = (*virtiofs.Device)(nil)
)

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestQueuesServeADriver(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*virtiopci.Config, *echo, *fakeKVM)
		kicks  int // ioeventfds
	}{
		{"ioeventfd", func(*virtiopci.Config, *echo, *fakeKVM) {}, 2},
		{"ioeventfd of one width", func(_ *virtiopci.Config, _ *echo, k *fakeKVM) { k.narrow = true }, 2},
		{"accesses", func(_ *virtiopci.Config, _ *echo, k *fakeKVM) { k.without = true }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGuest(t, virtiopci.Options{}, c.change)
			if got := len(g.kvm.kicks); got != c.kicks {
				t.Errorf("%d ioeventfds, want %d", got, c.kicks)
			}
			rings := g.start(features)
			if g.echo.accepted != features {
				t.Errorf("the device was told of features %#x", g.echo.accepted)
			}
			for n := range 50 {
				for i, drv := range rings {
					g.roundTrip(i, drv, uint32(n))
				}
			}
			g.set(status, 0)
			if g.echo.stops[0] != nil || g.echo.stops[1] != nil {
				t.Error("a queue runs after a reset")
			}
			g.want(status, 0, "reset")
			g.want(queueEnable, 0, "reset")
			for i, drv := range g.start(virtq.FeatVersion1) {
				g.roundTrip(i, drv, 7)
			}
		})
	}
}

func TestPulsesDoNotWaitForTheISRStatus(t *testing.T) {
	g := newGuest(t, virtiopci.Options{Pulse: true})
	isr := g.structure(3)
	g.start(features)
	for i := range 3 {
		g.echo.changed()
		if high, rises := g.kvm.line(virtiopci.DefaultIRQ); high || rises != i+1 {
			t.Errorf("after %d interrupts that nobody has looked at the line is up: %v, and was %d times", i+1, high, rises)
		}
	}
	if v := g.load(isr, 1); v != 2 {
		t.Errorf("ISR status %#x, want 2", v)
	}
	if v := g.load(isr, 1); v != 0 {
		t.Errorf("ISR status %#x after it was read", v)
	}
	g.configWrite(4, 2, 6|1<<10)
	g.echo.changed()
	if _, rises := g.kvm.line(virtiopci.DefaultIRQ); rises != 3 {
		t.Error("an interrupt although they are disabled")
	}
}

func TestISRStatusHoldsTheLine(t *testing.T) {
	g := newGuest(t, virtiopci.Options{})
	isr := g.structure(3)
	drv := g.start(features)[0]
	g.roundTrip(0, drv, 1) // the first always interrupts
	eventually(t, "an interrupt", func() bool { high, _ := g.kvm.line(virtiopci.DefaultIRQ); return high })
	if v := g.configRead(6, 2); v&8 == 0 {
		t.Errorf("PCI status %#x: no interrupt", v)
	}
	if v := g.load(isr, 1); v != 1 {
		t.Errorf("ISR status %#x, want 1", v)
	}
	if high, _ := g.kvm.line(virtiopci.DefaultIRQ); high {
		t.Error("the line is up after the ISR status was read")
	}
	if v := g.load(isr, 1); v != 0 {
		t.Errorf("ISR status %#x after it was read", v)
	}
	g.echo.space = []byte("new!")
	g.echo.changed()
	if v := g.load(isr, 1); v != 2 {
		t.Errorf("ISR status %#x, want 2", v)
	}
	// The Command register holds the interrupt back, but not the status.
	g.configWrite(4, 2, 6|1<<10)
	g.echo.changed()
	if high, _ := g.kvm.line(virtiopci.DefaultIRQ); high {
		t.Error("an interrupt although they are disabled")
	}
	g.configWrite(4, 2, 6)
	if high, _ := g.kvm.line(virtiopci.DefaultIRQ); !high {
		t.Error("no interrupt after they are enabled again")
	}
	g.set(status, 0)
	if high, _ := g.kvm.line(virtiopci.DefaultIRQ); high {
		t.Error("the line is up after a reset")
	}
}

func TestDevicesShareALine(t *testing.T) {
	g := newGuest(t, virtiopci.Options{})
	second := &echo{t: t, queues: 1, space: []byte("x")}
	dev, err := g.bus.Add(second, virtiopci.Options{ID: 2})
	if err != nil {
		t.Fatal(err)
	}
	g.start(features)
	other := *g
	other.slot, other.echo = uint32(dev.Slot()), second
	other.bar = uint64(other.config32(0x10) &^ 0xf)
	if other.bar == g.bar {
		t.Fatal("two devices in one place")
	}
	other.start(features)
	g.echo.changed()
	second.changed()
	if _, rises := g.kvm.line(11); rises != 1 {
		t.Errorf("the line rose %d times, want 1", rises)
	}
	g.load(g.structure(3), 1)
	if high, _ := g.kvm.line(11); !high {
		t.Error("the line fell although the other device holds it")
	}
	other.load(other.structure(3), 1)
	if high, _ := g.kvm.line(11); high {
		t.Error("the line is still up")
	}
}

func TestConfigurationSpace(t *testing.T) {
	g := newGuest(t, virtiopci.Options{})
	at := g.structure(4)
	if n := g.config32(g.caps[4] + 12); n != uint32(len(g.echo.space)) {
		t.Errorf("the capability says %d bytes", n)
	}
	for i, c := range []byte("configuration") {
		if v := g.load(at+uint64(i), 1); v != uint64(c) {
			t.Errorf("byte %d is %#x, want %#x", i, v, c)
		}
	}
	g.store(at, 1, 'X')
	if v := g.load(at, 4); v != 'c'|'o'<<8|'n'<<16|'f'<<24 {
		t.Errorf("the first bytes are %#x", v)
	}
	before := g.get(generation)
	g.echo.space = []byte("other")
	g.echo.changed()
	if g.get(generation) == before {
		t.Error("the generation stayed the same")
	}
	if v := g.load(at, 1); v != 'o' {
		t.Errorf("the first byte is %#x", v)
	}
	if v := g.load(at+5, 1); v != 0 {
		t.Errorf("beyond the end there is %#x", v)
	}
	if high, _ := g.kvm.line(11); high {
		t.Error("an interrupt before DRIVER_OK")
	}
}

func TestStatusRules(t *testing.T) {
	const ok, needsReset, failed = 0xf, 0x40, 0x80
	for _, c := range []struct {
		name   string
		accept uint64
		writes []uint64
		want   uint64
		starts int
	}{
		{"straight", features, []uint64{1, 3, 11, 15}, ok, 2},
		{"acknowledge and driver at once", features, []uint64{3, 11, 15}, ok, 2},
		{"everything at once", features, []uint64{15}, ok, 2},
		{"not offered", features | 1<<20, []uint64{1, 3, 11}, 3, 0},
		{"not offered, high", features | 1<<45, []uint64{1, 3, 11}, 3, 0},
		{"without VERSION_1", 0, []uint64{1, 3, 11}, 3, 0},
		{"the device refuses", features | 1<<0 | 1<<5, []uint64{1, 3, 11}, 3, 0},
		{"goes on all the same", 0, []uint64{1, 3, 11, 15}, 3 | needsReset, 0},
		{"everything, refused", 0, []uint64{15}, 3 | needsReset, 0},
		{"no driver", features, []uint64{1, 9}, 1 | needsReset, 0},
		{"no acknowledge", features, []uint64{2}, needsReset, 0},
		{"no features", features, []uint64{1, 3, 7}, 3 | needsReset, 0},
		{"back", features, []uint64{1, 3, 11, 3}, 11 | needsReset, 0},
		{"failed alone", features, []uint64{1, 3, 128}, 3 | failed, 0},
		{"reset", features, []uint64{1, 3, 11, 15, 0}, 0, 2},
		{"reserved bits", features, []uint64{1 | 16 | 32, 3, 11}, 11, 0},
		{"the same again", features, []uint64{1, 3, 11, 15, 15}, ok, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGuest(t, virtiopci.Options{}, func(_ *virtiopci.Config, e *echo, _ *fakeKVM) { e.refuse = 1<<0 | 1<<5 })
			g.acceptFeatures(c.accept)
			for i := range g.echo.queues {
				g.ring(i, c.accept)
			}
			for _, w := range c.writes {
				g.set(status, w)
			}
			g.want(status, c.want, "after all writes")
			if g.echo.starts != c.starts {
				t.Errorf("%d queues started, want %d", g.echo.starts, c.starts)
			}
		})
	}
}

func TestFeaturesAreFixedOnceAgreed(t *testing.T) {
	g := newGuest(t, virtiopci.Options{})
	if f := g.features(); f != features|virtq.FeatRingIndirectDesc|1<<0|1<<5 {
		t.Errorf("features %#x", f)
	}
	g.set(deviceSelect, 2)
	g.want(deviceWord, 0, "the third word")
	g.negotiate(features)
	g.acceptFeatures(0)
	g.set(driverSelect, 1)
	g.want(driverWord, features>>32, "after FEATURES_OK")
}

func TestAQueueThatCannotBeNeedsReset(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(g *guest)
	}{
		{"size 0", func(g *guest) { g.set(queueSize, 0) }},
		{"size 3", func(g *guest) { g.set(queueSize, 3) }},
		{"too large", func(g *guest) { g.set(queueSize, 512) }},
		{"largest", func(g *guest) { g.set(queueSize, 0xffff) }},
		{"descriptors nowhere", func(g *guest) { g.set(queueDesc, 1<<40) }},
		{"descriptors at the end of addresses", func(g *guest) { g.set(queueDesc, 1<<64-16) }},
		{"available ring across the end", func(g *guest) { g.set(queueDriver, 1<<20-2) }},
		{"used ring not aligned", func(g *guest) { g.set(queueDevice, 0x2002) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGuest(t, virtiopci.Options{})
			g.negotiate(features)
			good := g.ring(1, features)
			g.set(queueSelect, 0)
			at := g.get(queueDesc)
			if at != 0 {
				t.Fatalf("queue 0 is at %#x", at)
			}
			g.set(queueSize, 16)
			g.set(queueDesc, 0x4000)
			g.set(queueDriver, 0x5000)
			g.set(queueDevice, 0x6000)
			c.spoil(g)
			g.set(queueEnable, 1)
			g.set(status, 0xf)
			g.want(status, 0x4f, "with a queue that cannot be")
			if v := g.load(g.structure(3), 1); v&2 == 0 {
				t.Errorf("ISR status %#x: the driver was not told", v)
			}
			g.roundTrip(1, good, 3)
		})
	}
}

func TestABrokenRingNeedsResetAndSparesTheOthers(t *testing.T) {
	g := newGuest(t, virtiopci.Options{})
	rings := g.start(features)
	rings[0].SetAvailIdx(1000)
	g.notify(0)
	eventually(t, "DEVICE_NEEDS_RESET", func() bool { return g.get(status) == 0x4f })
	eventually(t, "an interrupt", func() bool { return g.load(g.structure(3), 1)&2 != 0 })
	g.roundTrip(1, rings[1], 9)
	for i, drv := range g.start(features) {
		g.roundTrip(i, drv, 5)
	}
}

func TestRegistersOfAnEnabledQueueStay(t *testing.T) {
	g := newGuest(t, virtiopci.Options{QueueSize: 64})
	g.set(queueSelect, 1)
	g.want(queueSize, 64, "at first")
	g.want(notifyOff, 1, "at first")
	drv := g.ring(1, 0)
	g.set(queueSize, 8)
	g.set(queueDesc, 8)
	g.set(queueEnable, 0)
	g.want(queueSize, 16, "enabled")
	g.want(queueDesc, drv.Layout().Desc, "enabled")
	g.want(queueEnable, 1, "enabled")
	g.want(numQueues, 2, "always")
	g.set(queueSelect, 2)
	g.want(queueSize, 0, "a queue that is not there")
	g.set(queueEnable, 1)
	g.want(queueEnable, 0, "a queue that is not there")
}

func TestNarrowAccessesAreParts(t *testing.T) {
	g := newGuest(t, virtiopci.Options{})
	at := g.structure(1) + queueDesc.off
	g.store(at, 4, 0x11223344)
	g.store(at+4, 4, 0x55667788)
	g.want(queueDesc, 0x5566778811223344, "in halves")
	g.store(at+2, 2, 0xaabb)
	g.want(queueDesc, 0x55667788aabb3344, "a part")
	if v := g.load(at+3, 2); v != 0x88aa {
		t.Errorf("two bytes are %#x", v)
	}
	// Across registers: num_queues (read only), device_status, generation.
	if v := g.load(g.structure(1)+0x12, 4); v != 2 {
		t.Errorf("four registers are %#x", v)
	}
}

func TestQueueReset(t *testing.T) {
	g := newGuest(t, virtiopci.Options{})
	rings := g.start(features)
	g.roundTrip(0, rings[0], 1)
	g.set(queueSelect, 0)
	g.set(queueReset, 1)
	g.want(queueReset, 0, "done")
	g.want(queueEnable, 0, "after a reset of the queue")
	g.want(queueSize, virtiopci.DefaultQueueSize, "after a reset of the queue")
	if g.echo.stops[0] != nil || g.echo.stops[1] == nil {
		t.Error("not exactly the one queue was stopped")
	}
	drv := g.ring(0, features)
	g.roundTrip(0, drv, 2)
	g.roundTrip(1, rings[1], 3)
}

func TestLookingAtMemoryThatIsGone(t *testing.T) {
	g := newGuest(t, virtiopci.Options{})
	g.negotiate(features)
	g.ring(0, features)
	g.ring(1, features)
	if err := unix.Ftruncate(g.mem.FD(), 0); err != nil {
		t.Fatal(err)
	}
	g.set(status, 0xf)
	g.want(status, 0x4f, "without memory")
}

// TestProcessorsAtOnce has several processors reset, start and interrupt the device in
// each other's way. Afterwards it is in order.
func TestProcessorsAtOnce(t *testing.T) {
	g := newGuest(t, virtiopci.Options{MSIX: true})
	g.ring(0, features)
	layout := g.ring(1, features).Layout()
	var processors sync.WaitGroup
	for n := range 4 {
		processors.Go(func() {
			p := *g // the registers of the bus are everybody's
			for i := range uint64(300) {
				switch (uint64(n) + i) % 6 {
				case 0:
					p.set(status, 0)
				case 1:
					p.set(status, 3)
					p.acceptFeatures(features)
				case 2:
					p.set(queueSelect, i%2)
					p.set(queueDesc, layout.Desc)
					p.set(queueDriver, layout.Avail)
					p.set(queueDevice, layout.Used)
					p.set(queueEnable, 1)
				case 3:
					p.set(status, 15)
					p.notify(int(i % 2))
				case 4:
					p.load(p.structure(3), 1)
					p.load(p.structure(4), 4)
					p.configWrite(p.msix+2, 2, uint32(i%2)<<15)
				case 5:
					p.configWrite(4, 2, 6)
					p.store(p.bar+0x2000, 8, i)
					p.store(p.bar+0x200c, 4, i%2)
				}
			}
		})
	}
	processors.Wait()
	g.configWrite(g.msix+2, 2, 0)
	for i, drv := range g.start(features) {
		g.roundTrip(i, drv, 5)
	}
}

func TestNoAllocationForKicksAndInterrupts(t *testing.T) {
	g := newGuest(t, virtiopci.Options{}, func(_ *virtiopci.Config, _ *echo, k *fakeKVM) { k.without = true })
	notify, isr := g.structure(2)-base, g.structure(3)-base
	drv := g.start(features)[0]
	drv.EnableInterrupts()
	var one [2]byte
	mem := g.bus.Memory()
	in := []virtqtest.Buf{{GPA: 0x1000, Len: 1}}
	n := testing.AllocsPerRun(200, func() {
		drv.AddChain(in, nil)
		drv.Publish()
		mem.Write(notify, one[:])
		for {
			if _, _, ok := drv.Poll(); ok {
				break
			}
		}
		for drv.EnableInterrupts(); one[0] == 0; {
			mem.Read(isr, one[:1])
		}
		one[0] = 0
	})
	if n > 0 {
		t.Errorf("%v allocations for a chain, a kick and an interrupt", n)
	}
}
