package virtiopci_test

import (
	"encoding/binary"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/isthmus-fs/isthmus/internal/lab/labtest"
	"github.com/isthmus-fs/isthmus/kvm"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
	"github.com/isthmus-fs/isthmus/vmm/virtiopci"
)

func TestMain(m *testing.M) { labtest.Main(m) }

// kvmTests need the interrupt controllers and the ioeventfds of a real KVM.
var kvmTests = []struct {
	name string
	run  func(*testing.T)
}{
	{"level", func(t *testing.T) { testINTA(t, true) }},
	{"edge", func(t *testing.T) { testINTA(t, false) }},
	{"msix", testMSIX},
}

func TestWithKVM(t *testing.T) {
	if labtest.HasKVM() {
		for _, tt := range kvmTests {
			t.Run(tt.name, tt.run)
		}
		return
	}
	out := labtest.KVM(t, nil, "-test.v", "-test.timeout=3m", "-test.run=^TestWithKVM$")
	for _, tt := range kvmTests {
		if !strings.Contains(out, "--- PASS: TestWithKVM/"+tt.name+" ") {
			t.Errorf("%s did not pass in the lab", tt.name)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

// The guest's program, in real mode, with ES at the notification area and DS at the
// local APIC: it notifies queue 0 and waits for interrupts. Each handler tells by a port
// that it runs, and ends the interrupt when it may go on.
const (
	entry  = 0x1000
	intaIn = 0x30 // vectors, and ports that no chip in the kernel has
	marker = 0x28 // of a lower priority
	msixIn = 0x50
)

var (
	program = []byte{
		0xfb,                   // sti
		0x26, 0xa3, 0x00, 0x00, // mov %ax, %es:0
		0xf4,       // 1: hlt
		0xeb, 0xfd, // jmp 1b
	}
	handler = []byte{
		0xe6, 0x00, // out %al, $vector
		0x66, 0x31, 0xc0, // xor %eax, %eax
		0x66, 0xa3, 0xb0, 0x00, // mov %eax, 0xb0: end of interrupt
		0xcf, // iret
	}
)

// processor runs the program. It waits in each handler until it is told to go on.
type processor struct {
	t      *testing.T
	g      *guest
	vm     *kvm.VM
	ports  chan uint16 // vectors of the handlers that began
	resume chan struct{}
}

// newProcessor makes a machine with a device whose queue 0 has a chain available, and
// starts it.
func newProcessor(t *testing.T, opt virtiopci.Options, prepare func(*guest, *kvm.VM)) (*processor, *virtqtest.Driver) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	sys, err := kvm.Open("")
	check(err)
	vm, err := sys.CreateVM()
	check(err)
	t.Cleanup(func() { vm.Close(); sys.Close() })
	check(vm.SetTSSAddr(0xfffbd000))
	check(vm.SetIdentityMapAddr(0xfffbc000))
	check(vm.CreateIRQChip())
	for _, id := range []uint32{kvm.IRQCHIP_PIC_MASTER, kvm.IRQCHIP_PIC_SLAVE} { // as drivers of the APICs do
		chip := kvm.IRQChip{ChipID: id}
		check(vm.GetIRQChip(&chip))
		chip.Chip[2] = 0xff // mask
		check(vm.SetIRQChip(&chip))
	}
	g := newGuest(t, opt, func(c *virtiopci.Config, _ *echo, _ *fakeKVM) { c.KVM = vm })
	low, err := g.mem.Alloc(0x10000, 4096)
	check(err)
	code := g.mem.Bytes(low)
	copy(code[entry:], program)
	for i, vector := range []byte{intaIn, marker, msixIn} {
		at := entry + 0x10*(i+1)
		copy(code[at:], handler)
		code[at+1] = vector
		binary.LittleEndian.PutUint32(code[4*int(vector):], uint32(at))
	}
	region := kvm.Region(0, 0, 0, g.mem.Bytes(virtqtest.Buf{GPA: 0, Len: 1 << 20}))
	check(vm.SetUserMemoryRegion(&region))

	c, err := vm.CreateVCPU(0)
	check(err)
	t.Cleanup(func() { c.Close() })
	var s kvm.Sregs
	check(c.GetSregs(&s))
	s.CS.Base, s.CS.Selector = 0, 0
	s.DS.Base = 0xfee00000
	s.ES.Base = g.structure(2)
	check(c.SetSregs(&s))
	check(c.SetRegs(&kvm.Regs{RIP: entry, RSP: 0x9000, RFLAGS: 2}))
	var l kvm.LAPICState
	check(c.GetLAPIC(&l))
	binary.LittleEndian.PutUint32(l.Regs[0xf0:], 0x1ff)
	check(c.SetLAPIC(&l))

	prepare(g, vm)
	drv := g.ring(0, features)
	drv.AddChain([]virtqtest.Buf{{GPA: 0x20000, Len: 5}}, nil)
	p := &processor{t: t, g: g, vm: vm, ports: make(chan uint16), resume: make(chan struct{})}
	done := make(chan struct{})
	stop := make(chan struct{})
	go p.run(c, stop, done)
	t.Cleanup(func() {
		close(stop)
		for {
			c.Kick()
			select {
			case <-done:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	return p, drv
}

func (p *processor) run(c *kvm.VCPU, stop <-chan struct{}, done chan<- struct{}) {
	defer close(done)
	runtime.LockOSThread()
	c.Bind()
	defer c.Unbind()
	select {
	case <-p.resume:
	case <-stop:
		return
	}
	for {
		switch errno := c.Run(); {
		case errno == syscall.EINTR:
			c.SetImmediateExit(false)
			select {
			case <-stop:
				return
			default:
			}
		case errno != 0 || c.ExitReason() != kvm.EXIT_IO:
			p.t.Errorf("%v, exit %v: the kick is to be an ioeventfd's", errno, c.ExitReason())
			return
		default:
			select {
			case p.ports <- c.IO().Port:
			case <-stop:
				return
			}
			select {
			case <-p.resume:
			case <-stop:
				return
			}
		}
	}
}

// expect waits for a handler, which it lets go on after f.
func (p *processor) expect(vector uint16, f func()) {
	p.t.Helper()
	select {
	case got := <-p.ports:
		if got != vector {
			p.t.Fatalf("interrupt %#x, want %#x", got, vector)
		}
	case <-time.After(time.Minute):
		p.t.Fatalf("no interrupt, want %#x", vector)
	}
	f()
	p.resume <- struct{}{}
}

// nothingElse says that no interrupt waits: it would come before the marker.
func (p *processor) nothingElse() {
	p.t.Helper()
	if _, err := p.vm.SignalMSI(&kvm.MSI{AddressLo: address, Data: marker}); err != nil {
		p.t.Fatal(err)
	}
	p.expect(marker, func() {})
}

// testINTA has the I/O APIC take the input as level- or edge-triggered.
func testINTA(t *testing.T, level bool) {
	const pin = virtiopci.DefaultIRQ
	p, drv := newProcessor(t, virtiopci.Options{}, func(g *guest, vm *kvm.VM) {
		chip := kvm.IRQChip{ChipID: kvm.IRQCHIP_IOAPIC}
		if err := vm.GetIRQChip(&chip); err != nil {
			t.Fatal(err)
		}
		entry := uint64(intaIn)
		if level {
			entry |= 1 << 15
		}
		binary.LittleEndian.PutUint64(chip.Chip[24+8*pin:], entry)
		if err := vm.SetIRQChip(&chip); err != nil {
			t.Fatal(err)
		}
		g.negotiate(features)
	})
	g := p.g
	drv.Publish()
	g.set(status, 0xf)
	isr := func(want uint64) func() {
		return func() {
			t.Helper()
			if v := g.load(g.structure(3), 1); v != want {
				t.Errorf("ISR status %#x, want %#x", v, want)
			}
		}
	}
	p.resume <- struct{}{}
	p.expect(intaIn, func() {
		if _, n, ok := drv.Poll(); !ok || n != 5 {
			t.Errorf("the chain came back with %d (%v)", n, ok)
		}
		isr(1)()
	})
	p.nothingElse()
	for range 3 {
		g.echo.changed()
		p.expect(intaIn, isr(2))
		p.nothingElse()
	}
	// A driver that does not look at the ISR status has the interrupt again if
	// it is a level, and not before it has looked if it is an edge.
	g.echo.changed()
	p.expect(intaIn, func() {})
	if level {
		p.expect(intaIn, isr(2))
	} else {
		p.nothingElse()
		isr(2)()
	}
	p.nothingElse()
	g.echo.changed()
	p.expect(intaIn, isr(2))
	p.nothingElse()
}

// testMSIX has a vector that is masked while it is signalled.
func testMSIX(t *testing.T) {
	var table uint64
	p, drv := newProcessor(t, virtiopci.Options{MSIX: true}, func(g *guest, _ *kvm.VM) {
		table = g.bar + uint64(g.config32(g.msix+4)&^7)
		for i := range uint64(2) {
			g.store(table+16*i, 8, address)
			g.store(table+16*i+8, 4, msixIn)
			g.store(table+16*i+12, 4, 0)
		}
		g.configWrite(g.msix+2, 2, msixOn)
		g.negotiate(features)
		g.set(cfgVector, 0)
		g.set(queueSelect, 0)
		g.set(queueVector, 1)
	})
	g := p.g
	drv.Publish()
	g.set(status, 0xf)
	p.resume <- struct{}{}
	p.expect(msixIn, func() {
		if _, n, ok := drv.Poll(); !ok || n != 5 {
			t.Errorf("the chain came back with %d (%v)", n, ok)
		}
	})
	p.nothingElse()
	g.store(table+12, 4, 1)
	g.echo.changed()
	p.nothingElse()
	g.store(table+12, 4, 0)
	p.expect(msixIn, func() {})
	g.store(table+12, 4, 1)
	g.store(table+12, 4, 0)
	p.nothingElse()
}
