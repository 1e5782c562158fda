package vfstest

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Populate fills a host directory with the tree that read-only subjects show:
// files, directories, links, special files, odd names, a large directory. The
// tree is the same each time but for its inode numbers and ctimes. Without
// special files it can be made by any user.
func Populate(dir string, special bool) error {
	var first error
	try := func(err error) {
		if err != nil && first == nil {
			first = fmt.Errorf("populate %s: %w", dir, err)
		}
	}
	at := func(p string) string { return filepath.Join(dir, p) }
	file := func(p, data string, mode os.FileMode) {
		try(os.WriteFile(at(p), []byte(data), 0o600))
		try(os.Chmod(at(p), mode))
	}
	file("some", "a file", 0o644)
	file("empty", "", 0o600)
	file("large", pattern(1<<20+3), 0o755)
	file("setuid", "x", 0o755|os.ModeSetuid)
	file(string([]byte{0xff, 0xfe, '\n'}), "odd", 0o444)
	for _, d := range []string{"some-dir", "deep", "deep/er", "deep/er/still", "full"} {
		try(os.Mkdir(at(d), 0o755))
	}
	file("deep/er/still/leaf", "leaf", 0o640)
	for i := range 500 {
		file(fmt.Sprintf("full/%03d", i), fmt.Sprint(i), 0o644)
	}
	try(os.Symlink("some", at("link")))
	try(os.Symlink("/nowhere/at/all", at("deep/dangling")))
	try(os.Link(at("some"), at("deep/hard")))
	if special {
		try(unix.Mkfifo(at("fifo"), 0o640))
		try(unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	}
	for i, p := range []string{"some", "deep/er/still/leaf", "some-dir", "link"} {
		ts := []unix.Timespec{{Sec: int64(i) - 2}, {Sec: 1_000_000_000 + int64(i)}}
		try(unix.UtimesNanoAt(unix.AT_FDCWD, at(p), ts, unix.AT_SYMLINK_NOFOLLOW))
	}
	return first
}

// testReads compares the whole tree and reads in it.
func (s *suite) testReads(t *testing.T) {
	want := newHost(t, s.Twin)
	defer want.end()
	c := s.root(t)
	tree := snapshot(t, want, s.Lacks)
	compareTrees(t, "through the file system", snapshot(t, c, s.Lacks), tree)
	r := newPair(t, c, want, s.Lacks)
	for _, o := range []op{
		mtime("some"), mtime("link"), cat("deep/hard"), readlink("deep/dangling"), readdir("full"), readdir("deep"),
		open("f", "large", rdonly, 0), pread("f", 100, 0), pread("f", 100, 1<<20-50), pread("f", 10, 1<<20+3), fstat("f"), closeFile("f"),
		fails(syscall.ENOENT, stat("none")), fails(syscall.ENOTDIR, stat("some/none")), fails(syscall.EINVAL, readlink("some")),
	} {
		r.step(o)
	}
}

// testForgedReadOnly makes every call with node ids that were never given.
func (s *suite) testForgedReadOnly(t *testing.T) {
	for _, cl := range s.offeredCalls() {
		for _, node := range []vfs.NodeID{0, 1 << 30, 1 << 48, ^vfs.NodeID(0)} {
			errno := cl.make(s.FS, &vfs.Request{}, node, 12345)
			if errno != syscall.ESTALE && errno != syscall.EBADF && !(cl.changes && errno == syscall.EROFS) {
				t.Errorf("%s with node %#x: %s, want ESTALE", cl.name, node, errnoName(errno))
			}
		}
	}
}

// mtime compares the mtime: reading changes the other.
func mtime(p string) op {
	return op{text: "mtime(" + p + ")", run: func(a *actor) (any, syscall.Errno) {
		at, errno := a.stat(p)
		return at.mtime, errno
	}}
}

// testRefused makes every call that would change something.
func (s *suite) testRefused(t *testing.T) {
	c := s.root(t)
	of, errno := c.open("some", rdonly, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer of.close()
	f := of.(*openFile)
	for _, cl := range s.offeredCalls() {
		if !cl.changes {
			continue
		}
		node, h := f.node, f.h
		if cl.onDir {
			node, h = vfs.Root, vfs.NoHandle
		}
		errno := cl.make(s.FS, &vfs.Request{}, node, h)
		// A handle that is not open for writing is reason enough.
		if errno != syscall.EROFS && !(cl.handle == fileHandle && errno == syscall.EBADF) {
			t.Errorf("%s: %s, want EROFS", cl.name, errnoName(errno))
		}
	}
	want := newHost(t, s.Twin)
	defer want.end()
	defer func() {
		compareTrees(t, "after all", snapshot(t, c, s.Lacks), snapshot(t, want, s.Lacks))
	}()
	for _, flags := range []int{wronly, rdwr, rdonly | trunc, rdwr | trunc} {
		if _, errno := c.open("some", flags, 0); errno != syscall.EROFS {
			t.Errorf("Open with %#x: %s, want EROFS", flags, errnoName(errno))
		}
	}
}
