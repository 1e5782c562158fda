package virtq

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/oslib"
)

// How a driver can break its queue. [Queue.Pop] wraps these.
var (
	// ErrAvailIndex: avail.idx is further ahead than the ring is long.
	ErrAvailIndex = errors.New("the available index jumped")
	// ErrOutstanding: a chain was made available while as many as there are
	// descriptors had not been returned.
	ErrOutstanding = errors.New("more chains are outstanding than the ring has descriptors")
	// ErrDescriptor: a head or next is beyond the table (virtio 1.3 §2.7.5).
	ErrDescriptor = errors.New("descriptor index out of range")
	// ErrLength: a chain is a loop, or longer than the queue size or
	// [MaxIndirect] (virtio 1.3 §2.7.5.3.1).
	ErrLength = errors.New("the chain is too long or loops")
	// ErrOrder: a device-readable buffer after a device-writable one (virtio
	// 1.3 §2.7.4.2).
	ErrOrder = errors.New("device-readable descriptor after a device-writable one")
	// ErrIndirect: an indirect descriptor without the feature, in an
	// indirect table, together with a next one, or of a length that is not a
	// positive multiple of 16 (virtio 1.3 §2.7.5.3).
	ErrIndirect = errors.New("invalid indirect descriptor")
	// ErrIndirectTable: an indirect table is outside of guest memory.
	// Without its descriptors there is no telling what to return.
	ErrIndirectTable = errors.New("indirect table outside of guest memory")
	// ErrTotal: the buffers of a chain have more than 2³² bytes (virtio 1.3
	// §2.7.5.2).
	ErrTotal = errors.New("the chain has more than 2³² bytes")
)

// Chain is a request of the driver. The zero value is ready for [Queue.Pop],
// which reuses its slices.
//
// The iovecs are guest memory, valid as long as the guestmem.View that Pop
// translated with. Those with a nil Base stand for buffers outside of guest
// memory.
type Chain struct {
	Head   uint16       // identifies the chain to [Queue.Push]
	In     []unix.Iovec // device-readable: from the driver
	Out    []unix.Iovec // device-writable: to the driver
	InLen  uint64       // bytes in In
	OutLen uint64       // bytes in Out
}

func (c *Chain) reset(head uint16) {
	c.Head = head
	c.In, c.Out = c.In[:0], c.Out[:0]
	c.InLen, c.OutLen = 0, 0
}

// descriptor is struct virtq_desc (virtio 1.3 §2.7.5): our copy of one.
type descriptor struct {
	addr  uint64
	len   uint32
	flags uint16
	next  uint16
}

// parseDescriptor copies a descriptor, reading each byte once.
func parseDescriptor(b []byte) descriptor {
	b = b[:descLen:descLen]
	rest := binary.LittleEndian.Uint64(b[8:])
	return descriptor{
		addr:  binary.LittleEndian.Uint64(b),
		len:   uint32(rest),
		flags: uint16(rest >> 32),
		next:  uint16(rest >> 48),
	}
}

// putUsed writes a struct virtq_used_elem (virtio 1.3 §2.7.8).
func putUsed(b []byte, head uint16, written uint32) {
	binary.LittleEndian.PutUint64(b[:usedElemLen:usedElemLen], uint64(written)<<32|uint64(head))
}

// Pop takes the next available chain into c and translates its buffers with mem.
// It returns false if there is none. A chain without buffers, or whose buffers
// are empty, is returned as one. An error means that the queue is broken; it is
// the same from then on, and c holds nothing.
func (q *Queue) Pop(mem *guestmem.View, c *Chain) (bool, error) {
	if q.err != nil {
		c.reset(0)
		return false, q.err
	}
	if q.seen == q.next {
		idx := q.availIdx.load()
		if idx-q.next > q.mask+1 {
			return q.broken(c, ErrAvailIndex)
		}
		if idx == q.next {
			return false, nil
		}
		q.seen = idx
	}
	if q.outstanding > int(q.mask) {
		return q.broken(c, ErrOutstanding)
	}
	head := load16(q.avail, ringHeadLen+availElemLen*int(q.next&q.mask))
	c.reset(head)
	if err := q.collect(mem, c); err != nil {
		return q.broken(c, err)
	}
	q.next++
	q.outstanding++
	return true, nil
}

func (q *Queue) broken(c *Chain, why error) (bool, error) {
	c.reset(0)
	q.err = fmt.Errorf("virtqueue broken at available index %d: %w", q.next, why)
	return false, q.err
}

// collect walks the chain of c.Head. Every descriptor it looks at takes one from
// left, so that a loop ends.
func (q *Queue) collect(mem *guestmem.View, c *Chain) error {
	var (
		table    = q.desc // nil: an indirect table in pieces, at addr
		addr     uint64
		count    = uint32(q.mask) + 1 // descriptors in the table
		left     = count
		limit    = max(count, MaxIndirect)
		i        = uint32(c.Head)
		indirect = false
		writable = false // a device-writable one was seen
	)
	for {
		if i >= count {
			return ErrDescriptor
		}
		if left == 0 {
			return ErrLength
		}
		left--
		limit--
		var d descriptor
		if table != nil {
			d = parseDescriptor(table[descLen*int(i):])
		} else {
			var ok bool
			if d, ok = q.fetch(mem, addr+descLen*uint64(i)); !ok {
				return ErrIndirectTable
			}
		}
		if d.flags&DescIndirect != 0 {
			if indirect || !q.indirect || d.flags&DescNext != 0 || d.len == 0 || d.len%descLen != 0 {
				return ErrIndirect
			}
			if d.addr+uint64(d.len) < d.addr {
				return ErrIndirectTable
			}
			table, _ = mem.HostGPA(d.addr, uint64(d.len))
			addr = d.addr
			count = d.len / descLen
			// The descriptor that points here is no part of the
			// chain's length.
			limit++
			left = min(count, limit)
			i = 0
			indirect = true
			continue
		}
		if d.flags&DescWrite != 0 {
			writable = true
			c.Out, _ = mem.Iovecs(c.Out, d.addr, d.len)
			c.OutLen += uint64(d.len)
		} else {
			if writable {
				return ErrOrder
			}
			c.In, _ = mem.Iovecs(c.In, d.addr, d.len)
			c.InLen += uint64(d.len)
		}
		if c.InLen+c.OutLen > 1<<32 {
			return ErrTotal
		}
		if d.flags&DescNext == 0 {
			return nil
		}
		i = uint32(d.next)
	}
}

// fetch copies the descriptor at addr from an indirect table that lies across
// regions.
func (q *Queue) fetch(mem *guestmem.View, addr uint64) (d descriptor, ok bool) {
	iov, ok := mem.Iovecs(q.straddling[:0], addr, descLen)
	if !ok {
		return d, false
	}
	var b [descLen]byte
	oslib.IovRead(b[:], iov)
	return parseDescriptor(b[:]), true
}
