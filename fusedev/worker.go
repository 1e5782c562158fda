package fusedev

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/oslib"
)

// worker reads requests from one descriptor and answers them there: the kernel
// finds the request of a reply only at the descriptor that it was read from.
type worker struct {
	mount *Mounted
	dev   int

	// serving is the number of the request that the worker serves, or served
	// last.
	serving atomic.Uint64

	// again is the reply to an INTERRUPT, kept here as a signal may come with
	// any request.
	again [outHeaderSize]byte

	mu          sync.Mutex
	lent        []*call // with the server beyond Serve
	interrupted uint64  // a request that was interrupted while serving named it
}

// run serves until the connection ends or all workers are to. The thread is the
// worker's own and ends with it.
func (w *worker) run() (err error) {
	runtime.LockOSThread()
	m := w.mount
	var c *call
	defer func() {
		if c != nil {
			m.calls.put(c)
		}
	}()
	for !m.dismissed.Load() {
		if c == nil {
			if c, err = m.calls.get(); err != nil {
				return err
			}
			c.worker = w
		}
		n, err := w.read(c.in)
		if err != nil || n == 0 || m.dismissed.Load() {
			return err
		}
		if !c.take(n) {
			return fmt.Errorf("read %s: a request of %d bytes", devicePath, n)
		}
		if !w.serve(c) {
			c = nil // the server's
		}
	}
	return nil
}

// read waits for a request and returns its length, or 0 at the connection's end.
func (w *worker) read(buf []byte) (int, error) {
	for {
		n, err := unix.Read(w.dev, buf)
		switch err {
		case nil:
			return n, nil
		case unix.EINTR, unix.EAGAIN:
		case unix.ENOENT: // the request was taken back while it was being read
		case unix.ENODEV, unix.ECONNABORTED: // unmounted; aborted
			return 0, nil
		default:
			return 0, fmt.Errorf("read %s: %w", devicePath, err)
		}
	}
}

// serve answers the request in c. It reports false if the server keeps c.
func (w *worker) serve(c *call) bool {
	switch c.opcode {
	case fuse.INTERRUPT:
		w.mount.interrupt(w, c)
		return true
	case fuse.INIT:
		w.mount.amendOffer(c.request())
	}
	w.serving.Store(c.unique)
	used, done := w.mount.server.Serve(c.Call)
	if done {
		w.reply(c, used)
		return true
	}
	w.lend(c)
	return false
}

// lend notes that the server keeps c beyond Serve, and passes on an interrupt
// that came before there was anything to interrupt.
func (w *worker) lend(c *call) {
	w.mu.Lock()
	if c.completed {
		w.mu.Unlock()
		w.mount.calls.put(c)
		return
	}
	c.lent = true
	c.slot = len(w.lent)
	w.lent = append(w.lent, c)
	if w.interrupted == c.unique {
		w.mount.server.Cancel(c.Call)
	}
	w.mu.Unlock()
}

// reply writes the first used bytes of c.out, after the door's own part was done.
func (w *worker) reply(c *call, used uint32) {
	w.mount.amend(w, c, c.out[:used])
	if used != 0 {
		w.write(c, c.out[:used])
	}
	if c.opcode == fuse.INIT {
		w.mount.initDone()
	}
}

// write sends a reply. The kernel may have no use for it any more, which is no
// error (ENOENT, ENODEV: the connection ended). One that it refuses for another
// reason is replaced, so that nobody waits for it for ever.
func (w *worker) write(c *call, msg []byte) {
	err := writeMessage(w.dev, msg)
	if err == nil || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return
	}
	w.mount.opt.Logger.Error("the kernel refused a reply", "mount", w.mount.dir, "opcode", c.opcode, "length", len(msg), "error", err)
	fail := errorReply(c.unique, unix.EIO)
	writeMessage(w.dev, fail[:])
}

// writeMessage writes msg, which the kernel takes whole or not at all.
func writeMessage(dev int, msg []byte) error {
	for {
		if _, err := unix.Write(dev, msg); err != unix.EINTR {
			return err
		}
	}
}

func (w *worker) close() { oslib.Close(w.dev) }
