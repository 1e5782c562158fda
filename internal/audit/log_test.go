package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/isthmus-fs/isthmus/watch"
)

// line is what tests look at in a line.
type line struct {
	Path    string
	Dropped uint64
}

// parse reads a log. All of it must be lines.
func parse(t testing.TB, log []byte) (lines []line) {
	t.Helper()
	if len(log) != 0 && log[len(log)-1] != '\n' {
		t.Errorf("the log ends in %q", log[max(0, len(log)-50):])
	}
	for _, l := range bytes.SplitAfter(log, []byte{'\n'}) {
		if len(l) == 0 {
			continue
		}
		var x line
		if err := json.Unmarshal(l, &x); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		lines = append(lines, x)
	}
	return lines
}

// count adds up lines of calls and calls that lines say are missing.
func count(lines []line) (calls, dropped uint64) {
	for _, l := range lines {
		if l.Dropped != 0 {
			dropped += l.Dropped
		} else {
			calls++
		}
	}
	return calls, dropped
}

func numbered(i int) *watch.Record {
	return &watch.Record{Start: someTime, Op: watch.OpUnlink, Path: fmt.Appendf(nil, "/%d", i)}
}

func closed(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func logFile(t testing.TB) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func content(t testing.TB, f *os.File) []byte {
	t.Helper()
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLogKeepsOrder(t *testing.T) {
	f := logFile(t)
	const records = 5000
	l := New(f, Options{Records: records})
	for i := range records {
		l.Record(numbered(i))
	}
	closed(t, l)
	lines := parse(t, content(t, f))
	if len(lines) != records || l.Dropped() != 0 {
		t.Fatalf("%d lines, %d dropped", len(lines), l.Dropped())
	}
	for i, x := range lines {
		if want := fmt.Sprint("/", i); x.Path != want {
			t.Fatalf("line %d is of %s", i, x.Path)
		}
	}
	l.Record(numbered(0))
	if l.Dropped() != 1 {
		t.Errorf("a record after the end: %d dropped", l.Dropped())
	}
	closed(t, l)
}

// TestLogIsWrittenBeforeItIsClosed waits until a lone record is in the file.
func TestLogIsWrittenBeforeItIsClosed(t *testing.T) {
	wrote := make(chan struct{}, 10)
	l := start(&scripted{each: func() { wrote <- struct{}{} }}, Options{})
	for i := range 3 {
		l.Record(numbered(i))
		<-wrote
	}
	closed(t, l)
}

// scripted is a file whose writes end as they are told, and then well.
type scripted struct {
	bytes.Buffer
	room []int         // bytes that the next writes have room for; -1 for any
	each func()        // called with each write
	gate chan struct{} // if not nil, a write waits for it
}

func (s *scripted) Write(b []byte) (int, error) {
	if s.gate != nil {
		<-s.gate
	}
	if s.each != nil {
		s.each()
	}
	room := -1
	if len(s.room) != 0 {
		room, s.room = s.room[0], s.room[1:]
	}
	if room < 0 || room >= len(b) {
		return s.Buffer.Write(b)
	}
	s.Buffer.Write(b[:room])
	return room, syscall.ENOSPC
}

// TestFullQueue holds the writer up until the queue is full.
func TestFullQueue(t *testing.T) {
	for _, tt := range []struct {
		what string
		rec  *watch.Record
		fit  int
	}{
		{"of records", numbered(1), 100},
		{"of paths", &watch.Record{Path: make([]byte, 4000), Path2: make([]byte, 200)}, 3},
	} {
		w := &scripted{gate: make(chan struct{})}
		l := start(w, Options{Records: 100})
		const records = 1000
		for range records {
			l.Record(tt.rec)
		}
		// The writer has taken one half at most, so the other is full.
		if d := l.Dropped(); d < records-2*uint64(tt.fit) || d > records-uint64(tt.fit) {
			t.Errorf("%s: %d of %d are dropped", tt.what, d, records)
		}
		close(w.gate)
		closed(t, l)
		calls, dropped := count(parse(t, w.Bytes()))
		if dropped != l.Dropped() || calls+dropped != records {
			t.Errorf("%s: %d calls are in the log and %d dropped, of %d; %d dropped are known", tt.what, calls, dropped, records, l.Dropped())
		}
	}
}

// TestDroppedStandWhereTheyAreMissing fills a queue twice.
func TestDroppedStandWhereTheyAreMissing(t *testing.T) {
	w := writer{w: &scripted{}, log: slog.New(slog.DiscardHandler), dropped: &new(Log).dropped}
	out := w.w.(*scripted)
	for _, b := range []struct{ records, dropped int }{{2, 3}, {1, 0}, {0, 4}} {
		batch := newBatch(10)
		for i := range b.records {
			batch.add(numbered(i))
		}
		batch.dropped = uint64(b.dropped)
		w.write(batch)
	}
	got := parse(t, out.Bytes())
	want := []line{{Path: "/0"}, {Path: "/1"}, {Dropped: 3}, {Path: "/0"}, {Dropped: 4}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// TestWritesThatFail has writes end at every byte, and then checks that the file is whole
// and accounts for every call.
func TestWritesThatFail(t *testing.T) {
	batch := func(from, to int) *batch {
		b := newBatch(10)
		for i := from; i < to; i++ {
			b.add(numbered(i))
		}
		return b
	}
	var whole scripted
	w := writer{w: &whole, log: slog.New(slog.DiscardHandler), dropped: &new(Log).dropped}
	w.write(batch(0, 3))
	for first := range whole.Len() {
		for _, second := range []int{0, 1, 50, 130, -1} {
			var logged bytes.Buffer
			l := &Log{}
			out := &scripted{room: []int{first, second}}
			w := writer{w: out, log: slog.New(slog.NewTextHandler(&logged, nil)), dropped: &l.dropped}
			for from := 0; from < 9; from += 3 {
				w.write(batch(from, from+3))
			}
			w.end()
			calls, dropped := count(parse(t, out.Bytes()))
			if calls+dropped != 9 || dropped != l.Dropped() || w.owes() {
				t.Fatalf("%d, then %d: %d calls and %d dropped, %d known, owes %v\n%s", first, second, calls, dropped, l.Dropped(), w.owes(), out.Bytes())
			}
			if n := strings.Count(logged.String(), "level=ERROR"); n != 1 {
				t.Fatalf("%d, then %d: told %d times\n%s", first, second, n, &logged)
			}
			if n := strings.Count(logged.String(), "level=INFO"); n != 1 {
				t.Fatalf("%d, then %d: not told that it works again\n%s", first, second, &logged)
			}
		}
	}
}

// TestEndInTheMiddleOfALine counts a record whose line is never ended.
func TestEndInTheMiddleOfALine(t *testing.T) {
	l := &Log{}
	w := writer{w: &scripted{room: []int{10, 5}}, log: slog.New(slog.DiscardHandler), dropped: &l.dropped}
	b := newBatch(10)
	b.add(numbered(0))
	b.add(numbered(1))
	w.write(b)
	b.empty()
	w.write(b)
	if w.end(); l.Dropped() != 2 || !errors.Is(w.err, syscall.ENOSPC) {
		t.Errorf("%d dropped, %v", l.Dropped(), w.err)
	}
}

// TestFullDisk writes where there never is room.
func TestFullDisk(t *testing.T) {
	f, err := os.OpenFile("/dev/full", os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l := New(f, Options{Logger: slog.New(slog.DiscardHandler)})
	for i := range 10 {
		l.Record(numbered(i))
	}
	if err := l.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Close: %v", err)
	}
	if l.Dropped() != 10 {
		t.Errorf("%d dropped", l.Dropped())
	}
}

// TestOwesAreTold looks for the line about what was dropped when no more records come.
func TestOwesAreTold(t *testing.T) {
	wrote := make(chan struct{}, 10)
	w := &scripted{room: []int{0}, each: func() { wrote <- struct{}{} }}
	l := start(w, Options{Logger: slog.New(slog.DiscardHandler)})
	l.Record(numbered(0))
	<-wrote
	<-wrote
	closed(t, l)
	if calls, dropped := count(parse(t, w.Bytes())); calls != 0 || dropped != 1 {
		t.Errorf("%d calls and %d dropped", calls, dropped)
	}
}

// TestTruncated empties the file under the log, as copytruncate does.
func TestTruncated(t *testing.T) {
	f := logFile(t)
	l := New(f, Options{})
	l.Record(numbered(0))
	for len(content(t, f)) == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	l.Record(numbered(1))
	closed(t, l)
	if lines := parse(t, content(t, f)); len(lines) != 1 || lines[0].Path != "/1" {
		t.Errorf("in the log are %v", lines)
	}
}

// TestManyAtOnce records from many goroutines with a queue that is too small.
func TestManyAtOnce(t *testing.T) {
	f := logFile(t)
	l := New(f, Options{Records: 64})
	const goroutines, each = 8, 2000
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for i := range each {
				l.Record(numbered(i))
			}
		})
	}
	wg.Wait()
	closed(t, l)
	calls, dropped := count(parse(t, content(t, f)))
	if calls+dropped != goroutines*each || dropped != l.Dropped() {
		t.Errorf("%d calls are in the log and %d dropped; %d dropped are known", calls, dropped, l.Dropped())
	}
}

func TestRecordDoesNotAllocate(t *testing.T) {
	l := start(io.Discard, Options{})
	rec := numbered(1)
	n := testing.AllocsPerRun(100, func() { l.Record(rec) })
	closed(t, l)
	b, buf := newBatch(10), make([]byte, 0, 1000)
	b.add(rec)
	lines := testing.AllocsPerRun(100, func() { buf = appendRecord(buf[:0], &b.records[0]) })
	if n != 0 || lines != 0 {
		t.Errorf("%v allocations to record, %v to make a line", n, lines)
	}
}

// BenchmarkRecord is what a call of a guest pays, while the queue has room.
func BenchmarkRecord(b *testing.B) {
	l := &Log{filling: newBatch(DefaultRecords), wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1)}
	rec := &watch.Record{Start: someTime, Op: watch.OpOpen, Path: []byte("/usr/share/zoneinfo/Europe/Berlin"), Flags: 0x8000}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%DefaultRecords == 0 {
			l.filling.empty()
		}
		l.Record(rec)
	}
	if l.Dropped() != 0 {
		b.Errorf("%d dropped", l.Dropped())
	}
}

// BenchmarkLog is all of it, as fast as records can be made.
func BenchmarkLog(b *testing.B) {
	f := logFile(b)
	l := New(f, Options{})
	rec := &watch.Record{Start: someTime, Op: watch.OpOpen, Path: []byte("/usr/share/zoneinfo/Europe/Berlin"), Flags: 0x8000}
	for b.Loop() {
		l.Record(rec)
	}
	b.StopTimer()
	b.ReportMetric(100*float64(l.Dropped())/float64(b.N), "%dropped")
	closed(b, l)
}

// BenchmarkLine is what the writer does for a record.
func BenchmarkLine(b *testing.B) {
	rec := &watch.Record{Start: someTime, Op: watch.OpOpen, Path: []byte("/usr/share/zoneinfo/Europe/Berlin"), Flags: 0x8000}
	buf := make([]byte, 0, 1000)
	b.ReportAllocs()
	for b.Loop() {
		buf = appendRecord(buf[:0], rec)
	}
}
