package virtiopci

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/kvm"
)

// Where mechanism #1 is in the space of ports.
const (
	FirstPort = 0xcf8
	NumPorts  = 8
)

// Slots is how many devices the bus has room for.
const Slots = 32

// KVM is what a bus needs of its machine. *kvm.VM is one.
type KVM interface {
	IRQLine(gsi uint32, level bool) error
	IRQFD(*kvm.IRQFD) error
	IOEventFD(*kvm.IOEventFD) error
	SetGSIRouting([]kvm.IRQRoutingEntry) error
}

// Config describes a bus to [NewBus].
type Config struct {
	KVM    KVM
	Memory *guestmem.Space // of the guest; the caller's
	// Base and Size are the guest-physical addresses that lead to the bus:
	// multiples of 4 KiB, free of memory, and of the I/O APIC and local APICs
	// of KVM at 0xFEC00000 and 0xFEE00000.
	Base, Size uint64
	// HostBridge puts a host bridge at 00:00.0, and devices behind it.
	HostBridge bool
	// Routes are the interrupt routes that the machine has besides those of
	// the bus, and FirstGSI is the first number that none of them uses.
	// MSI-X vectors have the numbers from there on. Without a FirstGSI, they
	// are the ones that KVM_CREATE_IRQCHIP makes, and 24.
	Routes   []kvm.IRQRoutingEntry
	FirstGSI uint32
	// Logger takes what goes wrong. Nil means slog.Default().
	Logger *slog.Logger
}

// Bus is PCI bus 0 of a machine.
type Bus struct {
	cfg    Config
	log    *slog.Logger
	routes router
	lines  map[uint32]*line

	free    uint64 // the next address for a BAR
	slots   [Slots]function
	devices []*Device

	mu      sync.Mutex
	address uint32 // the register CONFIG_ADDRESS
}

// function is function 0 of a slot.
type function interface {
	readConfig(off int, data []byte)
	writeConfig(off int, data []byte)
}

// NewBus makes a bus. Devices are added before the machine runs.
func NewBus(cfg Config) (*Bus, error) {
	const page = 4 << 10
	if cfg.Size == 0 || cfg.Base%page != 0 || cfg.Size%page != 0 || cfg.Base+cfg.Size-1 < cfg.Base {
		return nil, fmt.Errorf("PCI memory of %#x bytes at %#x: want whole pages", cfg.Size, cfg.Base)
	}
	if cfg.KVM == nil || cfg.Memory == nil {
		return nil, errors.New("a PCI bus needs a machine with memory")
	}
	b := &Bus{cfg: cfg, log: cfg.Logger, free: cfg.Base, lines: map[uint32]*line{}}
	if b.log == nil {
		b.log = slog.Default()
	}
	b.routes = router{kvm: cfg.KVM, fixed: cfg.Routes, next: cfg.FirstGSI, msi: map[uint32]kvm.IRQRoutingEntry{}}
	if cfg.FirstGSI == 0 {
		b.routes.fixed, b.routes.next = defaultRoutes(), kvm.IOAPIC_NUM_PINS
	}
	if cfg.HostBridge {
		b.slots[0] = newHostBridge()
	}
	return b, nil
}

// Close ends all devices. The machine does not run any more, but its KVM is still
// there.
func (b *Bus) Close() {
	for _, d := range b.devices {
		d.close()
	}
	b.devices = nil
}

// place finds addresses for a BAR.
func (b *Bus) place(size uint64) (uint64, error) {
	addr := (b.free + size - 1) &^ (size - 1)
	if end := addr + size; addr < b.free || end < addr || end-b.cfg.Base > b.cfg.Size {
		return 0, fmt.Errorf("no room for %#x bytes in the PCI memory of %#x at %#x", size, b.cfg.Size, b.cfg.Base)
	}
	b.free = addr + size
	return addr, nil
}

// reaches says whether the guest's accesses to a range come here.
func (b *Bus) reaches(addr, size uint64) bool {
	off := addr - b.cfg.Base
	return off < b.cfg.Size && size <= b.cfg.Size-off
}

// line returns the interrupt input with a number.
func (b *Bus) line(gsi uint32) *line {
	l := b.lines[gsi]
	if l == nil {
		l = &line{kvm: b.cfg.KVM, log: b.log, gsi: gsi}
		b.lines[gsi] = l
	}
	return l
}

// Ports is CONFIG_ADDRESS and CONFIG_DATA, for the [NumPorts] ports from [FirstPort]
// on. It is a vmm.Device.
func (b *Bus) Ports() Ports { return Ports{b} }

// Ports is what [Bus.Ports] returns.
type Ports struct{ bus *Bus }

// Read is an IN: of the address, if it has its width and place, or of the register
// that it names.
func (p Ports) Read(off uint64, data []byte) {
	if off < 4 {
		if off == 0 && len(data) == 4 {
			p.bus.mu.Lock()
			binary.LittleEndian.PutUint32(data, p.bus.address)
			p.bus.mu.Unlock()
		}
		return
	}
	if f, reg := p.bus.selected(off-4, len(data)); f != nil {
		f.readConfig(reg, data)
	}
}

// Write is an OUT. A narrow one to the address is not for the bus.
func (p Ports) Write(off uint64, data []byte) {
	if off < 4 {
		if off == 0 && len(data) == 4 {
			const reserved = 0x7f000003
			p.bus.mu.Lock()
			p.bus.address = binary.LittleEndian.Uint32(data) &^ reserved
			p.bus.mu.Unlock()
		}
		return
	}
	if f, reg := p.bus.selected(off-4, len(data)); f != nil {
		f.writeConfig(reg, data)
	}
}

// selected returns the function that CONFIG_ADDRESS names, and the register at a
// byte of CONFIG_DATA; nil if there is none.
func (b *Bus) selected(off uint64, n int) (function, int) {
	b.mu.Lock()
	a := b.address
	b.mu.Unlock()
	const enable = 1 << 31
	bus, slot, fn := a>>16&0xff, a>>11&0x1f, a>>8&7
	if a&enable == 0 || bus != 0 || fn != 0 || off+uint64(n) > 4 {
		return nil, 0
	}
	return b.slots[slot], int(a&0xfc) + int(off)
}

// Memory is the range of addresses of [Config.Base]. It is a vmm.Device.
func (b *Bus) Memory() Memory { return Memory{b} }

// Memory is what [Bus.Memory] returns.
type Memory struct{ bus *Bus }

// Read is a read of whichever BAR is at the address.
func (m Memory) Read(off uint64, data []byte) {
	for _, d := range m.bus.devices {
		if d.readMemory(m.bus.cfg.Base+off, data) {
			return
		}
	}
}

// Write is a write to it.
func (m Memory) Write(off uint64, data []byte) {
	for _, d := range m.bus.devices {
		if d.writeMemory(m.bus.cfg.Base+off, data) {
			return
		}
	}
}
