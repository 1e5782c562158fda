package tree

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/overlay"
	"github.com/isthmus-fs/isthmus/vfs"
)

// TestListings lists directories with mounts in pieces of each size and from each
// position: all names come once.
func TestListings(t *testing.T) {
	fs := newTree(t)
	var files, all []string
	for i := range 40 {
		files = append(files, fmt.Sprintf("d/file-%d", i))
		all = append(all, fmt.Sprintf("file-%d", i))
	}
	files = append(files, "d/covered-0/x", "d/covered-1/x", "d/covered-2")
	below := dirOf(t, files...)
	mounted(t, fs, "/m", below)
	for i := range 6 {
		n := fmt.Sprintf("covered-%d", i) // three are added
		mounted(t, fs, "/m/d/"+n, dirOf(t))
		all = append(all, n)
	}
	mounted(t, fs, "/m/d/syn/x", dirOf(t))
	all = append(all, "syn")
	slices.Sort(all)
	begin(t, fs)
	dir := walk(t, fs, "/m/d").Node
	nodes := below.Stats().Nodes
	for _, plus := range []bool{false, true} {
		whole := readdir(t, fs, dir, 0, 1000, plus)
		for room := 1; room < len(whole)+4; room++ {
			got := readdir(t, fs, dir, 0, room, plus)
			if !slices.EqualFunc(got, whole, func(a, b listed) bool { return a.name == b.name && a.next == b.next }) {
				t.Fatalf("%d at a time there is %v", room, nameList(got))
			}
		}
		for i, x := range whole {
			if x.next&topBit != 0 {
				t.Errorf("position %#x cannot be sought", x.next)
			}
			if got := nameList(readdir(t, fs, dir, x.next, 3, plus)); !slices.Equal(got, nameList(whole[i+1:])) {
				t.Errorf("behind %s there is %v", x.name, got)
			}
			e := walk(t, fs, "/m/d/"+x.name)
			if x.ino != e.Attr.Ino || x.typ != e.Attr.Mode&unix.S_IFMT || plus && x.entry != e {
				t.Errorf("%s is listed as %+v, and is %+v", x.name, x, e)
			}
			if !plus && x.entry.Node != 0 {
				t.Errorf("%s came with a reference", x.name)
			}
		}
		got := nameList(whole)
		if slices.Sort(got); !slices.Equal(got, all) {
			t.Errorf("there are %v", got)
		}
	}
	// Covered entries have left no reference.
	begin(t, fs)
	dir = walk(t, fs, "/m/d").Node
	readdir(t, fs, dir, 0, 5, true)
	if n := below.Stats().Nodes; n != nodes || n != 2 {
		t.Errorf("the file system holds %d nodes", n)
	}
	if list := fs.Mounts(); list[0].References != 1 || list[1].References != 0 { // to /m/d
		t.Errorf("the guest has %+v", list[:2])
	}
}

func nameList(list []listed) []string {
	var names []string
	for _, x := range list {
		names = append(names, x.name)
	}
	return names
}

// TestListingWhileMounting has mounts come and go in the middle of a listing.
func TestListingWhileMounting(t *testing.T) {
	fs := newTree(t)
	mounted(t, fs, "/", dirOf(t, "f"))
	for _, n := range []string{"/a", "/b", "/c", "/d"} {
		mounted(t, fs, n, dirOf(t))
	}
	begin(t, fs)
	var o vfs.Opened
	want(t, "opendir", fs.Opendir(&root, vfs.Root, 0, &o), 0)
	defer fs.Releasedir(&root, vfs.Root, o.Handle)
	first := &list{room: 5}
	want(t, "readdir", fs.Readdir(&root, vfs.Root, o.Handle, 0, first), 0)
	if got := nameList(first.got); got[len(got)-1] != "b" {
		t.Fatalf("the listing begins with %v", got)
	}
	unmounted(t, fs, "/b")
	unmounted(t, fs, "/c")
	mounted(t, fs, "/e", dirOf(t)) // may come or not: here it has b's place
	rest := &list{room: 9}
	want(t, "readdir", fs.Readdir(&root, vfs.Root, o.Handle, first.got[4].next, rest), 0)
	if got := nameList(rest.got); !slices.Equal(got, []string{"d"}) {
		t.Errorf("the listing goes on with %v", got)
	}
	if got := names(t, fs, "/"); got != "a d e f" {
		t.Errorf("a new listing has %s", got)
	}
}

// counter is a directory of many names that are at given positions, and stops after
// each few.
type counter struct {
	vfs.Unimplemented
	at []uint64
}

func (c *counter) Init(f vfs.Features) (vfs.Features, syscall.Errno) { return f, 0 }
func (c *counter) Getattr(_ *vfs.Request, n vfs.NodeID, _ vfs.Handle, out *vfs.AttrOut) syscall.Errno {
	*out = vfs.AttrOut{Attr: vfs.Attr{Mode: unix.S_IFDIR | 0o755, Ino: uint64(n)}}
	return 0
}
func (c *counter) Opendir(*vfs.Request, vfs.NodeID, uint32, *vfs.Opened) syscall.Errno { return 0 }
func (c *counter) Releasedir(*vfs.Request, vfs.NodeID, vfs.Handle) syscall.Errno       { return 0 }
func (c *counter) Lookup(*vfs.Request, vfs.NodeID, vfs.Name, *vfs.Entry) syscall.Errno {
	return syscall.ENOENT
}
func (c *counter) Readdir(_ *vfs.Request, _ vfs.NodeID, _ vfs.Handle, off uint64, sink vfs.DirSink) syscall.Errno {
	i := 0
	if off != 0 {
		if i = slices.Index(c.at, off) + 1; i == 0 {
			return syscall.EINVAL
		}
	}
	for _, pos := range c.at[i:min(i+2, len(c.at))] {
		n := fmt.Sprintf("at-%x", pos)
		if !sink.Fits(len(n)) {
			return 0
		}
		sink.Add([]byte(n), 1, pos, unix.S_IFREG, nil)
	}
	return 0
}

// TestPositions lists a file system that has positions among those of the tree, and
// one that stops before the end.
func TestPositions(t *testing.T) {
	fs := newTree(t)
	c := &counter{at: []uint64{1, tailBase - 1, tailBase, tailBase + 1, tailBase + 2, tailBase + tailMask, tailBase + tailMask + 1, 1<<63 - 1, 1 << 63, 1<<64 - 2}}
	mounted(t, fs, "/", c)
	mounted(t, fs, "/a", dirOf(t))
	mounted(t, fs, "/b", dirOf(t))
	begin(t, fs)
	for _, room := range []int{1, 2, 3, 100} {
		all := readdir(t, fs, vfs.Root, 0, room, false)
		if got := nameList(all); len(got) != len(c.at)+2 || !slices.Equal(got[len(c.at):], []string{"a", "b"}) {
			t.Errorf("%d at a time there is %v", room, got)
		}
		seen := map[uint64]bool{}
		for i, x := range all {
			if seen[x.next] {
				t.Errorf("position %#x is there twice", x.next)
			}
			seen[x.next] = true
			if got := nameList(readdir(t, fs, vfs.Root, x.next, room, false)); !slices.Equal(got, nameList(all[i+1:])) {
				t.Errorf("behind %s there is %v", x.name, got)
			}
		}
	}
}

// TestPlainListing keeps listings with entries from a file system that does not want
// them.
func TestPlainListing(t *testing.T) {
	fs := newTree(t)
	c := &wanting{FileSystem: dirOf(t, "f"), wants: 0}
	mounted(t, fs, "/", c)
	mounted(t, fs, "/m", dirOf(t, "g"))
	if !begin(t, fs).Has(vfs.FeatReaddirplus) {
		t.Fatal("no listings with entries")
	}
	var got []string
	for _, x := range append(readdir(t, fs, vfs.Root, 0, 9, true), readdir(t, fs, walk(t, fs, "/m").Node, 0, 9, true)...) {
		got = append(got, fmt.Sprint(x.name, " ", x.entry.Node != 0))
	}
	if s := strings.Join(got, ", "); s != "f false, m true, g true" {
		t.Errorf("entries: %s", s)
	}
}

// TestListingOverlay lists an overlay, whose positions are near those of the tree, in
// pieces of each size, with mounts in it and without.
func TestListingOverlay(t *testing.T) {
	for _, mounts := range []bool{false, true} {
		below, private := dirOf(t, "low-1", "low-2", "low-3"), dirOf(t)
		layers, err := overlay.New(below, private, overlay.Options{Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		fs := newTree(t)
		mounted(t, fs, "/m", layers)
		want := []string{"low-1", "low-2", "low-3"}
		if mounts {
			mounted(t, fs, "/m/mount-1", dirOf(t))
			mounted(t, fs, "/m/mount-2", dirOf(t))
			want = append(want, "mount-1", "mount-2")
		}
		begin(t, fs)
		dir := walk(t, fs, "/m").Node
		for i := range 5 {
			n := fmt.Sprintf("up-%d", i)
			var e vfs.Entry
			if errno := fs.Mknod(&root, dir, name(n), unix.S_IFREG|0o644, 0, &e); errno != 0 {
				t.Fatal(errno)
			}
			fs.Forget(e.Node, 1)
			want = append(want, n)
		}
		slices.Sort(want)
		for _, plus := range []bool{false, true} {
			for room := 1; room < 14; room++ {
				got := nameList(readdir(t, fs, dir, 0, room, plus))
				if slices.Sort(got); !slices.Equal(got, want) {
					t.Errorf("mounts %v: %d at a time there is %v", mounts, room, got)
				}
			}
		}
	}
}
