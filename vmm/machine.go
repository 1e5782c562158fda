package vmm

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/kvm"
)

// Hook is asked about each OUT of the guest before the devices are. data is what the
// guest writes, of 1, 2 or 4 bytes, and not valid afterwards. If the port is the Hook's,
// ok is true, and kind says what to count: an index into Config.Kinds.
type Hook func(c *CPU, port uint16, data []byte) (kind int, ok bool)

// Config is what [New] needs. CPUs and Memory are required.
type Config struct {
	KVM    string // the device; "" is kvm.DefaultPath
	CPUs   int
	Memory []*RAM

	// PIT adds the timer 8254.
	PIT bool
	// DisableExits lets the guest halt, pause and wait without an exit, as far as the
	// host offers that (KVM_CAP_X86_DISABLE_EXITS): it then has host processors for
	// itself, also while it does nothing.
	DisableExits bool
	// Affinity is the host processor that each of the guest's is pinned to, or empty.
	Affinity []int
	// CPUID, if not nil, changes what CPUID answers on a processor. leaves are what the
	// host offers, a copy of its own for each call.
	CPUID func(cpu int, leaves []kvm.CPUIDEntry2) []kvm.CPUIDEntry2

	Hook  Hook
	Kinds []string // names of what the Hook counts

	// Timed has the time measured that exits take, which costs each of them some 0.1 µs.
	Timed bool
	// Debug has the processors paused at first, and stop at breakpoints.
	Debug bool
	// OnThread, if not nil, is called on the thread of each processor before its first
	// instruction. The thread serves no other goroutine, and ends with the machine.
	OnThread func() error

	// Logger is nil for slog.Default().
	Logger *slog.Logger
}

// MaxCPUs bounds Config.CPUs: as many as have a local APIC with an id of 8 bits.
const MaxCPUs = 254

// Machine is a virtual machine.
type Machine struct {
	cfg   Config
	log   *slog.Logger
	sys   *kvm.System
	vm    *kvm.VM
	space guestmem.Space
	ports bus
	mmio  bus
	cpus  []*CPU
	kinds []string

	// orders tells running processors what to do; see orderPause and orderEnd.
	orders  atomic.Uint32
	mu      sync.Mutex
	changed sync.Cond // of what mu guards
	outcome *Outcome
	ended   chan struct{}
	stops   chan Stop

	strange struct{ port, mmio atomic.Bool } // the log has been told of one
}

// CPU is a processor of a machine.
type CPU struct {
	m     *Machine
	index int
	vcpu  *kvm.VCPU
	sync  bool // registers come with each exit
	regs  kvm.Regs
	sregs kvm.Sregs

	counters  []counter
	guestTime atomic.Int64
	extra     int // what the Hook counts of the exit at hand, or -1

	parked, done bool // guarded by m.mu
	work         chan func()
	resume       chan struct{}
}

// New makes a machine that is ready for its guest. Without a usable KVM the error is a
// *kvm.OpenError, which says what to do.
func New(cfg *Config) (_ *Machine, err error) {
	if cfg.CPUs < 1 || cfg.CPUs > MaxCPUs {
		return nil, fmt.Errorf("%d processors: want 1 to %d", cfg.CPUs, MaxCPUs)
	}
	if len(cfg.Affinity) != 0 && len(cfg.Affinity) != cfg.CPUs {
		return nil, fmt.Errorf("%d processors are to be pinned to %d of the host's: want as many", cfg.CPUs, len(cfg.Affinity))
	}
	m := &Machine{
		cfg:   *cfg,
		log:   cfg.Logger,
		ports: bus{name: "port"},
		mmio:  bus{name: "address"},
		kinds: append(ownKindNames[:], cfg.Kinds...),
		ended: make(chan struct{}),
		stops: make(chan Stop, cfg.CPUs),
	}
	m.changed.L = &m.mu
	kvm.HostExtension() // reads a file, which the threads of processors may not
	if m.log == nil {
		m.log = slog.Default()
	}
	if cfg.Debug {
		m.orders.Store(orderPause)
	}
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	if m.sys, err = kvm.Open(cfg.KVM); err != nil {
		return nil, err
	}
	if m.vm, err = m.sys.CreateVM(); err != nil {
		return nil, err
	}
	for i, r := range cfg.Memory {
		region := kvm.Region(uint32(i), 0, r.GPA(), r.Bytes())
		if err := m.vm.SetUserMemoryRegion(&region); err != nil {
			return nil, err
		}
		if err := m.space.AddMapped(r.GPA(), r.Bytes()); err != nil {
			return nil, err
		}
	}
	if err := m.addChips(); err != nil {
		return nil, err
	}
	return m, m.addCPUs()
}

// tssAddr is where Intel's KVM may keep three pages of its own: below the ROM of a PC,
// where nobody has memory.
const tssAddr = 0xfffbd000

func (m *Machine) addChips() error {
	if err := m.vm.SetTSSAddr(tssAddr); err != nil {
		return err
	}
	if err := m.vm.CreateIRQChip(); err != nil {
		return err
	}
	if m.cfg.PIT {
		if err := m.vm.CreatePIT2(0); err != nil {
			return err
		}
	}
	if n, err := m.vm.CheckExtension(kvm.CAP_X2APIC_API); err == nil && n > 0 {
		if err := m.vm.EnableCap(kvm.CAP_X2APIC_API, kvm.X2APIC_API_USE_32BIT_IDS|kvm.X2APIC_API_DISABLE_BROADCAST_QUIRK); err != nil {
			return err
		}
	}
	if !m.cfg.DisableExits {
		return nil
	}
	can, err := m.vm.CheckExtension(kvm.CAP_X86_DISABLE_EXITS)
	if err == nil && can > 0 {
		err = m.vm.EnableCap(kvm.CAP_X86_DISABLE_EXITS, uint64(can))
	}
	if err != nil || can == 0 {
		m.log.Warn("this host's KVM does not let the guest halt without an exit", "err", err)
	}
	return nil
}

func (m *Machine) addCPUs() error {
	leaves, err := m.sys.GetSupportedCPUID()
	if err != nil {
		return err
	}
	synced, _ := m.sys.CheckExtension(kvm.CAP_SYNC_REGS) // without an answer there is none
	for i := range m.cfg.CPUs {
		v, err := m.vm.CreateVCPU(uint32(i))
		if err != nil {
			return fmt.Errorf("processor %d of %d: %w", i+1, m.cfg.CPUs, err)
		}
		c := &CPU{
			m:        m,
			index:    i,
			vcpu:     v,
			sync:     synced&kvm.SYNC_X86_REGS != 0,
			counters: make([]counter, len(m.kinds)),
			work:     make(chan func()),
			resume:   make(chan struct{}, 1),
		}
		m.cpus = append(m.cpus, c)
		if c.sync {
			v.SetValidRegs(kvm.SYNC_X86_REGS)
		}
		own := slices.Clone(leaves)
		if m.cfg.CPUID != nil {
			own = m.cfg.CPUID(i, own)
		}
		if err := v.SetCPUID2(own); err != nil {
			return err
		}
	}
	return nil
}

// VM is the machine as KVM has it, for interrupts and eventfds.
func (m *Machine) VM() *kvm.VM { return m.vm }

// Memory is the guest's memory.
func (m *Machine) Memory() *guestmem.Space { return &m.space }

// CPUs is the number of processors.
func (m *Machine) CPUs() int { return len(m.cpus) }

// CPU is a processor.
func (m *Machine) CPU(i int) *CPU { return m.cpus[i] }

// HandlePorts puts a device at n ports from first on. It goes before Run.
func (m *Machine) HandlePorts(first, n uint16, d Device) { m.ports.add(uint64(first), uint64(n), d) }

// HandleMMIO puts a device at addresses that have no memory. It goes before Run.
func (m *Machine) HandleMMIO(base, size uint64, d Device) { m.mmio.add(base, size, d) }

// Close gives everything up but the RAM. Run has returned, or was never called.
func (m *Machine) Close() error {
	var errs []error
	for _, c := range m.cpus {
		errs = append(errs, c.vcpu.Close())
	}
	if m.vm != nil {
		errs = append(errs, m.vm.Close())
	}
	if m.sys != nil {
		errs = append(errs, m.sys.Close())
	}
	m.space.Close()
	m.cpus, m.vm, m.sys = nil, nil, nil
	return errors.Join(errs...)
}

// Index is the number of the processor, from 0 on, which is also the id of its local APIC.
func (c *CPU) Index() int { return c.index }

// VCPU is the processor as KVM has it. Before Run it is the caller's; then only functions
// that Machine.Do calls may use it.
func (c *CPU) VCPU() *kvm.VCPU { return c.vcpu }

// Regs are the general registers at the exit that is being served, to be looked at only.
func (c *CPU) Regs() (*kvm.Regs, error) {
	if c.sync {
		return &c.vcpu.SyncRegs().Regs, nil
	}
	err := c.vcpu.GetRegs(&c.regs)
	return &c.regs, err
}

// CR3 is the register that says where the processor's page tables are, at the exit that is
// being served.
func (c *CPU) CR3() (uint64, error) {
	err := c.vcpu.GetSregs(&c.sregs)
	return c.sregs.CR3, err
}
