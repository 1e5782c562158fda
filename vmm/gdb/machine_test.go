package gdb

import (
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/isthmus-fs/isthmus/internal/lab/labtest"
	"github.com/isthmus-fs/isthmus/kvm"
	"github.com/isthmus-fs/isthmus/vmm"
)

type machineTest struct {
	name string
	run  func(t *testing.T)
}

// machineTests are the tests that need a KVM.
var machineTests = []machineTest{
	{"Steps", testSteps},
	{"Patches", testPatches},
	{"OneOfTwo", testOneOfTwo},
	{"Memory", testMemory},
	{"Registers", testRegisters},
	{"Interrupt", testInterrupt},
	{"Halted", testHalted},
	{"ExitCode", testExitCode},
	{"TripleFault", testTripleFault},
	{"Kill", testKill},
	{"Detach", testDetach},
	{"TracedBreakpoints", func(t *testing.T) { softwareBreakpoints(t, startTraced) }},
	{"TracedBothAtOnce", func(t *testing.T) { bothAtOnce(t, startTraced) }},
}

// realTests need what QEMU does not emulate: on its processors with virtualisation an INT3
// of a guest is never intercepted, and a guest's debug registers find nothing. They run on
// a KVM of this machine only, with ISTHMUS_KVM=1.
var realTests = []machineTest{
	{"SoftwareBreakpoints", func(t *testing.T) { softwareBreakpoints(t, start) }},
	{"BothAtOnce", func(t *testing.T) { bothAtOnce(t, start) }},
	{"GuestsOwnInt3", testGuestsOwnInt3},
	{"DebugRegisters", testDebugRegisters},
}

func TestMachines(t *testing.T) {
	list := machineTests
	if labtest.HasKVM() && os.Getenv("ISTHMUS_KVM") != "lab" {
		list = slices.Concat(list, realTests)
	}
	var names []string
	tests := make(map[string]func(*testing.T))
	for _, tt := range list {
		names = append(names, tt.name)
		tests[tt.name] = tt.run
	}
	labtest.Machines(t, "TestMachines", names, func(t *testing.T, name string) { tests[name](t) })
}

// Where a real guest has what the fake one does without. The rest is where it is there.
const (
	tablesGPA  = 0x8000 // page tables
	systemAt   = 0x404000
	systemGPA  = 0x4000
	gdtAt      = systemAt
	idtAt      = systemAt + 0x100
	handlerAt  = codeAt + 0x200
	exitPort   = 0x10
	countCalls = "\x48\xff\xc1\x48\xcf" // inc %rcx; iretq
)

// guest is a machine whose processors begin with the same code, in 64-bit mode.
type guest struct {
	*vmm.Machine
	mem     []byte
	outcome chan vmm.Outcome
}

// starter makes a guest, and a client of its debugger.
type starter func(t *testing.T, cpus int, code string) (*guest, *client)

func start(t *testing.T, cpus int, code string) (*guest, *client) {
	t.Helper()
	return startAs(t, cpus, code, func(m Target) Target { return m })
}

func startTraced(t *testing.T, cpus int, code string) (*guest, *client) {
	t.Helper()
	return startAs(t, cpus, code, func(m Target) Target { return newTracer(m) })
}

func startAs(t *testing.T, cpus int, code string, as func(Target) Target) (*guest, *client) {
	t.Helper()
	ram, err := vmm.NewRAM(vmm.RAMConfig{Size: 64 << 10})
	check(t, err)
	t.Cleanup(func() { check(t, ram.Close()) })
	g := &guest{mem: ram.Bytes(), outcome: make(chan vmm.Outcome, 1)}
	copy(g.mem[codeGPA:], code)
	copy(g.mem[codeGPA+handlerAt-codeAt:], countCalls)
	put := func(at int, v uint64) { binary.LittleEndian.PutUint64(g.mem[at:], v) }
	const there = 3
	put(tablesGPA, tablesGPA+0x1000|there)
	put(tablesGPA+0x1000, tablesGPA+0x2000|there)
	put(tablesGPA+0x2000+8*(codeAt>>21), tablesGPA+0x3000|there)
	for at, gpa := range map[uint64]uint64{
		codeAt: codeGPA, codeAt + 0x1000: nextGPA, aliasAt: codeGPA, deviceAt: 0x100000, systemAt: systemGPA,
	} {
		put(int(tablesGPA+0x3000+8*(at>>12&511)), gpa|there)
	}
	put(systemGPA+8, 0x00af9b000000ffff)  // code
	put(systemGPA+16, 0x00cf93000000ffff) // data
	put(systemGPA+0x100+16*exceptionBP, 0x8e00<<32|handlerAt>>16<<48|8<<16|handlerAt&0xffff)

	cfg := vmm.Config{CPUs: cpus, Memory: []*vmm.RAM{ram}, Debug: true}
	cfg.Hook = func(c *vmm.CPU, port uint16, _ []byte) (int, bool) {
		r, err := c.Regs()
		if err != nil {
			t.Error(err)
		}
		if port == exitPort {
			g.End(vmm.Outcome{Reason: vmm.Exited, Code: int32(r.RAX), CPU: c.Index()})
		}
		return 0, true
	}
	cfg.Kinds = []string{"Out"}
	g.Machine, err = vmm.New(&cfg)
	check(t, err)
	for i := range cpus {
		v := g.CPU(i).VCPU()
		var s kvm.Sregs
		check(t, v.GetSregs(&s))
		s.CR0, s.CR3, s.CR4, s.EFER = 0x80000033, tablesGPA, 0x620, 0xd00
		s.CS = kvm.Segment{Limit: 0xffffffff, Selector: 8, Type: 11, Present: 1, S: 1, L: 1, G: 1}
		data := kvm.Segment{Limit: 0xffffffff, Selector: 16, Type: 3, Present: 1, DB: 1, S: 1, G: 1}
		s.DS, s.ES, s.SS = data, data, data
		s.GDT = kvm.DTable{Base: gdtAt, Limit: 23}
		s.IDT = kvm.DTable{Base: idtAt, Limit: 16*4 - 1}
		check(t, v.SetSregs(&s))
		stack := uint64(systemAt + 0x1000 - 0x100*i)
		check(t, v.SetRegs(&kvm.Regs{RIP: codeAt, RSP: stack, RBX: codeAt + 0x800, RFLAGS: 2}))
		check(t, v.SetMPState(kvm.MP_STATE_RUNNABLE))
	}
	done := make(chan struct{})
	go func() {
		g.outcome <- g.Run(t.Context())
		close(done)
	}()
	t.Cleanup(func() { // after the session's own
		<-done
		check(t, g.Close())
	})
	c := connect(t, as(Machine(g.Machine, 0x200000)))
	c.want("qSupported:swbreak+;hwbreak+", supportedReply)
	return g, c
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// register asks for a register of a processor.
func (c *client) register(cpu int, name string) string {
	c.t.Helper()
	c.want("Hg"+formatThread(cpu), "OK")
	for n, r := range registers {
		if r.name == name {
			return c.ask("p" + format(uint64(n)))
		}
	}
	c.t.Fatalf("no register %s", name)
	return ""
}

func (c *client) wantRegister(cpu int, name, want string) {
	c.t.Helper()
	if got := c.register(cpu, name); got != want {
		c.t.Errorf("%s of processor %d is %s, want %s", name, cpu, got, want)
	}
}

func testSteps(t *testing.T) {
	_, c := start(t, 1, program)
	for _, pc := range []uint64{pc1, pc2, pc5, pc7, pc9, pc1, pc2} {
		c.wantStop("vCont;s:1", "T05thread:1;", pc)
	}
	c.wantRegister(0, "eflags", "02000000") // no trap flag
	c.wantStop("vCont;r400002,400009:1", "T05thread:1;", pc9)
	c.wantRegister(0, "rax", hex64(2))
	// An instruction that is an exit is one step, too.
	c.want("M400100,4:e7119090", "OK")
	c.wantStop("s400100", "T05thread:1;", codeAt+0x102)
	c.wantStop("s", "T05thread:1;", codeAt+0x103)
}

func softwareBreakpoints(t *testing.T, start starter) {
	g, c := start(t, 1, program)
	c.want("Z0,400002,1", "OK")
	c.want("Z0,500007,1", "OK") // by its other address
	if g.mem[codeGPA+2] != int3 || g.mem[codeGPA+7] != int3 {
		t.Error("they are not in memory")
	}
	c.want("m400000,9", "909048ffc088038a03")
	for i := range uint64(3) {
		c.wantStop("vCont;c", "T05thread:1;swbreak:;", pc2)
		c.wantRegister(0, "rax", hex64(i))
		c.wantStop("vCont;c", "T05thread:1;swbreak:;", pc7)
	}
	c.wantStop("vCont;s", "T05thread:1;", pc9)
	c.want("z0,400002,1", "OK")
	c.want("z0,500007,1", "OK")
	c.want("Z0,400001,1", "OK")
	c.wantStop("vCont;c", "T05thread:1;swbreak:;", pc1)
	if g.mem[codeGPA+2] != 0x48 || g.mem[codeGPA+7] != 0x8a {
		t.Error("they are still in memory")
	}
}

// testPatches has breakpoints that nobody runs into: they are in the guest's memory, but
// not in what is read of it.
func testPatches(t *testing.T) {
	g, c := start(t, 1, program)
	c.want("Z0,400005,1", "OK")
	c.want("Z0,500007,1", "OK") // by its other address
	if g.mem[codeGPA+5] != int3 || g.mem[codeGPA+7] != int3 {
		t.Error("they are not in memory")
	}
	c.want("m400000,9", "909048ffc088038a03")
	c.want("M400004,2:c090", "OK")
	c.wantStop("vCont;s", "T05thread:1;", pc1)
	c.wantStop("vCont;s", "T05thread:1;", pc2)
	c.want("z0,400005,1", "OK")
	c.want("z0,500007,1", "OK")
	if string(g.mem[codeGPA+4:codeGPA+8]) != "\xc0\x90\x03\x8a" {
		t.Errorf("memory is %x afterwards", g.mem[codeGPA+4:codeGPA+8])
	}
}

// testOneOfTwo has one of two processors go on while the other is held, or runs.
func testOneOfTwo(t *testing.T) {
	_, c := start(t, 2, program)
	c.want("qfThreadInfo", "m1,2")
	for _, pc := range []uint64{pc1, pc2, pc5, pc7, pc9, pc1} {
		c.wantStop("vCont;s:2", "T05thread:2;", pc)
		c.wantRegister(0, "rip", hex64(pc0))
	}
	c.wantStop("vCont;r400000,400005:1", "T05thread:1;", pc5)
	c.wantRegister(1, "rip", hex64(pc1))
	c.send("vCont;c:2") // for ever
	c.raw("\x03")
	if got := c.receive(); !strings.HasPrefix(got, "T02thread:2;") {
		t.Error(got)
	}
	c.wantRegister(0, "rip", hex64(pc5))
	c.wantStop("vCont;s:1;c", "T05thread:1;", pc7)
	c.want("vCont;s:1;s:3", "E03")
	c.wantRegister(0, "rip", hex64(pc7))
}

// bothAtOnce has both processors run into one breakpoint again and again.
func bothAtOnce(t *testing.T, start starter) {
	_, c := start(t, 2, program)
	c.want("Z0,400002,1", "OK")
	var met [2]int
	for range 40 {
		got := c.ask("vCont;c")
		switch {
		case strings.HasPrefix(got, "T05thread:1;swbreak:;"):
			met[0]++
		case strings.HasPrefix(got, "T05thread:2;swbreak:;"):
			met[1]++
		default:
			t.Fatal(got)
		}
	}
	if met[0] == 0 || met[1] == 0 {
		t.Errorf("%d and %d times", met[0], met[1])
	}
}

func testMemory(t *testing.T) {
	g, c := start(t, 2, program)
	c.want("M400ffe,4:01020304", "OK")
	c.want("m400ffc,6", "000001020304")
	if string(g.mem[codeGPA+0xffe:codeGPA+0x1000]) != "\x01\x02" || string(g.mem[nextGPA:nextGPA+2]) != "\x03\x04" {
		t.Error("it is elsewhere")
	}
	c.want("X401ffe,2:ab", "OK")
	c.want("x401ffe,9", "bab") // nothing is mapped behind that
	c.want("m402000,1", "E0e")
	c.want("m403000,1", "E0e") // no memory
	c.want("M401ffe,4:01020304", "E0e")
	c.want("mffff800000000000,8", "E0e")
	c.want("m7fffffffffffffff,8", "E0e")
	c.want("mffffffffffffffff,8", "E0e")
}

func testRegisters(t *testing.T) {
	_, c := start(t, 2, "\x0f\x28\xc8\x90\x90") // movaps %xmm0,%xmm1
	const xmm0, xmm1 = 40, 41
	value := formatBytes([]byte("0123456789abcdef"))
	c.want("P28="+value, "OK")
	c.wantStop("vCont;s:1", "T05thread:1;", codeAt+3)
	c.wantRegister(0, registers[xmm1].name, value)
	c.wantRegister(1, registers[xmm0].name, strings.Repeat("0", 32))
	c.want("Hg2", "OK")
	c.want("P38="+number32(0x1fa0), "OK")
	c.want("P2=8877665544332211", "OK")
	c.want("P39=0010000000000000", "OK")
	c.wantRegister(1, "mxcsr", number32(0x1fa0))
	c.wantRegister(1, "fs_base", hex64(0x1000))
	c.wantRegister(1, "cr3", hex64(tablesGPA))
	c.wantRegister(0, "mxcsr", number32(0x1f80))
	all := c.ask("g")
	c.want("G"+all, "OK")
	c.want("g", all)
	c.want("Hg2", "OK")
	c.want("P38="+number32(1<<31), "E16") // a bit that there is not
	c.wantStop("vCont;s:2", "T05thread:2;", codeAt+3)
	c.wantRegister(1, "rcx", hex64(0x1122334455667788))
	c.wantRegister(1, "mxcsr", number32(0x1fa0))
}

func testInterrupt(t *testing.T) {
	_, c := start(t, 2, program)
	for range 5 {
		c.send("vCont;c")
		c.raw("\x03")
		if got := c.receive(); !strings.HasPrefix(got, "T02thread:1;") {
			t.Error(got)
		}
	}
}

// testHalted interrupts a processor that waits for what never comes, or is about to.
func testHalted(t *testing.T) {
	_, c := start(t, 1, "\xf4\x90")
	c.send("vCont;c")
	c.raw("\x03")
	if got := c.receive(); !strings.HasPrefix(got, "T02thread:1;") {
		t.Error(got)
	}
	if got := c.ask("qThreadExtraInfo,1"); !strings.HasPrefix(got, formatBytes([]byte("CPU 0"))) {
		t.Error(got)
	}
}

// testGuestsOwnInt3 has the guest take its own breakpoint exception, with and without a
// breakpoint of ours at the same place.
func testGuestsOwnInt3(t *testing.T) {
	_, c := start(t, 1, "\x90\xcc\x90\xeb\xfb") // from 3 back to 0
	c.want("Z0,400002,1", "OK")
	for i := range uint64(3) {
		c.wantStop("vCont;c", "T05thread:1;swbreak:;", codeAt+2)
		c.wantRegister(0, "rcx", hex64(i+1))
	}
	c.want("Z0,400001,1", "OK")
	c.wantStop("vCont;c", "T05thread:1;swbreak:;", codeAt+1)
	c.wantRegister(0, "rcx", hex64(3))
	c.wantStop("vCont;c", "T05thread:1;swbreak:;", codeAt+2)
	c.wantRegister(0, "rcx", hex64(4))
}

func testExitCode(t *testing.T) {
	g, c := start(t, 2, "\xe7\x10")
	c.want("P0=0501000000000000", "OK")
	c.want("vCont;c:1", "W05")
	c.wantOver()
	if o := <-g.outcome; o.Reason != vmm.Exited || o.Code != 0x105 {
		t.Errorf("%+v", o)
	}
}

func testTripleFault(t *testing.T) {
	g, c := start(t, 1, "\x0f\x0b")
	c.want("vCont;c", "X0b")
	c.wantOver()
	if o := <-g.outcome; o.Reason != vmm.TripleFault {
		t.Errorf("%+v", o)
	}
}

func testKill(t *testing.T) {
	g, c := start(t, 2, program)
	c.send("vCont;c")
	c.send("k")
	c.wantEnd(nil)
	if o := <-g.outcome; o.Reason != vmm.Stopped || o.Err != ErrKilled {
		t.Errorf("%+v", o)
	}
}

// testDetach has the guest run to its end without the debugger.
func testDetach(t *testing.T) {
	g, c := start(t, 1, "\x48\xff\xc0\x48\xff\xc0\xe7\x10")
	c.want("Z0,400003,1", "OK")
	c.want("Z1,400006,1", "OK")
	c.wantStop("vCont;s", "T05thread:1;", codeAt+3)
	c.want("D", "OK")
	c.wantEnd(nil)
	if o := <-g.outcome; o.Reason != vmm.Exited || o.Code != 2 {
		t.Errorf("%+v", o)
	}
	if g.mem[codeGPA+3] != 0x48 {
		t.Error("the breakpoint is still there")
	}
}

func testDebugRegisters(t *testing.T) {
	_, c := start(t, 2, program)
	c.want("Z1,400002,1", "OK")
	c.wantStop("vCont;c:1", "T05thread:1;hwbreak:;", pc2)
	c.wantStop("vCont;c:1", "T05thread:1;hwbreak:;", pc2)
	c.want("z1,400002,1", "OK")
	c.want("Z2,400800,1", "OK")
	c.wantStop("vCont;c:1", "T05thread:1;watch:400800;", pc7)
	c.want("z2,400800,1", "OK")
	c.want("Z4,400800,4", "OK")
	c.wantStop("vCont;c:1", "T05thread:1;awatch:400800;", pc9)
}
