package kvm

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The number of an ioctl has its direction, the size of its structure, KVM's
// letter 0xae and the number within KVM (asm-generic/ioctl.h). The sizes come from
// our own structures, so a wrong one is an ioctl that does not exist.
const (
	plain = 0xae00
	write = 1<<30 | plain
	read  = 2<<30 | plain
	both  = 3<<30 | plain
)

// request is an ioctl and its name in the API text.
type request struct {
	name   string
	number uintptr
}

// Headers of structures that end in an array of any length, which does not count
// in the number.
const (
	cpuid2Header     = 8 // nent, padding
	msrsHeader       = 8 // nmsrs, pad
	msrListHeader    = 4 // nmsrs
	irqRoutingHeader = 8 // nr, flags
)

// Calls on /dev/kvm.
var (
	getAPIVersion     = request{"KVM_GET_API_VERSION", plain | 0x00}
	createVM          = request{"KVM_CREATE_VM", plain | 0x01}
	getMSRIndexList   = request{"KVM_GET_MSR_INDEX_LIST", both | msrListHeader<<16 | 0x02}
	checkExtension    = request{"KVM_CHECK_EXTENSION", plain | 0x03}
	getVCPUMmapSize   = request{"KVM_GET_VCPU_MMAP_SIZE", plain | 0x04}
	getSupportedCPUID = request{"KVM_GET_SUPPORTED_CPUID", both | cpuid2Header<<16 | 0x05}
)

// Calls on a VM.
var (
	createVCPU          = request{"KVM_CREATE_VCPU", plain | 0x41}
	setUserMemoryRegion = request{"KVM_SET_USER_MEMORY_REGION", write | unsafe.Sizeof(UserspaceMemoryRegion{})<<16 | 0x46}
	setTSSAddr          = request{"KVM_SET_TSS_ADDR", plain | 0x47}
	setIdentityMapAddr  = request{"KVM_SET_IDENTITY_MAP_ADDR", write | 8<<16 | 0x48}
	createIRQChip       = request{"KVM_CREATE_IRQCHIP", plain | 0x60}
	irqLine             = request{"KVM_IRQ_LINE", write | unsafe.Sizeof(irqLevel{})<<16 | 0x61}
	getIRQChip          = request{"KVM_GET_IRQCHIP", both | unsafe.Sizeof(IRQChip{})<<16 | 0x62}
	setIRQChip          = request{"KVM_SET_IRQCHIP", read | unsafe.Sizeof(IRQChip{})<<16 | 0x63}
	setGSIRouting       = request{"KVM_SET_GSI_ROUTING", write | irqRoutingHeader<<16 | 0x6a}
	irqfd               = request{"KVM_IRQFD", write | unsafe.Sizeof(IRQFD{})<<16 | 0x76}
	createPIT2          = request{"KVM_CREATE_PIT2", write | unsafe.Sizeof(pitConfig{})<<16 | 0x77}
	ioeventfd           = request{"KVM_IOEVENTFD", write | unsafe.Sizeof(IOEventFD{})<<16 | 0x79}
	setClock            = request{"KVM_SET_CLOCK", write | unsafe.Sizeof(ClockData{})<<16 | 0x7b}
	getClock            = request{"KVM_GET_CLOCK", read | unsafe.Sizeof(ClockData{})<<16 | 0x7c}
	signalMSI           = request{"KVM_SIGNAL_MSI", write | unsafe.Sizeof(MSI{})<<16 | 0xa5}
)

// enable is a call on a VM or a vCPU.
var enable = request{"KVM_ENABLE_CAP", write | unsafe.Sizeof(enableCap{})<<16 | 0xa3}

// Calls on a vCPU.
var (
	runVCPU       = request{"KVM_RUN", plain | 0x80}
	getRegs       = request{"KVM_GET_REGS", read | unsafe.Sizeof(Regs{})<<16 | 0x81}
	setRegs       = request{"KVM_SET_REGS", write | unsafe.Sizeof(Regs{})<<16 | 0x82}
	getSregs      = request{"KVM_GET_SREGS", read | unsafe.Sizeof(Sregs{})<<16 | 0x83}
	setSregs      = request{"KVM_SET_SREGS", write | unsafe.Sizeof(Sregs{})<<16 | 0x84}
	translate     = request{"KVM_TRANSLATE", both | unsafe.Sizeof(Translation{})<<16 | 0x85}
	interrupt     = request{"KVM_INTERRUPT", write | 4<<16 | 0x86}
	getMSRs       = request{"KVM_GET_MSRS", both | msrsHeader<<16 | 0x88}
	setMSRs       = request{"KVM_SET_MSRS", write | msrsHeader<<16 | 0x89}
	getFPU        = request{"KVM_GET_FPU", read | unsafe.Sizeof(FPU{})<<16 | 0x8c}
	setFPU        = request{"KVM_SET_FPU", write | unsafe.Sizeof(FPU{})<<16 | 0x8d}
	getLAPIC      = request{"KVM_GET_LAPIC", read | unsafe.Sizeof(LAPICState{})<<16 | 0x8e}
	setLAPIC      = request{"KVM_SET_LAPIC", write | unsafe.Sizeof(LAPICState{})<<16 | 0x8f}
	setCPUID2     = request{"KVM_SET_CPUID2", write | cpuid2Header<<16 | 0x90}
	getMPState    = request{"KVM_GET_MP_STATE", read | 4<<16 | 0x98}
	setMPState    = request{"KVM_SET_MP_STATE", write | 4<<16 | 0x99}
	nmi           = request{"KVM_NMI", plain | 0x9a}
	setGuestDebug = request{"KVM_SET_GUEST_DEBUG", write | unsafe.Sizeof(GuestDebug{})<<16 | 0x9b}
	getVCPUEvents = request{"KVM_GET_VCPU_EVENTS", read | unsafe.Sizeof(VCPUEvents{})<<16 | 0x9f}
	setVCPUEvents = request{"KVM_SET_VCPU_EVENTS", write | unsafe.Sizeof(VCPUEvents{})<<16 | 0xa0}
	setTSCKHz     = request{"KVM_SET_TSC_KHZ", plain | 0xa2}
	getTSCKHz     = request{"KVM_GET_TSC_KHZ", plain | 0xa3}
	getXSave      = request{"KVM_GET_XSAVE", read | unsafe.Sizeof(XSave{})<<16 | 0xa4}
	setXSave      = request{"KVM_SET_XSAVE", write | unsafe.Sizeof(XSave{})<<16 | 0xa5}
	getXCRs       = request{"KVM_GET_XCRS", read | unsafe.Sizeof(XCRs{})<<16 | 0xa6}
	setXCRs       = request{"KVM_SET_XCRS", write | unsafe.Sizeof(XCRs{})<<16 | 0xa7}
	kvmclockCtrl  = request{"KVM_KVMCLOCK_CTRL", plain | 0xad}
)

// call makes an ioctl whose argument is a number. A call that a signal broke off
// has done nothing and is made again.
func call(fd int, r request, arg uintptr) (int, error) {
	for {
		n, _, errno := syscall.Syscall(unix.SYS_IOCTL, uintptr(fd), r.number, arg)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return -1, &Error{r.name, errno}
		}
	}
}

// callPtr is call with a pointer, to the structure that r was made for.
func callPtr[T any](fd int, r request, arg *T) (int, error) {
	for {
		n, _, errno := syscall.Syscall(unix.SYS_IOCTL, uintptr(fd), r.number, uintptr(unsafe.Pointer(arg)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return -1, &Error{r.name, errno}
		}
	}
}
