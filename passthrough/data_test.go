package passthrough

import (
	"bytes"
	"math"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// nowait is a request that must not wait.
var nowait = vfs.Request{Nowait: true}

// someone is a request of an ordinary user of the guest.
var someone = vfs.Request{UID: 1000, GID: 1000}

// openAt opens a path of the share.
func openAt(t testing.TB, fs *FS, path string, flags uint32) (vfs.NodeID, vfs.Handle) {
	t.Helper()
	e := walk(t, fs, path)
	var o vfs.Opened
	want(t, "open "+path, fs.Open(&root, e.Node, flags, false, &o), 0)
	return e.Node, o.Handle
}

// iovs cuts b into iovecs of the given lengths, round and round, until it is
// used up.
func iovs(b []byte, lens ...int) []unix.Iovec {
	var v []unix.Iovec
	for i := 0; len(b) > 0; i++ {
		n := min(lens[i%len(lens)], len(b))
		v = append(v, oslib.Iov(b[:n:n]))
		b = b[n:]
	}
	return v
}

func TestReadEnd(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		fs := share(t, Config{Path: dir})
		write(t, join(dir, "f"), "0123456789")
		id, h := openAt(t, fs, "f", unix.O_RDONLY)
		for _, c := range []struct {
			off  uint64
			n    int
			want string
		}{
			{0, 10, "0123456789"},
			{0, 20, "0123456789"},
			{4, 3, "456"},
			{9, 100, "9"},
			{10, 5, ""},
			{1 << 40, 5, ""},
			{0, 0, ""},
		} {
			for _, r := range []*vfs.Request{&root, &nowait} {
				buf := make([]byte, c.n)
				n, errno := fs.Read(r, id, h, iovs(buf, 3, 0, 4), c.off, 0)
				if errno != 0 || string(buf[:n]) != c.want {
					t.Errorf("%d bytes at %d, nowait %t: %q, %v, want %q", c.n, c.off, r.Nowait, buf[:n], errno, c.want)
				}
			}
		}
		buf := make([]byte, 8)
		for _, off := range []uint64{math.MaxInt64 + 1, math.MaxUint64} { // −1 would be the file position
			_, errno := fs.Read(&root, id, h, iovs(buf, 8), off, 0)
			want(t, "read out of range", errno, syscall.EINVAL)
			_, errno = fs.Write(&root, id, h, iovs(buf, 8), off, 0, 0)
			want(t, "write out of range", errno, syscall.EINVAL)
		}
		_, errno := fs.Read(&root, id, h+1, nil, 0, 0)
		want(t, "read from a forged handle", errno, syscall.EBADF)
		_, errno = fs.Read(&root, vfs.Root, h, nil, 0, 0)
		want(t, "read from another node's handle", errno, syscall.EBADF)
		_, errno = fs.Write(&root, id, h, iovs(buf, 8), 0, 0, 0)
		want(t, "write to a file open for reading", errno, syscall.EBADF)
	})
}

func TestManyIovecs(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		fs := share(t, Config{Path: dir})
		write(t, join(dir, "f"), "")
		id, h := openAt(t, fs, "f", unix.O_RDWR)
		data := make([]byte, 300_000)
		for i := range data {
			data[i] = byte(i * 2654435761 >> 11)
		}
		src := iovs(data, 1, 0, 250, 77, 3)
		if len(src) < 4*oslib.MaxIov {
			t.Fatalf("only %d iovecs", len(src))
		}
		n, errno := fs.Write(&root, id, h, src, 7, unix.O_RDWR, 0)
		if n != len(data) || errno != 0 {
			t.Fatalf("write: %d, %v", n, errno)
		}
		if got, _ := os.ReadFile(join(dir, "f")); !bytes.Equal(got[7:], data) {
			t.Fatal("the file holds something else")
		}
		for _, r := range []*vfs.Request{&root, &nowait} {
			got := make([]byte, len(data)+1000)
			n, errno = fs.Read(r, id, h, iovs(got, 2, 199, 0, 0, 31), 7, 0)
			if n != len(data) || errno != 0 || !bytes.Equal(got[:n], data) {
				t.Errorf("read, nowait %t: %d, %v", r.Nowait, n, errno)
			}
		}
		n, errno = fs.Write(&root, id, h, iovs(make([]byte, 5000), 1), 0, unix.O_RDWR|unix.O_APPEND, 0)
		if st, _ := os.Stat(join(dir, "f")); n != 5000 || errno != 0 || st.Size() != int64(len(data)+7+5000) {
			t.Errorf("append: %d, %v, size %d", n, errno, st.Size())
		}
	})
}

// TestMissingMemory: an iovec of memory that is not there is an error only if
// nothing was transferred before it.
func TestMissingMemory(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		fs := share(t, Config{Path: dir})
		write(t, join(dir, "f"), string(make([]byte, 16384)))
		id, h := openAt(t, fs, "f", unix.O_RDWR)
		page := make([]byte, 4096)
		hole := unix.Iovec{Len: 4096}
		for _, r := range []*vfs.Request{&root, &nowait} {
			_, errno := fs.Read(r, id, h, []unix.Iovec{hole, oslib.Iov(page)}, 0, 0)
			want(t, "read into nothing", errno, syscall.EFAULT)
			n, errno := fs.Read(r, id, h, []unix.Iovec{oslib.Iov(page), hole}, 0, 0)
			if n != 4096 || errno != 0 {
				t.Errorf("read a page and into nothing: %d, %v", n, errno)
			}
		}
		_, errno := fs.Write(&root, id, h, []unix.Iovec{hole, oslib.Iov(page)}, 0, 0, 0)
		want(t, "write from nothing", errno, syscall.EFAULT)
		n, errno := fs.Write(&root, id, h, []unix.Iovec{oslib.Iov(page), hole}, 0, 0, 0)
		if n != 4096 || errno != 0 {
			t.Errorf("write a page and from nothing: %d, %v", n, errno)
		}
	})
}

func TestAppend(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		fs := share(t, Config{Path: dir})
		write(t, join(dir, "f"), "")
		const app = unix.O_WRONLY | unix.O_APPEND
		id, h1 := openAt(t, fs, "f", app)
		_, h2 := openAt(t, fs, "f", app)
		put := func(h vfs.Handle, s string, off uint64, openFlags uint32, flags vfs.WriteFlags) {
			t.Helper()
			if n, errno := fs.Write(&root, id, h, iovs([]byte(s), 2), off, openFlags, flags); n != len(s) || errno != 0 {
				t.Fatalf("write %q: %d, %v", s, n, errno)
			}
		}
		// Both believe that the file is empty.
		put(h1, "one ", 0, app, 0)
		put(h2, "two ", 0, app, 0)
		put(h1, "three ", 0, app, 0)
		put(h2, "four", math.MaxInt64, app, 0)
		// What the page cache writes back goes where it belongs.
		put(h1, "ONE", 0, app, vfs.WriteCache)
		put(h1, "TWO", 4, unix.O_WRONLY, 0)
		if got, _ := os.ReadFile(join(dir, "f")); string(got) != "ONE TWO three four" {
			t.Errorf("%q", got)
		}
	})
}

// TestWriteNowait: only what waits for the disk is refused, and does nothing.
func TestWriteNowait(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		fs := share(t, Config{Path: dir})
		write(t, join(dir, "f"), "old")
		for flags, exp := range map[uint32]syscall.Errno{
			unix.O_RDWR:                0,
			unix.O_RDWR | unix.O_DSYNC: vfs.WouldBlock,
			unix.O_RDWR | unix.O_SYNC:  vfs.WouldBlock,
		} {
			id, h := openAt(t, fs, "f", flags)
			n, errno := fs.Write(&nowait, id, h, iovs([]byte("new"), 3), 3, flags, 0)
			if errno != exp || errno == 0 && n != 3 {
				t.Errorf("flags %#x: %d, %v, want %v", flags, n, errno, exp)
			}
			n, errno = fs.Write(&root, id, h, iovs([]byte("new"), 3), 0, flags, 0)
			if n != 3 || errno != 0 {
				t.Errorf("flags %#x, waiting: %d, %v", flags, n, errno)
			}
		}
		if got, _ := os.ReadFile(join(dir, "f")); string(got) != "newnew" {
			t.Errorf("%q", got)
		}
	})
}

// modeOf returns the permission bits of a file on the host.
func modeOf(t *testing.T, path string) uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Mode & 0o7777
}

func TestFallocate(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		fs := share(t, Config{Path: dir})
		write(t, join(dir, "f"), "0123456789")
		id, h := openAt(t, fs, "f", unix.O_RDWR)
		for _, c := range []struct {
			what     string
			off, len uint64
			mode     uint32
			errno    syscall.Errno
		}{
			{"unknown mode", 0, 1, 1 << 30, syscall.EOPNOTSUPP},
			{"unknown among known", 0, 1, 1<<12 | unix.FALLOC_FL_KEEP_SIZE, syscall.EOPNOTSUPP},
			{"nothing", 0, 0, 0, syscall.EINVAL},
			{"huge offset", 1 << 63, 1, 0, syscall.EINVAL},
			{"huge length", 1, 1 << 63, 0, syscall.EINVAL},
			{"sum too large", 1 << 62, 1 << 62, 0, syscall.EFBIG},
			{"punch a hole", 2, 3, unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, 0},
			{"keep size", 0, 100, unix.FALLOC_FL_KEEP_SIZE, 0},
			{"grow", 10, 2, 0, 0},
		} {
			want(t, c.what, fs.Fallocate(&root, id, h, c.off, c.len, c.mode), c.errno)
		}
		if got, _ := os.ReadFile(join(dir, "f")); string(got) != "01\x00\x00\x0056789\x00\x00" {
			t.Errorf("%q", got)
		}
		want(t, "nowait", fs.Fallocate(&nowait, id, h, 0, 100, 0), vfs.WouldBlock)
		want(t, "forged handle", fs.Fallocate(&root, id, 77, 0, 1, 0), syscall.EBADF)
	})
}

func TestLseek(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		fs := share(t, Config{Path: dir})
		write(t, join(dir, "f"), "")
		id, h := openAt(t, fs, "f", unix.O_RDWR)
		const far = 1 << 32
		if _, errno := fs.Write(&root, id, h, iovs([]byte("data"), 4), far, 0, 0); errno != 0 {
			t.Fatal(errno)
		}
		const minus4 = ^uint64(3)
		for _, c := range []struct {
			off    uint64
			whence uint32
			want   uint64
			errno  syscall.Errno
		}{
			{0, unix.SEEK_DATA, far, 0},
			{far, unix.SEEK_HOLE, far + 4, 0},
			{0, unix.SEEK_HOLE, 0, 0},
			{far + 4, unix.SEEK_DATA, 0, syscall.ENXIO},
			{far + 5, unix.SEEK_HOLE, 0, syscall.ENXIO},
			{minus4, unix.SEEK_DATA, 0, syscall.ENXIO},
			{100, unix.SEEK_SET, 100, 0},
			{minus4, unix.SEEK_SET, 0, syscall.EINVAL},
			{minus4, unix.SEEK_END, far, 0},
			{6, unix.SEEK_END, far + 10, 0},
			{math.MaxInt64, unix.SEEK_END, 0, syscall.EOVERFLOW},
			{1 << 63, unix.SEEK_END, 0, syscall.EINVAL},
			{0, unix.SEEK_CUR, 0, syscall.EINVAL},
			{0, 5, 0, syscall.EINVAL},
			{0, math.MaxUint32, 0, syscall.EINVAL},
		} {
			_, errno := fs.Lseek(&root, id, h+1, c.off, c.whence)
			want(t, "forged handle", errno, syscall.EBADF)
			got, errno := fs.Lseek(&root, id, h, c.off, c.whence)
			if errno != c.errno || errno == 0 && got != c.want {
				t.Errorf("%d from %d: %d, %v, want %d, %v", int64(c.off), c.whence, got, errno, c.want, c.errno)
			}
		}
	})
}

func TestCopyFileRange(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		fs := share(t, Config{Path: dir})
		write(t, join(dir, "src"), "0123456789")
		write(t, join(dir, "dst"), "abcdefghij")
		src, srcH := openAt(t, fs, "src", unix.O_RDONLY)
		dst, dstH := openAt(t, fs, "dst", unix.O_RDWR)
		good := vfs.CopyRange{SrcNode: src, SrcHandle: srcH, DstNode: dst, DstHandle: dstH, SrcOff: 7, DstOff: 2, Len: math.MaxUint64}
		n, errno := fs.CopyFileRange(&root, &good)
		if n != 3 || errno != 0 {
			t.Errorf("copied %d, %v", n, errno)
		}
		if got, _ := os.ReadFile(join(dir, "dst")); string(got) != "ab789fghij" {
			t.Errorf("%q", got)
		}
		for what, c := range map[string]struct {
			change func(*vfs.CopyRange)
			errno  syscall.Errno
		}{
			"flags":          {func(c *vfs.CopyRange) { c.Flags = 1 }, syscall.EINVAL},
			"source offset":  {func(c *vfs.CopyRange) { c.SrcOff = 1 << 63 }, syscall.EINVAL},
			"target offset":  {func(c *vfs.CopyRange) { c.DstOff = math.MaxUint64 }, syscall.EINVAL},
			"forged source":  {func(c *vfs.CopyRange) { c.SrcHandle = vfs.NoHandle }, syscall.EBADF},
			"forged target":  {func(c *vfs.CopyRange) { c.DstHandle ^= 1 << 40 }, syscall.EBADF},
			"read-only":      {func(c *vfs.CopyRange) { c.DstNode, c.DstHandle = src, srcH }, syscall.EBADF},
			"same, overlaps": {func(c *vfs.CopyRange) { c.SrcNode, c.SrcHandle, c.SrcOff = dst, dstH, 3 }, syscall.EINVAL},
		} {
			bad := good
			bad.Len = 5
			c.change(&bad)
			_, errno := fs.CopyFileRange(&root, &bad)
			want(t, what, errno, c.errno)
		}
		_, errno = fs.CopyFileRange(&nowait, &good)
		want(t, "nowait", errno, vfs.WouldBlock)
		if fs.handles.at(uint32(srcH)).state.Load()&handleUsers != 1 {
			t.Error("a handle was not given back")
		}
	})
}

func TestSync(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		fs := share(t, Config{Path: dir})
		write(t, join(dir, "f"), "x")
		id, h := openAt(t, fs, "f", unix.O_RDWR)
		var o vfs.Opened
		want(t, "opendir", fs.Opendir(&root, vfs.Root, 0, &o), 0)
		if err := os.Symlink("x", join(dir, "ln")); err != nil {
			t.Fatal(err)
		}
		link := walk(t, fs, "ln").Node
		for _, c := range []struct {
			what  string
			errno syscall.Errno
			want  syscall.Errno
		}{
			{"fsync", fs.Fsync(&root, id, h, false), 0},
			{"fdatasync", fs.Fsync(&root, id, h, true), 0},
			{"fsync nowait", fs.Fsync(&nowait, id, h, true), vfs.WouldBlock},
			{"fsync forged", fs.Fsync(&nowait, id, 99, true), syscall.EBADF},
			{"fsync of a directory", fs.Fsync(&root, vfs.Root, o.Handle, true), syscall.EBADF},
			{"fsyncdir", fs.Fsyncdir(&root, vfs.Root, o.Handle, false), 0},
			{"fsyncdir data", fs.Fsyncdir(&root, vfs.Root, o.Handle, true), 0},
			{"fsyncdir nowait", fs.Fsyncdir(&nowait, vfs.Root, o.Handle, true), vfs.WouldBlock},
			{"fsyncdir of a file", fs.Fsyncdir(&root, id, h, true), syscall.EBADF},
			{"syncfs", fs.Syncfs(&root, vfs.Root), 0},
			{"syncfs by a file", fs.Syncfs(&root, id), 0},
			{"syncfs nowait", fs.Syncfs(&nowait, vfs.Root), vfs.WouldBlock},
			{"syncfs stale", fs.Syncfs(&root, 1<<40), syscall.ESTALE},
			{"syncfs by a link", fs.Syncfs(&root, link), syscall.ELOOP},
			{"flush", fs.Flush(&root, id, h, 1), 0},
			{"flush nowait", fs.Flush(&nowait, id, h, 1), 0},
			{"flush forged", fs.Flush(&root, id, 99, 1), syscall.EBADF},
		} {
			want(t, c.what, c.errno, c.want)
		}
		// A file system that may report errors at close.
		fs.localDev = 0
		want(t, "flush on another file system", fs.Flush(&root, id, h, 1), 0)
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		remote[int64(st.Type)] = true
		defer delete(remote, int64(st.Type))
		fds := openFDs(t)
		want(t, "remote flush", fs.Flush(&root, id, h, 1), 0)
		if n := openFDs(t); n != fds {
			t.Errorf("%d descriptors after a flush, %d before", n, fds)
		}
		want(t, "remote flush nowait", fs.Flush(&nowait, id, h, 1), vfs.WouldBlock)
	})
}

func TestStatfs(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		fs := share(t, Config{Path: dir})
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		var out vfs.Statfs
		want(t, "statfs", fs.Statfs(&root, vfs.Root, &out), 0)
		if out.Blocks != st.Blocks || out.Files != st.Files || out.Bsize != uint32(st.Bsize) ||
			out.Frsize != uint32(st.Frsize) || out.Namelen != uint32(st.Namelen) || out.Bavail > out.Bfree {
			t.Errorf("%+v, the host says %+v", out, st)
		}
		want(t, "stale node", fs.Statfs(&root, 1<<40, &out), syscall.ESTALE)
	})
}

func TestDataAllocs(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		eachXattrCall(t, func(t *testing.T, cfg Config) { testDataAllocs(t, cfg, dir) })
	})
}

func testDataAllocs(t *testing.T, cfg Config, dir string) {
	cfg.Path, cfg.Xattr, cfg.KillPriv, cfg.Locks = dir, true, true, Locks{POSIX: true, Flock: true}
	fs := share(t, cfg)
	write(t, join(dir, "f"), "some content that is read")
	if err := unix.Setxattr(join(dir, "f"), "trusted.a", []byte("v"), 0); err != nil {
		t.Fatal(err)
	}
	id, h := openAt(t, fs, "f", unix.O_RDWR)
	v := iovs(make([]byte, 100), 7, 0, 30)
	attr := []byte("trusted.a\x00")
	value := make([]byte, 10)
	all := vfs.WriteKillSUIDGID
	for what, f := range map[string]func() syscall.Errno{
		"Read":         func() syscall.Errno { _, e := fs.Read(&root, id, h, v, 3, 0); return e },
		"Read nowait":  func() syscall.Errno { _, e := fs.Read(&nowait, id, h, v, 0, 0); return e },
		"Write":        func() syscall.Errno { _, e := fs.Write(&root, id, h, v, 0, 0, 0); return e },
		"Write, kill":  func() syscall.Errno { _, e := fs.Write(&root, id, h, v, 0, 0, all); return e },
		"Flush":        func() syscall.Errno { return fs.Flush(&root, id, h, 5) },
		"Fsync":        func() syscall.Errno { return fs.Fsync(&root, id, h, false) },
		"Lseek":        func() syscall.Errno { _, e := fs.Lseek(&root, id, h, 0, unix.SEEK_DATA); return e },
		"Getxattr":     func() syscall.Errno { _, e := fs.Getxattr(&root, id, attr, value); return e },
		"Setxattr":     func() syscall.Errno { return fs.Setxattr(&root, id, attr, value, 0, false) },
		"Listxattr":    func() syscall.Errno { _, e := fs.Listxattr(&root, id, nil); return e },
		"Statfs":       func() syscall.Errno { var o vfs.Statfs; return fs.Statfs(&root, id, &o) },
		"Fallocate":    func() syscall.Errno { return fs.Fallocate(&someone, id, h, 0, 10, 0) },
		"Ioctl, wrong": func() syscall.Errno { _, _, e := fs.Ioctl(&root, id, h, 1, 0, nil, nil); return e ^ syscall.ENOTTY },
	} {
		want(t, what, f(), 0)
		if n := testing.AllocsPerRun(50, func() { f() }); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

// TestWriteBackByADirectHandle: the end of a file that is mapped and open with O_DIRECT comes
// back by that handle, of any length. What the guest's program writes itself has to be aligned.
func TestWriteBackByADirectHandle(t *testing.T) {
	dir := tempDir(t, os.TempDir())
	fs := share(t, Config{Path: dir, DirectIO: true})
	path := join(dir, "f")
	if err := os.WriteFile(path, make([]byte, 10000), 0o600); err != nil {
		t.Fatal(err)
	}
	id, h := openAt(t, fs, "f", unix.O_RDWR|unix.O_DIRECT)
	page := bytes.Repeat([]byte("x"), 10000-8192)
	n, errno := fs.Write(&vfs.Request{}, id, h, iovs(page, len(page)), 8192, unix.O_RDWR|unix.O_DIRECT, vfs.WriteCache)
	if n != len(page) || errno != 0 {
		t.Errorf("from the cache: %d, %v", n, errno)
	}
	got, err := os.ReadFile(path)
	if err != nil || len(got) != 10000 || !bytes.Equal(got[8192:], page) {
		t.Errorf("the file has %d bytes, %v", len(got), err)
	}
	if n, errno := fs.Write(&vfs.Request{}, id, h, iovs(page, len(page)), 8192, unix.O_RDWR|unix.O_DIRECT, 0); errno != syscall.EINVAL {
		t.Errorf("from the program: %d, %v", n, errno)
	}
}
