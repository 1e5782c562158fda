package kvm_test

import (
	"encoding/binary"
	"errors"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/kvm"
)

// Where things are in a test machine. Its memory begins at 0.
const (
	memorySize = 1 << 20
	entry      = 0x1000 // of the guest
	pml4       = 0x10000
	stackTop   = 0x9000
	noMemory   = 0x10000000 // mapped in long mode, but with nothing behind it
)

// machine is a virtual machine with its processors.
type machine struct {
	sys   *kvm.System
	vm    *kvm.VM
	mem   []byte
	vcpus []*kvm.VCPU
}

func open(t testing.TB) *kvm.System {
	t.Helper()
	sys, err := kvm.Open("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, sys.Close()) })
	return sys
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newVM makes a machine with memory and the guest in it, but no processor.
func newVM(t testing.TB, sys *kvm.System, guest string) *machine {
	t.Helper()
	m := &machine{sys: sys}
	var err error
	m.vm, err = sys.CreateVM()
	check(t, err)
	t.Cleanup(func() {
		for _, c := range m.vcpus {
			check(t, c.Close())
		}
		check(t, m.vm.Close())
	})
	m.mem = newMemory(t, memorySize, unix.PROT_READ|unix.PROT_WRITE)
	check(t, m.vm.SetTSSAddr(0xfffbd000))
	check(t, m.vm.SetIdentityMapAddr(0xfffbc000))
	m.addMemory(t, 0, 0, 0, m.mem)
	copy(m.mem[entry:], code(t, guest))
	return m
}

// newMemory maps memory for a slot. Cleanups run last first: the machine, which is
// made before, is then still there, but does not run any more.
func newMemory(t testing.TB, size, prot int) []byte {
	t.Helper()
	b, err := unix.Mmap(-1, 0, size, prot, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	check(t, err)
	t.Cleanup(func() { check(t, unix.Munmap(b)) })
	return b
}

// addMemory gives the machine a slot.
func (m *machine) addMemory(t testing.TB, slot, flags uint32, gpa uint64, mem []byte) {
	t.Helper()
	region := kvm.Region(slot, flags, gpa, mem)
	check(t, m.vm.SetUserMemoryRegion(&region))
}

// addVCPU adds a processor that starts in real mode.
func (m *machine) addVCPU(t testing.TB) *kvm.VCPU {
	t.Helper()
	c, err := m.vm.CreateVCPU(uint32(len(m.vcpus)))
	check(t, err)
	m.vcpus = append(m.vcpus, c)
	var s kvm.Sregs
	check(t, c.GetSregs(&s))
	s.CS.Base, s.CS.Selector = 0, 0
	check(t, c.SetSregs(&s))
	check(t, c.SetRegs(&kvm.Regs{RIP: entry, RSP: stackTop, RFLAGS: 2}))
	return c
}

// start makes a machine with one processor in real mode.
func start(t testing.TB, sys *kvm.System, guest string) (*machine, *kvm.VCPU) {
	t.Helper()
	m := newVM(t, sys, guest)
	return m, m.addVCPU(t)
}

// startLong is start in long mode.
func startLong(t testing.TB, sys *kvm.System, guest string) (*machine, *kvm.VCPU) {
	t.Helper()
	m, c := start(t, sys, guest)
	m.longMode(t, c)
	return m, c
}

// longMode puts a processor into 64-bit mode, with the first and the fourth GiB
// mapped one to one.
func (m *machine) longMode(t testing.TB, c *kvm.VCPU) {
	t.Helper()
	const table, huge = 3, 0x83
	const pdpt, low, high = pml4 + 0x1000, pml4 + 0x2000, pml4 + 0x3000
	put := func(at int, v uint64) { binary.LittleEndian.PutUint64(m.mem[at:], v) }
	put(pml4, pdpt|table)
	put(pdpt, low|table)
	put(pdpt+3*8, high|table)
	for i := range 512 {
		put(low+8*i, uint64(i)<<21|huge)
		put(high+8*i, 3<<30|uint64(i)<<21|huge)
	}
	var s kvm.Sregs
	check(t, c.GetSregs(&s))
	s.CR0, s.CR3, s.CR4, s.EFER = 0x80000031, pml4, 0x20, 0xd00
	s.CS = kvm.Segment{Limit: 0xffffffff, Selector: 8, Type: 11, Present: 1, S: 1, L: 1, G: 1}
	data := kvm.Segment{Limit: 0xffffffff, Selector: 16, Type: 3, Present: 1, DB: 1, S: 1, G: 1}
	s.DS, s.ES, s.SS = data, data, data
	s.IDT = kvm.DTable{}
	check(t, c.SetSregs(&s))
}

// setVector points a real-mode interrupt vector at an address in the first 64 KiB.
func (m *machine) setVector(vector int, addr uint32) {
	binary.LittleEndian.PutUint32(m.mem[4*vector:], addr)
}

// enableLAPIC switches the local APIC in the kernel on, as a driver would.
func enableLAPIC(t testing.TB, c *kvm.VCPU) {
	t.Helper()
	const spurious = 0xf0
	var l kvm.LAPICState
	check(t, c.GetLAPIC(&l))
	binary.LittleEndian.PutUint32(l.Regs[spurious:], 0x1ff)
	check(t, c.SetLAPIC(&l))
}

// next runs a processor until an exit, whatever signals arrive, and wants it to
// be of the given kind.
func next(t testing.TB, c *kvm.VCPU, want kvm.ExitReason) {
	t.Helper()
	for {
		switch errno := c.Run(); errno {
		case 0:
			if got := c.ExitReason(); got != want {
				t.Fatalf("exit %v, want %v: %s", got, want, particulars(c))
			}
			return
		case syscall.EINTR:
			c.SetImmediateExit(false)
		case syscall.EAGAIN:
		default:
			t.Fatalf("Run: %v; %s", errno, particulars(c))
		}
	}
}

// nextOut wants the guest to write want to a port.
func nextOut(t testing.TB, c *kvm.VCPU, port uint16, want string) {
	t.Helper()
	next(t, c, kvm.EXIT_IO)
	io := c.IO()
	if io.Direction != kvm.EXIT_IO_OUT || io.Port != port || string(c.IOData()) != want {
		t.Fatalf("%+v with %x, want %x at port %#x", io, c.IOData(), want, port)
	}
}

// nextIn lets the guest read answer from a port.
func nextIn(t testing.TB, c *kvm.VCPU, port uint16, answer string) {
	t.Helper()
	next(t, c, kvm.EXIT_IO)
	io := c.IO()
	if io.Direction != kvm.EXIT_IO_IN || io.Port != port || len(c.IOData()) != len(answer) {
		t.Fatalf("%+v of %d bytes, want one in of %d at port %#x", io, len(c.IOData()), len(answer), port)
	}
	copy(c.IOData(), answer)
}

// regs are the general registers after an exit.
func regs(t testing.TB, c *kvm.VCPU) kvm.Regs {
	t.Helper()
	var r kvm.Regs
	check(t, c.GetRegs(&r))
	return r
}

// onThread runs f on a locked thread that c is bound to, and returns what ends
// when it has.
func onThread(c *kvm.VCPU, f func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		c.Bind()
		defer c.Unbind()
		f()
	}()
	return done
}

func wantErrno(t testing.TB, err error, want syscall.Errno) {
	t.Helper()
	var e *kvm.Error
	if !errors.As(err, &e) || e.Errno != want {
		t.Errorf("error %v, want a *kvm.Error with %v", err, want)
	}
}
