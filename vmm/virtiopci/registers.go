package virtiopci

import (
	"encoding/binary"
)

// What is where in BAR 0, a page each for what hypervisors like to have on pages of
// their own.
const (
	barSize = 16 << 10

	commonOffset = 0x0000
	isrOffset    = 0x0100
	configOffset = 0x0200
	notifyOffset = 0x1000
	tableOffset  = 0x2000
	pbaOffset    = 0x3000

	commonSize = 64 // with the registers of administration queues, which read as 0
	isrSize    = 1
	configRoom = notifyOffset - configOffset

	notifyStep = 4 // notify_off_multiplier
	maxQueues  = (tableOffset - notifyOffset) / notifyStep
)

// Virtio's capabilities (virtio 1.3 §4.1.4): their types, and where things are in
// them.
const (
	capVendor = 0x09

	capCommon = 1
	capNotify = 2
	capISR    = 3
	capDevice = 4
	capPCI    = 5

	capBAR     = 4
	capOffset  = 8
	capLength  = 12
	windowData = 16 // pci_cfg_data, in that of type capPCI
)

// addCapabilities describes BAR 0 to the driver.
func (d *Device) addCapabilities() {
	c := &d.pci
	if n := len(d.msix.vectors); n > 0 {
		body := binary.LittleEndian.AppendUint16(nil, uint16(n-1))
		body = binary.LittleEndian.AppendUint32(body, tableOffset)
		body = binary.LittleEndian.AppendUint32(body, pbaOffset)
		d.msixCap = c.addCap(capMSIX, body)
		c.allow16(d.msixCap+msixControl, msixEnable|msixMaskAll)
	}
	add := func(kind byte, offset, length uint32, more ...byte) int {
		body := []byte{byte(capLength + 4 + len(more)), kind, 0, 0, 0, 0}
		body = binary.LittleEndian.AppendUint32(body, offset)
		body = binary.LittleEndian.AppendUint32(body, length)
		return c.addCap(capVendor, append(body, more...))
	}
	add(capCommon, commonOffset, commonSize)
	add(capISR, isrOffset, isrSize)
	add(capNotify, notifyOffset, uint32(notifyStep*len(d.queues)), notifyStep, 0, 0, 0)
	if n := len(d.space.data); n > 0 {
		add(capDevice, configOffset, uint32(n))
	}
	d.pciCap = add(capPCI, 0, 0, 0, 0, 0, 0)
	c.writable[d.pciCap+capBAR] = 0xff
	c.allow32(d.pciCap+capOffset, ^uint32(0))
	c.allow32(d.pciCap+capLength, ^uint32(0))
	c.allow32(d.pciCap+windowData, ^uint32(0))
}

// region is a part of BAR 0. An access that does not lie in one reads as 0, and
// changes nothing.
type region struct {
	offset uint64
	size   func(*Device) uint64
	read   func(d *Device, off uint64, data []byte)
	write  func(d *Device, off uint64, data []byte)
	// busy says that accesses are frequent, and lock what they need
	// themselves.
	busy bool
}

var regions = [...]region{
	{commonOffset, func(*Device) uint64 { return commonSize }, (*Device).readCommon, (*Device).writeCommon, false},
	{isrOffset, func(*Device) uint64 { return isrSize }, (*Device).readISR, nil, true},
	{configOffset, func(d *Device) uint64 { return d.space.size() }, (*Device).readSpace, nil, true},
	{notifyOffset, func(d *Device) uint64 { return notifyStep * uint64(len(d.queues)) }, nil, (*Device).notify, true},
	{tableOffset, func(d *Device) uint64 { return entrySize * uint64(len(d.msix.vectors)) },
		func(d *Device, off uint64, data []byte) { d.msix.readTable(int(off), data) },
		func(d *Device, off uint64, data []byte) { d.msix.writeTable(int(off), data) }, false},
	{pbaOffset, func(d *Device) uint64 { return (uint64(len(d.msix.vectors)) + 63) / 64 * 8 },
		func(d *Device, off uint64, data []byte) { d.msix.readPending(int(off), data) }, nil, false},
}

// find returns the region of n bytes at off, and where they are in it.
func (d *Device) find(off, n uint64) (*region, uint64) {
	for i := range regions {
		r := &regions[i]
		if at := off - r.offset; off >= r.offset && at < r.size(d) && n <= r.size(d)-at {
			return r, at
		}
	}
	return nil, 0
}

// readMemory says whether addr is in the BAR, and reads from there.
func (d *Device) readMemory(addr uint64, data []byte) bool {
	off := addr - d.bar.Load()
	if off >= barSize {
		return false
	}
	if r, _ := d.find(off, uint64(len(data))); r != nil && !r.busy {
		d.mu.Lock()
		defer d.mu.Unlock()
	}
	d.readBAR(off, data)
	return true
}

func (d *Device) readBAR(off uint64, data []byte) {
	clear(data)
	if r, at := d.find(off, uint64(len(data))); r != nil && r.read != nil {
		r.read(d, at, data)
	}
}

// writeMemory says whether addr is in the BAR, and writes there.
func (d *Device) writeMemory(addr uint64, data []byte) bool {
	off := addr - d.bar.Load()
	if off >= barSize {
		return false
	}
	if r, _ := d.find(off, uint64(len(data))); r != nil && !r.busy {
		d.mu.Lock()
		defer d.mu.Unlock()
	}
	d.writeBAR(off, data)
	return true
}

func (d *Device) writeBAR(off uint64, data []byte) {
	if r, at := d.find(off, uint64(len(data))); r != nil && r.write != nil {
		r.write(d, at, data)
	}
}

func (d *Device) readISR(_ uint64, data []byte) { data[0] = byte(d.inta.take()) }

// notify is a kick that KVM did not turn into a signal.
func (d *Device) notify(off uint64, _ []byte) {
	d.queues[off/notifyStep].signalKick()
}

func (d *Device) readSpace(off uint64, data []byte) {
	d.space.mu.Lock()
	defer d.space.mu.Unlock()
	copy(data, d.space.data[min(off, uint64(len(d.space.data))):])
}

func (s *configSpace) size() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(len(s.data))
}

func (s *configSpace) current() uint8 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.generation
}
