package gdb

import (
	"encoding/binary"
	"runtime"
	"slices"
	"sync"
	"syscall"

	"github.com/isthmus-fs/isthmus/kvm"
	"github.com/isthmus-fs/isthmus/vmm"
)

// fake is a machine of processors that know a few instructions. They take turns, one
// instruction each, and all of a round are made before a stop pauses the machine, so what
// happens at once is always the same.
type fake struct {
	cpus   []*fakeCPU
	mem    []byte            // physical, from 0 on
	pages  map[uint64]uint64 // virtual page to physical address
	stops  chan vmm.Stop
	ended  chan struct{}
	offset uint64

	mu      sync.Mutex
	outcome *vmm.Outcome
	order   chan struct{} // closed to pause; nil while paused
	idle    chan struct{} // closed when the machine is paused
	resumed int
}

type fakeCPU struct {
	m      *fake
	index  int
	regs   kvm.Regs
	sregs  kvm.Sregs
	xsave  kvm.XSave
	noFPU  bool
	oldKVM bool // without GUESTDBG_BLOCKIRQ
	state  kvm.MPState
	debug  kvm.GuestDebug
	int3s  int // breakpoint exceptions that the guest had
	debugs int // debug exceptions
}

const (
	fakeMemory = 0x8000
	codeAt     = 0x400000 // the first of two pages that are not neighbours in memory
	aliasAt    = 0x500000 // the first of them again
	holeAt     = 0x402000 // behind the second; nothing is mapped there
	deviceAt   = 0x403000 // mapped, without memory
	topAt      = 0xfffffffffffff000
	codeGPA    = 0x3000
	nextGPA    = 0x1000
)

// newFake makes a machine whose processors are at the beginning of code.
func newFake(cpus int, code string) *fake {
	m := &fake{
		mem: make([]byte, fakeMemory),
		pages: map[uint64]uint64{
			codeAt: codeGPA, codeAt + 0x1000: nextGPA, aliasAt: codeGPA, deviceAt: 0x100000, topAt: 0x5000,
		},
		stops:  make(chan vmm.Stop, cpus),
		ended:  make(chan struct{}),
		offset: 0x200000,
	}
	copy(m.mem[codeGPA:], code)
	for i := range cpus {
		c := &fakeCPU{m: m, index: i}
		c.regs = kvm.Regs{RIP: codeAt, RSP: 0x5000 + uint64(i), RBP: 0x6000, RFLAGS: 2, RBX: codeAt + 0x800}
		c.sregs.CS.Selector, c.sregs.FS.Base, c.sregs.CR0 = 8, 0x1234, 0x80000031
		m.cpus = append(m.cpus, c)
	}
	return m
}

func (m *fake) CPUs() int                { return len(m.cpus) }
func (m *fake) Stops() <-chan vmm.Stop   { return m.stops }
func (m *fake) Ended() <-chan struct{}   { return m.ended }
func (m *fake) Offset() uint64           { return m.offset }
func (m *fake) Outcome() (o vmm.Outcome) { m.mu.Lock(); defer m.mu.Unlock(); return *m.outcome }

func (m *fake) End(o vmm.Outcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.outcome == nil {
		m.outcome = &o
		close(m.ended)
	}
}

func (m *fake) Pause() bool {
	m.mu.Lock()
	order, idle := m.order, m.idle
	m.order = nil
	m.mu.Unlock()
	if order != nil {
		close(order)
		<-idle
	}
	select {
	case <-m.ended:
		return false
	default:
		return true
	}
}

func (m *fake) Resume(hold func(int) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.order != nil {
		panic("the machine runs already")
	}
	m.resumed++
	m.order, m.idle = make(chan struct{}), make(chan struct{})
	var free []*fakeCPU
	for _, c := range m.cpus {
		if hold == nil || !hold(c.index) {
			free = append(free, c)
		}
	}
	go m.run(free, m.order, m.idle)
}

func (m *fake) run(free []*fakeCPU, order, idle chan struct{}) {
	defer close(idle)
	for {
		select {
		case <-order:
			return
		case <-m.ended:
			return
		default:
		}
		stopped, busy := false, false
		for _, c := range free {
			if c.state == kvm.MP_STATE_HALTED {
				continue
			}
			busy = true
			if d, ok := c.step(); ok {
				m.stops <- vmm.Stop{CPU: c.index, Debug: d}
				stopped = true
			}
		}
		if stopped || !busy {
			select {
			case <-order:
			case <-m.ended:
			}
			return
		}
		runtime.Gosched()
	}
}

// paused panics if the machine runs, since a real one would wait forever then.
func (m *fake) paused() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.order != nil {
		panic("the machine runs")
	}
}

func (m *fake) Do(cpu int, f func(CPU) error) error {
	m.paused()
	select {
	case <-m.ended:
		return vmm.ErrEnded
	default:
	}
	return f(m.cpus[cpu])
}

func (m *fake) ReadMemory(gpa uint64, p []byte) bool {
	m.paused()
	if gpa > fakeMemory || uint64(len(p)) > fakeMemory-gpa {
		return false
	}
	copy(p, m.mem[gpa:])
	return true
}

func (m *fake) WriteMemory(gpa uint64, p []byte) bool {
	m.paused()
	if gpa > fakeMemory || uint64(len(p)) > fakeMemory-gpa {
		return false
	}
	copy(m.mem[gpa:], p)
	return true
}

func (c *fakeCPU) GetRegs(r *kvm.Regs) error   { *r = c.regs; return nil }
func (c *fakeCPU) SetRegs(r *kvm.Regs) error   { c.regs = *r; return nil }
func (c *fakeCPU) GetSregs(s *kvm.Sregs) error { *s = c.sregs; return nil }
func (c *fakeCPU) SetSregs(s *kvm.Sregs) error {
	if s.CR0&1 == 0 {
		return &kvm.Error{Call: "KVM_SET_SREGS", Errno: syscall.EINVAL}
	}
	c.sregs = *s
	return nil
}
func (c *fakeCPU) GetXSave(x *kvm.XSave) error {
	if c.noFPU {
		return syscall.EINVAL
	}
	*x = c.xsave
	return nil
}
func (c *fakeCPU) SetXSave(x *kvm.XSave) error      { c.xsave = *x; return nil }
func (c *fakeCPU) GetMPState() (kvm.MPState, error) { return c.state, nil }

func (c *fakeCPU) SetGuestDebug(d *kvm.GuestDebug) error {
	if c.oldKVM && d.Control&kvm.GUESTDBG_BLOCKIRQ != 0 {
		return &kvm.Error{Call: "KVM_SET_GUEST_DEBUG", Errno: syscall.EINVAL}
	}
	c.debug = *d
	if d.Control&kvm.GUESTDBG_INJECT_BP != 0 { // its handler returns at once
		c.int3s++
		c.regs.RIP++
	}
	if d.Control&kvm.GUESTDBG_INJECT_DB != 0 {
		c.debugs++
	}
	return nil
}

func (c *fakeCPU) Translate(linear uint64) (kvm.Translation, error) {
	gpa, ok := c.m.pages[linear&^(pageSize-1)]
	if !ok {
		return kvm.Translation{LinearAddress: linear}, nil
	}
	return kvm.Translation{LinearAddress: linear, PhysicalAddress: gpa | linear%pageSize, Valid: 1}, nil
}

// byteAt is the guest's memory at a virtual address, or nil.
func (c *fakeCPU) byteAt(addr uint64) *byte {
	t, _ := c.Translate(addr)
	if t.Valid == 0 || t.PhysicalAddress >= fakeMemory {
		return nil
	}
	return &c.m.mem[t.PhysicalAddress]
}

// hits is DR6 for an access of one byte, or for an instruction.
func (c *fakeCPU) hits(addr uint64, kinds ...uint64) (dr6 uint64) {
	if c.debug.Control&kvm.GUESTDBG_USE_HW_BP == 0 {
		return 0
	}
	dr7 := c.debug.DebugReg[7]
	for i := range 4 {
		how := dr7 >> (16 + 4*i) & 15
		width := []uint64{1, 2, 8, 4}[how>>2]
		if dr7>>(2*i)&3 != 0 && slices.Contains(kinds, how&3) && addr-c.debug.DebugReg[i] < width {
			dr6 |= 1 << i
		}
	}
	return dr6
}

// step executes one instruction. ok says that the processor stops.
func (c *fakeCPU) step() (d kvm.DebugExit, ok bool) {
	pc := c.regs.RIP
	if dr6 := c.hits(pc, 0); dr6 != 0 {
		return kvm.DebugExit{Exception: exceptionDB, PC: pc, DR6: dr6}, true
	}
	var code [3]byte
	for i := range code {
		if b := c.byteAt(pc + uint64(i)); b != nil {
			code[i] = *b
		}
	}
	var dr6 uint64
	next := pc + 2
	switch {
	case code[0] == 0x90: // nop
		next = pc + 1
	case code[0] == int3:
		if c.debug.Control&kvm.GUESTDBG_USE_SW_BP != 0 {
			return kvm.DebugExit{Exception: exceptionBP, PC: pc}, true
		}
		c.int3s++
		next = pc + 1
	case code[0] == 0xf1: // icebp, for a debug exception of the guest's own
		c.regs.RIP = pc + 1
		return kvm.DebugExit{Exception: exceptionDB, PC: pc + 1}, true
	case code[0] == 0xeb: // jmp
		next += uint64(int64(int8(code[1])))
	case code[0] == 0xf4: // hlt
		c.state = kvm.MP_STATE_HALTED
		next = pc + 1
	case code == [3]byte{0x48, 0xff, 0xc0}: // inc %rax
		c.regs.RAX++
		next = pc + 3
	case code[0] == 0x88 && code[1] == 3: // mov %al,(%rbx)
		if b := c.byteAt(c.regs.RBX); b != nil {
			*b = byte(c.regs.RAX)
		}
		dr6 = c.hits(c.regs.RBX, 1, 3)
	case code[0] == 0x8a && code[1] == 3: // mov (%rbx),%al
		if b := c.byteAt(c.regs.RBX); b != nil {
			c.regs.RAX = c.regs.RAX&^0xff | uint64(*b)
		}
		dr6 = c.hits(c.regs.RBX, 3)
	case code[0] == 0xe7: // out %eax
		c.m.End(vmm.Outcome{Reason: vmm.Exited, Code: int32(c.regs.RAX), CPU: c.index})
		return d, false
	default:
		c.m.End(vmm.Outcome{Reason: vmm.TripleFault, CPU: c.index})
		return d, false
	}
	c.regs.RIP = next
	if c.debug.Control&kvm.GUESTDBG_SINGLESTEP != 0 {
		dr6 |= dr6Step
	}
	return kvm.DebugExit{Exception: exceptionDB, PC: next, DR6: dr6}, dr6 != 0
}

func (c *fakeCPU) setFX(offset int, b []byte) {
	raw := make([]byte, 4096)
	for i, w := range c.xsave.Region {
		binary.LittleEndian.PutUint32(raw[4*i:], w)
	}
	copy(raw[offset:], b)
	for i := range c.xsave.Region {
		c.xsave.Region[i] = binary.LittleEndian.Uint32(raw[4*i:])
	}
}
