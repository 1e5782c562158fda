package overlay_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/vfs/vfstest"
)

// TestConformance runs the suite over an empty and a populated lower layer, for
// each way in which the children hold nodes. Where removed is set, names of the
// lower layer have been removed, in a session before, so that the root is merged.
func TestConformance(t *testing.T) {
	for _, tt := range []struct {
		name              string
		parent            string
		handles           passthrough.HandleUse
		populate, removed bool
	}{
		{"empty", "/tmp", passthrough.HandlesNever, false, false},
		{"populated", "/dev/shm", passthrough.HandlesNever, true, false},
		{"merged", "/tmp", passthrough.HandlesPrefer, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			vfstest.Run(t, func(t *testing.T) vfstest.Subject {
				lower := tempDir(t, tt.parent)
				if tt.populate {
					populate(t, lower)
				}
				before := hostTree(t, lower)
				t.Cleanup(func() { sameTree(t, before, hostTree(t, lower)) })
				l := newLayers(t, lower, tt.parent, tt.handles)
				if tt.removed {
					removeSome(t, l)
				}
				return vfstest.Subject{FS: l, Twin: tempDir(t, tt.parent), Lacks: vfstest.NoLocks, Stats: l.stats}
			})
		})
	}
}

// populate makes the suite's tree. Names that the suite makes in the root itself
// become others.
func populate(t *testing.T, dir string) {
	t.Helper()
	if err := vfstest.Populate(dir, true); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"fifo", "null"} {
		if err := os.Rename(filepath.Join(dir, n), filepath.Join(dir, "lower-"+n)); err != nil {
			t.Fatal(err)
		}
	}
}

func removeSome(t *testing.T, l *layers) {
	t.Helper()
	if _, errno := l.Init(0); errno != 0 {
		t.Fatal(errno)
	}
	for _, s := range []string{"some", "empty", "link"} {
		if errno := l.Unlink(&vfs.Request{}, vfs.Root, name(s)); errno != 0 {
			t.Fatal(errno)
		}
	}
	if errno := l.Rmdir(&vfs.Request{}, vfs.Root, name("some-dir")); errno != 0 {
		t.Fatal(errno)
	}
}

func name(s string) vfs.Name {
	n, errno := vfs.MakeName(s)
	if errno != 0 {
		panic(errno)
	}
	return n
}
