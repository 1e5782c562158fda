package virtiopci

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/virtq"
)

// Ids of virtio devices on PCI (virtio 1.3 §4.1.2).
const (
	virtioVendor   = 0x1af4
	firstDeviceID  = 0x1040
	firstSubDevice = 0x40
	virtioRevision = 1
)

// What [Options] stand for if they are left out.
const (
	DefaultQueueSize = 256
	DefaultIRQ       = 11
)

// ringFeatures are what the transport and virtq provide to any device.
const ringFeatures = virtq.FeatVersion1 | virtq.FeatRingIndirectDesc | virtq.FeatRingEventIdx | virtq.FeatRingReset

// Options describes a device to [Bus.Add].
type Options struct {
	ID    uint16 // virtio device id: 1 is a network card (virtio 1.3 §5)
	Class uint32 // PCI class code, 24 bits
	// QueueSize is the most descriptors of each queue, a power of two; 0
	// means DefaultQueueSize.
	QueueSize int
	// MSIX offers an interrupt vector per queue and one for the
	// configuration. Without it, and to drivers that do not want it, there
	// is INTA alone.
	MSIX bool
	// IRQ is the input of the I/O APIC that INTA leads to; 0 means
	// DefaultIRQ.
	IRQ uint8
	// Pulse makes INTA a pulse for each interrupt, whether or not the driver has read the
	// ISR status since the one before. It is for kernels that take interrupts before
	// their driver is there to read that: the level would interrupt them without end.
	Pulse bool
}

// Device is a virtio device in a slot of a [Bus].
type Device struct {
	bus     *Bus
	log     *slog.Logger
	backend Backend
	opt     Options
	slot    int
	offered uint64
	queues  []*queue

	inta inta

	// bar is the address that BAR 0 is decoded at, or notDecoded.
	bar atomic.Uint64
	// status is the device status. Only who holds mu takes bits out.
	status    atomic.Uint32
	useMSIX   atomic.Bool
	cfgVector atomic.Uint32
	complains atomic.Uint32 // messages logged so far of what the guest did

	space configSpace

	mu           sync.Mutex
	pci          config
	msixCap      int // offset of the capability; 0: there is none
	pciCap       int
	msix         msix
	deviceSelect uint32
	driverSelect uint32
	queueSelect  uint16
	accepted     uint64
}

// notDecoded is no address of a BAR.
const notDecoded = ^uint64(0)

// configSpace is what the backend's Config returned last. It has a lock of its own,
// because the backend changes it while a reset waits for the backend.
type configSpace struct {
	mu         sync.Mutex
	data       []byte
	generation uint8
}

// Add puts a device into the first free slot, with an address and its memory
// decoded. The backend stays the caller's, who closes it after the bus.
func (b *Bus) Add(backend Backend, opt Options) (*Device, error) {
	slot := 0
	for slot < Slots && b.slots[slot] != nil {
		slot++
	}
	if slot == Slots {
		return nil, fmt.Errorf("no slot is left on the PCI bus, which has %d", Slots)
	}
	if opt.QueueSize == 0 {
		opt.QueueSize = DefaultQueueSize
	}
	if opt.QueueSize < 1 || opt.QueueSize > virtq.MaxSize || bits.OnesCount(uint(opt.QueueSize)) != 1 {
		return nil, fmt.Errorf("queue size %d: want a power of two up to %d", opt.QueueSize, virtq.MaxSize)
	}
	if opt.IRQ == 0 {
		opt.IRQ = DefaultIRQ
	}
	d := &Device{
		bus: b, backend: backend, opt: opt, slot: slot,
		log:     b.log.With("device", fmt.Sprintf("00:%02x.0", slot)),
		offered: ringFeatures | backend.Features(),
		inta:    inta{line: b.line(uint32(opt.IRQ)), pulse: opt.Pulse},
	}
	d.space.data = backend.Config()
	d.bar.Store(notDecoded)
	if err := d.open(); err != nil {
		d.close()
		return nil, err
	}
	if c, ok := backend.(Changer); ok {
		c.OnConfigChange(d.configChanged)
	}
	b.slots[slot] = d
	b.devices = append(b.devices, d)
	return d, nil
}

// open makes the queues and the configuration space.
func (d *Device) open() error {
	n := d.backend.NumQueues()
	if n < 1 || n > maxQueues {
		return fmt.Errorf("a device of %d queues: want 1 to %d", n, maxQueues)
	}
	if len(d.space.data) > configRoom {
		return fmt.Errorf("a configuration space of %d bytes: %d fit", len(d.space.data), configRoom)
	}
	for i := range n {
		q, err := newQueue(d, i)
		if err != nil {
			return err
		}
		d.queues = append(d.queues, q)
	}
	if d.opt.MSIX {
		if err := d.msix.open(d, n+1); err != nil {
			return err
		}
	}
	addr, err := d.bus.place(barSize)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.describe(addr)
	d.forget()
	d.decode()
	return nil
}

// describe fills the configuration space.
func (d *Device) describe(bar uint64) {
	c := &d.pci
	c.header(virtioVendor, firstDeviceID+d.opt.ID, d.opt.Class, virtioRevision)
	c.put16(regSubVendor, virtioVendor)
	c.put16(regSubDevice, firstSubDevice+d.opt.ID)
	c.put16(regCommand, commandMemory|commandMaster)
	c.data[regPin] = 1 // INTA
	c.data[regLine] = d.opt.IRQ
	c.bar0(bar, barSize)
	d.addCapabilities()
}

// decode makes the device answer at the address that the guest gave it, if accesses
// to that come here at all.
func (d *Device) decode() {
	addr := d.pci.bar0Address()
	if d.pci.get16(regCommand)&commandMemory == 0 || !d.bus.reaches(addr, barSize) {
		addr = notDecoded
	}
	if addr == d.bar.Load() {
		return
	}
	for _, q := range d.queues {
		q.listenAt(addr)
	}
	d.bar.Store(addr)
}

// close ends the device.
func (d *Device) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reset()
	d.bar.Store(notDecoded)
	for _, q := range d.queues {
		q.close()
	}
	d.msix.close()
}

// Slot returns the device number on the bus.
func (d *Device) Slot() int { return d.slot }

// Address returns where BAR 0 is decoded; false if it is not.
func (d *Device) Address() (uint64, bool) {
	a := d.bar.Load()
	return a, a != notDecoded
}

func (d *Device) readConfig(off int, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inta.isr.Load() != 0 {
		d.pci.put16(regStatus, d.pci.get16(regStatus)|statusInterrupt)
	} else {
		d.pci.put16(regStatus, d.pci.get16(regStatus)&^statusInterrupt)
	}
	if overlaps(off, len(data), d.pciCap+windowData, 4) {
		d.readWindow()
	}
	d.pci.read(off, data)
}

func (d *Device) writeConfig(off int, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pci.write(off, data)
	switch {
	case overlaps(off, len(data), d.pciCap+windowData, 4):
		d.writeWindow()
		return
	case d.msixCap != 0 && overlaps(off, len(data), d.msixCap+msixControl, 2):
		d.msix.setControl(d.pci.get16(d.msixCap + msixControl))
		d.useMSIX.Store(d.msix.enabled)
	}
	d.inta.mute(d.msix.enabled || d.pci.get16(regCommand)&commandINTxDisable != 0)
	d.decode()
}

// signal makes the interrupt that bit stands for in the ISR status, or that of a
// vector.
func (d *Device) signal(bit, vector uint32) {
	if d.useMSIX.Load() {
		d.msix.signal(vector)
		return
	}
	d.inta.raise(bit)
}

// configChanged takes over the backend's new configuration space.
func (d *Device) configChanged() {
	d.space.mu.Lock()
	d.space.data = d.backend.Config()
	d.space.generation++
	d.space.mu.Unlock()
	d.signalConfig()
}

// signalConfig tells a driver that is there to look at the device again.
func (d *Device) signalConfig() {
	if d.status.Load()&statusDriverOK != 0 {
		d.signal(isrConfig, d.cfgVector.Load())
	}
}

// complain logs what the guest did wrong, which it can do without end.
func (d *Device) complain(message string, err error) {
	const most = 16
	switch n := d.complains.Add(1); {
	case n < most:
		d.log.Warn(message, "error", err)
	case n == most:
		d.log.Warn(message+" (no more is said of this device)", "error", err)
	default:
		d.complains.Store(most)
	}
}

// readWindow and writeWindow are accesses to pci_cfg_data, which are accesses to the
// BAR of the width and at the offset in the capability (virtio 1.3 §4.1.4.9).
func (d *Device) readWindow() {
	if off, data, ok := d.window(); ok {
		d.readBAR(off, data)
	}
}

func (d *Device) writeWindow() {
	if off, data, ok := d.window(); ok {
		d.writeBAR(off, data)
	}
}

func (d *Device) window() (off uint64, data []byte, ok bool) {
	c := d.pci.data[d.pciCap:]
	off = uint64(binary.LittleEndian.Uint32(c[capOffset:]))
	n := uint64(binary.LittleEndian.Uint32(c[capLength:]))
	if c[capBAR] != 0 || n != 1 && n != 2 && n != 4 || off%n != 0 || off >= barSize {
		return 0, nil, false
	}
	return off, c[windowData : windowData+n], true
}

// overlaps says whether two ranges have a byte in common.
func overlaps(a, na, b, nb int) bool { return a < b+nb && b < a+na }

// view returns the guest's memory; the caller releases it.
func (d *Device) view() *guestmem.View { return d.bus.cfg.Memory.Acquire() }
