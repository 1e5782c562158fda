package gdb

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"syscall"

	"github.com/isthmus-fs/isthmus/kvm"
	"github.com/isthmus-fs/isthmus/vmm"
)

// action is what a processor is to do when the machine goes on.
type action struct {
	kind     actionKind
	from, to uint64 // of actRange: it steps until it is outside
}

type actionKind uint8

const (
	actHold actionKind = iota
	actContinue
	actStep
	actRange
	actQuiet // one step that nobody is told of
)

func (a action) steps() bool { return a.kind >= actStep }

// Signals as the protocol numbers them.
const (
	sigInterrupt = 2
	sigTrap      = 5
	sigAbort     = 6
	sigKill      = 9
	sigSegment   = 11
)

// found is what a stop means.
type found struct {
	report     bool
	reason     string // why, in the stop's reply
	breakpoint bool   // at the processor's next instruction
	data       bool   // a watchpoint, whose access is over
}

// resume lets the machine go on until there is something to report, and returns the
// report. The machine is paused again, or has ended.
func (s *session) resume(acts []action) (string, error) {
	report, err := s.untilReport(acts)
	if errors.Is(err, vmm.ErrEnded) {
		return s.exit(nil)
	}
	return report, err
}

func (s *session) untilReport(acts []action) (string, error) {
	if report, err := s.oldStops(acts); report != "" || err != nil {
		return report, err
	}
	for cpu := range acts {
		if acts[cpu].kind == actHold {
			continue
		}
		if report, err := s.stepOver(acts, cpu); report != "" || err != nil {
			return report, err
		}
	}
	for {
		report, err := s.once(acts, nil)
		if report != "" || err != nil {
			return report, err
		}
	}
}

// oldStops reports a watchpoint that was met when another processor's stop was reported.
func (s *session) oldStops(acts []action) (string, error) {
	for i, stop := range s.pending {
		if acts[stop.CPU].kind == actHold {
			continue
		}
		s.pending = slices.Delete(s.pending, i, i+1)
		if slot := s.hard.hit(stop.Debug.DR6, stop.Debug.PC); slot != nil && slot.of.kind != hardExecute {
			return s.report(stop.CPU, found{reason: watchReason(slot)})
		}
		return s.oldStops(acts)
	}
	return "", nil
}

// stepOver makes one step with a processor that was reported at a breakpoint and still is
// there, without that breakpoint and with the others held.
func (s *session) stepOver(acts []action, cpu int) (string, error) {
	told := s.told[cpu]
	s.told[cpu] = nil
	if told == nil {
		return "", nil
	}
	r, err := s.getRegs(cpu)
	if err != nil || r.RIP != *told {
		return "", err
	}
	gpa, p, err := s.patchAt(cpu, *told)
	if err != nil {
		return "", err
	}
	if p == nil && !s.hard.executes(*told) {
		return "", nil
	}
	alone := make([]action, len(acts))
	alone[cpu] = acts[cpu]
	if !alone[cpu].steps() {
		alone[cpu].kind = actQuiet
	}
	if p != nil {
		p.lift(gpa, s.t)
		defer p.putBack(gpa, s.t)
	}
	s.stepped = false
	for {
		report, err := s.once(alone, told)
		if report != "" || err != nil || s.stepped {
			return report, err
		}
	}
}

// once lets the machine go on until something happens, and returns a report if that is
// for the peer to know. but, if not nil, is an address whose hardware breakpoint is
// to have no effect.
func (s *session) once(acts []action, but *uint64) (string, error) {
	for cpu, act := range acts {
		if act.kind != actHold {
			if err := s.arm(cpu, act.steps(), but); err != nil {
				return "", err
			}
		}
	}
	s.t.Resume(func(cpu int) bool { return acts[cpu].kind == actHold })
	stops, interrupted, lost := s.wait()
	if !s.t.Pause() {
		return s.exit(lost)
	}
	stops = append(stops, s.moreStops()...)
	if lost != nil {
		for _, stop := range stops {
			if _, err := s.judge(stop, acts[stop.CPU]); err != nil {
				return "", err
			}
		}
		return "", lost
	}
	return s.choose(acts, stops, interrupted)
}

// moreStops are those that a paused machine has reported by now.
func (s *session) moreStops() (stops []vmm.Stop) {
	for {
		select {
		case stop := <-s.t.Stops():
			stops = append(stops, stop)
		default:
			return stops
		}
	}
}

// wait waits until the running machine stops or has ended, or the peer wants it to stop. An
// error says that the session is over.
func (s *session) wait() (stops []vmm.Stop, interrupted bool, err error) {
	for {
		select {
		case stop := <-s.t.Stops():
			return []vmm.Stop{stop}, false, nil
		case <-s.t.Ended():
			return nil, false, nil
		case <-s.ctx.Done():
			return nil, false, s.ctx.Err()
		case e := <-s.events:
			if interrupted, err := s.whileRunning(e); interrupted || err != nil {
				return nil, interrupted, err
			}
		}
	}
}

// whileRunning takes what the peer sends while the machine runs: it may interrupt, kill or
// detach. Other packets have no place there, and get no answer.
func (s *session) whileRunning(e event) (interrupted bool, err error) {
	switch e.kind {
	case eventInterrupt:
		return true, nil
	case eventNack:
		return false, s.link.sendAgain()
	case eventDamaged:
		return false, s.link.acknowledge(false)
	case eventLost:
		return false, lostError{e.err}
	}
	if err := s.link.acknowledge(true); err != nil {
		return false, err
	}
	switch {
	case strings.HasPrefix(e.data, "D"):
		return false, cmp.Or(s.link.send("OK"), errDetached)
	case strings.HasPrefix(e.data, "k"):
		return false, s.kill()
	case strings.HasPrefix(e.data, "vKill;"):
		return false, cmp.Or(s.link.send("OK"), s.kill())
	}
	return false, nil
}

// choose reports one of the stops that have happened at once. The others happen again
// when their processors go on, but for accesses to watched data, which are kept.
func (s *session) choose(acts []action, stops []vmm.Stop, interrupted bool) (string, error) {
	reported := -1
	var first found
	for _, stop := range stops {
		f, err := s.judge(stop, acts[stop.CPU])
		switch {
		case err != nil:
			return "", err
		case !f.report:
		case reported < 0:
			reported, first = stop.CPU, f
		case f.data:
			s.pending = append(s.pending, stop)
		}
	}
	if reported >= 0 {
		return s.report(reported, first)
	}
	if !interrupted {
		return "", nil
	}
	cpu := s.current
	if acts[cpu].kind == actHold {
		cpu = slices.IndexFunc(acts, func(a action) bool { return a.kind != actHold })
	}
	return s.reportSignal(cpu, sigInterrupt, "")
}

// Exceptions of a kvm.DebugExit.
const (
	exceptionDB = 1
	exceptionBP = 3
)

// judge says what a stop means. One that is the guest's own business is passed on
// when its processor goes on.
func (s *session) judge(stop vmm.Stop, act action) (found, error) {
	d := stop.Debug
	if d.Exception == exceptionBP {
		_, p, err := s.patchAt(stop.CPU, d.PC)
		if err != nil {
			return found{}, err
		}
		if p != nil && !p.lifted {
			return found{report: true, reason: s.named("swbreak:;", s.swbreak), breakpoint: true}, nil
		}
		s.inject[stop.CPU] = kvm.GUESTDBG_INJECT_BP
		return found{}, nil
	}
	if d.Exception != exceptionDB {
		return found{report: true}, nil
	}
	if slot := s.hard.hit(d.DR6, d.PC); slot != nil {
		if slot.of.kind == hardExecute {
			return found{report: true, reason: s.named("hwbreak:;", s.hwbreak), breakpoint: true}, nil
		}
		return found{report: true, reason: watchReason(slot), data: true}, nil
	}
	if d.DR6&dr6Step == 0 || !act.steps() {
		s.inject[stop.CPU] = kvm.GUESTDBG_INJECT_DB
		return found{}, nil
	}
	s.stepped = true
	inside := act.kind == actRange && act.from <= d.PC && d.PC < act.to
	return found{report: act.kind != actQuiet && !inside}, nil
}

// named is a stop reason that only a peer gets that knows it.
func (s *session) named(reason string, known bool) string {
	if !known {
		return ""
	}
	return reason
}

func watchReason(w *slot) string {
	name := "watch:"
	if w.of.kind == hardAccess {
		name = "awatch:"
	}
	return name + format(w.addr) + ";"
}

// report is the reply for a stop.
func (s *session) report(cpu int, f found) (string, error) {
	if f.breakpoint {
		r, err := s.getRegs(cpu)
		if err != nil {
			return "", err
		}
		s.told[cpu] = &r.RIP
	}
	return s.reportSignal(cpu, sigTrap, f.reason)
}

func (s *session) reportSignal(cpu int, signal byte, reason string) (string, error) {
	s.current, s.general, s.control = cpu, cpu, anyThread
	s.signal, s.reason = signal, reason
	return s.stopReply()
}

// stopReply tells of the last stop, and of the registers that every debugger wants first.
func (s *session) stopReply() (string, error) {
	reply := "T" + formatBytes([]byte{s.signal}) + "thread:" + formatThread(s.current) + ";" + s.reason
	for _, n := range []int{numRBP, numRSP, numRIP} {
		text, err := s.readRegisters(s.current, registers[n:n+1])
		if err != nil {
			return "", err
		}
		reply += formatBytes([]byte{byte(n)}) + ":" + text + ";"
	}
	return reply, nil
}

// signals are what a machine is said to have died of that did not exit by itself.
var signals = map[vmm.Reason]byte{
	vmm.TripleFault: sigSegment,
	vmm.Reset:       sigAbort,
	vmm.Failed:      sigAbort,
	vmm.Stopped:     sigKill,
}

// exit is the reply for a machine that has ended, after which the session is over.
func (s *session) exit(lost error) (string, error) {
	if lost != nil {
		return "", lost
	}
	o := s.t.Outcome()
	if signal, ok := signals[o.Reason]; ok {
		return "X" + formatBytes([]byte{signal}), errOver
	}
	return "W" + formatBytes([]byte{byte(o.Code)}), errOver
}

// arm tells KVM what is to stop a processor when it goes on.
func (s *session) arm(cpu int, step bool, but *uint64) error {
	var d kvm.GuestDebug
	if len(s.soft.patches) > 0 {
		d.Control |= kvm.GUESTDBG_ENABLE | kvm.GUESTDBG_USE_SW_BP
	}
	if s.hard.any() {
		d.Control |= kvm.GUESTDBG_ENABLE | kvm.GUESTDBG_USE_HW_BP
		d.DebugReg = s.hard.registers(but)
	}
	if step {
		// Without interrupts a step ends at the next instruction, and not in a handler.
		d.Control |= kvm.GUESTDBG_ENABLE | kvm.GUESTDBG_SINGLESTEP | kvm.GUESTDBG_BLOCKIRQ
	}
	if s.inject[cpu] != 0 {
		d.Control |= kvm.GUESTDBG_ENABLE | s.inject[cpu]
		s.inject[cpu] = 0
	}
	return s.t.Do(cpu, func(c CPU) error {
		err := c.SetGuestDebug(&d)
		if step && errors.Is(err, syscall.EINVAL) { // before Linux 5.12
			d.Control &^= kvm.GUESTDBG_BLOCKIRQ
			err = c.SetGuestDebug(&d)
		}
		return err
	})
}

// release lifts all breakpoints, and lets the guest go on without a debugger.
func (s *session) release() error {
	if !s.t.Pause() {
		return nil
	}
	for _, stop := range s.moreStops() {
		if _, err := s.judge(stop, action{}); err != nil {
			return ended(err)
		}
	}
	s.removeAllSoft()
	s.hard = debugRegs{}
	for cpu := range s.t.CPUs() {
		if err := s.arm(cpu, false, nil); err != nil {
			return ended(err)
		}
	}
	s.t.Resume(nil)
	return nil
}

// ended is err, unless that only says that there is no machine any more.
func ended(err error) error {
	if errors.Is(err, vmm.ErrEnded) {
		return nil
	}
	return err
}
