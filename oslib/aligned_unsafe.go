package oslib

import "unsafe"

// Alignment is what O_DIRECT asks for (statx(2), STATX_DIOALIGN), in bytes: of the
// addresses in memory, and of the offset in the file and all lengths. Both are powers
// of two, and Mem is not above Block.
type Alignment struct{ Mem, Block uint64 }

// Aligned finds the first part of what is left that is aligned and has at least
// least bytes, least not being 0. off is where the cursor's place is in the file. The
// part is of run bytes, behind before others; if there is none, run is 0 and before all
// that is left.
func (c *IovCursor) Aligned(off uint64, a Alignment, least uint64) (before, run uint64) {
	done := c.done
	for i := range c.Left {
		v := &c.Left[i]
		addr, n := uint64(uintptr(unsafe.Pointer(v.Base)))+done, v.Len-done
		done = 0
		if n == 0 {
			continue
		}
		// Of n bytes, part are aligned, if any are: those after skip. They go on a run
		// only if nothing is skipped, and let it go on only if nothing is left over.
		skip := min(-(off+before+run)&(a.Block-1), n)
		part := (n - skip) &^ (a.Block - 1)
		if (addr+skip)&(a.Mem-1) != 0 {
			part = 0
		}
		if skip != 0 || part == 0 {
			if run >= least {
				return before, run
			}
			before += run + skip
			run = 0
		}
		run += part
		if rest := n - skip - part; rest != 0 {
			if run >= least {
				return before, run
			}
			before += run + rest
			run = 0
		}
	}
	if run >= least {
		return before, run
	}
	return before + run, 0
}
