package gdb

import (
	"strings"
	"syscall"
)

// The packets that let the machine go on. A signal that comes with one means nothing to
// a machine.

// resumeThreads is vCont, a list of actions. For each processor the first that names it
// counts, and those without one are held.
func (s *session) resumeThreads(args string) (string, error) {
	acts := make([]action, s.t.CPUs())
	set := make([]bool, len(acts))
	moves := false
	for one := range strings.SplitSeq(args, ";") {
		act, cpu, err := s.parseAction(one)
		if err != nil {
			return "", err
		}
		for i := range acts {
			if !set[i] && (cpu < 0 || cpu == i) {
				acts[i], set[i], moves = act, true, true
			}
		}
	}
	if !moves {
		return "", syscall.EINVAL
	}
	return s.resume(acts)
}

// parseAction reads one action of vCont, and for which processor it is.
func (s *session) parseAction(text string) (act action, cpu int, err error) {
	text, thread, found := strings.Cut(text, ":")
	cpu = allThreads
	if found {
		if cpu, err = s.parseThread(thread); err != nil {
			return act, 0, err
		}
	}
	if text == "" {
		return act, 0, syscall.EINVAL
	}
	rest := text[1:]
	switch text[0] {
	case 'c', 'C':
		act.kind = actContinue
	case 's', 'S':
		act.kind = actStep
	case 'r':
		act.kind = actRange
		act.from, act.to, err = parsePair(rest)
		return act, cpu, err
	default:
		return act, 0, syscall.EINVAL
	}
	if withSignal := text[0] < 'a'; withSignal {
		_, err = parse(rest)
	} else if rest != "" {
		err = syscall.EINVAL
	}
	return act, cpu, err
}

// continueOld and the next three are from before vCont: the processor that Hc has chosen,
// or all of them, go on at an address, or where they are.
func (s *session) continueOld(args string) (string, error) {
	return s.resumeOld(args, actContinue)
}

func (s *session) stepOld(args string) (string, error) { return s.resumeOld(args, actStep) }

func (s *session) continueSignal(args string) (string, error) {
	_, addr, _ := strings.Cut(args, ";")
	return s.continueOld(addr)
}

func (s *session) stepSignal(args string) (string, error) {
	_, addr, _ := strings.Cut(args, ";")
	return s.stepOld(addr)
}

func (s *session) resumeOld(addr string, kind actionKind) (string, error) {
	acts := make([]action, s.t.CPUs())
	chosen := s.control
	if chosen < 0 {
		chosen = s.current
		for i := range acts {
			acts[i].kind = actContinue
		}
	}
	acts[chosen].kind = kind
	if addr != "" {
		pc, err := parse(addr)
		if err != nil {
			return "", err
		}
		if err := s.setPC(chosen, pc); err != nil {
			return "", err
		}
	}
	return s.resume(acts)
}
