package gdb

import (
	"github.com/isthmus-fs/isthmus/kvm"
	"github.com/isthmus-fs/isthmus/vmm"
)

// CPU is what a debugger does with a paused processor. A *kvm.VCPU is one.
type CPU interface {
	GetRegs(*kvm.Regs) error
	SetRegs(*kvm.Regs) error
	GetSregs(*kvm.Sregs) error
	SetSregs(*kvm.Sregs) error
	GetXSave(*kvm.XSave) error
	SetXSave(*kvm.XSave) error
	GetMPState() (kvm.MPState, error)
	Translate(linear uint64) (kvm.Translation, error)
	SetGuestDebug(*kvm.GuestDebug) error
}

// Target is the machine that is debugged; see [Machine]. Its methods but those of memory
// mean what those of *vmm.Machine do. A session calls them from one goroutine.
type Target interface {
	CPUs() int
	Pause() bool
	Resume(hold func(cpu int) bool)
	Do(cpu int, f func(CPU) error) error // vmm.ErrEnded if the machine has ended
	Stops() <-chan vmm.Stop
	Ended() <-chan struct{}
	Outcome() vmm.Outcome
	End(vmm.Outcome)

	// ReadMemory and WriteMemory copy guest-physical memory, within one page of 4 KiB, of
	// a paused machine. They return false if not all of it is memory.
	ReadMemory(gpa uint64, p []byte) bool
	WriteMemory(gpa uint64, p []byte) bool

	// Offset is how far the guest's program is from where its ELF file says it is.
	Offset() uint64
}
