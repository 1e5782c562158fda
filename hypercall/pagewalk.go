package hypercall

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/oslib"
)

// Bits of the entries of page tables (Intel SDM volume 3, 4-level paging).
const (
	entryPresent = 1 << 0
	entryLarge   = 1 << 7 // PS: the entry is of a page, not of a table
	entryAddr    = 1<<52 - 1<<12
)

// Translate finds the physical address of a virtual one by the page tables at cr3.
// left is how many bytes of the page begin there. The physical address need not be
// guest memory. ok is false where nothing is mapped. The tables are read anew by each call;
// see the package text for which entries count.
func Translate(v *guestmem.View, cr3, va uint64) (gpa, left uint64, ok bool) {
	err := oslib.CatchFault(func() { gpa, left, ok = walk(v, cr3, va) })
	return gpa, left, ok && err == nil
}

// walk is Translate for those who catch faults.
func walk(v *guestmem.View, cr3, va uint64) (gpa, left uint64, ok bool) {
	if uint64(int64(va<<16)>>16) != va {
		return 0, 0, false // not canonical
	}
	table := cr3 & entryAddr
	for shift := 39; ; shift -= 9 {
		b, ok := v.HostGPA(table+va>>shift&511*8, 8)
		if !ok {
			return 0, 0, false
		}
		e := binary.LittleEndian.Uint64(b) // read once
		if e&entryPresent == 0 || shift == 39 && e&entryLarge != 0 {
			return 0, 0, false
		}
		if shift == 12 || e&entryLarge != 0 {
			in := uint64(1)<<shift - 1
			return e&entryAddr&^in | va&in, in + 1 - va&in, true
		}
		table = e & entryAddr
	}
}

// virtual appends to dst the host memory of n bytes at a virtual address, or of the first
// of them if these are maxPieces iovecs, and returns for how many. Pages that adjoin
// become one iovec. It is false if one of the bytes is not guest memory.
func (m memory) virtual(dst []unix.Iovec, cr3, va, n uint64) (v []unix.Iovec, done uint64, ok bool) {
	v = dst
	err := oslib.CatchFault(func() { v, done, ok = m.pages(v, cr3, va, n) })
	return v, done, ok && err == nil
}

func (m memory) pages(v []unix.Iovec, cr3, va, n uint64) ([]unix.Iovec, uint64, bool) {
	var start, length, done uint64 // the pages that adjoin so far
	for done < n {
		gpa, left, ok := walk(m.view, cr3, va+done)
		if !ok {
			return v, 0, false
		}
		left = min(left, n-done)
		if length != 0 && gpa != start+length {
			if v, ok = m.view.Iovecs(v, start, uint32(length)); !ok {
				return v, 0, false
			}
			length = 0
			if len(v) >= maxPieces {
				return v, done, true
			}
		}
		if length == 0 {
			start = gpa
		}
		length += left
		done += left
	}
	v, ok := m.view.Iovecs(v, start, uint32(length))
	return v, done, ok
}
