package gdb

import (
	"math/bits"
	"syscall"
)

// hardKind is what a debug register looks for, as DR7 has it.
type hardKind uint8

const (
	hardExecute hardKind = 0
	hardWrite   hardKind = 1
	hardAccess  hardKind = 3
)

// Bits of DR6 and DR7 (Intel SDM volume 3, "Debug Registers").
const (
	dr6Hits   = 0xf
	dr6Step   = 1 << 14
	dr7Fixed  = 1 << 10
	dr7Exact  = 1<<8 | 1<<9
	slotCount = 4
)

// lengthBits are the lengths that a debug register knows, as DR7 has them.
var lengthBits = map[uint64]uint64{1: 0, 2: 1, 4: 3, 8: 2}

// hardBreakpoint is a breakpoint or watchpoint as the peer sets it.
type hardBreakpoint struct {
	kind   hardKind
	addr   uint64
	length uint64
}

// slot is one debug register.
type slot struct {
	used  bool
	of    hardBreakpoint
	addr  uint64
	width uint64 // bytes: 1, 2, 4 or 8
}

// debugRegs are the hardware breakpoints, the same on all processors.
type debugRegs [slotCount]slot

// insert sets a breakpoint, if it is not set already. A range that one register cannot
// watch takes several.
func (d *debugRegs) insert(b hardBreakpoint) error {
	if b.length == 0 || b.addr+b.length < b.addr || b.kind == hardExecute && b.length != 1 {
		return syscall.EINVAL
	}
	next := *d
	for i := range next {
		if next[i].used && next[i].of == b {
			return nil
		}
	}
	for addr, left := b.addr, b.length; left > 0; {
		width := min(uint64(8), uint64(1)<<(bits.Len64(left)-1))
		if addr != 0 {
			width = min(width, addr&-addr) // watched bytes are aligned
		}
		i := next.free()
		if i < 0 {
			return syscall.ENOSPC
		}
		next[i] = slot{used: true, of: b, addr: addr, width: width}
		addr += width
		left -= width
	}
	*d = next
	return nil
}

func (d *debugRegs) free() int {
	for i := range d {
		if !d[i].used {
			return i
		}
	}
	return -1
}

// remove takes a breakpoint away, if it is set.
func (d *debugRegs) remove(b hardBreakpoint) {
	for i := range d {
		if d[i].used && d[i].of == b {
			d[i] = slot{}
		}
	}
}

func (d *debugRegs) any() bool { return *d != debugRegs{} }

// executes reports whether there is a breakpoint for instructions at an address.
func (d *debugRegs) executes(pc uint64) bool {
	for i := range d {
		if d[i].used && d[i].of.kind == hardExecute && d[i].addr == pc {
			return true
		}
	}
	return false
}

// registers returns DR0 to DR7. but, if not nil, is the address of an instruction whose
// breakpoint is to have no effect.
func (d *debugRegs) registers(but *uint64) (dr [8]uint64) {
	dr[7] = dr7Fixed
	for i := range d {
		b := &d[i]
		if !b.used || but != nil && b.of.kind == hardExecute && b.addr == *but {
			continue
		}
		dr[i] = b.addr
		dr[7] |= dr7Exact | 2<<(2*i) | (uint64(b.of.kind)|lengthBits[b.width]<<2)<<(16+4*i)
	}
	return dr
}

// hit returns the breakpoint that DR6 tells of when the next instruction is at pc.
// Instructions come last: one that was stopped at will stop again, but data that were
// touched will not be touched again.
func (d *debugRegs) hit(dr6, pc uint64) *slot {
	var found *slot
	for i := range d {
		if dr6&dr6Hits>>i&1 == 0 || !d[i].used {
			continue
		}
		if d[i].of.kind != hardExecute {
			return &d[i]
		}
		if d[i].addr == pc {
			found = &d[i]
		}
	}
	return found
}
