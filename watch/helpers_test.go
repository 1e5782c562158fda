package watch_test

import (
	"io"
	"log/slog"
	"os"
	"syscall"
	"testing"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/scratch"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/watch"
)

const everything = ^vfs.Features(0)

func tempDir(t testing.TB, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "watch-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func nowhere() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func newScratch(t testing.TB) *scratch.FS {
	t.Helper()
	fs, err := scratch.New(scratch.Options{Logger: nowhere()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fs.Close(); err != nil {
			t.Error(err)
		}
	})
	return fs
}

func newShare(t testing.TB, cfg passthrough.Config) *passthrough.FS {
	t.Helper()
	cfg.Logger = nowhere()
	fs, err := passthrough.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fs.Close() })
	return fs
}

// watched is a session with a watched scratch space.
func watched(t testing.TB, o watch.Options) *watch.FS {
	t.Helper()
	fs := watch.New(newScratch(t), o)
	if _, errno := fs.Init(everything); errno != 0 {
		t.Fatal(errno)
	}
	return fs
}

func name(s string) vfs.Name {
	n, errno := vfs.MakeName(s)
	if errno != 0 {
		panic(s + ": " + errno.Error())
	}
	return n
}

// guest makes calls that have to succeed.
type guest struct {
	t  testing.TB
	fs vfs.FileSystem
	r  vfs.Request
}

func (g *guest) must(what string, errno syscall.Errno) {
	g.t.Helper()
	if errno != 0 {
		g.t.Fatalf("%s: %v", what, errno)
	}
}

func (g *guest) lookup(parent vfs.NodeID, s string) vfs.NodeID {
	g.t.Helper()
	var e vfs.Entry
	g.must("lookup of "+s, g.fs.Lookup(&g.r, parent, name(s), &e))
	return e.Node
}

func (g *guest) mkdir(parent vfs.NodeID, s string) vfs.NodeID {
	g.t.Helper()
	var e vfs.Entry
	g.must("mkdir of "+s, g.fs.Mkdir(&g.r, parent, name(s), 0o755, &e))
	return e.Node
}

func (g *guest) mknod(parent vfs.NodeID, s string) vfs.NodeID {
	g.t.Helper()
	var e vfs.Entry
	g.must("mknod of "+s, g.fs.Mknod(&g.r, parent, name(s), syscall.S_IFREG|0o644, 0, &e))
	return e.Node
}

func (g *guest) link(node, parent vfs.NodeID, s string) {
	g.t.Helper()
	var e vfs.Entry
	g.must("link to "+s, g.fs.Link(&g.r, node, parent, name(s), &e))
}

func (g *guest) unlink(parent vfs.NodeID, s string) {
	g.t.Helper()
	g.must("unlink of "+s, g.fs.Unlink(&g.r, parent, name(s)))
}

func (g *guest) rename(parent vfs.NodeID, s string, newParent vfs.NodeID, newName string, flags uint32) {
	g.t.Helper()
	g.must("rename of "+s+" to "+newName, g.fs.Rename(&g.r, parent, name(s), newParent, name(newName), flags))
}

func (g *guest) open(node vfs.NodeID, flags uint32) vfs.Handle {
	g.t.Helper()
	var o vfs.Opened
	g.must("open", g.fs.Open(&g.r, node, flags, false, &o))
	return o.Handle
}

// list is a DirSink that keeps what is added.
type list struct {
	names   []string
	entries []vfs.Entry
	most    int
}

func (l *list) Plus() bool    { return true }
func (l *list) Fits(int) bool { return l.most == 0 || len(l.names) < l.most }

func (l *list) Add(name []byte, _, _ uint64, _ uint32, e *vfs.Entry) {
	l.names = append(l.names, string(name))
	if e == nil {
		e = &vfs.Entry{}
	}
	l.entries = append(l.entries, *e)
}
