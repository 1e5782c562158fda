package fuse

import (
	"sync"
	"syscall"

	"github.com/isthmus-fs/isthmus/oslib"
)

// class says what a request that would block waits for, and so which bound it
// counts against.
type class uint8

const (
	ordinary  class = iota // a disk, a network: ends by itself
	locking                // a file lock: ends when another lets go or on interrupt
	lifecycle              // the requests of an earlier session
	classes
)

// pending is the table of the calls that are served on goroutines of their own.
type pending struct {
	mu    sync.Mutex
	idle  sync.Cond // some count went to zero
	table []pendingCall
	count [classes]int // from enter to the return of Complete
	limit [classes]int
}

// pendingCall is an entry of the table. The number stands beside the call so
// that a search touches no other memory.
type pendingCall struct {
	unique uint64
	call   *Call
}

// admission is the result of pending.enter.
type admission int

const (
	entered admission = iota
	tooMany
	tooManyLocks
	sessionOver
)

func (p *pending) init(maxPending, maxLockWaits int) {
	if maxPending <= 0 {
		maxPending = DefaultMaxPending
	}
	if maxLockWaits <= 0 {
		maxLockWaits = DefaultMaxLockWaits
	}
	p.idle.L = &p.mu
	p.limit = [classes]int{ordinary: maxPending, locking: maxLockWaits, lifecycle: maxPending}
}

// enter puts c into the table, from where INTERRUPT and Cancel find it. A call
// whose session ended in the meantime is not let in, so that the end of a
// session waits for all that belongs to it.
func (p *pending) enter(s *Server, c *Call) admission {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.class != lifecycle && s.session.Load() != c.sess {
		return sessionOver
	}
	if p.count[c.class] >= p.limit[c.class] {
		if c.class == locking {
			return tooManyLocks
		}
		return tooMany
	}
	if c.interrupt == nil || c.closed {
		c.interrupt, c.closed = make(chan struct{}), false
	}
	c.req.Interrupt = c.interrupt
	p.count[c.class]++
	c.slot = len(p.table)
	p.table = append(p.table, pendingCall{c.header().unique, c})
	return entered
}

// remove takes c out of the table: nobody interrupts it any more.
func (p *pending) remove(c *Call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.table) - 1
	p.table[c.slot] = p.table[last]
	p.table[c.slot].call.slot = c.slot
	p.table[last] = pendingCall{}
	p.table = p.table[:last]
}

// leave counts a call of class k as over.
func (p *pending) leave(k class) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count[k]--
	if p.count[k] == 0 {
		p.idle.Broadcast()
	}
}

// interruptLocked closes the interrupt channel of a call in the table.
func (p *pending) interruptLocked(c *Call) {
	if !c.closed {
		c.closed = true
		close(c.interrupt)
	}
}

// cancel interrupts c if it is in the table.
func (p *pending) cancel(c *Call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.slot < len(p.table) && p.table[c.slot].call == c {
		p.interruptLocked(c)
	}
}

// cancelUnique interrupts the calls that serve the request with this number. A
// well-behaved guest has at most one.
func (p *pending) cancelUnique(unique uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.table {
		if p.table[i].unique == unique {
			p.interruptLocked(p.table[i].call)
		}
	}
}

// cancelAll interrupts every call and reports whether there is one of the
// classes ks.
func (p *pending) cancelAll(ks ...class) (busy bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cancelAllLocked(ks)
}

func (p *pending) cancelAllLocked(ks []class) (busy bool) {
	for i := range p.table {
		p.interruptLocked(p.table[i].call)
	}
	for _, k := range ks {
		busy = busy || p.count[k] != 0
	}
	return busy
}

// drain interrupts every call and waits until there is none of the classes ks.
func (p *pending) drain(ks ...class) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.cancelAllLocked(ks) {
		p.idle.Wait()
	}
}

// servePending serves a call that is in the table, on a goroutine of its own,
// and completes it. If the guest's memory vanishes meanwhile there is no reply.
func (s *Server) servePending(c *Call) {
	var used uint32
	err := oslib.CatchFault(func() {
		n, errno := s.retry(c)
		used = s.answer(c, n, errno)
	})
	if err != nil {
		s.takeBack(c)
		used, c.errno = 0, syscall.EFAULT
		s.log.Debug("fuse: reply lost", "err", err)
	}
	k := c.class
	s.pending.remove(c)
	c.end()
	if s.stats != nil {
		s.stats.handBack(k)
		s.stats.finish(c, used)
	}
	c.Done.Complete(c, used)
	s.pending.leave(k)
}
