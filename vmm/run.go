package vmm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/kvm"
)

// Orders to running processors.
const (
	orderPause = 1 << iota
	orderEnd
)

// spareProcs is how many of Go's processors are to be there beside those that the guest's
// keep: for devices, the debugger and the end.
const spareProcs = 3

// Run lets the guest run until the machine ends, and returns how. All threads of the
// machine have ended then. It is called once. It raises GOMAXPROCS to what the guest's
// processors take and some to spare.
func (m *Machine) Run(ctx context.Context) Outcome {
	if n := len(m.cpus) + spareProcs; runtime.GOMAXPROCS(0) < n {
		runtime.GOMAXPROCS(n)
	}
	stop := context.AfterFunc(ctx, func() {
		m.End(Outcome{Reason: Stopped, CPU: -1, Err: context.Cause(ctx)})
	})
	defer stop()
	var all sync.WaitGroup
	for _, c := range m.cpus {
		all.Go(func() {
			// The thread may be pinned and have lost rights, so it is never unlocked,
			// and ends with this goroutine.
			runtime.LockOSThread()
			c.run()
			m.mu.Lock()
			c.done = true
			m.changed.Broadcast()
			m.mu.Unlock()
		})
	}
	all.Wait()
	return m.Outcome()
}

// End ends the machine. Only the first outcome counts. It does not wait.
func (m *Machine) End(o Outcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.outcome != nil {
		return
	}
	m.outcome = &o
	m.orders.Or(orderEnd)
	close(m.ended)
	m.changed.Broadcast()
	m.kick()
}

// Ended is closed when the machine has an outcome; processors may still be on their way.
func (m *Machine) Ended() <-chan struct{} { return m.ended }

// Outcome is how the machine has ended; it is valid when Ended is closed.
func (m *Machine) Outcome() Outcome {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.outcome == nil {
		return Outcome{Reason: Stopped, CPU: -1}
	}
	return *m.outcome
}

// kick has all processors look at their orders.
func (m *Machine) kick() {
	for _, c := range m.cpus {
		c.vcpu.Kick()
	}
}

// run is the life of a processor.
func (c *CPU) run() {
	m := c.m
	c.vcpu.Bind()
	defer c.vcpu.Unbind()
	if err := c.settle(); err != nil {
		m.End(Outcome{Reason: Failed, CPU: c.index, Err: err})
		return
	}
	var last time.Time
	if m.cfg.Timed {
		last = time.Now()
	}
	// A guest that makes one exit after the other keeps one of Go's processors; one that
	// was interrupted without an exit may be about to compute or sleep for long.
	busy := mayBusy
	for {
		if orders := m.orders.Load(); orders != 0 {
			if orders&orderEnd != 0 {
				return
			}
			c.park()
			if m.cfg.Timed {
				last = time.Now()
			}
			continue
		}
		var errno syscall.Errno
		if busy {
			errno = c.vcpu.RunBusy()
		} else {
			errno = c.vcpu.Run()
		}
		busy = errno == 0 && mayBusy
		if !m.cfg.Timed {
			c.serve(errno)
			continue
		}
		// The two ends of an exit are the beginnings of what comes after, so each costs
		// one look at the clock.
		exit := time.Now()
		c.guestTime.Add(int64(exit.Sub(last)))
		kind := c.serve(errno)
		last = time.Now()
		c.counters[kind].time.Add(int64(last.Sub(exit)))
	}
}

// mayBusy says that the Go runtime can interrupt a guest that does not exit.
var mayBusy = !strings.Contains(os.Getenv("GODEBUG"), "asyncpreemptoff=1")

// settle makes the thread what a processor's is to be.
func (c *CPU) settle() error {
	if a := c.m.cfg.Affinity; len(a) != 0 {
		var set unix.CPUSet
		set.Set(a[c.index])
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return fmt.Errorf("pin it to processor %d of the host: %w", a[c.index], err)
		}
	}
	if c.m.cfg.OnThread != nil {
		return c.m.cfg.OnThread()
	}
	return nil
}

// serve does what the guest or KVM wants after a Run, and counts it.
func (c *CPU) serve(errno syscall.Errno) (kind int) {
	switch errno {
	case 0:
		kind = kindOf(c.vcpu)
		c.extra = -1
		if o, end := c.exit(); end {
			c.m.End(o)
		}
		if c.extra >= 0 {
			kind = ownKinds + c.extra
		}
	case syscall.EINTR:
		// The flag first and the orders, at the loop's beginning, second: so that no
		// kick is lost in between.
		c.vcpu.SetImmediateExit(false)
		kind = KindSignal
	case syscall.EAGAIN:
		kind = KindOther
	default:
		kind = KindOther
		c.m.End(Outcome{Reason: Failed, CPU: c.index, Err: c.runError(errno)})
	}
	c.counters[kind].count.Add(1)
	return kind
}

// runError describes a Run that failed.
func (c *CPU) runError(errno syscall.Errno) error {
	if errno == syscall.EFAULT || errno == unix.EHWPOISON {
		if c.vcpu.ExitReason() == kvm.EXIT_MEMORY_FAULT {
			return fmt.Errorf("KVM_RUN: guest memory at %#x: %w", c.vcpu.MemoryFault().GPA, errno)
		}
	}
	return fmt.Errorf("KVM_RUN: %w", errno)
}

// exit serves one exit. end says that the machine cannot go on.
func (c *CPU) exit() (o Outcome, end bool) {
	v := c.vcpu
	failed := func(err error) (Outcome, bool) {
		return Outcome{Reason: Failed, CPU: c.index, Err: err}, true
	}
	switch reason := v.ExitReason(); reason {
	case kvm.EXIT_IO:
		c.port()
	case kvm.EXIT_MMIO:
		c.access()
	case kvm.EXIT_INTR, kvm.EXIT_HLT, kvm.EXIT_IRQ_WINDOW_OPEN:
	case kvm.EXIT_DEBUG:
		if !c.m.cfg.Debug {
			return failed(errors.New("a debug exception that nobody asked for"))
		}
		c.stop()
	case kvm.EXIT_SHUTDOWN:
		return Outcome{Reason: TripleFault, CPU: c.index}, true
	case kvm.EXIT_SYSTEM_EVENT:
		switch event := v.SystemEvent().Type; event {
		case kvm.SYSTEM_EVENT_SHUTDOWN:
			return Outcome{Reason: Shutdown, CPU: c.index}, true
		case kvm.SYSTEM_EVENT_RESET:
			return Outcome{Reason: Reset, CPU: c.index}, true
		default:
			return failed(fmt.Errorf("system event %d", event))
		}
	case kvm.EXIT_INTERNAL_ERROR:
		return failed(c.internalError())
	case kvm.EXIT_FAIL_ENTRY:
		return failed(fmt.Errorf("the processor refuses to enter the guest, reason %#x: are the registers consistent?", v.FailEntry().HardwareEntryFailureReason))
	case kvm.EXIT_UNKNOWN:
		return failed(fmt.Errorf("an exit that KVM does not know, hardware reason %#x", v.HardwareExitReason()))
	default:
		return failed(fmt.Errorf("KVM exit %v, which this machine has no use for", reason))
	}
	return Outcome{}, false
}

// internalError describes where KVM itself gives up.
func (c *CPU) internalError() error {
	e := c.vcpu.InternalError()
	var at string
	if r, err := c.Regs(); err == nil {
		at = fmt.Sprintf(" at RIP %#x", r.RIP)
	}
	if insn, n := e.Instruction(); n > 0 {
		at += fmt.Sprintf(", instruction % x", insn[:n])
	}
	err := fmt.Errorf("KVM gives up%s (internal error %d, data %#x)", at, e.Suberror, e.Data())
	if e.Suberror == kvm.INTERNAL_ERROR_EMULATION && kvm.HostExtension() == "" {
		return fmt.Errorf("%w: this host has a KVM without hardware virtualisation, which runs only guests of plain integer instructions; 'isthmus doctor' says more", err)
	}
	return err
}

// port serves an IN or OUT, or the several of one with REP.
func (c *CPU) port() {
	io, data := c.vcpu.IO(), c.vcpu.IOData()
	size := int(io.Size)
	for ; len(data) >= size && size > 0; data = data[size:] {
		one := data[:size:size]
		if io.Direction == kvm.EXIT_IO_IN {
			c.m.ports.read(uint64(io.Port), one)
			continue
		}
		if c.m.cfg.Hook != nil {
			if kind, ok := c.m.cfg.Hook(c, io.Port, one); ok {
				c.extra = kind
				continue
			}
		}
		if !c.m.ports.write(uint64(io.Port), one) && !c.m.strange.port.Load() && !c.m.strange.port.Swap(true) {
			c.m.log.Info("the guest wrote to a port without a device; more of this is not logged", "port", fmt.Sprintf("%#x", io.Port))
		}
	}
}

// access serves an access to an address without memory.
func (c *CPU) access() {
	a := c.vcpu.MMIO()
	var known bool
	if a.IsWrite() {
		known = c.m.mmio.write(a.PhysAddr, a.Data())
	} else {
		known = c.m.mmio.read(a.PhysAddr, a.Data())
	}
	if !known && !c.m.strange.mmio.Load() && !c.m.strange.mmio.Swap(true) {
		c.m.log.Info("the guest used an address that has neither memory nor a device; more of this is not logged", "address", fmt.Sprintf("%#x", a.PhysAddr))
	}
}
