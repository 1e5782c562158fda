package hypercall

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/rules"
	"github.com/isthmus-fs/isthmus/tree"
	"github.com/isthmus-fs/isthmus/vfs"
)

// share is a host directory as a file system.
func share(t testing.TB, dir string) *passthrough.FS {
	t.Helper()
	fs, err := passthrough.New(passthrough.Config{Path: dir, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fs.Close() })
	return fs
}

// snapshot is all that is in a host directory.
func snapshot(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		fmt.Fprintln(&b, path, info.Mode(), st.Nlink, st.Ino, st.Uid, st.Size)
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%x\n", data)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// secret is what the file outside of all mounts has in it.
const secret = "not for any guest to see"

// composed is a tree as a Hermit guest has it: private space at "/", a directory, another
// that is read-only, and a single file. The host's directories lie in dir, beside one
// that is not in the tree.
type composed struct {
	*machine
	dir     string
	tree    *tree.FS
	private vfs.Counter
	shares  []*passthrough.FS
}

func compose(t testing.TB) *composed {
	t.Helper()
	c := &composed{dir: t.TempDir()}
	for path, data := range map[string]string{
		"rw/f": "writable", "ro/f": "read-only", "outside/secret": secret, "single": "one file",
	} {
		path = filepath.Join(c.dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"rw/abs":    filepath.Join(c.dir, "outside/secret"),
		"rw/rel":    "../outside/secret",
		"rw/parent": "..",
		"rw/guest":  "/ro/f",
	} {
		if err := os.Symlink(target, filepath.Join(c.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	private := newScratch(t)
	c.private = private
	c.tree = tree.New(tree.Config{Logger: quiet})
	for path, host := range map[string]string{"/root": "rw", "/ro": "ro", "/lib/deep/single": "single"} {
		s := share(t, filepath.Join(c.dir, host))
		c.shares = append(c.shares, s)
		var child vfs.FileSystem = s
		if host == "ro" {
			child = rules.ReadOnly(s)
		}
		if err := c.tree.Mount(path, child); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.tree.Mount("/", private); err != nil {
		t.Fatal(err)
	}
	c.machine = newMachine(t, Config{FS: c.tree, MakeParents: func(dir vfs.NodeID) bool { return dir <= vfs.MaxNodeID }})
	return c
}

// nothingHeld checks that the guest holds nothing but what the tree does for itself.
func (c *composed) nothingHeld(t *testing.T) {
	t.Helper()
	for _, m := range c.tree.Mounts() {
		if m.Path != "/" && m.References != 0 {
			t.Errorf("%s: %d references", m.Path, m.References)
		}
		if m.Counts != nil && m.Counts.Handles != 0 {
			t.Errorf("%s: %d handles", m.Path, m.Counts.Handles)
		}
	}
	if n := c.private.Counts().Nodes; n != 1 {
		t.Errorf("/: %d nodes", n)
	}
}

func TestTree(t *testing.T) {
	c := compose(t)
	outside := snapshot(t, filepath.Join(c.dir, "outside"))
	readOnly := snapshot(t, filepath.Join(c.dir, "ro"))
	for name, want := range map[string]string{
		"/root/f":              "writable",
		"root/f":               "writable",
		"ro/f":                 "read-only",
		"/lib/deep/single":     "one file",
		"/root/guest":          "read-only",
		"/root/abs":            syscall.ENOENT.Error(),
		"/root/rel":            syscall.ENOENT.Error(),
		"/root/parent/ro/f":    "read-only",
		"/root/parent/outside": syscall.ENOENT.Error(),
		"/lib/deep/single/x":   syscall.ENOTDIR.Error(),
	} {
		if got := c.content(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		c.nothingHeld(t)
	}
	c.makeFile("/root/new", "made")
	if b, err := os.ReadFile(filepath.Join(c.dir, "rw/new")); string(b) != "made" {
		t.Errorf("on the host: %q, %v", b, err)
	}
	want(t, "unlink", c.unlink("/root/new"), 0)
	if _, err := os.Lstat(filepath.Join(c.dir, "rw/new")); !os.IsNotExist(err) {
		t.Errorf("on the host: %v", err)
	}
	c.makeFile("/root/empty", "not yet")
	c.close(c.open("/root/empty", unix.O_RDONLY|unix.O_TRUNC, 0))
	if s := c.content("/root/empty"); s != "" {
		t.Errorf("after O_TRUNC: %q", s)
	}
	want(t, "create", c.open("/root/no/new", rdwrCreate, 0o644), syscall.ENOENT)
	want(t, "create", c.open("/ro/new", rdwrCreate, 0o644), syscall.EROFS)
	want(t, "write", c.open("/ro/f", unix.O_RDWR, 0), syscall.EROFS)
	want(t, "unlink", c.unlink("/ro/f"), syscall.EROFS)
	if errno := c.mkdir("/ro/d"); errno != syscall.EROFS {
		t.Error(errno)
	}
	// What is not mapped goes to the private space, and parents with it.
	c.makeFile("/tmp/x/y", "private")
	if s := c.content("/tmp/x/y"); s != "private" {
		t.Errorf("%q", s)
	}
	c.nothingHeld(t)
	fd := c.open("/", unix.O_DIRECTORY, 0)
	var names []string
	for n := c.getdents(fd, dataAt, 64); n > 0; n = c.getdents(fd, dataAt, 64) {
		for _, d := range c.records(dataAt, n) {
			names = append(names, d.name)
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{".", "..", "lib", "ro", "root", "tmp"}) {
		t.Errorf("%q", names)
	}
	c.close(fd)
	// No two files have the same number.
	seen := map[uint64]string{}
	for _, name := range []string{"/", "/root", "/ro", "/root/f", "/ro/f", "/lib", "/lib/deep", "/lib/deep/single", "/tmp", "/tmp/x/y"} {
		a, errno := c.stat(name, KindLstat)
		if errno != 0 || seen[a.Ino.Get()] != "" {
			t.Errorf("%s: %v, the same as %q", name, errno, seen[a.Ino.Get()])
		}
		seen[a.Ino.Get()] = name
	}
	if snapshot(t, filepath.Join(c.dir, "outside")) != outside || snapshot(t, filepath.Join(c.dir, "ro")) != readOnly {
		t.Error("what is not the guest's has changed")
	}
	c.nothingHeld(t)
}

// TestUnmount: files of a mount that is gone are stale, and closing them is fine.
func TestUnmount(t *testing.T) {
	c := compose(t)
	fd := c.open("/root/f", unix.O_RDWR, 0)
	dir := c.open("/root", unix.O_DIRECTORY, 0)
	if fd < 0 || dir < 0 {
		t.Fatal(fd, dir)
	}
	if err := c.tree.Unmount("/root"); err != nil {
		t.Fatal(err)
	}
	want(t, "read", c.read(fd, dataAt, 1), syscall.ESTALE)
	want(t, "write", c.write(fd, dataAt, 1), syscall.ESTALE)
	want(t, "lseek", c.lseek(fd, 0, unix.SEEK_END), syscall.ESTALE)
	want(t, "getdents", c.getdents(dir, dataAt, 100), syscall.ESTALE)
	if _, errno := c.fstat(fd); errno != syscall.ESTALE {
		t.Error(errno)
	}
	want(t, "open", c.open("/root/f", 0, 0), syscall.ENOENT)
	want(t, "close", c.close(fd), 0)
	want(t, "close", c.close(dir), 0)
	if s := c.tree.Stats(); s.Removed != 0 {
		t.Errorf("%+v", s)
	}
	c.nothingHeld(t)
}
