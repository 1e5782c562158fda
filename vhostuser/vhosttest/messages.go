package vhosttest

import (
	"encoding/binary"
	"fmt"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/vhostuser"
)

// U64 is a payload of one number.
func U64(v uint64) []byte { return binary.NativeEndian.AppendUint64(nil, v) }

// State is the payload of SET_VRING_NUM, SET_VRING_BASE, GET_VRING_BASE and
// SET_VRING_ENABLE.
func State(index, num uint32) []byte {
	return binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, index), num)
}

// Addr is the payload of SET_VRING_ADDR, with front-end addresses.
func Addr(index, flags uint32, desc, used, avail, log uint64) []byte {
	b := State(index, flags)
	for _, a := range []uint64{desc, used, avail, log} {
		b = binary.NativeEndian.AppendUint64(b, a)
	}
	return b
}

// FDIndex is the payload of SET_VRING_KICK, SET_VRING_CALL and SET_VRING_ERR for
// a descriptor that comes along or, negative, that does not.
func FDIndex(index uint8, fd int) []byte {
	v := uint64(index)
	if fd < 0 {
		v |= 1 << 8
	}
	return U64(v)
}

// Regions is a sequence of memory regions as in SET_MEM_TABLE.
func Regions(b []byte, regions ...guestmem.Region) []byte {
	for _, r := range regions {
		for _, v := range []uint64{r.GPA, r.Size, r.UVA, r.Offset} {
			b = binary.NativeEndian.AppendUint64(b, v)
		}
	}
	return b
}

// MemTable is the payload of SET_MEM_TABLE and the descriptors to send with it.
func MemTable(regions ...guestmem.Region) (payload []byte, fds []int) {
	for _, r := range regions {
		fds = append(fds, r.FD)
	}
	return Regions(State(uint32(len(regions)), 0), regions...), fds
}

// MemReg is the payload of ADD_MEM_REG and REM_MEM_REG.
func MemReg(r guestmem.Region) []byte { return Regions(U64(0), r) }

// ConfigRange is the payload of GET_CONFIG, or with data of SET_CONFIG.
func ConfigRange(offset, size, flags uint32, data []byte) []byte {
	b := State(offset, size)
	b = binary.NativeEndian.AppendUint32(b, flags)
	return append(b, data...)
}

func (f *FrontEnd) callU64(r vhostuser.Request) (uint64, error) {
	p, err := f.Call(r, nil)
	if err != nil {
		return 0, err
	}
	return asU64(r, p)
}

// GetFeatures returns the virtio features that the back end offers.
func (f *FrontEnd) GetFeatures() (uint64, error) { return f.callU64(vhostuser.ReqGetFeatures) }

// SetFeatures accepts virtio features.
func (f *FrontEnd) SetFeatures(v uint64) error { return f.Do(vhostuser.ReqSetFeatures, U64(v)) }

// GetProtocolFeatures returns the protocol features that the back end offers.
func (f *FrontEnd) GetProtocolFeatures() (uint64, error) {
	return f.callU64(vhostuser.ReqGetProtocolFeatures)
}

// SetProtocolFeatures accepts protocol features.
func (f *FrontEnd) SetProtocolFeatures(v uint64) error {
	return f.Do(vhostuser.ReqSetProtocolFeatures, U64(v))
}

// SetOwner starts the session.
func (f *FrontEnd) SetOwner() error { return f.Do(vhostuser.ReqSetOwner, nil) }

// GetQueueNum returns the number of queues.
func (f *FrontEnd) GetQueueNum() (uint64, error) { return f.callU64(vhostuser.ReqGetQueueNum) }

// GetMaxMemSlots returns the number of regions that ADD_MEM_REG can reach.
func (f *FrontEnd) GetMaxMemSlots() (uint64, error) { return f.callU64(vhostuser.ReqGetMaxMemSlots) }

// SetMemTable sends all of guest memory. The descriptors stay the caller's.
func (f *FrontEnd) SetMemTable(regions ...guestmem.Region) error {
	p, fds := MemTable(regions...)
	return f.Do(vhostuser.ReqSetMemTable, p, fds...)
}

// AddMemReg adds a region, whose descriptor stays the caller's.
func (f *FrontEnd) AddMemReg(r guestmem.Region) error {
	return f.Do(vhostuser.ReqAddMemReg, MemReg(r), r.FD)
}

// RemMemReg takes a region out.
func (f *FrontEnd) RemMemReg(r guestmem.Region) error {
	return f.Do(vhostuser.ReqRemMemReg, MemReg(r))
}

// SetVringNum sends the size of a ring.
func (f *FrontEnd) SetVringNum(index, size int) error {
	return f.Do(vhostuser.ReqSetVringNum, State(uint32(index), uint32(size)))
}

// SetVringBase sends the index at which a ring goes on.
func (f *FrontEnd) SetVringBase(index int, base uint16) error {
	return f.Do(vhostuser.ReqSetVringBase, State(uint32(index), uint32(base)))
}

// GetVringBase stops a ring and returns the index at which it is to go on.
func (f *FrontEnd) GetVringBase(index int) (uint16, error) {
	p, err := f.Call(vhostuser.ReqGetVringBase, State(uint32(index), 0))
	if err != nil {
		return 0, err
	}
	if len(p) != 8 || binary.NativeEndian.Uint32(p) != uint32(index) {
		return 0, fmt.Errorf("reply to %s for ring %d: %x", vhostuser.ReqGetVringBase, index, p)
	}
	return uint16(binary.NativeEndian.Uint32(p[4:])), nil
}

// SetVringAddr sends the addresses of a ring, as front-end addresses.
func (f *FrontEnd) SetVringAddr(index int, desc, used, avail uint64) error {
	return f.Do(vhostuser.ReqSetVringAddr, Addr(uint32(index), 0, desc, used, avail, 0))
}

// SetVringKick sends the kick descriptor, or with a negative one says that the
// back end has to poll.
func (f *FrontEnd) SetVringKick(index, fd int) error {
	return f.vringFD(vhostuser.ReqSetVringKick, index, fd)
}

// SetVringCall sends the interrupt descriptor; negative: there is none.
func (f *FrontEnd) SetVringCall(index, fd int) error {
	return f.vringFD(vhostuser.ReqSetVringCall, index, fd)
}

// SetVringErr sends the descriptor for a broken ring; negative: there is none.
func (f *FrontEnd) SetVringErr(index, fd int) error {
	return f.vringFD(vhostuser.ReqSetVringErr, index, fd)
}

func (f *FrontEnd) vringFD(r vhostuser.Request, index, fd int) error {
	if fd < 0 {
		return f.Do(r, FDIndex(uint8(index), fd))
	}
	return f.Do(r, FDIndex(uint8(index), fd), fd)
}

// SetVringEnable enables or disables a ring.
func (f *FrontEnd) SetVringEnable(index int, on bool) error {
	n := uint32(0)
	if on {
		n = 1
	}
	return f.Do(vhostuser.ReqSetVringEnable, State(uint32(index), n))
}

// GetConfig returns size bytes of the configuration space from offset on.
func (f *FrontEnd) GetConfig(offset, size uint32) ([]byte, error) {
	head := ConfigRange(offset, size, 0, nil)
	p, err := f.Call(vhostuser.ReqGetConfig, append(head, make([]byte, size)...))
	if err != nil {
		return nil, err
	}
	if len(p) == 0 {
		return nil, fmt.Errorf("%s: %w", vhostuser.ReqGetConfig, ErrRefused)
	}
	if len(p) != len(head)+int(size) || string(p[:len(head)]) != string(head) {
		return nil, fmt.Errorf("reply to %s: %x for %x", vhostuser.ReqGetConfig, p, head)
	}
	return p[len(head):], nil
}

// ResetDevice stops all rings and forgets what was set up but guest memory.
func (f *FrontEnd) ResetDevice() error { return f.Do(vhostuser.ReqResetDevice, nil) }
