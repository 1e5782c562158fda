package vhosttest

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/vhostuser"
	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

// protocolWanted are the protocol features that a FrontEnd knows what to do
// with.
const protocolWanted = vhostuser.ProtoMQ | vhostuser.ProtoReplyAck | vhostuser.ProtoConfig |
	vhostuser.ProtoConfigureMemSlots | vhostuser.ProtoResetDevice

// Negotiate starts a session: it accepts the protocol features that it knows,
// and those virtio features of want that the back end offers. It returns the
// latter. With REPLY_ACK, NeedReply is set from then on.
func (f *FrontEnd) Negotiate(want uint64) (features uint64, err error) {
	offered, err := f.GetFeatures()
	if err != nil {
		return 0, err
	}
	if offered&virtq.FeatVersion1 == 0 || offered&vhostuser.FeatProtocol == 0 {
		return 0, fmt.Errorf("features %#x are offered: not those of a modern back end", offered)
	}
	protocol, err := f.GetProtocolFeatures()
	if err != nil {
		return 0, err
	}
	f.protocol = protocol & protocolWanted
	if err := f.SetProtocolFeatures(f.protocol); err != nil {
		return 0, err
	}
	if f.protocol&vhostuser.ProtoReplyAck != 0 {
		f.NeedReply = true
	}
	if err := f.SetOwner(); err != nil {
		return 0, err
	}
	features = offered & (want | virtq.FeatVersion1 | vhostuser.FeatProtocol)
	return features, f.SetFeatures(features)
}

// ShareMemory gives guest memory to the back end: region by region if it takes
// that, else all at once.
func (f *FrontEnd) ShareMemory(mem *virtqtest.Memory) error {
	regions, err := mem.Regions()
	if err != nil {
		return err
	}
	defer CloseRegions(regions)
	if f.protocol&vhostuser.ProtoConfigureMemSlots == 0 {
		return f.SetMemTable(regions...)
	}
	for _, r := range regions {
		if err := f.AddMemReg(r); err != nil {
			return err
		}
	}
	return nil
}

// CloseRegions closes the descriptors of regions.
func CloseRegions(regions []guestmem.Region) {
	for _, r := range regions {
		unix.Close(r.FD)
	}
}

// SetDriverAddr sends the addresses of the ring of d, which is in mem.
func (f *FrontEnd) SetDriverAddr(index int, mem *virtqtest.Memory, d *virtqtest.Driver) error {
	at := d.Layout()
	return f.SetVringAddr(index, mem.UVA(at.Desc), mem.UVA(at.Used), mem.UVA(at.Avail))
}

// StartRing sets ring index up as d, which is in mem, and enables it. base is
// where the back end begins: 0 for a new ring, or the answer to GET_VRING_BASE.
func (f *FrontEnd) StartRing(index int, mem *virtqtest.Memory, d *virtqtest.Driver, base uint16) error {
	for _, step := range []func() error{
		func() error { return f.SetVringNum(index, d.Size()) },
		func() error { return f.SetVringBase(index, base) },
		func() error { return f.SetDriverAddr(index, mem, d) },
		func() error { return f.SetVringCall(index, d.CallFD) },
		func() error { return f.SetVringKick(index, d.KickFD) },
		func() error { return f.SetVringEnable(index, true) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("ring %d: %w", index, err)
		}
	}
	return nil
}
