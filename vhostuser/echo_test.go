package vhostuser_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/virtq"
)

// deferred is the first byte of a request that echo does not answer at once.
const deferred = 0xde

// echo is a Device that answers each request with its own bytes. Like a file
// system it has requests that take time: they stay pending, with the view of
// memory that they came with, until the ring is otherwise empty, or with hold
// until release or a draining Stop.
type echo struct {
	features uint64
	config   []byte
	hold     atomic.Bool
	startErr error
	queues   []*echoQueue

	mu     sync.Mutex
	events []string
}

type echoQueue struct {
	dev   *echo
	index int
	wake  int
	want  atomic.Int32
	done  chan struct{}
	held  atomic.Int32 // len(pending), for tests to see

	// Of the worker, or of the transport when none runs.
	pending []*pendingEcho
	served  atomic.Int64
}

type pendingEcho struct {
	chain virtq.Chain
	view  *guestmem.View
}

const (
	echoRun = iota
	echoPause
	echoDrain
)

func newEcho(queues int) *echo {
	d := &echo{}
	for i := range queues {
		fd, errno := oslib.Eventfd(0, unix.EFD_NONBLOCK)
		if errno != 0 {
			panic(errno)
		}
		d.queues = append(d.queues, &echoQueue{dev: d, index: i, wake: fd})
	}
	return d
}

// close checks that the transport has stopped all queues.
func (d *echo) close() error {
	var err error
	for _, q := range d.queues {
		if q.done != nil {
			err = fmt.Errorf("queue %d was never stopped", q.index)
			d.Stop(q.index, false)
		}
		if len(q.pending) > 0 {
			err = fmt.Errorf("queue %d: %d requests are still pending: no Reset came", q.index, len(q.pending))
		}
		unix.Close(q.wake)
	}
	return err
}

func (d *echo) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, fmt.Sprintf(format, args...))
}

// takeEvents returns what was called since the last time.
func (d *echo) takeEvents() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.events
	d.events = nil
	return e
}

// release answers what hold has kept.
func (d *echo) release() {
	d.hold.Store(false)
	for _, q := range d.queues {
		oslib.EventfdWrite(q.wake, 1)
	}
}

func (d *echo) Features() uint64 { return d.features }
func (d *echo) NumQueues() int   { return len(d.queues) }
func (d *echo) Config() []byte   { return d.config }

func (d *echo) Start(i int, r *virtq.Ring) error {
	if d.startErr != nil {
		return d.startErr
	}
	q := d.queues[i]
	if q.done != nil {
		panic("started twice")
	}
	d.note("start %d %d", i, r.Queue.Next())
	q.want.Store(echoRun)
	q.done = make(chan struct{})
	go q.work(r)
	return nil
}

func (d *echo) Stop(i int, drain bool) {
	q := d.queues[i]
	d.note("stop %d %v", i, drain)
	if q.done == nil {
		if drain {
			q.drop()
		}
		return
	}
	if drain {
		q.want.Store(echoDrain)
	} else {
		q.want.Store(echoPause)
	}
	oslib.EventfdWrite(q.wake, 1)
	<-q.done
	q.done = nil
	if drain {
		q.drop()
	}
}

func (d *echo) Reset() {
	d.note("reset")
	for _, q := range d.queues {
		if q.done != nil {
			panic("reset while a queue runs")
		}
		q.drop()
	}
}

func (q *echoQueue) drop() {
	for _, p := range q.pending {
		p.view.Release()
	}
	q.pending = nil
	q.held.Store(0)
}

func (q *echoQueue) work(r *virtq.Ring) {
	defer close(q.done)
	var err error
	fault := oslib.CatchFault(func() { err = q.serve(r) })
	if err != nil || fault != nil {
		r.Fail()
	}
}

func (q *echoQueue) serve(r *virtq.Ring) error {
	vq := r.Queue
	for {
		vq.DisableNotify()
		if err := q.take(r); err != nil {
			return err
		}
		switch want := q.want.Load(); {
		case want == echoPause:
			return nil
		case want == echoDrain || !q.dev.hold.Load():
			q.finish(r)
			if want == echoDrain {
				return nil
			}
		}
		if vq.EnableNotify() {
			continue
		}
		q.sleep(r)
	}
}

func (q *echoQueue) take(r *virtq.Ring) error {
	for q.want.Load() == echoRun {
		p := &pendingEcho{}
		ok, err := r.Queue.Pop(r.Mem, &p.chain)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		var first [1]byte
		oslib.IovRead(first[:], p.chain.In)
		if first[0] == deferred || q.dev.hold.Load() {
			p.view = r.Mem
			p.view.Retain()
			q.pending = append(q.pending, p)
			q.held.Add(1)
			continue
		}
		q.answer(r, p)
	}
	if r.Queue.Flush() {
		r.Interrupt()
	}
	return nil
}

func (q *echoQueue) answer(r *virtq.Ring, p *pendingEcho) {
	b := make([]byte, min(p.chain.InLen, 4096))
	n, _ := oslib.IovRead(b, p.chain.In)
	n, _ = oslib.IovWrite(p.chain.Out, b[:n])
	r.Queue.Push(p.chain.Head, uint32(n))
	q.served.Add(1)
}

func (q *echoQueue) finish(r *virtq.Ring) {
	for _, p := range slices.Backward(q.pending) {
		q.answer(r, p)
		p.view.Release()
	}
	q.pending = nil
	q.held.Store(0)
	if r.Queue.Flush() {
		r.Interrupt()
	}
}

func (q *echoQueue) sleep(r *virtq.Ring) {
	fds := []unix.PollFd{
		{Fd: int32(q.wake), Events: unix.POLLIN},
		{Fd: int32(r.Kick), Events: unix.POLLIN},
	}
	timeout := -1
	if r.Kick < 0 {
		timeout = 1
	}
	for {
		if _, err := unix.Poll(fds, timeout); err != unix.EINTR {
			break
		}
	}
	if fds[0].Revents != 0 {
		oslib.EventfdRead(q.wake)
	}
	if fds[1].Revents != 0 {
		var b [8]byte
		iov := []unix.Iovec{oslib.Iov(b[:])}
		oslib.Preadv2(r.Kick, iov, -1, unix.RWF_NOWAIT)
	}
}
