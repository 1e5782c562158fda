package tree

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
)

const everything = ^vfs.Features(0)

var (
	quiet = slog.New(slog.NewTextHandler(io.Discard, nil))
	root  vfs.Request // a request of the guest's root
)

// tempDir makes a directory below parent with files: name and content, or a
// directory where the name ends in a slash.
func tempDir(t testing.TB, parent string, files ...string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "tree-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		p := filepath.Join(dir, f)
		if strings.HasSuffix(f, "/") {
			err = os.MkdirAll(p, 0o755)
		} else if err = os.MkdirAll(filepath.Dir(p), 0o755); err == nil {
			err = os.WriteFile(p, []byte("content of "+f), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// share makes a file system of a host path that is closed with the test.
func share(t testing.TB, cfg passthrough.Config) *passthrough.FS {
	t.Helper()
	cfg.Logger = quiet
	fs, err := passthrough.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fs.Close() })
	return fs
}

// plain is share with nothing but a path.
func plain(t testing.TB, path string) *passthrough.FS {
	t.Helper()
	return share(t, passthrough.Config{Path: path})
}

// dirOf shares a new directory with files.
func dirOf(t testing.TB, files ...string) *passthrough.FS {
	t.Helper()
	return plain(t, tempDir(t, "/dev/shm", files...))
}

func newTree(t testing.TB) *FS {
	t.Helper()
	return New(Config{Logger: quiet})
}

func mounted(t testing.TB, fs *FS, path string, child vfs.FileSystem) {
	t.Helper()
	if err := fs.Mount(path, child); err != nil {
		t.Fatal(err)
	}
}

func unmounted(t testing.TB, fs *FS, path string) {
	t.Helper()
	if err := fs.Unmount(path); err != nil {
		t.Fatal(err)
	}
}

func begin(t testing.TB, fs vfs.FileSystem) vfs.Features {
	t.Helper()
	f, errno := fs.Init(everything)
	if errno != 0 {
		t.Fatalf("Init: %v", errno)
	}
	return f
}

func name(s string) vfs.Name {
	n, errno := vfs.MakeName(s)
	if errno != 0 {
		panic(s + ": " + errno.Error())
	}
	return n
}

func want(t testing.TB, what string, got, want syscall.Errno) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v (%d), want %v (%d)", what, got, got, want, want)
	}
}

// wantErr checks an error of Mount or Unmount: its number and a part of its text.
func wantErr(t testing.TB, err error, errno syscall.Errno, text string) {
	t.Helper()
	var pe *PathError
	if !errors.Is(err, errno) || !errors.As(err, &pe) || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want %v with %q", err, errno, text)
	}
}

// find walks a path from the root and returns its entry, to which the caller has
// a reference.
func find(fs vfs.FileSystem, path string) (vfs.Entry, syscall.Errno) {
	e := vfs.Entry{Node: vfs.Root, Attr: vfs.Attr{Mode: unix.S_IFDIR}}
	for c := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		up := e.Node
		errno := fs.Lookup(&root, up, name(c), &e)
		if up != vfs.Root {
			fs.Forget(up, 1)
		}
		if errno == 0 && e.Node == 0 {
			errno = syscall.ENOENT
		}
		if errno != 0 {
			return vfs.Entry{}, errno
		}
	}
	return e, 0
}

// walk is find for a path that exists. The reference lasts until the test ends.
func walk(t testing.TB, fs vfs.FileSystem, path string) vfs.Entry {
	t.Helper()
	e, errno := find(fs, path)
	if errno != 0 {
		t.Fatalf("%s: %v", path, errno)
	}
	t.Cleanup(func() { fs.Forget(e.Node, 1) })
	return e
}

// absent checks that a path does not exist.
func absent(t testing.TB, fs vfs.FileSystem, path string) {
	t.Helper()
	e, errno := find(fs, path)
	if errno == 0 {
		fs.Forget(e.Node, 1)
	}
	want(t, path, errno, syscall.ENOENT)
}

// content reads a file.
func content(t testing.TB, fs vfs.FileSystem, path string) string {
	t.Helper()
	e := walk(t, fs, path)
	var o vfs.Opened
	if errno := fs.Open(&root, e.Node, unix.O_RDONLY, false, &o); errno != 0 {
		t.Fatalf("open %s: %v", path, errno)
	}
	defer fs.Release(&root, e.Node, o.Handle, &vfs.ReleaseIn{})
	buf := make([]byte, 1000)
	n, errno := fs.Read(&root, e.Node, o.Handle, []unix.Iovec{oslib.Iov(buf)}, 0, 0)
	if errno != 0 {
		t.Fatalf("read %s: %v", path, errno)
	}
	return string(buf[:n])
}

// listed is an entry of a listing.
type listed struct {
	name      string
	ino, next uint64
	typ       uint32
	entry     vfs.Entry
}

// list takes up to room entries at a time.
type list struct {
	plus bool
	room int
	got  []listed
}

func (l *list) Plus() bool    { return l.plus }
func (l *list) Fits(int) bool { return len(l.got) < l.room }
func (l *list) Add(name []byte, ino, next uint64, typ uint32, e *vfs.Entry) {
	x := listed{name: string(name), ino: ino, next: next, typ: typ}
	if e != nil {
		x.entry = *e
	}
	l.got = append(l.got, x)
}

// readdir lists a directory from off on, room entries at a time, and gives the
// references back.
func readdir(t testing.TB, fs vfs.FileSystem, node vfs.NodeID, off uint64, room int, plus bool) []listed {
	t.Helper()
	var o vfs.Opened
	if errno := fs.Opendir(&root, node, 0, &o); errno != 0 {
		t.Fatalf("opendir: %v", errno)
	}
	defer fs.Releasedir(&root, node, o.Handle)
	var all []listed
	for {
		l := &list{plus: plus, room: room}
		if errno := fs.Readdir(&root, node, o.Handle, off, l); errno != 0 {
			t.Fatalf("readdir from %#x: %v", off, errno)
		}
		if len(l.got) == 0 {
			return all
		}
		for _, x := range l.got {
			if x.entry.Node != 0 {
				fs.Forget(x.entry.Node, 1)
			}
			off = x.next
			if x.name != "." && x.name != ".." {
				all = append(all, x)
			}
		}
	}
}

// names lists the names in a directory, sorted.
func names(t testing.TB, fs vfs.FileSystem, path string) string {
	t.Helper()
	node := vfs.Root
	if path != "/" {
		node = walk(t, fs, path).Node
	}
	var list []string
	for _, x := range readdir(t, fs, node, 0, 100, false) {
		list = append(list, x.name)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// rest checks that a file system holds nothing but its root and pins of the tree.
func rest(t testing.TB, fs *passthrough.FS, pins int) {
	t.Helper()
	if s := fs.Stats(); s.Nodes != 1+pins || s.Handles != 0 {
		t.Errorf("there are %d nodes and %d handles, want %d and 0", s.Nodes, s.Handles, 1+pins)
	}
}
