package kvm

import (
	"errors"
	"syscall"
)

// VM is a virtual machine.
type VM struct {
	fd       int
	mmapSize int // of each vCPU
}

// Close closes the descriptor. The machine is gone when its vCPUs are closed too.
func (m *VM) Close() error { return closeFD(&m.fd) }

// CheckExtension is [System.CheckExtension] for this machine, whose answer is the
// more exact one (KVM_CHECK_EXTENSION, §4.4).
func (m *VM) CheckExtension(c Cap) (int, error) { return call(m.fd, checkExtension, uintptr(c)) }

// EnableCap switches a capability on (KVM_ENABLE_CAP, §4.37), with up to four
// arguments (§7): [CAP_SPLIT_IRQCHIP] takes the number of pins and goes before the
// first vCPU, as do [CAP_X86_DISABLE_EXITS] and [CAP_X2APIC_API].
func (m *VM) EnableCap(c Cap, args ...uint64) error { return enableOn(m.fd, c, args) }

func enableOn(fd int, c Cap, args []uint64) error {
	arg := enableCap{Cap: c}
	if copy(arg.Args[:], args) < len(args) {
		return &Error{enable.name, syscall.E2BIG}
	}
	_, err := callPtr(fd, enable, &arg)
	return err
}

// SetUserMemoryRegion makes, changes or, with size 0, takes away a slot of memory
// (KVM_SET_USER_MEMORY_REGION, §4.35). The guest reaches whatever is mapped at the
// user-space address at the moment of each access, so that must stay the caller's
// own memory, never Go's, until the slot is gone. Running vCPUs see the change when
// the call returns.
func (m *VM) SetUserMemoryRegion(r *UserspaceMemoryRegion) error {
	_, err := callPtr(m.fd, setUserMemoryRegion, r)
	return err
}

// SetTSSAddr gives Intel's KVM three pages of guest addresses, below 4 GiB and not
// used by memory or devices, to run real mode with (KVM_SET_TSS_ADDR, §4.36).
func (m *VM) SetTSSAddr(addr uint32) error {
	_, err := call(m.fd, setTSSAddr, uintptr(addr))
	return err
}

// SetIdentityMapAddr is the same for the one page of page tables that goes with it
// (KVM_SET_IDENTITY_MAP_ADDR, §4.40). It goes before the first vCPU.
func (m *VM) SetIdentityMapAddr(addr uint64) error {
	_, err := callPtr(m.fd, setIdentityMapAddr, &addr)
	return err
}

// CreateIRQChip puts two PICs, an I/O APIC and a local APIC for each vCPU into the
// kernel (KVM_CREATE_IRQCHIP, §4.24). It goes before the first vCPU. From then on
// HLT waits in the kernel, and vCPUs other than the first wait for INIT and SIPI.
func (m *VM) CreateIRQChip() error {
	_, err := call(m.fd, createIRQChip, 0)
	return err
}

// CreatePIT2 adds the timer 8254 (KVM_CREATE_PIT2, §4.71); flags is 0 or
// [PIT_SPEAKER_DUMMY]. It goes after CreateIRQChip.
func (m *VM) CreatePIT2(flags uint32) error {
	_, err := callPtr(m.fd, createPIT2, &pitConfig{Flags: flags})
	return err
}

// GetIRQChip fills in the state of the chip whose id c has (KVM_GET_IRQCHIP, §4.26).
func (m *VM) GetIRQChip(c *IRQChip) error {
	_, err := callPtr(m.fd, getIRQChip, c)
	return err
}

// SetIRQChip sets the state of a chip (KVM_SET_IRQCHIP, §4.27).
func (m *VM) SetIRQChip(c *IRQChip) error {
	_, err := callPtr(m.fd, setIRQChip, c)
	return err
}

// IRQLine sets the level of an interrupt input (KVM_IRQ_LINE, §4.25). An
// edge-triggered interrupt is true and then false.
func (m *VM) IRQLine(gsi uint32, level bool) error {
	arg := irqLevel{IRQ: gsi}
	if level {
		arg.Level = 1
	}
	_, err := callPtr(m.fd, irqLine, &arg)
	return err
}

// SetGSIRouting replaces the whole table of interrupt routes
// (KVM_SET_GSI_ROUTING, §4.52). CreateIRQChip makes one that leads 0 to 15 to PIC
// and I/O APIC and up to 23 to the latter.
func (m *VM) SetGSIRouting(routes []IRQRoutingEntry) error {
	const words = 12 // of each entry
	buf := make([]uint32, irqRoutingHeader/4+words*len(routes))
	buf[0] = uint32(len(routes))
	for i, r := range routes {
		entry := buf[irqRoutingHeader/4+words*i:]
		entry[0], entry[1], entry[2] = r.GSI, r.Type, r.Flags
		copy(entry[4:words], r.U[:])
	}
	_, err := callPtr(m.fd, setGSIRouting, &buf[0])
	return err
}

// SignalMSI sends a message-signalled interrupt without a route (KVM_SIGNAL_MSI,
// §4.71). It reports whether a processor took it: one whose local APIC is off, or
// that is not there, does not.
func (m *VM) SignalMSI(msi *MSI) (delivered bool, err error) {
	n, err := callPtr(m.fd, signalMSI, msi)
	if errors.Is(err, syscall.EPERM) {
		return false, nil // KVM's -1 for no destination, which it passes on as an errno
	}
	return n > 0, err
}

// IRQFD ties an eventfd to an interrupt input, or unties it (KVM_IRQFD, §4.75).
// Each write to it then raises the interrupt, without a system call to KVM.
func (m *VM) IRQFD(arg *IRQFD) error {
	_, err := callPtr(m.fd, irqfd, arg)
	return err
}

// IOEventFD ties guest writes to an address or port to an eventfd, or unties them
// (KVM_IOEVENTFD, §4.59). They then signal it instead of being an exit.
func (m *VM) IOEventFD(arg *IOEventFD) error {
	_, err := callPtr(m.fd, ioeventfd, arg)
	return err
}

// GetClock reads the guest's kvmclock (KVM_GET_CLOCK, §4.29).
func (m *VM) GetClock() (ClockData, error) {
	var c ClockData
	_, err := callPtr(m.fd, getClock, &c)
	return c, err
}

// SetClock sets it (KVM_SET_CLOCK, §4.30). The only flag it takes is [CLOCK_REALTIME].
func (m *VM) SetClock(c *ClockData) error {
	_, err := callPtr(m.fd, setClock, c)
	return err
}
