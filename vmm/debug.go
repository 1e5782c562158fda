package vmm

import (
	"errors"

	"github.com/isthmus-fs/isthmus/kvm"
)

// ErrEnded is what a debugger gets of a machine that has ended.
var ErrEnded = errors.New("the machine has ended")

// Stop is a processor that met a breakpoint or has made the step it was asked for.
type Stop struct {
	CPU   int
	Debug kvm.DebugExit
}

// Stops tells of processors that have stopped by themselves, with Config.Debug. Each has
// ordered the others to pause, but not waited for that: see Pause. Several may stop at
// once. Who resumes a machine has taken them all.
func (m *Machine) Stops() <-chan Stop { return m.stops }

// Pause has all processors stop between two instructions, and returns when they have.
// It waits for hypercalls that are being served. false says that the machine has ended.
func (m *Machine) Pause() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.orders.Or(orderPause)
	m.kick()
	for {
		if m.outcome != nil {
			return false
		}
		running := false
		for _, c := range m.cpus {
			running = running || !c.parked && !c.done
		}
		if !running {
			return true
		}
		m.changed.Wait()
	}
}

// Resume lets paused processors go on, but for those that hold, if not nil, says to hold.
func (m *Machine) Resume(hold func(cpu int) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.orders.And(^uint32(orderPause))
	for i, c := range m.cpus {
		if c.parked && (hold == nil || !hold(i)) {
			c.parked = false
			c.resume <- struct{}{}
		}
	}
}

// Do calls f on the thread of a paused processor and returns its error, or ErrEnded.
func (m *Machine) Do(cpu int, f func(*kvm.VCPU) error) error {
	result := make(chan error, 1)
	c := m.cpus[cpu]
	select {
	case c.work <- func() { result <- f(c.vcpu) }:
		return <-result
	case <-m.ended:
		return ErrEnded
	}
}

// stop reports a debug exit. The processor parks when it looks at its orders.
func (c *CPU) stop() {
	m := c.m
	m.mu.Lock()
	m.orders.Or(orderPause)
	m.kick()
	m.mu.Unlock()
	select {
	case m.stops <- Stop{c.index, c.vcpu.Debug()}:
	case <-m.ended:
	}
}

// park waits until a debugger lets the processor go on, or the machine ends.
func (c *CPU) park() {
	m := c.m
	// An access that was served is not finished before the next Run, and the registers
	// are those in the middle of it. To finish it may take another exit: a second piece of
	// it, or the debug exception of a step.
	c.vcpu.SetImmediateExit(true)
	for c.vcpu.Run() == 0 && m.orders.Load()&orderEnd == 0 {
		c.serve(0)
		c.vcpu.SetImmediateExit(true)
	}
	c.vcpu.SetImmediateExit(false)
	m.mu.Lock()
	c.parked = true
	m.changed.Broadcast()
	m.mu.Unlock()
	for {
		select {
		case f := <-c.work:
			f()
		case <-c.resume:
			return
		case <-m.ended:
			return
		}
	}
}
