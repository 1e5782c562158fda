package overlay_test

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/scratch"
	"github.com/isthmus-fs/isthmus/vfs"
)

func newScratch(t *testing.T) *scratch.FS {
	t.Helper()
	fs, err := scratch.New(scratch.Options{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fs.Close() })
	return fs
}

// TestCounts: the overlay's own nodes and handles, and what its children hold of the
// host.
func TestCounts(t *testing.T) {
	lower, upper := newScratch(t), newScratch(t)
	r := &vfs.Request{}
	if errno := lower.Mknod(r, vfs.Root, name("f"), unix.S_IFREG|0o644, 0, &vfs.Entry{}); errno != 0 {
		t.Fatal(errno)
	}
	fs := newOverlay(t, lower, upper)
	check := func(nodes, handles uint64) {
		t.Helper()
		want := vfs.Counts{Nodes: nodes, Handles: handles, Descriptors: 2, Bytes: lower.Counts().Bytes + upper.Counts().Bytes}
		if c := fs.Counts(); c != want {
			t.Errorf("the counts are %+v, want %+v", c, want)
		}
	}
	if _, errno := fs.Init(0); errno != 0 {
		t.Fatal(errno)
	}
	check(1, 0)
	before := upper.Counts().Bytes
	var e vfs.Entry
	var o vfs.Opened
	if errno := fs.Lookup(r, vfs.Root, name("f"), &e); errno != 0 {
		t.Fatal(errno)
	}
	check(2, 0)
	if errno := fs.Open(r, e.Node, unix.O_RDWR, false, &o); errno != 0 {
		t.Fatal(errno)
	}
	if _, errno := fs.Write(r, e.Node, o.Handle, []unix.Iovec{oslib.Iov([]byte("content"))}, 0, unix.O_RDWR, 0); errno != 0 {
		t.Fatal(errno)
	}
	check(2, 1)
	if grown := upper.Counts().Bytes - before; grown < 4096 {
		t.Errorf("a page that is written takes %d bytes", grown)
	}
	fs.Release(r, e.Node, o.Handle, &vfs.ReleaseIn{})
	fs.Forget(e.Node, 1)
	check(1, 0)
	// A child that cannot say what it holds counts as nothing.
	mute := newOverlay(t, struct{ vfs.FileSystem }{lower}, struct{ vfs.FileSystem }{upper})
	if c := mute.Counts(); c != (vfs.Counts{Nodes: 1}) {
		t.Errorf("without a child that counts, the counts are %+v", c)
	}
}

// opinion is a child with wishes of its own.
type opinion struct {
	vfs.FileSystem
	wants, tolerates vfs.Features
	offered          vfs.Features // at last
	fails            syscall.Errno
}

func (o *opinion) Init(offered vfs.Features) (vfs.Features, syscall.Errno) {
	o.FileSystem.Init(0)
	o.offered = offered
	return offered & o.wants, o.fails
}

func (o *opinion) Tolerates() vfs.Features { return o.tolerates }

// TestAgree combines the wishes of the children.
func TestAgree(t *testing.T) {
	const a, b = vfs.FeatCacheSymlinks, vfs.FeatIDMap // a say of both
	const change = vfs.FeatKillPriv                   // of the upper alone
	for _, tt := range []struct {
		what                             string
		upper, upperCan, lower, lowerCan vfs.Features
		agreed                           vfs.Features
	}{
		{"both want it", a | b, 0, a | b, 0, a | b},
		{"one does not", a | b, 0, a, 0, a},
		{"nor the other", a, 0, a | b, 0, a},
		{"the lower tolerates it", a, 0, 0, a | b, a},
		{"the upper tolerates it", 0, a | b, a, 0, a},
		{"nobody wants it", 0, a, 0, a, 0},
		{"of changes", change, 0, 0, 0, change},
		{"of changes, which the upper does not want", 0, 0, change, 0, 0},
		{"of changes, which the upper tolerates", 0, change, change, 0, 0},
		{"locks", vfs.FeatFlock, 0, vfs.FeatFlock, 0, 0},
	} {
		upper := &opinion{newScratch(t), tt.upper, tt.upperCan, 0, 0}
		lower := &opinion{newScratch(t), tt.lower, tt.lowerCan, 0, 0}
		agreed, errno := newOverlay(t, lower, upper).Init(^vfs.Features(0))
		if agreed != tt.agreed || errno != 0 {
			t.Errorf("%s: agreed to %#x, %v; want %#x", tt.what, agreed, errno, tt.agreed)
		}
		// None acts upon what was not agreed.
		if got := upper.offered & upper.wants &^ agreed; got != 0 {
			t.Errorf("%s: the upper counts on %#x", tt.what, got)
		}
		if got := lower.offered & lower.wants &^ (agreed | change); got != 0 {
			t.Errorf("%s: the lower counts on %#x", tt.what, got)
		}
	}
	for _, o := range [][2]syscall.Errno{{syscall.EPROTO, 0}, {0, syscall.EPROTO}} {
		fs := newOverlay(t, &opinion{newScratch(t), a, 0, 0, o[0]}, &opinion{newScratch(t), a, 0, 0, o[1]})
		if agreed, errno := fs.Init(a); agreed != 0 || errno != syscall.EPROTO {
			t.Errorf("refused by a child: %#x, %v", agreed, errno)
		}
	}
}

// TestTolerates: what neither child minds, or only the lower one of changes.
func TestTolerates(t *testing.T) {
	const a, change, opens = vfs.FeatCacheSymlinks, vfs.FeatWriteback, vfs.FeatNoOpen
	for _, tt := range []struct{ upper, lower, want vfs.Features }{
		{a, a, a}, {a, 0, 0}, {0, a, 0}, {change, 0, change}, {0, change, 0}, {opens, opens, 0},
	} {
		fs := newOverlay(t, &opinion{newScratch(t), 0, tt.lower, 0, 0}, &opinion{newScratch(t), 0, tt.upper, 0, 0})
		if got := fs.Tolerates(); got != tt.want {
			t.Errorf("%#x and %#x tolerated: %#x, want %#x", tt.upper, tt.lower, got, tt.want)
		}
	}
	plain := newOverlay(t, struct{ vfs.FileSystem }{newScratch(t)}, newScratch(t))
	if got := plain.Tolerates(); got != vfs.FeatWriteback {
		t.Errorf("over a file system that says nothing, it tolerates %#x", got)
	}
}
