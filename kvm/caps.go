package kvm

import "strconv"

// Cap is an optional part of the interface, KVM_CAP_*.
type Cap uint32

// The capabilities that matter to a machine on x86-64.
const (
	CAP_IRQCHIP               Cap = 0
	CAP_HLT                   Cap = 1
	CAP_USER_MEMORY           Cap = 3
	CAP_SET_TSS_ADDR          Cap = 4
	CAP_EXT_CPUID             Cap = 7
	CAP_CLOCKSOURCE           Cap = 8
	CAP_NR_VCPUS              Cap = 9  // value: recommended number of vCPUs
	CAP_NR_MEMSLOTS           Cap = 10 // value: number of slots
	CAP_MP_STATE              Cap = 14
	CAP_SYNC_MMU              Cap = 16 // changes of the host's mappings show in the guest
	CAP_USER_NMI              Cap = 22
	CAP_SET_GUEST_DEBUG       Cap = 23
	CAP_IRQ_ROUTING           Cap = 25 // value: number of GSIs
	CAP_IRQFD                 Cap = 32
	CAP_PIT2                  Cap = 33
	CAP_IOEVENTFD             Cap = 36
	CAP_SET_IDENTITY_MAP_ADDR Cap = 37
	CAP_ADJUST_CLOCK          Cap = 39
	CAP_INTERNAL_ERROR_DATA   Cap = 40
	CAP_VCPU_EVENTS           Cap = 41
	CAP_ENABLE_CAP            Cap = 54
	CAP_XSAVE                 Cap = 55
	CAP_XCRS                  Cap = 56
	CAP_TSC_CONTROL           Cap = 60
	CAP_GET_TSC_KHZ           Cap = 61
	CAP_MAX_VCPUS             Cap = 66 // value: most vCPUs of a machine
	CAP_TSC_DEADLINE_TIMER    Cap = 72
	CAP_SYNC_REGS             Cap = 74 // value: mask of SYNC_X86_*
	CAP_KVMCLOCK_CTRL         Cap = 76
	CAP_SIGNAL_MSI            Cap = 77
	CAP_READONLY_MEM          Cap = 81
	CAP_IRQFD_RESAMPLE        Cap = 82
	CAP_ENABLE_CAP_VM         Cap = 98
	CAP_CHECK_EXTENSION_VM    Cap = 105
	CAP_GUEST_DEBUG_HW_BPS    Cap = 119
	CAP_GUEST_DEBUG_HW_WPS    Cap = 120
	CAP_SPLIT_IRQCHIP         Cap = 121
	CAP_IOEVENTFD_ANY_LENGTH  Cap = 122
	CAP_MAX_VCPU_ID           Cap = 128
	CAP_X2APIC_API            Cap = 129
	CAP_IMMEDIATE_EXIT        Cap = 136
	CAP_X86_DISABLE_EXITS     Cap = 143 // value: mask of X86_DISABLE_EXITS_*
	CAP_EXCEPTION_PAYLOAD     Cap = 164
	CAP_X86_USER_SPACE_MSR    Cap = 188
	CAP_SET_GUEST_DEBUG2      Cap = 195 // value: mask of GUESTDBG_*
	CAP_XSAVE2                Cap = 208 // value on a VM: size of struct kvm_xsave
	CAP_SYSTEM_EVENT_DATA     Cap = 215
	CAP_MEMORY_FAULT_INFO     Cap = 232 // Linux 6.8
)

var capNames = map[Cap]string{
	CAP_IRQCHIP:               "IRQCHIP",
	CAP_HLT:                   "HLT",
	CAP_USER_MEMORY:           "USER_MEMORY",
	CAP_SET_TSS_ADDR:          "SET_TSS_ADDR",
	CAP_EXT_CPUID:             "EXT_CPUID",
	CAP_CLOCKSOURCE:           "CLOCKSOURCE",
	CAP_NR_VCPUS:              "NR_VCPUS",
	CAP_NR_MEMSLOTS:           "NR_MEMSLOTS",
	CAP_MP_STATE:              "MP_STATE",
	CAP_SYNC_MMU:              "SYNC_MMU",
	CAP_USER_NMI:              "USER_NMI",
	CAP_SET_GUEST_DEBUG:       "SET_GUEST_DEBUG",
	CAP_IRQ_ROUTING:           "IRQ_ROUTING",
	CAP_IRQFD:                 "IRQFD",
	CAP_PIT2:                  "PIT2",
	CAP_IOEVENTFD:             "IOEVENTFD",
	CAP_SET_IDENTITY_MAP_ADDR: "SET_IDENTITY_MAP_ADDR",
	CAP_ADJUST_CLOCK:          "ADJUST_CLOCK",
	CAP_INTERNAL_ERROR_DATA:   "INTERNAL_ERROR_DATA",
	CAP_VCPU_EVENTS:           "VCPU_EVENTS",
	CAP_ENABLE_CAP:            "ENABLE_CAP",
	CAP_XSAVE:                 "XSAVE",
	CAP_XCRS:                  "XCRS",
	CAP_TSC_CONTROL:           "TSC_CONTROL",
	CAP_GET_TSC_KHZ:           "GET_TSC_KHZ",
	CAP_MAX_VCPUS:             "MAX_VCPUS",
	CAP_TSC_DEADLINE_TIMER:    "TSC_DEADLINE_TIMER",
	CAP_SYNC_REGS:             "SYNC_REGS",
	CAP_KVMCLOCK_CTRL:         "KVMCLOCK_CTRL",
	CAP_SIGNAL_MSI:            "SIGNAL_MSI",
	CAP_READONLY_MEM:          "READONLY_MEM",
	CAP_IRQFD_RESAMPLE:        "IRQFD_RESAMPLE",
	CAP_ENABLE_CAP_VM:         "ENABLE_CAP_VM",
	CAP_CHECK_EXTENSION_VM:    "CHECK_EXTENSION_VM",
	CAP_GUEST_DEBUG_HW_BPS:    "GUEST_DEBUG_HW_BPS",
	CAP_GUEST_DEBUG_HW_WPS:    "GUEST_DEBUG_HW_WPS",
	CAP_SPLIT_IRQCHIP:         "SPLIT_IRQCHIP",
	CAP_IOEVENTFD_ANY_LENGTH:  "IOEVENTFD_ANY_LENGTH",
	CAP_MAX_VCPU_ID:           "MAX_VCPU_ID",
	CAP_X2APIC_API:            "X2APIC_API",
	CAP_IMMEDIATE_EXIT:        "IMMEDIATE_EXIT",
	CAP_X86_DISABLE_EXITS:     "X86_DISABLE_EXITS",
	CAP_EXCEPTION_PAYLOAD:     "EXCEPTION_PAYLOAD",
	CAP_X86_USER_SPACE_MSR:    "X86_USER_SPACE_MSR",
	CAP_SET_GUEST_DEBUG2:      "SET_GUEST_DEBUG2",
	CAP_XSAVE2:                "XSAVE2",
	CAP_SYSTEM_EVENT_DATA:     "SYSTEM_EVENT_DATA",
	CAP_MEMORY_FAULT_INFO:     "MEMORY_FAULT_INFO",
}

// String returns the kernel's name.
func (c Cap) String() string {
	if name, ok := capNames[c]; ok {
		return "KVM_CAP_" + name
	}
	return "KVM_CAP_" + strconv.Itoa(int(c))
}

// Arguments of [CAP_X86_DISABLE_EXITS]: what the guest does without an exit.
const (
	X86_DISABLE_EXITS_MWAIT  = 1 << 0
	X86_DISABLE_EXITS_HLT    = 1 << 1
	X86_DISABLE_EXITS_PAUSE  = 1 << 2
	X86_DISABLE_EXITS_CSTATE = 1 << 3
)

// Arguments of [CAP_X2APIC_API].
const (
	X2APIC_API_USE_32BIT_IDS           = 1 << 0
	X2APIC_API_DISABLE_BROADCAST_QUIRK = 1 << 1
)

// Arguments of [CAP_X86_USER_SPACE_MSR], and reasons in an [MSRExit].
const (
	MSR_EXIT_REASON_INVAL   = 1 << 0 // a value or an access that KVM refuses
	MSR_EXIT_REASON_UNKNOWN = 1 << 1
	MSR_EXIT_REASON_FILTER  = 1 << 2
)
