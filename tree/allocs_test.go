package tree

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// layouts are trees, and the directory to work in.
var layouts = []struct {
	name string
	make func(testing.TB, vfs.FileSystem) vfs.FileSystem
	dir  string
}{
	{"bare", func(_ testing.TB, child vfs.FileSystem) vfs.FileSystem { return child }, ""},
	{"root", func(t testing.TB, child vfs.FileSystem) vfs.FileSystem {
		fs := newTree(t)
		mounted(t, fs, "/", child)
		return fs
	}, ""},
	{"root with 10 mounts", func(t testing.TB, child vfs.FileSystem) vfs.FileSystem {
		fs := newTree(t)
		mounted(t, fs, "/", child)
		addTen(t, fs)
		return fs
	}, ""},
	{"nested", func(t testing.TB, child vfs.FileSystem) vfs.FileSystem {
		fs := newTree(t)
		mounted(t, fs, "/sub", child)
		return fs
	}, "/sub"},
	{"changing root with 10 mounts", func(t testing.TB, child vfs.FileSystem) vfs.FileSystem {
		fs := New(Config{Logger: quiet, Changing: true})
		mounted(t, fs, "/", child)
		addTen(t, fs)
		return fs
	}, ""},
	{"nested beside 10 mounts", func(t testing.TB, child vfs.FileSystem) vfs.FileSystem {
		fs := newTree(t)
		mounted(t, fs, "/nested", child)
		addTen(t, fs)
		return fs
	}, "/nested"},
}

func addTen(t testing.TB, fs *FS) {
	for i := range 10 {
		mounted(t, fs, fmt.Sprintf("/mount-%d", i), dirOf(t))
	}
}

// sink takes what comes and keeps nothing.
type sink struct {
	fs   vfs.FileSystem
	plus bool
}

func (s *sink) Plus() bool    { return s.plus }
func (s *sink) Fits(int) bool { return true }
func (s *sink) Add(_ []byte, _, _ uint64, _ uint32, e *vfs.Entry) {
	if e != nil {
		s.fs.Forget(e.Node, 1)
	}
}

type hotCall struct {
	name string
	call func() syscall.Errno
}

// hotCalls are calls that must not allocate, in the order in which they are listed.
func hotCalls(t testing.TB, fs vfs.FileSystem, dir string) []hotCall {
	begin(t, fs)
	d := vfs.Root
	if dir != "" {
		d = walk(t, fs, dir).Node
	}
	file := walk(t, fs, dir+"/known").Node
	known, absent := name("known"), name("absent")
	var e vfs.Entry
	var a vfs.AttrOut
	var x vfs.Statx
	var o, od, oo vfs.Opened
	if errno := fs.Open(&root, file, unix.O_RDWR, false, &o); errno != 0 {
		t.Fatal(errno)
	}
	if errno := fs.Opendir(&root, d, 0, &od); errno != 0 {
		t.Fatal(errno)
	}
	var release vfs.ReleaseIn
	iovs := []unix.Iovec{oslib.Iov(make([]byte, 4096))}
	plain, plus := &sink{fs: fs}, &sink{fs: fs, plus: true}
	c := &vfs.CopyRange{SrcNode: file, DstNode: file, SrcHandle: o.Handle, DstHandle: o.Handle, DstOff: 1 << 20, Len: 1}
	return []hotCall{
		{"getattr", func() syscall.Errno { return fs.Getattr(&root, file, vfs.NoHandle, &a) }},
		{"lookup", func() syscall.Errno {
			errno := fs.Lookup(&root, d, known, &e)
			fs.Forget(e.Node, 1)
			return errno
		}},
		{"lookup of an absent name", func() syscall.Errno {
			if errno := fs.Lookup(&root, d, absent, &e); errno != syscall.ENOENT {
				return syscall.EINVAL
			}
			return 0
		}},
		{"read", func() syscall.Errno { _, errno := fs.Read(&root, file, o.Handle, iovs, 0, 0); return errno }},
		{"write", func() syscall.Errno { _, errno := fs.Write(&root, file, o.Handle, iovs, 0, 0, 0); return errno }},
		{"statx", func() syscall.Errno { return fs.Statx(&root, file, vfs.NoHandle, 0, 0xfff, &x) }},
		{"open and release", func() syscall.Errno {
			errno := fs.Open(&root, file, unix.O_RDONLY, false, &oo)
			fs.Release(&root, file, oo.Handle, &release)
			return errno
		}},
		{"rename", func() syscall.Errno { return fs.Rename(&root, d, known, d, known, 0) }},
		{"copy", func() syscall.Errno { _, errno := fs.CopyFileRange(&root, c); return errno }},
		{"readdir", func() syscall.Errno { return fs.Readdir(&root, d, od.Handle, 0, plain) }},
		{"readdirplus", func() syscall.Errno { return fs.Readdir(&root, d, od.Handle, 0, plus) }},
	}
}

func TestAllocs(t *testing.T) {
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			fs := l.make(t, dirOf(t, "known", "other"))
			calls := hotCalls(t, fs, l.dir)
			if tree, ok := fs.(*FS); ok && len(tree.Mounts()) > 1 {
				m := name("mount-3")
				var e vfs.Entry
				var od vfs.Opened
				plus := &sink{fs: fs, plus: true}
				want(t, "opendir", fs.Opendir(&root, vfs.Root, 0, &od), 0)
				calls = append(calls,
					hotCall{"lookup of a mount", func() syscall.Errno {
						errno := fs.Lookup(&root, vfs.Root, m, &e)
						fs.Forget(e.Node, 1)
						return errno
					}},
					hotCall{"readdirplus of mounts", func() syscall.Errno {
						return fs.Readdir(&root, vfs.Root, od.Handle, 0, plus)
					}})
			}
			// What is looked up stays known, as to make a node allocates.
			for _, n := range []string{"/known", "/other"} {
				walk(t, fs, l.dir+n)
			}
			for _, c := range calls {
				want(t, c.name, c.call(), 0)
				if n := testing.AllocsPerRun(100, func() { c.call() }); n >= 1 && !raceEnabled {
					t.Errorf("%s: %v allocations", c.name, n)
				}
			}
		})
	}
}

// BenchmarkCalls compares trees with the bare file system in them, in turns, as
// machines are busy now and then. Of each it says the median of many rounds, and the
// median of how much more than the bare file system it took in the same round.
func BenchmarkCalls(b *testing.B) {
	const calls = 500
	dir := tempDir(b, "/dev/shm", "known", "other")
	lists := make([][]hotCall, len(layouts))
	for i, l := range layouts {
		lists[i] = hotCalls(b, l.make(b, plain(b, dir)), l.dir)
	}
	for c, first := range lists[0] {
		b.Run(first.name, func(b *testing.B) {
			took, more := make([][]float64, len(layouts)), make([][]float64, len(layouts))
			for b.Loop() {
				for i := range layouts {
					call := lists[i][c].call
					start := time.Now()
					for range calls {
						if errno := call(); errno != 0 {
							b.Fatal(errno)
						}
					}
					took[i] = append(took[i], float64(time.Since(start).Nanoseconds())/calls)
				}
				for i := range layouts {
					round := len(took[i]) - 1
					more[i] = append(more[i], 100*(took[i][round]/took[0][round]-1))
				}
			}
			for i, l := range layouts {
				unit := strings.ReplaceAll(l.name, " ", "-")
				b.ReportMetric(median(took[i]), unit+"-ns")
				b.ReportMetric(median(more[i]), unit+"-%")
			}
		})
	}
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

// BenchmarkDispatch is the tree alone: the file system answers at once.
func BenchmarkDispatch(b *testing.B) {
	for _, l := range layouts {
		fs := l.make(b, &nothing{})
		begin(b, fs)
		node := vfs.Root
		if l.dir != "" {
			node = walk(b, fs, l.dir).Node
		}
		var a vfs.AttrOut
		var e vfs.Entry
		n := name("x")
		b.Run("getattr/"+l.name, func(b *testing.B) {
			for b.Loop() {
				fs.Getattr(&root, node, vfs.NoHandle, &a)
			}
		})
		b.Run("lookup/"+l.name, func(b *testing.B) {
			for b.Loop() {
				fs.Lookup(&root, node, n, &e)
			}
		})
		b.Run("forget/"+l.name, func(b *testing.B) {
			for b.Loop() {
				fs.Forget(node|5, 1)
			}
		})
	}
}

// nothing is a directory without content that costs nothing.
type nothing struct{ vfs.Unimplemented }

func (*nothing) Init(f vfs.Features) (vfs.Features, syscall.Errno) { return f, 0 }
func (*nothing) Getattr(_ *vfs.Request, _ vfs.NodeID, _ vfs.Handle, out *vfs.AttrOut) syscall.Errno {
	out.Attr.Mode = unix.S_IFDIR
	return 0
}
func (*nothing) Lookup(*vfs.Request, vfs.NodeID, vfs.Name, *vfs.Entry) syscall.Errno {
	return syscall.ENOENT
}
