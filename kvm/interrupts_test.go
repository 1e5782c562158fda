package kvm_test

import (
	"encoding/binary"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/kvm"
	"github.com/isthmus-fs/isthmus/oslib"
)

// Where the handlers of the guest "handlers" are, by vector.
var handlers = map[int]uint32{0x30: entry + 0x10, 0x40: entry + 0x20, 0x50: entry + 0x30}

// lapicAddress is what an MSI is written to: the local APIC 0.
const lapicAddress = 0xfee00000

func eventfd(t *testing.T) int {
	t.Helper()
	fd, errno := oslib.Eventfd(0, unix.EFD_NONBLOCK)
	if errno != 0 {
		t.Fatal(errno)
	}
	t.Cleanup(func() { oslib.Close(fd) })
	return fd
}

// waiting makes a machine with local APIC whose guest waits for interrupts, and a
// channel that yields the vectors that it took.
func waiting(t *testing.T, sys *kvm.System, chips func(*kvm.VM) error) (*machine, <-chan byte) {
	t.Helper()
	m := newVM(t, sys, "handlers")
	check(t, chips(m.vm))
	for vector, handler := range handlers {
		m.setVector(vector, handler)
	}
	c := m.addVCPU(t)
	enableLAPIC(t, c)
	vectors := make(chan byte, 16)
	done := onThread(c, func() {
		for {
			switch errno := c.Run(); {
			case errno == syscall.EINTR && c.ImmediateExit():
				return
			case errno == syscall.EINTR:
			case errno != 0 || c.ExitReason() != kvm.EXIT_IO || len(c.IOData()) != 1:
				t.Errorf("%v, %s", errno, particulars(c))
				return
			default:
				vectors <- c.IOData()[0]
			}
		}
	})
	t.Cleanup(func() {
		c.Kick()
		soon(t, done)
	})
	return m, vectors
}

func wantVector(t *testing.T, vectors <-chan byte, want byte) {
	t.Helper()
	select {
	case got := <-vectors:
		if got != want {
			t.Errorf("vector %#x, want %#x", got, want)
		}
	case <-time.After(time.Minute):
		t.Fatalf("no interrupt, want %#x", want)
	}
}

// testInterrupts sends message-signalled interrupts in each way there is. Nobody
// ends an interrupt, so each has a higher priority than the one before.
func testInterrupts(t *testing.T, sys *kvm.System) {
	m, vectors := waiting(t, sys, (*kvm.VM).CreateIRQChip)
	if ok, err := m.vm.SignalMSI(&kvm.MSI{AddressLo: lapicAddress, Data: 0x30}); !ok || err != nil {
		t.Errorf("SignalMSI: %v, %v", ok, err)
	}
	wantVector(t, vectors, 0x30)

	if ok, err := m.vm.SignalMSI(&kvm.MSI{AddressLo: lapicAddress | 7<<12, Data: 0x30}); ok || err != nil {
		t.Errorf("SignalMSI to a processor that is not there: %v, %v", ok, err)
	}

	check(t, m.vm.SetGSIRouting([]kvm.IRQRoutingEntry{
		kvm.RouteToMSI(24, lapicAddress, 0x40),
		kvm.RouteToMSI(25, lapicAddress, 0x50),
	}))
	fd := eventfd(t)
	check(t, m.vm.IRQFD(&kvm.IRQFD{FD: uint32(fd), GSI: 24}))
	if errno := oslib.EventfdWrite(fd, 1); errno != 0 {
		t.Fatal(errno)
	}
	wantVector(t, vectors, 0x40)
	check(t, m.vm.IRQFD(&kvm.IRQFD{FD: uint32(fd), GSI: 24, Flags: kvm.IRQFD_FLAG_DEASSIGN}))

	check(t, m.vm.IRQLine(25, true))
	wantVector(t, vectors, 0x50)
}

// testIRQLinesAndChips leads an input of the I/O APIC, set up by SetIRQChip, to
// the processor.
func testIRQLinesAndChips(t *testing.T, sys *kvm.System) {
	m, vectors := waiting(t, sys, func(vm *kvm.VM) error {
		if err := vm.CreateIRQChip(); err != nil {
			return err
		}
		return vm.CreatePIT2(kvm.PIT_SPEAKER_DUMMY)
	})
	const pin = 5
	const redirections = 24 // in struct kvm_ioapic_state, 8 bytes each
	chip := kvm.IRQChip{ChipID: kvm.IRQCHIP_IOAPIC}
	check(t, m.vm.GetIRQChip(&chip))
	if base := binary.LittleEndian.Uint64(chip.Chip[:]); base != 0xfec00000 {
		t.Errorf("I/O APIC at %#x", base)
	}
	binary.LittleEndian.PutUint64(chip.Chip[redirections+8*pin:], 0x30) // fixed, edge, to processor 0
	check(t, m.vm.SetIRQChip(&chip))
	check(t, m.vm.SetGSIRouting([]kvm.IRQRoutingEntry{kvm.RouteToChip(pin, kvm.IRQCHIP_IOAPIC, pin)}))
	check(t, m.vm.IRQLine(pin, true))
	check(t, m.vm.IRQLine(pin, false))
	wantVector(t, vectors, 0x30)
}

func testSplitIRQChip(t *testing.T, sys *kvm.System) {
	m, vectors := waiting(t, sys, func(vm *kvm.VM) error {
		if err := vm.EnableCap(kvm.CAP_X2APIC_API, kvm.X2APIC_API_USE_32BIT_IDS|kvm.X2APIC_API_DISABLE_BROADCAST_QUIRK); err != nil {
			return err
		}
		return vm.EnableCap(kvm.CAP_SPLIT_IRQCHIP, kvm.IOAPIC_NUM_PINS)
	})
	if ok, err := m.vm.SignalMSI(&kvm.MSI{AddressLo: lapicAddress, Data: 0x40}); !ok || err != nil {
		t.Errorf("SignalMSI: %v, %v", ok, err)
	}
	wantVector(t, vectors, 0x40)
	if err := m.vm.EnableCap(kvm.CAP_SPLIT_IRQCHIP, kvm.IOAPIC_NUM_PINS); err == nil {
		t.Error("a second irqchip")
	}
}

// testInterruptWindow delivers an interrupt without irqchip as soon as the guest
// takes one.
func testInterruptWindow(t *testing.T, sys *kvm.System) {
	m, c := start(t, sys, "window")
	m.setVector(0x30, entry+0x10)
	nextOut(t, c, 0x10, "\x00")
	if c.ReadyForInterrupt() {
		t.Error("ready for an interrupt with IF clear")
	}
	c.RequestInterruptWindow(true)
	next(t, c, kvm.EXIT_IRQ_WINDOW_OPEN)
	if !c.ReadyForInterrupt() {
		t.Error("not ready for an interrupt")
	}
	c.RequestInterruptWindow(false)
	check(t, c.Interrupt(0x30))
	nextOut(t, c, 0x10, "\x30")
	next(t, c, kvm.EXIT_HLT)
}

func testNMI(t *testing.T, sys *kvm.System) {
	m, c := start(t, sys, "handlers")
	m.setVector(2, handlers[0x40])
	next(t, c, kvm.EXIT_HLT)
	check(t, c.NMI())
	nextOut(t, c, 0x10, "\x40")
	next(t, c, kvm.EXIT_HLT)
}

func testIOEventFD(t *testing.T, sys *kvm.System) {
	m, c := startLong(t, sys, "doorbell")
	port, address := eventfd(t), eventfd(t)
	bells := []kvm.IOEventFD{
		{Addr: 0x20, Len: 1, FD: int32(port), Datamatch: 1, Flags: kvm.IOEVENTFD_FLAG_PIO | kvm.IOEVENTFD_FLAG_DATAMATCH},
		{Addr: noMemory, Len: 4, FD: int32(address)},
	}
	for i := range bells {
		check(t, m.vm.IOEventFD(&bells[i]))
	}
	nextOut(t, c, 0x20, "\x02")
	nextOut(t, c, 0x10, "\x02")
	next(t, c, kvm.EXIT_HLT)
	for _, tt := range []struct {
		fd   int
		want uint64
	}{{port, 2}, {address, 1}} {
		if n, errno := oslib.EventfdRead(tt.fd); n != tt.want || errno != 0 {
			t.Errorf("rung %d times, %v, want %d", n, errno, tt.want)
		}
	}

	for i := range bells {
		bells[i].Flags |= kvm.IOEVENTFD_FLAG_DEASSIGN
		check(t, m.vm.IOEventFD(&bells[i]))
	}
	check(t, c.SetRegs(&kvm.Regs{RIP: entry, RFLAGS: 2}))
	nextOut(t, c, 0x20, "\x01")
	wantErrno(t, m.vm.IOEventFD(&bells[0]), syscall.ENOENT)
}

func testClock(t *testing.T, sys *kvm.System) {
	m := newVM(t, sys, "spin")
	check(t, m.vm.CreateIRQChip())
	m.addVCPU(t)
	const hour = uint64(time.Hour)
	check(t, m.vm.SetClock(&kvm.ClockData{Clock: hour}))
	got, err := m.vm.GetClock()
	check(t, err)
	if got.Clock < hour || got.Clock > 2*hour {
		t.Errorf("%+v", got)
	}
}

// testRefusals makes calls that KVM does not take.
func testRefusals(t *testing.T, sys *kvm.System) {
	m, c := start(t, sys, "spin")
	_, err := m.vm.CreateVCPU(0)
	wantErrno(t, err, syscall.EEXIST)
	wantErrno(t, m.vm.SetUserMemoryRegion(&kvm.UserspaceMemoryRegion{Slot: 1, GuestPhysAddr: 1, MemorySize: 4096}), syscall.EINVAL)
	overlapping := kvm.Region(1, 0, 4096, m.mem)
	wantErrno(t, m.vm.SetUserMemoryRegion(&overlapping), syscall.EEXIST)
	wantErrno(t, m.vm.CreateIRQChip(), syscall.EINVAL)
	wantErrno(t, m.vm.EnableCap(0x7fffffff), syscall.EINVAL)
	wantErrno(t, m.vm.EnableCap(kvm.CAP_SPLIT_IRQCHIP, 1, 2, 3, 4, 5), syscall.E2BIG)
	wantErrno(t, c.GetLAPIC(&kvm.LAPICState{}), syscall.EINVAL)
	wantErrno(t, c.KVMClockCtrl(), syscall.EINVAL)
	var s kvm.Sregs
	check(t, c.GetSregs(&s))
	s.EFER, s.CR0, s.CR4 = 1<<8, 0x80000001, 0 // long mode without PAE
	wantErrno(t, c.SetSregs(&s), syscall.EINVAL)
}

// testExitCost writes down what one exit to user space costs; it fails only if
// the guest does not run.
func testExitCost(t *testing.T, sys *kvm.System) {
	_, c := startLong(t, sys, "count")
	const exits = 2000
	begin := time.Now()
	for range exits {
		next(t, c, kvm.EXIT_IO)
	}
	t.Logf("%v for each exit", time.Since(begin)/exits)
}
