package gdb

import (
	"slices"

	"github.com/isthmus-fs/isthmus/kvm"
	"github.com/isthmus-fs/isthmus/vmm"
)

// tracer is a machine on a KVM whose processors do not stop at the INT3s of a guest. It
// has them make single steps in turns instead, and looks at each next instruction. It
// knows nothing of INT3s that are the guest's own.
type tracer struct {
	Target
	stops       chan vmm.Stop
	looks       []bool // whether a processor is to stop at an INT3
	hidden      []bool // whether its steps are the tracer's
	turn        int    // the processor that made the last step
	order, idle chan struct{}
}

func newTracer(t Target) *tracer {
	return &tracer{
		Target: t,
		stops:  make(chan vmm.Stop, t.CPUs()),
		looks:  make([]bool, t.CPUs()),
		hidden: make([]bool, t.CPUs()),
	}
}

func (tr *tracer) Stops() <-chan vmm.Stop { return tr.stops }

func (tr *tracer) Do(cpu int, f func(CPU) error) error {
	return tr.Target.Do(cpu, func(c CPU) error { return f(tracedCPU{c, tr, cpu}) })
}

type tracedCPU struct {
	CPU
	tr  *tracer
	cpu int
}

func (c tracedCPU) SetGuestDebug(d *kvm.GuestDebug) error {
	own := *d
	c.tr.looks[c.cpu] = d.Control&kvm.GUESTDBG_USE_SW_BP != 0
	c.tr.hidden[c.cpu] = c.tr.looks[c.cpu] && d.Control&kvm.GUESTDBG_SINGLESTEP == 0
	if c.tr.hidden[c.cpu] {
		own.Control |= kvm.GUESTDBG_SINGLESTEP
	}
	return c.CPU.SetGuestDebug(&own)
}

func (tr *tracer) Pause() bool {
	if tr.order != nil {
		close(tr.order)
		<-tr.idle
		tr.order = nil
	}
	return tr.Target.Pause()
}

func (tr *tracer) Resume(hold func(cpu int) bool) {
	if hold == nil { // for good
		tr.Target.Resume(nil)
		return
	}
	tr.order, tr.idle = make(chan struct{}), make(chan struct{})
	go tr.run(hold, tr.order, tr.idle)
}

func (tr *tracer) run(hold func(cpu int) bool, order, idle chan struct{}) {
	defer close(idle)
	for !tr.look(hold) {
		var stops []vmm.Stop
		ordered := false
		for tr.turn = (tr.turn + 1) % tr.CPUs(); hold(tr.turn); {
			tr.turn = (tr.turn + 1) % tr.CPUs()
		}
		tr.Target.Resume(func(cpu int) bool { return cpu != tr.turn })
		select {
		case stop := <-tr.Target.Stops():
			stops = append(stops, stop)
		case <-order:
			ordered = true
		case <-tr.Ended():
			return
		}
		if !tr.Target.Pause() {
			return
		}
		for len(tr.Target.Stops()) > 0 {
			stops = append(stops, <-tr.Target.Stops())
		}
		stops = slices.DeleteFunc(stops, func(s vmm.Stop) bool { return tr.hidden[s.CPU] })
		for _, stop := range stops {
			tr.stops <- stop
		}
		if ordered {
			return
		}
		if len(stops) > 0 {
			break
		}
	}
	<-order
}

// look reports the processors that are at an INT3, and whether there are any.
func (tr *tracer) look(hold func(cpu int) bool) (found bool) {
	for cpu := range tr.looks {
		if hold(cpu) || !tr.looks[cpu] {
			continue
		}
		tr.Target.Do(cpu, func(c CPU) error {
			var r kvm.Regs
			if err := c.GetRegs(&r); err != nil {
				return err
			}
			at, err := c.Translate(r.RIP)
			var code [1]byte
			if err == nil && at.Valid != 0 && tr.ReadMemory(at.PhysicalAddress, code[:]) && code[0] == int3 {
				tr.stops <- vmm.Stop{CPU: cpu, Debug: kvm.DebugExit{Exception: exceptionBP, PC: r.RIP}}
				found = true
			}
			return err
		})
	}
	return found
}
