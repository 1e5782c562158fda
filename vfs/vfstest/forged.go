package vfstest

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// testForgedNodes makes every call with node ids that the guest was never
// given, or has given back.
func (s *suite) testForgedNodes(t *testing.T) {
	c := s.root(t)
	// A node that the guest had, and forgot.
	gone := make([]vfs.NodeID, 0, 2)
	for i := range 2 {
		f, errno := c.open(fmt.Sprintf("gone-%d", i), creat|rdwr, 0o644)
		if errno != 0 {
			t.Fatal(errno)
		}
		gone = append(gone, f.(*openFile).node)
		f.close()
	}
	of, errno := c.open("victim", creat|rdwr, 0o644)
	if errno != 0 {
		t.Fatal(errno)
	}
	f := of.(*openFile)
	rng := rand.New(rand.NewPCG(1, 2))
	ids := append(gone, 0, 2, 1<<20, 1<<32, f.node^1<<40, f.node+1, f.node+1<<32, vfs.MaxNodeID, vfs.MaxNodeID+1, 1<<63, ^vfs.NodeID(0), vfs.Root|1<<48)
	for range 200 {
		ids = append(ids, vfs.NodeID(rng.Uint64()>>rng.IntN(64)))
	}
	tree := snapshot(t, c, s.Lacks)
	for _, cl := range s.offeredCalls() {
		for _, node := range ids {
			if node == vfs.Root || node == f.node {
				continue
			}
			for _, h := range []vfs.Handle{vfs.NoHandle, 0, 1, f.h} {
				errno := cl.make(s.FS, &vfs.Request{}, node, h)
				if errno != syscall.ESTALE && (errno != syscall.EBADF || cl.handle == noHandle) {
					t.Errorf("%s with node %#x, handle %#x: %s, want ESTALE", cl.name, node, h, errnoName(errno))
				}
			}
			s.FS.Forget(node, 1)
			s.FS.Forget(node, ^uint64(0))
		}
	}
	// Two nodes in one call.
	var e vfs.Entry
	for _, node := range ids[:12] {
		if node == vfs.Root || node == f.node {
			continue
		}
		if errno := s.FS.Link(&vfs.Request{}, f.node, node, name("x"), &e); s.Lacks&NoHardLinks == 0 && errno != syscall.ESTALE {
			t.Errorf("Link into node %#x: %s, want ESTALE", node, errnoName(errno))
		}
	}
	if _, errno := c.getattr(f.node, f.h); errno != 0 {
		t.Errorf("the node that was not forged: %s", errnoName(errno))
	}
	compareTrees(t, "after calls with forged nodes", snapshot(t, c, s.Lacks), tree)
	f.close()
	c.end()
	s.checkLeaks(t)
}

// offeredCalls are those that the file system does not lack.
func (s *suite) offeredCalls() []call {
	var list []call
	for _, c := range calls {
		if s.Lacks&c.lacks == 0 && (c.lacks != NoLocks || s.feat.Has(vfs.FeatPOSIXLocks)) {
			list = append(list, c)
		}
	}
	return list
}

// testForgedHandles uses handles of nothing, of another file, of a directory
// where a file is needed and the reverse, and such as were released.
func (s *suite) testForgedHandles(t *testing.T) {
	c := s.root(t)
	open := func(n string, flags int) *openFile {
		t.Helper()
		f, errno := c.open(n, flags, 0o644)
		if errno != 0 {
			t.Fatal(errno)
		}
		return f.(*openFile)
	}
	for _, d := range []string{"dir-a", "dir-b"} {
		if _, errno := c.mkdir(d, 0o755); errno != 0 {
			t.Fatal(errno)
		}
	}
	file, other := open("file-a", creat|rdwr), open("file-b", creat|rdwr)
	dir, otherDir := open("dir-a", unix.O_DIRECTORY), open("dir-b", unix.O_DIRECTORY)
	released := open("file-a", rdwr)
	releasedDir := open("dir-a", unix.O_DIRECTORY)
	released.close()
	releasedDir.close()
	for i := range 100 {
		file.pwrite("0123456789", uint64(i)*10)
	}
	handles := []struct {
		what string
		h    vfs.Handle
	}{
		{"of another file", other.h}, {"of another directory", otherDir.h}, {"released", released.h}, {"of a directory, released", releasedDir.h},
		{"never given", 1 << 40}, {"never given", 1<<63 + 5}, {"one less than none", vfs.NoHandle - 1}, {"flipped", file.h ^ 1<<33},
	}
	tree := snapshot(t, c, s.Lacks)
	for _, cl := range s.offeredCalls() {
		if cl.handle != fileHandle && cl.handle != dirHandle {
			continue
		}
		mine, wrong := file, dir
		if cl.handle == dirHandle {
			mine, wrong = dir, file
		}
		list := append(handles, struct {
			what string
			h    vfs.Handle
		}{"of the wrong kind", wrong.h})
		if cl.name != "Setattr size" && cl.name != "Ioctl" {
			list = append(list, struct {
				what string
				h    vfs.Handle
			}{"none", vfs.NoHandle})
		}
		for _, x := range list {
			if x.h == mine.h {
				continue
			}
			if errno := cl.make(s.FS, &vfs.Request{}, mine.node, x.h); errno != syscall.EBADF {
				t.Errorf("%s with a handle %s: %s, want EBADF", cl.name, x.what, errnoName(errno))
			}
		}
	}
	compareTrees(t, "after calls with forged handles", snapshot(t, c, s.Lacks), tree)
	for _, f := range []*openFile{file, other, dir, otherDir} {
		if errno := f.close(); errno != 0 {
			t.Errorf("a handle that was not forged: %s", errnoName(errno))
		}
	}
	c.end()
	s.checkLeaks(t)
}

// testSessions begins a new session with nodes and handles of the old one open:
// a guest that was reset.
func (s *suite) testSessions(t *testing.T) {
	c := s.root(t)
	of, errno := c.open("survivor", creat|rdwr, 0o644)
	if errno != 0 {
		t.Fatal(errno)
	}
	f := of.(*openFile)
	f.pwrite("kept", 0)
	for range 3 {
		if _, errno := s.FS.Init(offered); errno != 0 {
			t.Fatalf("Init again: %s", errnoName(errno))
		}
		s.checkLeaks(t)
		if errno := s.FS.Getattr(&vfs.Request{}, f.node, vfs.NoHandle, &vfs.AttrOut{}); errno != syscall.ESTALE {
			t.Errorf("a node of the session before: %s, want ESTALE", errnoName(errno))
		}
		if _, errno := f.pread(4, 0); errno != syscall.ESTALE && errno != syscall.EBADF {
			t.Errorf("a handle of the session before: %s, want ESTALE or EBADF", errnoName(errno))
		}
		clear(c.held)
		if of, errno = c.open("survivor", rdwr, 0); errno != 0 {
			t.Fatal(errno)
		}
		f = of.(*openFile)
		if data, errno := f.pread(10, 0); errno != 0 || data != "kept" {
			t.Errorf("in the new session the file has %q, %s", data, errnoName(errno))
		}
	}
	s.FS.Destroy()
	s.checkLeaks(t)
	clear(c.held)
	if _, errno := s.FS.Init(offered); errno != 0 {
		t.Fatalf("Init after Destroy: %s", errnoName(errno))
	}
}
