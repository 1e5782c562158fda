package virtqtest

import (
	"encoding/binary"

	"github.com/isthmus-fs/isthmus/virtq"
)

// The methods here read and write the ring as it is, without regard to what the
// Driver knows. A test that writes with them does not use AddChain and Poll.

// Desc is struct virtq_desc (virtio 1.3 §2.7.5).
type Desc struct {
	Addr  uint64
	Len   uint32
	Flags uint16 // virtq.DescNext and so on
	Next  uint16
}

// SetDesc writes descriptor i.
func (d *Driver) SetDesc(i int, desc Desc) { PutDesc(d.desc, i, desc) }

// SetAvail writes the element for available index idx.
func (d *Driver) SetAvail(idx, head uint16) { store16(d.avail, 4+2*int(idx&d.mask), head) }

// SetAvailIdx publishes idx: everything written before is visible with it, and
// what is read afterwards is younger.
func (d *Driver) SetAvailIdx(idx uint16) {
	fence(&d.scratch)
	store16(d.avail, 2, idx)
	fence(&d.scratch)
}

// SetAvailFlags writes avail.flags, then fences.
func (d *Driver) SetAvailFlags(flags uint16) {
	store16(d.avail, 0, flags)
	fence(&d.scratch)
}

// SetUsedEvent writes used_event, then fences.
func (d *Driver) SetUsedEvent(idx uint16) {
	store16(d.avail, virtq.AvailSize(d.cfg.Size)-2, idx)
	fence(&d.scratch)
}

// UsedFlags returns used.flags.
func (d *Driver) UsedFlags() uint16 { return load16(d.used, 0) }

// UsedIdx returns used.idx.
func (d *Driver) UsedIdx() uint16 { return load16(d.used, 2) }

// AvailEvent returns avail_event.
func (d *Driver) AvailEvent() uint16 { return load16(d.used, virtq.UsedSize(d.cfg.Size)-2) }

// Used returns the element for used index idx.
func (d *Driver) Used(idx uint16) (id, written uint32) {
	e := binary.LittleEndian.Uint64(d.used[4+8*int(idx&d.mask):])
	return uint32(e), uint32(e >> 32)
}

// Outstanding returns the number of chains that were added and not taken back.
func (d *Driver) Outstanding() int { return int(d.added - d.taken) }
