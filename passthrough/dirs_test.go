package passthrough

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// listed is an entry of a listing.
type listed struct {
	name string
	ino  uint64
	next uint64
	typ  uint32
	node vfs.NodeID // 0 for one that was not looked up
}

// listing is a DirSink that takes a number of entries.
type listing struct {
	plus    bool
	room    int
	entries []listed
}

func (l *listing) Plus() bool    { return l.plus }
func (l *listing) Fits(int) bool { return l.room > 0 }

func (l *listing) Add(name []byte, ino, next uint64, typ uint32, e *vfs.Entry) {
	if l.room == 0 {
		panic("Add without Fits")
	}
	l.room--
	entry := listed{name: string(name), ino: ino, next: next, typ: typ}
	if e != nil {
		entry.node = e.Node
	}
	l.entries = append(l.entries, entry)
}

func (l *listing) names() []string {
	var names []string
	for _, e := range l.entries {
		names = append(names, e.name)
	}
	return names
}

func opendir(t testing.TB, fs *FS, id vfs.NodeID) vfs.Handle {
	t.Helper()
	var o vfs.Opened
	want(t, "opendir", fs.Opendir(&root, id, unix.O_RDONLY, &o), 0)
	return o.Handle
}

// list reads a directory from off on to its end, so many entries at a time. It
// calls between after each call but the last.
func list(t testing.TB, fs *FS, id vfs.NodeID, h vfs.Handle, off uint64, chunk int, plus bool, between func()) []listed {
	t.Helper()
	var all []listed
	for {
		l := listing{plus: plus, room: chunk}
		want(t, "readdir", fs.Readdir(&root, id, h, off, &l), 0)
		if len(l.entries) == 0 {
			return all
		}
		all = append(all, l.entries...)
		off = l.entries[len(l.entries)-1].next
		if between != nil {
			between()
		}
	}
}

// fillDir makes n files and returns their names, with "." and "..".
func fillDir(t testing.TB, dir string, n int) map[string]bool {
	t.Helper()
	names := map[string]bool{".": true, "..": true}
	for i := range n {
		name := fmt.Sprintf("file-%06d", i)
		names[name] = true
		fd, err := unix.Open(join(dir, name), unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
	}
	return names
}

func sorted(names []string) []string { return slices.Sorted(slices.Values(names)) }

func TestReaddir(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		fs := share(t, Config{Path: dir})
		names := fillDir(t, dir, 2500) // more than a buffer holds
		long := strings.Repeat("n", 254) + "\xff"
		write(t, join(dir, long), "")
		if err := os.Mkdir(join(dir, "sub"), 0o755); err != nil {
			t.Fatal(err)
		}
		names[long], names["sub"] = true, true
		exp := slices.Sorted(maps.Keys(names))
		h := opendir(t, fs, vfs.Root)
		for _, chunk := range []int{1 << 20, 1000, 7, 1} {
			all := list(t, fs, vfs.Root, h, 0, chunk, false, nil)
			if got := sorted((&listing{entries: all}).names()); !slices.Equal(got, exp) {
				t.Fatalf("%d at a time: %d entries, want %d", chunk, len(got), len(exp))
			}
			for _, e := range all {
				typ := uint32(unix.S_IFREG)
				if e.name == "." || e.name == ".." || e.name == "sub" {
					typ = unix.S_IFDIR
				}
				if e.typ != typ || e.node != 0 || e.ino == 0 {
					t.Errorf("%+v", e)
				}
			}
		}
		want(t, "release", fs.Releasedir(&root, vfs.Root, h), 0)
		if fs.dirBufs.kept != 0 || len(fs.dirBufs.free) != 1 {
			t.Errorf("%d buffers kept, %d free after one listing at a time", fs.dirBufs.kept, len(fs.dirBufs.free))
		}
	})
}

// TestReaddirPositions goes back and forth, like a guest's seekdir.
func TestReaddirPositions(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		fs := share(t, Config{Path: dir})
		fillDir(t, dir, 1500)
		h := opendir(t, fs, vfs.Root)
		all := list(t, fs, vfs.Root, h, 0, 100, false, nil)
		for i := 0; i < len(all); i += 41 {
			j := (i * 7) % (len(all) - 1)
			l := listing{room: 2}
			want(t, "readdir", fs.Readdir(&root, vfs.Root, h, all[j].next, &l), 0)
			if l.entries[0] != all[j+1] {
				t.Errorf("behind entry %d: %+v, want %+v", j, l.entries[0], all[j+1])
			}
		}
		// A second handle has a position of its own, and knows the first one's.
		h2 := opendir(t, fs, vfs.Root)
		rest := list(t, fs, vfs.Root, h2, all[700].next, 100, false, nil)
		if !slices.Equal(rest, all[701:]) {
			t.Errorf("%d entries behind entry 700 of %d", len(rest), len(all))
		}
		// The end stays the end.
		l := listing{room: 10}
		want(t, "at the end", fs.Readdir(&root, vfs.Root, h2, all[len(all)-1].next, &l), 0)
		if len(l.entries) != 0 {
			t.Errorf("behind the end: %v", l.names())
		}
	})
}

func TestRewinddir(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		fs := share(t, Config{Path: dir})
		names := fillDir(t, dir, 3)
		h := opendir(t, fs, vfs.Root)
		for i := range 4 {
			l := listing{room: 1}
			if i%2 == 1 {
				l.room = 1000
			}
			want(t, "readdir", fs.Readdir(&root, vfs.Root, h, 0, &l), 0)
			name := fmt.Sprint("new-", i)
			write(t, join(dir, name), "")
			names[name] = true
			got := sorted((&listing{entries: list(t, fs, vfs.Root, h, 0, 100, false, nil)}).names())
			if exp := slices.Sorted(maps.Keys(names)); !slices.Equal(got, exp) {
				t.Errorf("rewound: %v, want %v", got, exp)
			}
		}
	})
}

// TestReaddirChanging lists a directory that changes after each call: what was
// there all the time is listed once.
func TestReaddirChanging(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		fs := share(t, Config{Path: dir})
		stays := fillDir(t, dir, 10_000)
		var comes []string
		for i := range 500 {
			comes = append(comes, join(dir, fmt.Sprintf("goes-%d", i)))
			write(t, comes[i], "")
		}
		h := opendir(t, fs, vfs.Root)
		i := 0
		all := list(t, fs, vfs.Root, h, 0, 60, false, func() {
			write(t, join(dir, fmt.Sprintf("comes-%d", i)), "")
			if i < len(comes) {
				if err := os.Remove(comes[i]); err != nil {
					t.Fatal(err)
				}
			}
			i++
		})
		seen := map[string]int{}
		for _, e := range all {
			seen[e.name]++
		}
		for name := range stays {
			if seen[name] != 1 {
				t.Errorf("%s was listed %d times", name, seen[name])
			}
		}
	})
}

func TestReaddirplus(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		fs := share(t, Config{Path: dir})
		names := fillDir(t, dir, 300)
		if err := os.Symlink("nowhere", join(dir, "link")); err != nil {
			t.Fatal(err)
		}
		names["link"] = true
		before := fs.nodes.count.Load()
		h := opendir(t, fs, vfs.Root)
		all := list(t, fs, vfs.Root, h, 0, 7, true, nil)
		if len(all) != len(names) {
			t.Errorf("%d entries, want %d", len(all), len(names))
		}
		// A full sink must not cost references: there is one per entry.
		if n := fs.nodes.count.Load() - before; n != int64(len(names)-2) {
			t.Errorf("%d nodes for %d entries", n, len(names)-2)
		}
		for _, e := range all {
			if dots := e.name == "." || e.name == ".."; dots != (e.node == 0) || dots && e.typ != unix.S_IFDIR {
				t.Errorf("%+v", e)
			}
			if e.node != 0 {
				fs.Forget(e.node, 1)
			}
		}
		if n := fs.nodes.count.Load(); n != before {
			t.Errorf("%d nodes left after one forget each, want %d", n, before)
		}
	})
}

func TestReaddirplusVanished(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		fs := share(t, Config{Path: dir})
		fillDir(t, dir, 20)
		h := opendir(t, fs, vfs.Root)
		order := list(t, fs, vfs.Root, h, 0, 100, false, nil)
		l := listing{plus: true, room: 10}
		want(t, "readdir", fs.Readdir(&root, vfs.Root, h, 0, &l), 0)
		for _, e := range order[10:] {
			if e.name != "." && e.name != ".." && e.name != order[len(order)-1].name {
				os.Remove(join(dir, e.name))
			}
		}
		rest := list(t, fs, vfs.Root, h, l.entries[9].next, 100, true, nil)
		for _, e := range rest {
			if e.name != "." && e.name != ".." && e.name != order[len(order)-1].name {
				t.Errorf("%s was listed after it was removed", e.name)
			}
		}
		if len(rest) == 0 || rest[len(rest)-1].name != order[len(order)-1].name {
			t.Errorf("what is behind removed entries is missing: %v", rest)
		}
	})
}

// TestReaddirplusFailure: an entry that cannot be looked up is listed without.
func TestReaddirplusFailure(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		fs := share(t, Config{Path: dir, FileHandles: HandlesNever, MaxFDs: 10})
		names := fillDir(t, dir, 50)
		h := opendir(t, fs, vfs.Root)
		all := list(t, fs, vfs.Root, h, 0, 5, true, nil)
		nodes := 0
		for _, e := range all {
			if e.node != 0 {
				nodes++
			}
			if e.typ == 0 {
				t.Errorf("no type: %+v", e)
			}
		}
		if len(all) != len(names) || nodes == 0 || nodes >= 10 {
			t.Errorf("%d entries of %d, %d looked up", len(all), len(names), nodes)
		}
	})
}

func TestReaddirErrors(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		fs := share(t, Config{Path: dir})
		write(t, join(dir, "f"), "")
		file, fileH := openAt(t, fs, "f", unix.O_RDONLY)
		h := opendir(t, fs, vfs.Root)
		var o vfs.Opened
		want(t, "opendir of a file", fs.Opendir(&root, file, 0, &o), syscall.ENOTDIR)
		want(t, "opendir of nothing", fs.Opendir(&root, 1<<40, 0, &o), syscall.ESTALE)
		want(t, "no room at all", fs.Readdir(&root, vfs.Root, h, 0, &listing{}), 0)
		want(t, "readdir of a file", fs.Readdir(&root, file, fileH, 0, &listing{room: 1}), syscall.EBADF)
		want(t, "releasedir of a file", fs.Releasedir(&root, file, fileH), syscall.EBADF)
		if errno := fs.Readdir(&root, vfs.Root, h, 1<<63|12345, &listing{room: 1}); errno != 0 && errno != syscall.EINVAL {
			t.Errorf("invented position: %v", errno)
		}
		if n := len(list(t, fs, vfs.Root, h, 0, 10, false, nil)); n != 3 {
			t.Errorf("%d entries after that", n)
		}
		want(t, "releasedir", fs.Releasedir(&root, vfs.Root, h), 0)
		want(t, "releasedir again", fs.Releasedir(&root, vfs.Root, h), syscall.EBADF)
		want(t, "readdir after it", fs.Readdir(&root, vfs.Root, h, 0, &listing{room: 1}), syscall.EBADF)
	})
}

func TestReaddirRemoved(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		fs := share(t, Config{Path: dir})
		if err := os.Mkdir(join(dir, "d"), 0o755); err != nil {
			t.Fatal(err)
		}
		id := walk(t, fs, "d").Node
		h := opendir(t, fs, id)
		if err := os.Remove(join(dir, "d")); err != nil {
			t.Fatal(err)
		}
		if all := list(t, fs, id, h, 0, 10, true, nil); len(all) != 0 {
			t.Errorf("a removed directory lists %v", all)
		}
	})
}

// TestDirBufs: a guest that leaves many listings half read gets no more memory
// than there is for it, and every listing right.
func TestDirBufs(t *testing.T) {
	dir := tempDir(t, "/dev/shm")
	fs := share(t, Config{Path: dir})
	names := fillDir(t, dir, 50)
	var handles []vfs.Handle
	var offs []uint64
	for range maxDirBufs + 20 {
		h := opendir(t, fs, vfs.Root)
		l := listing{room: 10}
		want(t, "readdir", fs.Readdir(&root, vfs.Root, h, 0, &l), 0)
		handles = append(handles, h)
		offs = append(offs, l.entries[9].next)
	}
	if fs.dirBufs.kept != maxDirBufs {
		t.Errorf("%d buffers kept", fs.dirBufs.kept)
	}
	for i, h := range handles {
		if n := len(list(t, fs, vfs.Root, h, offs[i], 10, false, nil)); n != len(names)-10 {
			t.Fatalf("handle %d: %d entries behind the first 10", i, n)
		}
		// One that lost its place and is rewound begins at the beginning.
		l := listing{room: 1}
		want(t, "readdir", fs.Readdir(&root, vfs.Root, h, 0, &l), 0)
		if n := 1 + len(list(t, fs, vfs.Root, h, l.entries[0].next, 100, false, nil)); n != len(names) {
			t.Fatalf("handle %d: %d entries after rewinding", i, n)
		}
	}
	for i, h := range handles {
		if i%2 == 0 {
			want(t, "readdir", fs.Readdir(&root, vfs.Root, h, 0, &listing{room: 1}), 0)
		}
		want(t, "releasedir", fs.Releasedir(&root, vfs.Root, h), 0)
	}
	if fs.dirBufs.kept != 0 || len(fs.dirBufs.free) > idleDirBufs {
		t.Errorf("%d buffers kept, %d free after all was released", fs.dirBufs.kept, len(fs.dirBufs.free))
	}
}

// TestReaddirConcurrent has several threads of a guest read one handle.
func TestReaddirConcurrent(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		fs := share(t, Config{Path: dir})
		names := fillDir(t, dir, 400)
		h := opendir(t, fs, vfs.Root)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 5 {
					off, n := uint64(0), 0
					for {
						l := listing{room: 30}
						if errno := fs.Readdir(&root, vfs.Root, h, off, &l); errno != 0 {
							t.Errorf("readdir: %v", errno)
							return
						}
						if len(l.entries) == 0 {
							break
						}
						n += len(l.entries)
						off = l.entries[len(l.entries)-1].next
					}
					if n != len(names) {
						t.Errorf("%d entries, want %d", n, len(names))
					}
				}
			})
		}
		wg.Wait()
	})
}

// counter is a DirSink that only counts, and forgets what it is given.
type counter struct {
	room, n int
	next    uint64
	plus    *FS
}

func (c *counter) Plus() bool    { return c.plus != nil }
func (c *counter) Fits(int) bool { return c.n < c.room }

func (c *counter) Add(_ []byte, _, next uint64, _ uint32, e *vfs.Entry) {
	if e != nil {
		c.plus.Forget(e.Node, 1)
	}
	c.n++
	c.next = next
}

func TestReaddirAllocs(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		fs := share(t, Config{Path: dir})
		names := fillDir(t, dir, 1200)
		h := opendir(t, fs, vfs.Root)
		for what, plus := range map[string]*FS{"names": nil, "entries that the guest has": fs} {
			if plus != nil {
				list(t, fs, vfs.Root, h, 0, 100, true, nil)
			}
			c := new(counter)
			n := testing.AllocsPerRun(10, func() {
				total := 0
				for next := uint64(0); ; next = c.next {
					*c = counter{room: 100, plus: plus}
					if errno := fs.Readdir(&root, vfs.Root, h, next, c); errno != 0 {
						t.Errorf("readdir: %v", errno)
					}
					if c.n == 0 {
						break
					}
					total += c.n
				}
				if total != len(names) {
					t.Errorf("%d entries", total)
				}
			})
			if n != 0 {
				t.Errorf("%s: %v allocations per listing", what, n)
			}
		}
	})
}
