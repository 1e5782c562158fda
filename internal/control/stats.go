package control

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/bits"
)

// fillQuantiles computes the quantiles from the buckets.
func (s *Stats) fillQuantiles() {
	for i := range s.Ops {
		s.Ops[i].fill(s.Bounds)
	}
}

func (l *Latency) fill(bounds []uint64) {
	for _, q := range []struct {
		to       *uint64
		num, den uint64
	}{{&l.P50, 1, 2}, {&l.P90, 9, 10}, {&l.P99, 99, 100}, {&l.P999, 999, 1000}} {
		*q.to = l.quantile(bounds, q.num, q.den)
	}
}

// quantile returns the least bound that num/den of the requests did not exceed, or Max
// if that is less. Without requests it is 0; beyond all bounds and without a Max it is
// [math.MaxUint64].
func (l *Latency) quantile(bounds []uint64, num, den uint64) uint64 {
	var total uint64
	for _, n := range l.Buckets {
		total = addSaturating(total, n)
	}
	if total == 0 {
		return 0
	}
	hi, lo := bits.Mul64(total, num)
	rank, rest := bits.Div64(hi, lo, den) // hi < den as num < den
	if rest != 0 {
		rank++
	}
	var seen uint64
	for i, n := range l.Buckets {
		if seen = addSaturating(seen, n); seen < rank {
			continue
		}
		if i < len(bounds) && (l.Max == 0 || bounds[i] < l.Max) {
			return bounds[i]
		}
		break
	}
	return cmp.Or(l.Max, math.MaxUint64)
}

func addSaturating(a, b uint64) uint64 {
	if sum, carry := bits.Add64(a, b, 0); carry == 0 {
		return sum
	}
	return math.MaxUint64
}

// check says what is wrong with stats that came from elsewhere.
func (s *Stats) check() error {
	for i, b := range s.Bounds {
		if i > 0 && b <= s.Bounds[i-1] {
			return errors.New("the bounds of latencies do not ascend")
		}
	}
	for i := range s.Ops {
		if len(s.Ops[i].Buckets) > len(s.Bounds)+1 {
			return fmt.Errorf("operation %q has more buckets than there are bounds", s.Ops[i].Name)
		}
	}
	return nil
}

// Since returns what has happened between an older snapshot of the same daemon and s:
// counters are differences, Uptime is the time between both, quantiles are those of the
// requests in between, and what is "at the moment" is as in s. Max is at most one bucket
// too long. Operations that there have been none of are left out.
//
// An older snapshot that cannot be one, as the daemon has been started anew, counts as
// empty.
func (s *Stats) Since(old *Stats) *Stats {
	d := *s
	if old.Uptime > s.Uptime {
		old = &Stats{}
	}
	d.Uptime -= old.Uptime
	d.BytesRead = less(s.BytesRead, old.BytesRead)
	d.BytesWritten = less(s.BytesWritten, old.BytesWritten)
	d.AuditDropped = less(s.AuditDropped, old.AuditDropped)

	ops := make(map[string]*Op, len(old.Ops))
	for i := range old.Ops {
		ops[old.Ops[i].Name] = &old.Ops[i]
	}
	d.Ops = nil
	for i := range s.Ops {
		op := s.Ops[i]
		if before := ops[op.Name]; before != nil {
			op = op.since(before, s.Bounds)
		}
		if op.Count != 0 {
			d.Ops = append(d.Ops, op)
		}
	}
	served := make(map[string]uint64, len(old.Queues))
	for _, q := range old.Queues {
		served[q.Name] = q.Served
	}
	d.Queues = append([]Queue(nil), s.Queues...)
	for i := range d.Queues {
		q := &d.Queues[i]
		q.Served = less(q.Served, served[q.Name])
	}
	return &d
}

func (o Op) since(old *Op, bounds []uint64) Op {
	d := Op{Name: o.Name, Count: less(o.Count, old.Count), Errors: less(o.Errors, old.Errors)}
	d.Sum = less(o.Sum, old.Sum)
	d.Buckets = append([]uint64(nil), o.Buckets...)
	last := -1
	for i := range d.Buckets {
		if i < len(old.Buckets) {
			d.Buckets[i] = less(d.Buckets[i], old.Buckets[i])
		}
		if d.Buckets[i] != 0 {
			last = i
		}
	}
	switch {
	case o.Max > old.Max:
		d.Max = o.Max
	case last >= 0 && last < len(bounds):
		// The slowest of all came earlier.
		d.Max = min(o.Max, bounds[last])
	case last >= 0:
		d.Max = o.Max
	}
	d.fill(bounds)
	return d
}

// less is a−b for counters, of which a was read later.
func less(a, b uint64) uint64 {
	if a < b {
		return 0
	}
	return a - b
}
