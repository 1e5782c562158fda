package tree

import (
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
)

const day = 24 * time.Hour

// forever shares a new directory whose names guests may keep for a day.
func forever(t *testing.T, files ...string) vfs.FileSystem {
	return share(t, passthrough.Config{Path: tempDir(t, "/dev/shm", files...), Cache: passthrough.CacheAlways})
}

// entryCalls are all calls that tell a guest for how long it may keep a name.
var entryCalls = map[string]func(fs *FS, dir vfs.NodeID, file vfs.Entry, e *vfs.Entry) syscall.Errno{
	"lookup": func(fs *FS, d vfs.NodeID, _ vfs.Entry, e *vfs.Entry) syscall.Errno {
		return fs.Lookup(&root, d, name("file"), e)
	},
	"lookup of nothing": func(fs *FS, d vfs.NodeID, _ vfs.Entry, e *vfs.Entry) syscall.Errno {
		return fs.Lookup(&root, d, name("none"), e)
	},
	"create": func(fs *FS, d vfs.NodeID, _ vfs.Entry, e *vfs.Entry) syscall.Errno {
		var o vfs.Opened
		errno := fs.Create(&root, d, name("created"), unix.O_RDWR|unix.O_CREAT, 0o644, e, &o)
		fs.Release(&root, e.Node, o.Handle, &vfs.ReleaseIn{})
		return errno
	},
	"mkdir": func(fs *FS, d vfs.NodeID, _ vfs.Entry, e *vfs.Entry) syscall.Errno {
		return fs.Mkdir(&root, d, name("made"), 0o755, e)
	},
	"mknod": func(fs *FS, d vfs.NodeID, _ vfs.Entry, e *vfs.Entry) syscall.Errno {
		return fs.Mknod(&root, d, name("node"), unix.S_IFREG|0o644, 0, e)
	},
	"symlink": func(fs *FS, d vfs.NodeID, _ vfs.Entry, e *vfs.Entry) syscall.Errno {
		return fs.Symlink(&root, d, name("symlink"), []byte("x\x00"), e)
	},
	"link": func(fs *FS, d vfs.NodeID, file vfs.Entry, e *vfs.Entry) syscall.Errno {
		return fs.Link(&root, file.Node, d, name("link"), e)
	},
	"listing": func(fs *FS, d vfs.NodeID, _ vfs.Entry, e *vfs.Entry) syscall.Errno {
		var o vfs.Opened
		if errno := fs.Opendir(&root, d, 0, &o); errno != 0 {
			return errno
		}
		defer fs.Releasedir(&root, d, o.Handle)
		l := &list{plus: true, room: 100}
		errno := fs.Readdir(&root, d, o.Handle, 0, l)
		for _, x := range l.got {
			if x.name == "file" {
				*e = x.entry
			}
		}
		return errno
	},
}

// TestChangingTTL checks for how long guests may keep names and listings, in a tree
// that changes and in one that does not.
func TestChangingTTL(t *testing.T) {
	for _, changing := range []bool{false, true} {
		for _, at := range []string{"/", "/m"} {
			fs := New(Config{Logger: quiet, Changing: changing})
			mounted(t, fs, at, forever(t, "file"))
			if agreed := begin(t, fs); agreed.Has(vfs.FeatNoOpendir) {
				t.Error("directories need not be opened")
			}
			dir := vfs.Root
			if at != "/" {
				dir = walk(t, fs, at).Node
			}
			file := walk(t, fs, at+"/file")
			ttl := day
			if changing {
				ttl = time.Second
			}
			for what, call := range entryCalls {
				var e vfs.Entry
				want(t, what, call(fs, dir, file, &e), 0)
				if e.EntryTTL != ttl {
					t.Errorf("%s in %s, changing %v: a guest may keep the name for %v", what, at, changing, e.EntryTTL)
				}
				if e.Node != 0 && e.AttrTTL != day {
					t.Errorf("%s in %s, changing %v: a guest may keep attributes for %v", what, at, changing, e.AttrTTL)
				}
			}
			var o vfs.Opened
			want(t, "opendir", fs.Opendir(&root, dir, 0, &o), 0)
			if cached := o.Flags&vfs.OpenCacheDir != 0; cached == changing || o.Flags&vfs.OpenKeepCache == 0 {
				t.Errorf("changing %v: a listing of %s has flags %#x", changing, at, o.Flags)
			}
			want(t, "releasedir", fs.Releasedir(&root, dir, o.Handle), 0)
		}
	}
}

// cachingGuest keeps what it was told for as long as it was told, by a clock of its
// own.
type cachingGuest struct {
	fs    *FS
	now   time.Duration
	names map[string]cachedName
}

type cachedName struct {
	node  vfs.NodeID
	until time.Duration
}

func (g *cachingGuest) lookup(n string) vfs.NodeID {
	c, ok := g.names[n]
	if !ok || c.until <= g.now {
		var e vfs.Entry
		if errno := g.fs.Lookup(&root, vfs.Root, name(n), &e); errno != 0 {
			e = vfs.Entry{}
		}
		c = cachedName{e.Node, g.now + e.EntryTTL}
		g.names[n] = c
	}
	return c.node
}

// TestChanging mounts over names that a guest has just looked up, of a file, of a
// directory and of nothing, and unmounts again: after a second the guest knows.
func TestChanging(t *testing.T) {
	fs := New(Config{Logger: quiet, Changing: true})
	mounted(t, fs, "/", forever(t, "file", "dir/"))
	begin(t, fs)
	g := &cachingGuest{fs: fs, names: map[string]cachedName{}}
	places := []string{"file", "dir", "none"}
	was := map[string]vfs.NodeID{}
	for _, n := range places {
		was[n] = g.lookup(n)
	}
	for round := range 3 {
		for _, n := range places {
			if got := g.lookup(n); got != was[n] {
				t.Fatalf("round %d: before, %s is %#x, want %#x", round, n, got, was[n])
			}
			mounted(t, fs, "/"+n, forever(t, "x"))
		}
		g.now += time.Second
		for _, n := range places {
			if got, there := g.lookup(n), fs.mounts["/"+n].root(); got != there {
				t.Errorf("round %d: a second after the mount, %s is %#x, want %#x", round, n, got, there)
			}
			unmounted(t, fs, "/"+n)
		}
		g.now += time.Second
	}
	for i, n := range places {
		want := "dir file"
		if n == "none" {
			want = "dir file none"
		}
		mounted(t, fs, "/"+n, forever(t))
		if got := names(t, fs, "/"); got != want {
			t.Errorf("with %d mounts a listing has %q", i+1, got)
		}
	}
}
