package virtiofs

import (
	"sync/atomic"

	"github.com/isthmus-fs/isthmus/virtq"
)

// QueueState says what a queue of a [Device] is doing. The numbers need not be of
// one instant.
type QueueState struct {
	// Running says that the queue is started and has not broken.
	Running bool
	// Requests is how many were taken from rings since the device was made, as
	// of when the worker last let the driver see replies.
	Requests uint64
	// Backlog is how many requests the worker saw in the ring that it has not
	// come to. It learns of new ones when it is done with those it saw, so that
	// a worker that is held up does not see what has come since. MaxBacklog is
	// the most there were since the device was made. Of a queue that does not
	// run Backlog is 0.
	Backlog, MaxBacklog int
	// Pending is how many requests were taken from the ring and are served
	// beside the queue, because they would have held it up.
	Pending int
}

// Queues returns the state of each queue, that for high priority first. It may be
// called at any time, from any goroutine.
func (d *Device) Queues() []QueueState {
	states := make([]QueueState, len(d.queues))
	for i, q := range d.queues {
		states[i] = q.state.get()
	}
	return states
}

// state is what a worker lets others see. Nobody else touches the ring, whose
// memory is the guest's. A quiet queue costs one store for each batch; the
// others happen only where a number changes.
type state struct {
	running    atomic.Bool
	pending    atomic.Int32
	requests   atomic.Uint64
	backlog    atomic.Int32
	maxBacklog atomic.Int32

	// The worker's own.
	taken   uint64 // requests is what it was at the last publish
	waiting int32  // backlog
	most    int32  // maxBacklog
}

// popped notes that a request was taken, and how many wait behind it if they
// are more than is known.
func (s *state) popped(vq *virtq.Queue) {
	s.taken++
	if n := int32(vq.Backlog()); n > s.waiting {
		s.setBacklog(n)
	}
}

// publish shows what has happened since the last time.
func (s *state) publish(vq *virtq.Queue) {
	if s.taken == s.requests.Load() {
		return
	}
	s.requests.Store(s.taken)
	if n := int32(vq.Backlog()); n != s.waiting {
		s.setBacklog(n)
	}
}

// stopped is the worker's last word.
func (s *state) stopped() {
	s.requests.Store(s.taken)
	s.setBacklog(0)
	s.running.Store(false)
}

func (s *state) setBacklog(n int32) {
	s.waiting = n
	s.backlog.Store(n)
	if n > s.most {
		s.most = n
		s.maxBacklog.Store(n)
	}
}

func (s *state) get() QueueState {
	return QueueState{
		Running:    s.running.Load(),
		Requests:   s.requests.Load(),
		Backlog:    int(s.backlog.Load()),
		MaxBacklog: int(s.maxBacklog.Load()),
		Pending:    int(s.pending.Load()),
	}
}
