package virtionet

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

// transmit moves frames from the driver to the TAP interface.
func (w *worker) transmit() error {
	for {
		if err := w.next(); err != nil {
			return err
		}
		c := &w.chain
		switch {
		case c.OutLen > 0:
			return errDirection
		case c.InLen < headerSize:
			return errShort
		}
		sent, err := w.writeFrame()
		if err != nil {
			return err
		}
		if sent {
			w.dev.counters.txFrames.Add(1)
			w.dev.counters.txBytes.Add(c.InLen - headerSize)
		} else {
			w.dev.counters.txDropped.Add(1)
		}
		w.push(0)
	}
}

// writeFrame says whether the frame in the chain was sent.
func (w *worker) writeFrame() (bool, error) {
	d, c := w.dev, &w.chain
	if _, ok := oslib.IovRead(w.header[:], c.In); !ok {
		return false, errMemory
	}
	length := c.InLen - headerSize
	h := parseHeader(&w.header)
	if !d.allows(h, length) || len(c.In) >= oslib.MaxIov || d.down.Load() {
		return false, nil
	}
	h.flags &= needsCsum // flags that the device does not know are ignored
	h.put(&w.header, 0)
	w.iov = oslib.IovSlice(append(w.iov[:0], oslib.Iov(w.header[:])), c.In, headerSize, length)
	_, errno := oslib.Pwritev2(d.cfg.TAP.fd, w.iov, -1, 0)
	switch errno {
	case 0:
		return true, nil
	case unix.EFAULT:
		return false, errMemory
	case unix.EBADFD:
		d.lose(fmt.Errorf("write: %w", errno))
	}
	// Others are those of a network: the interface is down (EIO), no memory is
	// left for one more frame, the frame is no Ethernet frame.
	return false, nil
}

// allows says whether a frame of n bytes can be sent with this header.
func (d *Device) allows(h header, n uint64) bool {
	switch {
	case n < ethernetSize || n > maxFrame:
		return false
	case h.gsoType != gsoNone:
		return false
	case d.features&featCsum == 0:
		return h.flags == 0
	}
	return h.flags&needsCsum == 0 || h.fits(n)
}
