package vmm

import (
	"sync/atomic"
	"time"

	"github.com/isthmus-fs/isthmus/kvm"
)

// Kinds of exits that every machine has. Those of Config.Kinds follow.
const (
	KindPortIn = iota
	KindPortOut
	KindMMIORead
	KindMMIOWrite
	KindHalt
	KindDebug
	KindShutdown
	KindSignal // a kick of ours, or the Go runtime's
	KindOther
	ownKinds
)

var ownKindNames = [ownKinds]string{
	KindPortIn:    "PortIn",
	KindPortOut:   "PortOut",
	KindMMIORead:  "MMIORead",
	KindMMIOWrite: "MMIOWrite",
	KindHalt:      "Halt",
	KindDebug:     "Debug",
	KindShutdown:  "Shutdown",
	KindSignal:    "Signal",
	KindOther:     "Other",
}

// counter counts one kind of exit of one processor.
type counter struct {
	count atomic.Uint64
	time  atomic.Int64
}

// CPUStats are what one processor has done.
type CPUStats struct {
	// Guest is the time that it spent in KVM_RUN, which is the guest's and that of
	// exits which the kernel serves; Host is that spent on serving exits. Both are 0
	// unless Config.Timed.
	Guest, Host time.Duration
	Exits       []ExitStats // of every kind, in the order of Stats.Kinds
}

// ExitStats are about one kind of exit.
type ExitStats struct {
	Count uint64
	Time  time.Duration // to serve them; 0 unless Config.Timed
}

// Stats are what a machine has done so far.
type Stats struct {
	Kinds []string
	CPUs  []CPUStats
}

// Stats returns the counts at this moment.
func (m *Machine) Stats() Stats {
	s := Stats{Kinds: m.kinds, CPUs: make([]CPUStats, len(m.cpus))}
	for i, c := range m.cpus {
		cs := CPUStats{Guest: time.Duration(c.guestTime.Load()), Exits: make([]ExitStats, len(c.counters))}
		for k := range c.counters {
			e := ExitStats{Count: c.counters[k].count.Load(), Time: time.Duration(c.counters[k].time.Load())}
			cs.Exits[k], cs.Host = e, cs.Host+e.Time
		}
		s.CPUs[i] = cs
	}
	return s
}

// kindOf is the kind of an exit that no Hook has claimed.
func kindOf(v *kvm.VCPU) int {
	switch v.ExitReason() {
	case kvm.EXIT_IO:
		if v.IO().Direction == kvm.EXIT_IO_IN {
			return KindPortIn
		}
		return KindPortOut
	case kvm.EXIT_MMIO:
		if v.MMIO().IsWrite() {
			return KindMMIOWrite
		}
		return KindMMIORead
	case kvm.EXIT_HLT:
		return KindHalt
	case kvm.EXIT_DEBUG:
		return KindDebug
	case kvm.EXIT_SHUTDOWN:
		return KindShutdown
	case kvm.EXIT_INTR:
		return KindSignal
	}
	return KindOther
}
