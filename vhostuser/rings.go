package vhostuser

import (
	"fmt"
	"math"

	"github.com/isthmus-fs/isthmus/virtq"
)

// ringAt returns the ring that a message is about.
func (b *backend) ringAt(index uint32) (*vring, error) {
	if uint64(index) >= uint64(len(b.rings)) {
		return nil, fmt.Errorf("ring %d: there are %d, with that for high priority; give the VM no more request queues than the share has", index, len(b.rings))
	}
	return b.rings[index], nil
}

// setVringNum takes the size of a ring.
func (b *backend) setVringNum(m *message) ([]byte, error) {
	s := parseVringState(m.payload)
	v, err := b.ringAt(s.index)
	switch {
	case err != nil:
		return nil, err
	case s.num == 0 || s.num > virtq.MaxSize || s.num&(s.num-1) != 0:
		return nil, fmt.Errorf("ring %d: size %d: it has to be a power of two up to %d", s.index, s.num, virtq.MaxSize)
	case int(s.num) == v.size:
		return nil, nil
	case v.ring != nil:
		return nil, fmt.Errorf("ring %d: its size cannot change while it runs", s.index)
	}
	b.stop(v)
	v.size = int(s.num)
	return nil, b.settle(v)
}

// setVringAddr takes the addresses of a ring. It may come while the ring runs.
func (b *backend) setVringAddr(m *message) ([]byte, error) {
	a := parseVringAddr(m.payload)
	v, err := b.ringAt(a.index)
	switch {
	case err != nil:
		return nil, err
	case a.flags&vringAddrLog != 0:
		return nil, fmt.Errorf("ring %d: a log of writes to it is not offered", a.index)
	case v.ring != nil && v.areas == a.areas:
		return nil, nil
	}
	b.pause(v)
	v.areas = a.areas
	v.hasAreas = true
	return nil, b.settle(v)
}

// setVringBase takes the index at which a stopped ring goes on.
func (b *backend) setVringBase(m *message) ([]byte, error) {
	s := parseVringState(m.payload)
	v, err := b.ringAt(s.index)
	switch {
	case err != nil:
		return nil, err
	case s.num > math.MaxUint16:
		return nil, fmt.Errorf("ring %d: base %#x is no index", s.index, s.num)
	case v.ring != nil:
		return nil, fmt.Errorf("ring %d: its base cannot change while it runs", s.index)
	}
	b.stop(v)
	v.base = uint16(s.num)
	return nil, b.settle(v)
}

// getVringBase stops a ring and answers where it is to go on. It needs a new
// kick descriptor to run again.
func (b *backend) getVringBase(m *message) ([]byte, error) {
	s := parseVringState(m.payload)
	v, err := b.ringAt(s.index)
	if err != nil {
		return nil, err
	}
	b.stop(v)
	v.hasKick = false
	replaceFD(&v.kick, -1)
	return vringState{index: s.index, num: uint32(v.base)}.payload(), nil
}

// setVringEnable enables or disables a ring. Disabled, it is as good as stopped:
// nothing is taken from it.
func (b *backend) setVringEnable(m *message) ([]byte, error) {
	s := parseVringState(m.payload)
	v, err := b.ringAt(s.index)
	if err != nil {
		return nil, err
	}
	if s.num > 1 {
		return nil, fmt.Errorf("ring %d: enable %d: it has to be 0 or 1", s.index, s.num)
	}
	v.enabled = s.num == 1
	return nil, b.settle(v)
}

// setVringKick takes the descriptor that says that requests are in a ring.
func (b *backend) setVringKick(m *message) ([]byte, error) {
	v, err := b.ringOfFD(m)
	if err != nil {
		return nil, err
	}
	if len(m.fds) > 0 {
		if err := checkKick(m.fds[0]); err != nil {
			return nil, fmt.Errorf("ring %d: %w", v.index, err)
		}
	}
	b.pause(v)
	replaceFD(&v.kick, m.takeFD())
	v.hasKick = true
	return nil, b.settle(v)
}

// setVringCall takes the descriptor that interrupts the driver.
func (b *backend) setVringCall(m *message) ([]byte, error) {
	v, err := b.ringOfFD(m)
	if err != nil {
		return nil, err
	}
	return nil, b.changeSignal(v, func() {
		replaceFD(&v.call, m.takeFD())
		if v.paused {
			// The driver may have been answered while there was no
			// way to tell it.
			pending := virtq.Ring{Call: v.call}
			pending.Interrupt()
		}
	})
}

// setVringErr takes the descriptor that reports a broken ring.
func (b *backend) setVringErr(m *message) ([]byte, error) {
	v, err := b.ringOfFD(m)
	if err != nil {
		return nil, err
	}
	return nil, b.changeSignal(v, func() { replaceFD(&v.err, m.takeFD()) })
}

// changeSignal changes a descriptor that a ring signals. Whether it runs does
// not depend on those.
func (b *backend) changeSignal(v *vring, change func()) error {
	ran := v.ring != nil
	b.pause(v)
	change()
	if !ran {
		return nil
	}
	return b.start(v)
}

// ringOfFD returns the ring that a message with a descriptor, or with the flag
// that there is none, is about.
func (b *backend) ringOfFD(m *message) (*vring, error) {
	f := parseVringFD(m.payload)
	v, err := b.ringAt(f.index)
	switch {
	case err != nil:
		return nil, err
	case f.noFD && len(m.fds) > 0:
		return nil, fmt.Errorf("ring %d: a file descriptor came although it was announced that none would", f.index)
	case !f.noFD && len(m.fds) == 0:
		return nil, fmt.Errorf("ring %d: the file descriptor is missing", f.index)
	}
	return v, nil
}
