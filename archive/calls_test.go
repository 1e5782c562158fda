package archive

import (
	"archive/tar"
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// lookup finds a path and gives its references back at the end of the test, but
// for those of the directories on the way.
func lookup(t testing.TB, fs *FS, p string) vfs.Entry {
	t.Helper()
	at := vfs.Root
	var e vfs.Entry
	for part := range strings.SplitSeq(p, "/") {
		if errno := fs.Lookup(root, at, name(t, part), &e); errno != 0 || e.Node == 0 {
			t.Fatalf("lookup of %q in %q: node %d, %v", part, p, e.Node, errno)
		}
		if at != vfs.Root {
			fs.Forget(at, 1)
		}
		at = e.Node
	}
	t.Cleanup(func() { fs.Forget(at, 1) })
	return e
}

func open(t testing.TB, fs *FS, node vfs.NodeID) vfs.Handle {
	t.Helper()
	var o vfs.Opened
	if errno := fs.Open(root, node, unix.O_RDONLY, false, &o); errno != 0 {
		t.Fatal(errno)
	}
	t.Cleanup(func() { fs.Release(root, node, o.Handle, &vfs.ReleaseIn{}) })
	return o.Handle
}

func opendir(t testing.TB, fs *FS, node vfs.NodeID) vfs.Handle {
	t.Helper()
	var o vfs.Opened
	if errno := fs.Opendir(root, node, 0, &o); errno != 0 {
		t.Fatal(errno)
	}
	t.Cleanup(func() { fs.Releasedir(root, node, o.Handle) })
	return o.Handle
}

// TestReferences: a node is there while the guest holds references, and counted.
func TestReferences(t *testing.T) {
	fs := mustRead(t, makeTar(t, file("a", "x"), link("b", "a"), dir("d/")), Options{})
	var e, same vfs.Entry
	getattr := func() syscall.Errno { return fs.Getattr(root, e.Node, vfs.NoHandle, &vfs.AttrOut{}) }
	fs.Lookup(root, vfs.Root, name(t, "a"), &e)
	fs.Lookup(root, vfs.Root, name(t, "b"), &same)
	if e.Node != same.Node || e.Attr.Nlink != 2 {
		t.Errorf("two names of one file: %+v and %+v", e, same)
	}
	fs.Forget(e.Node, 1)
	fs.Forget(e.Node, 0)
	if errno := getattr(); errno != 0 || fs.Counts().Nodes != 2 {
		t.Errorf("with a reference left: %v, %d nodes", errno, fs.Counts().Nodes)
	}
	for range 2 {
		fs.Forget(e.Node, ^uint64(0))
		if errno := getattr(); errno != syscall.ESTALE || fs.Counts().Nodes != 1 {
			t.Errorf("without references: %v, %d nodes", errno, fs.Counts().Nodes)
		}
	}
	fs.Forget(vfs.Root, 5)
	fs.Forget(0, 5)
	fs.Forget(1<<40, 5)
	if errno := fs.Getattr(root, vfs.Root, vfs.NoHandle, &vfs.AttrOut{}); errno != 0 {
		t.Errorf("the root: %v", errno)
	}
	fs.Lookup(root, vfs.Root, name(t, "a"), &e)
	h := open(t, fs, e.Node)
	if _, errno := fs.Init(0); errno != 0 {
		t.Fatal(errno)
	}
	if s := fs.Counts(); getattr() != syscall.ESTALE || s.Nodes != 1 || s.Handles != 0 {
		t.Errorf("after Init: %+v", s)
	}
	if errno := fs.Release(root, e.Node, h, &vfs.ReleaseIn{}); errno != syscall.EBADF {
		t.Errorf("a handle of the session before: %v", errno)
	}
	if errno := fs.Lookup(root, vfs.Root, name(t, "absent"), &e); errno != 0 || e.Node != 0 || e.EntryTTL != ttl {
		t.Errorf("a name that is not there: %v, %+v", errno, e)
	}
}

// TestHandles: a handle is good for its node and kind, until it is released.
func TestHandles(t *testing.T) {
	fs := mustRead(t, makeTar(t, file("a", "x"), file("b", "y"), dir("d/")), Options{})
	a, b, d := lookup(t, fs, "a").Node, lookup(t, fs, "b").Node, lookup(t, fs, "d").Node
	ha, hd := open(t, fs, a), opendir(t, fs, d)
	var old vfs.Opened
	fs.Open(root, a, 0, false, &old)
	if errno := fs.Release(root, a, old.Handle, nil); errno != 0 {
		t.Fatal(errno)
	}
	buf := []unix.Iovec{oslib.Iov(make([]byte, 1))}
	for _, tt := range []struct {
		what string
		node vfs.NodeID
		h    vfs.Handle
		want syscall.Errno
	}{
		{"its own", a, ha, 0}, {"of another node", b, ha, syscall.EBADF}, {"released", a, old.Handle, syscall.EBADF},
		{"of a directory", d, hd, syscall.EBADF}, {"none", a, vfs.NoHandle, syscall.EBADF}, {"made up", a, 12345, syscall.EBADF},
		{"of another generation", a, ha ^ 1<<40, syscall.EBADF}, {"far away", a, ha | 0xffff0000, syscall.EBADF},
		{"of a node that is none", 1 << 40, ha, syscall.ESTALE},
	} {
		if _, errno := fs.Read(root, tt.node, tt.h, buf, 0, 0); errno != tt.want {
			t.Errorf("Read with a handle %s: %v, want %v", tt.what, errno, tt.want)
		}
	}
	for _, h := range []vfs.Handle{ha, old.Handle, vfs.NoHandle} {
		if errno := fs.Readdir(root, d, h, 0, &collector{room: 1}); errno != syscall.EBADF {
			t.Errorf("Readdir with handle %#x: %v", h, errno)
		}
		if errno := fs.Releasedir(root, d, h); errno != syscall.EBADF {
			t.Errorf("Releasedir with handle %#x: %v", h, errno)
		}
	}
	var open []vfs.Handle
	for {
		var o vfs.Opened
		errno := fs.Open(root, a, 0, false, &o)
		if errno == syscall.ENFILE {
			break
		}
		if errno != 0 {
			t.Fatal(errno)
		}
		open = append(open, o.Handle)
	}
	if len(open) != maxHandles-2 {
		t.Errorf("%d handles could be opened", len(open))
	}
	for _, h := range open {
		if errno := fs.Release(root, a, h, nil); errno != 0 {
			t.Fatal(errno)
		}
	}
}

// TestConcurrency has many guests' threads at once do all that changes anything.
func TestConcurrency(t *testing.T) {
	items := []item{}
	for i := range 50 {
		items = append(items, file(fmt.Sprintf("d/%d", i), fmt.Sprint(i)))
	}
	fs := mustRead(t, makeTar(t, items...), Options{})
	d := lookup(t, fs, "d").Node
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			h := opendir(t, fs, d)
			for i := range 500 {
				var e vfs.Entry
				var o vfs.Opened
				n := (i*7 + g) % 50
				fs.Lookup(root, d, name(t, fmt.Sprint(n)), &e)
				if errno := fs.Open(root, e.Node, 0, false, &o); errno != 0 {
					t.Error(errno)
				}
				buf := make([]byte, 10)
				k, errno := fs.Read(root, e.Node, o.Handle, []unix.Iovec{oslib.Iov(buf)}, 0, 0)
				if errno != 0 || string(buf[:k]) != fmt.Sprint(n) {
					t.Errorf("%d has %q, %v", n, buf[:k], errno)
				}
				if errno := fs.Release(root, e.Node, o.Handle, nil); errno != 0 {
					t.Error(errno)
				}
				c := collector{room: 20}
				fs.Readdir(root, d, h, uint64(i%40), &c)
				for _, l := range c.got {
					if l.node != 0 {
						fs.Forget(l.node, 1)
					}
				}
				fs.Forget(e.Node, 1)
			}
		})
	}
	wg.Wait()
	if s := fs.Counts(); s.Nodes != 2 || s.Handles != 8 {
		t.Errorf("left are %+v", s)
	}
}

// TestAccess compares with the rules of access(2).
func TestAccess(t *testing.T) {
	fs := mustRead(t, makeTar(t,
		item{tar.Header{Name: "f", Mode: 0o750, Uid: 10, Gid: 20}, ""},
		item{tar.Header{Name: "data", Mode: 0o644, Uid: 10, Gid: 20}, ""},
		item{tar.Header{Name: "dev", Mode: 0o620, Uid: 10, Gid: 20, Typeflag: tar.TypeChar}, ""},
		item{tar.Header{Name: "d", Mode: 0, Typeflag: tar.TypeDir}, ""},
	), Options{})
	user := func(uid, gid uint32, groups ...uint32) *vfs.Request {
		return &vfs.Request{UID: uid, GID: gid, Groups: groups}
	}
	for _, tt := range []struct {
		path string
		who  *vfs.Request
		mask uint32
		want syscall.Errno
	}{
		{"f", user(10, 1), unix.R_OK | unix.X_OK, 0}, {"f", user(1, 20), unix.R_OK | unix.X_OK, 0}, {"f", user(1, 1, 5, 20), unix.R_OK, 0},
		{"f", user(1, 1), unix.R_OK, syscall.EACCES}, {"f", user(1, 1), 0, 0}, {"f", user(10, 1), unix.W_OK, syscall.EROFS},
		{"f", user(0, 0), unix.W_OK, syscall.EROFS}, {"f", user(0, 0), unix.R_OK | unix.X_OK, 0}, {"data", user(0, 0), unix.X_OK, syscall.EACCES},
		{"d", user(0, 0), unix.R_OK | unix.X_OK, 0}, {"d", user(5, 0), unix.X_OK, syscall.EACCES}, {"d", user(0, 0), unix.W_OK, syscall.EROFS},
		{"dev", user(1, 20), unix.W_OK, 0}, {"dev", user(1, 20), unix.R_OK, syscall.EACCES}, {"f", user(0, 0), 8, syscall.EINVAL},
	} {
		if errno := fs.Access(tt.who, lookup(t, fs, tt.path).Node, tt.mask); errno != tt.want {
			t.Errorf("Access of %s for %+v, %d: %v, want %v", tt.path, tt.who, tt.mask, errno, tt.want)
		}
	}
}

// TestCounts: what a guest holds, and what the archive takes.
func TestCounts(t *testing.T) {
	fs := mustRead(t, makeTar(t, file("f", "x"), dir("d/")), Options{})
	bytes := uint64(pageSize) + fs.Stats().Index
	check := func(nodes, handles uint64) {
		t.Helper()
		if c, want := fs.Counts(), (vfs.Counts{Nodes: nodes, Handles: handles, Descriptors: 1, Bytes: bytes}); c != want {
			t.Errorf("the counts are %+v, want %+v", c, want)
		}
	}
	check(1, 0)
	f, d := lookup(t, fs, "f").Node, lookup(t, fs, "d").Node
	check(3, 0)
	var file, dir vfs.Opened
	if errno := fs.Open(root, f, unix.O_RDONLY, false, &file); errno != 0 {
		t.Fatal(errno)
	}
	if errno := fs.Opendir(root, d, 0, &dir); errno != 0 {
		t.Fatal(errno)
	}
	check(3, 2)
	fs.Release(root, f, file.Handle, nil)
	fs.Releasedir(root, d, dir.Handle)
	fs.Forget(f, 1)
	check(2, 0)
	fs.Destroy()
	check(1, 0)
}

// TestFeatures: an archive does not stand in the way of what its neighbours want.
func TestFeatures(t *testing.T) {
	fs := mustRead(t, makeTar(t), Options{})
	const all = ^vfs.Features(0)
	agreed, errno := fs.Init(all)
	if errno != 0 {
		t.Fatal(errno)
	}
	if !agreed.Has(vfs.FeatCacheSymlinks | vfs.FeatIDMap) {
		t.Errorf("it does not ask for all of them: %#x", agreed)
	}
	const without = vfs.FeatAtomicTrunc | vfs.FeatKillPriv | vfs.FeatWriteback | vfs.FeatDirectIOMmap
	if agreed&without != 0 || fs.Tolerates() != without {
		t.Errorf("it asks for %#x and tolerates %#x", agreed, fs.Tolerates())
	}
	if agreed, _ := fs.Init(without); agreed != 0 {
		t.Errorf("not offered, it agrees to %#x", agreed)
	}
}

// TestOpenKinds opens what can be opened and what not.
func TestOpenKinds(t *testing.T) {
	fs := mustRead(t, makeTar(t, file("f", "x"), dir("d/"), symlink("l", "f"), item{tar.Header{Name: "p", Typeflag: tar.TypeFifo}, ""}), Options{})
	var o vfs.Opened
	for p, want := range map[string]syscall.Errno{"f": 0, "d": syscall.EISDIR, "l": syscall.ELOOP, "p": syscall.EBADF} {
		node := lookup(t, fs, p).Node
		if errno := fs.Open(root, node, unix.O_RDONLY, false, &o); errno != want {
			t.Errorf("Open of %s: %v, want %v", p, errno, want)
		} else if errno == 0 {
			if o.Flags&vfs.OpenKeepCache == 0 {
				t.Errorf("it may not be cached")
			}
			fs.Release(root, node, o.Handle, nil)
		}
	}
	var e vfs.Entry
	for _, tt := range []struct {
		name  string
		flags uint32
		want  syscall.Errno
	}{
		{"f", unix.O_CREAT, 0}, {"f", unix.O_CREAT | unix.O_EXCL, syscall.EEXIST}, {"f", unix.O_CREAT | unix.O_WRONLY, syscall.EROFS},
		{"new", unix.O_CREAT, syscall.EROFS}, {"d", unix.O_CREAT, syscall.EISDIR},
	} {
		if errno := fs.Create(root, vfs.Root, name(t, tt.name), tt.flags, 0o644, &e, &o); errno != tt.want {
			t.Errorf("Create of %s with %#x: %v, want %v", tt.name, tt.flags, errno, tt.want)
		} else if errno == 0 {
			fs.Release(root, e.Node, o.Handle, nil)
			fs.Forget(e.Node, 1)
		}
	}
	f := lookup(t, fs, "f").Node
	if errno := fs.Lookup(root, f, name(t, "x"), &e); errno != syscall.ENOTDIR {
		t.Errorf("Lookup in a file: %v", errno)
	}
	if errno := fs.Opendir(root, f, 0, &o); errno != syscall.ENOTDIR {
		t.Errorf("Opendir of a file: %v", errno)
	}
}

// TestReadStaysInTheFile: what lies behind a file in the memfd is another's.
func TestReadStaysInTheFile(t *testing.T) {
	first, second := strings.Repeat("1", 3*pageSize), strings.Repeat("2", pageSize)
	fs := mustRead(t, makeTar(t, file("a", first), file("b", second), file("c", "33"), file("d", "44")), Options{})
	for p, want := range map[string]string{"a": first, "b": second, "c": "33"} {
		node := lookup(t, fs, p).Node
		h := open(t, fs, node)
		for _, pieces := range []int{1, 2, clipped - 1, clipped, clipped + 1, 3 * clipped, 1100} {
			for _, size := range []int{1, 7, 1000, 5000} {
				for _, off := range []int{0, 1, len(want) - 1, len(want), len(want) + 1} {
					buf := bytes.Repeat([]byte{'?'}, pieces*size)
					var iov []unix.Iovec
					for part := range slices.Chunk(buf, size) {
						iov = append(iov, oslib.Iov(part))
					}
					kept := slices.Clone(iov)
					n, errno := fs.Read(root, node, h, iov, uint64(off), 0)
					expect := want[min(off, len(want)):]
					expect = expect[:min(len(expect), len(buf))]
					if errno != 0 || string(buf[:n]) != expect || !bytes.Equal(buf[n:], bytes.Repeat([]byte{'?'}, len(buf)-n)) {
						t.Fatalf("%s at %d into %d pieces of %d: %d bytes, %v", p, off, pieces, size, n, errno)
					}
					if !slices.Equal(iov, kept) {
						t.Fatal("the caller's iovecs were changed")
					}
				}
			}
		}
		if _, errno := fs.Read(root, node, h, nil, 1<<63, 0); errno != syscall.EINVAL {
			t.Errorf("Read at a negative offset: %v", errno)
		}
	}
}

// TestLseek has the positions that no file has.
func TestLseek(t *testing.T) {
	fs := mustRead(t, makeTar(t, file("f", "12345")), Options{})
	node := lookup(t, fs, "f").Node
	h := open(t, fs, node)
	for _, tt := range []struct {
		off    uint64
		whence uint32
		want   uint64
		errno  syscall.Errno
	}{
		{3, unix.SEEK_SET, 3, 0}, {0, unix.SEEK_END, 5, 0}, {^uint64(1), unix.SEEK_END, 3, 0}, {^uint64(9), unix.SEEK_END, 0, syscall.EINVAL},
		{1 << 63, unix.SEEK_SET, 0, syscall.EINVAL}, {0, unix.SEEK_CUR, 0, syscall.EINVAL}, {0, 17, 0, syscall.EINVAL},
		{2, unix.SEEK_DATA, 2, 0}, {2, unix.SEEK_HOLE, 5, 0}, {5, unix.SEEK_DATA, 0, syscall.ENXIO}, {^uint64(0), unix.SEEK_HOLE, 0, syscall.ENXIO},
	} {
		if got, errno := fs.Lseek(root, node, h, tt.off, tt.whence); got != tt.want || errno != tt.errno {
			t.Errorf("Lseek(%d, %d): %d, %v; want %d, %v", tt.off, tt.whence, got, errno, tt.want, tt.errno)
		}
	}
}

// TestSealed: nobody who gets hold of the memory can change it.
func TestSealed(t *testing.T) {
	fs := mustRead(t, makeTar(t, file("f", "12345")), Options{})
	if _, errno := oslib.Pwritev2(fs.fd, []unix.Iovec{oslib.Iov([]byte("x"))}, 0, 0); errno != syscall.EPERM {
		t.Errorf("writing: %v", errno)
	}
	for _, size := range []int64{0, 1 << 20} {
		if errno := oslib.Ftruncate(fs.fd, size); errno != syscall.EPERM {
			t.Errorf("changing the length to %d: %v", size, errno)
		}
	}
	if _, err := unix.Mmap(fs.fd, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != syscall.EPERM {
		t.Errorf("mapping for writing: %v", err)
	}
}

// TestXattrSizes asks for the size first, and with too little room.
func TestXattrSizes(t *testing.T) {
	fs := mustRead(t, makeTar(t,
		item{tar.Header{Name: "f", PAXRecords: map[string]string{paxXattr + "user.a": "12345", paxXattr + "user.bb": ""}}, ""}, file("g", "")), Options{})
	f, g := lookup(t, fs, "f").Node, lookup(t, fs, "g").Node
	for _, tt := range []struct {
		what  string
		call  func([]byte) (int, syscall.Errno)
		room  int
		want  int
		errno syscall.Errno
	}{
		{"value", func(b []byte) (int, syscall.Errno) { return fs.Getxattr(root, f, []byte("user.a\x00"), b) }, 0, 5, 0},
		{"value", func(b []byte) (int, syscall.Errno) { return fs.Getxattr(root, f, []byte("user.a\x00"), b) }, 4, 0, syscall.ERANGE},
		{"value", func(b []byte) (int, syscall.Errno) { return fs.Getxattr(root, f, []byte("user.a\x00"), b) }, 5, 5, 0},
		{"empty value", func(b []byte) (int, syscall.Errno) { return fs.Getxattr(root, f, []byte("user.bb\x00"), b) }, 9, 0, 0},
		{"absent", func(b []byte) (int, syscall.Errno) { return fs.Getxattr(root, f, []byte("user.b\x00"), b) }, 9, 0, syscall.ENODATA},
		{"absent from all", func(b []byte) (int, syscall.Errno) { return fs.Getxattr(root, g, []byte("user.a\x00"), b) }, 9, 0, syscall.ENODATA},
		{"list", func(b []byte) (int, syscall.Errno) { return fs.Listxattr(root, f, b) }, 0, 15, 0},
		{"list", func(b []byte) (int, syscall.Errno) { return fs.Listxattr(root, f, b) }, 14, 0, syscall.ERANGE},
		{"list", func(b []byte) (int, syscall.Errno) { return fs.Listxattr(root, f, b) }, 15, 15, 0},
		{"list of none", func(b []byte) (int, syscall.Errno) { return fs.Listxattr(root, g, b) }, 15, 0, 0},
	} {
		if n, errno := tt.call(make([]byte, tt.room)); n != tt.want || errno != tt.errno {
			t.Errorf("%s with room for %d: %d, %v; want %d, %v", tt.what, tt.room, n, errno, tt.want, tt.errno)
		}
	}
}

// TestPositions: a listing goes on from any position that it gave, and ends at
// those that it did not.
func TestPositions(t *testing.T) {
	items := []item{}
	for i := range 30 {
		items = append(items, file(fmt.Sprint(i), ""))
	}
	fs := mustRead(t, makeTar(t, items...), Options{})
	h := opendir(t, fs, vfs.Root)
	var all collector
	all.room = 100
	fs.Readdir(root, vfs.Root, h, 0, &all)
	if len(all.got) != 32 || all.next != 32 {
		t.Fatalf("%d entries, the last before %d", len(all.got), all.next)
	}
	for off := range uint64(40) {
		c := collector{room: 100}
		errno := fs.Readdir(root, vfs.Root, h, off, &c)
		if want := all.got[min(off, 32):]; errno != 0 || !slices.Equal(c.got, want) {
			t.Errorf("from %d: %d entries, %v, want %d", off, len(c.got), errno, len(want))
		}
	}
	if errno := fs.Readdir(root, vfs.Root, h, 1<<63, &collector{room: 1}); errno != 0 {
		t.Errorf("far behind the end: %v", errno)
	}
	fs.Init(0)
}
