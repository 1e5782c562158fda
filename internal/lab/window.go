package lab

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// linkWindow is how many bytes of the host may be under way to the agent of a
// guest of each kind. The serial line of User-Mode Linux holds up to 4095, and
// may take seconds to go on once it was full.
var linkWindow = [...]int{
	UML:  2048,
	QEMU: 64 << 10,
}

// windowWriter is the host's way to the guest: a writer that waits until the
// agent has read what came before.
type windowWriter struct {
	w io.Writer

	mu     sync.Mutex
	more   sync.Cond // free or err has changed
	free   int       // bytes that may be sent
	closed bool
}

func newWindowWriter(w io.Writer) *windowWriter {
	ww := &windowWriter{w: w}
	ww.more.L = &ww.mu
	return ww
}

// open sets the window of a guest that has just booted, which knows nothing of
// what was sent before.
func (ww *windowWriter) open(window int) {
	ww.mu.Lock()
	defer ww.mu.Unlock()
	ww.free = window
	ww.more.Broadcast()
}

// credit takes a credit frame: a big-endian uint32, the number of bytes the
// agent has read.
func (ww *windowWriter) credit(payload []byte, window int) error {
	if len(payload) != 4 {
		return fmt.Errorf("credit of %d bytes, want 4", len(payload))
	}
	n := binary.BigEndian.Uint32(payload)
	ww.mu.Lock()
	defer ww.mu.Unlock()
	if n > uint32(window-ww.free) {
		return fmt.Errorf("credit for %d bytes with %d under way", n, window-ww.free)
	}
	ww.free += int(n)
	ww.more.Broadcast()
	return nil
}

// close lets writers fail rather than wait for ever.
func (ww *windowWriter) close() {
	ww.mu.Lock()
	defer ww.mu.Unlock()
	ww.closed = true
	ww.more.Broadcast()
}

// Write sends p in pieces as the window allows.
func (ww *windowWriter) Write(p []byte) (sent int, err error) {
	for sent < len(p) {
		n, err := ww.reserve(len(p) - sent)
		if err != nil {
			return sent, err
		}
		n, err = ww.w.Write(p[sent : sent+n])
		sent += n
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// reserve takes up to want bytes of the window and returns how many.
func (ww *windowWriter) reserve(want int) (int, error) {
	ww.mu.Lock()
	defer ww.mu.Unlock()
	for ww.free == 0 && !ww.closed {
		ww.more.Wait()
	}
	if ww.closed {
		return 0, io.ErrClosedPipe
	}
	n := min(want, ww.free)
	ww.free -= n
	return n, nil
}

// creditReader is the agent's way from the host: it reports what it has read.
type creditReader struct {
	r   io.Reader
	out *frameWriter
}

func (cr creditReader) Read(p []byte) (int, error) {
	n, err := cr.r.Read(p)
	if n > 0 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(n))
		if err := cr.out.send(frameCredit, b[:]); err != nil {
			return n, err
		}
	}
	return n, err
}
