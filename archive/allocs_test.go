package archive

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// hotCalls are calls that must not allocate.
func hotCalls(t testing.TB, fs *FS) map[string]func() syscall.Errno {
	large, absent := name(t, "large"), name(t, "absent")
	d := lookup(t, fs, "d").Node
	node, small := lookup(t, fs, "large").Node, lookup(t, fs, "small").Node
	h, hs, hd := open(t, fs, node), open(t, fs, small), opendir(t, fs, d)
	page := []unix.Iovec{oslib.Iov(make([]byte, 4096))}
	many := make([]unix.Iovec, 32)
	for i := range many {
		many[i] = oslib.Iov(make([]byte, 4096))
	}
	s := &nullSink{}
	plus := &nullSink{fs: fs}
	var e vfs.Entry
	var a vfs.AttrOut
	var o vfs.Opened
	buf := make([]byte, 100)
	attr := []byte("user.x\x00")
	return map[string]func() syscall.Errno{
		"lookup": func() syscall.Errno {
			errno := fs.Lookup(root, vfs.Root, large, &e)
			fs.Forget(e.Node, 1)
			return errno
		},
		"lookup of an absent name": func() syscall.Errno { return fs.Lookup(root, vfs.Root, absent, &e) },
		"getattr":                  func() syscall.Errno { return fs.Getattr(root, node, vfs.NoHandle, &a) },
		"open and release": func() syscall.Errno {
			fs.Open(root, node, 0, false, &o)
			return fs.Release(root, node, o.Handle, nil)
		},
		"read of 4 KiB":         func() syscall.Errno { _, errno := fs.Read(root, node, h, page, 8192, 0); return errno },
		"read of 128 KiB":       func() syscall.Errno { _, errno := fs.Read(root, node, h, many, 0, 0); return errno },
		"read of a small file":  func() syscall.Errno { _, errno := fs.Read(root, small, hs, many, 0, 0); return errno },
		"seek":                  func() syscall.Errno { _, errno := fs.Lseek(root, node, h, 0, unix.SEEK_HOLE); return errno },
		"listing of 100":        func() syscall.Errno { return fs.Readdir(root, d, hd, 0, s) },
		"listing with entries":  func() syscall.Errno { return fs.Readdir(root, d, hd, 0, plus) },
		"getxattr of an absent": func() syscall.Errno { fs.Getxattr(root, node, attr, buf); return 0 },
	}
}

// nullSink takes everything. With fs, it wants entries and forgets them.
type nullSink struct{ fs *FS }

func (s *nullSink) Plus() bool    { return s.fs != nil }
func (s *nullSink) Fits(int) bool { return true }
func (s *nullSink) Add(_ []byte, _, _ uint64, _ uint32, e *vfs.Entry) {
	if e != nil {
		s.fs.Forget(e.Node, 1)
	}
}

func hotFS(t testing.TB) *FS {
	items := []item{file("large", strings.Repeat("data", 1<<18)), file("small", "a few words")}
	for i := range 100 {
		items = append(items, file(fmt.Sprintf("d/file-%d", i), ""))
	}
	return mustRead(t, makeTar(t, items...), Options{})
}

func TestAllocs(t *testing.T) {
	for what, call := range hotCalls(t, hotFS(t)) {
		if errno := call(); errno != 0 {
			t.Errorf("%s: %v", what, errno)
		}
		if n := testing.AllocsPerRun(100, func() { call() }); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

func BenchmarkCalls(b *testing.B) {
	for what, call := range hotCalls(b, hotFS(b)) {
		b.Run(what, func(b *testing.B) {
			for b.Loop() {
				if errno := call(); errno != 0 {
					b.Fatal(errno)
				}
			}
		})
	}
}

// tree is an archive of n files in directories of 100.
func tree(t testing.TB, n int, data string) []byte {
	items := make([]item, n)
	for i := range items {
		items[i] = file(fmt.Sprintf("some/directory-%d/file-%d.txt", i/100, i), data)
	}
	return makeTar(t, items...)
}

// TestIndexIsSmall: what an entry takes is what the docs of Options say, and what
// Stats says is what the process holds.
func TestIndexIsSmall(t *testing.T) {
	const n = 100_000
	image := tree(t, n, "")
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	fs := mustRead(t, image, Options{})
	taken := heap() - before
	s := fs.Stats()
	perEntry := float64(s.Index) / float64(s.Names)
	t.Logf("%.1f bytes for each of %d names, %d of heap in all", perEntry, s.Names, taken)
	if perEntry > 130 {
		t.Errorf("an entry takes %.1f bytes", perEntry)
	}
	if taken > s.Index+s.Index/10 || taken < s.Index*9/10 {
		t.Errorf("the index takes %d bytes, Stats says %d", taken, s.Index)
	}
	runtime.KeepAlive(image)
}

func BenchmarkOpen(b *testing.B) {
	for _, tt := range []struct {
		name string
		data []byte
	}{
		{"100 MB in 10 files", makeTar(b, tenFiles()...)},
		{"100 MB in 10 files, gzip", gzipped(b, makeTar(b, tenFiles()...))},
		{"100 MB in 10 files, zstd", zstded(b, makeTar(b, tenFiles()...))},
		{"100,000 small files", tree(b, 100_000, "a few words")},
	} {
		b.Run(tt.name, func(b *testing.B) {
			b.SetBytes(int64(len(tt.data)))
			for b.Loop() {
				fs, err := Read(context.Background(), io.MultiReader(bytes.NewReader(tt.data)), "bench", Options{})
				if err != nil {
					b.Fatal(err)
				}
				fs.Close()
			}
		})
	}
}

// tenFiles are files that a packing makes half as large.
func tenFiles() []item {
	var items []item
	for i := range 10 {
		d := noise(10_000_000)
		for j := range d {
			d[j] &= 0x0f
			d[j] += 'a'
		}
		items = append(items, file(fmt.Sprint(i), string(d)))
	}
	return items
}
