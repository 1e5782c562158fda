package passthrough

import (
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// TestWithoutProc serves a share from a process that does not see /proc any
// more, with the calls of new kernels and those of old ones.
func TestWithoutProc(t *testing.T) {
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	prepare := func(t *testing.T, dir string) { hostFile(t, join(dir, "file"), 0o644, 1234, 1234) }
	runTestAs(t, attr, prepare, func(t *testing.T, dir string) {
		fd, err := unix.Open("/proc/self/fd", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		procSelfFD := os.NewFile(uintptr(fd), "/proc/self/fd")
		for _, err := range []error{
			unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount("none", "/proc", "tmpfs", 0, ""),
			unix.Fchdir(fd),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := New(Config{Path: dir}); err == nil {
			t.Error("New finds a /proc")
		}
		for _, have := range []func() bool{oslib.HaveXattrat, func() bool { return false }} {
			haveXattrat = have
			testWithoutProc(t, dir, procSelfFD)
		}
	})
}

func testWithoutProc(t *testing.T, dir string, procSelfFD *os.File) {
	fs, err := New(Config{Path: dir, ProcSelfFD: procSelfFD, PosixACL: NegotiateAlways, SecurityLabel: NegotiateAlways})
	if err != nil {
		t.Fatal(err)
	}
	_, errno := fs.Init(everything)
	want(t, "init", errno, 0)
	id, h := openAt(t, fs, "file", unix.O_RDWR)
	attr := cstr("trusted.a")
	want(t, "set", fs.Setxattr(&root, id, attr, []byte("value"), 0, false), 0)
	buf := make([]byte, 64)
	n, errno := fs.Getxattr(&root, id, attr, buf)
	if errno != 0 || string(buf[:n]) != "value" {
		t.Errorf("got %q, %v", buf[:n], errno)
	}
	n, errno = fs.Listxattr(&root, id, buf)
	if errno != 0 || string(buf[:n]) != "trusted.a\x00" {
		t.Errorf("listed %q, %v", buf[:n], errno)
	}
	want(t, "remove", fs.Removexattr(&root, id, attr), 0)
	label := &vfs.Request{UID: 1234, GID: 1234, Umask: 0o22, Security: []vfs.SecurityContext{{Name: attr, Value: []byte("label")}}}
	_, errno = setattr(fs, vfs.Root, vfs.SetAttr{Valid: vfs.SetMode, Mode: 0o777})
	want(t, "chmod", errno, 0)
	for _, m := range makers {
		var e vfs.Entry
		want(t, m.what, m.make(fs, label, vfs.Root, name(t, m.what), 0o644, &e), 0)
		n, err := unix.Lgetxattr(join(dir, m.what), "trusted.a", buf)
		if err != nil || string(buf[:n]) != "label" {
			t.Errorf("%s: label %q, %v", m.what, buf[:max(n, 0)], err)
		}
		if err := os.Remove(join(dir, m.what)); err != nil {
			t.Error(err)
		}
	}
	want(t, "link", fs.Link(&root, id, vfs.Root, name(t, "linked"), new(vfs.Entry)), 0)
	want(t, "unlink", fs.Unlink(&root, vfs.Root, name(t, "linked")), 0)
	want(t, "release", fs.Release(&root, id, h, &vfs.ReleaseIn{}), 0)
	fs.Close()
	if _, err := procSelfFD.Stat(); err != nil {
		t.Errorf("the file system closed what is not its own: %v", err)
	}
}
