package fuse

import (
	"syscall"
	"time"
)

// Snapshot is what a [Stats] had counted at some moment, or with
// [Snapshot.Sub] between two moments.
type Snapshot struct {
	// Elapsed is the time since NewStats, or between the two moments.
	Elapsed time.Duration
	// InFlight is the number of requests that were taken and are not
	// finished. Pending and LockWaits of them are served on goroutines of
	// their own: those that wait for a file lock, and others.
	InFlight, Pending, LockWaits int
	// Read and Written are the bytes of file data that READ and WRITE moved
	// to and from the guest.
	Read, Written uint64
	// Ops has the kinds of requests that occurred, by opcode.
	Ops []Op
	// Errors has the errors that occurred, by number.
	Errors []ErrorCount
}

// Op is what was counted of one kind of request.
type Op struct {
	// Opcode is 0 for all requests with opcodes that linux/fuse.h 7.45 does
	// not have, and for those too short to have one.
	Opcode Opcode
	// Errors is the number of requests that failed, whether or not the guest
	// could be told.
	Errors uint64
	// HandedOver is the number of requests that would have blocked the
	// goroutine that served them and went to one of their own.
	HandedOver uint64
	// Latency counts the requests by the time from Serve until the reply was
	// ready. Its Count is the number of requests that are finished.
	Latency Histogram
}

// Name returns the name of the opcode, or "unknown".
func (o *Op) Name() string {
	if o.Opcode == 0 {
		return "unknown"
	}
	return o.Opcode.String()
}

// ErrorCount is how many requests failed with an error.
type ErrorCount struct {
	Errno syscall.Errno // 0 for all beyond those that Linux on x86-64 has
	Count uint64
}

// Sub takes away what older counted, an earlier snapshot of the same Stats, so
// that what happened in between is left. InFlight, Pending and LockWaits stay
// those of the later moment.
func (s *Snapshot) Sub(older *Snapshot) {
	s.Elapsed = max(s.Elapsed-older.Elapsed, 0)
	s.Read, s.Written = less(s.Read, older.Read), less(s.Written, older.Written)

	rest := older.Ops
	ops := s.Ops[:0]
	for i := range s.Ops {
		o := &s.Ops[i]
		for len(rest) > 0 && rest[0].Opcode < o.Opcode {
			rest = rest[1:]
		}
		if len(rest) > 0 && rest[0].Opcode == o.Opcode {
			o.Errors = less(o.Errors, rest[0].Errors)
			o.HandedOver = less(o.HandedOver, rest[0].HandedOver)
			o.Latency.Sub(&rest[0].Latency)
		}
		if o.occurred() {
			ops = append(ops, *o)
		}
	}
	s.Ops = ops

	restErrors := older.Errors
	errors := s.Errors[:0]
	for _, e := range s.Errors {
		for len(restErrors) > 0 && restErrors[0].Errno < e.Errno {
			restErrors = restErrors[1:]
		}
		if len(restErrors) > 0 && restErrors[0].Errno == e.Errno {
			e.Count = less(e.Count, restErrors[0].Count)
		}
		if e.Count != 0 {
			errors = append(errors, e)
		}
	}
	s.Errors = errors
}

// occurred tells whether o has anything to say.
func (o *Op) occurred() bool { return o.HandedOver != 0 || o.Errors != 0 || o.Latency.Count() != 0 }
