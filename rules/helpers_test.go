package rules

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
)

const everything = ^vfs.Features(0)

func tempDir(t testing.TB, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "rules-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// share makes a file system of a host directory that is closed with the test.
func share(t testing.TB, cfg passthrough.Config) *passthrough.FS {
	t.Helper()
	cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	fs, err := passthrough.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fs.Close() })
	return fs
}

// begin begins a session with all that a door can do.
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

func root() *vfs.Request { return &vfs.Request{} }

// lookup finds a name in the root and keeps the reference until the test ends.
func lookup(t testing.TB, fs vfs.FileSystem, s string) vfs.Entry {
	t.Helper()
	var e vfs.Entry
	if errno := fs.Lookup(root(), vfs.Root, name(s), &e); errno != 0 {
		t.Fatalf("lookup of %s: %v", s, errno)
	}
	t.Cleanup(func() { fs.Forget(e.Node, 1) })
	return e
}

// open opens a file until the test ends.
func open(t testing.TB, fs vfs.FileSystem, node vfs.NodeID, flags uint32) vfs.Handle {
	t.Helper()
	var o vfs.Opened
	if errno := fs.Open(root(), node, flags, false, &o); errno != 0 {
		t.Fatalf("open with %#x: %v", flags, errno)
	}
	t.Cleanup(func() { fs.Release(root(), node, o.Handle, &vfs.ReleaseIn{}) })
	return o.Handle
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t testing.TB, what string, got, want syscall.Errno) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v (%d), want %v (%d)", what, got, got, want, want)
	}
}

func errnoOf(err error) syscall.Errno {
	errno, _ := err.(syscall.Errno)
	return errno
}

func join(elem ...string) string { return filepath.Join(elem...) }

// as runs f on a thread of its own that acts as another user.
func as(t testing.TB, uid, gid uint32, f func()) {
	t.Helper()
	failed := make(chan syscall.Errno)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		errno := oslib.SetThreadGroups(nil)
		if errno == 0 {
			errno = oslib.SetThreadIDs(oslib.KeepID, gid)
		}
		if errno == 0 {
			errno = oslib.SetThreadIDs(uid, oslib.KeepID)
		}
		if errno == 0 {
			f()
		}
		failed <- errno
	}()
	if errno := <-failed; errno != 0 {
		t.Fatalf("become %d:%d: %v", uid, gid, errno)
	}
}
