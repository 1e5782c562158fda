package tree

import (
	"fmt"
	"testing"

	"github.com/isthmus-fs/isthmus/vfs"
)

// identity is what a guest sees of a file: its device, which is a mount of those that say that
// they are one or otherwise that above, and its inode number.
type identity struct {
	device string
	ino    uint64
}

// TestInodeNumbersAreUnique looks at the same host directory mounted at several paths
// of a tree, for guests that know submounts and for others.
func TestInodeNumbersAreUnique(t *testing.T) {
	for _, test := range []struct {
		name     string
		changing bool
		offered  vfs.Features
		devices  int
	}{
		{"submounts", false, everything &^ vfs.FeatSubmountsEnd, 4},
		{"no submounts", false, everything &^ vfs.FeatSubmounts, 1},
		{"submounts that may end", true, everything, 4},
		{"submounts that must not end", true, everything &^ vfs.FeatSubmountsEnd, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := tempDir(t, "/dev/shm", "d/f")
			file := tempDir(t, "/dev/shm", "lone") + "/lone"
			fs := New(Config{Logger: quiet, Changing: test.changing})
			mounted(t, fs, "/", plain(t, dir))
			mounted(t, fs, "/one", plain(t, dir))
			mounted(t, fs, "/two", plain(t, dir))
			mounted(t, fs, "/made/up", plain(t, dir))
			mounted(t, fs, "/made/lone", plain(t, file))
			agreed, errno := fs.Init(test.offered)
			if errno != 0 {
				t.Fatal(errno)
			}
			if agreed.Has(vfs.FeatSubmounts) != (test.devices > 1) {
				t.Errorf("%v was agreed", agreed)
			}
			paths := map[identity]string{}
			devices := map[string]bool{"/": true}
			for _, top := range []string{"", "/one", "/two", "/made/up"} {
				for _, path := range []string{"", "/d", "/d/f"} {
					look(t, fs, top+path, paths, devices)
				}
			}
			look(t, fs, "/made", paths, devices)
			look(t, fs, "/made/lone", paths, devices)
			// /made is a mount of its own for a guest.
			if want := test.devices; len(devices) != want && !(want > 1 && len(devices) == want+1) {
				t.Errorf("the guest sees %d devices: %v", len(devices), devices)
			}
		})
	}
}

// look walks to a path and notes what a guest sees there, by attributes and in the
// listing of the directory above.
func look(t *testing.T, fs *FS, path string, paths map[identity]string, devices map[string]bool) {
	t.Helper()
	device, at := "/", ""
	e := vfs.Entry{Node: vfs.Root}
	var out vfs.AttrOut
	want(t, "getattr /", fs.Getattr(&root, vfs.Root, vfs.NoHandle, &out), 0)
	e.Attr = out.Attr
	for _, n := range split(path) {
		parent := e.Node
		at += "/" + n
		want(t, at, fs.Lookup(&root, parent, name(n), &e), 0)
		want(t, "getattr "+at, fs.Getattr(&root, e.Node, vfs.NoHandle, &out), 0)
		if out.Attr.Ino != e.Attr.Ino || out.Attr.Flags != e.Attr.Flags {
			t.Errorf("%s: inode %#x by its name and %#x by its node", at, e.Attr.Ino, out.Attr.Ino)
		}
		if listed := inoListed(t, fs, parent, n); listed != e.Attr.Ino {
			t.Errorf("%s: inode %#x, and %#x in the listing", at, e.Attr.Ino, listed)
		}
		if e.Attr.Flags&vfs.AttrSubmount != 0 {
			device = at
			devices[device] = true
		}
	}
	s := identity{device, e.Attr.Ino}
	if other, there := paths[s]; there {
		t.Errorf("%q and %q are both inode %#x of the device %s", path, other, s.ino, device)
	}
	paths[s] = path
}

func split(path string) (names []string) {
	for i, c := range path {
		if c == '/' {
			names = append(names, "")
		} else {
			names[len(names)-1] += path[i : i+1]
		}
	}
	return names
}

// inoListed is the inode number that a listing has for a name.
func inoListed(t *testing.T, fs *FS, dir vfs.NodeID, name string) uint64 {
	t.Helper()
	var o vfs.Opened
	want(t, "opendir", fs.Opendir(&root, dir, 0, &o), 0)
	defer fs.Releasedir(&root, dir, o.Handle)
	s := &inoSink{name: name}
	for {
		s.added = 0
		want(t, "readdir", fs.Readdir(&root, dir, o.Handle, s.next, s), 0)
		if s.added == 0 {
			break
		}
	}
	if s.ino == 0 {
		t.Error(fmt.Errorf("%s is not in the listing", name))
	}
	return s.ino
}

type inoSink struct {
	name  string
	ino   uint64
	next  uint64
	added int
}

func (s *inoSink) Plus() bool    { return false }
func (s *inoSink) Fits(int) bool { return s.added < 3 }
func (s *inoSink) Add(name []byte, ino, next uint64, _ uint32, _ *vfs.Entry) {
	if string(name) == s.name {
		s.ino = ino
	}
	s.next = next
	s.added++
}
