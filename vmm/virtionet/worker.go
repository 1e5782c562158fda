package virtionet

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/virtq"
)

// batch is how many frames go through a queue before the driver sees them. It sees
// them earlier when there are no more.
const batch = 64

// How a driver can break its queue.
var (
	errDirection = errors.New("a buffer of the wrong direction")
	errShort     = errors.New("a buffer without room for a header and a frame")
	errPieces    = errors.New("a buffer in too many pieces")
	errMemory    = errors.New("a buffer outside of guest memory")
)

// errStopped says that the worker was told to stop.
var errStopped = errors.New("stopped")

// worker serves one queue.
type worker struct {
	dev   *Device
	index int
	serve func(*worker) error
	wake  int // eventfd: stopping has changed

	stopping atomic.Bool
	done     chan struct{} // closed by the worker when it ends; nil when none runs

	// Owned by the worker's goroutine:
	ring    *virtq.Ring
	chain   virtq.Chain
	staged  int // pushes since the last flush
	header  [headerSize]byte
	iov     []unix.Iovec // for one system call
	scratch [2]unix.Iovec
	spill   [1]byte // what a frame that does not fit runs into
	frame   []byte  // a header and a frame, where they have to be looked at
	polls   [2]unix.PollFd
}

func newWorker(d *Device, index int, serve func(*worker) error) (*worker, error) {
	fd, errno := oslib.Eventfd(0, unix.EFD_NONBLOCK)
	if errno != 0 {
		return nil, fmt.Errorf("eventfd for a network queue: %w", errno)
	}
	return &worker{
		dev: d, index: index, serve: serve, wake: fd,
		iov:   make([]unix.Iovec, 0, oslib.MaxIov),
		frame: make([]byte, headerSize+maxFrame+1),
	}, nil
}

func (w *worker) close() { oslib.Close(w.wake) }

// start returns when the worker is ready, or cannot be.
func (w *worker) start(r *virtq.Ring) error {
	if w.done != nil {
		return fmt.Errorf("queue %d is running already", w.index)
	}
	w.stopping.Store(false)
	oslib.EventfdRead(w.wake)
	w.ring, w.staged = r, 0
	ready := make(chan error)
	w.done = make(chan struct{})
	go w.work(ready)
	err := <-ready
	if err != nil {
		<-w.done
		w.done = nil
	}
	return err
}

func (w *worker) stop() {
	if w.done == nil {
		return
	}
	w.stopping.Store(true)
	oslib.EventfdWrite(w.wake, 1)
	<-w.done
	w.done, w.ring = nil, nil
}

// work is the worker, on a thread that ends with it.
func (w *worker) work(ready chan<- error) {
	runtime.LockOSThread()
	defer close(w.done)
	if f := w.dev.cfg.OnThread; f != nil {
		if err := f(); err != nil {
			ready <- fmt.Errorf("the thread of network queue %d: %w", w.index, err)
			return
		}
	}
	ready <- nil
	var err error
	fault := oslib.CatchFault(func() { err = w.serve(w) })
	if errors.Is(err, errStopped) {
		err = nil
	}
	if err = errors.Join(err, fault); err != nil {
		w.dev.complain("the guest broke a network queue; it is no longer served", w.index, err)
		w.ring.Fail()
	}
}

// next pops a chain, and waits for one if there is none.
func (w *worker) next() error {
	vq := w.ring.Queue
	for {
		if w.stopping.Load() {
			w.flush()
			return errStopped
		}
		ok, err := vq.Pop(w.ring.Mem, &w.chain)
		if ok || err != nil {
			return err
		}
		w.flush()
		if !vq.EnableNotify() {
			if err := w.sleep(w.ring.Kick); err != nil {
				return err
			}
			oslib.EventfdRead(w.ring.Kick)
		}
		vq.DisableNotify()
	}
}

// push returns the chain, of whose buffers n bytes were written.
func (w *worker) push(n int) {
	w.ring.Queue.Push(w.chain.Head, uint32(n))
	if w.staged++; w.staged >= batch {
		w.flush()
	}
}

func (w *worker) flush() {
	w.staged = 0
	if w.ring.Queue.Flush() {
		w.ring.Interrupt()
	}
}

// sleep waits until fd is readable, which may be −1 for never, or the worker is to
// stop.
func (w *worker) sleep(fd int) error {
	for {
		w.polls = [2]unix.PollFd{
			{Fd: int32(w.wake), Events: unix.POLLIN},
			{Fd: int32(fd), Events: unix.POLLIN},
		}
		switch _, err := unix.Poll(w.polls[:], -1); {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("poll: %w", err)
		default:
			return nil
		}
	}
}
