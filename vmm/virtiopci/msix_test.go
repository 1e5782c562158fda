package virtiopci_test

import (
	"slices"
	"testing"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vmm/virtiopci"
)

const (
	msixOn   = 1 << 15
	msixMask = 1 << 14
	address  = 0xfee00000
)

// msixGuest is a guest with all vectors programmed and none masked.
func msixGuest(t *testing.T) (g *guest, table, pba uint64) {
	t.Helper()
	g = newGuest(t, virtiopci.Options{MSIX: true})
	if g.msix == 0 {
		t.Fatal("no MSI-X capability")
	}
	table = g.bar + uint64(g.config32(g.msix+4)&^7)
	pba = g.bar + uint64(g.config32(g.msix+8)&^7)
	if n := g.configRead(g.msix+2, 2)&0x7ff + 1; n != 3 {
		t.Fatalf("%d vectors, want 3", n)
	}
	for i := range uint64(3) {
		if v := g.load(table+16*i+12, 4); v != 1 {
			t.Errorf("vector %d begins with control %#x, want it masked", i, v)
		}
		g.store(table+16*i, 8, address)
		g.store(table+16*i+8, 4, 0x30+i)
		g.store(table+16*i+12, 4, 0)
	}
	if len(g.kvm.irqfds) != 0 {
		t.Error("irqfds before MSI-X is enabled")
	}
	g.configWrite(g.msix+2, 2, msixOn)
	return g, table, pba
}

// taken returns how often vector i was signalled since the last time, and whether
// KVM listened.
func (g *guest) taken(i uint32) (n uint64, heard bool) {
	g.kvm.mu.Lock()
	fd, ok := g.kvm.irqfds[24+i]
	g.kvm.mu.Unlock()
	if !ok {
		return 0, false
	}
	n, _ = oslib.EventfdRead(fd)
	return n, true
}

func TestMSIXVectors(t *testing.T) {
	g, _, _ := msixGuest(t)
	for i := range uint32(3) {
		if want := []uint32{address, 0, 0x30 + i}; !slices.Equal(g.kvm.routes[24+i], want) {
			t.Errorf("vector %d leads to %#x, want %#x", i, g.kvm.routes[24+i], want)
		}
	}
	g.negotiate(features)
	g.want(cfgVector, 0xffff, "at first")
	g.set(cfgVector, 3)
	g.want(cfgVector, 0xffff, "a vector that is not there")
	g.set(cfgVector, 0)
	g.want(cfgVector, 0, "a vector")
	for i := range g.echo.queues {
		g.ring(i, features)
		g.set(queueVector, uint64(1+i))
		g.want(queueVector, uint64(1+i), "a vector")
	}
	g.set(status, 0xf)
	g.echo.changed()
	if n, ok := g.taken(0); n != 1 || !ok {
		t.Errorf("the vector of the configuration was signalled %d times (%v)", n, ok)
	}
	if _, rises := g.kvm.line(11); rises != 0 {
		t.Error("INTA although MSI-X is enabled")
	}
	if v := g.load(g.structure(3), 1); v != 0 {
		t.Errorf("ISR status %#x although MSI-X is enabled", v)
	}
}

func TestMSIXQueueVector(t *testing.T) {
	g, _, _ := msixGuest(t)
	g.negotiate(features)
	drv := g.ring(0, features)
	g.set(queueVector, 2)
	g.set(status, 0xf)
	g.roundTrip(0, drv, 1)
	eventually(t, "an interrupt", func() bool { n, _ := g.taken(2); return n == 1 })
	if n, _ := g.taken(1); n != 0 {
		t.Errorf("another vector was signalled %d times", n)
	}
	g.set(status, 0)
	g.set(queueSelect, 0)
	g.want(queueVector, 0xffff, "after a reset")
}

func TestMSIXMasks(t *testing.T) {
	g, table, pba := msixGuest(t)
	g.negotiate(features)
	g.set(cfgVector, 1)
	g.set(status, 0xf)
	for _, m := range []struct {
		name     string
		on, off  func()
		unmasked uint32 // a vector that is heard all the same, or none
	}{
		{"vector", func() { g.store(table+16+12, 4, 1) }, func() { g.store(table+16+12, 4, 0) }, 0},
		{"function", func() { g.configWrite(g.msix+2, 2, msixOn|msixMask) }, func() { g.configWrite(g.msix+2, 2, msixOn) }, 99},
	} {
		m.on()
		if _, heard := g.taken(1); heard {
			t.Errorf("%s mask: KVM listens", m.name)
		}
		if _, heard := g.taken(0); heard != (m.unmasked == 0) {
			t.Errorf("%s mask: the other vector is heard: %v", m.name, heard)
		}
		if v := g.load(pba, 8); v != 0 {
			t.Errorf("%s mask: pending %#x", m.name, v)
		}
		g.echo.changed()
		if v := g.load(pba, 8); v != 2 {
			t.Errorf("%s mask: pending %#x, want 2", m.name, v)
		}
		m.off()
		// KVM finds the eventfd signalled when it begins to listen.
		if n, heard := g.taken(1); n != 1 || !heard {
			t.Errorf("%s mask off: signalled %d times (%v)", m.name, n, heard)
		}
	}
	// What waits when MSI-X goes is gone.
	m := g.kvm.irqfds[25]
	g.configWrite(g.msix+2, 2, msixOn|msixMask)
	g.echo.changed()
	g.configWrite(g.msix+2, 2, 0)
	if n, _ := oslib.EventfdRead(m); n != 0 {
		t.Error("an interrupt outlives MSI-X")
	}
	g.echo.changed()
	if high, _ := g.kvm.line(11); !high {
		t.Error("no INTA after MSI-X was disabled")
	}
	g.configWrite(g.msix+2, 2, msixOn)
	if high, _ := g.kvm.line(11); high {
		t.Error("INTA although MSI-X is enabled")
	}
}

func TestMSIXRouteThatKVMRefuses(t *testing.T) {
	g, table, _ := msixGuest(t)
	g.store(table+8, 4, 0xbad)
	if _, heard := g.taken(0); heard {
		t.Error("KVM listens to a vector without a route")
	}
	g.store(table+16+8, 4, 0x77)
	if r := g.kvm.routes[25]; r[2] != 0x77 {
		t.Errorf("the other vector's data is %#x", r[2])
	}
	g.store(table+8, 4, 0x44)
	if _, heard := g.taken(0); !heard || g.kvm.routes[24][2] != 0x44 {
		t.Errorf("routes %#x", g.kvm.routes)
	}
}

func TestMSIXTableIsMemory(t *testing.T) {
	g, table, pba := msixGuest(t)
	g.store(table+4, 4, 0xffffffff)
	g.store(table+12, 4, 0xffffffff)
	if v := g.load(table, 8); v != 0xffffffff<<32|address {
		t.Errorf("address %#x", v)
	}
	if v := g.load(table+12, 4); v != 1 {
		t.Errorf("vector control %#x: only the mask is there", v)
	}
	g.store(pba, 8, ^uint64(0))
	if v := g.load(pba, 8); v != 0 {
		t.Errorf("pending bits %#x after a write", v)
	}
	if v := g.load(table+16*3, 8); v != 0 {
		t.Errorf("beyond the table there is %#x", v)
	}
	if v := g.load(table+16*3-4, 8); v != 0 {
		t.Errorf("across the end of the table there is %#x", v)
	}
}
