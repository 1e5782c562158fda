package gdb

import (
	"syscall"
)

// maxSoft is the most software breakpoints that there may be.
const maxSoft = 4096

const int3 = 0xcc

// softBreakpoints are breakpoints in memory.
type softBreakpoints struct {
	// at are the breakpoints and the physical address of each: the peer names them by
	// virtual address, and several of those may be the same byte.
	at      map[uint64]uint64
	patches map[uint64]*patch // by physical address
}

// patch is an INT3 in memory.
type patch struct {
	saved  byte // what the guest believes to be there
	refs   int  // how many breakpoints it serves
	lifted bool // out of memory for a moment
}

func newSoftBreakpoints() softBreakpoints {
	return softBreakpoints{at: make(map[uint64]uint64), patches: make(map[uint64]*patch)}
}

// insertSoft sets a breakpoint, if it is not set already.
func (s *session) insertSoft(cpu int, addr uint64) error {
	b := &s.soft
	if _, ok := b.at[addr]; ok {
		return nil
	}
	if len(b.at) == maxSoft {
		return syscall.ENOSPC
	}
	at, err := s.translate(cpu, addr, 1)
	if err != nil {
		return err
	}
	if len(at) == 0 {
		return syscall.EFAULT
	}
	gpa := at[0].gpa
	p := b.patches[gpa]
	if p == nil {
		var saved [1]byte
		if !s.t.ReadMemory(gpa, saved[:]) || !s.t.WriteMemory(gpa, []byte{int3}) {
			return syscall.EFAULT
		}
		p = &patch{saved: saved[0]}
		b.patches[gpa] = p
	}
	p.refs++
	b.at[addr] = gpa
	return nil
}

// removeSoft takes a breakpoint away, if it is set.
func (s *session) removeSoft(addr uint64) {
	b := &s.soft
	gpa, ok := b.at[addr]
	if !ok {
		return
	}
	delete(b.at, addr)
	p := b.patches[gpa]
	if p.refs--; p.refs == 0 {
		p.lift(gpa, s.t)
		delete(b.patches, gpa)
	}
}

// removeAllSoft leaves memory as the guest knows it.
func (s *session) removeAllSoft() {
	for gpa, p := range s.soft.patches {
		p.lift(gpa, s.t)
	}
	s.soft = newSoftBreakpoints()
}

// lift takes the INT3 out, unless the guest has written something else there.
func (p *patch) lift(gpa uint64, t Target) {
	var now [1]byte
	if t.ReadMemory(gpa, now[:]) && now[0] == int3 {
		t.WriteMemory(gpa, []byte{p.saved})
	}
	p.lifted = true
}

// putBack undoes lift. What the guest has written meanwhile is what it finds again.
func (p *patch) putBack(gpa uint64, t Target) {
	var now [1]byte
	if t.ReadMemory(gpa, now[:]) && t.WriteMemory(gpa, []byte{int3}) {
		p.saved = now[0]
		p.lifted = false
	}
}

// each calls f for each patch in memory among the n bytes at a physical address, with its
// place in them.
func (b *softBreakpoints) each(gpa uint64, n int, f func(i int, p *patch)) {
	// Whichever are fewer are gone through.
	if n < len(b.patches) {
		for i := range n {
			if p := b.patches[gpa+uint64(i)]; p != nil && !p.lifted {
				f(i, p)
			}
		}
		return
	}
	for at, p := range b.patches {
		if at-gpa < uint64(n) && !p.lifted {
			f(int(at-gpa), p)
		}
	}
}

// hide replaces the INT3s in memory that was read by what the guest has there.
func (b *softBreakpoints) hide(gpa uint64, mem []byte) {
	b.each(gpa, len(mem), func(i int, p *patch) {
		if mem[i] == int3 {
			mem[i] = p.saved
		}
	})
}

// keep makes in dst what is to be written to memory so that the guest finds data when
// breakpoints are gone, and so that these stay.
func (b *softBreakpoints) keep(gpa uint64, data, dst []byte, t Target) {
	t.ReadMemory(gpa, dst)
	var kept []int
	b.each(gpa, len(data), func(i int, p *patch) {
		if dst[i] == int3 {
			p.saved = data[i]
			kept = append(kept, i)
		}
	})
	copy(dst, data)
	for _, i := range kept {
		dst[i] = int3
	}
}

// patchAt returns the patch that a processor runs into at a virtual address.
func (s *session) patchAt(cpu int, addr uint64) (gpa uint64, p *patch, err error) {
	if len(s.soft.patches) == 0 {
		return 0, nil, nil
	}
	at, err := s.translate(cpu, addr, 1)
	if err != nil || len(at) == 0 {
		return 0, nil, err
	}
	return at[0].gpa, s.soft.patches[at[0].gpa], nil
}
