package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

var root = &vfs.Request{}

// item is an entry for makeTar.
type item struct {
	tar.Header
	data string
}

// makeTar writes an archive by the standard library.
func makeTar(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, it := range items {
		h := it.Header
		h.Size = int64(len(it.data))
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.ModTime.IsZero() {
			h.ModTime = time.Unix(1e9, 0)
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatalf("%s: %v", h.Name, err)
		}
		if _, err := w.Write([]byte(it.data)); err != nil {
			t.Fatalf("%s: %v", h.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func file(name, data string) item {
	return item{tar.Header{Name: name, Mode: 0o644}, data}
}

func dir(name string) item {
	return item{tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}, ""}
}

func link(name, to string) item {
	return item{tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to}, ""}
}

func symlink(name, to string) item {
	return item{tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}, ""}
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstded(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

// mustRead reads an archive and closes it with the test.
func mustRead(t testing.TB, data []byte, o Options) *FS {
	t.Helper()
	fs, err := Read(context.Background(), bytes.NewReader(data), "test.tar", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeFS(t, fs) })
	return fs
}

// closeFS closes a file system that nobody uses any more.
func closeFS(t testing.TB, fs *FS) {
	t.Helper()
	if c := fs.Counts(); c.Nodes != 1 || c.Handles != 0 || c.Descriptors != 1 {
		t.Errorf("at rest there are %d nodes, %d handles and %d descriptors", c.Nodes, c.Handles, c.Descriptors)
	}
	if err := fs.Close(); err != nil {
		t.Error(err)
	}
}

// tempDir makes a directory that is gone after the test.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "archive-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// runTar runs tar(1) in dir and returns the archive that it writes.
func runTar(t testing.TB, dir string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("tar", append([]string{"-C", dir, "-cf", "-"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tar %q: %v\n%s", args, err, &stderr)
	}
	return out
}

func name(t testing.TB, s string) vfs.Name {
	t.Helper()
	n, errno := vfs.MakeName(s)
	if errno != 0 {
		t.Fatalf("name %q: %v", s, errno)
	}
	return n
}

// found is an object of a file system, as far as tests compare it.
type found struct {
	attr   vfs.Attr
	data   string // content, or target
	xattrs map[string]string
}

// walkAll looks at everything that a file system has, in every way, and returns
// it by path. Of files longer than maxData it reads what is no hole.
func walkAll(t testing.TB, fs *FS) map[string]found {
	t.Helper()
	tree := map[string]found{}
	var visit func(p string, id vfs.NodeID, parent uint64)
	visit = func(p string, id vfs.NodeID, parent uint64) {
		f := look(t, fs, p, id)
		tree[p] = f
		if f.attr.Mode&unix.S_IFMT != unix.S_IFDIR {
			return
		}
		for _, e := range list(t, fs, p, id, parent) {
			child := path.Join(p, e.name)
			var le vfs.Entry
			n, errno := vfs.MakeName(e.name)
			if errno != 0 {
				t.Fatalf("%q is listed", child)
			}
			if errno := fs.Lookup(root, id, n, &le); errno != 0 || le.Node != e.node || le.Attr.Ino != e.ino || le.Attr.Mode&unix.S_IFMT != e.typ {
				t.Fatalf("lookup of %q: %v, node %d, ino %d, mode %#o; listed as %+v", child, errno, le.Node, le.Attr.Ino, le.Attr.Mode, e)
			}
			visit(child, le.Node, uint64(id))
			fs.Forget(le.Node, 2) // the listing's, too
		}
	}
	visit("", vfs.Root, uint64(vfs.Root))
	return tree
}

// listed is an entry of a listing.
type listed struct {
	name string
	ino  uint64
	typ  uint32
	node vfs.NodeID
}

// collector is a sink for room entries.
type collector struct {
	room int
	next uint64
	got  []listed
}

func (c *collector) Plus() bool    { return true }
func (c *collector) Fits(int) bool { return c.room > 0 }
func (c *collector) Add(name []byte, ino, next uint64, typ uint32, e *vfs.Entry) {
	c.room--
	l := listed{name: string(name), ino: ino, typ: typ}
	if e != nil {
		l.node = e.Node
	}
	c.next = next
	c.got = append(c.got, l)
}

// list lists a directory in small pieces, without "." and "..".
func list(t testing.TB, fs *FS, p string, id vfs.NodeID, parent uint64) []listed {
	t.Helper()
	var o vfs.Opened
	if errno := fs.Opendir(root, id, 0, &o); errno != 0 {
		t.Fatalf("opendir %q: %v", p, errno)
	}
	defer fs.Releasedir(root, id, o.Handle)
	var c collector
	for n := -1; n != len(c.got); {
		n = len(c.got)
		c.room = 7
		if errno := fs.Readdir(root, id, o.Handle, c.next, &c); errno != 0 {
			t.Fatalf("readdir %q: %v", p, errno)
		}
	}
	if len(c.got) < 2 || c.got[0].name != "." || c.got[0].ino != uint64(id) || c.got[1].name != ".." || c.got[1].ino != parent {
		t.Fatalf("%q begins with %+v; its parent is %d", p, c.got[:min(2, len(c.got))], parent)
	}
	return c.got[2:]
}

// maxData is what of a file is read whole.
const maxData = 4 << 20

func look(t testing.TB, fs *FS, p string, id vfs.NodeID) found {
	t.Helper()
	var a vfs.AttrOut
	if errno := fs.Getattr(root, id, vfs.NoHandle, &a); errno != 0 {
		t.Fatalf("getattr %q: %v", p, errno)
	}
	f := found{attr: a.Attr}
	switch a.Attr.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		f.data = content(t, fs, p, id, a.Attr.Size)
	case unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		n, errno := fs.Readlink(root, id, buf)
		if errno != 0 || n == 0 || uint64(n) != a.Attr.Size {
			t.Fatalf("readlink %q: %d, %v", p, n, errno)
		}
		f.data = string(buf[:n])
	}
	size, errno := fs.Listxattr(root, id, nil)
	if errno != 0 {
		t.Fatalf("listxattr %q: %v", p, errno)
	}
	names := make([]byte, size)
	if _, errno := fs.Listxattr(root, id, names); errno != 0 {
		t.Fatalf("listxattr %q: %v", p, errno)
	}
	for n := range bytes.SplitAfterSeq(names, []byte{0}) {
		if len(n) == 0 {
			continue
		}
		size, errno := fs.Getxattr(root, id, n, nil)
		value := make([]byte, size+1)
		if errno == 0 {
			size, errno = fs.Getxattr(root, id, n, value)
		}
		if errno != 0 {
			t.Fatalf("getxattr %q of %q: %v", n, p, errno)
		}
		if f.xattrs == nil {
			f.xattrs = map[string]string{}
		}
		f.xattrs[string(n[:len(n)-1])] = string(value[:size])
	}
	return f
}

// content reads a file, and compares what it reads with where there are holes.
// Of long files it returns the data without the holes.
func content(t testing.TB, fs *FS, p string, id vfs.NodeID, size uint64) string {
	t.Helper()
	var o vfs.Opened
	if errno := fs.Open(root, id, unix.O_RDONLY, false, &o); errno != 0 {
		t.Fatalf("open %q: %v", p, errno)
	}
	defer fs.Release(root, id, o.Handle, &vfs.ReleaseIn{})
	read := func(off, n uint64) []byte {
		t.Helper()
		buf := make([]byte, n)
		// In odd pieces, and more of them than there is data.
		cut := n / 3
		iov := []unix.Iovec{oslib.Iov(buf[:cut]), oslib.Iov(nil), oslib.Iov(buf[cut:]), oslib.Iov(make([]byte, 10))}
		got, errno := fs.Read(root, id, o.Handle, iov, off, 0)
		if want := min(n+10, size-off); errno != 0 || uint64(got) != want {
			t.Fatalf("reading %d bytes of %q at %d: %d, %v; want %d", n, p, off, got, errno, want)
		}
		return buf
	}
	var data []byte
	whole := size <= maxData
	if whole {
		data = read(0, size)
	}
	for at := uint64(0); at < size; {
		start, errno := fs.Lseek(root, id, o.Handle, at, unix.SEEK_DATA)
		if errno == syscall.ENXIO {
			start = size
		} else if errno != 0 {
			t.Fatalf("SEEK_DATA in %q at %d: %v", p, at, errno)
		}
		if start < at || start > size {
			t.Fatalf("SEEK_DATA in %q of %d bytes at %d: %d", p, size, at, start)
		}
		if whole && !isZero(data[at:start]) {
			t.Fatalf("%q has data in its hole %d-%d", p, at, start)
		}
		if at = start; at == size {
			break
		}
		end, errno := fs.Lseek(root, id, o.Handle, at, unix.SEEK_HOLE)
		if errno != 0 || end <= at || end > size {
			t.Fatalf("SEEK_HOLE in %q of %d bytes at %d: %d, %v", p, size, at, end, errno)
		}
		if !whole {
			data = append(data, read(at, end-at)...)
		}
		at = end
	}
	return string(data)
}

// wantKind fails unless err is an *Error of that kind.
func wantKind(t testing.TB, err, kind error) {
	t.Helper()
	var e *Error
	if !errors.Is(err, kind) || !errors.As(err, &e) || e.Archive != "test.tar" {
		t.Errorf("got %v, want %v", err, kind)
	}
}
