package kvm

import (
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// run is struct kvm_run, the page that a vCPU and its owner share.
type run struct {
	control                    uint32 // the bytes request_interrupt_window and immediate_exit, and padding
	_                          uint32
	exitReason                 ExitReason
	readyForInterruptInjection uint8
	ifFlag                     uint8
	flags                      uint16
	cr8                        uint64
	apicBase                   uint64
	exit                       [32]uint64 // a union
	validRegs                  uint64
	dirtyRegs                  uint64
	sync                       SyncRegs
	_                          [2048 - unsafe.Sizeof(SyncRegs{})]byte
}

const runSize = int(unsafe.Sizeof(run{}))

// Bits of run.control, on a little-endian machine.
const (
	requestInterruptWindow = 1 << 0
	immediateExit          = 1 << 8
)

// runOf is the beginning of a mapping of at least runSize bytes.
func runOf(mapping []byte) *run { return (*run)(unsafe.Pointer(unsafe.SliceData(mapping))) }

// Run lets the guest run until the next exit (KVM_RUN, §4.10). It blocks the
// thread. The answer to an exit that asks for one, such as the data of a port that
// was read, counts when Run is called again.
//
// Zero says that [VCPU.ExitReason] is new. Otherwise nothing else in the exit
// data is, and the error is one of:
//
//   - EINTR: a kick, or any other signal. The registers are complete, but the guest
//     has not necessarily moved. An exit before has been finished.
//   - EAGAIN: a processor that was waiting has had its INIT or SIPI; run again.
//   - EFAULT, EHWPOISON: the guest touched memory of a slot that is not mapped, or
//     may not be written, in this process. With [CAP_MEMORY_FAULT_INFO] ExitReason is
//     then [EXIT_MEMORY_FAULT] and [VCPU.MemoryFault] says where. If KVM happened to
//     interpret the instruction, it is an [EXIT_MMIO] instead.
//   - others: the machine cannot go on.
func (c *VCPU) Run() syscall.Errno {
	_, _, errno := syscall.Syscall(unix.SYS_IOCTL, uintptr(c.fd), runVCPU.number, 0)
	return errno
}

// RunBusy is [VCPU.Run] for a guest that is expected to exit soon. Go's scheduler is not
// told, which makes an exit cheaper by what it costs to give up and take back one of its
// processors (GOMAXPROCS), and by what its monitor does meanwhile, which on a host with one
// processor is as much again as the exit. In return that processor is not there for other
// goroutines, and the runtime interrupts a RunBusy of more than some 10 ms, or when it wants
// to collect garbage; it returns EINTR then. With GODEBUG=asyncpreemptoff=1 it cannot, so
// there RunBusy must not be used.
func (c *VCPU) RunBusy() syscall.Errno {
	_, _, errno := syscall.RawSyscall(unix.SYS_IOCTL, uintptr(c.fd), runVCPU.number, 0)
	return errno
}

// SetImmediateExit sets or clears the flag that makes Run return EINTR at once
// (immediate_exit). A Run that has it set still finishes the exit before, so it is
// also how to get complete registers in the middle of IO or MMIO.
func (c *VCPU) SetImmediateExit(on bool) { setBit(&c.run.control, immediateExit, on) }

// ImmediateExit reports whether the flag is set. After EINTR it tells a kick from
// other signals.
func (c *VCPU) ImmediateExit() bool { return atomic.LoadUint32(&c.run.control)&immediateExit != 0 }

// RequestInterruptWindow asks for an [EXIT_IRQ_WINDOW_OPEN] as soon as the guest
// can take an interrupt, or takes that back. It is for machines without an irqchip
// in the kernel.
func (c *VCPU) RequestInterruptWindow(on bool) { setBit(&c.run.control, requestInterruptWindow, on) }

// setBit changes one bit of a word that another thread changes other bits of.
func setBit(word *uint32, bit uint32, on bool) {
	if on {
		atomic.OrUint32(word, bit)
	} else {
		atomic.AndUint32(word, ^bit)
	}
}

// ReadyForInterrupt reports whether an [VCPU.Interrupt] would be delivered at once.
func (c *VCPU) ReadyForInterrupt() bool { return c.run.readyForInterruptInjection != 0 }

// ExitReason says why the last successful Run returned. It says which of the
// methods below mean something, until the next Run.
func (c *VCPU) ExitReason() ExitReason { return c.run.exitReason }

// exitData is the union of struct kvm_run as a T, which is not larger.
func exitData[T any](c *VCPU) *T { return (*T)(unsafe.Pointer(&c.run.exit)) }

// HardwareExitReason is the processor's own number of an [EXIT_UNKNOWN].
func (c *VCPU) HardwareExitReason() uint64 { return c.run.exit[0] }

// IO describes an [EXIT_IO].
func (c *VCPU) IO() IOExit { return *exitData[IOExit](c) }

// IOData are the data of an [EXIT_IO]: Count times Size bytes that the guest
// wrote, or that are to be filled in for it before the next Run. It is nil for
// other exits.
func (c *VCPU) IOData() []byte {
	if c.run.exitReason != EXIT_IO {
		return nil
	}
	io := c.IO()
	return ioData(c.mapping, &io, runSize)
}

// MMIO is an [EXIT_MMIO], in place.
func (c *VCPU) MMIO() *MMIOExit { return exitData[MMIOExit](c) }

// Debug is an [EXIT_DEBUG].
func (c *VCPU) Debug() DebugExit { return *exitData[DebugExit](c) }

// FailEntry is an [EXIT_FAIL_ENTRY].
func (c *VCPU) FailEntry() FailEntryExit { return *exitData[FailEntryExit](c) }

// InternalError is an [EXIT_INTERNAL_ERROR].
func (c *VCPU) InternalError() InternalErrorExit { return *exitData[InternalErrorExit](c) }

// SystemEvent is an [EXIT_SYSTEM_EVENT].
func (c *VCPU) SystemEvent() SystemEventExit { return *exitData[SystemEventExit](c) }

// IOAPICEOI is the vector of an [EXIT_IOAPIC_EOI], with [CAP_SPLIT_IRQCHIP].
func (c *VCPU) IOAPICEOI() uint8 { return uint8(c.run.exit[0]) }

// MSR is an [EXIT_X86_RDMSR] or [EXIT_X86_WRMSR], in place.
func (c *VCPU) MSR() *MSRExit { return exitData[MSRExit](c) }

// MemoryFault is an [EXIT_MEMORY_FAULT].
func (c *VCPU) MemoryFault() MemoryFaultExit { return *exitData[MemoryFaultExit](c) }

// SyncRegs are the registers as of the last exit, those of them that
// [VCPU.SetValidRegs] asked for (§5, kvm_valid_regs), in place. Needs
// [CAP_SYNC_REGS].
func (c *VCPU) SyncRegs() *SyncRegs { return &c.run.sync }

// SetValidRegs says which registers each exit is to copy to [VCPU.SyncRegs]:
// SYNC_X86_*, 0 for none.
func (c *VCPU) SetValidRegs(mask uint64) { c.run.validRegs = mask }

// SetDirtyRegs says which registers the next Run is to take from [VCPU.SyncRegs];
// the kernel clears it.
func (c *VCPU) SetDirtyRegs(mask uint64) { c.run.dirtyRegs = mask }
