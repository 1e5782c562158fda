package virtiopci_test

import (
	"encoding/binary"
	"testing"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/vmm/virtiopci"
)

func withBridge(c *virtiopci.Config, _ *echo, _ *fakeKVM) { c.HostBridge = true }

func TestHeader(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*virtiopci.Config, *echo, *fakeKVM)
		slot   uint32
	}{
		{"alone", func(*virtiopci.Config, *echo, *fakeKVM) {}, 0},
		{"behind a bridge", withBridge, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGuest(t, virtiopci.Options{}, c.change)
			if g.slot != c.slot {
				t.Fatalf("slot %d, want %d", g.slot, c.slot)
			}
			for _, want := range []struct{ reg, n, v uint32 }{
				{0x00, 4, 0x10411af4},
				{0x04, 2, 6},
				{0x06, 2, 0x10},
				{0x08, 4, 0x02000001},
				{0x0e, 1, 0}, // header type
				{0x10, 4, base | 0xc},
				{0x14, 4, 0},
				{0x18, 4, 0},
				{0x2c, 4, 0x00411af4},
				{0x30, 4, 0}, // no ROM
				{0x34, 1, 0x40},
				{0x3c, 2, 0x010b}, // INTA on 11
			} {
				if v := g.configRead(want.reg, int(want.n)); v != want.v {
					t.Errorf("register %#x is %#x, want %#x", want.reg, v, want.v)
				}
			}
			if v := g.configRead(2, 2); v != 0x1041 {
				t.Errorf("the device id by itself is %#x", v)
			}
			if v := g.configRead(1, 1); v != 0x1a {
				t.Errorf("byte 1 is %#x", v)
			}
			g.setConfig32(0, 0)
			g.setConfig32(0x40, 0)
			if v := g.config32(0); v != 0x10411af4 {
				t.Errorf("the ids are %#x after a write", v)
			}
		})
	}
}

func TestHostBridge(t *testing.T) {
	g := newGuest(t, virtiopci.Options{}, withBridge)
	g.slot = 0
	if v := g.config32(0x08) >> 8; v != 0x060000 {
		t.Errorf("class %#x", v)
	}
	g.setConfig32(0x10, ^uint32(0))
	if v := g.config32(0x10); v != 0 {
		t.Errorf("the bridge has a BAR %#x", v)
	}
}

// TestScan looks for devices as a guest does that knows nothing.
func TestScan(t *testing.T) {
	g := newGuest(t, virtiopci.Options{})
	found := 0
	for a := uint32(0); a < 1<<24; a += 1 << 8 {
		var b [4]byte
		binary.LittleEndian.PutUint32(b[:], 1<<31|a)
		g.bus.Ports().Write(0, b[:])
		v := []byte{0xff, 0xff, 0xff, 0xff}
		g.bus.Ports().Read(4, v)
		switch {
		case binary.LittleEndian.Uint32(v) == ^uint32(0):
		case a == 0:
			found++
		default:
			t.Errorf("something at %#x: % x", a, v)
		}
	}
	if found != 1 {
		t.Error("the device is not at 00:00.0")
	}
}

func TestConfigAddress(t *testing.T) {
	g := newGuest(t, virtiopci.Options{})
	p := g.bus.Ports()
	read := func(off uint64, n int) uint32 {
		b := []byte{0xff, 0xff, 0xff, 0xff}
		p.Read(off, b[:n])
		return binary.LittleEndian.Uint32(b)
	}
	p.Write(0, []byte{0, 0, 0, 0x80})
	p.Write(3, []byte{1}) // what Linux does first: a byte is not for the bus
	if v := read(0, 4); v != 1<<31 {
		t.Errorf("CONFIG_ADDRESS is %#x", v)
	}
	if v := read(0, 1); v != ^uint32(0) {
		t.Errorf("a byte of CONFIG_ADDRESS is %#x", v)
	}
	p.Write(0, []byte{0, 0, 0, 0}) // not enabled
	if v := read(4, 4); v != ^uint32(0) {
		t.Errorf("CONFIG_DATA is %#x without the enable bit", v)
	}
	p.Write(4, []byte{1, 2, 3, 4})
	p.Write(0, []byte{0, 0, 0, 0x80})
	if v := read(7, 2); v != ^uint32(0) { // beyond the last port
		t.Errorf("across the end there is %#x", v)
	}
}

func TestBAR(t *testing.T) {
	g := newGuest(t, virtiopci.Options{})
	common := func(bar uint64) uint64 { return g.load(bar+0x12, 2) } // num_queues
	if v := common(g.bar); v != 2 {
		t.Fatalf("num_queues is %#x", v)
	}
	// The size.
	g.setConfig32(0x10, ^uint32(0))
	g.setConfig32(0x14, ^uint32(0))
	if lo, hi := g.config32(0x10), g.config32(0x14); lo != 0xffffc00c || hi != ^uint32(0) {
		t.Errorf("size mask %#x:%#x, want 16 KiB", hi, lo)
	}
	if _, ok := g.dev.Address(); ok {
		t.Error("the device answers at the end of all addresses")
	}
	if v := common(g.bar); v != 0xffff {
		t.Errorf("the device is where it was: %#x", v)
	}
	// Elsewhere.
	const there = base + 0x100000
	g.setConfig32(0x14, 0)
	g.setConfig32(0x10, there|0x3fff)
	if v := g.config32(0x10); v != there|0xc {
		t.Errorf("BAR is %#x", v)
	}
	g.bar = there
	if v := common(there); v != 2 {
		t.Errorf("num_queues is %#x where the device was moved to", v)
	}
	for addr := range g.kvm.kicks {
		if addr < there || addr >= there+0x4000 {
			t.Errorf("KVM looks for kicks at %#x", addr)
		}
	}
	for i, drv := range g.start(features) {
		g.roundTrip(i, drv, 4)
	}
	// Without decoding, and back.
	g.configWrite(4, 2, 4)
	if v := common(there); v != 0xffff || len(g.kvm.kicks) != 0 {
		t.Errorf("disabled, the device answers %#x and has %d ioeventfds", v, len(g.kvm.kicks))
	}
	g.configWrite(4, 2, 6)
	if v := common(there); v != 2 || len(g.kvm.kicks) != 2 {
		t.Errorf("enabled again, the device answers %#x and has %d ioeventfds", v, len(g.kvm.kicks))
	}
	// Where the bus does not reach.
	g.setConfig32(0x14, 1)
	if v := common(there); v != 0xffff || len(g.kvm.kicks) != 0 {
		t.Errorf("out of reach, the device answers %#x and has %d ioeventfds", v, len(g.kvm.kicks))
	}
}

// TestTwoDevicesAtOnePlace: the guest may do that, and gets what it asks for.
func TestTwoDevicesAtOnePlace(t *testing.T) {
	g := newGuest(t, virtiopci.Options{})
	dev, err := g.bus.Add(&echo{t: t, queues: 2}, virtiopci.Options{ID: 2})
	if err != nil {
		t.Fatal(err)
	}
	first := g.slot
	g.slot = uint32(dev.Slot())
	g.setConfig32(0x10, base)
	if v := g.load(base+0x12, 2); v != 2 {
		t.Errorf("num_queues is %#x", v)
	}
	g.setConfig32(0x10, base+0x8000)
	g.slot = first
	for i, drv := range g.start(features) {
		g.roundTrip(i, drv, 4)
	}
}

func TestWindowInConfigurationSpace(t *testing.T) {
	g := newGuest(t, virtiopci.Options{})
	at := g.caps[5]
	if v := g.config32(at) >> 16 & 0xff; v != 20 {
		t.Fatalf("the capability has %d bytes", v)
	}
	access := func(off, n uint32) uint32 {
		g.setConfig32(at+8, off)
		g.setConfig32(at+12, n)
		return at + 16
	}
	g.configWrite(access(0x14, 1), 1, 1) // device_status
	g.want(status, 1, "written by way of the window")
	if v := g.configRead(access(0x12, 2), 2); v != 2 {
		t.Errorf("num_queues by way of the window is %#x", v)
	}
	g.setConfig32(access(0x0c, 4), 0x12345678)
	g.want(driverWord, 0x12345678, "written by way of the window")
	for _, bad := range []struct{ off, n uint32 }{{0x12, 3}, {0x12, 0}, {0x13, 2}, {0x4000, 4}, {1 << 31, 4}, {0x14, 8}} {
		g.setConfig32(access(bad.off, bad.n), 0)
		g.want(status, 1, "a bad window")
	}
	g.setConfig32(access(0x14, 1), 0)
	g.configWrite(at+4, 1, 1) // BAR 1 is none
	g.setConfig32(access(0x14, 1), 3)
	g.want(status, 0, "a window to a BAR that is not there")
}

func TestBusesThatCannotBe(t *testing.T) {
	space := new(guestmem.Space)
	for _, c := range []virtiopci.Config{
		{KVM: newFakeKVM(), Memory: space, Base: base, Size: 0},
		{KVM: newFakeKVM(), Memory: space, Base: base + 1, Size: size},
		{KVM: newFakeKVM(), Memory: space, Base: base, Size: size + 1},
		{KVM: newFakeKVM(), Memory: space, Base: 1<<64 - 4096, Size: 8192},
		{Memory: space, Base: base, Size: size},
		{KVM: newFakeKVM(), Base: base, Size: size},
	} {
		if _, err := virtiopci.NewBus(c); err == nil {
			t.Errorf("a bus of %#x bytes at %#x", c.Size, c.Base)
		}
	}
	bus, err := virtiopci.NewBus(virtiopci.Config{KVM: newFakeKVM(), Memory: space, Base: base + 0x1000, Size: 0x9000})
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	for _, c := range []struct {
		dev *echo
		opt virtiopci.Options
		ok  bool
	}{
		{&echo{queues: 1}, virtiopci.Options{QueueSize: 3}, false},
		{&echo{queues: 1}, virtiopci.Options{QueueSize: 1 << 16}, false},
		{&echo{queues: 0}, virtiopci.Options{}, false},
		{&echo{queues: 1025}, virtiopci.Options{}, false},
		{&echo{queues: 256}, virtiopci.Options{MSIX: true}, false},
		{&echo{queues: 1, space: make([]byte, 4096)}, virtiopci.Options{}, false},
		{&echo{queues: 1}, virtiopci.Options{}, true},
		{&echo{queues: 1}, virtiopci.Options{}, false}, // no room for its BAR
	} {
		if _, err := bus.Add(c.dev, c.opt); (err == nil) != c.ok {
			t.Errorf("a device of %d queues, options %+v: %v", c.dev.queues, c.opt, err)
		}
	}
}

func TestSlotsRunOut(t *testing.T) {
	g := newGuest(t, virtiopci.Options{}, withBridge)
	for n := 2; ; n++ {
		dev, err := g.bus.Add(&echo{t: t, queues: 1}, virtiopci.Options{ID: 2})
		if err != nil {
			if n != virtiopci.Slots {
				t.Errorf("device in slot %d: %v", n, err)
			}
			return
		}
		if dev.Slot() != n {
			t.Fatalf("slot %d, want %d", dev.Slot(), n)
		}
	}
}
