package vmm_test

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/internal/lab/labtest"
	"github.com/isthmus-fs/isthmus/kvm"
	"github.com/isthmus-fs/isthmus/vmm"
)

// machineTests are the tests that need a KVM.
var machineTests = []struct {
	name string
	run  func(t *testing.T)
}{
	{"Ports", testPorts},
	{"MMIO", testMMIO},
	{"HookAndKinds", testHookAndKinds},
	{"TripleFault", testTripleFault},
	{"FirstOutcomeCounts", testFirstOutcomeCounts},
	{"ContextEndsIt", testContextEndsIt},
	{"ThreadSetup", testThreadSetup},
	{"CPUIDOfEach", testCPUIDOfEach},
	{"PauseAndResume", testPauseAndResume},
	{"Steps", testSteps},
	{"EndWhilePaused", testEndWhilePaused},
	{"NoAllocations", testNoAllocations},
}

func TestMachines(t *testing.T) {
	var names []string
	for _, tt := range machineTests {
		names = append(names, tt.name)
	}
	labtest.Machines(t, "TestMachines", names, func(t *testing.T, name string) {
		for _, tt := range machineTests {
			if tt.name == name {
				tt.run(t)
			}
		}
	})
}

// entry is where guests begin, in real mode.
const entry = 0x1000

// Guests, as machine code for real mode.
const (
	// ports: 0x55 to 0x10; what 0x11 answers to 0x12; what 0x7f answers to 0x13;
	// three bytes of a string to 0x14; then it ends by 0x99.
	ports = "b055e610" + "e411e612" + "e57fe713" + "fcbe2810ba1400b90300f36e" + "e699ebfe" + "909090909090909090909090" + "616263"
	// mmio: writes 0x34 to 0xb8000, reads 0xb8004, and sends it to 0x10.
	mmio = "b800b88ed8" + "c606000034" + "a10400" + "e710" + "e699ebfe"
	// count: sends AX, which it counts up, to 0x10 for ever.
	count = "e710" + "40" + "ebfb"
	spin  = "ebfe"
	ud2   = "0f0b"
	// cpuid: EBX of leaf 1 to 0x10, and the end.
	cpuid = "66b801000000" + "0fa2" + "6689d8" + "66e710" + "e699ebfe"
	nops  = "90909090e699ebfe"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newMachine makes a machine of which each processor begins with guest.
func newMachine(t testing.TB, cfg vmm.Config, guest string) *vmm.Machine {
	t.Helper()
	ram, err := vmm.NewRAM(vmm.RAMConfig{Size: 64 << 10})
	check(t, err)
	t.Cleanup(func() { check(t, ram.Close()) })
	code, err := hex.DecodeString(guest)
	check(t, err)
	copy(ram.Bytes()[entry:], code)
	cfg.Memory = []*vmm.RAM{ram}
	cfg.CPUs = max(cfg.CPUs, 1)
	m, err := vmm.New(&cfg)
	check(t, err)
	t.Cleanup(func() { check(t, m.Close()) })
	for i := range m.CPUs() {
		v := m.CPU(i).VCPU()
		var s kvm.Sregs
		check(t, v.GetSregs(&s))
		s.CS.Base, s.CS.Selector = 0, 0
		check(t, v.SetSregs(&s))
		check(t, v.SetRegs(&kvm.Regs{RIP: entry, RFLAGS: 2}))
		check(t, v.SetMPState(kvm.MP_STATE_RUNNABLE))
	}
	return m
}

// device remembers what is written to it and answers what it has.
type device struct {
	mu      sync.Mutex
	written [][]byte
	answer  []byte
	then    func(off uint64, data []byte)
}

func (d *device) Read(_ uint64, data []byte) { copy(data, d.answer) }

func (d *device) Write(off uint64, data []byte) {
	d.mu.Lock()
	d.written = append(d.written, append([]byte{byte(off)}, data...))
	d.mu.Unlock()
	if d.then != nil {
		d.then(off, data)
	}
}

func (d *device) want(t testing.TB, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	var got []string
	for _, w := range d.written {
		got = append(got, string(w))
	}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("written: %q, want %q", got, want)
	}
}

// exits ends m with code 7 when the guest writes to port 0x99.
func exits(m *vmm.Machine) {
	m.HandlePorts(0x99, 1, &device{then: func(uint64, []byte) { m.End(vmm.Outcome{Reason: vmm.Exited, Code: 7}) }})
}

func wantOutcome(t testing.TB, o vmm.Outcome, reason vmm.Reason, code int32) {
	t.Helper()
	if o.Reason != reason || o.Code != code {
		t.Fatalf("outcome %v, code %d (%v), want %v, code %d", o.Reason, o.Code, o.Error(), reason, code)
	}
}

func testPorts(t *testing.T) {
	m := newMachine(t, vmm.Config{}, ports)
	exits(m)
	d := &device{answer: []byte{0x7a}}
	m.HandlePorts(0x10, 5, d)
	wantOutcome(t, m.Run(t.Context()), vmm.Exited, 7)
	d.want(t, "\x00\x55", "\x02\x7a", "\x03\xff\xff", "\x04a", "\x04b", "\x04c")
}

func testMMIO(t *testing.T) {
	m := newMachine(t, vmm.Config{}, mmio)
	exits(m)
	screen, d := &device{answer: []byte{0x21, 0x43}}, &device{}
	m.HandleMMIO(0xb8000, 16, screen)
	m.HandlePorts(0x10, 1, &device{}) // too small for what is written: nobody's
	m.HandlePorts(0x11, 1, d)
	wantOutcome(t, m.Run(t.Context()), vmm.Exited, 7)
	screen.want(t, "\x00\x34")
	d.want(t)
}

func testHookAndKinds(t *testing.T) {
	var m *vmm.Machine
	var rip uint64
	cfg := vmm.Config{
		Kinds: []string{"Count", "Other"},
		Timed: true,
		Hook: func(c *vmm.CPU, port uint16, data []byte) (int, bool) {
			if port != 0x10 {
				return 0, false
			}
			r, err := c.Regs()
			if err != nil || r.RAX != uint64(data[0])|uint64(data[1])<<8 {
				t.Errorf("RAX %#x, data %x, %v", r.RAX, data, err)
			}
			rip = r.RIP
			if r.RAX == 99 {
				m.End(vmm.Outcome{Reason: vmm.Exited, Code: -3, CPU: c.Index()})
			}
			return 0, true
		},
	}
	m = newMachine(t, cfg, count)
	wantOutcome(t, m.Run(t.Context()), vmm.Exited, -3)
	if rip < entry || rip > entry+2 {
		t.Errorf("RIP %#x", rip)
	}
	s := m.Stats()
	for i, kind := range s.Kinds {
		e := s.CPUs[0].Exits[i]
		if kind == "Count" && (e.Count != 100 || e.Time <= 0) || kind == "PortOut" && e.Count != 0 {
			t.Errorf("%s: %+v", kind, e)
		}
	}
	if s.CPUs[0].Guest <= 0 || s.CPUs[0].Host <= 0 {
		t.Errorf("%+v", s.CPUs[0])
	}
}

func testTripleFault(t *testing.T) {
	m := newMachine(t, vmm.Config{}, ud2)
	for i := range m.CPUs() {
		var s kvm.Sregs
		check(t, m.CPU(i).VCPU().GetSregs(&s))
		s.CR0 |= 1 // protected mode, without a table of handlers
		s.CS = kvm.Segment{Limit: 0xffffffff, Selector: 8, Type: 11, Present: 1, S: 1, DB: 1, G: 1}
		data := kvm.Segment{Limit: 0xffffffff, Selector: 16, Type: 3, Present: 1, S: 1, DB: 1, G: 1}
		s.DS, s.ES, s.SS = data, data, data
		s.IDT = kvm.DTable{}
		check(t, m.CPU(i).VCPU().SetSregs(&s))
	}
	o := m.Run(t.Context())
	wantOutcome(t, o, vmm.TripleFault, 0)
	if err := o.Error(); err == nil || !strings.Contains(err.Error(), "triple fault on CPU 0") {
		t.Error(err)
	}
}

// testFirstOutcomeCounts has one processor end the machine while others spin.
func testFirstOutcomeCounts(t *testing.T) {
	m := newMachine(t, vmm.Config{CPUs: 3}, spin)
	ram := m.CPU(1).VCPU()
	check(t, ram.SetRegs(&kvm.Regs{RIP: entry + 0x100, RFLAGS: 2}))
	view := m.Memory().Acquire()
	defer view.Release()
	code, _ := view.HostGPA(entry+0x100, 8)
	copy(code, "\xe6\x99\xeb\xfc") // the end, again and again
	exits(m)
	wantOutcome(t, m.Run(t.Context()), vmm.Exited, 7)
	m.End(vmm.Outcome{Reason: vmm.Failed})
	wantOutcome(t, m.Outcome(), vmm.Exited, 7)
}

func testContextEndsIt(t *testing.T) {
	m := newMachine(t, vmm.Config{CPUs: 2}, spin)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	go cancel(why)
	o := m.Run(ctx)
	wantOutcome(t, o, vmm.Stopped, 0)
	if !errors.Is(o.Error(), why) {
		t.Error(o.Error())
	}
}

func testThreadSetup(t *testing.T) {
	var threads sync.Map
	cfg := vmm.Config{CPUs: 2, Affinity: []int{0, 0}, OnThread: func() error {
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(0, &set); err != nil || set.Count() != 1 || !set.IsSet(0) {
			t.Errorf("affinity %v, %v", set, err)
		}
		threads.Store(unix.Gettid(), true)
		return nil
	}}
	m := newMachine(t, cfg, "e699ebfc")
	both := make(chan struct{})
	var n atomic.Int32
	m.HandlePorts(0x99, 1, &device{then: func(uint64, []byte) {
		if n.Add(1) == 2 {
			close(both)
			m.End(vmm.Outcome{Reason: vmm.Exited})
		}
		<-both
	}})
	wantOutcome(t, m.Run(t.Context()), vmm.Exited, 0)
	count := 0
	threads.Range(func(any, any) bool { count++; return true })
	if count != 2 {
		t.Errorf("%d threads", count)
	}

	cfg = vmm.Config{OnThread: func() error { return syscall.EPERM }}
	o := newMachine(t, cfg, spin).Run(t.Context())
	if wantOutcome(t, o, vmm.Failed, 0); !errors.Is(o.Error(), syscall.EPERM) {
		t.Error(o.Error())
	}
	if _, err := vmm.New(&vmm.Config{CPUs: 2, Affinity: []int{0}}); err == nil {
		t.Error("a machine of two processors with one to pin them to")
	}
	for _, n := range []int{0, -1, vmm.MaxCPUs + 1} {
		if _, err := vmm.New(&vmm.Config{CPUs: n}); err == nil {
			t.Errorf("a machine of %d processors", n)
		}
	}
	var open *kvm.OpenError
	if _, err := vmm.New(&vmm.Config{CPUs: 1, KVM: "/dev/null"}); !errors.As(err, &open) {
		t.Errorf("a machine on /dev/null: %v", err)
	}
}

func testCPUIDOfEach(t *testing.T) {
	m := newMachine(t, vmm.Config{CPUs: 2, CPUID: func(cpu int, leaves []kvm.CPUIDEntry2) []kvm.CPUIDEntry2 {
		for i := range leaves {
			if leaves[i].Function == 1 {
				leaves[i].EBX = 0xabc0 + uint32(cpu)
			}
		}
		return leaves
	}}, cpuid)
	d := &device{}
	m.HandlePorts(0x10, 4, d)
	var n atomic.Int32
	m.HandlePorts(0x99, 1, &device{then: func(uint64, []byte) {
		if n.Add(1) == 2 {
			m.End(vmm.Outcome{Reason: vmm.Exited})
		}
	}})
	wantOutcome(t, m.Run(t.Context()), vmm.Exited, 0)
	got := map[byte]bool{}
	for _, w := range d.written {
		got[w[1]] = true
	}
	if len(d.written) != 2 || !got[0xc0] || !got[0xc1] {
		t.Errorf("%x", d.written)
	}
}

func testPauseAndResume(t *testing.T) {
	var counts [3]atomic.Uint64
	m := newMachine(t, vmm.Config{CPUs: 3, Debug: true, Hook: func(c *vmm.CPU, _ uint16, _ []byte) (int, bool) {
		counts[c.Index()].Add(1)
		return 0, true
	}, Kinds: []string{"Count"}}, count)
	done := make(chan vmm.Outcome, 1)
	go func() { done <- m.Run(t.Context()) }()
	// rax counts each OUT that is finished.
	rax := func(cpu int) uint64 {
		var r kvm.Regs
		check(t, m.Do(cpu, func(v *kvm.VCPU) error { return v.GetRegs(&r) }))
		return r.RAX
	}
	if !m.Pause() || counts[0].Load()+counts[1].Load()+counts[2].Load() != 0 {
		t.Error("a machine for a debugger has run by itself")
	}
	for round := range 20 {
		held := round % 3
		before := rax(held)
		var least [3]uint64
		for i := range least {
			least[i] = counts[i].Load() + 1
		}
		m.Resume(func(cpu int) bool { return cpu == held })
		for i := range counts {
			for i != held && counts[i].Load() < least[i] {
				syscall.Nanosleep(&syscall.Timespec{Nsec: 10_000}, nil)
			}
		}
		if !m.Pause() {
			t.Fatal("the machine has ended")
		}
		if got := rax(held); got != before {
			t.Errorf("a processor that was held went from %d to %d", before, got)
		}
		for i := range counts {
			// The INC may or may not have been made.
			n := counts[i].Load() & 0xffff
			if got := rax(i); got != n && got+1 != n {
				t.Errorf("CPU %d: AX is %d after %d exits", i, got, n)
			}
		}
	}
	m.Resume(nil)
	m.End(vmm.Outcome{Reason: vmm.Stopped})
	wantOutcome(t, <-done, vmm.Stopped, 0)
	if m.Pause() || !errors.Is(m.Do(0, func(*kvm.VCPU) error { return nil }), vmm.ErrEnded) {
		t.Error("a machine that has ended was paused")
	}
}

func testSteps(t *testing.T) {
	m := newMachine(t, vmm.Config{Debug: true}, nops)
	exits(m)
	done := make(chan vmm.Outcome, 1)
	go func() { done <- m.Run(t.Context()) }()
	m.Pause()
	for i := range uint64(4) {
		check(t, m.Do(0, func(v *kvm.VCPU) error {
			return v.SetGuestDebug(&kvm.GuestDebug{Control: kvm.GUESTDBG_ENABLE | kvm.GUESTDBG_SINGLESTEP})
		}))
		m.Resume(nil)
		if s := <-m.Stops(); s.CPU != 0 || s.Debug.PC != entry+i+1 {
			t.Errorf("step %d: %+v", i, s)
		}
		if !m.Pause() {
			t.Fatal("the machine has ended")
		}
	}
	check(t, m.Do(0, func(v *kvm.VCPU) error { return v.SetGuestDebug(&kvm.GuestDebug{}) }))
	m.Resume(nil)
	wantOutcome(t, <-done, vmm.Exited, 7)
}

func testEndWhilePaused(t *testing.T) {
	m := newMachine(t, vmm.Config{CPUs: 2, Debug: true}, spin)
	done := make(chan vmm.Outcome, 1)
	go func() { done <- m.Run(t.Context()) }()
	m.Pause()
	m.End(vmm.Outcome{Reason: vmm.Exited, Code: 1})
	wantOutcome(t, <-done, vmm.Exited, 1)
}

func testNoAllocations(t *testing.T) {
	for _, timed := range []bool{false, true} {
		var n float64
		var m *vmm.Machine
		stop := make(chan struct{})
		steps := make(chan struct{})
		m = newMachine(t, vmm.Config{Timed: timed, Kinds: []string{"Count"}, Hook: func(c *vmm.CPU, _ uint16, _ []byte) (int, bool) {
			if _, err := c.Regs(); err != nil {
				t.Error(err)
			}
			select {
			case steps <- struct{}{}:
			case <-stop:
			}
			return 0, true
		}}, count)
		done := make(chan vmm.Outcome, 1)
		go func() { done <- m.Run(t.Context()) }()
		n = testing.AllocsPerRun(1000, func() { <-steps })
		m.End(vmm.Outcome{Reason: vmm.Stopped})
		close(stop)
		<-done
		if n != 0 {
			t.Errorf("timed %v: %v allocations for each exit", timed, n)
		}
	}
}
