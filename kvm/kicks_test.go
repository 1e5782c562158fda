package kvm_test

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/kvm"
)

// kickable runs a guest that says nothing until it is kicked, and returns how it
// ended.
func kickable(c *kvm.VCPU) (<-chan struct{}, *atomic.Pointer[string]) {
	result := &atomic.Pointer[string]{}
	done := onThread(c, func() {
		s := ""
		for stop := false; !stop; {
			errno := c.Run()
			switch {
			case errno == syscall.EINTR && c.ImmediateExit():
				c.SetImmediateExit(false)
				stop = true
			case errno == syscall.EINTR || errno == syscall.EAGAIN:
				// Some other signal, or INIT.
			default:
				s, stop = fmt.Sprintf("%v, %s", errno, particulars(c)), true
			}
		}
		result.Store(&s)
	})
	return done, result
}

// soon fails unless something comes from done, or it is closed, before long.
func soon(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("the processor does not end")
	}
}

func testKick(t *testing.T, sys *kvm.System) {
	_, c := startLong(t, sys, "spin")
	for range 20 {
		done, result := kickable(c)
		c.Kick()
		soon(t, done)
		if s := *result.Load(); s != "" {
			t.Fatal(s)
		}
	}
	if r := regs(t, c); r.RIP != entry {
		t.Errorf("RIP %#x", r.RIP)
	}
}

func testKickBeforeRun(t *testing.T, sys *kvm.System) {
	_, c := startLong(t, sys, "spin")
	c.Kick()
	for range 3 {
		if errno := c.Run(); errno != syscall.EINTR {
			t.Fatal(errno)
		}
	}
	if r := regs(t, c); r.RIP != entry {
		t.Errorf("RIP %#x", r.RIP)
	}
}

// testKickThroughMask kicks a thread on which the signal was blocked, as it may be
// in a process whose parent had blocked it.
func testKickThroughMask(t *testing.T, sys *kvm.System) {
	_, c := startLong(t, sys, "spin")
	done := make(chan struct{})
	bound := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		var urgent unix.Sigset_t
		urgent.Val[0] = 1 << (unix.SIGURG - 1)
		if err := unix.PthreadSigmask(unix.SIG_BLOCK, &urgent, nil); err != nil {
			t.Error(err)
		}
		c.Bind()
		defer c.Unbind()
		close(bound)
		for !c.ImmediateExit() {
			if errno := c.Run(); errno != syscall.EINTR {
				t.Error(errno)
			}
		}
	}()
	<-bound
	time.Sleep(20 * time.Millisecond) // most likely the guest runs then; it may not yet
	c.Kick()
	soon(t, done)
}

// testKickStorm kicks a processor that is mostly outside KVM_RUN, so that a kick
// that is lost would leave the guest spinning for ever.
func testKickStorm(t *testing.T, sys *kvm.System) {
	_, c := startLong(t, sys, "spin")
	const kicks = 500
	taken := make(chan struct{})
	done := onThread(c, func() {
		for range kicks {
			for !c.ImmediateExit() {
				if errno := c.Run(); errno != syscall.EINTR {
					t.Error(errno)
				}
			}
			c.SetImmediateExit(false)
			taken <- struct{}{}
		}
	})
	for range kicks {
		c.Kick()
		soon(t, taken)
	}
	soon(t, done)
}

// testKickHalted kicks a processor that waits for an interrupt in the kernel, and
// one that waits for INIT.
func testKickHalted(t *testing.T, sys *kvm.System) {
	m := newVM(t, sys, "handlers")
	check(t, m.vm.CreateIRQChip())
	m.addVCPU(t)
	m.addVCPU(t)
	for i, want := range []kvm.MPState{kvm.MP_STATE_RUNNABLE, kvm.MP_STATE_UNINITIALIZED} {
		c := m.vcpus[i]
		if state, err := c.GetMPState(); state != want || err != nil {
			t.Errorf("processor %d: state %d, %v", i, state, err)
		}
		done, result := kickable(c)
		time.Sleep(20 * time.Millisecond) // most likely it waits then; it may be kicked before
		c.Kick()
		soon(t, done)
		if s := *result.Load(); s != "" {
			t.Error(s)
		}
	}
}

func testKickClosed(t *testing.T, sys *kvm.System) {
	_, c := startLong(t, sys, "spin")
	check(t, c.Close())
	c.Kick()
	check(t, c.Close())
	wantErrno(t, c.SetRegs(&kvm.Regs{}), syscall.EBADF)
}

func testImmediateExitFinishesIO(t *testing.T, sys *kvm.System) {
	_, c := start(t, sys, "ports16")
	nextOut(t, c, 0x10, "\x55")
	nextOut(t, c, 0x3f8, "\x34\x12")
	nextOut(t, c, 0x3f8, "\xef\xbe\xad\xde")
	nextIn(t, c, 0x3f8, "\x7a")
	before := regs(t, c)
	c.SetImmediateExit(true)
	if errno := c.Run(); errno != syscall.EINTR {
		t.Fatal(errno)
	}
	after := regs(t, c)
	if after.RAX&0xff != 0x7a || after.RIP != before.RIP && after.RIP != before.RIP+1 {
		t.Errorf("RAX %#x, RIP %#x, before %#x", after.RAX, after.RIP, before.RIP)
	}
	c.SetImmediateExit(false)
	nextOut(t, c, 0x10, "\x7a")
}

// testTwoProcessors runs two at once, each for itself.
func testTwoProcessors(t *testing.T, sys *kvm.System) {
	m := newVM(t, sys, "count")
	const exits = 2000
	var done []<-chan struct{}
	for i := range 2 {
		c := m.addVCPU(t)
		m.longMode(t, c)
		base := uint64(i+1) << 24
		check(t, c.SetRegs(&kvm.Regs{RIP: entry, RAX: base, RFLAGS: 2}))
		done = append(done, onThread(c, func() {
			for n := range uint64(exits) {
				var want [4]byte
				for b := range want {
					want[b] = byte((base + n) >> (8 * b))
				}
				if errno := runOn(c); errno != 0 || string(c.IOData()) != string(want[:]) {
					t.Errorf("processor %d, exit %d: %v, %s", i, n, errno, particulars(c))
					return
				}
			}
		}))
	}
	for _, d := range done {
		soon(t, d)
	}
}

// runOn is Run without the errors that are none.
func runOn(c *kvm.VCPU) syscall.Errno {
	for {
		errno := c.Run()
		if errno != syscall.EINTR && errno != syscall.EAGAIN {
			return errno
		}
		c.SetImmediateExit(false)
	}
}

// testInitAndSIPI lets one processor start the other by its local APIC.
func testInitAndSIPI(t *testing.T, sys *kvm.System) {
	m := newVM(t, sys, "starter")
	copy(m.mem[0x8000:], code(t, "started"))
	check(t, m.vm.CreateIRQChip())
	m.longMode(t, m.addVCPU(t))
	second := m.addVCPU(t)
	var woken atomic.Int32
	done := onThread(second, func() {
		for {
			switch errno := second.Run(); {
			case errno == syscall.EAGAIN:
				woken.Add(1)
			case errno == syscall.EINTR:
			default:
				if errno != 0 || second.ExitReason() != kvm.EXIT_IO || second.IO().Port != 0x11 || string(second.IOData()) != "\xaa" {
					t.Errorf("%v, %s", errno, particulars(second))
				}
				return
			}
		}
	})
	next(t, m.vcpus[0], kvm.EXIT_IO)
	if io := m.vcpus[0].IO(); io.Port != 0x10 {
		t.Errorf("%+v", io)
	}
	soon(t, done)
	if woken.Load() == 0 {
		t.Error("INIT and SIPI were not seen as EAGAIN")
	}
	if state, err := second.GetMPState(); state != kvm.MP_STATE_RUNNABLE || err != nil {
		t.Errorf("state %d, %v", state, err)
	}
}
