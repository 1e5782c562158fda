package overlay_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/overlay"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/rules"
	"github.com/isthmus-fs/isthmus/vfs"
)

// TestLowerChanges changes the lower directory behind the overlay's back. The
// guest may see less or something else, but nothing is written below and nothing
// is left behind.
func TestLowerChanges(t *testing.T) {
	dir := tempDir(t, "/dev/shm")
	small(t, dir)
	l := newLayers(t, dir, "/dev/shm", passthrough.HandlesNever)
	if _, errno := l.Init(0); errno != 0 {
		t.Fatal(errno)
	}
	g := newGuest(l)
	for _, s := range faultSteps {
		s.run(g)
	}
	for _, n := range []string{"file", "full", "moved", "empty", "plain", "link"} {
		os.RemoveAll(filepath.Join(dir, n))
		os.Mkdir(filepath.Join(dir, n), 0o755)
		os.WriteFile(filepath.Join(dir, n, "new"), []byte("new"), 0o644)
	}
	before := hostTree(t, dir)
	for range 2 {
		for _, s := range faultSteps {
			s.run(g)
		}
		for _, p := range paths {
			g.describe(p, map[uint64]int{})
		}
		g.list("")
		if _, errno := l.Init(0); errno != 0 {
			t.Fatal(errno)
		}
	}
	g.end()
	if s := l.Counts(); s.Nodes != 1 || s.Handles != 0 {
		t.Errorf("at the end there are %+v", s)
	}
	sameTree(t, before, hostTree(t, dir))
}

// TestForgetEarly has guests forget what others of their kind still use.
func TestForgetEarly(t *testing.T) {
	l, _, _ := overSmall(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			g := newGuest(l)
			for i := range 300 {
				e, errno := g.walk("full/deep/leaf")
				if errno == 0 {
					l.Forget(e.Node, ^uint64(0))
					l.Setattr(&g.r, e.Node, vfs.NoHandle, &vfs.SetAttr{Valid: vfs.SetMode, Mode: uint32(i) & 0o777}, &vfs.AttrOut{})
				}
				g.rename("full/deep", "deep", 0)
				if e, errno := g.walk("deep"); errno == 0 {
					l.Forget(e.Node, 7)
				}
				g.rename("deep", "full/deep", 0)
			}
		})
	}
	wg.Wait()
	g := newGuest(l)
	tree(t, g, nothing)
	if s := l.Counts(); s.Nodes != 1 {
		t.Errorf("at the end there are %+v", s)
	}
}

// slow is a file system whose reads wait until they are let go on.
type slow struct {
	vfs.FileSystem
	reading chan struct{} // gets one for each read that waits
	goOn    chan struct{}
}

func (s slow) Read(r *vfs.Request, node vfs.NodeID, h vfs.Handle, dst []unix.Iovec, off uint64, openFlags uint32) (int, syscall.Errno) {
	s.reading <- struct{}{}
	<-s.goOn
	return s.FileSystem.Read(r, node, h, dst, off, openFlags)
}

// TestSlowCopy makes all kinds of calls while a copy-up is under way, in the same
// directory and with the same file: none but those that need the copy wait.
func TestSlowCopy(t *testing.T) {
	dir := tempDir(t, "/dev/shm")
	small(t, dir)
	s := slow{newLayer(t, dir, passthrough.HandlesNever), make(chan struct{}), make(chan struct{})}
	over := newOverlay(t, s, newLayer(t, tempDir(t, "/dev/shm"), passthrough.HandlesNever))
	if _, errno := over.Init(0); errno != 0 {
		t.Fatal(errno)
	}
	done := make(chan syscall.Errno)
	go func() { done <- newGuest(over).chmod("plain", 0o600) }()
	<-s.reading
	g := newGuest(over)
	for what, errno := range map[string]syscall.Errno{
		"stat":   g.on("plain", func(*vfs.Entry) syscall.Errno { return 0 }),
		"mkdir":  g.mkdir("new", 0o755),
		"rename": g.rename("full", "moved", 0),
		"rmdir":  g.rmdir("empty"),
		"unlink": g.unlink("pipe"),
		"this":   g.unlink("plain"),
	} {
		if errno != 0 {
			t.Errorf("%s: %v", what, errno)
		}
	}
	if _, errno := g.list(""); errno != 0 {
		t.Errorf("list: %v", errno)
	}
	select {
	case errno := <-done:
		t.Errorf("the copy has ended: %v", errno)
	default:
	}
	close(s.goOn)
	select {
	case errno := <-done:
		if errno != 0 {
			t.Errorf("the copy: %v", errno)
		}
	case <-time.After(time.Minute):
		t.Fatal("the copy does not end")
	}
	if _, errno := g.walk("plain"); errno != syscall.ENOENT {
		t.Errorf("what was removed while it was copied: %v, want ENOENT", errno)
	}
	if c, st := over.Counts(), over.Stats(); c.Nodes != 1 || st.Records != 2 {
		t.Errorf("at the end there are %+v and %+v, want the root's record and that of the directory that was moved", c, st)
	}
}

// TestReadOnlyLower shows that a lower layer which refuses all changes is enough.
func TestReadOnlyLower(t *testing.T) {
	dir := tempDir(t, "/dev/shm")
	small(t, dir)
	over := newOverlay(t, rules.ReadOnly(newLayer(t, dir, passthrough.HandlesNever)), newLayer(t, tempDir(t, "/dev/shm"), passthrough.HandlesNever))
	if _, errno := over.Init(^vfs.Features(0)); errno != 0 {
		t.Fatal(errno)
	}
	twin := tempDir(t, "/dev/shm")
	small(t, twin)
	g := newGuest(over)
	for _, s := range faultSteps {
		if got, want := s.run(g), s.run(&host{twin}); got != want {
			t.Errorf("%s: %v, want %v", s.text, got, want)
		}
	}
	e := g.must(t, "link")
	defer over.Forget(e.Node, 1)
	for _, tt := range []struct {
		uid  uint32
		want syscall.Errno
	}{{0, 0}, {1000, syscall.EACCES}} {
		if errno := over.Access(&vfs.Request{UID: tt.uid, GID: tt.uid}, vfs.Root, unix.W_OK); errno != tt.want {
			t.Errorf("Access by %d: %v, want %v", tt.uid, errno, tt.want)
		}
	}
}

// TestInit agrees on what both children want.
func TestInit(t *testing.T) {
	make := func(cfg passthrough.Config) *passthrough.FS {
		cfg.Path, cfg.Logger = tempDir(t, "/dev/shm"), quiet()
		fs, err := passthrough.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { fs.Close() })
		return fs
	}
	acl := passthrough.Config{PosixACL: passthrough.NegotiateAuto, KillPriv: true, Locks: passthrough.Locks{POSIX: true, Flock: true}, AnnounceSubmounts: true}
	plain := passthrough.Config{}
	for _, tt := range []struct {
		name         string
		lower, upper passthrough.Config
		has, lacks   vfs.Features
	}{
		{"both have ACLs", acl, acl, vfs.FeatPOSIXACL | vfs.FeatDontMask | vfs.FeatKillPriv | vfs.FeatAtomicTrunc, vfs.FeatPOSIXLocks | vfs.FeatFlock | vfs.FeatSubmounts},
		{"the lower has not", plain, acl, vfs.FeatKillPriv | vfs.FeatAtomicTrunc | vfs.FeatAutoInval, vfs.FeatPOSIXACL | vfs.FeatDontMask},
		{"the upper has not", acl, plain, vfs.FeatAutoInval | vfs.FeatReaddirplus, vfs.FeatPOSIXACL | vfs.FeatDontMask | vfs.FeatKillPriv | vfs.FeatAtomicTrunc},
	} {
		over := newOverlay(t, make(tt.lower), make(tt.upper))
		agreed, errno := over.Init(^vfs.Features(0))
		if errno != 0 || !agreed.Has(tt.has) || agreed&tt.lacks != 0 {
			t.Errorf("%s: agreed to %#x, %v; want %#x among them and not %#x", tt.name, agreed, errno, tt.has, tt.lacks)
		}
	}
	if _, err := overlay.New(nil, make(plain), overlay.Options{}); err == nil {
		t.Error("an overlay of nothing is made")
	}
	f := faulty{make(plain), &faults{errno: syscall.EIO}}
	f.arm(1)
	if _, err := overlay.New(f, make(plain), overlay.Options{}); !errors.Is(err, syscall.EIO) {
		t.Errorf("a lower root that cannot be read: %v", err)
	}
}
