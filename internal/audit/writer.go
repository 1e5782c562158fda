package audit

import (
	"bytes"
	"io"
	"log/slog"
	"sync/atomic"
	"time"
)

// chunk is about how many bytes are written at once.
const chunk = 256 << 10

// writer makes lines of records and writes them.
type writer struct {
	w       io.Writer
	log     *slog.Logger
	dropped *atomic.Uint64

	// buf is what is to be written: whole lines, but for the first rest bytes, which
	// end a line whose beginning is in the file.
	buf  []byte
	rest int
	// unended is 1 if that line is a record.
	unended uint64
	// lost is how many records the log lacks without saying so, and told how many of
	// them the last line in buf tells of.
	lost, told uint64
	err        error // of the last write
}

// owes reports whether there is something to write though no record comes.
func (w *writer) owes() bool { return w.lost != 0 || w.rest != 0 }

// write writes a batch, and how many records are missing behind it.
func (w *writer) write(b *batch) {
	for i := range b.records {
		w.buf = appendRecord(w.buf, &b.records[i])
		if len(w.buf) >= chunk {
			w.flush()
		}
	}
	w.lost += b.dropped
	if w.lost != 0 {
		w.told = w.lost
		w.buf = appendDropped(w.buf, time.Now(), w.lost)
	}
	if len(w.buf) != 0 {
		w.flush()
	}
}

// flush writes buf. If that fails, all lines that were not begun are dropped.
func (w *writer) flush() {
	n, err := w.w.Write(w.buf)
	if err == nil && n < len(w.buf) {
		err = io.ErrShortWrite
	}
	end := len(w.buf)
	if err != nil {
		end = w.lineEnd(n)
	}
	gone := uint64(bytes.Count(w.buf[end:], []byte{'\n'}))
	untold := w.told != 0 && gone != 0 // then the last line that is gone is that
	if untold {
		gone--
	} else {
		w.lost -= w.told
	}
	w.lost += gone
	w.dropped.Add(gone)
	switch {
	case n == end:
		w.unended = 0
	case n >= w.rest: // in a new line, which tells of others if it is the last and told is set
		w.unended = 1
		if w.told != 0 && end == len(w.buf) {
			w.unended = 0
		}
	}
	w.told = 0
	w.rest = copy(w.buf, w.buf[n:end])
	w.buf = w.buf[:w.rest]
	w.report(err)
}

// lineEnd returns where the line ends that the n bytes which were written end in.
func (w *writer) lineEnd(n int) int {
	switch {
	case n < w.rest:
		return w.rest
	case n == 0 || w.buf[n-1] == '\n':
		return n
	}
	return n + bytes.IndexByte(w.buf[n:], '\n') + 1
}

// report tells the daemon's own log when writing begins to fail and when it works
// again.
func (w *writer) report(err error) {
	switch {
	case err != nil && w.err == nil:
		w.log.Error("the access log cannot be written: calls are missing in it", "error", err)
	case err == nil && w.err != nil:
		w.log.Info("the access log is written again", "dropped", w.dropped.Load())
	}
	w.err = err
}

// end counts a record whose line will not be ended.
func (w *writer) end() {
	w.dropped.Add(w.unended)
	w.buf = nil
}
