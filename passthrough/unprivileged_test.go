package passthrough

import (
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// asNobody is set, to the directory to work in, in the process that
// TestUnprivileged starts as an ordinary user.
const asNobody = "PASSTHROUGH_TEST_AS_NOBODY"

const nobody = 65534

// TestUnprivileged runs the daemon's side as an ordinary user without
// capabilities.
func TestUnprivileged(t *testing.T) {
	if dir := os.Getenv(asNobody); dir != "" {
		testUnprivileged(t, dir)
		return
	}
	dir := tempDir(t, "")
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	write(t, join(dir, "roots"), "content")
	write(t, join(dir, "secret"), "")
	if err := os.Chmod(join(dir, "secret"), 0o200); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(join(dir, "secret"), nobody, nobody); err != nil {
		t.Fatal(err)
	}
	// The test binary may lie where only its owner gets at it.
	exe := join(dir, "test")
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(exe, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestUnprivileged$")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), asNobody+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func testUnprivileged(t *testing.T, dir string) {
	if _, err := New(Config{Path: dir, FileHandles: HandlesMandatory}); err == nil {
		t.Error("New succeeds with mandatory handles")
	}
	if _, err := New(Config{Path: "/root"}); err == nil {
		t.Error("New succeeds for a directory that may not be read")
	}
	fs := share(t, Config{Path: dir, Writeback: true, PreserveNoatime: true})
	roots := walk(t, fs, "roots").Node
	if fs.nodes.get(roots).mount != nil {
		t.Error("a node has a handle")
	}
	for _, m := range makers {
		var e vfs.Entry
		want(t, m.what+" by the daemon's user", m.make(fs, &vfs.Request{UID: nobody, GID: nobody}, vfs.Root, name(t, m.what+"1"), 0o644, &e), 0)
		want(t, m.what+" by root", m.make(fs, &root, vfs.Root, name(t, m.what+"2"), 0o644, &e), 0)
		if e.Attr.UID != nobody || e.Attr.GID != nobody {
			t.Errorf("%s by root: owner %d:%d", m.what, e.Attr.UID, e.Attr.GID)
		}
		want(t, m.what+" by another user", m.make(fs, &vfs.Request{UID: 1234, GID: nobody}, vfs.Root, name(t, m.what+"3"), 0o644, &e), syscall.EPERM)
		want(t, m.what+" by another group", m.make(fs, &vfs.Request{UID: nobody, GID: 1234}, vfs.Root, name(t, m.what+"3"), 0o644, &e), syscall.EPERM)
	}
	if ids := threadIDs(t); len(ids) != 1 {
		t.Errorf("threads differ: %v", ids)
	}
	var o vfs.Opened
	// Write-back asks for reading too, and O_NOATIME is for owners: both are
	// given up where they are not allowed.
	secret := walk(t, fs, "secret").Node
	want(t, "open for writing what may not be read", fs.Open(&root, secret, unix.O_WRONLY, false, &o), 0)
	if f := fdFlags(t, fs, secret, o.Handle); f&unix.O_ACCMODE != unix.O_WRONLY {
		t.Errorf("flags %#o", f)
	}
	want(t, "open without atime", fs.Open(&root, roots, unix.O_RDONLY|unix.O_NOATIME, false, &o), 0)
	want(t, "open for writing", fs.Open(&root, roots, unix.O_WRONLY, false, &o), syscall.EACCES)
	_, errno := setattr(fs, roots, vfs.SetAttr{Valid: vfs.SetUID, UID: nobody})
	want(t, "chown", errno, syscall.EPERM)
	_, errno = setattr(fs, roots, vfs.SetAttr{Valid: vfs.SetSize})
	want(t, "truncate", errno, syscall.EACCES)
	_, errno = setattr(fs, secret, vfs.SetAttr{Valid: vfs.SetSize, Size: 3})
	want(t, "truncate of what may not be read", errno, 0)
	var e vfs.Entry
	want(t, "link", fs.Link(&root, secret, vfs.Root, name(t, "linked"), &e), 0)
}
