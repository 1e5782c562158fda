package gdb

import (
	"syscall"
)

const pageSize = 4096

// piece is a part of a virtual range that lies in one page.
type piece struct {
	gpa uint64
	n   int
}

// translate finds where the n bytes at a virtual address are, as the page tables of a
// processor say, up to the first page that is not mapped or the end of the address space.
func (s *session) translate(cpu int, addr uint64, n int) ([]piece, error) {
	var pieces []piece
	err := s.t.Do(cpu, func(c CPU) error {
		for n > 0 {
			here := min(n, int(pageSize-addr%pageSize))
			t, err := c.Translate(addr)
			if err != nil {
				return err
			}
			if t.Valid == 0 {
				return nil
			}
			pieces = append(pieces, piece{t.PhysicalAddress, here})
			n -= here
			if addr += uint64(here); addr == 0 {
				return nil
			}
		}
		return nil
	})
	return pieces, err
}

// readMemory reads at a virtual address, as if there were no breakpoints. n is how much
// there is.
func (s *session) readMemory(cpu int, addr uint64, p []byte) (n int, err error) {
	pieces, err := s.translate(cpu, addr, len(p))
	if err != nil {
		return 0, err
	}
	for _, at := range pieces {
		part := p[n : n+at.n]
		if !s.t.ReadMemory(at.gpa, part) {
			break
		}
		s.soft.hide(at.gpa, part)
		n += at.n
	}
	return n, nil
}

// writeMemory writes at a virtual address, below the breakpoints that are there. It writes
// all or nothing.
func (s *session) writeMemory(cpu int, addr uint64, p []byte) error {
	pieces, err := s.translate(cpu, addr, len(p))
	if err != nil {
		return err
	}
	there := 0
	var old [pageSize]byte
	for _, at := range pieces {
		if !s.t.ReadMemory(at.gpa, old[:at.n]) {
			break
		}
		there += at.n
	}
	if there != len(p) {
		return syscall.EFAULT
	}
	for _, at := range pieces {
		s.soft.keep(at.gpa, p[:at.n], old[:at.n], s.t)
		if !s.t.WriteMemory(at.gpa, old[:at.n]) {
			return syscall.EFAULT
		}
		p = p[at.n:]
	}
	return nil
}
