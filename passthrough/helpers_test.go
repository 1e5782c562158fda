package passthrough

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/isthmus-fs/isthmus/vfs"
)

// fileSystems are directories on file systems that differ in what inode
// numbers and file handles do.
var fileSystems = map[string]string{"disk": "", "tmpfs": "/dev/shm"}

// eachFS runs a test in a fresh directory of each file system.
func eachFS(t *testing.T, f func(t *testing.T, dir string)) {
	for name, parent := range fileSystems {
		t.Run(name, func(t *testing.T) { f(t, tempDir(t, parent)) })
	}
}

func tempDir(t testing.TB, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "passthrough-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// everything is what a capable door offers.
const everything = ^vfs.Features(0)

// share makes a file system with a session begun. It is closed at the end of the
// test.
func share(t testing.TB, cfg Config) *FS {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	fs, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fs.Close() })
	if _, errno := fs.Init(everything); errno != 0 {
		t.Fatal(errno)
	}
	return fs
}

func name(t testing.TB, s string) vfs.Name {
	t.Helper()
	n, errno := vfs.MakeName(s)
	if errno != 0 {
		t.Fatalf("name %q: %v", s, errno)
	}
	return n
}

var root vfs.Request // a request of the guest's root

// walk looks up a path and keeps the reference to its last component only.
func walk(t testing.TB, fs *FS, path string) vfs.Entry {
	t.Helper()
	e := vfs.Entry{Node: vfs.Root}
	for c := range strings.SplitSeq(path, "/") {
		up := e.Node
		if errno := fs.Lookup(&root, up, name(t, c), &e); errno != 0 {
			t.Fatalf("lookup of %s in %s: %v", c, path, errno)
		}
		fs.Forget(up, 1)
	}
	return e
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func want(t testing.TB, what string, got, want syscall.Errno) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: %v (%d), want %v (%d)", what, got, got, want, want)
	}
}

// openFDs is the number of descriptors that the process has open.
func openFDs(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func join(elem ...string) string { return filepath.Join(elem...) }
