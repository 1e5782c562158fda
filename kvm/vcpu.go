package kvm

import (
	"errors"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// VCPU is a virtual processor. It belongs to one goroutine at a time, on a thread
// of its own; only [VCPU.Kick] may be called by others.
type VCPU struct {
	fd      int
	mapping []byte // struct kvm_run and what follows it
	run     *run   // its beginning

	kick struct {
		sync.Mutex
		tid  int  // thread to signal, 0 for none
		gone bool // the mapping is, too
	}
}

// CreateVCPU adds a processor (KVM_CREATE_VCPU, §4.7). id is its local APIC id.
// With an irqchip in the kernel, processors other than 0 start as
// MP_STATE_UNINITIALIZED.
func (m *VM) CreateVCPU(id uint32) (*VCPU, error) {
	fd, err := call(m.fd, createVCPU, uintptr(id))
	if err != nil {
		return nil, err
	}
	mapping, err := unix.Mmap(fd, 0, m.mmapSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		unix.Close(fd)
		errno, _ := err.(syscall.Errno)
		return nil, &Error{"mmap of struct kvm_run", errno}
	}
	return &VCPU{fd: fd, mapping: mapping, run: runOf(mapping)}, nil
}

// Close gives up the processor. No Run may be under way; later kicks do nothing.
func (c *VCPU) Close() error {
	c.kick.Lock()
	defer c.kick.Unlock()
	if c.kick.gone {
		return nil
	}
	c.kick.gone, c.kick.tid = true, 0
	err := unix.Munmap(c.mapping)
	c.mapping, c.run = nil, nil
	return errors.Join(err, closeFD(&c.fd))
}

// kickSignal is what [VCPU.Kick] sends.
const kickSignal = unix.SIGURG

// Bind makes the calling thread the one that [VCPU.Kick] signals. Its goroutine is
// locked to it and calls [VCPU.Unbind] before it unlocks or ends, for the kernel
// gives the number of a thread that has ended to another.
func (c *VCPU) Bind() {
	// A process can inherit blocked signals. A blocked one would not end KVM_RUN.
	var set unix.Sigset_t
	set.Val[0] = 1 << (kickSignal - 1)
	_ = unix.PthreadSigmask(unix.SIG_UNBLOCK, &set, nil) // fails for a bad address only
	c.kick.Lock()
	c.kick.tid = unix.Gettid()
	c.kick.Unlock()
}

// Unbind ends what Bind began.
func (c *VCPU) Unbind() {
	c.kick.Lock()
	c.kick.tid = 0
	c.kick.Unlock()
}

// Kick makes the Run that is under way, or else the next one, return EINTR, and so
// do all that follow until the owner clears it with [VCPU.SetImmediateExit]. Any
// goroutine may call it at any time. Without [VCPU.Bind] only the next Run ends.
func (c *VCPU) Kick() {
	c.kick.Lock()
	defer c.kick.Unlock()
	if c.kick.gone {
		return
	}
	c.SetImmediateExit(true)
	if c.kick.tid != 0 {
		// It can only fail if the thread has ended without Unbind, and then
		// there is nothing to end.
		_ = unix.Tgkill(unix.Getpid(), c.kick.tid, kickSignal)
	}
}

// EnableCap is [VM.EnableCap] for a capability of a single processor.
func (c *VCPU) EnableCap(capability Cap, args ...uint64) error {
	return enableOn(c.fd, capability, args)
}

// GetRegs fills in the general registers (KVM_GET_REGS, §4.11).
func (c *VCPU) GetRegs(r *Regs) error {
	_, err := callPtr(c.fd, getRegs, r)
	return err
}

// SetRegs sets the general registers (KVM_SET_REGS, §4.12). Exceptions that are
// pending are forgotten.
func (c *VCPU) SetRegs(r *Regs) error {
	_, err := callPtr(c.fd, setRegs, r)
	return err
}

// GetSregs fills in segments, control registers and tables (KVM_GET_SREGS, §4.13).
func (c *VCPU) GetSregs(s *Sregs) error {
	_, err := callPtr(c.fd, getSregs, s)
	return err
}

// SetSregs sets them (KVM_SET_SREGS, §4.14). Values that contradict each other
// are EINVAL.
func (c *VCPU) SetSregs(s *Sregs) error {
	_, err := callPtr(c.fd, setSregs, s)
	return err
}

// GetFPU fills in x87 and SSE registers (KVM_GET_FPU, §4.22).
func (c *VCPU) GetFPU(f *FPU) error {
	_, err := callPtr(c.fd, getFPU, f)
	return err
}

// SetFPU sets them (KVM_SET_FPU, §4.23).
func (c *VCPU) SetFPU(f *FPU) error {
	_, err := callPtr(c.fd, setFPU, f)
	return err
}

// GetXSave fills in the whole extended state (KVM_GET_XSAVE, §4.42).
func (c *VCPU) GetXSave(x *XSave) error {
	_, err := callPtr(c.fd, getXSave, x)
	return err
}

// SetXSave sets it (KVM_SET_XSAVE, §4.43).
func (c *VCPU) SetXSave(x *XSave) error {
	_, err := callPtr(c.fd, setXSave, x)
	return err
}

// GetXCRs fills in the extended control registers (KVM_GET_XCRS, §4.44).
func (c *VCPU) GetXCRs(x *XCRs) error {
	_, err := callPtr(c.fd, getXCRs, x)
	return err
}

// SetXCRs sets them (KVM_SET_XCRS, §4.45).
func (c *VCPU) SetXCRs(x *XCRs) error {
	_, err := callPtr(c.fd, setXCRs, x)
	return err
}

// GetVCPUEvents fills in what is pending (KVM_GET_VCPU_EVENTS, §4.31).
func (c *VCPU) GetVCPUEvents(e *VCPUEvents) error {
	_, err := callPtr(c.fd, getVCPUEvents, e)
	return err
}

// SetVCPUEvents sets it (KVM_SET_VCPU_EVENTS, §4.32).
func (c *VCPU) SetVCPUEvents(e *VCPUEvents) error {
	_, err := callPtr(c.fd, setVCPUEvents, e)
	return err
}

// GetLAPIC fills in the registers of the local APIC (KVM_GET_LAPIC, §4.57), which
// must be in the kernel.
func (c *VCPU) GetLAPIC(l *LAPICState) error {
	_, err := callPtr(c.fd, getLAPIC, l)
	return err
}

// SetLAPIC sets them (KVM_SET_LAPIC, §4.58).
func (c *VCPU) SetLAPIC(l *LAPICState) error {
	_, err := callPtr(c.fd, setLAPIC, l)
	return err
}

// GetMPState says what the processor is doing (KVM_GET_MP_STATE, §4.38).
func (c *VCPU) GetMPState() (MPState, error) {
	var s MPState
	_, err := callPtr(c.fd, getMPState, &s)
	return s, err
}

// SetMPState sets it (KVM_SET_MP_STATE, §4.39); [MP_STATE_RUNNABLE] starts a
// processor without INIT and SIPI.
func (c *VCPU) SetMPState(s MPState) error {
	_, err := callPtr(c.fd, setMPState, &s)
	return err
}

// SetGuestDebug sets breakpoints and single-stepping (KVM_SET_GUEST_DEBUG, §4.87).
func (c *VCPU) SetGuestDebug(d *GuestDebug) error {
	_, err := callPtr(c.fd, setGuestDebug, d)
	return err
}

// Translate walks the guest's page tables (KVM_TRANSLATE, §4.15) as the processor
// would with privilege 0. Look at Valid.
func (c *VCPU) Translate(linear uint64) (Translation, error) {
	t := Translation{LinearAddress: linear}
	_, err := callPtr(c.fd, translate, &t)
	return t, err
}

// Interrupt delivers an interrupt at the next entry (KVM_INTERRUPT, §4.16),
// without an irqchip in the kernel; see [VCPU.ReadyForInterrupt].
func (c *VCPU) Interrupt(vector uint8) error {
	irq := uint32(vector)
	_, err := callPtr(c.fd, interrupt, &irq)
	return err
}

// NMI delivers a non-maskable interrupt (KVM_NMI, §4.64).
func (c *VCPU) NMI() error {
	_, err := call(c.fd, nmi, 0)
	return err
}

// GetTSCKHz returns the frequency of the guest's time stamp counter in kHz
// (KVM_GET_TSC_KHZ, §4.56). EIO says that the host's counter is not steady.
func (c *VCPU) GetTSCKHz() (int, error) { return call(c.fd, getTSCKHz, 0) }

// SetTSCKHz sets it (KVM_SET_TSC_KHZ, §4.55). Without [CAP_TSC_CONTROL] only
// frequencies close to the host's are taken.
func (c *VCPU) SetTSCKHz(khz uint32) error {
	_, err := call(c.fd, setTSCKHz, uintptr(khz))
	return err
}

// KVMClockCtrl tells the guest, if it uses kvmclock, that it was stopped by its
// host, so that it does not take the time for a hang (KVM_KVMCLOCK_CTRL, §4.70).
// EINVAL says that it does not use kvmclock.
func (c *VCPU) KVMClockCtrl() error {
	_, err := call(c.fd, kvmclockCtrl, 0)
	return err
}
