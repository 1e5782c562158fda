package kvm_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/kvm"
)

// machineTests are the tests that need a KVM. TestMachines runs them.
var machineTests = []machineTest{
	{"Capabilities", testCapabilities},
	{"RealModePorts", testRealModePorts},
	{"StringPorts", testStringPorts},
	{"MMIO", testMMIO},
	{"CPUID", testCPUID},
	{"MSRs", testMSRs},
	{"UserSpaceMSRs", testUserSpaceMSRs},
	{"TripleFault", testTripleFault},
	{"ReadOnlyMemory", testReadOnlyMemory},
	{"MissingMemory", testMissingMemory},
	{"Translate", testTranslate},
	{"State", testState},
	{"SyncRegs", testSyncRegs},
	{"SingleStep", testSingleStep},
	{"NoAllocations", testNoAllocations},
	{"Kick", testKick},
	{"KickBeforeRun", testKickBeforeRun},
	{"KickThroughMask", testKickThroughMask},
	{"KickStorm", testKickStorm},
	{"KickHalted", testKickHalted},
	{"KickClosed", testKickClosed},
	{"ImmediateExitFinishesIO", testImmediateExitFinishesIO},
	{"TwoProcessors", testTwoProcessors},
	{"InitAndSIPI", testInitAndSIPI},
	{"Interrupts", testInterrupts},
	{"IRQLinesAndChips", testIRQLinesAndChips},
	{"SplitIRQChip", testSplitIRQChip},
	{"InterruptWindow", testInterruptWindow},
	{"NMI", testNMI},
	{"IOEventFD", testIOEventFD},
	{"Clock", testClock},
	{"Refusals", testRefusals},
	{"ExitCost", testExitCost},
}

// realTests need what QEMU does not emulate: its VMRUN loads debug registers, but
// no breakpoints from them. They run on a KVM of this machine only.
var realTests = []machineTest{
	{"HardwareBreakpoint", testHardwareBreakpoint},
}

type machineTest struct {
	name string
	run  func(t *testing.T, sys *kvm.System)
}

// particulars describe what is known of an exit that was not wanted.
func particulars(c *kvm.VCPU) string {
	switch c.ExitReason() {
	case kvm.EXIT_IO:
		return fmt.Sprintf("%+v %x", c.IO(), c.IOData())
	case kvm.EXIT_MMIO:
		return fmt.Sprintf("%+v", *c.MMIO())
	case kvm.EXIT_FAIL_ENTRY:
		return fmt.Sprintf("%+v", c.FailEntry())
	case kvm.EXIT_DEBUG:
		return fmt.Sprintf("%+v", c.Debug())
	case kvm.EXIT_INTERNAL_ERROR:
		e := c.InternalError()
		insn, n := e.Instruction()
		return fmt.Sprintf("suberror %d, data %x, instruction %x", e.Suberror, e.Data(), insn[:n])
	case kvm.EXIT_UNKNOWN:
		return fmt.Sprintf("hardware reason %#x", c.HardwareExitReason())
	}
	return c.ExitReason().String()
}

func testCapabilities(t *testing.T, sys *kvm.System) {
	check(t, sys.Require(kvm.CAP_IRQFD, kvm.CAP_IOEVENTFD, kvm.CAP_SYNC_MMU))
	slots, err := sys.CheckExtension(kvm.CAP_NR_MEMSLOTS)
	check(t, err)
	if slots < 32 {
		t.Errorf("%d memory slots", slots)
	}
	const never = kvm.Cap(0x7fffffff)
	var missing *kvm.MissingError
	if err := sys.Require(kvm.CAP_IRQFD, never); !errors.As(err, &missing) || !slices.Equal(missing.Caps, []kvm.Cap{never}) {
		t.Errorf("Require of a capability that does not exist: %v", err)
	}
	leaves, err := sys.GetSupportedCPUID()
	check(t, err)
	if !slices.ContainsFunc(leaves, func(e kvm.CPUIDEntry2) bool { return e.Function == 0x40000000 && e.EBX == 0x4b4d564b }) { // KVMK
		t.Errorf("KVM's signature is not among %d leaves", len(leaves))
	}
	msrs, err := sys.GetMSRIndexList()
	check(t, err)
	if !slices.Contains(msrs, 0x10) { // the time stamp counter
		t.Errorf("the time stamp counter is not among MSRs %#x", msrs)
	}
	vm, err := sys.CreateVM()
	check(t, err)
	defer vm.Close()
	if n, err := vm.CheckExtension(kvm.CAP_NR_MEMSLOTS); n != slots || err != nil {
		t.Errorf("memory slots of a VM: %d, %v", n, err)
	}
}

func testRealModePorts(t *testing.T, sys *kvm.System) {
	_, c := start(t, sys, "ports16")
	nextOut(t, c, 0x10, "\x55")
	nextOut(t, c, 0x3f8, "\x34\x12")
	nextOut(t, c, 0x3f8, "\xef\xbe\xad\xde")
	nextIn(t, c, 0x3f8, "\x7a")
	nextOut(t, c, 0x10, "\x7a")
	nextIn(t, c, 0x3f8, "ab")
	nextOut(t, c, 0x3f8, "ab")
	nextIn(t, c, 0x3f8, "wxyz")
	nextOut(t, c, 0x3f8, "wxyz")
	next(t, c, kvm.EXIT_HLT)
	if c.IOData() != nil {
		t.Error("an exit that is no IO has data")
	}
}

func testStringPorts(t *testing.T, sys *kvm.System) {
	_, c := startLong(t, sys, "strings")
	// KVM may stop at any number of repetitions.
	var written []byte
	for len(written) < 5 {
		next(t, c, kvm.EXIT_IO)
		io, data := c.IO(), c.IOData()
		if io.Direction != kvm.EXIT_IO_OUT || io.Size != 1 || len(data) != int(io.Count) || len(data) == 0 {
			t.Fatalf("%+v with %q", io, data)
		}
		written = append(written, data...)
	}
	if string(written) != "hello" {
		t.Errorf("OUTS wrote %q", written)
	}
	answer := []byte("ABCDEF")
	for len(answer) > 0 {
		next(t, c, kvm.EXIT_IO)
		io, data := c.IO(), c.IOData()
		if io.Direction != kvm.EXIT_IO_IN || io.Size != 2 || len(data) != 2*int(io.Count) || len(data) == 0 {
			t.Fatalf("%+v with %q", io, data)
		}
		answer = answer[copy(data, answer):]
	}
	nextOut(t, c, 0x10, "ABCD")
	nextOut(t, c, 0x10, "EF")
	next(t, c, kvm.EXIT_HLT)
}

func testMMIO(t *testing.T, sys *kvm.System) {
	_, c := startLong(t, sys, "mmio")
	for _, w := range []struct {
		offset uint64
		want   string
	}{
		{0, "\x11"}, {8, "\x22\x22"}, {16, "\x33\x33\x33\x33"}, {24, "\x55\x55\x55\x55\x44\x44\x44\x44"},
	} {
		next(t, c, kvm.EXIT_MMIO)
		if m := c.MMIO(); !m.IsWrite() || m.PhysAddr != noMemory+w.offset || string(m.Data()) != w.want {
			t.Errorf("%+v, want %x written at %#x", m, w.want, w.offset)
		}
	}
	for _, r := range []struct {
		offset uint64
		answer string
	}{
		{0, "\x01"}, {8, "\x02\x03"}, {16, "\x04\x05\x06\x07"}, {24, "\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"},
	} {
		next(t, c, kvm.EXIT_MMIO)
		if m := c.MMIO(); m.IsWrite() || m.PhysAddr != noMemory+r.offset || len(m.Data()) != len(r.answer) {
			t.Errorf("%+v, want %d bytes read at %#x", m, len(r.answer), r.offset)
		}
		copy(c.MMIO().Data(), r.answer)
	}
	next(t, c, kvm.EXIT_HLT)
	r := regs(t, c)
	if r.RAX != 0x4444444455555501 || r.RCX != 0x0302 || r.RSI != 0x07060504 || r.RDI != 0x0f0e0d0c0b0a0908 {
		t.Errorf("registers %#x", r)
	}
}

func testCPUID(t *testing.T, sys *kvm.System) {
	_, c := startLong(t, sys, "cpuid")
	leaves, err := sys.GetSupportedCPUID()
	check(t, err)
	check(t, c.SetCPUID2(append(leaves, kvm.CPUIDEntry2{Function: 0x40000100, EAX: 1, EBX: 0x12345678, ECX: 3, EDX: 0x87654321})))
	next(t, c, kvm.EXIT_HLT)
	if r := regs(t, c); r.RAX != 1 || r.RBX != 0x12345678 || r.RCX != 3 || r.RDX != 0x87654321 {
		t.Errorf("registers %#x", r)
	}
}

// pat is IA32_PAT, an MSR that any value of its own kind can be written to.
const pat = 0x277

func testMSRs(t *testing.T, sys *kvm.System) {
	_, c := startLong(t, sys, "spin")
	const value = 0x0007040600070406
	n, err := c.SetMSRs([]kvm.MSREntry{{Index: pat, Data: value}})
	check(t, err)
	got := []kvm.MSREntry{{Index: pat}, {Index: 0x174}, {Index: 0x12345678}, {Index: pat}}
	m, err := c.GetMSRs(got)
	var refused *kvm.MSRError
	if n != 1 || m != 2 || !errors.As(err, &refused) || refused.Index != 0x12345678 {
		t.Errorf("SetMSRs %d, GetMSRs %d, %v", n, m, err)
	}
	if got[0].Data != value || got[3].Data != 0 {
		t.Errorf("MSRs %#x", got)
	}
	if n, err := c.SetMSRs([]kvm.MSREntry{{Index: 0x174, Data: 8}, {Index: 0x12345678}}); n != 1 || !errors.As(err, &refused) {
		t.Errorf("SetMSRs of one that does not exist: %d, %v", n, err)
	}
}

func testUserSpaceMSRs(t *testing.T, sys *kvm.System) {
	m, c := startLong(t, sys, "msr")
	check(t, m.vm.EnableCap(kvm.CAP_X86_USER_SPACE_MSR, kvm.MSR_EXIT_REASON_UNKNOWN))
	if _, err := c.SetMSRs([]kvm.MSREntry{{Index: pat, Data: 0x0007040600070406}}); err != nil {
		t.Fatal(err)
	}
	next(t, c, kvm.EXIT_X86_RDMSR)
	if x := c.MSR(); x.Index != 0x12345678 || x.Reason != kvm.MSR_EXIT_REASON_UNKNOWN {
		t.Errorf("%+v", x)
	}
	c.MSR().Data = 0xaaaaaaaabbbbbbbb
	next(t, c, kvm.EXIT_X86_WRMSR)
	if x := c.MSR(); x.Index != 0x12345678 || x.Data != 0x2222222211111111 {
		t.Errorf("%+v", x)
	}
	next(t, c, kvm.EXIT_HLT)
	if r := regs(t, c); r.RSI != 0xbbbbbbbb || r.RDI != 0xaaaaaaaa || r.RAX != 0x00070406 || r.RDX != 0x00070406 {
		t.Errorf("registers %#x", r)
	}

	_, c = startLong(t, sys, "msr")
	next(t, c, kvm.EXIT_SHUTDOWN) // #GP, without the capability
}

func testTripleFault(t *testing.T, sys *kvm.System) {
	_, c := startLong(t, sys, "undefined")
	next(t, c, kvm.EXIT_SHUTDOWN)
}

func testReadOnlyMemory(t *testing.T, sys *kvm.System) {
	m, c := startLong(t, sys, "load")
	const gpa = 0x200000
	rom := newMemory(t, 4096, unix.PROT_READ|unix.PROT_WRITE)
	rom[5] = 0x42
	m.addMemory(t, 1, kvm.MEM_READONLY, gpa, rom)
	check(t, c.SetRegs(&kvm.Regs{RIP: entry, RBX: gpa + 5, RFLAGS: 2}))
	next(t, c, kvm.EXIT_MMIO)
	if x := c.MMIO(); !x.IsWrite() || x.PhysAddr != gpa+5 || string(x.Data()) != "\x77" {
		t.Errorf("%+v", x)
	}
	next(t, c, kvm.EXIT_HLT)
	if r := regs(t, c); r.RAX != 0x42 || rom[5] != 0x42 {
		t.Errorf("read %#x, memory %#x", r.RAX, rom[5])
	}

	// Without the slot there is nothing.
	m.addMemory(t, 1, 0, gpa, nil)
	check(t, c.SetRegs(&kvm.Regs{RIP: entry, RBX: gpa + 5, RFLAGS: 2}))
	next(t, c, kvm.EXIT_MMIO)
	if x := c.MMIO(); x.IsWrite() || x.PhysAddr != gpa+5 {
		t.Errorf("%+v", x)
	}
}

// testMissingMemory has a slot whose memory this process has taken away.
func testMissingMemory(t *testing.T, sys *kvm.System) {
	m, c := startLong(t, sys, "load")
	const gpa = 0x200000
	m.addMemory(t, 1, 0, gpa, newMemory(t, 4096, unix.PROT_NONE))
	check(t, c.SetRegs(&kvm.Regs{RIP: entry, RBX: gpa, RFLAGS: 2}))
	errno := runOn(c)
	if errno == 0 && c.ExitReason() == kvm.EXIT_MMIO && c.MMIO().PhysAddr == gpa {
		return // KVM interpreted the instruction
	}
	if errno != syscall.EFAULT {
		t.Fatalf("%v, %s", errno, particulars(c))
	}
	if n, err := m.vm.CheckExtension(kvm.CAP_MEMORY_FAULT_INFO); err != nil {
		t.Fatal(err)
	} else if n > 0 && (c.ExitReason() != kvm.EXIT_MEMORY_FAULT || c.MemoryFault().GPA != gpa) {
		t.Errorf("%v %#x", c.ExitReason(), c.MemoryFault())
	}
}

func testTranslate(t *testing.T, sys *kvm.System) {
	_, c := startLong(t, sys, "spin")
	for _, tt := range []struct {
		linear uint64
		valid  uint8
	}{
		{0x1234, 1}, {noMemory + 0x321, 1}, {0xfee00020, 1}, {0x40000000, 0}, {0xffff800000000000, 0},
	} {
		got, err := c.Translate(tt.linear)
		check(t, err)
		if got.Valid != tt.valid || tt.valid != 0 && got.PhysicalAddress != tt.linear {
			t.Errorf("%#x: %+v", tt.linear, got)
		}
	}
}

func testState(t *testing.T, sys *kvm.System) {
	_, c := startLong(t, sys, "spin")
	want := kvm.Regs{RAX: 1, RBX: 2, RCX: 3, RDX: 4, RSI: 5, RDI: 6, RSP: 7, RBP: 8,
		R8: 9, R9: 10, R10: 11, R11: 12, R12: 13, R13: 14, R14: 15, R15: 16, RIP: 0x1000, RFLAGS: 0x202}
	check(t, c.SetRegs(&want))
	if got := regs(t, c); got != want {
		t.Errorf("registers %+v", got)
	}

	var fpu, fpu2 kvm.FPU
	check(t, c.GetFPU(&fpu))
	fpu.XMM[3] = [16]byte{1, 2, 3, 15: 16}
	fpu.FCW = 0x27f
	check(t, c.SetFPU(&fpu))
	check(t, c.GetFPU(&fpu2))
	if fpu2.XMM[3] != fpu.XMM[3] || fpu2.FCW != fpu.FCW {
		t.Errorf("FPU %+v", fpu2)
	}
	var x, x2 kvm.XSave
	check(t, c.GetXSave(&x))
	const xmm5, present = (160 + 5*16) / 4, 512 / 4 // in the legacy part and in the header
	x.Region[present] |= 3
	x.Region[xmm5] = 0x44332211
	check(t, c.SetXSave(&x))
	check(t, c.GetXSave(&x2))
	check(t, c.GetFPU(&fpu2))
	if x2.Region[xmm5] != x.Region[xmm5] || !bytes.HasPrefix(fpu2.XMM[5][:], []byte{0x11, 0x22, 0x33, 0x44}) {
		t.Errorf("XMM5 %#x, %x", x2.Region[xmm5], fpu2.XMM[5])
	}
	var xcrs kvm.XCRs
	check(t, c.GetXCRs(&xcrs))
	if xcrs.NrXCRs < 1 || xcrs.XCRs[0].XCR != 0 || xcrs.XCRs[0].Value&1 == 0 {
		t.Errorf("XCRs %+v", xcrs)
	}
	check(t, c.SetXCRs(&xcrs))

	var events kvm.VCPUEvents
	check(t, c.GetVCPUEvents(&events))
	events.Flags = kvm.VCPUEVENT_VALID_NMI_PENDING
	events.NMI.Pending = 1
	check(t, c.SetVCPUEvents(&events))
	check(t, c.GetVCPUEvents(&events))
	if events.NMI.Pending != 1 {
		t.Errorf("events %+v", events)
	}

	if state, err := c.GetMPState(); state != kvm.MP_STATE_RUNNABLE || err != nil {
		t.Errorf("state %d, %v", state, err)
	}
	khz, err := c.GetTSCKHz()
	check(t, err)
	if khz < 1000 {
		t.Errorf("time stamp counter: %d kHz", khz)
	}
	check(t, c.SetTSCKHz(uint32(khz)))
}

func testSyncRegs(t *testing.T, sys *kvm.System) {
	check(t, sys.Require(kvm.CAP_SYNC_REGS))
	_, c := startLong(t, sys, "count")
	c.SetValidRegs(kvm.SYNC_X86_REGS | kvm.SYNC_X86_SREGS)
	nextOut(t, c, 0x10, "\x00\x00\x00\x00")
	nextOut(t, c, 0x10, "\x01\x00\x00\x00")
	s := c.SyncRegs()
	if s.Regs.RAX != 1 || s.Regs.RFLAGS&2 == 0 || s.Sregs.CR3 != pml4 {
		t.Errorf("RAX %#x, flags %#x, CR3 %#x", s.Regs.RAX, s.Regs.RFLAGS, s.Sregs.CR3)
	}
	s.Regs.RAX = 0x0102037f
	c.SetDirtyRegs(kvm.SYNC_X86_REGS)
	nextOut(t, c, 0x10, "\x80\x03\x02\x01")
	nextOut(t, c, 0x10, "\x81\x03\x02\x01")
}

func testSingleStep(t *testing.T, sys *kvm.System) {
	_, c := startLong(t, sys, "steps")
	check(t, c.SetGuestDebug(&kvm.GuestDebug{Control: kvm.GUESTDBG_ENABLE | kvm.GUESTDBG_SINGLESTEP}))
	const step = 1 << 14 // of DR6
	for i := range uint64(4) {
		next(t, c, kvm.EXIT_DEBUG)
		if d := c.Debug(); d.PC != entry+i+1 || d.Exception != 1 || d.DR6&step == 0 {
			t.Fatalf("step %d: %+v", i, d)
		}
	}
	check(t, c.SetGuestDebug(&kvm.GuestDebug{}))
	next(t, c, kvm.EXIT_HLT)
}

func testHardwareBreakpoint(t *testing.T, sys *kvm.System) {
	_, c := startLong(t, sys, "steps")
	const local0 = 1 << 0 // of DR7: instructions at DR0
	check(t, c.SetGuestDebug(&kvm.GuestDebug{
		Control:  kvm.GUESTDBG_ENABLE | kvm.GUESTDBG_USE_HW_BP,
		DebugReg: [8]uint64{0: entry + 2, 7: local0 | 0x400},
	}))
	next(t, c, kvm.EXIT_DEBUG)
	if d := c.Debug(); d.PC != entry+2 || d.DR6&1 == 0 {
		t.Errorf("%+v", d)
	}
	check(t, c.SetGuestDebug(&kvm.GuestDebug{}))
	next(t, c, kvm.EXIT_HLT)
}

func testNoAllocations(t *testing.T, sys *kvm.System) {
	_, c := startLong(t, sys, "count")
	var r kvm.Regs
	var sum int
	if n := testing.AllocsPerRun(1000, func() {
		if c.Run() != 0 || c.ExitReason() != kvm.EXIT_IO {
			return // a signal
		}
		sum += len(c.IOData()) + int(c.IO().Port)
		if c.GetRegs(&r) != nil || c.SetRegs(&r) != nil {
			t.Error("registers")
		}
		if tr, err := c.Translate(entry); err != nil || tr.Valid == 0 {
			t.Error("Translate")
		}
		c.SetImmediateExit(false)
	}); n != 0 {
		t.Errorf("%v allocations for each exit", n)
	}
	if sum == 0 {
		t.Error("nothing has run")
	}
}
