package audit

import (
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isthmus-fs/isthmus/watch"
)

// Options of a [Log]. The zero value will do.
type Options struct {
	// Records is how many the queue holds while others are written, at about 500
	// bytes of memory each; 0 is [DefaultRecords].
	Records int
	// Logger is told when the log cannot be written, and when it can again; nil is
	// slog.Default().
	Logger *slog.Logger
}

const (
	// DefaultRecords is a tenth of a second of a busy guest.
	DefaultRecords = 8192
	// pathRoom is for how many bytes of paths there is room for each record. Long
	// paths may fill a queue before its records do.
	pathRoom = 128
	// longest is how much of paths one record may have: two of PATH_MAX, and what is
	// said of them.
	longest = 2 * (4096 + 32)
	// delay is how long records may lie, so that many are written at once.
	delay = 20 * time.Millisecond
	// retry is how long after a write that failed the next is tried, if no record
	// comes.
	retry = time.Second
)

// Log is an access log. It is a [watch.Recorder].
type Log struct {
	dropped atomic.Uint64

	mu      sync.Mutex
	filling *batch
	closed  bool

	wake  chan struct{} // something is in filling
	hurry chan struct{} // filling is half full
	stop  chan struct{} // closed by Close
	done  chan struct{} // closed when the writer has ended

	writer writer // of the goroutine run alone, until done
}

var _ watch.Recorder = (*Log)(nil)

// batch is what is written at once.
type batch struct {
	records []watch.Record
	paths   []byte // that records point into
	dropped uint64 // did not fit
}

func newBatch(records int) *batch {
	return &batch{
		records: make([]watch.Record, 0, records),
		paths:   make([]byte, 0, max(records*pathRoom, longest)),
	}
}

// add copies a record, if there is room.
func (b *batch) add(rec *watch.Record) bool {
	if len(b.records) == cap(b.records) || cap(b.paths)-len(b.paths) < len(rec.Path)+len(rec.Path2) {
		return false
	}
	b.records = append(b.records, *rec)
	c := &b.records[len(b.records)-1]
	c.Path, c.Path2 = b.keep(rec.Path), b.keep(rec.Path2)
	return true
}

func (b *batch) keep(path []byte) []byte {
	from := len(b.paths)
	b.paths = append(b.paths, path...)
	return b.paths[from:]
}

func (b *batch) halfFull() bool {
	return len(b.records) >= cap(b.records)/2 || len(b.paths) >= cap(b.paths)/2
}

func (b *batch) empty() {
	b.records, b.paths, b.dropped = b.records[:0], b.paths[:0], 0
}

// New begins a log at the end of w, which is open with O_APPEND and for nobody else to
// write to. w stays the caller's, who closes it after [Log.Close].
func New(w *os.File, o Options) *Log { return start(w, o) }

func start(w io.Writer, o Options) *Log {
	if o.Records <= 0 {
		o.Records = DefaultRecords
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	l := &Log{
		filling: newBatch(o.Records),
		wake:    make(chan struct{}, 1),
		hurry:   make(chan struct{}, 1),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	l.writer = writer{w: w, log: o.Logger, dropped: &l.dropped}
	go l.run(newBatch(o.Records))
	return l
}

// Record implements [watch.Recorder]. It waits for nothing but a copy of other records.
func (l *Log) Record(rec *watch.Record) {
	l.mu.Lock()
	b := l.filling
	ok := !l.closed && b.add(rec)
	if !ok {
		b.dropped++
	}
	first, half := ok && len(b.records) == 1, b.halfFull()
	l.mu.Unlock()
	switch {
	case !ok:
		l.dropped.Add(1)
	case half:
		signal(l.hurry)
	}
	if first {
		signal(l.wake)
	}
}

// signal leaves a token, unless there is one.
func signal(c chan struct{}) {
	if len(c) == 0 {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Dropped returns how many records the log lacks so far, for whatever reason. It may be
// called at any time.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Close writes what is in the queue and ends the log. The error is that of the last
// write, if it failed. Records that come later are dropped.
func (l *Log) Close() error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.stop)
	}
	l.mu.Unlock()
	<-l.done
	return l.writer.err
}

// run writes batches until the log is closed.
func (l *Log) run(spare *batch) {
	defer close(l.done)
	timer := time.NewTimer(0)
	<-timer.C
	for open := true; open; {
		if l.writer.owes() {
			timer.Reset(retry)
		}
		select {
		case <-l.wake:
			timer.Reset(delay)
			select {
			case <-timer.C:
			case <-l.hurry:
			case <-l.stop:
				open = false
			}
		case <-timer.C:
		case <-l.stop:
			open = false
		}
		timer.Stop()
		l.mu.Lock()
		spare, l.filling = l.filling, spare
		l.mu.Unlock()
		l.writer.write(spare)
		spare.empty()
	}
	l.writer.end()
}
