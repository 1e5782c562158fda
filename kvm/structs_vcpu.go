package kvm

// Regs is struct kvm_regs.
type Regs struct {
	RAX, RBX, RCX, RDX uint64
	RSI, RDI, RSP, RBP uint64
	R8, R9, R10, R11   uint64
	R12, R13, R14, R15 uint64
	RIP, RFLAGS        uint64
}

// Segment is struct kvm_segment: a segment register with its hidden part.
type Segment struct {
	Base     uint64
	Limit    uint32 // bytes, whatever G says
	Selector uint16
	Type     uint8
	Present  uint8
	DPL      uint8
	DB       uint8
	S        uint8
	L        uint8
	G        uint8
	AVL      uint8
	Unusable uint8
	_        uint8
}

// DTable is struct kvm_dtable: GDTR or IDTR.
type DTable struct {
	Base  uint64
	Limit uint16
	_     [3]uint16
}

// Sregs is struct kvm_sregs: what only system software sets.
type Sregs struct {
	CS, DS, ES, FS, GS, SS  Segment
	TR, LDT                 Segment
	GDT, IDT                DTable
	CR0, CR2, CR3, CR4, CR8 uint64
	EFER                    uint64
	APICBase                uint64
	InterruptBitmap         [4]uint64 // at most one bit: an interrupt that is being delivered
}

// FPU is struct kvm_fpu: x87 and SSE.
type FPU struct {
	FPR        [8][16]byte
	FCW        uint16
	FSW        uint16
	FTWX       uint8 // as FXSAVE has it
	_          uint8
	LastOpcode uint16
	LastIP     uint64
	LastDP     uint64
	XMM        [16][16]byte
	MXCSR      uint32
	_          uint32
}

// XSave is struct kvm_xsave: the state of XSAVE in its standard form, laid out as
// CPUID leaf 0xd of the host says. It is the whole of it unless the process asked
// for more (arch_prctl) before it made the machine.
type XSave struct {
	Region [1024]uint32
}

// XCR is struct kvm_xcr: an extended control register.
type XCR struct {
	XCR   uint32
	_     uint32
	Value uint64
}

// XCRs is struct kvm_xcrs.
type XCRs struct {
	NrXCRs uint32
	Flags  uint32
	XCRs   [16]XCR
	_      [16]uint64
}

// LAPICState is struct kvm_lapic_state: the registers of a local APIC, each of 32
// bits every 16 bytes, as in its page.
type LAPICState struct {
	Regs [1024]byte
}

// MPState is KVM_MP_STATE_*, what a vCPU is doing.
type MPState uint32

// The states of a vCPU on x86.
const (
	MP_STATE_RUNNABLE      MPState = 0
	MP_STATE_UNINITIALIZED MPState = 1 // waits for INIT: all but the first, with an irqchip in the kernel
	MP_STATE_INIT_RECEIVED MPState = 2 // waits for SIPI
	MP_STATE_HALTED        MPState = 3
	MP_STATE_SIPI_RECEIVED MPState = 4
)

// Bits of VCPUEvents.Flags: which fields SET_VCPU_EVENTS is to take.
const (
	VCPUEVENT_VALID_NMI_PENDING = 1 << 0
	VCPUEVENT_VALID_SIPI_VECTOR = 1 << 1
	VCPUEVENT_VALID_SHADOW      = 1 << 2
	VCPUEVENT_VALID_SMM         = 1 << 3
	VCPUEVENT_VALID_PAYLOAD     = 1 << 4
)

// VCPUEvents is struct kvm_vcpu_events: exceptions and interrupts that are
// waiting or half delivered.
type VCPUEvents struct {
	Exception struct {
		Injected     uint8
		Nr           uint8
		HasErrorCode uint8
		Pending      uint8
		ErrorCode    uint32
	}
	Interrupt struct {
		Injected uint8
		Nr       uint8
		Soft     uint8
		Shadow   uint8
	}
	NMI struct {
		Injected uint8
		Pending  uint8
		Masked   uint8
		_        uint8
	}
	SIPIVector uint32
	Flags      uint32 // VCPUEVENT_*
	SMI        struct {
		SMM          uint8
		Pending      uint8
		SMMInsideNMI uint8
		LatchedInit  uint8
	}
	TripleFault struct {
		Pending uint8
	}
	_                   [26]byte
	ExceptionHasPayload uint8
	ExceptionPayload    uint64
}

// Bits of GuestDebug.Control.
const (
	GUESTDBG_ENABLE     = 1 << 0
	GUESTDBG_SINGLESTEP = 1 << 1
	GUESTDBG_USE_SW_BP  = 1 << 16 // INT3 of the guest becomes EXIT_DEBUG
	GUESTDBG_USE_HW_BP  = 1 << 17 // DebugReg takes the place of the guest's own
	GUESTDBG_INJECT_DB  = 1 << 18
	GUESTDBG_INJECT_BP  = 1 << 19
	GUESTDBG_BLOCKIRQ   = 1 << 20
)

// GuestDebug is struct kvm_guest_debug.
type GuestDebug struct {
	Control  uint32 // GUESTDBG_*
	_        uint32
	DebugReg [8]uint64 // DR0 to DR7; DR0 to DR3 are addresses, DR7 says what they are for
}

// Translation is struct kvm_translation: a guest-virtual address and what the
// guest's page tables make of it.
type Translation struct {
	LinearAddress   uint64
	PhysicalAddress uint64
	Valid           uint8 // 0: not mapped, and the rest means nothing
	Writeable       uint8 // the kernel says 1 whatever the page tables say
	Usermode        uint8 // and here 0
	_               [5]byte
}

// Bits of the valid and dirty registers of [VCPU.SyncRegs].
const (
	SYNC_X86_REGS   = 1 << 0
	SYNC_X86_SREGS  = 1 << 1
	SYNC_X86_EVENTS = 1 << 2
)

// SyncRegs is struct kvm_sync_regs: registers that are copied at each exit and
// entry in place of calls.
type SyncRegs struct {
	Regs   Regs
	Sregs  Sregs
	Events VCPUEvents
}
