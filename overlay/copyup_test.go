package overlay_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
)

// overSmall is an overlay over the small tree, and its lower directory, which
// must not change.
func overSmall(t testing.TB) (*layers, *guest, string) {
	t.Helper()
	dir := tempDir(t, "/tmp")
	small(t, dir)
	before := hostTree(t, dir)
	t.Cleanup(func() { sameTree(t, before, hostTree(t, dir)) })
	l := newLayers(t, dir, "/tmp", passthrough.HandlesPrefer)
	if _, errno := l.Init(0); errno != 0 {
		t.Fatal(errno)
	}
	return l, newGuest(l), dir
}

func (g *guest) must(t testing.TB, p string) vfs.Entry {
	t.Helper()
	e, errno := g.walk(p)
	if errno != 0 {
		t.Fatalf("%s: %v", p, errno)
	}
	return e
}

// TestIdentity shows that node and inode number stay over a copy-up, the number
// also when the guest has forgotten the node and in a new session.
func TestIdentity(t *testing.T) {
	for _, p := range []string{"plain", "file", "full", "link", "pipe"} {
		t.Run(p, func(t *testing.T) {
			l, g, _ := overSmall(t)
			e := g.must(t, p)
			if errno := g.chown(p, 5, 6); errno != 0 {
				t.Fatal(errno)
			}
			after := g.must(t, p)
			if after.Node != e.Node || after.Attr.Ino != e.Attr.Ino {
				t.Errorf("before the copy-up it is node %d, inode %d, and after it %d, %d", e.Node, e.Attr.Ino, after.Node, after.Attr.Ino)
			}
			l.Forget(e.Node, 2)
			if errno := l.Getattr(&g.r, e.Node, vfs.NoHandle, &vfs.AttrOut{}); errno != syscall.ESTALE {
				t.Errorf("a forgotten node: %v, want ESTALE", errno)
			}
			for _, now := range []string{p, "renamed", "renamed"} {
				if now != p {
					g.rename(p, now, 0)
				}
				e2 := g.must(t, now)
				if e2.Attr.Ino != e.Attr.Ino || e2.Attr.UID != 5 {
					t.Errorf("%s is inode %d of %d, want %d of 5", now, e2.Attr.Ino, e2.Attr.UID, e.Attr.Ino)
				}
				if _, errno := l.Init(0); errno != 0 {
					t.Fatal(errno)
				}
			}
		})
	}
}

// TestHardLinks changes a lower file by one of its names and looks at the other.
func TestHardLinks(t *testing.T) {
	for _, sessions := range []bool{false, true} {
		l, g, _ := overSmall(t)
		g.keep = !sessions
		next := func() {
			if sessions {
				if _, errno := l.Init(0); errno != 0 {
					t.Fatal(errno)
				}
			}
		}
		if errno := g.write("file", unix.O_WRONLY|unix.O_TRUNC, "new", 0); errno != 0 {
			t.Fatal(errno)
		}
		next()
		if data, errno := g.read("other-name"); data != "new" || errno != 0 {
			t.Errorf("by the other name the file has %.20q, %v", data, errno)
		}
		a, b := g.must(t, "file"), g.must(t, "other-name")
		if a.Node != b.Node || a.Attr.Nlink != 2 || a.Attr.Ino != b.Attr.Ino {
			t.Errorf("two names are nodes %d and %d with %d links", a.Node, b.Node, a.Attr.Nlink)
		}
		l.Forget(a.Node, 1)
		l.Forget(a.Node, 1)
		next()
		if errno := g.unlink("file"); errno != 0 {
			t.Fatal(errno)
		}
		next()
		if e := g.must(t, "other-name"); e.Attr.Nlink != 1 {
			t.Errorf("after the removal of one name there are %d links", e.Attr.Nlink)
		} else {
			l.Forget(e.Node, 1)
		}
		next()
		if errno := g.unlink("other-name"); errno != 0 {
			t.Fatal(errno)
		}
		g.end()
		next()
		if s := l.Stats(); s.Records != 1 {
			t.Errorf("after the removal of both there are %d records, want the root's", s.Records)
		}
	}
}

// TestFollow has a file open for reading while it is copied up.
func TestFollow(t *testing.T) {
	l, g, _ := overSmall(t)
	node, h, errno := g.open("plain", unix.O_RDONLY)
	if errno != 0 {
		t.Fatal(errno)
	}
	if errno := g.write("plain", unix.O_WRONLY|unix.O_TRUNC, "changed", 0); errno != 0 {
		t.Fatal(errno)
	}
	if data, errno := g.pread(node, h, 100); data != "changed" || errno != 0 {
		t.Errorf("the open file reads %q, %v", data, errno)
	}
	if errno := g.unlink("plain"); errno != 0 {
		t.Fatal(errno)
	}
	if data, errno := g.pread(node, h, 100); data != "changed" || errno != 0 {
		t.Errorf("after the removal the open file reads %q, %v", data, errno)
	}
	var a vfs.AttrOut
	if errno := l.Getattr(&g.r, node, h, &a); errno != 0 || a.Attr.Nlink != 0 {
		t.Errorf("the removed file has %d links, %v", a.Attr.Nlink, errno)
	}
	if errno := g.fs.Link(&g.r, node, vfs.Root, name("again"), &vfs.Entry{}); errno != syscall.ENOENT {
		t.Errorf("a link to what was removed: %v, want ENOENT", errno)
	}
	if _, errno := l.Write(&g.r, node, h, []unix.Iovec{oslib.Iov([]byte("x"))}, 0, unix.O_RDONLY, 0); errno != syscall.EBADF {
		t.Errorf("a write to a file that is open for reading: %v, want EBADF", errno)
	}
	g.close(node, h)
	if c, s := l.Counts(), l.Stats(); c.Nodes != 1 || c.Handles != 0 || s.Records != 1 {
		t.Errorf("at the end there are %+v and %+v", c, s)
	}
}

// TestRemovedOpen changes a lower file that is open and has no name.
func TestRemovedOpen(t *testing.T) {
	l, g, _ := overSmall(t)
	node, h, errno := g.open("plain", unix.O_RDONLY)
	if errno != 0 {
		t.Fatal(errno)
	}
	g.unlink("plain")
	var a vfs.AttrOut
	if errno := l.Setattr(&g.r, node, h, &vfs.SetAttr{Valid: vfs.SetMode, Mode: 0o600}, &a); errno != 0 || a.Attr.Mode&0o777 != 0o600 || a.Attr.Nlink != 0 {
		t.Errorf("chmod of a removed file: mode %#o, %d links, %v", a.Attr.Mode, a.Attr.Nlink, errno)
	}
	if data, errno := g.pread(node, h, 100); data != "plain" || errno != 0 {
		t.Errorf("it reads %q, %v", data, errno)
	}
	g.close(node, h)
	if c, s := l.Counts(), l.Stats(); c.Nodes != 1 || s.Records != 1 {
		t.Errorf("at the end there are %+v and %+v", c, s)
	}
}

// TestSparse copies up a file with holes: they stay, and no more than what is
// there is read.
func TestSparse(t *testing.T) {
	dir := tempDir(t, "/tmp")
	p := filepath.Join(dir, "sparse")
	const size = 1 << 40
	if err := os.WriteFile(p, []byte("start"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(p, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte(strings.Repeat("middle", 1<<18)), 1<<30)
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	f.Close()
	l := newLayers(t, dir, "/tmp", passthrough.HandlesNever)
	if _, errno := l.Init(0); errno != 0 {
		t.Fatal(errno)
	}
	g := newGuest(l)
	before := g.must(t, "sparse")
	if errno := g.chmod("sparse", 0o600); errno != 0 {
		t.Fatal(errno)
	}
	after := g.must(t, "sparse")
	if after.Attr.Size != size || after.Attr.Blocks > before.Attr.Blocks+64 {
		t.Errorf("a file of %d bytes in %d blocks has become one of %d in %d", before.Attr.Size, before.Attr.Blocks, after.Attr.Size, after.Attr.Blocks)
	}
	node, h, errno := g.open("sparse", unix.O_RDONLY)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer g.close(node, h)
	buf := make([]byte, 12)
	for off, want := range map[uint64]string{0: "start", 1 << 30: "middlemiddle", 1<<30 + 6<<18 - 6: "middle"} {
		if _, errno := l.Read(&g.r, node, h, []unix.Iovec{oslib.Iov(buf)}, off, 0); errno != 0 || !strings.HasPrefix(string(buf), want) {
			t.Errorf("at %d there is %q, %v", off, buf, errno)
		}
	}
}

// TestNowait shows that nothing is copied in a call that must not wait.
func TestNowait(t *testing.T) {
	l, g, _ := overSmall(t)
	e := g.must(t, "file")
	r := &vfs.Request{Nowait: true}
	calls := map[string]func() syscall.Errno{
		"Open": func() syscall.Errno { return l.Open(r, e.Node, unix.O_RDWR, false, &vfs.Opened{}) },
		"Setattr": func() syscall.Errno {
			return l.Setattr(r, e.Node, vfs.NoHandle, &vfs.SetAttr{Valid: vfs.SetMode}, &vfs.AttrOut{})
		},
		"Setxattr": func() syscall.Errno { return l.Setxattr(r, e.Node, []byte("user.x\x00"), nil, 0, false) },
		"Link":     func() syscall.Errno { return l.Link(r, e.Node, vfs.Root, name("new"), &vfs.Entry{}) },
		"Rename":   func() syscall.Errno { return l.Rename(r, vfs.Root, name("file"), vfs.Root, name("new"), 0) },
		"Unlink":   func() syscall.Errno { return l.Unlink(r, vfs.Root, name("plain")) },
		"Rmdir":    func() syscall.Errno { return l.Rmdir(r, vfs.Root, name("empty")) },
		"Mkdir":    func() syscall.Errno { return l.Mkdir(r, vfs.Root, name("new"), 0o755, &vfs.Entry{}) },
	}
	for what, call := range calls {
		if errno := call(); errno != vfs.WouldBlock {
			t.Errorf("%s: %v, want WouldBlock", what, errno)
		}
	}
	if c, s := l.Counts(), l.Stats(); s.Records != 0 || c.Nodes != 2 {
		t.Errorf("after calls that did nothing there are %+v and %+v", c, s)
	}
	l.Forget(e.Node, 1)
}

// TestListing lists a merged directory in pieces while it changes: what was
// there all the time comes once.
func TestListing(t *testing.T) {
	for _, parent := range []string{"/tmp", "/dev/shm"} {
		dir := tempDir(t, parent)
		const n = 300
		for i := range n {
			if err := os.WriteFile(filepath.Join(dir, "lower-"+strings.Repeat("x", i%50)+string(rune('a'+i/50))), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		l := newLayers(t, dir, parent, passthrough.HandlesNever)
		if _, errno := l.Init(0); errno != 0 {
			t.Fatal(errno)
		}
		g := newGuest(l)
		for i := range n {
			if errno := g.mkdir("upper-"+strings.Repeat("y", i%50)+string(rune('a'+i/50)), 0o755); errno != 0 {
				t.Fatal(errno)
			}
		}
		for _, plus := range []bool{false, true} {
			g.plus = plus
			var o vfs.Opened
			if errno := l.Opendir(&g.r, vfs.Root, 0, &o); errno != 0 {
				t.Fatal(errno)
			}
			s := names{g: g}
			positions := map[uint64]bool{}
			for i := 0; ; i++ {
				before := len(s.got)
				s.room = 1 + i%5
				if errno := l.Readdir(&g.r, vfs.Root, o.Handle, s.next, &s); errno != 0 {
					t.Fatal(errno)
				}
				if len(s.got) == before {
					break
				}
				if positions[s.next] || int64(s.next) < 0 {
					t.Fatalf("position %#x comes twice or is negative", s.next)
				}
				positions[s.next] = true
				g.write("between", unix.O_WRONLY|unix.O_CREAT, "", 0)
				g.unlink("between")
			}
			count := map[string]int{}
			for i, name := range s.got {
				if name[0] == '.' {
					count[name]++
					continue
				}
				if e, errno := g.walk(name); errno == 0 {
					if e.Attr.Ino != s.inos[i] {
						t.Errorf("%q is listed as inode %d and is %d", name, s.inos[i], e.Attr.Ino)
					}
					l.Forget(e.Node, 1)
				}
				if name != "between" {
					count[name]++
				}
			}
			for name, times := range count {
				if times != 1 {
					t.Errorf("%q is listed %d times", name, times)
				}
			}
			if len(count) != 2*n+2 {
				t.Errorf("%d names are listed, want %d", len(count), 2*n+2)
			}
			l.Releasedir(&g.r, vfs.Root, o.Handle)
		}
		g.end()
	}
}
