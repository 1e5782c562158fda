package vfstest

import (
	"fmt"
	"testing"

	"github.com/isthmus-fs/isthmus/vfs"
)

// testSameNode finds one object by several ways: it is one node.
func (s *suite) testSameNode(t *testing.T) {
	c := s.root(t)
	c.keep = true
	f, errno := c.open("one", creat|rdwr, 0o644)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer f.close()
	want := f.(*openFile).node
	paths := []string{"one"}
	if s.Lacks&NoHardLinks == 0 {
		if _, errno := c.link("one", "two"); errno != 0 {
			t.Fatal(errno)
		}
		paths = append(paths, "two")
	}
	for _, p := range paths {
		if node, _, errno := c.walk(p); errno != 0 || node != want {
			t.Errorf("%s is node %d, %s; want %d", p, node, errnoName(errno), want)
		}
	}
	if errno := c.rename("one", "three", 0); errno != 0 {
		t.Fatal(errno)
	}
	if node, _, errno := c.walk("three"); errno != 0 || node != want {
		t.Errorf("after a rename it is node %d, %s; want %d", node, errnoName(errno), want)
	}
	// Another object of the same name is another node, whatever its inode
	// number.
	for range 20 {
		c.unlink("three")
		g, errno := c.open("three", creat|excl|rdwr, 0o644)
		if errno != 0 {
			t.Fatal(errno)
		}
		if node := g.(*openFile).node; node == want {
			t.Fatalf("a new file is node %d, which an older one still is", node)
		}
		want = g.(*openFile).node
		g.close()
	}
}

// nodes returns how many nodes there are beside the root, or ok false where
// that is not known.
func (s *suite) nodes() (n int, ok bool) {
	if s.Stats == nil {
		return 0, false
	}
	n, _, _ = s.Stats()
	return n - 1, true
}

// testCounted gives references back one by one, too many, and all at once.
func (s *suite) testCounted(t *testing.T) {
	c := s.root(t)
	c.mkdir("d", 0o755)
	expect := func(what string, want int) {
		t.Helper()
		if n, ok := s.nodes(); ok && n != want {
			t.Errorf("%s: %d nodes beside the root, want %d", what, n, want)
		}
	}
	expect("at first", 0)
	d := name("d")
	var e vfs.Entry
	for range 5 {
		if errno := s.FS.Lookup(&vfs.Request{}, vfs.Root, d, &e); errno != 0 {
			t.Fatal(errno)
		}
	}
	expect("after five lookups", 1)
	for i := range 4 {
		s.FS.Forget(e.Node, 1)
		expect(fmt.Sprintf("after %d of 5 forgets", i+1), 1)
		if _, errno := c.getattr(e.Node, vfs.NoHandle); errno != 0 {
			t.Errorf("with %d of 5 references the node is %s", 4-i, errnoName(errno))
		}
	}
	s.FS.Forget(e.Node, 0)
	expect("after forgetting none", 1)
	s.FS.Forget(e.Node, 1)
	expect("after 5 forgets", 0)

	for range 3 {
		s.FS.Lookup(&vfs.Request{}, vfs.Root, d, &e)
	}
	s.FS.Forget(e.Node, 3)
	expect("after forgetting three at once", 0)
	s.FS.Lookup(&vfs.Request{}, vfs.Root, d, &e)
	s.FS.Forget(e.Node, 1<<63)
	expect("after forgetting too many", 0)
	s.FS.Lookup(&vfs.Request{}, vfs.Root, d, &e)
	expect("after another lookup", 1)
	s.FS.Forget(e.Node, ^uint64(0))
	expect("after forgetting all there can be", 0)

	s.FS.Forget(vfs.Root, 1)
	s.FS.Forget(vfs.Root, ^uint64(0))
	if _, errno := c.getattr(vfs.Root, vfs.NoHandle); errno != 0 {
		t.Errorf("after forgetting the root it is %s", errnoName(errno))
	}
	// Failed calls leave no reference behind.
	for range 3 {
		s.FS.Mkdir(&vfs.Request{}, vfs.Root, d, 0o755, &e)
		s.FS.Lookup(&vfs.Request{}, vfs.Root, name("missing"), &e)
		s.FS.Symlink(&vfs.Request{}, vfs.Root, d, []byte("t\x00"), &e)
		s.FS.Link(&vfs.Request{}, vfs.Root, vfs.Root, name("rootlink"), &e)
		s.FS.Create(&vfs.Request{}, vfs.Root, d, creat|rdwr, 0o644, &e, &vfs.Opened{})
		expect("after calls that failed", 0)
	}
}

// testKeptOpen has the guest forget a node that it has open, which Linux does
// not do: the handle then serves no more, or as before, and can be released.
func (s *suite) testKeptOpen(t *testing.T) {
	c := s.root(t)
	of, errno := c.open("open", creat|rdwr, 0o644)
	if errno != 0 {
		t.Fatal(errno)
	}
	f := of.(*openFile)
	f.pwrite("data", 0)
	s.FS.Forget(f.node, 1)
	delete(c.held, f.node)
	if data, errno := f.pread(4, 0); errno == 0 && data != "data" {
		t.Errorf("the handle of a forgotten node reads %q", data)
	}
	s.FS.Release(&vfs.Request{}, f.node, f.h, &vfs.ReleaseIn{})
	// What cannot be released through the node ends with the session.
	if _, errno := s.FS.Init(offered); errno != 0 {
		t.Fatal(errno)
	}
	s.checkLeaks(t)
}

// testManyNodes holds many nodes at once, and uses each.
func (s *suite) testManyNodes(t *testing.T) {
	n := 3000
	if testing.Short() {
		n = 300
	}
	c := s.root(t)
	c.keep = true
	if _, errno := c.mkdir("many", 0o755); errno != 0 {
		t.Fatal(errno)
	}
	want := map[vfs.NodeID]uint64{}
	for i := range n {
		a, errno := c.mknod(fmt.Sprintf("many/%d", i), 0o100644, 0)
		if errno != 0 {
			t.Fatal(errno)
		}
		e, errno := c.lookup(c.mustWalk("many"), fmt.Sprint(i))
		if errno != 0 {
			t.Fatal(errno)
		}
		want[e.Node] = a.ino
	}
	if len(want) != n {
		t.Errorf("%d files have %d node ids", n, len(want))
	}
	if got, ok := s.nodes(); ok && got != n+1 {
		t.Errorf("the file system holds %d nodes, want %d", got, n+1)
	}
	for node, ino := range want {
		if a, errno := c.getattr(node, vfs.NoHandle); errno != 0 || a.ino != ino {
			t.Fatalf("node %d is inode %d, %s; want %d", node, a.ino, errnoName(errno), ino)
		}
	}
	c.end()
	s.checkLeaks(t)
}

// mustWalk is walk for a path that exists.
func (c *session) mustWalk(path string) vfs.NodeID {
	node, _, errno := c.walk(path)
	if errno != 0 {
		c.t.Fatalf("%s: %s", path, errnoName(errno))
	}
	return node
}
