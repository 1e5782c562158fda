package tree

import (
	"testing"

	"github.com/isthmus-fs/isthmus/vfs"
)

// counting is a file system that says what it was told to, and whose handles are
// backed by descriptors of ten times their number.
type counting struct {
	vfs.FileSystem
	counts vfs.Counts
}

func (c *counting) Counts() vfs.Counts { return c.counts }

func (c *counting) Backing(node vfs.NodeID, h vfs.Handle) (int, bool) {
	return int(h) * 10, node == vfs.Root && h != 0
}

// TestCounts adds up what mounts hold, with one that does not say and one whose name
// was removed.
func TestCounts(t *testing.T) {
	for _, top := range []bool{false, true} {
		fs := newTree(t)
		want := vfs.Counts{Nodes: 1} // the root
		mount := func(path string, child vfs.FileSystem, counts vfs.Counts) {
			t.Helper()
			if err := fs.MountWith(path, &counting{child, counts}, MountOptions{Unlink: Hide}); err != nil {
				t.Fatal(err)
			}
			want.Add(counts)
		}
		if top {
			want.Nodes = 0
			mount("/", dirOf(t), vfs.Counts{Nodes: 1000, Handles: 2000, Descriptors: 3000, Bytes: 4000})
		}
		mount("/a", dirOf(t), vfs.Counts{Nodes: 1, Handles: 2, Descriptors: 3, Bytes: 4})
		mount("/s/b", plain(t, tempDir(t, "/dev/shm", "f")+"/f"), vfs.Counts{Nodes: 10, Handles: 20, Descriptors: 30, Bytes: 40})
		mounted(t, fs, "/s/t/c", struct{ vfs.FileSystem }{dirOf(t)}) // which hides that it counts
		begin(t, fs)
		check := func(when string) {
			t.Helper()
			if got := fs.Counts(); got != want {
				t.Errorf("%s: %+v, want %+v", when, got, want)
			}
		}
		check("at first")
		s := walk(t, fs, "/s").Node
		want.Nodes++
		check("with a synthetic directory")
		b, errno := find(fs, "/s/b")
		if errno != 0 {
			t.Fatal(errno)
		}
		for _, in := range fs.Mounts() {
			if c, is := in.FS.(*counting); is != (in.Counts != nil) || is && *in.Counts != c.counts {
				t.Errorf("%s holds %+v", in.Path, in.Counts)
			}
		}
		if errno := fs.Unlink(&root, s, name("b")); errno != 0 {
			t.Fatal(errno)
		}
		check("with a removed name")
		fs.Forget(b.Node, 1)
		drained(fs)
		want = vfs.Counts{Nodes: want.Nodes - 10, Handles: want.Handles - 20, Descriptors: want.Descriptors - 30, Bytes: want.Bytes - 40}
		check("when it is forgotten")
	}
}

// TestBacking asks for descriptors behind handles.
func TestBacking(t *testing.T) {
	for _, changing := range []bool{false, true} {
		fs := New(Config{Logger: quiet, Changing: changing})
		mounted(t, fs, "/", &counting{FileSystem: dirOf(t)})
		mounted(t, fs, "/a", &counting{FileSystem: dirOf(t)})
		mounted(t, fs, "/b", dirOf(t))
		begin(t, fs)
		a, b := walk(t, fs, "/a").Node, walk(t, fs, "/b").Node
		type asked struct {
			node vfs.NodeID
			h    vfs.Handle
		}
		for q, fd := range map[asked]int{
			{vfs.Root, 3}:          30,
			{vfs.Root, 0}:          -1,
			{a, 4}:                 40,
			{a + 1, 4}:             -1,
			{b, 4}:                 -1,
			{b + 1<<indexShift, 4}: -1,
			{1 << 63, 4}:           -1,
		} {
			if changing && q.node == a {
				fd = -1
			}
			got, ok := fs.Backing(q.node, q.h)
			if ok != (fd >= 0) || ok && got != fd {
				t.Errorf("changing %v: handle %d of %#x is backed by %d, %v", changing, q.h, q.node, got, ok)
			}
		}
		unmounted(t, fs, "/a")
		if _, ok := fs.Backing(a, 4); ok {
			t.Error("a handle of a mount that is gone is backed")
		}
		if n := testing.AllocsPerRun(100, func() { fs.Backing(vfs.Root, 3) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}
