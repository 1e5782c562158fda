package tree

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
)

// staleCalls are calls on a node and a handle of it.
var staleCalls = map[string]func(fs *FS, n vfs.NodeID, h vfs.Handle) syscall.Errno{
	"lookup": func(fs *FS, n vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return fs.Lookup(&root, n, name("f"), &vfs.Entry{})
	},
	"getattr": func(fs *FS, n vfs.NodeID, h vfs.Handle) syscall.Errno { return fs.Getattr(&root, n, h, &vfs.AttrOut{}) },
	"setattr": func(fs *FS, n vfs.NodeID, h vfs.Handle) syscall.Errno {
		return fs.Setattr(&root, n, h, &vfs.SetAttr{}, &vfs.AttrOut{})
	},
	"statx": func(fs *FS, n vfs.NodeID, h vfs.Handle) syscall.Errno {
		return fs.Statx(&root, n, h, 0, 0, &vfs.Statx{})
	},
	"access":   func(fs *FS, n vfs.NodeID, _ vfs.Handle) syscall.Errno { return fs.Access(&root, n, 0) },
	"readlink": func(fs *FS, n vfs.NodeID, _ vfs.Handle) syscall.Errno { _, e := fs.Readlink(&root, n, nil); return e },
	"symlink": func(fs *FS, n vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return fs.Symlink(&root, n, name("x"), []byte("x\x00"), &vfs.Entry{})
	},
	"mknod": func(fs *FS, n vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return fs.Mknod(&root, n, name("x"), unix.S_IFREG, 0, &vfs.Entry{})
	},
	"mkdir": func(fs *FS, n vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return fs.Mkdir(&root, n, name("x"), 0, &vfs.Entry{})
	},
	"link": func(fs *FS, n vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return fs.Link(&root, n, vfs.Root, name("x"), &vfs.Entry{})
	},
	"link to": func(fs *FS, n vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return fs.Link(&root, vfs.Root, n, name("x"), &vfs.Entry{})
	},
	"unlink": func(fs *FS, n vfs.NodeID, _ vfs.Handle) syscall.Errno { return fs.Unlink(&root, n, name("f")) },
	"rmdir":  func(fs *FS, n vfs.NodeID, _ vfs.Handle) syscall.Errno { return fs.Rmdir(&root, n, name("f")) },
	"rename": func(fs *FS, n vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return fs.Rename(&root, n, name("f"), n, name("x"), 0)
	},
	"rename to": func(fs *FS, n vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return fs.Rename(&root, vfs.Root, name("f"), n, name("x"), 0)
	},
	"open": func(fs *FS, n vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return fs.Open(&root, n, 0, false, &vfs.Opened{})
	},
	"create": func(fs *FS, n vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return fs.Create(&root, n, name("x"), 0, 0, &vfs.Entry{}, &vfs.Opened{})
	},
	"tmpfile": func(fs *FS, n vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return fs.Tmpfile(&root, n, 0, 0, &vfs.Entry{}, &vfs.Opened{})
	},
	"read": func(fs *FS, n vfs.NodeID, h vfs.Handle) syscall.Errno {
		_, e := fs.Read(&root, n, h, nil, 0, 0)
		return e
	},
	"write": func(fs *FS, n vfs.NodeID, h vfs.Handle) syscall.Errno {
		_, e := fs.Write(&root, n, h, nil, 0, 0, 0)
		return e
	},
	"flush": func(fs *FS, n vfs.NodeID, h vfs.Handle) syscall.Errno { return fs.Flush(&root, n, h, 0) },
	"release": func(fs *FS, n vfs.NodeID, h vfs.Handle) syscall.Errno {
		return fs.Release(&root, n, h, &vfs.ReleaseIn{})
	},
	"fsync":     func(fs *FS, n vfs.NodeID, h vfs.Handle) syscall.Errno { return fs.Fsync(&root, n, h, false) },
	"fallocate": func(fs *FS, n vfs.NodeID, h vfs.Handle) syscall.Errno { return fs.Fallocate(&root, n, h, 0, 1, 0) },
	"lseek":     func(fs *FS, n vfs.NodeID, h vfs.Handle) syscall.Errno { _, e := fs.Lseek(&root, n, h, 0, 0); return e },
	"copy": func(fs *FS, n vfs.NodeID, h vfs.Handle) syscall.Errno {
		_, e := fs.CopyFileRange(&root, &vfs.CopyRange{SrcNode: n, SrcHandle: h, DstNode: n, DstHandle: h})
		return e
	},
	"copy to": func(fs *FS, n vfs.NodeID, h vfs.Handle) syscall.Errno {
		_, e := fs.CopyFileRange(&root, &vfs.CopyRange{SrcNode: vfs.Root, DstNode: n, DstHandle: h})
		return e
	},
	"opendir": func(fs *FS, n vfs.NodeID, _ vfs.Handle) syscall.Errno { return fs.Opendir(&root, n, 0, &vfs.Opened{}) },
	"readdir": func(fs *FS, n vfs.NodeID, h vfs.Handle) syscall.Errno {
		return fs.Readdir(&root, n, h, 0, &list{room: 9})
	},
	"releasedir": func(fs *FS, n vfs.NodeID, h vfs.Handle) syscall.Errno { return fs.Releasedir(&root, n, h) },
	"fsyncdir":   func(fs *FS, n vfs.NodeID, h vfs.Handle) syscall.Errno { return fs.Fsyncdir(&root, n, h, false) },
	"statfs":     func(fs *FS, n vfs.NodeID, _ vfs.Handle) syscall.Errno { return fs.Statfs(&root, n, &vfs.Statfs{}) },
	"syncfs":     func(fs *FS, n vfs.NodeID, _ vfs.Handle) syscall.Errno { return fs.Syncfs(&root, n) },
	"getxattr": func(fs *FS, n vfs.NodeID, _ vfs.Handle) syscall.Errno {
		_, e := fs.Getxattr(&root, n, []byte("user.x\x00"), nil)
		return e
	},
	"listxattr": func(fs *FS, n vfs.NodeID, _ vfs.Handle) syscall.Errno { _, e := fs.Listxattr(&root, n, nil); return e },
	"setxattr": func(fs *FS, n vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return fs.Setxattr(&root, n, []byte("user.x\x00"), nil, 0, false)
	},
	"removexattr": func(fs *FS, n vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return fs.Removexattr(&root, n, []byte("user.x\x00"))
	},
	"getlk": func(fs *FS, n vfs.NodeID, h vfs.Handle) syscall.Errno { return fs.Getlk(&root, n, h, &vfs.Lock{}) },
	"setlk": func(fs *FS, n vfs.NodeID, h vfs.Handle) syscall.Errno {
		return fs.Setlk(&root, n, h, &vfs.Lock{Wait: true})
	},
	"ioctl": func(fs *FS, n vfs.NodeID, h vfs.Handle) syscall.Errno {
		_, _, e := fs.Ioctl(&root, n, h, 0, 0, nil, nil)
		return e
	},
}

// TestUnmountStale unmounts under nodes and open files of the guest. They are ESTALE
// from then on, and stay so while another mount takes the path.
func TestUnmountStale(t *testing.T) {
	fs := newTree(t)
	mounted(t, fs, "/", dirOf(t, "f"))
	begin(t, fs)
	m := dirOf(t, "f", "d/x")
	mounted(t, fs, "/m", m)
	top, file, dir := walk(t, fs, "/m").Node, walk(t, fs, "/m/f").Node, walk(t, fs, "/m/d").Node
	var o, od vfs.Opened
	want(t, "open", fs.Open(&root, file, unix.O_RDWR, false, &o), 0)
	want(t, "opendir", fs.Opendir(&root, dir, 0, &od), 0)
	unmounted(t, fs, "/m")
	rest(t, m, 0)
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	absent(t, fs, "/m")
	again := dirOf(t, "f", "d/x")
	mounted(t, fs, "/m", again)
	if e := walk(t, fs, "/m"); e.Node == top {
		t.Errorf("another mount has the node %#x too", top)
	}
	for what, call := range staleCalls {
		for h, n := range map[vfs.Handle]vfs.NodeID{o.Handle: file, od.Handle: dir, vfs.NoHandle: top} {
			want(t, what+" after unmount", call(fs, n, h), syscall.ESTALE)
		}
	}
	if s := fs.Stats(); s.Removed != 1 {
		t.Errorf("the tree holds %+v", s)
	}
	fs.Forget(file, 1)
	fs.Forget(dir, 5) // of which there is one
	if s := fs.Stats(); s.Removed != 0 {
		t.Errorf("after all is forgotten, the tree holds %+v", s)
	}
}

// TestIndices has few indices: those in use are not given away, those that come back
// are, in turn.
func TestIndices(t *testing.T) {
	fs := newTree(t)
	fs.limit = 5 // 2, 3 and 4
	begin(t, fs)
	mount := func(p string) vfs.NodeID {
		t.Helper()
		mounted(t, fs, p, dirOf(t, "f"))
		e, errno := find(fs, p)
		want(t, "lookup", errno, 0)
		return e.Node
	}
	a, b, c := mount("/a"), mount("/b"), mount("/c")
	wantErr(t, fs.Mount("/d", dirOf(t)), syscall.ENOSPC, "mounts")
	unmounted(t, fs, "/a")
	unmounted(t, fs, "/b")
	wantErr(t, fs.Mount("/d", dirOf(t)), syscall.ENOSPC, "in use by the guest")
	fs.Forget(b, 1)
	if d := mount("/d"); d != b {
		t.Errorf("the new mount's root is %#x, want %#x", d, b)
	}
	fs.Forget(a, 0)
	wantErr(t, fs.Mount("/e", dirOf(t)), syscall.ENOSPC, "in use by the guest")
	// A guest that starts anew has no references.
	begin(t, fs)
	if e := mount("/e"); e != a {
		t.Errorf("the new mount's root is %#x, want %#x", e, a)
	}
	want(t, "getattr", fs.Getattr(&root, c, vfs.NoHandle, &vfs.AttrOut{}), syscall.ESTALE)
	// What nobody has looked at leaves nothing.
	for i := range 100 {
		unmounted(t, fs, "/c")
		if err := fs.Mount("/c", dirOf(t)); err != nil {
			t.Fatalf("mount %d: %v", i, err)
		}
	}
}

// TestPins has a guest give back more references than it has, to directories with
// mounts in them: the mounts stay where they are.
func TestPins(t *testing.T) {
	for _, path := range []string{"/a", "/m/a"} {
		t.Run(path, func(t *testing.T) {
			fs := newTree(t)
			mounted(t, fs, "/", dirOf(t, "a/x/covered"))
			mounted(t, fs, "/m", dirOf(t, "a/x/covered"))
			mounted(t, fs, path+"/x", dirOf(t, "in"))
			begin(t, fs)
			child := fs.childOf(walk(t, fs, path).Node).(*passthrough.FS)
			e, errno := find(fs, path)
			want(t, "lookup", errno, 0)
			for _, n := range []uint64{1, 1, 7, 1 << 63, ^uint64(0), 1} {
				fs.Forget(e.Node, n)
			}
			if got := names(t, fs, path+"/x"); got != "in" {
				t.Errorf("there is %q", got)
			}
			if again := walk(t, fs, path); again.Node != e.Node {
				t.Errorf("the directory is %#x, was %#x", again.Node, e.Node)
			}
			unmounted(t, fs, path+"/x")
			rest(t, child, 0)
		})
	}
}

// TestPinCounts counts references to a directory exactly, over the time that there is
// a mount in it.
func TestPinCounts(t *testing.T) {
	fs := newTree(t)
	child := dirOf(t, "a/x")
	mounted(t, fs, "/", child)
	begin(t, fs)
	var e vfs.Entry
	look := func() { want(t, "lookup", fs.Lookup(&root, vfs.Root, name("a"), &e), 0) }
	alive := func(want int) {
		t.Helper()
		if n := child.Stats().Nodes - 1; n != want {
			t.Errorf("the file system has %d nodes, want %d", n, want)
		}
	}
	look() // 1
	look() // 2
	mounted(t, fs, "/a/m", dirOf(t))
	mounted(t, fs, "/a/n", dirOf(t))
	alive(1)
	look()               // 3
	fs.Forget(e.Node, 2) // 1
	unmounted(t, fs, "/a/m")
	alive(1)
	unmounted(t, fs, "/a/n")
	alive(1)
	fs.Forget(e.Node, 1)
	alive(0)
	mounted(t, fs, "/a/m", dirOf(t))
	alive(1)
	unmounted(t, fs, "/a/m")
	alive(0)
}

// TestUnmountWaits unmounts while calls are under way: a plain one is waited for, a
// wait for a lock is ended.
func TestUnmountWaits(t *testing.T) {
	fs := newTree(t)
	begin(t, fs)
	slow := &slowFS{FileSystem: dirOf(t, "f"), entered: make(chan struct{}), leave: make(chan struct{})}
	mounted(t, fs, "/slow", slow)
	n := walk(t, fs, "/slow").Node
	var errno syscall.Errno
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		errno = fs.Statfs(&root, n, &vfs.Statfs{})
		close(done)
	}()
	<-slow.entered
	go func() {
		unmounted(t, fs, "/slow")
		close(gone)
	}()
	for fs.Stats().Mounts != 0 {
		time.Sleep(time.Millisecond)
	}
	wantErr(t, fs.Mount("/again", slow), syscall.EBUSY, "mounted already")
	mounted(t, fs, "/slow", dirOf(t)) // the path is free at once
	select {
	case <-gone:
		t.Error("Unmount did not wait for a call")
	default:
	}
	close(slow.leave)
	<-done
	<-gone
	want(t, "the call under way", errno, 0)
	want(t, "the next", fs.Statfs(&root, n, &vfs.Statfs{}), syscall.ESTALE)
	mounted(t, fs, "/again", slow)
}

// slowFS answers Statfs when it is told to.
type slowFS struct {
	vfs.FileSystem
	entered, leave chan struct{}
}

func (s *slowFS) Statfs(*vfs.Request, vfs.NodeID, *vfs.Statfs) syscall.Errno {
	close(s.entered)
	<-s.leave
	return 0
}

// TestLockWaits ends waits for locks by a signal in the guest, by Unmount and by a new
// session.
func TestLockWaits(t *testing.T) {
	for _, tt := range []struct {
		how   string
		end   func(*FS, chan struct{})
		errno syscall.Errno
	}{
		{"interrupt", func(_ *FS, c chan struct{}) { close(c) }, syscall.EINTR},
		{"unmount", func(fs *FS, _ chan struct{}) { fs.Unmount("/m") }, syscall.ESTALE},
		{"session", func(fs *FS, _ chan struct{}) { fs.Init(everything) }, syscall.ESTALE},
	} {
		t.Run(tt.how, func(t *testing.T) {
			fs := newTree(t)
			dir := tempDir(t, "/dev/shm", "f")
			waiting := &lockFS{FileSystem: share(t, passthrough.Config{Path: dir, Locks: passthrough.Locks{POSIX: true}}), entered: make(chan struct{})}
			mounted(t, fs, "/m", waiting)
			begin(t, fs)
			node := walk(t, fs, "/m/f").Node
			var o vfs.Opened
			want(t, "open", fs.Open(&root, node, unix.O_RDWR, false, &o), 0)
			lk := vfs.Lock{Owner: 1, Type: unix.F_WRLCK, End: vfs.MaxLockEnd}
			want(t, "lock", fs.Setlk(&root, node, o.Handle, &lk), 0)
			lk.Owner, lk.Wait = 2, true
			want(t, "lock with Nowait", fs.Setlk(&vfs.Request{Nowait: true}, node, o.Handle, &lk), vfs.WouldBlock)
			interrupt, got := make(chan struct{}), make(chan syscall.Errno)
			go func() { got <- fs.Setlk(&vfs.Request{Interrupt: interrupt}, node, o.Handle, &lk) }()
			<-waiting.entered
			tt.end(fs, interrupt)
			want(t, "the wait", <-got, tt.errno)
		})
	}
}

// lockFS tells when a lock is waited for.
type lockFS struct {
	vfs.FileSystem
	entered chan struct{}
}

func (l *lockFS) Setlk(r *vfs.Request, node vfs.NodeID, h vfs.Handle, lk *vfs.Lock) syscall.Errno {
	if lk.Wait && !r.Nowait {
		close(l.entered)
	}
	return l.FileSystem.Setlk(r, node, h, lk)
}

// TestSessions drops what a guest holds, on all mounts.
func TestSessions(t *testing.T) {
	fs := newTree(t)
	a, b, c := dirOf(t, "d/x", "f"), dirOf(t, "f"), dirOf(t, "f")
	mounted(t, fs, "/", a)
	mounted(t, fs, "/d/b", b)
	mounted(t, fs, "/d/b/s/c", c)
	for _, end := range []func(){func() { begin(t, fs) }, fs.Destroy} {
		begin(t, fs)
		var nodes []vfs.NodeID
		for _, p := range []string{"/f", "/d/b", "/d/b/f", "/d/b/s", "/d/b/s/c/f"} {
			e, errno := find(fs, p)
			want(t, p, errno, 0)
			nodes = append(nodes, e.Node)
		}
		var o vfs.Opened
		want(t, "open", fs.Open(&root, nodes[4], 0, false, &o), 0)
		end()
		rest(t, a, 1)
		rest(t, b, 0)
		rest(t, c, 0)
		for i, n := range nodes {
			want(t, fmt.Sprintf("node %d of the session before", i), fs.Getattr(&root, n, vfs.NoHandle, &vfs.AttrOut{}), syscall.ESTALE)
		}
		_, errno := fs.Read(&root, nodes[4], o.Handle, nil, 0, 0)
		want(t, "read in the session before", errno, syscall.EBADF)
	}
}

// TestUnknownIndex uses node ids of indices that were never given.
func TestUnknownIndex(t *testing.T) {
	fs := newTree(t)
	mounted(t, fs, "/a", dirOf(t, "f"))
	begin(t, fs)
	for _, index := range []vfs.NodeID{1, 2, 3, 15, 16, 17, 1 << 15, 1<<16 - 1} {
		for _, id := range []vfs.NodeID{0, vfs.Root, 2, vfs.MaxNodeID} {
			n := index<<indexShift | id
			if index == fs.mounts["/a"].root()>>indexShift && id != vfs.Root {
				continue // for the file system to say
			}
			for what, call := range staleCalls {
				want(t, fmt.Sprintf("%s of %#x", what, n), call(fs, n, 1), syscall.ESTALE)
			}
			fs.Forget(n, 1)
			fs.Forget(n, ^uint64(0))
		}
	}
	if names(t, fs, "/a") != "f" {
		t.Error("the mount is not what it was")
	}
}

// TestLostPin gives too many references back while the first mount is made in that
// very directory.
func TestLostPin(t *testing.T) {
	fs := newTree(t)
	child := &forgetFS{FileSystem: dirOf(t, "a/x/covered")}
	mounted(t, fs, "/", child)
	begin(t, fs)
	e, errno := find(fs, "/a")
	want(t, "lookup", errno, 0)
	child.before = func() { mounted(t, fs, "/a/x", dirOf(t, "in")) }
	fs.Forget(e.Node, ^uint64(0))
	if got := names(t, fs, "/a/x"); got != "in" {
		t.Errorf("there is %q", got)
	}
}

// forgetFS does something before it forgets, once.
type forgetFS struct {
	vfs.FileSystem
	before func()
}

func (f *forgetFS) Forget(node vfs.NodeID, n uint64) {
	if before := f.before; before != nil {
		f.before = nil
		before()
	}
	f.FileSystem.Forget(node, n)
}

// TestGate closes a gate while it is in use.
func TestGate(t *testing.T) {
	g := newGate()
	for range 3 {
		for id := range vfs.NodeID(2 * gateShards) {
			if !g.enter(id) {
				t.Fatal("an open gate lets nobody in")
			}
		}
		closed := make(chan struct{})
		go func() {
			g.close()
			close(closed)
		}()
		for id := range vfs.NodeID(2 * gateShards) {
			select {
			case <-closed:
				t.Fatal("the gate was closed with users inside")
			default:
			}
			g.leave(id)
		}
		<-closed
		if g.enter(3) {
			t.Fatal("a closed gate lets somebody in")
		}
		g.open()
	}
}
