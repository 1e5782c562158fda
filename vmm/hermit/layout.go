package hermit

import (
	"errors"
	"fmt"
)

const (
	pageSize  = 4 << 10
	largePage = 2 << 20
	gib       = 1 << 30
)

// Offsets from the beginning of guest memory; see the package's documentation.
const (
	offGDT      = 0x1000
	offBootInfo = 0x2000
	offFDT      = 0x3000
	offTables   = 0x10000
	offFree     = 0x38000 // the end of the page tables
	offKernel   = 0x40000

	smallFDT = offTables - offFDT
)

// StackSize is the size of the boot stack, which lies right below the kernel. All
// processors get the same one: each waits for its turn before it uses it.
const StackSize = 32 << 10

// MemoryStep is what the size of guest memory is a multiple of, in bytes.
const MemoryStep = largePage

// Layout is where everything lies, in guest-physical addresses.
type Layout struct {
	// Base and End are guest memory.
	Base, End uint64
	// Randomised: Base was chosen at random.
	Randomised bool
	// GDT, BootInfo and Tables are where these begin. Tables is the PML4.
	GDT, BootInfo, Tables uint64
	// FDT is where the device tree begins, FDTEnd the end of its room.
	FDT, FDTEnd uint64
	// Stack is the low end of the boot stack, where kernels expect RSP.
	Stack uint64
	// Kernel and KernelEnd are the kernel's image.
	Kernel, KernelEnd uint64
	// Initrd and InitrdEnd are the initial RAM disk; both are 0 without one.
	Initrd, InitrdEnd uint64
}

// area is the range that guest memory of an interface version lies in.
type area struct {
	start, end uint64
	text       string
}

// areas are by interface version. The device registers are between 3 and 4 GiB.
var areas = [...]area{
	1: {0, 3 * gib, "below 3 GiB"},
	2: {4 * gib, 64 * gib, "between 4 GiB and 64 GiB"},
	3: {4 * gib, 64 * gib, "between 4 GiB and 64 GiB"},
}

// shape is a layout as long as it is not known where guest memory begins: offsets
// from there, but for ET_EXEC kernels, whose base is known.
type shape struct {
	fdt, fdtEnd, kernel, initrd, end uint64
}

// shape finds room for everything. fdt and initrd are sizes in bytes; base is that of a
// kernel that cannot be moved.
func (k *Kernel) shape(memory, fdt, initrd, base uint64) (shape, error) {
	s := shape{fdt: offFDT, fdtEnd: offTables, kernel: offKernel}
	low := uint64(offFree)
	if fdt > smallFDT {
		s.fdt, s.fdtEnd = offFree, alignUp(offFree+fdt, pageSize)
		low = s.fdtEnd
	}
	if k.PIE {
		s.kernel = alignUp(max(low+StackSize, offKernel), k.align)
	} else {
		if k.first < base || k.first-base < offKernel {
			return s, fmt.Errorf("the kernel is linked to %#x, which is not at least %#x above the beginning of guest memory, %#x", k.first, offKernel, base)
		}
		s.kernel = k.first - base
		if s.kernel < low+StackSize {
			return s, fmt.Errorf("the device tree takes %d bytes, and below this kernel there is room for %d: pass fewer arguments, environment variables or mappings", fdt, max(s.kernel-offFree-StackSize, smallFDT))
		}
	}
	if k.size > memory || s.kernel > memory-k.size {
		return s, fmt.Errorf("the kernel takes %s, from %#x on in guest memory of %s: give it more memory", mib(k.size), s.kernel, mib(memory))
	}
	s.end = s.kernel + k.size
	if initrd == 0 {
		return s, nil
	}
	if k.Legacy || k.Version.Less(0, 12) {
		return s, errors.New("this kernel is older than 0.12 and would use the memory of the image's files for other things: serve them in external mode")
	}
	s.initrd = alignUp(s.end, pageSize)
	if s.initrd > memory || alignUp(initrd, pageSize) > memory-s.initrd {
		return s, fmt.Errorf("the image's files take %s, behind the kernel in guest memory of %s: give it more memory, or serve them in external mode", mib(initrd), mib(memory))
	}
	s.end = s.initrd + initrd
	return s, nil
}

// layout returns the addresses of a shape at a base.
func (k *Kernel) layout(s shape, base, memory, initrd uint64) *Layout {
	l := &Layout{
		Base: base, End: base + memory,
		GDT: base + offGDT, BootInfo: base + offBootInfo, Tables: base + offTables,
		FDT: base + s.fdt, FDTEnd: base + s.fdtEnd,
		Stack:  base + s.kernel - StackSize,
		Kernel: base + s.kernel, KernelEnd: base + s.kernel + k.size,
	}
	if initrd > 0 {
		l.Initrd, l.InitrdEnd = base+s.initrd, base+s.end
	}
	return l
}

// alignUp rounds up to a multiple of a power of two. v is at least align below the
// largest number.
func alignUp(v, align uint64) uint64 {
	return (v + align - 1) &^ (align - 1)
}

// mib writes a size for people: in MiB, rounded up.
func mib(n uint64) string {
	return fmt.Sprintf("%d MiB", n>>20+min(n&(1<<20-1), 1))
}
