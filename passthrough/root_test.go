package passthrough

import (
	"os"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// openRootFile opens a path for Config.Root.
func openRootFile(t *testing.T, path string, flags int) *os.File {
	t.Helper()
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), "the root")
}

// TestRoot shares what is open already. The descriptor is closed before anything is done
// with the share.
func TestRoot(t *testing.T) {
	for cfgName, cfg := range configs {
		t.Run(cfgName, func(t *testing.T) {
			eachFS(t, func(t *testing.T, dir string) {
				write(t, join(dir, "file"), "content")
				for flagsName, flags := range map[string]int{"O_PATH": unix.O_PATH, "O_RDONLY": unix.O_RDONLY} {
					t.Run(flagsName, func(t *testing.T) {
						cfg.Path, cfg.Root = "/does/not/exist", openRootFile(t, dir, flags)
						fs := share(t, cfg)
						if err := cfg.Root.Close(); err != nil {
							t.Errorf("the file system closed what is not its own: %v", err)
						}
						if fs.cfg.Name != "the root" {
							t.Errorf("it is called %q", fs.cfg.Name)
						}
						id, h := openAt(t, fs, "file", unix.O_RDWR)
						buf := make([]byte, 10)
						n, errno := fs.Read(&root, id, h, iovs(buf, 10), 0, 0)
						if errno != 0 || string(buf[:n]) != "content" {
							t.Errorf("read %q, %v", buf[:n], errno)
						}
						want(t, "mkdir", fs.Mkdir(&root, vfs.Root, name(t, flagsName), 0o755, new(vfs.Entry)), 0)
					})
				}
			})
		})
	}
}

func TestRootFile(t *testing.T) {
	dir := tempDir(t, "")
	write(t, join(dir, "file"), "content")
	for _, flags := range []int{unix.O_PATH, unix.O_RDONLY, unix.O_RDWR} {
		f := openRootFile(t, join(dir, "file"), flags)
		fs := share(t, Config{Root: f, Name: "name"})
		f.Close()
		var o vfs.Opened
		want(t, "open", fs.Open(&root, vfs.Root, unix.O_RDWR, false, &o), 0)
		if n, errno := fs.Write(&root, vfs.Root, o.Handle, iovs([]byte("CON"), 2), 0, 0, 0); n != 3 || errno != 0 {
			t.Errorf("write: %d, %v", n, errno)
		}
		if fs.cfg.Name != "name" {
			t.Errorf("it is called %q", fs.cfg.Name)
		}
	}
	if got, _ := os.ReadFile(join(dir, "file")); string(got) != "CONtent" {
		t.Errorf("the file has %q", got)
	}
}

// TestRootRefused: what may not be shared by path may not be by descriptor, and New leaves
// nothing open.
func TestRootRefused(t *testing.T) {
	dir := tempDir(t, "")
	if err := os.Symlink("/", join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	closed := openRootFile(t, dir, unix.O_PATH)
	closed.Close()
	for what, f := range map[string]*os.File{
		"symbolic link": openRootFile(t, join(dir, "link"), unix.O_PATH|unix.O_NOFOLLOW),
		"pipe":          openRootFile(t, join(dir, "pipe"), unix.O_PATH),
		"device":        openRootFile(t, "/dev/null", unix.O_RDONLY),
		"closed":        closed,
	} {
		before := openFDs(t)
		if fs, err := New(Config{Root: f}); err == nil {
			fs.Close()
			t.Errorf("%s: it is shared", what)
		}
		if n := openFDs(t); n != before {
			t.Errorf("%s: %d descriptors after, %d before", what, n, before)
		}
	}
}

// openElsewhere opens what only another mount namespace has at dir: a tmpfs with a file in it.
// No path of this one leads there.
func openElsewhere(t *testing.T, dir string) *os.File {
	t.Helper()
	var f *os.File
	done := make(chan struct{})
	go func() { // on a thread that is not used again
		defer close(done)
		runtime.LockOSThread()
		for _, do := range []func() error{
			func() error { return unix.Unshare(unix.CLONE_NEWNS) },
			func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") },
			func() error { return unix.Mount("none", dir, "tmpfs", 0, "") },
			func() error { return os.WriteFile(join(dir, "file"), []byte("elsewhere"), 0o644) },
		} {
			if err := do(); err != nil {
				t.Error(err)
				return
			}
		}
		f = openRootFile(t, dir, unix.O_PATH)
	}()
	<-done
	if f == nil {
		t.FailNow()
	}
	return f
}

// TestRootFromElsewhere shares a directory of another mount namespace, with and without /proc.
func TestRootFromElsewhere(t *testing.T) {
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	prepare := func(t *testing.T, dir string) {
		if err := os.Mkdir(join(dir, "root"), 0o755); err != nil {
			t.Error(err)
		}
	}
	runTestAs(t, attr, prepare, func(t *testing.T, dir string) {
		f := openElsewhere(t, join(dir, "root"))
		if _, err := os.Stat(join(dir, "root/file")); err == nil {
			t.Fatal("the directory is here too")
		}
		testRootFromElsewhere(t, Config{Root: f})

		procSelfFD := openRootFile(t, "/proc/self/fd", unix.O_PATH|unix.O_DIRECTORY)
		for _, err := range []error{
			unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount("none", "/proc", "tmpfs", 0, ""),
			unix.Fchdir(int(procSelfFD.Fd())),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := New(Config{Root: f}); err == nil {
			t.Error("New finds a /proc")
		}
		testRootFromElsewhere(t, Config{Root: f, ProcSelfFD: procSelfFD})
	})
}

func testRootFromElsewhere(t *testing.T, cfg Config) {
	for _, use := range []HandleUse{HandlesNever, HandlesPrefer} {
		cfg.FileHandles, cfg.Xattr = use, true
		fs := share(t, cfg)
		id, h := openAt(t, fs, "file", unix.O_RDWR)
		buf := make([]byte, 20)
		n, errno := fs.Read(&root, id, h, iovs(buf, 20), 0, 0)
		if errno != 0 || string(buf[:n]) != "elsewhere" {
			t.Errorf("read %q, %v", buf[:n], errno)
		}
		attr := cstr("trusted.a")
		want(t, "setxattr", fs.Setxattr(&root, id, attr, []byte("value"), 0, false), 0)
		var e vfs.Entry
		var o vfs.Opened
		want(t, "create", fs.Create(&someone, vfs.Root, name(t, "new"), unix.O_RDWR, 0o644, &e, &o), 0)
		if e.Attr.UID != someone.UID {
			t.Errorf("the new file is user %d's", e.Attr.UID)
		}
		want(t, "link", fs.Link(&root, id, vfs.Root, name(t, "linked"), &e), 0)
		for _, n := range []string{"new", "linked"} {
			want(t, "unlink", fs.Unlink(&root, vfs.Root, name(t, n)), 0)
		}
	}
}
