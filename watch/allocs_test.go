package watch_test

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/watch"
)

// hotCalls are what a guest does all day, with nodes that it knows: 5 is /n, open as
// handle 9.
func hotCalls(fs vfs.FileSystem) map[string]func() syscall.Errno {
	n := name("n")
	r := &vfs.Request{}
	sink := &counting{}
	iov := []unix.Iovec{{Len: 4096}}
	x, buf := []byte("user.a\x00"), make([]byte, 100)
	var e vfs.Entry
	var o vfs.Opened
	var a vfs.AttrOut
	fs.Init(0)
	fs.Lookup(r, vfs.Root, n, &e)
	fs.Open(r, 5, 0, false, &o)
	return map[string]func() syscall.Errno{
		"lookup":   func() syscall.Errno { return fs.Lookup(r, vfs.Root, n, &e) },
		"getattr":  func() syscall.Errno { return fs.Getattr(r, 5, vfs.NoHandle, &a) },
		"read":     func() syscall.Errno { _, errno := fs.Read(r, 5, 9, iov, 0, 0); return errno },
		"write":    func() syscall.Errno { _, errno := fs.Write(r, 5, 9, iov, 0, 0, 0); return errno },
		"readdir":  func() syscall.Errno { return fs.Readdir(r, vfs.Root, 9, 0, sink) },
		"getxattr": func() syscall.Errno { _, errno := fs.Getxattr(r, 5, x, buf); return errno },
		"flush":    func() syscall.Errno { return fs.Flush(r, 5, 9, 1) },
	}
}

// counting is a DirSink that takes and forgets everything.
type counting struct{ entries int }

func (*counting) Plus() bool    { return true }
func (*counting) Fits(int) bool { return true }

func (s *counting) Add([]byte, uint64, uint64, uint32, *vfs.Entry) { s.entries++ }

var watchings = map[string]watch.Options{
	"off":      {},
	"bytes":    {CountBytes: true},
	"recorded": {Recorder: ignoring{}},
}

func TestAllocs(t *testing.T) {
	if raceEnabled {
		return // pools forget what they hold now and then
	}
	for how, o := range watchings {
		for what, call := range hotCalls(watch.New(&answering{}, o)) {
			if n := testing.AllocsPerRun(100, func() { call() }); n != 0 {
				t.Errorf("%s, %s: %v allocations", how, what, n)
			}
		}
	}
}

// TestAllocsOfTwoNames looks up two names of a file by turns.
func TestAllocsOfTwoNames(t *testing.T) {
	fs := watch.New(&answering{}, watch.Options{})
	names := [2]vfs.Name{name("one"), name("two")}
	i := 0
	var e vfs.Entry
	if n := testing.AllocsPerRun(100, func() {
		fs.Lookup(&request, vfs.Root, names[i%2], &e)
		i++
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCalls(b *testing.B) {
	bench := func(how string, fs vfs.FileSystem) {
		for what, call := range hotCalls(fs) {
			b.Run(what+"/"+how, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					call()
				}
			})
		}
	}
	bench("bare", &answering{})
	for how, o := range watchings {
		bench(how, watch.New(&answering{}, o))
	}
}

// BenchmarkFirstLookup looks up files that the guest does not know, and forgets them.
func BenchmarkFirstLookup(b *testing.B) {
	fs := watch.New(&answering{}, watch.Options{})
	n := name("a-name-of-a-usual-length")
	var e vfs.Entry
	b.ReportAllocs()
	for b.Loop() {
		fs.Lookup(&request, vfs.Root, n, &e)
		fs.Forget(5, 1)
	}
}
