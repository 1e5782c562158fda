package passthrough

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

var ioModeNames = map[string]IOMode{"ordinary": 0, "direct": IODirect, "sync": IOSync, "direct and sync": IODirect | IOSync}

// eachIO runs a test in a fresh directory of each file system, in each mode.
func eachIO(t *testing.T, f func(t *testing.T, dir string, mode IOMode)) {
	for name, mode := range ioModeNames {
		t.Run(name, func(t *testing.T) {
			eachFS(t, func(t *testing.T, dir string) { f(t, dir, mode) })
		})
	}
}

// pageAligned returns n bytes of memory that begin with a page.
func pageAligned(t testing.TB, n int) []byte {
	t.Helper()
	m, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(m) })
	return m
}

// openHandle opens a file by its path.
func openHandle(t testing.TB, fs *FS, path string, flags uint32) (vfs.NodeID, vfs.Handle, *handle) {
	t.Helper()
	id, v := openAt(t, fs, path, flags)
	return id, v, fs.handles.at(uint32(v))
}

// TestDirectMissingMemory: memory that is not there is an error only if nothing was
// transferred before it, however it is aligned.
func TestDirectMissingMemory(t *testing.T) {
	eachIO(t, func(t *testing.T, dir string, mode IOMode) {
		fs := share(t, Config{Path: dir, IO: mode})
		write(t, join(dir, "f"), string(make([]byte, 16384)))
		id, h := openAt(t, fs, "f", unix.O_RDWR)
		mem := pageAligned(t, 2*pageSize)
		gone := mapGone(t, dir)
		for name, hole := range map[string]unix.Iovec{"hole": {Len: pageSize}, "truncated": oslib.Iov(gone)} {
			for _, page := range [][]byte{mem[:pageSize], mem[7 : 7+pageSize]} {
				_, errno := fs.Read(&root, id, h, []unix.Iovec{hole, oslib.Iov(page)}, 0, 0)
				want(t, name+": read", errno, syscall.EFAULT)
				n, errno := fs.Read(&root, id, h, []unix.Iovec{oslib.Iov(page), hole}, 0, 0)
				if n != pageSize || errno != 0 {
					t.Errorf("%s: read a page and into nothing: %d, %v", name, n, errno)
				}
				_, errno = fs.Write(&root, id, h, []unix.Iovec{hole, oslib.Iov(page)}, 0, 0, 0)
				want(t, name+": write", errno, syscall.EFAULT)
				n, errno = fs.Write(&root, id, h, []unix.Iovec{oslib.Iov(page), hole}, 0, 0, 0)
				if n != pageSize || errno != 0 {
					t.Errorf("%s: write a page and from nothing: %d, %v", name, n, errno)
				}
			}
		}
		if st, _ := os.Stat(join(dir, "f")); st.Size() != 16384 {
			t.Errorf("the file has %d bytes now", st.Size())
		}
	})
}

// mapGone maps a page of a file that then becomes empty.
func mapGone(t *testing.T, dir string) []byte {
	t.Helper()
	f, err := os.Create(join(dir, "gone"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(pageSize); err != nil {
		t.Fatal(err)
	}
	m, err := unix.Mmap(int(f.Fd()), 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(m) })
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestDirectAppendTogether: what several append at the same time, aligned or not, stays
// whole.
func TestDirectAppendTogether(t *testing.T) {
	eachIO(t, func(t *testing.T, dir string, mode IOMode) {
		fs := share(t, Config{Path: dir, IO: mode})
		write(t, join(dir, "f"), "")
		// A record is a byte, repeated.
		sizes := map[byte]int{1: 512, 2: 4096, 3: 100, 4: 70_000}
		var wg sync.WaitGroup
		const rounds = 20
		for b, size := range sizes {
			id, h := openAt(t, fs, "f", unix.O_WRONLY|unix.O_APPEND)
			mem := pageAligned(t, size)
			for i := range mem {
				mem[i] = b
			}
			wg.Go(func() {
				for range rounds {
					if n, errno := fs.Write(&root, id, h, iovs(mem, len(mem)), 0, unix.O_APPEND, 0); n != size || errno != 0 {
						t.Errorf("append %d bytes: %d, %v", size, n, errno)
					}
				}
			})
		}
		wg.Wait()
		got, err := os.ReadFile(join(dir, "f"))
		if err != nil {
			t.Fatal(err)
		}
		counts := make(map[byte]int)
		for len(got) > 0 {
			b := got[0]
			size := sizes[b]
			if size == 0 || len(got) < size || !bytes.Equal(got[:size], bytes.Repeat([]byte{b}, size)) {
				t.Fatalf("a record of %d is torn, %d bytes before the end", b, len(got))
			}
			counts[b]++
			got = got[size:]
		}
		for b := range sizes {
			if counts[b] != rounds {
				t.Errorf("%d records of %d", counts[b], b)
			}
		}
	})
}

// cached counts pages of a file in the page cache: all, and those that the disk does not
// have.
func cached(t testing.TB, path string) (all, dirty uint64) {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var cs unix.Cachestat_t
	if err := unix.Cachestat(uint(fd), &unix.CachestatRange{}, &cs, 0); err != nil {
		t.Fatal(err)
	}
	return cs.Cache, cs.Dirty + cs.Writeback
}

// changes are the calls that change a file's data, and those that read them.
var changes = []struct {
	what string
	do   func(fs *FS, id vfs.NodeID, h vfs.Handle, mem []byte) syscall.Errno
}{
	{"write aligned", func(fs *FS, id vfs.NodeID, h vfs.Handle, mem []byte) syscall.Errno {
		_, errno := fs.Write(&root, id, h, iovs(mem[:1<<20], pageSize), 0, 0, 0)
		return errno
	}},
	{"write a little", func(fs *FS, id vfs.NodeID, h vfs.Handle, mem []byte) syscall.Errno {
		_, errno := fs.Write(&root, id, h, iovs(mem[:100], 100), 1<<20+50, 0, 0)
		return errno
	}},
	{"write at an odd offset", func(fs *FS, id vfs.NodeID, h vfs.Handle, mem []byte) syscall.Errno {
		_, errno := fs.Write(&root, id, h, iovs(mem[:200_000], pageSize), 12345, 0, 0)
		return errno
	}},
	{"write from an odd address", func(fs *FS, id vfs.NodeID, h vfs.Handle, mem []byte) syscall.Errno {
		_, errno := fs.Write(&root, id, h, iovs(mem[3:1<<20+3], 1<<20), 0, 0, 0)
		return errno
	}},
	{"write with a middle that is aligned", func(fs *FS, id vfs.NodeID, h vfs.Handle, mem []byte) syscall.Errno {
		_, errno := fs.Write(&root, id, h, iovs(mem[100:1<<20+999], 1<<21), 100, 0, 0)
		return errno
	}},
	{"append", func(fs *FS, id vfs.NodeID, h vfs.Handle, mem []byte) syscall.Errno {
		_, errno := fs.Write(&root, id, h, iovs(mem[:5000], 700), 0, unix.O_APPEND, 0)
		return errno
	}},
	{"read aligned", func(fs *FS, id vfs.NodeID, h vfs.Handle, mem []byte) syscall.Errno {
		_, errno := fs.Read(&root, id, h, iovs(mem[:1<<20], pageSize), 0, 0)
		return errno
	}},
	{"read to odd addresses", func(fs *FS, id vfs.NodeID, h vfs.Handle, mem []byte) syscall.Errno {
		_, errno := fs.Read(&root, id, h, iovs(mem[1:1<<20], 5000), 300, 0)
		return errno
	}},
	{"truncate by handle", func(fs *FS, id vfs.NodeID, h vfs.Handle, _ []byte) syscall.Errno {
		return fs.Setattr(&root, id, h, &vfs.SetAttr{Valid: vfs.SetSize, Size: 777_777}, new(vfs.AttrOut))
	}},
	{"truncate", func(fs *FS, id vfs.NodeID, _ vfs.Handle, _ []byte) syscall.Errno {
		return fs.Setattr(&root, id, vfs.NoHandle, &vfs.SetAttr{Valid: vfs.SetSize, Size: 666_666}, new(vfs.AttrOut))
	}},
	{"punch a hole", func(fs *FS, id vfs.NodeID, h vfs.Handle, _ []byte) syscall.Errno {
		return fs.Fallocate(&root, id, h, 1000, 100_000, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE)
	}},
	{"copy", func(fs *FS, id vfs.NodeID, h vfs.Handle, _ []byte) syscall.Errno {
		_, errno := fs.CopyFileRange(&root, &vfs.CopyRange{SrcNode: id, DstNode: id, SrcHandle: h, DstHandle: h, SrcOff: 10, DstOff: 300_000, Len: 200_000})
		return errno
	}},
	{"truncate by opening", func(fs *FS, id vfs.NodeID, _ vfs.Handle, _ []byte) syscall.Errno {
		var o vfs.Opened
		if errno := fs.Open(&root, id, unix.O_RDWR|unix.O_TRUNC, false, &o); errno != 0 {
			return errno
		}
		return fs.Release(&root, id, o.Handle, &vfs.ReleaseIn{})
	}},
}

// TestDirectLeavesNothing looks into the page cache after each kind of call. In the ordinary
// mode it must find something, or it would not prove anything.
func TestDirectLeavesNothing(t *testing.T) {
	for modeName, mode := range ioModeNames {
		t.Run(modeName, func(t *testing.T) {
			dir := tempDir(t, "")
			path := join(dir, "f")
			fs := share(t, Config{Path: dir, IO: mode})
			write(t, path, "")
			id, h := openAt(t, fs, "f", unix.O_RDWR)
			mem := pageAligned(t, 2<<20)
			for _, c := range changes {
				want(t, c.what, c.do(fs, id, h, mem), 0)
				all, _ := cached(t, path)
				switch {
				case mode&IODirect != 0 && all != 0:
					t.Errorf("%s: %d pages are in the page cache", c.what, all)
				case mode&IODirect == 0 && all == 0 && c.what != "truncate by opening":
					t.Errorf("%s: nothing is in the page cache in this mode", c.what)
				}
			}
		})
	}
}

// TestDirectCopyLeavesNothing: nor does a copy leave anything of its source.
func TestDirectCopyLeavesNothing(t *testing.T) {
	dir := tempDir(t, "")
	fs := share(t, Config{Path: dir, IO: IODirect})
	write(t, join(dir, "src"), string(make([]byte, 100_000)))
	write(t, join(dir, "dst"), "")
	uncache(t, join(dir, "src"))
	src, srcH := openAt(t, fs, "src", unix.O_RDONLY)
	dst, dstH := openAt(t, fs, "dst", unix.O_WRONLY)
	n, errno := fs.CopyFileRange(&root, &vfs.CopyRange{SrcNode: src, SrcHandle: srcH, DstNode: dst, DstHandle: dstH, SrcOff: 5000, Len: 90_000})
	if n == 0 || errno != 0 {
		t.Fatalf("%d, %v", n, errno)
	}
	for _, f := range []string{"src", "dst"} {
		if all, _ := cached(t, join(dir, f)); all != 0 {
			t.Errorf("%d pages of %s are in the page cache", all, f)
		}
	}
}

// TestDirectRoute: what is aligned goes past the page cache, if it is all or much.
func TestDirectRoute(t *testing.T) {
	const little, much = 8 * pageSize, 2 * directLeast
	mem := pageAligned(t, 4*much)
	h := &handle{fd: 1, direct: direct{on: true, fd: 2, align: oslib.Alignment{Mem: pageSize, Block: pageSize}}}
	for _, c := range []struct {
		what string
		v    []unix.Iovec
		off  int64
		do   transfer
		fd   int
		size int
	}{
		{"little, aligned", iovs(mem[:little], pageSize), pageSize, reading, 2, little},
		{"little, odd length", iovs(mem[:little+1], pageSize), pageSize, writing, 1, little + 1},
		{"little, odd offset", iovs(mem[:little], pageSize), 1, writing, 1, little},
		{"little, odd address", iovs(mem[1:little+1], pageSize), 0, reading, 1, little},
		{"much, aligned", iovs(mem[:much], pageSize), 0, writing, 2, much},
		{"much, odd length", iovs(mem[:much+5], pageSize), 0, writing, 2, much},
		{"much, odd offset, as the address", iovs(mem[7:much], much), 7, reading, 1, pageSize - 7},
		{"much, odd address", iovs(mem[7:much], much), 0, reading, 1, much - 7},
		{"much, iovecs too short", iovs(mem[:much], 512), 0, reading, 1, much},
		{"append, aligned", iovs(mem[:much], pageSize), pageSize, appending, 2, much},
		{"append, odd length", iovs(mem[:much+5], pageSize), pageSize, appending, 1, much + 5},
		{"append, odd offset", iovs(mem[7:much], much), 7, appending, 1, much - 7},
	} {
		cursor := oslib.IovCursor{Left: c.v}
		fd, size := h.route(&cursor, c.off, oslib.IovLen(c.v), c.do)
		if fd != c.fd || size != uint64(c.size) {
			t.Errorf("%s: %d bytes by descriptor %d, want %d by %d", c.what, size, fd, c.size, c.fd)
		}
	}
}

// TestSyncLeavesNothingDirty looks for pages that the disk does not have. In the ordinary mode
// there must be some after a write.
func TestSyncLeavesNothingDirty(t *testing.T) {
	for modeName, mode := range ioModeNames {
		t.Run(modeName, func(t *testing.T) {
			dir := tempDir(t, "")
			path := join(dir, "f")
			fs := share(t, Config{Path: dir, IO: mode})
			write(t, path, "")
			id, h := openAt(t, fs, "f", unix.O_RDWR)
			mem := pageAligned(t, 2<<20)
			found := uint64(0)
			for _, c := range changes {
				want(t, c.what, c.do(fs, id, h, mem), 0)
				_, dirty := cached(t, path)
				if found += dirty; dirty != 0 && mode != 0 {
					t.Errorf("%s: %d pages are not on the disk", c.what, dirty)
				}
			}
			if mode == 0 && found == 0 {
				t.Error("the ordinary mode leaves nothing to be written either")
			}
		})
	}
}

// TestSyncFlags: every way to open a file for writing has the kernel write through.
func TestSyncFlags(t *testing.T) {
	eachIO(t, func(t *testing.T, dir string, mode IOMode) {
		fs := share(t, Config{Path: dir, IO: mode, DirectIO: true})
		write(t, join(dir, "f"), "")
		id := walk(t, fs, "f").Node
		var e vfs.Entry
		var o vfs.Opened
		for what, open := range map[string]func(flags uint32) syscall.Errno{
			"open": func(flags uint32) syscall.Errno { return fs.Open(&root, id, flags, false, &o) },
			"create": func(flags uint32) syscall.Errno {
				return fs.Create(&someone, vfs.Root, name(t, fmt.Sprintf("new %x", flags)), flags, 0o600, &e, &o)
			},
			"create what is there": func(flags uint32) syscall.Errno {
				return fs.Create(&root, vfs.Root, name(t, "f"), flags, 0o600, &e, &o)
			},
			"tmpfile": func(flags uint32) syscall.Errno {
				if flags&unix.O_ACCMODE == unix.O_RDONLY {
					flags |= unix.O_RDWR
				}
				return fs.Tmpfile(&root, vfs.Root, flags, 0o600, &e, &o)
			},
		} {
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			for _, flags := range []uint32{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR, unix.O_RDWR | unix.O_TRUNC, unix.O_RDWR | unix.O_DIRECT} {
				want(t, what, open(flags), 0)
				h := fs.handles.at(uint32(o.Handle))
				got, err := unix.FcntlInt(uintptr(h.fd), unix.F_GETFL, 0)
				if err != nil {
					t.Fatal(err)
				}
				writes := got&unix.O_ACCMODE != unix.O_RDONLY
				if sync := got&unix.O_SYNC == unix.O_SYNC; sync != (writes && mode&IOSync != 0) {
					t.Errorf("%s with %#x: O_SYNC is %t", what, flags, sync)
				}
				if got&unix.O_DIRECT != 0 && mode&IODirect != 0 {
					t.Errorf("%s with %#x: what is not aligned has O_DIRECT", what, flags)
				}
				if h.direct.align.Block == 0 {
					if h.direct.on && what != "tmpfile" {
						t.Errorf("%s with %#x: no second descriptor", what, flags)
					}
					continue
				}
				second, err := unix.FcntlInt(uintptr(h.direct.fd), unix.F_GETFL, 0)
				if err != nil || second&unix.O_DIRECT == 0 || second&(unix.O_ACCMODE|unix.O_SYNC) != got&(unix.O_ACCMODE|unix.O_SYNC) {
					t.Errorf("%s with %#x: the second descriptor has %#x, the first %#x: %v", what, flags, second, got, err)
				}
			}
		}
	})
}

// TestIOModesNowait: what waits for the disk in a mode is refused, and does nothing.
func TestIOModesNowait(t *testing.T) {
	eachIO(t, func(t *testing.T, dir string, mode IOMode) {
		fs := share(t, Config{Path: dir, IO: mode})
		write(t, join(dir, "f"), "content")
		id, h, opened := openHandle(t, fs, "f", unix.O_RDWR)
		buf := make([]byte, 7)
		_, errno := fs.Read(&root, id, h, iovs(buf, 7), 0, 0)
		want(t, "read", errno, 0)
		var e vfs.Entry
		var o vfs.Opened
		for what, c := range map[string]struct {
			waits bool
			do    func() syscall.Errno
		}{
			"read":  {opened.direct.on, func() syscall.Errno { _, errno := fs.Read(&nowait, id, h, iovs(buf, 7), 0, 0); return errno }},
			"write": {opened.direct.on || mode&IOSync != 0, func() syscall.Errno { _, errno := fs.Write(&nowait, id, h, iovs(buf, 7), 0, 0, 0); return errno }},
			"truncate": {mode != 0, func() syscall.Errno {
				return fs.Setattr(&nowait, id, h, &vfs.SetAttr{Valid: vfs.SetSize, Size: 7}, new(vfs.AttrOut))
			}},
			"touch": {false, func() syscall.Errno {
				return fs.Setattr(&nowait, id, h, &vfs.SetAttr{Valid: vfs.SetMtimeNow}, new(vfs.AttrOut))
			}},
			"open": {false, func() syscall.Errno { return fs.Open(&nowait, id, unix.O_RDWR, false, &o) }},
		} {
			exp := syscall.Errno(0)
			if c.waits {
				exp = vfs.WouldBlock
			}
			want(t, what, c.do(), exp)
		}
		if mode != 0 {
			want(t, "open to truncate", fs.Open(&nowait, id, unix.O_RDWR|unix.O_TRUNC, false, &o), vfs.WouldBlock)
			want(t, "create to truncate", fs.Create(&nowait, vfs.Root, name(t, "f"), unix.O_RDWR|unix.O_TRUNC, 0o600, &e, &o), vfs.WouldBlock)
		}
		if got, err := os.ReadFile(join(dir, "f")); err != nil || string(got) != "content" {
			t.Errorf("the file has %q, %v", got, err)
		}
	})
}

// TestDirectQuota: a guest that is at the end of its descriptors still reads and writes, and
// gives back all that it had.
func TestDirectQuota(t *testing.T) {
	dir := tempDir(t, "")
	write(t, join(dir, "f"), "content")
	fs := share(t, Config{Path: dir, IO: IODirect, MaxFDs: 6, FileHandles: HandlesNever})
	before := openFDs(t)
	id := walk(t, fs, "f").Node
	var open []vfs.Handle
	for {
		var o vfs.Opened
		errno := fs.Open(&root, id, unix.O_RDWR, false, &o)
		if errno == syscall.ENFILE {
			break
		}
		want(t, "open", errno, 0)
		open = append(open, o.Handle)
	}
	if c := fs.Counts(); c.Descriptors != 6 || c.Handles != uint64(len(open)) || len(open) < 2 {
		t.Errorf("%d files are open: %+v", len(open), c)
	}
	mem := pageAligned(t, 2*pageSize)
	for _, h := range open {
		for _, b := range [][]byte{mem[:pageSize], mem[1:pageSize]} {
			_, errno := fs.Write(&root, id, h, iovs(b, len(b)), 0, 0, 0)
			want(t, "write", errno, 0)
		}
		want(t, "release", fs.Release(&root, id, h, &vfs.ReleaseIn{}), 0)
	}
	if all, _ := cached(t, join(dir, "f")); all != 0 {
		t.Errorf("%d pages are in the page cache", all)
	}
	fs.Forget(id, 1)
	if n := openFDs(t); n != before {
		t.Errorf("%d descriptors after, %d before", n, before)
	}
}

func TestIOModeAllocs(t *testing.T) {
	eachIO(t, func(t *testing.T, dir string, mode IOMode) {
		fs := share(t, Config{Path: dir, IO: mode})
		write(t, join(dir, "f"), string(make([]byte, 1<<20)))
		id, h := openAt(t, fs, "f", unix.O_RDWR)
		mem := pageAligned(t, 1<<20)
		for what, v := range map[string][]unix.Iovec{"aligned": iovs(mem[:1<<17], pageSize), "odd": iovs(mem[1:5000], 700), "both": iovs(mem[512:1<<17+5], 1<<16)} {
			for call, f := range map[string]func() syscall.Errno{
				"read":   func() syscall.Errno { _, errno := fs.Read(&root, id, h, v, 512, 0); return errno },
				"write":  func() syscall.Errno { _, errno := fs.Write(&root, id, h, v, 512, 0, 0); return errno },
				"append": func() syscall.Errno { _, errno := fs.Write(&root, id, h, v, 0, unix.O_APPEND, 0); return errno },
			} {
				want(t, call, f(), 0)
				if n := testing.AllocsPerRun(5, func() { f() }); n != 0 {
					t.Errorf("%s %s: %v allocations", call, what, n)
				}
			}
		}
	})
}

func TestIOModeUnknown(t *testing.T) {
	if fs, err := New(Config{Path: t.TempDir(), IO: ioModes + 1}); err == nil {
		fs.Close()
		t.Error("a mode that does not exist is taken")
	}
}

func BenchmarkIOModes(b *testing.B) {
	for modeName, mode := range ioModeNames {
		dir := tempDir(b, "")
		fs := share(b, Config{Path: dir, IO: mode})
		write(b, join(dir, "f"), string(make([]byte, 1<<20)))
		id, h := openAt(b, fs, "f", unix.O_RDWR)
		mem := pageAligned(b, 1<<18)
		for what, v := range map[string][]unix.Iovec{"4K": iovs(mem[:pageSize], pageSize), "128K": iovs(mem[:1<<17], pageSize), "100 bytes": iovs(mem[:100], 100)} {
			b.Run(modeName+"/read "+what, func(b *testing.B) {
				for b.Loop() {
					if _, errno := fs.Read(&root, id, h, v, 0, 0); errno != 0 {
						b.Fatal(errno)
					}
				}
			})
			b.Run(modeName+"/write "+what, func(b *testing.B) {
				for b.Loop() {
					if _, errno := fs.Write(&root, id, h, v, 0, 0, 0); errno != 0 {
						b.Fatal(errno)
					}
				}
			})
		}
	}
}
