package virtiopci

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/isthmus-fs/isthmus/kvm"
)

// line is an interrupt input: high as long as anybody holds it so.
type line struct {
	kvm KVM
	log *slog.Logger
	gsi uint32

	mu   sync.Mutex
	held int
}

func (l *line) hold(up bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.held > 0
	if up {
		l.held++
	} else {
		l.held--
	}
	if is := l.held > 0; is != was {
		if err := l.kvm.IRQLine(l.gsi, is); err != nil {
			l.log.Error("an interrupt input cannot be set", "gsi", l.gsi, "error", err)
		}
	}
}

// Bits of the ISR status (virtio 1.3 §4.1.4.5).
const (
	isrQueue  = 1 << 0
	isrConfig = 1 << 1
)

// inta is a device's ISR status and the interrupt that it makes.
type inta struct {
	line  *line
	pulse bool // see Options.Pulse
	// isr is changed under mu, but for setting bits that are set already.
	isr atomic.Uint32

	mu      sync.Mutex
	muted   bool // by the Command register or by MSI-X
	holding bool
}

// raise sets bits. Who finds them set need do nothing: the driver has not read them
// yet, and looks at its rings only then.
func (x *inta) raise(bits uint32) {
	if !x.pulse && x.isr.Load()&bits == bits {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.isr.Or(bits)
	if x.pulse {
		if !x.muted {
			x.line.hold(true)
			x.line.hold(false)
		}
		return
	}
	x.settle()
}

// take reads the ISR status, which clears it.
func (x *inta) take() uint32 {
	x.mu.Lock()
	defer x.mu.Unlock()
	bits := x.isr.Swap(0)
	x.settle()
	return bits
}

func (x *inta) mute(muted bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.muted = muted
	x.settle()
}

func (x *inta) settle() {
	if hold := x.isr.Load() != 0 && !x.muted && !x.pulse; hold != x.holding {
		x.holding = hold
		x.line.hold(hold)
	}
}

// router is the table of interrupt routes, which KVM only takes as a whole.
type router struct {
	kvm   KVM
	fixed []kvm.IRQRoutingEntry

	mu   sync.Mutex
	next uint32 // the first GSI that is free
	msi  map[uint32]kvm.IRQRoutingEntry
}

// take returns the first of n free numbers.
func (r *router) take(n int) uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.next
	r.next += uint32(n)
	return first
}

// route leads gsi to a message. If KVM does not take it, gsi leads nowhere, and the
// other routes stay.
func (r *router) route(gsi uint32, m message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.msi[gsi] = kvm.RouteToMSI(gsi, m.addr, m.data)
	err := r.install()
	if err != nil {
		delete(r.msi, gsi)
	}
	return err
}

func (r *router) install() error {
	table := slices.Clone(r.fixed)
	for _, gsi := range slices.Sorted(maps.Keys(r.msi)) {
		table = append(table, r.msi[gsi])
	}
	return r.kvm.SetGSIRouting(table)
}

// defaultRoutes is the table that KVM_CREATE_IRQCHIP makes: each number leads to the
// input of the I/O APIC with the same, and those that there are PICs for to them too.
func defaultRoutes() []kvm.IRQRoutingEntry {
	var table []kvm.IRQRoutingEntry
	for gsi := range uint32(kvm.IOAPIC_NUM_PINS) {
		table = append(table, kvm.RouteToChip(gsi, kvm.IRQCHIP_IOAPIC, gsi))
		switch gsi / 8 {
		case 0:
			table = append(table, kvm.RouteToChip(gsi, kvm.IRQCHIP_PIC_MASTER, gsi))
		case 1:
			table = append(table, kvm.RouteToChip(gsi, kvm.IRQCHIP_PIC_SLAVE, gsi%8))
		}
	}
	return table
}
