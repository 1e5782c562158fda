package watch_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/watch"
)

// TestPaths makes a change to a tree with /a, /a/f, /a/d, /a/d/f and /b, and looks
// what the nodes that these were are called now.
func TestPaths(t *testing.T) {
	type nodes struct{ a, af, ad, adf, b vfs.NodeID }
	start := nodes{}
	for _, tt := range []struct {
		what   string
		change func(*guest, nodes)
		want   [5]string // a, a/f, a/d, a/d/f, b
	}{
		{"nothing", func(*guest, nodes) {}, [5]string{"/a", "/a/f", "/a/d", "/a/d/f", "/b"}},
		{"rename a directory", func(g *guest, n nodes) {
			g.rename(n.a, "d", vfs.Root, "x", 0)
		}, [5]string{"/a", "/a/f", "/x", "/x/f", "/b"}},
		{"rename one above", func(g *guest, n nodes) {
			g.rename(vfs.Root, "a", n.b, "x", 0)
		}, [5]string{"/b/x", "/b/x/f", "/b/x/d", "/b/x/d/f", "/b"}},
		{"rename over a file", func(g *guest, n nodes) {
			g.rename(n.a, "f", n.ad, "f", 0)
		}, [5]string{"/a", "/a/d/f", "/a/d", "/a/d/f (deleted)", "/b"}},
		{"exchange files", func(g *guest, n nodes) {
			g.rename(n.a, "f", n.ad, "f", unix.RENAME_EXCHANGE)
		}, [5]string{"/a", "/a/d/f", "/a/d", "/a/f", "/b"}},
		{"exchange a file and a directory", func(g *guest, n nodes) {
			g.rename(n.a, "d", vfs.Root, "b", unix.RENAME_EXCHANGE)
		}, [5]string{"/a", "/a/f", "/b", "/b/f", "/a/d"}},
		{"whiteout", func(g *guest, n nodes) {
			g.rename(n.a, "f", vfs.Root, "w", unix.RENAME_WHITEOUT)
		}, [5]string{"/a", "/w", "/a/d", "/a/d/f", "/b"}},
		{"unlink", func(g *guest, n nodes) { g.unlink(n.a, "f") },
			[5]string{"/a", "/a/f (deleted)", "/a/d", "/a/d/f", "/b"}},
		{"rmdir", func(g *guest, n nodes) {
			g.unlink(n.ad, "f")
			g.must("rmdir", g.fs.Rmdir(&g.r, n.a, name("d")))
		}, [5]string{"/a", "/a/f", "/a/d (deleted)", "/a/d/f (deleted)", "/b"}},
		{"link", func(g *guest, n nodes) { g.link(n.af, n.b, "l") },
			[5]string{"/a", "/b/l", "/a/d", "/a/d/f", "/b"}},
		{"unlink one of two", func(g *guest, n nodes) {
			g.link(n.af, n.b, "l")
			g.unlink(n.b, "l")
		}, [5]string{"/a", "/a/f", "/a/d", "/a/d/f", "/b"}},
		{"unlink the other of two", func(g *guest, n nodes) {
			g.link(n.af, n.b, "l")
			g.unlink(n.a, "f")
		}, [5]string{"/a", "/b/l", "/a/d", "/a/d/f", "/b"}},
		{"unlink both", func(g *guest, n nodes) {
			g.link(n.af, n.b, "l")
			g.unlink(n.b, "l")
			g.unlink(n.a, "f")
		}, [5]string{"/a", "/a/f (deleted)", "/a/d", "/a/d/f", "/b"}},
		{"look up one of two", func(g *guest, n nodes) {
			g.link(n.af, n.b, "l")
			g.lookup(n.a, "f")
		}, [5]string{"/a", "/a/f", "/a/d", "/a/d/f", "/b"}},
		{"rename one of two to the other", func(g *guest, n nodes) {
			g.link(n.af, n.b, "l")
			g.rename(n.a, "f", n.b, "l", 0)
			g.unlink(n.b, "l")
		}, [5]string{"/a", "/a/f", "/a/d", "/a/d/f", "/b"}},
		{"made anew", func(g *guest, n nodes) {
			g.unlink(n.a, "f")
			g.mknod(n.a, "f")
		}, [5]string{"/a", "/a/f (deleted)", "/a/d", "/a/d/f", "/b"}},
		{"the directory above is forgotten", func(g *guest, n nodes) {
			g.fs.Forget(n.ad, 1)
		}, [5]string{"/a", "/a/f", "", "(unreachable)/f", "/b"}},
		{"and known again", func(g *guest, n nodes) {
			g.fs.Forget(n.ad, 1)
			g.lookup(g.lookup(n.a, "d"), "f")
		}, [5]string{"/a", "/a/f", "/a/d", "/a/d/f", "/b"}},
		{"as many links are gone as are kept but one", func(g *guest, n nodes) {
			manyLinks(g, n.af, n.b, 20, 7)
		}, [5]string{"/a", "/b/" + strings.Repeat("l", 13), "/a/d", "/a/d/f", "/b"}},
		{"as many links are gone as are kept", func(g *guest, n nodes) {
			manyLinks(g, n.af, n.b, 20, 8)
		}, [5]string{"/a", "/b/" + strings.Repeat("l", 13) + " (deleted)", "/a/d", "/a/d/f", "/b"}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			fs := watched(t, watch.Options{})
			g := &guest{t: t, fs: fs}
			n := start
			n.a = g.mkdir(vfs.Root, "a")
			n.af = g.mknod(n.a, "f")
			n.ad = g.mkdir(n.a, "d")
			n.adf = g.mknod(n.ad, "f")
			n.b = g.mkdir(vfs.Root, "b")
			tt.change(g, n)
			var got [5]string
			for i, id := range []vfs.NodeID{n.a, n.af, n.ad, n.adf, n.b} {
				got[i], _ = fs.Path(id)
			}
			if got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
			if p, ok := fs.Path(vfs.Root); p != "/" || !ok {
				t.Errorf("the root is %q, %v", p, ok)
			}
		})
	}
}

// manyLinks makes links to a file and removes the last of them again.
func manyLinks(g *guest, node, dir vfs.NodeID, links, gone int) {
	for i := range links {
		g.link(node, dir, strings.Repeat("l", i+1))
	}
	for i := range gone {
		g.unlink(dir, strings.Repeat("l", links-i))
	}
}

func TestPathOfUnnamed(t *testing.T) {
	fs := watched(t, watch.Options{})
	g := &guest{t: t, fs: fs}
	d := g.mkdir(vfs.Root, "d")
	var e vfs.Entry
	var o vfs.Opened
	g.must("tmpfile", fs.Tmpfile(&g.r, d, unix.O_RDWR, 0o600, &e, &o))
	got, _ := fs.Path(e.Node)
	if !strings.HasPrefix(got, "/d/#") || !strings.HasSuffix(got, " (deleted)") {
		t.Errorf("a file without a name is %q", got)
	}
	g.link(e.Node, vfs.Root, "named")
	if got, _ := fs.Path(e.Node); got != "/named" {
		t.Errorf("given a name, it is %q", got)
	}
}

func TestPathsOfListing(t *testing.T) {
	fs := watched(t, watch.Options{})
	g := &guest{t: t, fs: fs}
	d := g.mkdir(vfs.Root, "d")
	for _, s := range []string{"one", "two", "three"} {
		fs.Forget(g.mknod(d, s), 1)
	}
	before, _ := fs.Known()
	var o vfs.Opened
	g.must("opendir", fs.Opendir(&g.r, d, 0, &o))
	var l list
	g.must("readdir", fs.Readdir(&g.r, d, o.Handle, 0, &l))
	seen := 0
	for i, e := range l.entries {
		if e.Node == 0 {
			continue
		}
		seen++
		if got, _ := fs.Path(e.Node); got != "/d/"+l.names[i] {
			t.Errorf("%s is %q", l.names[i], got)
		}
		fs.Forget(e.Node, 1)
	}
	if after, _ := fs.Known(); seen != 3 || after != before {
		t.Errorf("%d of 3 were looked up; then %d nodes are left, of %d before", seen, after, before)
	}
}

// TestPathsChangeOnHost renames, replaces and removes files behind the guest's back.
func TestPathsChangeOnHost(t *testing.T) {
	dir := tempDir(t, "/dev/shm")
	for _, s := range []string{"gone", "moved", "replaced"} {
		if err := os.WriteFile(filepath.Join(dir, s), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "old/in"), 0o755); err != nil {
		t.Fatal(err)
	}
	fs := watch.New(newShare(t, passthrough.Config{Path: dir}), watch.Options{})
	fs.Init(everything)
	g := &guest{t: t, fs: fs}
	gone, moved, replaced := g.lookup(vfs.Root, "gone"), g.lookup(vfs.Root, "moved"), g.lookup(vfs.Root, "replaced")
	old := g.lookup(vfs.Root, "old")
	in := g.lookup(old, "in")
	for _, err := range []error{
		os.Remove(filepath.Join(dir, "gone")),
		os.Rename(filepath.Join(dir, "moved"), filepath.Join(dir, "elsewhere")),
		os.WriteFile(filepath.Join(dir, "other"), nil, 0o644),
		os.Rename(filepath.Join(dir, "other"), filepath.Join(dir, "replaced")),
		os.Rename(filepath.Join(dir, "old"), filepath.Join(dir, "new")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var e vfs.Entry
	fs.Lookup(&g.r, vfs.Root, name("gone"), &e)
	g.lookup(vfs.Root, "elsewhere")
	g.lookup(vfs.Root, "replaced")
	g.lookup(vfs.Root, "new")
	var got []string
	for _, id := range []vfs.NodeID{gone, moved, replaced, in} {
		p, _ := fs.Path(id)
		got = append(got, p)
	}
	if want := []string{"/gone (deleted)", "/elsewhere", "/replaced (deleted)", "/new/in"}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	g.must("rmdir", fs.Rmdir(&g.r, old, name("in")))
	g.must("rmdir", fs.Rmdir(&g.r, vfs.Root, name("new")))
	if got, _ := fs.Path(in); got != "/new/in (deleted)" {
		t.Errorf("removed, it is %q", got)
	}
}

func TestPathTooLong(t *testing.T) {
	fs := watched(t, watch.Options{})
	g := &guest{t: t, fs: fs}
	long := strings.Repeat("n", vfs.MaxName)
	at := vfs.Root
	want := ""
	for range 16 { // 16 times 256 bytes are 4096
		at = g.mkdir(at, long)
		want += "/" + long
	}
	if got, _ := fs.Path(at); got != want {
		t.Errorf("a path of PATH_MAX is %d bytes long and begins with %.20q", len(got), got)
	}
	last := g.mkdir(at, "x")
	want = "(unreachable)" + strings.Repeat("/"+long, 15) + "/x"
	if got, _ := fs.Path(last); got != want {
		t.Errorf("a longer path is %d bytes long and begins with %.20q", len(got), got)
	}
	g.must("rmdir", fs.Rmdir(&g.r, at, name("x")))
	if got, _ := fs.Path(last); got != want+" (deleted)" {
		t.Errorf("removed, it is %d bytes long", len(got))
	}
}

func TestSessionsForget(t *testing.T) {
	fs := watched(t, watch.Options{})
	g := &guest{t: t, fs: fs}
	for _, begin := range []func(){func() { fs.Init(everything) }, fs.Destroy} {
		n := g.mknod(vfs.Root, "f")
		g.open(n, unix.O_RDWR)
		begin()
		if nodes, names := fs.Known(); nodes != 1 || names != 0 || fs.NumOpen() != 0 {
			t.Errorf("after a session, %d nodes, %d names and %d open files are left", nodes, names, fs.NumOpen())
		}
		if p, ok := fs.Path(n); ok {
			t.Errorf("a node of an earlier session is %q", p)
		}
		g.must("unlink", fs.Unlink(&g.r, vfs.Root, name("f")))
	}
}
