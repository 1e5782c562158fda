package passthrough

import (
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

const nobody = 65534

// TestUnprivileged runs the daemon's side as an ordinary user without
// capabilities.
func TestUnprivileged(t *testing.T) {
	attr := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	prepare := func(t *testing.T, dir string) {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Error(err)
		}
		hostFile(t, join(dir, "roots"), 0o644, 0, 0)
		hostFile(t, join(dir, "secret"), 0o200, nobody, nobody)
	}
	runTestAs(t, attr, prepare, testUnprivileged)
}

// logged is a logger that keeps what is logged.
func logged() (*slog.Logger, *strings.Builder) {
	var b strings.Builder
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}

func testUnprivileged(t *testing.T, dir string) {
	if _, err := New(Config{Path: dir, FileHandles: HandlesMandatory}); err == nil {
		t.Error("New succeeds with mandatory handles")
	}
	if _, err := New(Config{Path: "/root"}); err == nil {
		t.Error("New succeeds for a directory that may not be read")
	}
	log, text := logged()
	fs := share(t, Config{Path: dir, Writeback: true, PreserveNoatime: true, Xattr: true, Logger: log})
	roots := walk(t, fs, "roots").Node
	if fs.nodes.get(roots).mount != nil {
		t.Error("a node has a handle")
	}
	if s := text.String(); !strings.Contains(s, "level=INFO") || strings.Contains(s, "level=WARN") {
		t.Errorf("that handles are not permitted is worth a note, not a warning: %s", s)
	}
	for _, m := range makers {
		var e vfs.Entry
		want(t, m.what+" by the daemon's user", m.make(fs, &vfs.Request{UID: nobody, GID: nobody, Groups: []uint32{7}}, vfs.Root, name(t, m.what+"1"), 0o644, &e), 0)
		want(t, m.what+" by root", m.make(fs, &vfs.Request{Groups: []uint32{7}}, vfs.Root, name(t, m.what+"2"), 0o644, &e), 0)
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
	if f := fdFlags(t, fs, roots, o.Handle); f&unix.O_NOATIME != 0 {
		t.Errorf("flags %#o", f)
	}
	want(t, "open for writing", fs.Open(&root, roots, unix.O_WRONLY, false, &o), syscall.EACCES)
	_, errno := setattr(fs, roots, vfs.SetAttr{Valid: vfs.SetUID, UID: nobody})
	want(t, "chown", errno, syscall.EPERM)
	_, errno = setattr(fs, secret, vfs.SetAttr{Valid: vfs.SetUID, UID: 1234})
	want(t, "chown to another", errno, syscall.EPERM)
	_, errno = setattr(fs, roots, vfs.SetAttr{Valid: vfs.SetSize})
	want(t, "truncate", errno, syscall.EACCES)
	_, errno = setattr(fs, secret, vfs.SetAttr{Valid: vfs.SetSize, Size: 3})
	want(t, "truncate of what may not be read", errno, 0)
	var e vfs.Entry
	want(t, "link", fs.Link(&root, secret, vfs.Root, name(t, "linked"), &e), 0)
	testUnprivilegedNames(t, fs, secret)
	testUntoldCaller(t, fs)
}

// testUnprivilegedNames is about what takes capabilities on the host's whole
// system, which neither an ordinary user nor root of a user namespace has.
func testUnprivilegedNames(t *testing.T, fs *FS, own vfs.NodeID) {
	t.Helper()
	var e vfs.Entry
	want(t, "mknod of a device", fs.Mknod(&root, vfs.Root, name(t, "dev"), unix.S_IFCHR|0o600, vfs.MakeDev(1, 3), &e), syscall.EPERM)
	want(t, "mknod of a whiteout", fs.Mknod(&root, vfs.Root, name(t, "white"), unix.S_IFCHR, 0, &e), 0)
	trusted := cstr("trusted.isthmus")
	want(t, "set of a trusted attribute", fs.Setxattr(&root, own, trusted, []byte("x"), 0, false), syscall.EPERM)
	_, errno := fs.Getxattr(&root, own, trusted, nil)
	want(t, "get of a trusted attribute", errno, syscall.ENODATA)
	want(t, "removal of a trusted attribute", fs.Removexattr(&root, own, trusted), syscall.EPERM)
}

// testUntoldCaller makes the calls of a guest that names the caller in calls that
// create only, as Linux does since 6.12.
func testUntoldCaller(t *testing.T, fs *FS) {
	t.Helper()
	untold := &vfs.Request{UID: noID, GID: noID}
	var e vfs.Entry
	var o vfs.Opened
	want(t, "create", fs.Create(&root, vfs.Root, name(t, "mine"), unix.O_RDWR, 0o644, &e, &o), 0)
	flags := make([]byte, 4)
	_, _, errno := fs.Ioctl(untold, e.Node, o.Handle, unix.FS_IOC_GETFLAGS, 0, nil, flags)
	want(t, "get flags", errno, 0)
	_, _, errno = fs.Ioctl(untold, e.Node, o.Handle, unix.FS_IOC_SETFLAGS, 0, flags, nil)
	want(t, "set flags", errno, 0)
	for _, m := range makers {
		want(t, m.what+" by nobody told", m.make(fs, untold, vfs.Root, name(t, m.what+"9"), 0o644, new(vfs.Entry)), syscall.EPERM)
		want(t, m.what+" in no group told", m.make(fs, &vfs.Request{GID: noID}, vfs.Root, name(t, m.what+"9"), 0o644, new(vfs.Entry)), syscall.EPERM)
	}
}
