package gdb

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/isthmus-fs/isthmus/kvm"
	"github.com/isthmus-fs/isthmus/vmm"
)

const supportBoth = "qSupported:swbreak+;hwbreak+"

func TestStep(t *testing.T) {
	m := newFake(2, program)
	c := connect(t, m)
	c.wantStop("vCont;s:1", "T05thread:1;", pc1)
	c.wantStop("vCont;s:2", "T05thread:2;", pc1)
	c.wantStop("vCont;S05:2", "T05thread:2;", pc2)
	c.wantStop("s", "T05thread:2;", pc5)
	c.want("Hc1", "OK")
	c.wantStop("s", "T05thread:1;", pc5) // it made one more beside the other's step
	c.wantStop("S05;400005", "T05thread:1;", pc7)
	c.wantStop("s400000", "T05thread:1;", pc1)
	c.want("Hc1", "OK")
	c.want("Hg2", "OK")
	c.want("D", "OK")
	c.wantEnd(nil)
	if m.Pause(); m.resumed != 7+1 {
		t.Fatalf("resumed %d times", m.resumed)
	}
	for _, cpu := range m.cpus {
		if cpu.debug.Control != 0 {
			t.Errorf("control %#x afterwards", cpu.debug.Control)
		}
	}
}

// TestStepsAndInterrupts has interrupts kept from a processor that steps, as far as KVM can.
func TestStepsAndInterrupts(t *testing.T) {
	for _, old := range []bool{false, true} {
		m := newFake(1, program)
		m.cpus[0].oldKVM = old
		c := connect(t, m)
		c.wantStop("vCont;s", "T05thread:1;", pc1)
		if blocked := m.cpus[0].debug.Control&kvm.GUESTDBG_BLOCKIRQ != 0; blocked == old {
			t.Errorf("old KVM %v, blocked %v", old, blocked)
		}
	}
}

// TestSchedulerLocking has one processor step while the other is held, or runs.
func TestSchedulerLocking(t *testing.T) {
	m := newFake(2, program)
	c := connect(t, m)
	c.wantStop("vCont;s:1", "T05thread:1;", pc1)
	if pc := m.cpus[1].regs.RIP; pc != codeAt {
		t.Errorf("the other is at %#x", pc)
	}
	c.wantStop("vCont;s:1;c", "T05thread:1;", pc2)
	if pc := m.cpus[1].regs.RIP; pc != pc1 {
		t.Errorf("the other is at %#x", pc)
	}
	c.want("Z0,400009,1", "OK")
	c.want(supportBoth, supportedReply)
	c.wantStop("vCont;c:2", "T05thread:2;swbreak:;", pc9)
	if pc := m.cpus[0].regs.RIP; pc != pc2 {
		t.Errorf("the held one is at %#x", pc)
	}
}

func TestRangeStep(t *testing.T) {
	c := connect(t, newFake(2, program))
	c.wantStop("vCont;r400000,400005:1;c", "T05thread:1;", pc5)
	c.wantStop("vCont;r400000,400000:1", "T05thread:1;", pc7)
	c.want("Z0,400009,1", "OK")
	c.wantStop("vCont;r400000,400100:1", "T05thread:1;", pc9) // not before the breakpoint is met
	c.wantStop("vCont;s:1", "T05thread:1;", pc1)              // over it
}

func TestSoftwareBreakpoint(t *testing.T) {
	m := newFake(1, program)
	c := connect(t, m)
	c.want(supportBoth, supportedReply)
	c.want("Z0,400002,1", "OK")
	if m.mem[codeGPA+2] != int3 {
		t.Fatal("it is not in memory")
	}
	c.want("m400001,3", "9048ff")
	c.want("m500002,1", "48") // nor by another address
	c.wantStop("vCont;c", "T05thread:1;swbreak:;", pc2)
	for i := range byte(3) { // and over it
		c.wantStop("vCont;c", "T05thread:1;swbreak:;", pc2)
		if rax := m.cpus[0].regs.RAX; rax != uint64(i)+1 {
			t.Errorf("RAX %d in round %d", rax, i)
		}
	}
	c.wantStop("vCont;s", "T05thread:1;", pc5)
	c.wantStop("c400002", "T05thread:1;swbreak:;", pc2) // anew, so it stops
	c.wantStop("vCont;r400002,400009", "T05thread:1;", pc9)
	// A write below a breakpoint is found when it is gone.
	c.want("M400001,2:90f4", "OK")
	c.want("m400001,2", "90f4")
	if m.mem[codeGPA+2] != int3 {
		t.Error("a write has taken it out")
	}
	c.want("z0,400002,1", "OK")
	c.want("m400002,1", "f4")
	if m.mem[codeGPA+2] != 0xf4 {
		t.Error("it stays in memory")
	}
}

// TestSameByteTwice has two addresses for one byte.
func TestSameByteTwice(t *testing.T) {
	m := newFake(1, program)
	c := connect(t, m)
	c.want("Z0,400002,1", "OK")
	c.want("Z0,500002,1", "OK")
	c.want("z0,400002,1", "OK")
	if m.mem[codeGPA+2] != int3 {
		t.Error("gone with the first")
	}
	c.want("z0,500002,1", "OK")
	if m.mem[codeGPA+2] != 0x48 {
		t.Error("there after the second")
	}
}

// TestOverwrittenBreakpoint has the guest write something else over it.
func TestOverwrittenBreakpoint(t *testing.T) {
	m := newFake(1, program)
	c := connect(t, m)
	c.want("Z0,400800,1", "OK")
	c.want("P0=4200000000000000", "OK")
	c.want("m400800,1", "00")
	c.wantStop("s400005", "T05thread:1;", pc7)
	c.want("m400800,1", "42")
	c.want("z0,400800,1", "OK")
	c.want("m400800,1", "42")
}

func TestDetachLiftsBreakpoints(t *testing.T) {
	for _, how := range []string{"D", "gone", "detached while it runs", "gone while it runs"} {
		t.Run(how, func(t *testing.T) {
			m := newFake(2, program)
			c := connect(t, m)
			c.want("Z0,402,1", "E0e")
			c.want("Z0,400100,1", "OK")
			c.want("Z1,400100,1", "OK")
			switch how {
			case "D":
				c.want("D", "OK")
			case "detached while it runs":
				c.send("vCont;c")
				c.want("D", "OK")
			case "gone while it runs":
				c.send("vCont;c")
			}
			c.conn.Close()
			if err := <-c.served; err != nil {
				t.Error(err)
			}
			if m.order == nil {
				t.Error("the machine does not run")
			}
			m.Pause()
			if m.mem[codeGPA+0x100] != 0 {
				t.Error("the breakpoint is still there")
			}
			for _, cpu := range m.cpus {
				if cpu.debug.Control != 0 {
					t.Errorf("control %#x", cpu.debug.Control)
				}
			}
		})
	}
}

func TestInterrupt(t *testing.T) {
	m := newFake(2, program)
	c := connect(t, m)
	for range 3 {
		c.send("vCont;c")
		c.send("m400000,1") // without an answer
		c.raw("\x03")
		if got := c.receive(); !strings.HasPrefix(got, "T02thread:1;06:") {
			t.Error(got)
		}
	}
	c.send("vCont;c:2")
	c.raw("\x03")
	if got := c.receive(); !strings.HasPrefix(got, "T02thread:2;06:") {
		t.Error(got)
	}
	c.want("m400000,1", "90")
}

// TestHalted has a processor that waits.
func TestHalted(t *testing.T) {
	m := newFake(1, program)
	m.cpus[0].state = kvm.MP_STATE_HALTED
	c := connect(t, m)
	c.send("vCont;s")
	c.raw("\x03")
	if got := c.receive(); !strings.HasPrefix(got, "T02thread:1;") {
		t.Error(got)
	}
	c.want("qThreadExtraInfo,1", formatBytes([]byte("CPU 0 (halted)")))
}

// TestBothAtOnce has both processors meet the same breakpoint. Each is told of, once.
func TestBothAtOnce(t *testing.T) {
	m := newFake(2, program)
	c := connect(t, m)
	c.want(supportBoth, supportedReply)
	c.want("Z0,400002,1", "OK")
	c.wantStop("vCont;c", "T05thread:1;swbreak:;", pc2)
	if m.cpus[1].regs.RIP != pc2 {
		t.Error("the other is not there")
	}
	c.wantStop("vCont;c", "T05thread:2;swbreak:;", pc2)
	if m.cpus[0].regs.RAX != 1 || m.cpus[1].regs.RAX != 0 {
		t.Errorf("RAX %d and %d", m.cpus[0].regs.RAX, m.cpus[1].regs.RAX)
	}
	c.want("z0,400002,1", "OK")
	c.want("Z0,400009,1", "OK")
	c.wantStop("vCont;c", "T05thread:1;swbreak:;", pc9)
}

func TestWatchpoints(t *testing.T) {
	m := newFake(1, program)
	c := connect(t, m)
	c.want(supportBoth, supportedReply)
	c.want("Z2,4007fd,9", "OK") // bytes 7fd, 7fe and 800 to 807 at most: 1, 2, 4, 2
	c.wantStop("vCont;c", "T05thread:1;watch:400800;", pc7)
	c.want("z2,4007fd,9", "OK")
	c.want("Z4,400800,1", "OK")
	c.wantStop("vCont;c", "T05thread:1;awatch:400800;", pc9)
	c.wantStop("vCont;c", "T05thread:1;awatch:400800;", pc7)
	c.want("z4,400800,1", "OK")
	c.want("Z1,400002,1", "OK")
	c.wantStop("vCont;c", "T05thread:1;hwbreak:;", pc2)
	c.wantStop("vCont;c", "T05thread:1;hwbreak:;", pc2)
	if m.cpus[0].regs.RAX != 3 {
		t.Errorf("RAX %d", m.cpus[0].regs.RAX)
	}
	c.wantStop("vCont;s", "T05thread:1;", pc5)
	c.want("Z2,400800,1", "OK")
	c.wantStop("vCont;s", "T05thread:1;watch:400800;", pc7)
}

// TestWatchOfBoth has both processors write to watched memory at once: neither access
// happens again, so the second is told of later, and only if it still matters.
func TestWatchOfBoth(t *testing.T) {
	for _, removed := range []bool{false, true} {
		t.Run(fmt.Sprint(removed), func(t *testing.T) {
			m := newFake(2, program)
			c := connect(t, m)
			c.want("Z2,400800,1", "OK")
			c.wantStop("vCont;c", "T05thread:1;watch:400800;", pc7)
			c.wantStop("vCont;s:1", "T05thread:1;", pc9)
			if removed {
				c.want("z2,400800,1", "OK")
				c.wantStop("vCont;s:2", "T05thread:2;", pc9)
				return
			}
			c.wantStop("vCont;c", "T05thread:2;watch:400800;", pc7)
		})
	}
}

// TestReasonsUnknown has a peer that does not know why a machine may stop.
func TestReasonsUnknown(t *testing.T) {
	c := connect(t, newFake(1, program))
	c.want("Z0,400001,1", "OK")
	c.want("Z1,400002,1", "OK")
	c.wantStop("vCont;c", "T05thread:1;", pc1)
	c.wantStop("vCont;c", "T05thread:1;", pc2)
}

// TestGuestsOwnExceptions has breakpoint and debug exceptions that are none of ours.
func TestGuestsOwnExceptions(t *testing.T) {
	m := newFake(1, "\x90\xcc\xf1\x90\x90")
	c := connect(t, m)
	c.want("Z0,400004,1", "OK")
	c.wantStop("vCont;c", "T05thread:1;", codeAt+4)
	if cpu := m.cpus[0]; cpu.int3s != 1 || cpu.debugs != 1 {
		t.Errorf("%d and %d exceptions", cpu.int3s, cpu.debugs)
	}
	// Its own INT3 below a breakpoint of ours.
	c.want("Z0,400001,1", "OK")
	c.wantStop("c400000", "T05thread:1;", codeAt+1)
	c.wantStop("vCont;c", "T05thread:1;", codeAt+4)
	if cpu := m.cpus[0]; cpu.int3s != 2 {
		t.Errorf("%d exceptions", cpu.int3s)
	}
	// Without software breakpoints it is not even an exit.
	c.want("z0,400001,1", "OK")
	c.want("z0,400004,1", "OK")
	c.want("Z1,400004,1", "OK")
	c.wantStop("c400000", "T05thread:1;", codeAt+4)
	if cpu := m.cpus[0]; cpu.int3s != 3 {
		t.Errorf("%d exceptions", cpu.int3s)
	}
}

func TestExit(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(*fake)
		want string
	}{
		"0":            {nil, "W00"},
		"256 + 5":      {func(m *fake) { m.cpus[0].regs.RAX = 256 + 5 }, "W05"},
		"-1":           {func(m *fake) { m.cpus[0].regs.RAX = 0xffffffff }, "Wff"},
		"triple fault": {func(m *fake) { m.mem[codeGPA] = 0x0f }, "X0b"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newFake(2, "\xe7\x10")
			if tt.end != nil {
				tt.end(m)
			}
			c := connect(t, m)
			c.want("vCont;c:1", tt.want)
			c.wantOver()
			if o := m.Outcome(); o.Reason == vmm.Exited && o.Code != int32(m.cpus[0].regs.RAX) {
				t.Errorf("%+v", o)
			}
		})
	}
	for reason, want := range map[vmm.Reason]string{vmm.Shutdown: "W00", vmm.Reset: "X06", vmm.Failed: "X06", vmm.Stopped: "X09"} {
		m := newFake(1, program)
		c := connect(t, m)
		c.send("vCont;c")
		m.End(vmm.Outcome{Reason: reason})
		if got := c.receive(); got != want {
			t.Errorf("%v: %q, want %q", reason, got, want)
		}
		c.wantOver()
	}
}

// TestEndedWhilePaused has a machine that somebody else ends. The protocol has no word
// for that, so the connection is closed.
func TestEndedWhilePaused(t *testing.T) {
	m := newFake(1, program)
	c := connect(t, m)
	c.want("qC", "QC1")
	m.End(vmm.Outcome{Reason: vmm.Exited})
	c.conn.Close()
	if err := <-c.served; err != nil {
		t.Error(err)
	}
	c = connect(t, m) // and another finds nothing
	c.wantEnd(nil)
}

func TestKill(t *testing.T) {
	for _, tt := range []struct {
		running bool
		packet  string
		reply   string
	}{
		{false, "k", ""}, {false, "vKill;1", "OK"}, {true, "k", ""}, {true, "vKill;a410", "OK"},
	} {
		m := newFake(2, program)
		c := connect(t, m)
		if tt.running {
			c.send("vCont;c")
		}
		c.send(tt.packet)
		if tt.reply != "" {
			if got := c.receive(); got != tt.reply {
				t.Errorf("%q: %q", tt.packet, got)
			}
		}
		c.wantEnd(nil)
		select {
		case <-m.Ended():
			if o := m.Outcome(); o.Reason != vmm.Stopped || !errors.Is(o.Err, ErrKilled) {
				t.Errorf("%+v", o)
			}
		default:
			t.Errorf("%q: the machine goes on", tt.packet)
		}
	}
}

func TestContext(t *testing.T) {
	cause := errors.New("enough")
	for _, running := range []bool{false, true} {
		ctx, cancel := context.WithCancelCause(t.Context())
		m := newFake(1, program)
		c := connectContext(ctx, t, m)
		c.want("Z0,400100,1", "OK")
		if running {
			c.send("vCont;c")
		}
		cancel(cause)
		if err := <-c.served; !errors.Is(err, cause) {
			t.Error(err)
		}
		m.Pause()
		if m.mem[codeGPA+0x100] != 0 {
			t.Error("the breakpoint is still there")
		}
	}
}

func TestManyBreakpoints(t *testing.T) {
	m := newFake(1, program)
	c := connect(t, m)
	c.want("QStartNoAckMode", "OK")
	c.noAck = true
	for i := range maxSoft {
		c.want(fmt.Sprintf("Z0,%x,1", codeAt+i), "OK")
	}
	c.want("Z0,401000,1", "E1c")
	c.want("m400000,4", "909048ff")
	c.want("m400ffe,4", "00000000")
	c.want("D", "OK")
	c.wantEnd(nil)
	m.Pause()
	if strings.Contains(string(m.mem[codeGPA+0x10:codeGPA+0x1000]), "\xcc") {
		t.Error("some stay")
	}
}

var _ Target = (*fake)(nil)
var _ CPU = (*kvm.VCPU)(nil)
