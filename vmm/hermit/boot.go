package hermit

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/isthmus-fs/isthmus/kvm"
)

// maxCPUs is the most processors, as a machine can have them: their ids have 8 bits.
const maxCPUs = 254

// Config is what a guest is started with. A zero field has no effect where nothing else
// is said.
type Config struct {
	// Kernel is what to start.
	Kernel *Kernel
	// Memory is the size of guest memory in bytes, a multiple of MemoryStep.
	Memory uint64
	// CPUs is the number of processors, 1 to 254.
	CPUs int
	// Fixed: guest memory begins at the lowest address possible, not at random.
	Fixed bool
	// Random is where randomness comes from; nil is the kernel's generator.
	Random io.Reader

	// KernelArgs, AppArgs and Env make the command line. Env are NAME=VALUE.
	KernelArgs, AppArgs, Env []string
	// Mounts are the directories that the guest is to mount, as from MountList.
	Mounts []string
	// Initrd is the unpacked archive of an image in internal mode.
	Initrd []byte
	// PCI: there is a PCI bus to look for devices on.
	PCI bool

	// TSCKHz is the frequency of the time-stamp counter; 0 is unknown. It and
	// BootTime are for Prepare; Place does not need them.
	TSCKHz uint32
	// BootTime is what the guest's clock begins with, between 1678 and 2262.
	BootTime time.Time
}

// Boot is a guest that is ready to run.
type Boot struct {
	Loaded
	Layout Layout
}

// Place chooses where guest memory begins and where everything lies in it.
func (c *Config) Place() (*Layout, error) {
	if c.CPUs < 1 || c.CPUs > maxCPUs {
		return nil, fmt.Errorf("%d processors are not possible: 1 to %d are", c.CPUs, maxCPUs)
	}
	size, err := c.treeSize()
	if err != nil {
		return nil, err
	}
	random := c.Random
	switch {
	case c.Fixed:
		random = nil
	case random == nil:
		random = rand.Reader
	}
	return c.Kernel.place(c.Memory, size, uint64(len(c.Initrd)), random)
}

// Prepare writes all that the guest finds when it starts into mem, which is guest
// memory and fresh: all zeros. The layout is from Place, and nothing in c has changed
// since but TSCKHz and BootTime.
func (c *Config) Prepare(l *Layout, mem []byte) (*Boot, error) {
	if uint64(len(mem)) != l.End-l.Base {
		return nil, fmt.Errorf("guest memory has %d bytes, not the %d it was planned with", len(mem), l.End-l.Base)
	}
	loaded, err := c.Kernel.Load(mem, l.Base, l.Kernel)
	if err != nil {
		return nil, err
	}
	tree, err := c.tree(l)
	if err != nil {
		return nil, err
	}
	if uint64(len(tree)) > l.FDTEnd-l.FDT || uint64(len(c.Initrd)) != l.InitrdEnd-l.Initrd {
		return nil, errors.New("the guest's configuration has changed since its memory was laid out")
	}
	copy(mem[l.FDT-l.Base:], tree)
	if l.InitrdEnd != 0 {
		copy(mem[l.Initrd-l.Base:], c.Initrd)
	}
	info := bootInfo{
		memStart: l.Base, memEnd: l.End,
		serialPort:  serialPorts[c.Kernel.Interface],
		fdt:         l.FDT,
		kernelStart: loaded.Start, kernelEnd: loaded.End,
		tls:      loaded.TLS,
		pci:      c.PCI,
		cpus:     uint64(c.CPUs),
		tscKHz:   c.TSCKHz,
		bootTime: c.BootTime,
	}
	info.encode((*[bootInfoSize]byte)(mem[l.BootInfo-l.Base:]))
	writeGDT(mem, l)
	if err := writeTables(mem, l, c.Kernel.Legacy); err != nil {
		return nil, err
	}
	return &Boot{Loaded: loaded, Layout: *l}, nil
}

// Regs returns the registers that a processor starts with. The kernel tells them apart
// by RSI. RSP is the low end of the boot stack: the kernel's first instructions add
// its size.
func (b *Boot) Regs(cpu int) kvm.Regs {
	return kvm.Regs{
		RIP: b.Entry, RFLAGS: 2,
		RDI: b.Layout.BootInfo, RSI: uint64(cpu), RSP: b.Layout.Stack,
	}
}

// Bits of control registers.
const (
	cr0 = 1<<31 | 1<<5 | 1<<4 | 1<<0 // PG, NE, ET, PE
	cr4 = 1 << 5                     // PAE
	// efer has LMA too, which is what the processor would set.
	efer = 1<<11 | 1<<10 | 1<<8 // NXE, LMA, LME
)

// Sregs changes the registers of a processor, as KVM gave them, to those that it starts
// with: long mode with flat segments. FS, GS, TR, LDT and IDT stay as they are.
func (b *Boot) Sregs(s *kvm.Sregs) {
	data := kvm.Segment{Limit: 0xffffffff, Selector: selData, Type: 3, Present: 1, S: 1, G: 1, DB: 1}
	s.DS, s.ES, s.SS = data, data, data
	code := data
	code.Selector, code.Type, code.L, code.DB = selCode, 11, 1, 0
	s.CS = code
	s.GDT.Base, s.GDT.Limit = b.Layout.GDT, uint16(len(gdt)*8-1)
	s.CR0, s.CR3, s.CR4, s.EFER = cr0, b.Layout.Tables, cr4, efer
}

// MSRs are the model-specific registers that a processor starts with, where not as KVM
// has them: fast string operations are on (IA32_MISC_ENABLE).
func MSRs() []kvm.MSREntry {
	return []kvm.MSREntry{{Index: 0x1a0, Data: 1}}
}
