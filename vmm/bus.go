package vmm

import (
	"cmp"
	"fmt"
	"slices"
)

// A Device answers accesses to ports, or to addresses without memory. off counts from
// the start of the device's range; len(data) is 1 to 8, and off+len(data) stays within
// the range. Both methods are called on the threads of processors, by several at once.
type Device interface {
	// Read fills data, which is all-ones before. It keeps no reference to it.
	Read(off uint64, data []byte)
	Write(off uint64, data []byte)
}

// bus finds the device at an address.
type bus struct {
	name   string
	ranges []busRange // in ascending order, none over another
}

type busRange struct {
	base, size uint64
	device     Device
}

// add puts a device at an address. Two in one place are a mistake of our own.
func (b *bus) add(base, size uint64, d Device) {
	if size == 0 || base+size-1 < base {
		panic(fmt.Sprintf("vmm: device of %#x bytes at %s %#x", size, b.name, base))
	}
	i, _ := slices.BinarySearchFunc(b.ranges, base, func(r busRange, base uint64) int { return cmp.Compare(r.base, base) })
	if i > 0 && base-b.ranges[i-1].base < b.ranges[i-1].size || i < len(b.ranges) && b.ranges[i].base-base < size {
		panic(fmt.Sprintf("vmm: two devices at %s %#x", b.name, base))
	}
	b.ranges = slices.Insert(b.ranges, i, busRange{base, size, d})
}

// find returns the device that has all of n bytes at addr.
func (b *bus) find(addr, n uint64) (d Device, off uint64) {
	for i := range b.ranges {
		r := &b.ranges[i]
		if off := addr - r.base; off < r.size {
			if n <= r.size-off {
				return r.device, off
			}
			return nil, 0
		}
	}
	return nil, 0
}

// read serves the guest's read.
func (b *bus) read(addr uint64, data []byte) bool {
	for i := range data {
		data[i] = 0xff
	}
	d, off := b.find(addr, uint64(len(data)))
	if d != nil {
		d.Read(off, data)
	}
	return d != nil
}

// write serves the guest's write.
func (b *bus) write(addr uint64, data []byte) bool {
	d, off := b.find(addr, uint64(len(data)))
	if d != nil {
		d.Write(off, data)
	}
	return d != nil
}
