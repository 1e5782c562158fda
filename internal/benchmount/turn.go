package main

import (
	"errors"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

// maxThreads is the most threads that a workload has.
const maxThreads = 4

// workload is a kind of work. Only op and finish are timed.
type workload struct {
	name    string
	threads int
	calls   func(*sizes) int          // how often op is called, by all threads together
	units   func(*sizes) int          // that each call of op does; nil for one
	paired  bool                      // it undoes what the one before it did
	bulk    bool                      // a unit is a MiB: what counts is throughput
	setup   func(*turn) error         // nil for nothing to do
	op      func(*turn, op) error     // one call, of which it checks the answer
	finish  func(*turn) error         // has the work reach the server; nil for nothing to do
	check   func(*turn, []byte) error // looks in the bare directory for what was done; nil for nothing to see
}

// op is one call of a workload.
type op struct {
	i      int // its number
	thread int
	buf    []byte // 1 MiB, the thread's
}

// sample is what one turn measured.
type sample struct {
	Units int           `json:"units"`
	Took  time.Duration `json:"ns"`
	CPU   time.Duration `json:"serverCPU"` // in the same time
}

// turn is a contender at work.
type turn struct {
	*arena
	server     *server // nil for the bare directory
	root, bare int     // the directory, as the contender shows it and as it is
	fds        []int   // that the workload opened in its setup
}

// do does one workload.
func (t *turn) do(w *workload) (s sample, err error) {
	defer func() { err = errors.Join(err, t.closeFiles()) }()
	if w.setup != nil {
		if err := w.setup(t); err != nil {
			return s, err
		}
	}
	calls := w.calls(&t.size)
	s.Units = calls
	if w.units != nil {
		s.Units *= w.units(&t.size)
	}
	before := t.cpu()
	start := time.Now()
	err = t.all(w, calls)
	if err == nil && w.finish != nil {
		err = w.finish(t)
	}
	s.Took = time.Since(start)
	s.CPU = t.cpu() - before
	if err == nil && w.check != nil {
		err = w.check(t, t.bufs[0])
	}
	return s, err
}

// all divides calls among the threads of w.
func (t *turn) all(w *workload, calls int) error {
	errs := make([]error, w.threads)
	var running sync.WaitGroup
	for thread := range w.threads {
		running.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			o := op{thread: thread, buf: t.bufs[thread]}
			for o.i = thread; o.i < calls; o.i += w.threads {
				if errs[thread] = w.op(t, o); errs[thread] != nil {
					return
				}
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// cpu is the processor time that the server has used.
func (t *turn) cpu() time.Duration {
	if t.server == nil {
		return 0
	}
	return t.server.cpu()
}

// open opens a file or directory for the workload.
func (t *turn) open(name string, flags int) error {
	fd, errno := oslib.Openat(t.root, append([]byte(name), 0), flags|unix.O_CLOEXEC, 0)
	if errno == 0 {
		t.fds = append(t.fds, fd)
	}
	return failed("open "+name, errno)
}

// closeFiles closes what the workload opened.
func (t *turn) closeFiles() error {
	var err error
	for _, fd := range t.fds {
		err = errors.Join(err, failed("close", oslib.Close(fd)))
	}
	t.fds = t.fds[:0]
	return err
}

// close ends the turn. Work for the disk that it left behind is done before
// another turn begins.
func (t *turn) close() error {
	var err error
	if t.bare >= 0 {
		err = errors.Join(failed("syncfs", oslib.Syncfs(t.bare)), failed("close", oslib.Close(t.bare)))
	}
	if t.root >= 0 {
		err = errors.Join(err, failed("close", oslib.Close(t.root)))
	}
	return err
}
