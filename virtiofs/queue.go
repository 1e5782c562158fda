package virtiofs

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/virtq"
)

// A batch ends, and its replies become visible, when the ring is empty or when
// this much has been answered: a reply should not wait long for the next.
const (
	batchRequests = 16
	batchBytes    = 64 << 10
)

// unblockAfter is how long a worker that was told to stop may take before its
// call eventfd is looked at. It may take longer: what it does at the moment can
// be a long read.
const unblockAfter = time.Second

// What a worker is asked to do next.
const (
	run = iota
	pause
	drain
)

// call is one request on its way: the chain it came in and the server's state
// for it. It belongs to the worker, or to the server from a Serve that said
// "not done" until Complete.
type call struct {
	*fuse.Call
	q     *queue
	chain virtq.Chain
	epoch uint32 // of the ring that the chain came from
	used  uint32 // result, set by Complete
	// While the server has the call:
	view *guestmem.View
	slot int // index in queue.pending
}

// queue is one queue of the device with its worker.
//
//	Start → worker goroutine: pop, serve, push …, sleep → Stop
//	                 ↑ Complete: finished calls, wake
type queue struct {
	dev   *Device
	index int
	wake  int // eventfd: a call has completed, or want has changed

	want atomic.Int32
	done chan struct{} // closed by the worker when it ends; nil when none runs
	ring *virtq.Ring   // what the worker serves

	// Owned by the worker, and by the transport's goroutine when none runs.
	free    []*call
	pending []*call // with the server
	taken   []*call // what takeFinished returned last
	used    bool    // since the last reset, a chain was there
	inVain  uint64  // kicks while none ever was, up to 2

	state state

	finishedAny atomic.Bool
	mu          sync.Mutex
	finished    []*call // completed, not yet taken
}

func newQueue(d *Device, index int) (*queue, error) {
	fd, errno := oslib.Eventfd(0, unix.EFD_NONBLOCK)
	if errno != 0 {
		return nil, fmt.Errorf("eventfd for queue %d: %w", index, errno)
	}
	return &queue{dev: d, index: index, wake: fd}, nil
}

func (q *queue) start(r *virtq.Ring) error {
	if q.done != nil {
		return fmt.Errorf("queue %d is running already", q.index)
	}
	q.want.Store(run)
	q.done = make(chan struct{})
	q.ring = r
	q.state.running.Store(true)
	go q.work(r)
	return nil
}

func (q *queue) stop(drainFirst bool) {
	if q.done != nil {
		if drainFirst {
			q.want.Store(drain)
		} else {
			q.want.Store(pause)
		}
		q.signal()
		q.waitDone()
	}
	if drainFirst {
		// What is left is from a ring that broke, or that went away after a
		// pause: nothing is to come of it.
		for _, c := range q.pending {
			q.dev.server.Cancel(c.Call)
			c.epoch = q.dev.epoch.Load() - 1
		}
	}
}

// waitDone waits for the worker's end. One that does not come to it hangs in a
// call eventfd that its front end filled up.
func (q *queue) waitDone() {
	for {
		select {
		case <-q.done:
			q.done, q.ring = nil, nil
			return
		case <-time.After(unblockAfter):
			q.ring.Unblock()
		}
	}
}

// discard throws away calls that were completed for a ring that no longer is.
func (q *queue) discard() {
	for _, c := range q.takeFinished() {
		q.recycle(c)
	}
	q.used, q.inVain = false, 0
}

func (q *queue) close() {
	oslib.Close(q.wake)
}

func (q *queue) signal() { oslib.EventfdWrite(q.wake, 1) }

// Complete takes a call back from the server.
func (c *call) Complete(_ *fuse.Call, used uint32) {
	q := c.q
	c.used = used
	q.mu.Lock()
	q.finished = append(q.finished, c)
	first := len(q.finished) == 1
	q.finishedAny.Store(true)
	q.mu.Unlock()
	if first {
		q.signal()
	}
}

// work is the worker: it serves r until told otherwise, on a thread of its own
// that ends with it.
func (q *queue) work(r *virtq.Ring) {
	runtime.LockOSThread()
	defer close(q.done)
	defer q.state.stopped()
	var err error
	fault := oslib.CatchFault(func() { err = q.serve(r) })
	if err = errors.Join(err, fault); err != nil {
		q.dev.log.Error("the guest broke a queue; it is no longer served",
			"queue", q.index, "error", err)
		r.Fail()
	}
}

func (q *queue) serve(r *virtq.Ring) error {
	vq := r.Queue
	for kicks := uint64(0); ; {
		vq.DisableNotify()
		found, err := q.batch(r)
		if err != nil {
			return err
		}
		if q.used = q.used || found; kicks > 0 && !q.used {
			q.kickedInVain(kicks)
		}
		switch q.want.Load() {
		case pause:
			return nil
		case drain:
			return q.drain(r)
		}
		kicks = 0
		if vq.EnableNotify() {
			continue
		}
		if kicks, err = q.sleep(r); err != nil {
			return err
		}
	}
}

// kickedInVain notes kicks for a ring in which there has never been anything.
// Front ends give one when they start a ring. A second, which may come with it, is
// the driver's: it has put something into memory that is not the memory we see.
func (q *queue) kickedInVain(kicks uint64) {
	before := q.inVain
	if q.inVain = min(before+min(kicks, 2), 2); before < 2 && q.inVain == 2 {
		q.dev.log.Warn("the guest makes requests that do not arrive: is its memory shared with this daemon? (QEMU: share=on)",
			"queue", q.index)
	}
}

// batch serves what is in the ring and pushes what has completed elsewhere. It
// reports whether there was something.
func (q *queue) batch(r *virtq.Ring) (found bool, err error) {
	vq := r.Queue
	requests, bytes := 0, uint32(0)
	for q.want.Load() == run {
		for _, c := range q.takeFinished() {
			q.push(r, c)
		}
		c := q.get()
		ok, err := vq.Pop(r.Mem, &c.chain)
		if err != nil || !ok {
			q.free = append(q.free, c)
			q.flush(r)
			return found, err
		}
		found = true
		q.state.popped(vq)
		c.In, c.Out = c.chain.In, c.chain.Out
		c.epoch = q.dev.epoch.Load()
		used, done := q.dev.server.Serve(c.Call)
		if !done {
			q.lend(c, r.Mem)
			continue
		}
		vq.Push(c.chain.Head, used)
		q.free = append(q.free, c)
		requests++
		bytes += used
		if requests >= batchRequests || bytes >= batchBytes {
			q.flush(r)
			requests, bytes = 0, 0
		}
	}
	q.flush(r)
	return found, nil
}

// drain waits for the calls that the server still has and answers them.
func (q *queue) drain(r *virtq.Ring) error {
	for {
		for _, c := range q.takeFinished() {
			q.push(r, c)
		}
		q.flush(r)
		if len(q.pending) == 0 {
			return nil
		}
		for _, c := range q.pending {
			q.dev.server.Cancel(c.Call)
		}
		if _, err := q.await(-1, -1); err != nil {
			return err
		}
	}
}

func (q *queue) flush(r *virtq.Ring) {
	q.state.publish(r.Queue)
	if r.Queue.Flush() {
		r.Interrupt()
	}
}

// push answers a call that completed elsewhere, unless its ring is gone.
func (q *queue) push(r *virtq.Ring, c *call) {
	if c.epoch == q.dev.epoch.Load() {
		r.Queue.Push(c.chain.Head, c.used)
	}
	q.recycle(c)
}

// recycle makes a completed call free again.
func (q *queue) recycle(c *call) {
	q.takeBack(c)
	q.free = append(q.free, c)
}

func (q *queue) get() *call {
	if n := len(q.free); n > 0 {
		c := q.free[n-1]
		q.free = q.free[:n-1]
		return c
	}
	c := &call{Call: fuse.NewCall(), q: q}
	c.Done = c
	return c
}

// lend notes that the server keeps the call beyond Serve. The call may have
// completed by now, but only this worker takes it back.
func (q *queue) lend(c *call, view *guestmem.View) {
	view.Retain()
	c.view = view
	c.slot = len(q.pending)
	q.pending = append(q.pending, c)
	q.state.pending.Store(int32(len(q.pending)))
}

func (q *queue) takeBack(c *call) {
	last := q.pending[len(q.pending)-1]
	q.pending[c.slot] = last
	last.slot = c.slot
	q.pending = q.pending[:len(q.pending)-1]
	q.state.pending.Store(int32(len(q.pending)))
	c.view.Release()
	c.view = nil
}

// takeFinished returns the calls completed since the last time. The slice is
// valid until the next call.
func (q *queue) takeFinished() []*call {
	if !q.finishedAny.Load() {
		return nil
	}
	q.mu.Lock()
	q.finishedAny.Store(false)
	q.taken, q.finished = q.finished, q.taken[:0]
	q.mu.Unlock()
	return q.taken
}
