package virtionet

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

// oneBuffer is num_buffers of a frame that lies in a single chain, as they all do
// without VIRTIO_NET_F_MRG_RXBUF.
var oneBuffer = [2]byte{1, 0}

// receive moves frames from the TAP interface to the driver. A chain that there is no
// frame for goes back to where it was popped.
func (w *worker) receive() error {
	for {
		if err := w.next(); err != nil {
			return err
		}
		c := &w.chain
		switch {
		case c.InLen > 0:
			return errDirection
		case c.OutLen < headerSize+ethernetSize:
			return errShort
		case len(c.Out) >= oslib.MaxIov:
			return errPieces
		}
		n, err := w.readFrame()
		switch {
		case err == unix.EAGAIN:
			w.ring.Queue.Unpop()
			w.flush()
			if err := w.sleep(w.source()); err != nil {
				return err
			}
		case err != nil:
			return err
		case n == 0:
			w.dev.counters.rxDropped.Add(1)
			w.ring.Queue.Unpop()
		default:
			w.dev.counters.rxFrames.Add(1)
			w.dev.counters.rxBytes.Add(uint64(n - headerSize))
			w.push(n)
		}
	}
}

// source is what frames come from: nothing, once the interface is gone.
func (w *worker) source() int {
	if w.dev.lost.Load() {
		return -1
	}
	return w.dev.cfg.TAP.fd
}

// readFrame reads a frame into the chain and returns its length with the header; 0
// if it was dropped; EAGAIN if there is none.
func (w *worker) readFrame() (int, error) {
	d := w.dev
	if d.lost.Load() {
		return 0, unix.EAGAIN
	}
	if d.features&featGuestCsum == 0 || d.down.Load() {
		return w.readChecked()
	}
	room := w.chain.OutLen
	w.iov = append(append(w.iov[:0], w.chain.Out...), oslib.Iov(w.spill[:]))
	n, errno := oslib.Preadv2(d.cfg.TAP.fd, w.iov, -1, 0)
	switch {
	case errno == unix.EFAULT:
		return 0, errMemory
	case errno != 0:
		return 0, w.readError(errno)
	case uint64(n) > room:
		return 0, nil
	}
	last := oslib.IovSlice(w.scratch[:0], w.chain.Out, headerSize-2, 2)
	if _, ok := oslib.IovWrite(last, oneBuffer[:]); !ok {
		return 0, errMemory
	}
	return n, nil
}

// readChecked is readFrame by way of a buffer of ours, in which the frame gets the
// checksum that the driver insists on.
func (w *worker) readChecked() (int, error) {
	d := w.dev
	w.iov = append(w.iov[:0], oslib.Iov(w.frame))
	n, errno := oslib.Preadv2(d.cfg.TAP.fd, w.iov, -1, 0)
	switch {
	case errno != 0:
		return 0, w.readError(errno)
	case n < headerSize || n == len(w.frame) || uint64(n) > w.chain.OutLen || d.down.Load():
		return 0, nil
	}
	head := (*[headerSize]byte)(w.frame)
	if !parseHeader(head).complete(w.frame[headerSize:n]) {
		return 0, nil
	}
	header{}.put(head, 1)
	if _, ok := oslib.IovWrite(w.chain.Out, w.frame[:n]); !ok {
		return 0, errMemory
	}
	return n, nil
}

// readError returns EAGAIN for what is no fault of the driver.
func (w *worker) readError(errno error) error {
	if errno != unix.EAGAIN {
		w.dev.lose(fmt.Errorf("read: %w", errno))
	}
	return unix.EAGAIN
}
