package hypercall

import (
	"errors"
	"io"
	"sync"
	"syscall"
)

// Descriptors of the console. They are always open.
const (
	stdin = iota
	stdout
	stderr
	firstFile // the lowest of a file
)

// console is what the guest writes to and reads from beside files. As the two outputs
// may be one, they have one lock.
type console struct {
	outMu sync.Mutex
	out   [firstFile]io.Writer // nil at stdin

	inMu sync.Mutex
	in   io.Reader
}

func (t *console) open(cfg *Config) {
	t.out[stdout], t.out[stderr], t.in = cfg.Output, cfg.ErrOutput, cfg.Input
	if t.out[stdout] == nil {
		t.out[stdout] = io.Discard
	}
	if t.out[stderr] == nil {
		t.out[stderr] = t.out[stdout]
	}
}

// callWriteByte serves V1Uart and SerialWriteByte.
func (g *Guest) callWriteByte(c *call) syscall.Errno {
	c.mute = true
	c.data[0] = byte(c.arg)
	g.console.outMu.Lock()
	defer g.console.outMu.Unlock()
	_, errno := writeAll(g.console.out[stdout], c.data[:1])
	return errno
}

// callWriteBufferV1 serves V1SerialWriteBuffer.
func (g *Guest) callWriteBufferV1(c *call) syscall.Errno {
	var p SerialWriteBufferParamsV1
	if errno := g.params(c, Bytes(&p)); errno != 0 {
		return errno
	}
	c.mute = true
	_, errno := g.writeConsole(c, stdout, buffer{addr: p.Buf.Get()}, p.Len.Get())
	return errno
}

// callWriteBuffer serves SerialWriteBuffer.
func (g *Guest) callWriteBuffer(c *call) syscall.Errno {
	var p SerialWriteBufferParams
	if errno := g.params(c, Bytes(&p)); errno != 0 {
		return errno
	}
	c.mute = true
	_, errno := g.writeConsole(c, stdout, buffer{addr: p.Buf.Get()}, p.Len.Get())
	return errno
}

// callReadBuffer serves SerialReadBuffer.
func (g *Guest) callReadBuffer(c *call) syscall.Errno {
	var p SerialReadBufferParams
	if errno := g.params(c, Bytes(&p)); errno != 0 {
		return errno
	}
	c.mute = true
	n, errno := g.readConsole(c, buffer{addr: p.Buf.Get()}, p.MaxLen.Get())
	p.Len.Set(n)
	return g.answer(c, serialLen, p.Len[:], errno)
}

// writeConsole writes data of the guest to an output, without other data between.
func (g *Guest) writeConsole(c *call, fd int32, b buffer, n uint64) (uint64, syscall.Errno) {
	n, errno := g.transfer(c, b, n)
	if errno != 0 || n == 0 {
		return 0, errno
	}
	g.console.outMu.Lock()
	defer g.console.outMu.Unlock()
	for done := uint64(0); done < n; {
		part := c.data[:min(n-done, dataSize)]
		if !g.copyIn(c, b, done, part) {
			return some(done, syscall.EFAULT)
		}
		m, errno := writeAll(g.console.out[fd], part)
		done += uint64(m)
		if errno != 0 {
			return some(done, errno)
		}
	}
	return n, 0
}

// readConsole reads what there is from the input, once.
func (g *Guest) readConsole(c *call, b buffer, n uint64) (uint64, syscall.Errno) {
	n, errno := g.transfer(c, b, n)
	if errno != 0 || n == 0 || g.console.in == nil {
		return 0, errno
	}
	part := c.data[:min(n, dataSize)]
	g.console.inMu.Lock()
	m, errno := readOnce(g.console.in, part)
	g.console.inMu.Unlock()
	if errno != 0 {
		return 0, errno
	}
	if !g.copyOut(c, b, part[:m]) {
		return 0, syscall.EFAULT
	}
	return uint64(m), 0
}

// some is the answer of a call that has moved done bytes before an error.
func some(done uint64, errno syscall.Errno) (uint64, syscall.Errno) {
	if done != 0 {
		return done, 0
	}
	return 0, errno
}

// writeAll writes all of b unless there is an error.
func writeAll(w io.Writer, b []byte) (int, syscall.Errno) {
	n, err := w.Write(b)
	switch n = max(0, min(n, len(b))); {
	case err != nil:
		return n, errnoOf(err)
	case n < len(b):
		return n, syscall.EIO
	}
	return n, 0
}

// readOnce reads once. A reader that keeps coming back with nothing, and does not say why, is
// broken.
func readOnce(r io.Reader, b []byte) (int, syscall.Errno) {
	for range maxEmptyReads {
		n, err := r.Read(b)
		n = max(0, min(n, len(b)))
		switch {
		case n > 0 || err == io.EOF:
			return n, 0
		case err != nil:
			return 0, errnoOf(err)
		}
	}
	return 0, syscall.EIO
}

const maxEmptyReads = 100

// errnoOf is what the guest gets for an error of the console.
func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	if errors.As(err, &errno) && errno != 0 {
		return errno
	}
	return syscall.EIO
}
