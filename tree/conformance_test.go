package tree

import (
	"os"
	"syscall"
	"testing"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/rules"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/vfs/vfstest"
)

var full = passthrough.Config{
	Xattr: true, KillPriv: true, PosixACL: passthrough.NegotiateAlways, SecurityLabel: passthrough.NegotiateAlways,
	Locks: passthrough.Locks{POSIX: true, Flock: true},
}

// TestConformanceRoot runs the suite on a tree with one mount at "/", and on one with
// another mount deep in it, so that nothing takes the short way.
func TestConformanceRoot(t *testing.T) {
	openDescriptors(t)
	for _, tt := range []struct {
		name string
		deep bool
	}{{"alone", false}, {"with a mount inside", true}} {
		t.Run(tt.name, func(t *testing.T) {
			vfstest.Run(t, func(t *testing.T) vfstest.Subject {
				fs, sub := newTree(t), newSubject(t)
				child := sub.FS.(*passthrough.FS)
				mounted(t, fs, "/", child)
				if tt.deep {
					mounted(t, fs, "/elsewhere/deep", fullDir(t, "file"))
					mounted(t, fs, "/elsewhere/other", fullDir(t))
				}
				sub.FS = fs
				return sub
			})
		})
	}
}

// TestConformanceNested runs the suite in a mount beside others, one of them
// read-only.
func TestConformanceNested(t *testing.T) {
	openDescriptors(t)
	vfstest.Run(t, func(t *testing.T) vfstest.Subject {
		fs, sub := newTree(t), newSubject(t)
		mounted(t, fs, "/", fullDir(t, "data/covered"))
		mounted(t, fs, "/data", sub.FS)
		mounted(t, fs, "/data-2", rules.ReadOnly(fullDir(t, "x/y")))
		mounted(t, fs, "/some/where", fullDir(t))
		sub.FS = &inside{FS: fs, t: t, path: "/data"}
		return sub
	})
}

// TestConformanceReadOnly runs the read-only part of it.
func TestConformanceReadOnly(t *testing.T) {
	vfstest.Run(t, func(t *testing.T) vfstest.Subject {
		dir, twin := tempDir(t, "/dev/shm"), tempDir(t, "/dev/shm")
		for _, d := range []string{dir, twin} {
			if err := vfstest.Populate(d, true); err != nil {
				t.Fatal(err)
			}
		}
		fs := newTree(t)
		mounted(t, fs, "/a/b", rules.ReadOnly(plain(t, dir)))
		mounted(t, fs, "/a/c", dirOf(t))
		return vfstest.Subject{FS: &inside{FS: fs, t: t, path: "/a/b"}, Twin: twin, ReadOnly: true, Lacks: vfstest.NoXattr | vfstest.NoLocks}
	})
}

// openDescriptors has the runtime open what it keeps open before any are counted.
func openDescriptors(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	w.Close()
}

// fullDir shares a new directory with all there is.
func fullDir(t *testing.T, files ...string) vfs.FileSystem {
	cfg := full
	cfg.Path = tempDir(t, "/dev/shm", files...)
	return share(t, cfg)
}

// newSubject is a passthrough of a new directory.
func newSubject(t *testing.T) vfstest.Subject {
	sub := vfstest.Subject{Dir: tempDir(t, "/dev/shm"), Twin: tempDir(t, "/dev/shm")}
	cfg := full
	cfg.Path = sub.Dir
	child := share(t, cfg)
	sub.FS = child
	sub.Stats = func() (nodes, handles, fds int) {
		s := child.Stats()
		return s.Nodes, s.Handles, s.FDs
	}
	return sub
}

// inside shows a mount of a tree as the suite expects a file system: with the id
// [vfs.Root] for its root and others below [vfs.MaxNodeID].
type inside struct {
	*FS
	t    *testing.T
	path string
	base vfs.NodeID
}

func (in *inside) Init(f vfs.Features) (vfs.Features, syscall.Errno) {
	agreed, errno := in.FS.Init(f)
	if errno == 0 {
		e, errno := find(in.FS, in.path)
		if errno != 0 {
			in.t.Fatalf("%s: %v", in.path, errno)
		}
		in.base = e.Node &^ vfs.MaxNodeID
	}
	return agreed, errno
}

// in turns an id of the suite into one of the tree. Forged ones stay forged.
func (in *inside) in(node vfs.NodeID) vfs.NodeID {
	if node > vfs.MaxNodeID {
		return node | 1<<63
	}
	return node | in.base
}

func (in *inside) out(errno syscall.Errno, e *vfs.Entry) syscall.Errno {
	if errno == 0 && e.Node != 0 {
		if e.Node&^vfs.MaxNodeID != in.base {
			in.t.Errorf("an entry of %s has node %#x", in.path, e.Node)
		}
		e.Node &= vfs.MaxNodeID
	}
	return errno
}
