package fusedev

import (
	"golang.org/x/sys/unix"
)

// interrupt serves an INTERRUPT that worker by read. The request that it is about
// may have been read by any worker, and may be
//
//   - with the server: it is cancelled;
//   - being served inline: it is cancelled if that ends with the server keeping it;
//   - read, but not yet known to be served: the kernel is asked to say it again;
//   - answered: the kernel no longer knows it, and nothing is to be done.
//
// The kernel tells the last two apart: a reply of EAGAIN to an INTERRUPT whose
// request is not waiting for an answer at that descriptor is ENOENT.
func (m *Mounted) interrupt(by *worker, c *call) {
	req := c.request()
	if len(req) < interruptTarget+8 {
		m.opt.Logger.Error("INTERRUPT without arguments", "mount", m.dir)
		return
	}
	target := get64(req, interruptTarget)
	for _, w := range m.workers {
		if w.interrupt(target) {
			return
		}
	}
	by.again = errorReply(target|interruptBit, unix.EAGAIN)
	for _, w := range m.workers {
		if w != by && writeMessage(w.dev, by.again[:]) == nil {
			return
		}
	}
}

// interrupt interrupts a request that w serves or lent to the server. It reports
// whether w does, or did last.
func (w *worker) interrupt(target uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.lent {
		if c.unique == target {
			w.mount.server.Cancel(c.Call)
			return true
		}
	}
	if w.serving.Load() == target {
		w.interrupted = target
		return true
	}
	return false
}
