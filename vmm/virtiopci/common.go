package virtiopci

import "encoding/binary"

// noVector is VIRTIO_MSI_NO_VECTOR.
const noVector = 0xffff

// register is a field of struct virtio_pci_common_cfg (virtio 1.3 §4.1.4.3).
type register struct {
	offset, size int
	get          func(*Device) uint64
	set          func(*Device, uint64) // nil: the driver cannot
}

var registers = [...]register{
	{0x00, 4, func(d *Device) uint64 { return uint64(d.deviceSelect) },
		func(d *Device, v uint64) { d.deviceSelect = uint32(v) }},
	{0x04, 4, func(d *Device) uint64 { return word(d.offered, d.deviceSelect) }, nil},
	{0x08, 4, func(d *Device) uint64 { return uint64(d.driverSelect) },
		func(d *Device, v uint64) { d.driverSelect = uint32(v) }},
	{0x0c, 4, func(d *Device) uint64 { return word(d.accepted, d.driverSelect) }, (*Device).accept},
	{0x10, 2, func(d *Device) uint64 { return uint64(d.cfgVector.Load()) },
		func(d *Device, v uint64) { d.cfgVector.Store(d.vector(v)) }},
	{0x12, 2, func(d *Device) uint64 { return uint64(len(d.queues)) }, nil},
	{0x14, 1, func(d *Device) uint64 { return uint64(d.status.Load()) }, (*Device).setStatus},
	{0x15, 1, func(d *Device) uint64 { return uint64(d.space.current()) }, nil},
	{0x16, 2, func(d *Device) uint64 { return uint64(d.queueSelect) },
		func(d *Device, v uint64) { d.queueSelect = uint16(v) }},
	{0x18, 2, ofQueue(func(q *queue) uint64 { return uint64(q.size) }),
		unlessEnabled(func(q *queue, v uint64) { q.size = int(v) })},
	{0x1a, 2, ofQueue(func(q *queue) uint64 { return uint64(q.vector.Load()) }),
		func(d *Device, v uint64) {
			if q := d.selected(); q != nil {
				q.vector.Store(d.vector(v))
			}
		}},
	{0x1c, 2, ofQueue(func(q *queue) uint64 { return b2u(q.enabled) }), (*Device).enable},
	{0x1e, 2, ofQueue(func(q *queue) uint64 { return uint64(q.index) }), nil},
	{0x20, 8, ofQueue(func(q *queue) uint64 { return q.desc }),
		unlessEnabled(func(q *queue, v uint64) { q.desc = v })},
	{0x28, 8, ofQueue(func(q *queue) uint64 { return q.driver }),
		unlessEnabled(func(q *queue, v uint64) { q.driver = v })},
	{0x30, 8, ofQueue(func(q *queue) uint64 { return q.device }),
		unlessEnabled(func(q *queue, v uint64) { q.device = v })},
	{0x38, 2, ofQueue(func(q *queue) uint64 { return uint64(q.index) }), nil},
	{0x3a, 2, func(*Device) uint64 { return 0 }, (*Device).resetQueue},
}

// readCommon reads any bytes of the structure, whatever fields they belong to.
func (d *Device) readCommon(off uint64, data []byte) {
	lo := int(off)
	for i := range registers {
		r := &registers[i]
		if !overlaps(lo, len(data), r.offset, r.size) {
			continue
		}
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], r.get(d))
		for k := range r.size {
			if at := r.offset + k - lo; at >= 0 && at < len(data) {
				data[at] = b[k]
			}
		}
	}
}

// writeCommon writes to each field that the bytes belong to. A part of a field
// leaves the rest of it as it is.
func (d *Device) writeCommon(off uint64, data []byte) {
	lo := int(off)
	for i := range registers {
		r := &registers[i]
		if r.set == nil || !overlaps(lo, len(data), r.offset, r.size) {
			continue
		}
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], r.get(d))
		for k := range r.size {
			if at := r.offset + k - lo; at >= 0 && at < len(data) {
				b[k] = data[at]
			}
		}
		r.set(d, binary.LittleEndian.Uint64(b[:]))
	}
}

// word returns 32 bits of a feature mask. There are 64 of them; the ones beyond are
// not set.
func word(features uint64, sel uint32) uint64 {
	if sel > 1 {
		return 0
	}
	return features >> (32 * sel) & 0xffffffff
}

// accept takes 32 bits of what the driver accepts, until FEATURES_OK. A feature
// beyond those that there are cannot be noted, and never was offered.
func (d *Device) accept(v uint64) {
	switch {
	case d.status.Load()&statusFeaturesOK != 0:
	case d.driverSelect == 0:
		d.accepted = d.accepted&^0xffffffff | v
	case d.driverSelect == 1:
		d.accepted = d.accepted&0xffffffff | v<<32
	}
}

// vector returns what a vector register holds after v was written to it: a vector
// that is not there cannot be used.
func (d *Device) vector(v uint64) uint32 {
	if v >= uint64(len(d.msix.vectors)) {
		return noVector
	}
	return uint32(v)
}

// selected returns the queue that queue_select names; nil if it is not there.
func (d *Device) selected() *queue {
	if int(d.queueSelect) >= len(d.queues) {
		return nil
	}
	return d.queues[d.queueSelect]
}

// ofQueue reads a register of the selected queue. Those of one that is not there
// are 0: its size says so.
func ofQueue(get func(*queue) uint64) func(*Device) uint64 {
	return func(d *Device) uint64 {
		if q := d.selected(); q != nil {
			return get(q)
		}
		return 0
	}
}

// unlessEnabled writes a register of the selected queue that has its meaning before
// the queue is enabled.
func unlessEnabled(set func(*queue, uint64)) func(*Device, uint64) {
	return func(d *Device, v uint64) {
		if q := d.selected(); q != nil && !q.enabled {
			set(q, v)
		}
	}
}

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
