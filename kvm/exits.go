package kvm

import "strconv"

// ExitReason is KVM_EXIT_*: why [VCPU.Run] returned.
type ExitReason uint32

// The reasons on x86, with the method that has the particulars.
const (
	EXIT_UNKNOWN         ExitReason = 0 // [VCPU.HardwareExitReason]
	EXIT_EXCEPTION       ExitReason = 1
	EXIT_IO              ExitReason = 2 // [VCPU.IO] and [VCPU.IOData]
	EXIT_HYPERCALL       ExitReason = 3
	EXIT_DEBUG           ExitReason = 4 // [VCPU.Debug]
	EXIT_HLT             ExitReason = 5 // without an irqchip in the kernel
	EXIT_MMIO            ExitReason = 6 // [VCPU.MMIO]
	EXIT_IRQ_WINDOW_OPEN ExitReason = 7 // see [VCPU.RequestInterruptWindow]
	EXIT_SHUTDOWN        ExitReason = 8 // a triple fault
	EXIT_FAIL_ENTRY      ExitReason = 9 // [VCPU.FailEntry]
	EXIT_INTR            ExitReason = 10
	EXIT_SET_TPR         ExitReason = 11
	EXIT_TPR_ACCESS      ExitReason = 12
	EXIT_NMI             ExitReason = 16
	EXIT_INTERNAL_ERROR  ExitReason = 17 // [VCPU.InternalError]
	EXIT_SYSTEM_EVENT    ExitReason = 24 // [VCPU.SystemEvent]
	EXIT_IOAPIC_EOI      ExitReason = 26 // [VCPU.IOAPICEOI]
	EXIT_HYPERV          ExitReason = 27
	EXIT_X86_RDMSR       ExitReason = 29 // [VCPU.MSR]
	EXIT_X86_WRMSR       ExitReason = 30 // [VCPU.MSR]
	EXIT_DIRTY_RING_FULL ExitReason = 31
	EXIT_AP_RESET_HOLD   ExitReason = 32
	EXIT_X86_BUS_LOCK    ExitReason = 33
	EXIT_XEN             ExitReason = 34
	EXIT_NOTIFY          ExitReason = 37
	EXIT_MEMORY_FAULT    ExitReason = 39 // [VCPU.MemoryFault]; Linux 6.8
)

// ExitReasons is one more than the last reason known here, for tables.
const ExitReasons = 40

var exitNames = [ExitReasons]string{
	EXIT_UNKNOWN:         "UNKNOWN",
	EXIT_EXCEPTION:       "EXCEPTION",
	EXIT_IO:              "IO",
	EXIT_HYPERCALL:       "HYPERCALL",
	EXIT_DEBUG:           "DEBUG",
	EXIT_HLT:             "HLT",
	EXIT_MMIO:            "MMIO",
	EXIT_IRQ_WINDOW_OPEN: "IRQ_WINDOW_OPEN",
	EXIT_SHUTDOWN:        "SHUTDOWN",
	EXIT_FAIL_ENTRY:      "FAIL_ENTRY",
	EXIT_INTR:            "INTR",
	EXIT_SET_TPR:         "SET_TPR",
	EXIT_TPR_ACCESS:      "TPR_ACCESS",
	EXIT_NMI:             "NMI",
	EXIT_INTERNAL_ERROR:  "INTERNAL_ERROR",
	EXIT_SYSTEM_EVENT:    "SYSTEM_EVENT",
	EXIT_IOAPIC_EOI:      "IOAPIC_EOI",
	EXIT_HYPERV:          "HYPERV",
	EXIT_X86_RDMSR:       "X86_RDMSR",
	EXIT_X86_WRMSR:       "X86_WRMSR",
	EXIT_DIRTY_RING_FULL: "DIRTY_RING_FULL",
	EXIT_AP_RESET_HOLD:   "AP_RESET_HOLD",
	EXIT_X86_BUS_LOCK:    "X86_BUS_LOCK",
	EXIT_XEN:             "XEN",
	EXIT_NOTIFY:          "NOTIFY",
	EXIT_MEMORY_FAULT:    "MEMORY_FAULT",
}

// String returns the kernel's name.
func (r ExitReason) String() string {
	if r < ExitReasons && exitNames[r] != "" {
		return "KVM_EXIT_" + exitNames[r]
	}
	return "KVM_EXIT_" + strconv.Itoa(int(r))
}

// Directions of an [IOExit].
const (
	EXIT_IO_IN  = 0
	EXIT_IO_OUT = 1
)

// IOExit describes accesses to a port: Count of them, of Size bytes each.
type IOExit struct {
	Direction  uint8 // EXIT_IO_*
	Size       uint8 // 1, 2 or 4
	Port       uint16
	Count      uint32 // more than 1 for INS and OUTS with REP
	dataOffset uint64
}

// DebugExit is struct kvm_debug_exit_arch.
type DebugExit struct {
	Exception uint32 // the vector: 1 (#DB) or 3 (#BP)
	_         uint32
	PC        uint64 // CS base and RIP
	DR6       uint64 // why, if #DB
	DR7       uint64
}

// MMIOExit is an access to an address without memory.
type MMIOExit struct {
	PhysAddr uint64
	data     [8]byte
	length   uint32
	isWrite  uint8
}

// IsWrite says that the guest wrote Data; otherwise it waits for it.
func (m *MMIOExit) IsWrite() bool { return m.isWrite != 0 }

// Data are the 1 to 8 bytes written, or those to fill in for the guest's read
// before the next Run.
func (m *MMIOExit) Data() []byte { return m.data[:min(m.length, 8)] }

// FailEntryExit is an entry that the processor refused: its reason and, since
// Linux 5.11, the host processor.
type FailEntryExit struct {
	HardwareEntryFailureReason uint64
	CPU                        uint32
}

// Suberrors of [InternalErrorExit].
const (
	INTERNAL_ERROR_EMULATION              = 1
	INTERNAL_ERROR_SIMUL_EX               = 2
	INTERNAL_ERROR_DELIVERY_EV            = 3
	INTERNAL_ERROR_UNEXPECTED_EXIT_REASON = 4
)

const internalErrorFlagInstruction = 1 << 0 // KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES

// InternalErrorExit is where KVM itself gives up.
type InternalErrorExit struct {
	Suberror uint32 // INTERNAL_ERROR_*
	ndata    uint32
	data     [16]uint64
}

// Data are the words that KVM added, for a log.
func (e *InternalErrorExit) Data() []uint64 { return e.data[:min(e.ndata, uint32(len(e.data)))] }

// Instruction returns the bytes at RIP, if the suberror is INTERNAL_ERROR_EMULATION
// and KVM gave them; and nothing otherwise.
func (e *InternalErrorExit) Instruction() (insn [15]byte, n int) {
	if e.Suberror != INTERNAL_ERROR_EMULATION || e.ndata < 3 || e.data[0]&internalErrorFlagInstruction == 0 {
		return insn, 0
	}
	n = min(int(uint8(e.data[1])), len(insn))
	for i := range n {
		at := i + 1 // behind the length
		insn[i] = byte(e.data[1+at/8] >> (at % 8 * 8))
	}
	return insn, n
}

// Types of [SystemEventExit].
const (
	SYSTEM_EVENT_SHUTDOWN = 1
	SYSTEM_EVENT_RESET    = 2
	SYSTEM_EVENT_CRASH    = 3
)

// SystemEventExit is a guest that asks the machine for something.
type SystemEventExit struct {
	Type  uint32 // SYSTEM_EVENT_*
	ndata uint32
	data  [16]uint64
}

// Data are the particulars, with [CAP_SYSTEM_EVENT_DATA].
func (e *SystemEventExit) Data() []uint64 { return e.data[:min(e.ndata, uint32(len(e.data)))] }

// MSRExit is a RDMSR or WRMSR that user space handles, see
// [CAP_X86_USER_SPACE_MSR].
type MSRExit struct {
	Error  uint8 // set to 1 to give the guest a #GP
	_      [7]byte
	Reason uint32 // MSR_EXIT_REASON_*
	Index  uint32
	Data   uint64 // what WRMSR writes, or RDMSR is to read
}

// MEMORY_EXIT_FLAG_PRIVATE in MemoryFaultExit.Flags: the access was to private memory.
const MEMORY_EXIT_FLAG_PRIVATE = 1 << 3

// MemoryFaultExit is an access that KVM could not map. Run then returns EFAULT or
// EHWPOISON, and with [CAP_MEMORY_FAULT_INFO] this says where.
type MemoryFaultExit struct {
	Flags uint64 // MEMORY_EXIT_FLAG_*
	GPA   uint64
	Size  uint64 // bytes
}

// ioData returns the data of an IO exit, which lie in the mapping of a vCPU but
// not in its struct kvm_run, or nil if they do not.
func ioData(mapping []byte, io *IOExit, runSize int) []byte {
	n := uint64(io.Size) * uint64(io.Count) // below 1<<40
	size := uint64(len(mapping))
	if io.dataOffset < uint64(runSize) || io.dataOffset > size || n > size-io.dataOffset {
		return nil
	}
	end := io.dataOffset + n
	return mapping[io.dataOffset:end:end]
}
