package fuse

import (
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// maxShards bounds the shards of a Stats.
	maxShards = 16
	// lastErrno is the last error number that Linux has (EHWPOISON).
	lastErrno = 133
	cacheLine = 64 // bytes
)

// Stats counts the requests of one or more servers ([Options].Stats) and how
// long they take. It costs a request two readings of the clock and a few atomic
// additions, and no lock.
//
// The counts are kept in shards of some 50 KiB, of which each Call uses one, so
// that calls that are served at the same time do not wait for each other's cache
// lines. There are as many shards as Calls, up to 16.
type Stats struct {
	start   time.Time
	next    atomic.Uint32 // shards given out
	shards  [maxShards]atomic.Pointer[shard]
	pending [classes]atomic.Int64 // requests on goroutines of their own
}

// shard is what some of the calls counted. Two are never on one cache line,
// wherever they begin.
type shard struct {
	inFlight atomic.Int64
	read     atomic.Uint64
	written  atomic.Uint64
	errors   [lastErrno + 1]atomic.Uint64 // by number; 0 is for all others
	ops      [numOpcodes]opCounts         // by opcode; 0 is for unknown ones
	_        [cacheLine]byte
}

type opCounts struct {
	buckets    [NumBuckets]atomic.Uint64
	sum        atomic.Int64
	longest    atomic.Int64
	errors     atomic.Uint64
	handedOver atomic.Uint64
}

// NewStats returns a Stats that has counted nothing.
func NewStats() *Stats { return &Stats{start: time.Now()} }

// assign gives c a shard: the next one, as calls that are new at the same time
// are likely to be served at the same time.
func (t *Stats) assign(c *Call) {
	p := &t.shards[(t.next.Add(1)-1)%maxShards]
	if p.Load() == nil {
		p.CompareAndSwap(nil, new(shard))
	}
	c.stats, c.shard = t, p.Load()
}

// begin notes that c has a new request.
func (t *Stats) begin(c *Call) {
	if c.stats != t {
		t.assign(c)
	}
	c.errno = 0
	c.shard.inFlight.Add(1)
	c.began = time.Since(t.start)
}

// handOver notes that the request of c goes to a goroutine of its own.
func (t *Stats) handOver(c *Call) {
	t.pending[c.class].Add(1)
	c.shard.ops[c.counted()].handedOver.Add(1)
}

// handBack undoes the part of handOver that is about the moment.
func (t *Stats) handBack(k class) { t.pending[k].Add(-1) }

// finish counts the request of c. used is the length of its reply. The order of
// the additions is such that Snapshot, which reads them in reverse, sees no error
// and no time of a request before the request.
func (t *Stats) finish(c *Call, used uint32) {
	d := time.Since(t.start) - c.began
	op := c.counted()
	o := &c.shard.ops[op]
	for {
		longest := o.longest.Load()
		if int64(d) <= longest || o.longest.CompareAndSwap(longest, int64(d)) {
			break
		}
	}
	o.buckets[bucketOf(d)].Add(1)
	o.sum.Add(int64(d))
	switch {
	case c.errno != 0:
		o.errors.Add(1)
		errno := c.errno
		if errno > lastErrno {
			errno = 0
		}
		c.shard.errors[errno].Add(1)
	case op == READ:
		c.shard.read.Add(uint64(used) - uint64(outHeaderSize))
	case op == WRITE:
		c.shard.written.Add(uint64(view[writeOut](c.fixed.b[outHeaderSize:]).size))
	}
	c.shard.inFlight.Add(-1)
}

// counted returns the opcode that the request of c counts as.
func (c *Call) counted() Opcode {
	if c.op.name == "" {
		return 0
	}
	return Opcode(c.header().opcode)
}

// Snapshot stores what was counted until now, reusing the memory of into. It may
// be called at any time, from any goroutine. Each number is right for some moment
// during the call, but they need not be of the same moment. No later snapshot has
// less of anything than an earlier one, gauges aside.
func (t *Stats) Snapshot(into *Snapshot) {
	*into = Snapshot{
		Elapsed:   time.Since(t.start),
		Pending:   int(t.pending[ordinary].Load() + t.pending[lifecycle].Load()),
		LockWaits: int(t.pending[locking].Load()),
		Ops:       into.Ops[:0],
		Errors:    into.Errors[:0],
	}
	var shards [maxShards]*shard
	n := 0
	for i := range t.shards {
		if s := t.shards[i].Load(); s != nil {
			shards[n] = s
			n++
			into.InFlight += int(s.inFlight.Load())
			into.Read += s.read.Load()
			into.Written += s.written.Load()
		}
	}
	for errno := range lastErrno + 1 {
		e := ErrorCount{Errno: syscall.Errno(errno)}
		for _, s := range shards[:n] {
			e.Count += s.errors[errno].Load()
		}
		if e.Count != 0 {
			into.Errors = append(into.Errors, e)
		}
	}
	for op := range numOpcodes {
		into.Ops = append(into.Ops, Op{Opcode: Opcode(op)})
		o := &into.Ops[len(into.Ops)-1]
		for _, s := range shards[:n] {
			s.ops[op].addTo(o)
		}
		if !o.occurred() {
			into.Ops = into.Ops[:len(into.Ops)-1]
		}
	}
}

// addTo adds what was counted to o.
func (c *opCounts) addTo(o *Op) {
	if c.longest.Load() == 0 && c.buckets[0].Load() == 0 && c.handedOver.Load() == 0 {
		return // most kinds never occur
	}
	o.HandedOver += c.handedOver.Load()
	o.Errors += c.errors.Load()
	o.Latency.Sum += time.Duration(c.sum.Load())
	for i := range c.buckets {
		o.Latency.Counts[i] += c.buckets[i].Load()
	}
	o.Latency.Longest = max(o.Latency.Longest, time.Duration(c.longest.Load()))
}
