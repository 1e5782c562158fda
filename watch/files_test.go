package watch_test

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/watch"
)

// openFiles returns what is open, by path, without times.
func openFiles(t *testing.T, fs *watch.FS) []watch.OpenFile {
	t.Helper()
	var l []watch.OpenFile
	for f := range fs.OpenFiles() {
		if age := time.Since(f.Since); age < 0 || age > time.Minute {
			t.Errorf("%s was opened %v ago", f.Path, age)
		}
		f.Since = time.Time{}
		l = append(l, f)
	}
	slices.SortFunc(l, func(a, b watch.OpenFile) int { return int(a.Flags) - int(b.Flags) })
	return l
}

func TestOpenFiles(t *testing.T) {
	fs := watched(t, watch.Options{CountBytes: true})
	g := &guest{t: t, fs: fs, r: vfs.Request{PID: 10, UID: 20, GID: 30}}
	d := g.mkdir(vfs.Root, "d")
	f := g.mknod(d, "f")
	var dir, made vfs.Opened
	var e vfs.Entry
	rd, wr := g.open(f, unix.O_RDONLY), g.open(f, unix.O_WRONLY)
	g.must("create", fs.Create(&g.r, d, name("g"), unix.O_RDWR, 0o644, &e, &made))
	g.must("opendir", fs.Opendir(&g.r, d, unix.O_DIRECTORY, &dir))

	data := make([]byte, 1000)
	iov := func(n uint64) []unix.Iovec { return []unix.Iovec{{Base: &data[0], Len: n}} }
	_, errno := fs.Write(&g.r, f, wr, iov(700), 0, 0, 0)
	g.must("write", errno)
	for range 2 {
		_, errno = fs.Read(&g.r, f, rd, iov(1000), 0, 0)
		g.must("read", errno)
	}
	_, errno = fs.CopyFileRange(&g.r, &vfs.CopyRange{SrcNode: f, SrcHandle: rd, DstNode: e.Node, DstHandle: made.Handle, Len: 50})
	g.must("copy", errno)
	g.rename(vfs.Root, "d", vfs.Root, "new", 0)
	g.unlink(d, "g")

	want := []watch.OpenFile{
		{Path: "/new/f", Node: f, Handle: rd, Flags: unix.O_RDONLY, Read: 1450},
		{Path: "/new/f", Node: f, Handle: wr, Flags: unix.O_WRONLY, Written: 700},
		{Path: "/new/g (deleted)", Node: e.Node, Handle: made.Handle, Flags: unix.O_RDWR, Written: 50},
		{Path: "/new", Node: d, Handle: dir.Handle, Flags: unix.O_DIRECTORY, Dir: true},
	}
	for i := range want {
		want[i].PID, want[i].UID, want[i].GID = 10, 20, 30
	}
	if got := openFiles(t, fs); !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for range fs.OpenFiles() {
		break
	}
	g.must("release", fs.Release(&g.r, f, rd, &vfs.ReleaseIn{}))
	g.must("release", fs.Release(&g.r, f, wr, &vfs.ReleaseIn{}))
	g.must("releasedir", fs.Releasedir(&g.r, d, dir.Handle))
	if got := openFiles(t, fs); !slices.Equal(got, want[2:3]) || fs.NumOpen() != 1 {
		t.Errorf("released all but one: %+v", got)
	}
}

// releasing answers Release as it is told.
type releasing struct {
	answering
	release syscall.Errno
}

func (r *releasing) Release(*vfs.Request, vfs.NodeID, vfs.Handle, *vfs.ReleaseIn) syscall.Errno {
	return r.release
}

func (r *releasing) Releasedir(*vfs.Request, vfs.NodeID, vfs.Handle) syscall.Errno { return r.release }

// TestReleaseThatFails looks what is still open after it. The file is node 5, handle 9.
func TestReleaseThatFails(t *testing.T) {
	const inTree = 3 << 48
	for _, tt := range []struct {
		what  string
		errno syscall.Errno
		dir   bool
		node  vfs.NodeID
		h     vfs.Handle
		want  syscall.Errno
		open  int
	}{
		{"is made again", vfs.WouldBlock, false, 5, 9, vfs.WouldBlock, 1},
		{"the mount is gone", syscall.ESTALE, false, 5, 9, syscall.ESTALE, 0},
		{"the handle is gone", syscall.EBADF, false, 5, 9, syscall.EBADF, 0},
		{"as a directory", syscall.EBADF, true, 5, 9, syscall.EBADF, 1},
		{"of another node", syscall.EBADF, false, 6, 9, syscall.EBADF, 1},
		{"of a forged node", syscall.ESTALE, false, 7, 9, syscall.ESTALE, 1},
		{"of another mount", 0, false, inTree + 5, 9, syscall.ESTALE, 1},
		{"of a forged handle", 0, false, 5, 8, syscall.EBADF, 1},
		{"of a forged handle and node", 0, false, 7, 8, syscall.ESTALE, 1},
	} {
		inner := &releasing{release: tt.errno}
		fs := watch.New(inner, watch.Options{})
		setUp(t, fs, &inner.answering, false)
		var errno syscall.Errno
		if tt.dir {
			errno = fs.Releasedir(&request, tt.node, tt.h)
		} else {
			errno = fs.Release(&request, tt.node, tt.h, &vfs.ReleaseIn{})
		}
		if errno != tt.want || fs.NumOpen() != tt.open {
			t.Errorf("%s: %v, then %d are open", tt.what, errno, fs.NumOpen())
		}
	}
}

// TestHandlesOfMounts opens files in two mounts of a tree, whose handles may be the
// same number.
func TestHandlesOfMounts(t *testing.T) {
	inner := &answering{}
	fs := watch.New(inner, watch.Options{})
	setUp(t, fs, inner, false)
	g := &guest{t: t, fs: fs}
	g.open(3<<48+5, 0)
	if n := fs.NumOpen(); n != 2 {
		t.Errorf("%d files are open, want 2", n)
	}
	g.must("release", fs.Release(&g.r, 5, 9, &vfs.ReleaseIn{}))
	if l := openFiles(t, fs); len(l) != 1 || l[0].Node != 3<<48+5 || l[0].Path != "" {
		t.Errorf("open are %+v", l)
	}
}

func TestWhatIsBehindPasses(t *testing.T) {
	scratch := newScratch(t)
	for _, tt := range []struct {
		inner     vfs.FileSystem
		counts    vfs.Counts
		tolerates vfs.Features
		fd        int
		ok        bool
	}{
		{vfs.Unimplemented{}, vfs.Counts{}, 0, -1, false},
		{scratch, scratch.Counts(), scratch.Tolerates(), -1, false},
		{backed{}, vfs.Counts{}, 0, 9, true},
	} {
		fs := watch.New(tt.inner, watch.Options{})
		if got := fs.Counts(); got != tt.counts {
			t.Errorf("%T counts %+v, want %+v", tt.inner, got, tt.counts)
		}
		if got := fs.Tolerates(); got != tt.tolerates {
			t.Errorf("%T tolerates %#x, want %#x", tt.inner, got, tt.tolerates)
		}
		if fd, ok := fs.Backing(4, 5); fd != tt.fd || ok != tt.ok {
			t.Errorf("%T is backed by %d, %v", tt.inner, fd, ok)
		}
	}
}

// backed is a file system whose files have descriptors.
type backed struct{ vfs.Unimplemented }

func (backed) Backing(node vfs.NodeID, h vfs.Handle) (int, bool) { return int(node) + int(h), true }
