package vfstest

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// dirScenarios make and list directories.
func dirScenarios(*suite) []scenario {
	return []scenario{
		{"plain", []op{
			readdir(""), mkdir("d", 0o755), stat("d"), mkdir("d/e", 0o755), stat("d"), mkfile("d/f", "", 0o644), symlink("f", "d/l"), readdir("d"),
			rmdir("d/e"), stat("d"), readdir("d"), fails(syscall.ENOTEMPTY, rmdir("d")), unlink("d/f"), unlink("d/l"), rmdir("d"),
		}},
		{"removed while open", []op{
			mkdir("d", 0o755), mkfile("d/f", "", 0o644), open("d", "d", unix.O_DIRECTORY, 0), unlink("d/f"), rmdir("d"), fstat("d"), closeFile("d"),
		}},
		{"modes", []op{
			mkdir("a", 0o700), mkdir("b", 0o1777), mkdir("c", 0o2755), stat("c"), mkdir("c/inherits", 0o755), stat("c/inherits"), mkdir("e", 0), stat("e"), readdir("e"),
		}},
	}
}

// testListings lists directories whole and in pieces, from every position, and
// while they change.
func (s *suite) testListings(t *testing.T) {
	n := 10_000
	if testing.Short() {
		n = 1000
	}
	for _, plus := range []bool{false, true} {
		if plus && !s.feat.Has(vfs.FeatReaddirplus) {
			continue
		}
		d := &dirTest{suite: s, plus: plus}
		for _, tt := range []struct {
			name    string
			entries int
			run     func(*testing.T, *dirCursor)
		}{
			{"empty", 0, d.whole},
			{"whole", 300, d.whole},
			{"large", n, d.whole},
			{"every split", 120, d.everySplit},
			{"seek back", 500, d.seekBack},
			{"while it changes", 1000, d.changing},
			{"rewind", 50, d.rewind},
			{"vanishing entries", 200, d.vanishing},
			{"many readers", 400, d.manyReaders},
		} {
			t.Run(fmt.Sprintf("%s plus=%v", tt.name, plus), func(t *testing.T) {
				d.withDir(t, tt.entries, tt.run)
			})
		}
	}
}

// dirTest makes listings of one kind.
type dirTest struct {
	*suite
	plus bool
}

// dirCursor is an open directory of known content.
type dirCursor struct {
	t     *testing.T
	c     *session
	f     *openFile
	plus  bool
	path  string
	names []string // sorted, without "." and ".."
}

// withDir makes a directory of n files, opens it and removes all afterwards.
func (d *dirTest) withDir(t *testing.T, n int, run func(*testing.T, *dirCursor)) {
	d.serial++
	c := d.root(t)
	cur := &dirCursor{t: t, c: c, plus: d.plus, path: fmt.Sprintf("dir-%d", d.serial)}
	if _, errno := c.mkdir(cur.path, 0o755); errno != 0 {
		t.Fatal(errno)
	}
	for i := range n {
		cur.names = append(cur.names, fmt.Sprintf("entry-%0*d", i%40+1, i))
	}
	for _, s := range cur.names {
		d.mkEntry(t, c, cur.path, s)
	}
	slices.Sort(cur.names)
	f, errno := c.open(cur.path, unix.O_DIRECTORY, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	cur.f = f.(*openFile)
	defer func() {
		if errno := f.close(); errno != 0 {
			t.Errorf("Releasedir: %s", errnoName(errno))
		}
		c.end()
		d.checkLeaks(t)
	}()
	run(t, cur)
}

// mkEntry makes a file, behind the file system's back where that is possible:
// it is faster, and host directories do change that way.
func (s *suite) mkEntry(t *testing.T, c *session, dir, n string) {
	if s.Dir != "" {
		if err := unix.Mknod(filepath.Join(s.Dir, dir, n), unix.S_IFREG|0o644, 0); err != nil {
			t.Fatal(err)
		}
		return
	}
	if _, errno := c.mknod(dir+"/"+n, unix.S_IFREG|0o644, 0); errno != 0 {
		t.Fatal(errno)
	}
}

// read takes up to room entries from position off on. With readdirplus it
// checks the entries and gives their references back.
func (d *dirCursor) read(off uint64, room int) []listed {
	d.t.Helper()
	s := &sink{room: room, plus: d.plus}
	if errno := d.c.fs.Readdir(&vfs.Request{}, d.f.node, d.f.h, off, s); errno != 0 {
		d.t.Fatalf("Readdir from %#x: %s", off, errnoName(errno))
	}
	for _, e := range s.got {
		dot := e.name == "." || e.name == ".."
		switch {
		case e.node != 0 && (!d.plus || dot):
			d.t.Errorf("%q comes with a reference to node %d", e.name, e.node)
		case e.node != 0 && (e.attr.ino != e.ino || e.attr.Mode&unix.S_IFMT != e.typ):
			d.t.Errorf("%q has inode %d and type %#o, and the entry with it %d and %#o", e.name, e.ino, e.typ, e.attr.ino, e.attr.Mode)
		}
		if e.node != 0 {
			d.c.fs.Forget(e.node, 1)
		}
	}
	return s.got
}

// readAll lists from off to the end, room entries at a time.
func (d *dirCursor) readAll(off uint64, room int) []listed {
	d.t.Helper()
	var all []listed
	for {
		got := d.read(off, room)
		if len(got) == 0 {
			return all
		}
		all = append(all, got...)
		off = got[len(got)-1].next
	}
}

// sortedNames returns the names of a listing, and checks "." and "..".
func (d *dirCursor) sortedNames(entries []listed) []string {
	d.t.Helper()
	var names []string
	dots := 0
	for _, e := range entries {
		if e.name == "." || e.name == ".." {
			dots++
			if e.typ != unix.S_IFDIR {
				d.t.Errorf("%q has type %#o", e.name, e.typ)
			}
			continue
		}
		names = append(names, e.name)
	}
	if dots != 2 {
		d.t.Errorf(`"." and ".." come %d times, want once each`, dots)
	}
	slices.Sort(names)
	return names
}

func (d *dirCursor) expect(what string, got, want []string) {
	d.t.Helper()
	if slices.Equal(got, want) {
		return
	}
	d.t.Errorf("%s: %d names, want %d", what, len(got), len(want))
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			d.t.Errorf("the first difference is at %d: got %q, want %q", i, got[min(i, len(got)):min(i+2, len(got))], want[min(i, len(want)):min(i+2, len(want))])
			return
		}
	}
}

func (d *dirTest) whole(t *testing.T, cur *dirCursor) {
	for _, room := range []int{1 << 20, 37} {
		all := cur.readAll(0, room)
		cur.expect(fmt.Sprintf("listing %d at a time", room), cur.sortedNames(all), cur.names)
		for i, e := range all {
			if i%97 != 0 || e.name == "." || e.name == ".." {
				continue
			}
			if a, errno := cur.c.stat(cur.path + "/" + e.name); errno != 0 || a.ino != e.ino || e.typ != unix.S_IFREG {
				t.Errorf("%q is listed as inode %d, type %#o; Getattr says %d, %#o, %s", e.name, e.ino, e.typ, a.ino, a.Mode, errnoName(errno))
			}
		}
	}
}

// everySplit lists with room for any number of entries, so that a listing is
// cut behind each entry there is.
func (d *dirTest) everySplit(t *testing.T, cur *dirCursor) {
	whole := cur.readAll(0, 1<<20)
	for room := 1; room <= len(whole); room++ {
		part := cur.readAll(0, room)
		if len(part) != len(whole) {
			t.Fatalf("%d at a time there are %d entries, want %d", room, len(part), len(whole))
		}
		for i := range part {
			if part[i].name != whole[i].name || part[i].next != whole[i].next {
				t.Fatalf("%d at a time entry %d is %q, next %#x; want %q, %#x", room, i, part[i].name, part[i].next, whole[i].name, whole[i].next)
			}
		}
	}
	// getdents(2) calls it EINVAL if not even one entry fits.
	full := &sink{plus: d.plus}
	if errno := d.FS.Readdir(&vfs.Request{}, cur.f.node, cur.f.h, 0, full); len(full.got) != 0 || errno != 0 && errno != syscall.EINVAL {
		t.Errorf("a sink without room got %d entries, %s", len(full.got), errnoName(errno))
	}
}

// seekBack reads on from each position that a listing gave, in an order that is
// not the directory's.
func (d *dirTest) seekBack(t *testing.T, cur *dirCursor) {
	whole := cur.readAll(0, 64)
	for k := range whole {
		i := k * 263 % len(whole)
		got := cur.read(whole[i].next, 3)
		want := whole[i+1 : min(i+4, len(whole))]
		if len(got) != len(want) {
			t.Fatalf("behind %q there are %d entries, want %d", whole[i].name, len(got), len(want))
		}
		for j := range want {
			if got[j].name != want[j].name {
				t.Fatalf("behind %q comes %q, want %q", whole[i].name, got[j].name, want[j].name)
			}
		}
	}
	if got := cur.read(0, 1); len(got) != 1 || got[0].name != whole[0].name {
		t.Errorf("back at the start comes %v, want %q", got, whole[0].name)
	}
}

// changing adds and removes names while a listing is under way: each name that
// was there all the time comes exactly once.
func (d *dirTest) changing(t *testing.T, cur *dirCursor) {
	removed := map[string]bool{}
	seen := map[string]int{}
	off := uint64(0)
	for round := 0; ; round++ {
		got := cur.read(off, 100)
		if len(got) == 0 {
			break
		}
		for _, e := range got {
			if removed[e.name] && round > 0 && seen[e.name] == 0 {
				// Removed before it came: a file system that reads ahead
				// may still list it, but must not look it up.
				if e.node != 0 {
					t.Errorf("%q was removed before, and comes with node %d", e.name, e.node)
				}
			}
			seen[e.name]++
		}
		off = got[len(got)-1].next
		for i := round; i < len(cur.names); i += 251 {
			if n := cur.names[i]; i%2 == 0 && !removed[n] {
				removed[n] = true
				if errno := cur.c.unlink(cur.path + "/" + n); errno != 0 {
					t.Fatalf("Unlink %s: %s", n, errnoName(errno))
				}
			}
		}
		for i := range 20 {
			d.mkEntry(t, cur.c, cur.path, fmt.Sprintf("new-%d-%d", round, i))
		}
		if round > 4*len(cur.names)/100+10 {
			t.Fatalf("the listing does not end")
		}
	}
	for _, n := range cur.names {
		if seen[n] != 1 && !removed[n] {
			t.Errorf("%q was there all the time and comes %d times", n, seen[n])
		}
	}
	for n, k := range seen {
		if k > 1 {
			t.Errorf("%q comes %d times", n, k)
		}
	}
}

// rewind starts again on the same handle and must see what is there then.
func (d *dirTest) rewind(t *testing.T, cur *dirCursor) {
	cur.readAll(0, 7)
	d.mkEntry(t, cur.c, cur.path, "late")
	if errno := cur.c.unlink(cur.path + "/" + cur.names[3]); errno != 0 {
		t.Fatal(errno)
	}
	want := slices.Delete(slices.Clone(cur.names), 3, 4)
	want = append(want, "late")
	slices.Sort(want)
	cur.expect("after a rewind", cur.sortedNames(cur.readAll(0, 7)), want)
}

// vanishing removes everything after the listing has begun: whatever the rest
// of it brings, it ends without an error.
func (d *dirTest) vanishing(t *testing.T, cur *dirCursor) {
	first := cur.read(0, 5)
	for _, n := range cur.names {
		if errno := cur.c.unlink(cur.path + "/" + n); errno != 0 {
			t.Fatal(errno)
		}
	}
	for _, e := range cur.readAll(first[4].next, 9) {
		if e.node != 0 {
			t.Errorf("%q is gone and comes with node %d", e.name, e.node)
		}
	}
	if errno := cur.c.rmdir(cur.path); errno != 0 {
		t.Fatal(errno)
	}
	// getdents(2) calls it ENOENT.
	left := &sink{room: 10, plus: d.plus}
	errno := d.FS.Readdir(&vfs.Request{}, cur.f.node, cur.f.h, 0, left)
	if errno != 0 && errno != syscall.ENOENT {
		t.Errorf("listing a removed directory: %s", errnoName(errno))
	}
	for _, e := range left.got {
		if e.name != "." && e.name != ".." {
			t.Errorf("a removed directory lists %q", e.name)
		}
	}
}

// manyReaders lists on one handle from several goroutines, each at a position
// of its own.
func (d *dirTest) manyReaders(t *testing.T, cur *dirCursor) {
	var wg sync.WaitGroup
	for k := range 8 {
		wg.Go(func() {
			var names []string
			for off, done := uint64(0), false; !done; {
				s := &sink{room: 3 + k, plus: d.plus}
				if errno := d.FS.Readdir(&vfs.Request{}, cur.f.node, cur.f.h, off, s); errno != 0 {
					t.Errorf("Readdir: %s", errnoName(errno))
					return
				}
				for _, e := range s.got {
					off = e.next
					if e.name != "." && e.name != ".." {
						names = append(names, e.name)
					}
					if e.node != 0 {
						d.FS.Forget(e.node, 1)
					}
				}
				done = len(s.got) == 0
			}
			slices.Sort(names)
			if !slices.Equal(names, cur.names) {
				t.Errorf("reader %d got %d names, want %d", k, len(names), len(cur.names))
			}
		})
	}
	wg.Wait()
}
