package scratch

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

func bfree(t reporter, fs *FS) uint64 {
	t.Helper()
	var s vfs.Statfs
	if errno := fs.Statfs(root, vfs.Root, &s); errno != 0 {
		t.Fatalf("Statfs: %v", errno)
	}
	return s.Bfree
}

// TestFill fills a space to the last page, empties it and fills it again, in several
// ways. The host's memory goes up and down with it.
func TestFill(t *testing.T) {
	const pages = 1000
	for _, tt := range []struct {
		name  string
		chunk int // bytes of a write
		files int // written in turns
		free  func(f *open, s string) syscall.Errno
	}{
		{"one file", 100_000, 1, unlinkClosed},
		{"pages in turns", pageSize, 7, unlinkClosed},
		{"odd pieces in turns", 5000, 13, truncateFile},
		{"unlinked while open", 70_001, 3, unlinkOpen},
		{"punched", 1 << 20, 2, punchAll},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fs := newSpace(t, Options{Size: pages*pageSize + pageSize - 1})
			for round := range 3 {
				files := make([]*open, tt.files)
				sizes := make([]uint64, tt.files)
				for i := range files {
					files[i] = create(t, fs, fmt.Sprint("f", i))
				}
				data := bytes.Repeat([]byte{byte(round + 1)}, tt.chunk)
				errno := syscall.Errno(0)
				for i := 0; errno == 0; i = (i + 1) % tt.files {
					var n int
					n, errno = files[i].pwrite(data, sizes[i])
					sizes[i] += uint64(n)
				}
				if errno != syscall.ENOSPC {
					t.Fatalf("round %d: a full space says %v", round, errno)
				}
				// The rest is in last pages that are not full.
				total := uint64(0)
				for _, size := range sizes {
					total += pagesOf(size)
				}
				if s := fs.Stats(); s.Pages != total || s.Pages > pages || s.Bytes != s.Pages*pageSize {
					t.Errorf("round %d: files have %d pages, Stats says %+v", round, total, s)
				}
				for i := range files { // fills gaps
					for errno = 0; errno == 0; {
						var n int
						n, errno = files[i].pwrite(data, sizes[i])
						sizes[i] += uint64(n)
					}
				}
				if s := fs.Stats(); s.Pages != pages || bfree(t, fs) != 0 || fs.onHost(t) != pages {
					t.Errorf("round %d: the full space has %d pages, %d free, %d on the host", round, s.Pages, bfree(t, fs), fs.onHost(t))
				}
				for i, f := range files {
					if got := f.contents(); uint64(len(got)) != sizes[i] || bytes.Count(got, data[:1]) != len(got) {
						t.Errorf("round %d: file %d has %d bytes, want %d of %d", round, i, len(got), sizes[i], round+1)
					}
					if _, errno := f.pwrite(data[:10], 0); errno != 0 {
						t.Errorf("writing over data in a full space: %v", errno)
					}
				}
				checkSound(t, fs)
				for i, f := range files {
					if errno := tt.free(f, fmt.Sprint("f", i)); errno != 0 {
						t.Fatal(errno)
					}
				}
				if s := fs.Stats(); s.Pages != 0 || bfree(t, fs) != pages || fs.onHost(t) != 0 {
					t.Errorf("round %d: the empty space has %d pages, %d free, %d on the host", round, s.Pages, bfree(t, fs), fs.onHost(t))
				}
				fs.Destroy()
				fs.Init(0)
			}
		})
	}
}

func unlinkClosed(f *open, s string) syscall.Errno {
	f.close()
	return f.fs.Unlink(root, vfs.Root, name(s))
}

func unlinkOpen(f *open, s string) syscall.Errno {
	before := f.fs.Stats().Pages
	errno := f.fs.Unlink(root, vfs.Root, name(s))
	if f.fs.Stats().Pages != before {
		f.t.Errorf("unlinking an open file gave pages back")
	}
	f.close()
	return errno
}

func truncateFile(f *open, s string) syscall.Errno {
	errno := f.truncate(0)
	f.close()
	return errno
}

func punchAll(f *open, s string) syscall.Errno {
	errno := f.fallocate(punchHole, 0, 1<<40)
	f.close()
	return errno
}

// TestReserve: what fallocate reserves counts, and the host gives nothing for it yet.
func TestReserve(t *testing.T) {
	fs := newSpace(t, Options{Size: 100 * pageSize})
	f, g := create(t, fs, "f"), create(t, fs, "g")
	if errno := f.fallocate(0, 0, 101*pageSize); errno != syscall.ENOSPC || fs.Stats().Pages != 0 {
		t.Errorf("reserving too much: %v, %d pages", errno, fs.Stats().Pages)
	}
	if errno := f.fallocate(0, 0, 1<<62); errno != syscall.ENOSPC {
		t.Errorf("reserving far too much: %v", errno)
	}
	if errno := f.fallocate(keepSize, 50*pageSize, 90*pageSize); errno != 0 || fs.Stats().Pages != 90 || f.attr().Blocks != 90*sectors || f.attr().Size != 0 {
		t.Errorf("reserving: %v, %d pages, %+v", errno, fs.Stats().Pages, f.attr())
	}
	if fs.onHost(t) != 0 {
		t.Errorf("reserved pages take %d of the host", fs.onHost(t))
	}
	if n, errno := g.pwrite(make([]byte, 20*pageSize), 0); n != 10*pageSize || errno != 0 {
		t.Errorf("writing more than is left: %d, %v", n, errno)
	}
	if n, errno := f.pwrite(bytes.Repeat([]byte{1}, 90*pageSize), 50*pageSize); n != 90*pageSize || errno != 0 {
		t.Errorf("writing what was reserved: %d, %v", n, errno)
	}
	if _, errno := f.pwrite([]byte{1}, 0); errno != syscall.ENOSPC {
		t.Errorf("writing what was not: %v", errno)
	}
	if errno := f.fallocate(zeroRange, 40*pageSize, 20*pageSize); errno != syscall.ENOSPC {
		t.Errorf("zeroing holes in a full space: %v", errno)
	}
	if got := f.contents(); got[50*pageSize] != 1 {
		t.Errorf("a refused FALLOC_FL_ZERO_RANGE changed data")
	}
}

// TestMaxNodes makes as many nodes as may be.
func TestMaxNodes(t *testing.T) {
	const limit = 500
	fs := newSpace(t, Options{MaxNodes: limit})
	for round := range 3 {
		var e vfs.Entry
		made := 1 // the root
		for ; ; made++ {
			if errno := fs.Mknod(root, vfs.Root, name(fmt.Sprint(made)), unix.S_IFREG|0o644, 0, &e); errno == syscall.ENOSPC {
				break
			} else if errno != 0 {
				t.Fatal(errno)
			}
			fs.Forget(e.Node, 1)
		}
		var s vfs.Statfs
		fs.Statfs(root, vfs.Root, &s)
		if made != limit || s.Files != limit || s.Ffree != 0 || fs.Stats().Files != limit {
			t.Errorf("round %d: %d nodes were made, statfs says %+v, Stats %+v", round, made, s, fs.Stats())
		}
		if errno := fs.Link(root, vfs.Root, vfs.Root, name("x"), &e); errno != syscall.EPERM {
			t.Errorf("Link: %v", errno)
		}
		if errno := fs.Rename(root, vfs.Root, name("1"), vfs.Root, name("y"), unix.RENAME_WHITEOUT); errno != syscall.ENOSPC {
			t.Errorf("a whiteout too many: %v", errno)
		}
		if errno := fs.Rename(root, vfs.Root, name("1"), vfs.Root, name("a longer name"), 0); errno != 0 {
			t.Errorf("renaming in a full space: %v", errno)
		}
		if errno := fs.Rename(root, vfs.Root, name("a longer name"), vfs.Root, name("1"), 0); errno != 0 {
			t.Errorf("renaming back: %v", errno)
		}
		checkSound(t, fs)
		for i := 1; i < limit; i++ {
			if errno := fs.Unlink(root, vfs.Root, name(fmt.Sprint(i))); errno != 0 {
				t.Fatal(errno)
			}
		}
		if s := fs.Stats(); s.Files != 1 || s.Metadata != rootCost {
			t.Errorf("round %d: the empty space has %+v", round, s)
		}
	}
}

// TestMaxMetadata uses the metadata up in each way there is. What took it gives it
// back, and what gives up something never fails.
func TestMaxMetadata(t *testing.T) {
	const limit = 1 << 20
	long := strings.Repeat("n", 200)
	for _, tt := range []struct {
		what string
		make func(fs *FS, f *open, i int) syscall.Errno
	}{
		{"names", func(fs *FS, f *open, i int) syscall.Errno {
			var e vfs.Entry
			errno := fs.Link(root, f.id, vfs.Root, name(fmt.Sprint(long, i)), &e)
			fs.Forget(e.Node, 1)
			return errno
		}},
		{"symbolic links", func(fs *FS, f *open, i int) syscall.Errno {
			var e vfs.Entry
			errno := fs.Symlink(root, vfs.Root, name(fmt.Sprint(i)), []byte(strings.Repeat("t", 4000)+"\x00"), &e)
			fs.Forget(e.Node, 1)
			return errno
		}},
		{"directories", func(fs *FS, f *open, i int) syscall.Errno {
			var e vfs.Entry
			errno := fs.Mkdir(root, vfs.Root, name(fmt.Sprint(i)), 0o755, &e)
			fs.Forget(e.Node, 1)
			return errno
		}},
		{"scattered pages", func(fs *FS, f *open, i int) syscall.Errno {
			_, errno := f.pwrite([]byte("x"), uint64(i)<<30)
			return errno
		}},
		{"reserved pages", func(fs *FS, f *open, i int) syscall.Errno {
			return f.fallocate(0, uint64(i)<<30, pageSize)
		}},
		{"attributes", func(fs *FS, f *open, i int) syscall.Errno {
			return fs.Setxattr(root, f.id, []byte(fmt.Sprint("user.", i, "\x00")), make([]byte, 60_000), 0, false)
		}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			fs := newSpace(t, Options{MaxMetadata: limit})
			for round := range 2 {
				f := create(t, fs, "file")
				n := 0
				errno := syscall.Errno(0)
				for ; errno == 0; n++ {
					errno = tt.make(fs, f, n)
				}
				if used := fs.Stats().Metadata; errno != syscall.ENOSPC || used > limit || used < limit*9/10 {
					t.Errorf("round %d: after %d there are %d bytes of %d: %v", round, n, used, limit, errno)
				}
				checkSound(t, fs)
				if errno := f.truncate(1); errno != 0 {
					t.Errorf("truncating: %v", errno)
				}
				f.close()
				removeAll(t, fs, vfs.Root)
				if s := fs.Stats(); s.Metadata != rootCost || s.Files != 1 || s.Pages != 0 {
					t.Errorf("round %d: the empty space has %+v", round, s)
				}
			}
		})
	}
}

// names is a sink that takes all.
type names struct{ list []string }

func (s *names) Plus() bool    { return false }
func (s *names) Fits(int) bool { return true }
func (s *names) Add(n []byte, _, _ uint64, _ uint32, _ *vfs.Entry) {
	s.list = append(s.list, string(n))
}

func list(t reporter, fs *FS, dir vfs.NodeID) []string {
	t.Helper()
	var o vfs.Opened
	if errno := fs.Opendir(root, dir, 0, &o); errno != 0 {
		t.Fatalf("Opendir: %v", errno)
	}
	var s names
	if errno := fs.Readdir(root, dir, o.Handle, 0, &s); errno != 0 {
		t.Fatalf("Readdir: %v", errno)
	}
	fs.Releasedir(root, dir, o.Handle)
	return s.list[2:]
}

// removeAll empties a directory that has no full ones in it.
func removeAll(t reporter, fs *FS, dir vfs.NodeID) {
	t.Helper()
	for _, s := range list(t, fs, dir) {
		errno := fs.Unlink(root, dir, name(s))
		if errno == syscall.EISDIR {
			errno = fs.Rmdir(root, dir, name(s))
		}
		if errno != 0 {
			t.Fatalf("removing %s: %v", s, errno)
		}
	}
}

// TestMetadataIsWhatItTakes compares what is counted with Go's heap.
func TestMetadataIsWhatItTakes(t *testing.T) {
	const n = 20_000
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for _, tt := range []struct {
		what string
		make func(fs *FS, f *open, i int) syscall.Errno
	}{
		{"files with a page", func(fs *FS, _ *open, i int) syscall.Errno {
			f := create(t, fs, fmt.Sprint(i))
			_, errno := f.pwrite([]byte("x"), 0)
			f.close()
			return errno
		}},
		{"directories with a name", func(fs *FS, f *open, i int) syscall.Errno {
			var d, e vfs.Entry
			fs.Mkdir(root, vfs.Root, name(fmt.Sprint(i)), 0o755, &d)
			errno := fs.Link(root, f.id, d.Node, name("x"), &e)
			fs.Forget(e.Node, 1)
			fs.Forget(d.Node, 1)
			return errno
		}},
		{"names", func(fs *FS, f *open, i int) syscall.Errno {
			var e vfs.Entry
			errno := fs.Link(root, f.id, vfs.Root, name(fmt.Sprint(i)), &e)
			fs.Forget(e.Node, 1)
			return errno
		}},
		{"scattered pages", func(fs *FS, f *open, i int) syscall.Errno {
			_, errno := f.pwrite([]byte("x"), uint64(i)<<20)
			return errno
		}},
		{"attributes", func(fs *FS, f *open, i int) syscall.Errno {
			if i > 5000 {
				return 0
			}
			return fs.Setxattr(root, f.id, []byte(fmt.Sprint("user.", i, "\x00")), []byte("value"), 0, false)
		}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			fs := newSpace(t, Options{})
			f := create(t, fs, "file")
			before, counted := heap(), fs.Stats().Metadata
			for i := range n {
				if errno := tt.make(fs, f, i); errno != 0 {
					t.Fatal(errno)
				}
			}
			taken := heap() - before
			counted = fs.Stats().Metadata - counted
			t.Logf("%d bytes are taken and %d counted", taken, counted)
			if taken > counted+counted/20 || taken < counted/3 {
				t.Errorf("%d bytes are taken and %d counted", taken, counted)
			}
		})
	}
}
