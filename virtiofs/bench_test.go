package virtiofs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fuse/fusetest"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

// workload is one request, or a few that belong together, on the hot path.
type workload struct {
	name string
	do   func(c *fusetest.Client, s *scene) error
}

// scene is what the workloads work on: a file and a directory that are known and
// open, and a known name.
type scene struct {
	file, dir vfs.NodeID
	fh, dh    vfs.Handle
	small     []byte // 4 KiB
	big       []byte // 1 MiB
	list      []byte
}

func check(what string, errno error) error {
	if errno == nil || errno == unix.Errno(0) {
		return nil
	}
	return fmt.Errorf("%s: %w", what, errno)
}

var workloads = []workload{
	{"GETATTR", func(c *fusetest.Client, s *scene) error {
		_, e := c.Getattr(s.file, vfs.NoHandle)
		return check("GETATTR", e)
	}},
	{"LOOKUP+FORGET", func(c *fusetest.Client, s *scene) error {
		n, e := c.Lookup(vfs.Root, "file")
		c.Forget(n.Node, 1)
		return check("LOOKUP", e)
	}},
	{"OPEN+RELEASE", func(c *fusetest.Client, s *scene) error {
		o, e := c.Open(s.file, unix.O_RDONLY, false)
		c.Release(s.file, o.Handle, vfs.ReleaseIn{})
		return check("OPEN", e)
	}},
	{"READ-4K", func(c *fusetest.Client, s *scene) error {
		_, e := c.Read(s.file, s.fh, s.small, 4096, 0)
		return check("READ", e)
	}},
	{"READ-1M", func(c *fusetest.Client, s *scene) error {
		_, e := c.Read(s.file, s.fh, s.big, 0, 0)
		return check("READ", e)
	}},
	{"WRITE-4K", func(c *fusetest.Client, s *scene) error {
		_, e := c.Write(s.file, s.fh, s.small, 4096, unix.O_RDWR, 0)
		return check("WRITE", e)
	}},
	{"WRITE-1M", func(c *fusetest.Client, s *scene) error {
		_, e := c.Write(s.file, s.fh, s.big, 0, unix.O_RDWR, 0)
		return check("WRITE", e)
	}},
	{"READDIR", func(c *fusetest.Client, s *scene) error {
		_, e := c.Readdir(s.dir, s.dh, 0, s.list)
		return check("READDIR", e)
	}},
	{"FLUSH", func(c *fusetest.Client, s *scene) error {
		return check("FLUSH", c.Flush(s.file, s.fh, 1))
	}},
	{"STATFS", func(c *fusetest.Client, s *scene) error {
		_, e := c.Statfs(vfs.Root)
		return check("STATFS", e)
	}},
	{"STATX", func(c *fusetest.Client, s *scene) error {
		_, e := c.Statx(s.file, vfs.NoHandle, 0, unix.STATX_BASIC_STATS|unix.STATX_BTIME)
		return check("STATX", e)
	}},
	{"GETXATTR", func(c *fusetest.Client, s *scene) error {
		_, e := c.Getxattr(s.file, "user.name", s.small[:64])
		return check("GETXATTR", e)
	}},
	{"SETATTR", func(c *fusetest.Client, s *scene) error {
		_, e := c.Setattr(s.file, vfs.NoHandle, vfs.SetAttr{Valid: vfs.SetMode, Mode: 0o644})
		return check("SETATTR", e)
	}},
	{"LSEEK", func(c *fusetest.Client, s *scene) error {
		_, e := c.Lseek(s.file, s.fh, 0, unix.SEEK_DATA)
		return check("LSEEK", e)
	}},
}

// nullScene is a scene on fusetest.NullFS, where any id and handle will do.
func nullScene(testing.TB, *fusetest.Client) *scene {
	return newScene(2, 2, 3, 3)
}

func newScene(file, dir vfs.NodeID, fh, dh vfs.Handle) *scene {
	return &scene{file: file, dir: dir, fh: fh, dh: dh,
		small: make([]byte, 4096), big: make([]byte, 1<<20), list: make([]byte, 4096)}
}

// hostScene opens the scene of a directory made by hostDir.
func hostScene(t testing.TB, c *fusetest.Client) *scene {
	must := func(errno error) {
		t.Helper()
		if err := check("scene", errno); err != nil {
			t.Fatal(err)
		}
	}
	file, e := c.Lookup(vfs.Root, "file")
	must(e)
	dir, e := c.Lookup(vfs.Root, "dir")
	must(e)
	fo, e := c.Open(file.Node, unix.O_RDWR, false)
	must(e)
	do, e := c.Opendir(dir.Node, 0)
	must(e)
	return newScene(file.Node, dir.Node, fo.Handle, do.Handle)
}

func hostDir(t testing.TB) *passthrough.FS {
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	if err := os.WriteFile(name, []byte(strings.Repeat("x", 2<<20)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(name, "user.name", []byte("value"), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := os.WriteFile(filepath.Join(dir, "dir", fmt.Sprint(i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	fs, err := passthrough.New(passthrough.Config{Path: dir, Logger: quiet, Xattr: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fs.Close() })
	return fs
}

// onRing calls f for each workload on a request queue of a served device.
func onRing(t testing.TB, fs vfs.FileSystem, open func(testing.TB, *fusetest.Client) *scene, stats *fuse.Stats, f func(name string, do func() error)) {
	m := newMachineWith(t, fs, 1, virtqtest.Config{Size: 128, EventIdx: true}, stats)
	c := m.client(0)
	s := open(t, c)
	for _, w := range workloads {
		f(w.name, func() error { return w.do(c, s) })
	}
	if err := c.Err(); err != nil {
		t.Error(err)
	}
}

var backends = []struct {
	name string
	fs   func(testing.TB) vfs.FileSystem
	open func(testing.TB, *fusetest.Client) *scene
}{
	{"null", func(testing.TB) vfs.FileSystem { return fusetest.NullFS{} }, nullScene},
	{"passthrough", func(t testing.TB) vfs.FileSystem { return hostDir(t) }, hostScene},
}

// BenchmarkRing is the cost of a request from the driver's side: through the
// ring, the worker, the server and the file system, with both wake-ups.
func BenchmarkRing(b *testing.B) {
	for _, back := range backends {
		b.Run(back.name, func(b *testing.B) {
			onRing(b, back.fs(b), back.open, nil, func(name string, do func() error) {
				b.Run(name, func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						if err := do(); err != nil {
							b.Fatal(err)
						}
					}
				})
			})
		})
	}
}

// TestHotPathDoesNotAllocate counts the allocations of the whole process: of the
// worker's goroutine too.
func TestHotPathDoesNotAllocate(t *testing.T) {
	for _, back := range backends {
		for name, stats := range map[string]*fuse.Stats{"": nil, " counted": fuse.NewStats()} {
			t.Run(back.name+name, func(t *testing.T) {
				onRing(t, back.fs(t), back.open, stats, func(name string, do func() error) {
					for range 20 {
						if err := do(); err != nil {
							t.Fatalf("%s: %v", name, err)
						}
					}
					if n := testing.AllocsPerRun(200, func() { do() }); n != 0 {
						t.Errorf("%s: %v allocations per request", name, n)
					}
				})
			})
		}
	}
}
