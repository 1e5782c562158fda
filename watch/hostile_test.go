package watch_test

import (
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/watch"
)

func TestForgetMoreThanThereIs(t *testing.T) {
	inner := &forgetting{}
	fs := watch.New(inner, watch.Options{})
	fs.Init(0)
	g := &guest{t: t, fs: fs}
	for range 3 {
		g.lookup(vfs.Root, "f")
	}
	for _, tt := range []struct {
		node   vfs.NodeID
		n      uint64
		passed uint64
		known  int
	}{
		{7, 1, 0, 2}, {5, 0, 0, 2}, {5, 1, 1, 2}, {5, 1 << 63, 2, 1}, {5, 1, 0, 1}, {vfs.Root, 9, 9, 1}, {0, 1, 0, 1}, {^vfs.NodeID(0), ^uint64(0), 0, 1},
	} {
		inner.n.Store(0)
		fs.Forget(tt.node, tt.n)
		known, names := fs.Known()
		if got := inner.n.Load(); got != tt.passed || known != tt.known || names != tt.known-1 {
			t.Errorf("of %d references to %#x, %d were passed on, want %d; then %d nodes and %d names are known", tt.n, tt.node, got, tt.passed, known, names)
		}
	}
}

// forgetting counts the references that are given back.
type forgetting struct {
	answering
	n atomic.Uint64
}

func (f *forgetting) Forget(_ vfs.NodeID, n uint64) { f.n.Add(n) }

// TestOrderOfAnswers gives back a node, and releases a handle, between the moment when
// the file system behind gives it out and that when the call returns. As the guest
// cannot know them yet, nothing may come of it.
func TestOrderOfAnswers(t *testing.T) {
	inner := &early{}
	fs := watch.New(inner, watch.Options{})
	inner.hook = func() {
		fs.Forget(5, 1000)
		if errno := fs.Release(&request, 5, 9, &vfs.ReleaseIn{}); errno == 0 {
			t.Error("a handle was released that no call had returned")
		}
	}
	fs.Init(0)
	var e vfs.Entry
	var o vfs.Opened
	if errno := fs.Create(&request, vfs.Root, name("f"), 0, 0, &e, &o); errno != 0 {
		t.Fatal(errno)
	}
	if inner.called != "Create" {
		t.Errorf("%s came to the file system behind", inner.called)
	}
	if known, _ := fs.Known(); known != 2 || fs.NumOpen() != 1 {
		t.Errorf("%d nodes and %d open files are known", known, fs.NumOpen())
	}
	inner.hook = func() {}
	if errno := fs.Release(&request, 5, 9, &vfs.ReleaseIn{}); errno != 0 {
		t.Error(errno)
	}
	fs.Forget(5, 1)
	if known, names := fs.Known(); known != 1 || names != 0 || fs.NumOpen() != 0 {
		t.Errorf("%d nodes, %d names and %d open files are left", known, names, fs.NumOpen())
	}
}

// early calls hook before Create returns.
type early struct {
	answering
	hook func()
}

func (s *early) Create(r *vfs.Request, d vfs.NodeID, n vfs.Name, flags, mode uint32, e *vfs.Entry, o *vfs.Opened) syscall.Errno {
	errno := s.answering.Create(r, d, n, flags, mode, e, o)
	s.hook()
	return errno
}

// TestParentsInACircle has a file system say of two directories that each is in the
// other, which calls that overtake each other can look like.
func TestParentsInACircle(t *testing.T) {
	circle := &circular{}
	rec := &kept{}
	fs := watch.New(circle, watch.Options{Recorder: rec})
	fs.Init(0)
	var e vfs.Entry
	fs.Lookup(&request, vfs.Root, name("3"), &e)
	fs.Lookup(&request, 3, name("4"), &e)
	fs.Lookup(&request, 4, name("3"), &e)
	fs.Lookup(&request, 4, name("4"), &e) // is its own parent
	fs.Lookup(&request, 3, name("1"), &e) // the root is in it
	for node := range vfs.NodeID(5) {
		p, _ := fs.Path(node)
		if want := node == vfs.Root; (p == "/") != want || len(p) > 5000 {
			t.Errorf("node %d is %d bytes long: %.20q", node, len(p), p)
		}
	}
	fs.Getattr(&request, 4, vfs.NoHandle, new(vfs.AttrOut))
	if p := string(rec.recs[len(rec.recs)-1].Path); !strings.HasPrefix(p, "(unreachable)/") {
		t.Errorf("the path is %.20q", p)
	}
	for _, node := range []vfs.NodeID{3, 4} {
		fs.Forget(node, 10)
	}
	if known, names := fs.Known(); known != 1 || names != 0 {
		t.Errorf("%d nodes and %d names are left", known, names)
	}
}

// circular has a directory under each name, whose node is the number that it says.
type circular struct{ answering }

func (*circular) Lookup(_ *vfs.Request, _ vfs.NodeID, n vfs.Name, e *vfs.Entry) syscall.Errno {
	*e = vfs.Entry{Node: vfs.NodeID(n.Bytes()[0] - '0'), Attr: vfs.Attr{Mode: unix.S_IFDIR}}
	return 0
}

// TestRaces has guests that obey no rule call everything at once, with forged ids, and
// an owner that lists and records meanwhile. Then nothing may be left.
func TestRaces(t *testing.T) {
	for _, o := range []watch.Options{{}, {Recorder: ignoring{}, CountBytes: true}} {
		fs := watched(t, o)
		const workers = 4
		calls := 4000
		if testing.Short() {
			calls = 400
		}
		var guests, owner sync.WaitGroup
		var stop atomic.Bool
		owner.Go(func() {
			for !stop.Load() {
				for f := range fs.OpenFiles() {
					fs.Path(f.Node)
				}
				fs.SetRecorder(o.Recorder)
				time.Sleep(time.Millisecond)
			}
		})
		for w := range workers {
			guests.Go(func() {
				h := &hostile{fs: fs, rnd: rand.New(rand.NewPCG(1, uint64(w))), nodes: []vfs.NodeID{vfs.Root}}
				for range calls {
					h.call()
				}
			})
		}
		guests.Wait()
		stop.Store(true)
		owner.Wait()
		for f := range fs.OpenFiles() {
			release := fs.Release(&request, f.Node, f.Handle, &vfs.ReleaseIn{})
			if f.Dir {
				release = fs.Releasedir(&request, f.Node, f.Handle)
			}
			if release != 0 {
				t.Errorf("release of %+v: %v", f, release)
			}
		}
		for _, node := range fs.Nodes() {
			fs.Forget(node, ^uint64(0))
		}
		known, names := fs.Known()
		if c := fs.Counts(); known != int(c.Nodes) || fs.NumOpen() != int(c.Handles) {
			t.Errorf("%d nodes and %d open files are known of %+v", known, fs.NumOpen(), c)
		}
		if known != 1 || names != 0 || fs.NumOpen() != 0 {
			t.Errorf("%d nodes, %d names and %d open files are left", known, names, fs.NumOpen())
		}
	}
}

// hostile makes calls at random on few names, with nodes and handles that it has,
// had or has made up.
type hostile struct {
	fs      *watch.FS
	rnd     *rand.Rand
	nodes   []vfs.NodeID
	handles []vfs.Handle
	r       vfs.Request
}

func (h *hostile) node() vfs.NodeID {
	if h.rnd.IntN(4) == 0 {
		return vfs.NodeID(h.rnd.Uint64N(200))
	}
	return h.nodes[h.rnd.IntN(len(h.nodes))]
}

func (h *hostile) handle() vfs.Handle {
	if len(h.handles) == 0 || h.rnd.IntN(4) == 0 {
		return vfs.Handle(h.rnd.Uint64N(200))
	}
	return h.handles[h.rnd.IntN(len(h.handles))]
}

var hostileNames = []vfs.Name{name("a"), name("b"), name("c"), name("d")}

func (h *hostile) name() vfs.Name { return hostileNames[h.rnd.IntN(len(hostileNames))] }

func (h *hostile) keep(node vfs.NodeID, handle vfs.Handle) {
	if node != 0 && len(h.nodes) < 50 {
		h.nodes = append(h.nodes, node)
	}
	if handle != 0 {
		h.handles = append(h.handles, handle)
	}
}

func (h *hostile) call() {
	var e vfs.Entry
	var o vfs.Opened
	flags := []uint32{0, unix.RENAME_EXCHANGE, unix.RENAME_NOREPLACE, unix.RENAME_WHITEOUT}
	switch h.rnd.IntN(14) {
	case 0:
		h.fs.Lookup(&h.r, h.node(), h.name(), &e)
	case 1:
		h.fs.Mkdir(&h.r, h.node(), h.name(), 0o755, &e)
	case 2:
		h.fs.Mknod(&h.r, h.node(), h.name(), unix.S_IFREG, 0, &e)
	case 3:
		h.fs.Link(&h.r, h.node(), h.node(), h.name(), &e)
	case 4:
		h.fs.Unlink(&h.r, h.node(), h.name())
	case 5:
		h.fs.Rmdir(&h.r, h.node(), h.name())
	case 6, 7:
		h.fs.Rename(&h.r, h.node(), h.name(), h.node(), h.name(), flags[h.rnd.IntN(len(flags))])
	case 8:
		h.fs.Forget(h.node(), []uint64{1, 2, 1 << 40}[h.rnd.IntN(3)])
	case 9:
		h.fs.Create(&h.r, h.node(), h.name(), unix.O_RDWR, 0o644, &e, &o)
	case 10:
		h.fs.Opendir(&h.r, h.node(), 0, &o)
		var l list
		h.fs.Readdir(&h.r, h.node(), o.Handle, 0, &l)
		for _, e := range l.entries {
			h.keep(e.Node, 0)
		}
	case 11:
		h.fs.Tmpfile(&h.r, h.node(), unix.O_RDWR, 0o600, &e, &o)
	case 12:
		h.fs.Release(&h.r, h.node(), h.handle(), &vfs.ReleaseIn{})
		h.fs.Read(&h.r, h.node(), h.handle(), nil, 0, 0)
	case 13:
		h.fs.Releasedir(&h.r, h.node(), h.handle())
		h.fs.Path(h.node())
	}
	h.keep(e.Node, o.Handle)
}
