package kvm

// API_VERSION is the only version of the interface there is.
const API_VERSION = 12

// Flags of [UserspaceMemoryRegion].
const (
	MEM_LOG_DIRTY_PAGES = 1 << 0
	MEM_READONLY        = 1 << 1 // writes become EXIT_MMIO; with CAP_READONLY_MEM
)

// UserspaceMemoryRegion is struct kvm_userspace_memory_region: guest-physical
// addresses and the memory of this process behind them.
type UserspaceMemoryRegion struct {
	Slot          uint32
	Flags         uint32 // MEM_*
	GuestPhysAddr uint64 // a multiple of the page size, as all of the following
	MemorySize    uint64 // bytes; 0 takes the slot away
	UserspaceAddr uint64
}

// Chips of [IRQChip] and [IRQRoutingEntry].
const (
	IRQCHIP_PIC_MASTER = 0
	IRQCHIP_PIC_SLAVE  = 1
	IRQCHIP_IOAPIC     = 2
)

// IOAPIC_NUM_PINS is the number of inputs of the I/O APIC.
const IOAPIC_NUM_PINS = 24

// IRQChip is struct kvm_irqchip: the state of one of the chips in the kernel.
type IRQChip struct {
	ChipID uint32 // IRQCHIP_*
	_      uint32
	Chip   [512]byte // struct kvm_pic_state or kvm_ioapic_state
}

// PIT_SPEAKER_DUMMY makes the kernel answer port 0x61 too.
const PIT_SPEAKER_DUMMY = 1

// pitConfig is struct kvm_pit_config.
type pitConfig struct {
	Flags uint32
	_     [15]uint32
}

// irqLevel is struct kvm_irq_level.
type irqLevel struct {
	IRQ   uint32
	Level uint32
}

// Flags of [IRQFD].
const (
	IRQFD_FLAG_DEASSIGN = 1 << 0
	IRQFD_FLAG_RESAMPLE = 1 << 1
)

// IRQFD is struct kvm_irqfd: an eventfd that raises an interrupt.
type IRQFD struct {
	FD         uint32
	GSI        uint32
	Flags      uint32 // IRQFD_FLAG_*
	ResampleFD uint32 // signalled at the end of interrupt, with IRQFD_FLAG_RESAMPLE
	_          [16]byte
}

// Flags of [IOEventFD].
const (
	IOEVENTFD_FLAG_DATAMATCH = 1 << 0 // only writes of Datamatch count
	IOEVENTFD_FLAG_PIO       = 1 << 1 // Addr is a port
	IOEVENTFD_FLAG_DEASSIGN  = 1 << 2
)

// IOEventFD is struct kvm_ioeventfd: a guest write that signals an eventfd in
// place of an exit.
type IOEventFD struct {
	Datamatch uint64
	Addr      uint64
	Len       uint32 // 1, 2, 4 or 8 bytes; 0 for any length, without datamatch
	FD        int32
	Flags     uint32 // IOEVENTFD_FLAG_*
	_         [36]byte
}

// Types of [IRQRoutingEntry].
const (
	IRQ_ROUTING_IRQCHIP = 1
	IRQ_ROUTING_MSI     = 2
)

// IRQRoutingEntry is struct kvm_irq_routing_entry: where an interrupt number of
// the machine (GSI) leads to. [RouteToChip] and [RouteToMSI] make them.
type IRQRoutingEntry struct {
	GSI   uint32
	Type  uint32 // IRQ_ROUTING_*
	Flags uint32
	_     uint32
	U     [8]uint32 // chip and pin, or low and high address and data of the MSI
}

// RouteToChip leads gsi to a pin of a chip in the kernel, IRQCHIP_*.
func RouteToChip(gsi, chip, pin uint32) IRQRoutingEntry {
	return IRQRoutingEntry{GSI: gsi, Type: IRQ_ROUTING_IRQCHIP, U: [8]uint32{chip, pin}}
}

// RouteToMSI makes gsi a message-signalled interrupt: as if a device wrote data
// to addr.
func RouteToMSI(gsi uint32, addr uint64, data uint32) IRQRoutingEntry {
	return IRQRoutingEntry{GSI: gsi, Type: IRQ_ROUTING_MSI, U: [8]uint32{uint32(addr), uint32(addr >> 32), data}}
}

// MSI is struct kvm_msi: a message-signalled interrupt.
type MSI struct {
	AddressLo uint32
	AddressHi uint32
	Data      uint32
	Flags     uint32
	DevID     uint32
	_         [12]byte
}

// enableCap is struct kvm_enable_cap.
type enableCap struct {
	Cap   Cap
	Flags uint32
	Args  [4]uint64
	_     [64]byte
}

// Flags of [ClockData].
const (
	CLOCK_TSC_STABLE = 1 << 1
	CLOCK_REALTIME   = 1 << 2
	CLOCK_HOST_TSC   = 1 << 3
)

// ClockData is struct kvm_clock_data: the guest's kvmclock.
type ClockData struct {
	Clock    uint64 // nanoseconds
	Flags    uint32 // CLOCK_*: which of the others count
	_        uint32
	Realtime uint64 // nanoseconds since 1970 at the moment of Clock
	HostTSC  uint64
	_        [4]uint32
}

// CPUID_FLAG_SIGNIFCANT_INDEX says that Index counts. The spelling is the
// kernel's.
const CPUID_FLAG_SIGNIFCANT_INDEX = 1 << 0

// CPUIDEntry2 is struct kvm_cpuid_entry2: the answer to one CPUID.
type CPUIDEntry2 struct {
	Function uint32
	Index    uint32
	Flags    uint32 // CPUID_FLAG_*
	EAX      uint32
	EBX      uint32
	ECX      uint32
	EDX      uint32
	_        [3]uint32
}

// MSREntry is struct kvm_msr_entry: a model-specific register and its value.
type MSREntry struct {
	Index uint32
	_     uint32
	Data  uint64
}
