package tree

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
)

// TestStress has guests look up, open, read, list and forget while mounts come and go
// 1,000 times. They get no error but ESTALE and ENOENT, what they read is what the path
// says, and in the end nothing is held. 200 files are open all the time in mounts that
// stay, and are read again in the end.
func TestStress(t *testing.T) {
	rounds := 1000
	if testing.Short() {
		rounds = 100
	}
	fs := newTree(t)
	fs.limit = 64 // so that indices are used again
	below, stays := dirOf(t, stressFiles("/", "d/")...), dirOf(t, stressFiles("/stays", "d/")...)
	mounted(t, fs, "/", below)
	mounted(t, fs, "/stays", stays)
	begin(t, fs)
	places := []string{"/m0", "/d/m1", "/d/m1/d/m2", "/stays/m3", "/s/t/m4", "/d/m1/s/m5"}
	children := make(map[string]*passthrough.FS)
	for _, p := range places {
		children[p] = dirOf(t, stressFiles(p, "d/")...)
	}

	keep := openMany(t, fs, 200)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			g := &stressGuest{t: t, fs: fs, rng: rand.New(rand.NewPCG(uint64(i), 1)), places: append([]string{"/", "/stays"}, places...)}
			for !stop.Load() && !t.Failed() {
				g.step()
			}
			g.end()
		})
	}
	rng := rand.New(rand.NewPCG(7, 7))
	for done := 0; done < rounds && !t.Failed(); {
		p := places[rng.IntN(len(places))]
		child := children[p]
		if fs.Mount(p, child) == nil {
			done++
			continue
		}
		if fs.Unmount(p) == nil {
			// Nothing is left in it, whatever the guests do.
			rest(t, child, 0)
		}
	}
	stop.Store(true)
	wg.Wait()
	keep()
	for {
		list := fs.Mounts()
		if len(list) == 2 {
			break
		}
		for _, in := range backwards(list) {
			if in.Path != "/" && in.Path != "/stays" {
				unmounted(t, fs, in.Path)
			}
		}
	}
	if s := fs.Stats(); s != (Stats{Mounts: 2}) {
		t.Errorf("in the end the tree holds %+v", s)
	}
	for _, m := range fs.Mounts() {
		if m.References != 0 {
			t.Errorf("the guest has %d references to %s", m.References, m.Path)
		}
	}
	rest(t, below, 0)
	rest(t, stays, 0)
	for _, c := range children {
		rest(t, c, 0)
	}
}

// stressFiles are files whose content is the path of their mount and a bit more.
func stressFiles(mount string, dirs ...string) []string {
	files := []string{"file-" + mark(mount)}
	for _, d := range dirs {
		files = append(files, d+"file-"+mark(mount))
	}
	return files
}

func mark(mount string) string {
	return fmt.Sprintf("%x", mount)
}

// openMany opens n files in mounts that stay, and returns what reads them again and
// closes them.
func openMany(t *testing.T, fs *FS, n int) (keep func()) {
	type open struct {
		node vfs.NodeID
		h    vfs.Handle
		path string
	}
	var list []open
	paths := []string{"/file-" + mark("/"), "/stays/file-" + mark("/stays"), "/stays/d/file-" + mark("/stays")}
	for i := range n {
		p := paths[i%len(paths)]
		e, errno := find(fs, p)
		want(t, p, errno, 0)
		var o vfs.Opened
		want(t, "open", fs.Open(&root, e.Node, unix.O_RDONLY, false, &o), 0)
		list = append(list, open{e.Node, o.Handle, p})
	}
	return func() {
		buf := make([]byte, 100)
		for _, f := range list {
			n, errno := fs.Read(&root, f.node, f.h, []unix.Iovec{oslib.Iov(buf)}, 0, 0)
			if errno != 0 || n == 0 {
				t.Errorf("a file of %s that was open all the time: %d bytes, %v", f.path, n, errno)
			}
			want(t, "release", fs.Release(&root, f.node, f.h, &vfs.ReleaseIn{}), 0)
			fs.Forget(f.node, 1)
		}
	}
}

// stressGuest is a guest with nodes and handles of its own.
type stressGuest struct {
	t      *testing.T
	fs     *FS
	rng    *rand.Rand
	places []string
	nodes  []stressNode
}

type stressNode struct {
	node  vfs.NodeID
	mount string
	file  bool
}

// ok checks an error and tells whether there is none.
func (g *stressGuest) ok(what string, errno syscall.Errno) bool {
	if errno != 0 && errno != syscall.ESTALE && errno != syscall.ENOENT {
		g.t.Errorf("%s: %v", what, errno)
	}
	return errno == 0
}

func (g *stressGuest) step() {
	switch g.rng.IntN(6) {
	case 0, 1:
		g.look()
	case 2:
		g.read()
	case 3:
		g.list()
	default:
		g.forget()
	}
}

// look finds a file of a mount by its path, and keeps it.
func (g *stressGuest) look() {
	m := g.places[g.rng.IntN(len(g.places))]
	p := m
	file := g.rng.IntN(2) == 0
	if file {
		p += "/file-" + mark(m)
	} else {
		p += "/d"
	}
	e, errno := find(g.fs, p)
	if g.ok("lookup", errno) {
		g.nodes = append(g.nodes, stressNode{e.Node, m, file})
	}
}

func (g *stressGuest) pick() *stressNode {
	if len(g.nodes) == 0 {
		return nil
	}
	return &g.nodes[g.rng.IntN(len(g.nodes))]
}

func (g *stressGuest) read() {
	n := g.pick()
	if n == nil || !n.file {
		return
	}
	var o vfs.Opened
	if !g.ok("open", g.fs.Open(&root, n.node, unix.O_RDONLY, false, &o)) {
		return
	}
	buf := make([]byte, 100)
	k, errno := g.fs.Read(&root, n.node, o.Handle, []unix.Iovec{oslib.Iov(buf)}, 0, 0)
	if g.ok("read", errno) && string(buf[:k]) != "content of file-"+mark(n.mount) {
		g.t.Errorf("a file of %s reads %q", n.mount, buf[:k])
	}
	g.ok("release", g.fs.Release(&root, n.node, o.Handle, &vfs.ReleaseIn{}))
}

func (g *stressGuest) list() {
	n := g.pick()
	if n == nil || n.file {
		return
	}
	var o vfs.Opened
	if !g.ok("opendir", g.fs.Opendir(&root, n.node, 0, &o)) {
		return
	}
	off, seen := uint64(0), map[string]bool{}
	for range 20 {
		l := &list{plus: true, room: 1 + g.rng.IntN(4)}
		if !g.ok("readdir", g.fs.Readdir(&root, n.node, o.Handle, off, l)) || len(l.got) == 0 {
			break
		}
		for _, x := range l.got {
			if seen[x.name] && x.name[0] == 'f' {
				g.t.Errorf("%s comes twice", x.name)
			}
			seen[x.name] = true
			off = x.next
			if x.entry.Node != 0 {
				g.fs.Forget(x.entry.Node, 1)
			}
		}
	}
	g.ok("releasedir", g.fs.Releasedir(&root, n.node, o.Handle))
}

func (g *stressGuest) forget() {
	if len(g.nodes) == 0 {
		return
	}
	i := g.rng.IntN(len(g.nodes))
	g.fs.Forget(g.nodes[i].node, 1)
	g.nodes[i] = g.nodes[len(g.nodes)-1]
	g.nodes = g.nodes[:len(g.nodes)-1]
}

func (g *stressGuest) end() {
	for len(g.nodes) != 0 {
		g.forget()
	}
}
