package scratch

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
)

// hotCalls are calls that must not allocate. They use what hotTree makes.
func hotCalls(t testing.TB, fs vfs.FileSystem) []hotCall {
	var dir, file vfs.Entry
	var o, od vfs.Opened
	hotTree(t, fs, &dir, &file, &o, &od)
	some, absent := name("some"), name("absent")
	page := []unix.Iovec{oslib.Iov(make([]byte, pageSize))}
	many := make([]unix.Iovec, 32)
	for i := range many {
		many[i] = oslib.Iov(make([]byte, pageSize))
	}
	var e vfs.Entry
	var a vfs.AttrOut
	buf := make([]byte, 100)
	attr := []byte("user.x\x00")
	s, plus := &nullSink{fs: fs}, &nullSink{fs: fs, plus: true}
	read := func(iov []unix.Iovec, off uint64) func() syscall.Errno {
		return func() syscall.Errno {
			_, errno := fs.Read(root, file.Node, o.Handle, iov, off, unix.O_RDWR)
			return errno
		}
	}
	write := func(iov []unix.Iovec, off uint64) func() syscall.Errno {
		return func() syscall.Errno {
			_, errno := fs.Write(root, file.Node, o.Handle, iov, off, unix.O_RDWR, 0)
			return errno
		}
	}
	return []hotCall{
		{"lookup", func() syscall.Errno {
			errno := fs.Lookup(root, vfs.Root, some, &e)
			fs.Forget(e.Node, 1)
			return errno
		}},
		{"lookup of an absent name", func() syscall.Errno {
			if errno := fs.Lookup(root, vfs.Root, absent, &e); errno != syscall.ENOENT {
				return errno
			}
			return 0
		}},
		{"getattr", func() syscall.Errno { return fs.Getattr(root, file.Node, vfs.NoHandle, &a) }},
		{"read of 4 KiB", read(page, 8192)},
		{"read of 128 KiB", read(many, 0)},
		{"read of 128 KiB of hole", read(many, 1<<30)},
		{"write of 4 KiB in place", write(page, 8192)},
		{"write of 128 KiB in place", write(many, 0)},
		{"seek", func() syscall.Errno { _, errno := fs.Lseek(root, file.Node, o.Handle, 0, unix.SEEK_HOLE); return errno }},
		{"listing of 100", func() syscall.Errno { return fs.Readdir(root, dir.Node, od.Handle, 0, s) }},
		{"listing of 100 with entries", func() syscall.Errno { return fs.Readdir(root, dir.Node, od.Handle, 0, plus) }},
		{"getxattr of an absent", func() syscall.Errno { fs.Getxattr(root, file.Node, attr, buf); return 0 }},
	}
}

type hotCall struct {
	name string
	call func() syscall.Errno
}

func hotTree(t testing.TB, fs vfs.FileSystem, dir, file *vfs.Entry, o, od *vfs.Opened) {
	must := func(errno syscall.Errno) {
		t.Helper()
		if errno != 0 {
			t.Fatal(errno)
		}
	}
	must(fs.Create(root, vfs.Root, name("some"), unix.O_RDWR, 0o644, file, o))
	_, errno := fs.Write(root, file.Node, o.Handle, []unix.Iovec{oslib.Iov(make([]byte, 1<<20))}, 0, unix.O_RDWR, 0)
	must(errno)
	must(fs.Setattr(root, file.Node, o.Handle, &vfs.SetAttr{Valid: vfs.SetSize, Size: 2 << 30}, &vfs.AttrOut{}))
	must(fs.Mkdir(root, vfs.Root, name("dir"), 0o755, dir))
	for i := range 100 {
		var e vfs.Entry
		must(fs.Mknod(root, dir.Node, name(fmt.Sprint("file-", i)), unix.S_IFREG|0o644, 0, &e))
		fs.Forget(e.Node, 1)
	}
	must(fs.Opendir(root, dir.Node, 0, od))
}

// nullSink takes everything. With plus, it wants entries and forgets them.
type nullSink struct {
	fs   vfs.FileSystem
	plus bool
}

func (s *nullSink) Plus() bool    { return s.plus }
func (s *nullSink) Fits(int) bool { return true }
func (s *nullSink) Add(_ []byte, _, _ uint64, _ uint32, e *vfs.Entry) {
	if e != nil {
		s.fs.Forget(e.Node, 1)
	}
}

func TestAllocs(t *testing.T) {
	for _, tt := range []struct{ name, dir string }{{"memory", ""}, {"disk", "/tmp"}} {
		for _, c := range hotCalls(t, newSpace(t, Options{Dir: tt.dir})) {
			if errno := c.call(); errno != 0 {
				t.Errorf("%s, %s: %v", tt.name, c.name, errno)
			}
			if n := testing.AllocsPerRun(100, func() { c.call() }); n != 0 {
				t.Errorf("%s, %s: %v allocations", tt.name, c.name, n)
			}
		}
	}
}

// beside is a directory of a tmpfs, shared as directories are.
func beside(b *testing.B) vfs.FileSystem {
	dir, err := os.MkdirTemp("/dev/shm", "scratch-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	fs, err := passthrough.New(passthrough.Config{Path: dir, Cache: passthrough.CacheAlways, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { fs.Close() })
	fs.Init(0)
	return fs
}

// BenchmarkCalls measures the calls beside those of a passthrough of /dev/shm.
func BenchmarkCalls(b *testing.B) {
	for _, tt := range []struct {
		name string
		fs   vfs.FileSystem
	}{{"scratch", newSpace(b, Options{})}, {"passthrough", beside(b)}} {
		calls := hotCalls(b, tt.fs)
		var e vfs.Entry
		var o vfs.Opened
		n := name("new")
		data := []unix.Iovec{oslib.Iov(make([]byte, pageSize))}
		calls = append(calls, hotCall{"create, write 4 KiB, close, unlink", func() syscall.Errno {
			if errno := tt.fs.Create(root, vfs.Root, n, unix.O_RDWR, 0o644, &e, &o); errno != 0 {
				return errno
			}
			tt.fs.Write(root, e.Node, o.Handle, data, 0, unix.O_RDWR, 0)
			tt.fs.Release(root, e.Node, o.Handle, &vfs.ReleaseIn{})
			tt.fs.Forget(e.Node, 1)
			return tt.fs.Unlink(root, vfs.Root, n)
		}})
		for _, c := range calls {
			b.Run(c.name+"/"+tt.name, func(b *testing.B) {
				for b.Loop() {
					if errno := c.call(); errno != 0 {
						b.Fatal(errno)
					}
				}
			})
		}
	}
}
