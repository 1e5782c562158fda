package fusedev_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fusedev"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
)

// ended waits for the end of a mount.
func ended(t *testing.T, m *fusedev.Mounted) error {
	t.Helper()
	over := make(chan error, 1)
	go func() { over <- m.Wait() }()
	select {
	case err := <-over:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("the mount does not end")
		return nil
	}
}

func TestWhatTheMountTableSays(t *testing.T) {
	for _, c := range []struct {
		name    string
		opt     fusedev.Options
		options string // of the mount
		rest    string // type, source and options of the file system
	}{
		{"defaults", fusedev.Options{},
			"rw,nosuid,nodev,relatime", "fuse.isthmus isthmus rw,user_id=0,group_id=0,default_permissions"},
		{"everything", fusedev.Options{FSName: `a b,c\d`, Subtype: "x-1.y_z", AllowOther: true, ReadOnly: true, AllowSUID: true, AllowDev: true, Workers: 3},
			"ro,relatime", `fuse.x-1.y_z a\040b,c\134d ro,user_id=0,group_id=0,default_permissions,allow_other`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := mount(t, c.opt, passthrough.Config{})
			before, after, _ := strings.Cut(strings.TrimSpace(mounts(t, s.to)), " - ")
			if got := strings.Fields(before)[5]; got != c.options {
				t.Errorf("mount options %q, want %q", got, c.options)
			}
			if after != c.rest {
				t.Errorf("file system %q, want %q", after, c.rest)
			}
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	fs, err := passthrough.New(passthrough.Config{Path: tempDir(t, 0o755), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	dir := tempDir(t, 0o755)
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		dir  string
		opt  fusedev.Options
		want string
	}{
		{dir, fusedev.Options{FSName: "a\nb"}, "character"},
		{dir, fusedev.Options{FSName: strings.Repeat("x", 256)}, "256 bytes"},
		{dir, fusedev.Options{Subtype: "a,b"}, "character"},
		{dir, fusedev.Options{Workers: -1}, "-1 workers"},
		{dir, fusedev.Options{Workers: fusedev.MaxWorkers + 1}, "65 workers"},
		{dir + "/none", fusedev.Options{}, "no such file"},
		{pipe, fusedev.Options{}, "neither a directory nor a regular file"},
	} {
		m, err := fusedev.Mount(t.Context(), fuse.NewServer(fs, fuse.Options{}), c.dir, c.opt)
		if err == nil {
			t.Errorf("%+v: mounted", c.opt)
			m.Abort()
			m.Wait()
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %q does not say %q", c.opt, err, c.want)
		}
	}
}

func TestAMountIsUsedAndUnmounted(t *testing.T) {
	s := mount(t, fusedev.Options{}, passthrough.Config{})
	write(t, s.at("f"), "text")
	if got, err := os.ReadFile(s.host("f")); string(got) != "text" {
		t.Errorf("on the host: %q, %v", got, err)
	}
	f, err := os.Open(s.at("f"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.m.Unmount(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("unmount while a file is open: %v, want EBUSY", err)
	}
	f.Close()
	if err := s.m.Unmount(); err != nil {
		t.Errorf("unmount: %v", err)
	}
	if err := ended(t, s.m); err != nil {
		t.Errorf("wait: %v", err)
	}
	if _, err := os.Stat(s.at("f")); !errors.Is(err, unix.ENOENT) {
		t.Errorf("after the unmount: %v, want ENOENT", err)
	}
	for what, f := range map[string]func() error{"unmount": s.m.Unmount, "detach": s.m.Detach} {
		if err := f(); err != nil {
			t.Errorf("%s a second time: %v", what, err)
		}
	}
}

func TestADetachedMountServesThoseWhoUseIt(t *testing.T) {
	s := mount(t, fusedev.Options{}, passthrough.Config{})
	write(t, s.at("f"), "text")
	f, err := os.OpenFile(s.at("f"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := s.m.Detach(); err != nil {
		t.Fatal(err)
	}
	if line := mounts(t, s.to); line != "" {
		t.Errorf("still in the table: %s", line)
	}
	if _, err := f.WriteAt([]byte("TEXT"), 0); err != nil {
		t.Errorf("write after the mount was detached: %v", err)
	}
	if got, _ := os.ReadFile(s.host("f")); string(got) != "TEXT" {
		t.Errorf("on the host: %q", got)
	}
	f.Close()
	if err := ended(t, s.m); err != nil {
		t.Error(err)
	}
}

// TestTheEndOfTheContextEndsTheMount with a user who does not let go, before and
// after the mount was detached.
func TestTheEndOfTheContextEndsTheMount(t *testing.T) {
	for _, c := range []struct {
		name           string
		open, detached bool
	}{{"idle", false, false}, {"busy", true, false}, {"detached", true, true}} {
		t.Run(c.name, func(t *testing.T) {
			s := mount(t, fusedev.Options{Workers: 2}, passthrough.Config{})
			write(t, s.at("f"), "text")
			var f *os.File
			if c.open {
				var err error
				if f, err = os.OpenFile(s.at("f"), os.O_RDWR, 0); err != nil {
					t.Fatal(err)
				}
				defer f.Close()
			}
			if c.detached {
				if err := s.m.Detach(); err != nil {
					t.Fatal(err)
				}
			}
			s.end()
			if err := ended(t, s.m); err != nil {
				t.Errorf("wait: %v", err)
			}
			if c.open {
				if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, unix.ENOTCONN) && !errors.Is(err, unix.ECONNABORTED) {
					t.Errorf("write after the end: %v", err)
				}
			}
			if line := mounts(t, s.to); line != "" {
				t.Errorf("still mounted: %s", line)
			}
		})
	}
}

func TestACancelledContextMountsNothing(t *testing.T) {
	fs, err := passthrough.New(passthrough.Config{Path: tempDir(t, 0o755), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := tempDir(t, 0o755)
	if _, err := fusedev.Mount(ctx, fuse.NewServer(fs, fuse.Options{}), dir, fusedev.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if line := mounts(t, dir); line != "" {
		t.Errorf("mounted: %s", line)
	}
}

// refusing is a file system that begins no session.
type refusing struct{ vfs.Unimplemented }

func (refusing) Init(vfs.Features) (vfs.Features, syscall.Errno) { return 0, syscall.EPROTO }
func (refusing) Destroy()                                        {}

func TestAFileSystemThatRefusesTheSessionIsNotMounted(t *testing.T) {
	dir := tempDir(t, 0o755)
	m, err := fusedev.Mount(t.Context(), fuse.NewServer(refusing{}, fuse.Options{Logger: quiet}), dir, fusedev.Options{Logger: quiet})
	if err == nil {
		m.Abort()
		t.Fatal("mounted")
	}
	if !strings.Contains(err.Error(), "did not agree") {
		t.Errorf("error %q", err)
	}
	if line := mounts(t, dir); line != "" {
		t.Errorf("still mounted: %s", line)
	}
}

// TestSomebodyElseUnmounts by the path, and by aborting the connection.
func TestSomebodyElseUnmounts(t *testing.T) {
	for name, end := range map[string]func(*scene) error{
		"umount":        func(s *scene) error { return unix.Unmount(s.to, 0) },
		"umount -f -l":  func(s *scene) error { return unix.Unmount(s.to, unix.MNT_FORCE|unix.MNT_DETACH) },
		"forced, busy":  func(s *scene) error { unix.Unmount(s.to, unix.MNT_FORCE); return nil },
		"another above": func(s *scene) error { return another(t, s) },
	} {
		t.Run(name, func(t *testing.T) {
			s := mount(t, fusedev.Options{}, passthrough.Config{})
			var hold *os.File
			if name == "forced, busy" {
				var err error
				if hold, err = os.Open(s.to); err != nil {
					t.Fatal(err)
				}
				defer hold.Close()
			}
			if err := end(s); err != nil {
				t.Fatal(err)
			}
			if name == "another above" {
				return
			}
			if err := ended(t, s.m); err != nil {
				t.Errorf("wait: %v", err)
			}
			if line := mounts(t, s.to); line != "" {
				t.Errorf("still mounted: %s", line)
			}
		})
	}
}

// another mounts a tmpfs over the mount and sees that Unmount leaves it alone.
func another(t *testing.T, s *scene) error {
	if err := unix.Mount("above", s.to, "tmpfs", 0, ""); err != nil {
		return err
	}
	defer unix.Unmount(s.to, 0)
	if err := s.m.Unmount(); err != nil {
		return err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(s.to, &st); err != nil || st.Type != unix.TMPFS_MAGIC {
		t.Errorf("the file system above was unmounted: type %#x, %v", st.Type, err)
	}
	return nil
}

func TestAFileIsMountedOnAFile(t *testing.T) {
	from, to := filepath.Join(tempDir(t, 0o755), "from"), filepath.Join(tempDir(t, 0o755), "to")
	write(t, from, "the file")
	write(t, to, "")
	fs, err := passthrough.New(passthrough.Config{Path: from, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	link := to + "-link"
	if err := os.Symlink(to, link); err != nil {
		t.Fatal(err)
	}
	m, err := fusedev.Mount(t.Context(), fuse.NewServer(fs, fuse.Options{Logger: quiet}), link, fusedev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if m.Dir() != to {
		t.Errorf("mounted on %s, want %s", m.Dir(), to)
	}
	if got, err := job("read", to, nil).Output(); string(got) != "t" {
		t.Errorf("read %q, %v", got, err)
	}
	if err := m.Unmount(); err != nil {
		t.Fatal(err)
	}
	if err := ended(t, m); err != nil {
		t.Error(err)
	}
}

// TestAKilledServerLeavesAMountPointThatCanBeUsedAgain says what happens after
// kill -9: calls fail at once, the place is named as what it is, and after an
// umount -l it is as before.
func TestAKilledServerLeavesAMountPointThatCanBeUsedAgain(t *testing.T) {
	s := serving{From: tempDir(t, 0o755), To: tempDir(t, 0o755)}
	t.Cleanup(func() { unix.Unmount(s.To, unix.MNT_DETACH) })
	write(t, filepath.Join(s.From, "f"), "text")
	server := startServing(t, s, nil)
	f, err := os.Open(filepath.Join(s.To, "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	server.Process.Kill()
	server.Wait()
	if _, err := os.ReadDir(s.To); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("listing after the server died: %v, want ENOTCONN", err)
	}
	if _, err := f.Read(make([]byte, 4)); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("read after the server died: %v, want ENOTCONN", err)
	}
	fs, err := passthrough.New(passthrough.Config{Path: s.From, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	srv := fuse.NewServer(fs, fuse.Options{Logger: quiet})
	if _, err := fusedev.Mount(t.Context(), srv, s.To, fusedev.Options{}); err == nil || !strings.Contains(err.Error(), "umount -l") {
		t.Errorf("mounting on what a dead server left: %v", err)
	}
	if err := unix.Unmount(s.To, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	m, err := fusedev.Mount(t.Context(), srv, s.To, fusedev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := job("read", filepath.Join(s.To, "f"), nil).Output(); string(got) != "t" {
		t.Errorf("read %q, %v", got, err)
	}
	if err := m.Unmount(); err != nil {
		t.Fatal(err)
	}
	if err := ended(t, m); err != nil {
		t.Error(err)
	}
}

// TestOtherUsersAreRefused unless they are allowed in.
func TestOtherUsersAreRefused(t *testing.T) {
	for _, allow := range []bool{false, true} {
		s := mount(t, fusedev.Options{AllowOther: allow}, passthrough.Config{})
		write(t, s.at("f"), "text")
		cmd := job("read", s.at("f"), nobody)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		switch {
		case allow && string(out) != "t":
			t.Errorf("allowed: read %q, %v: %s", out, err, &stderr)
		case !allow && (err == nil || !strings.Contains(stderr.String(), "permission denied")):
			t.Errorf("not allowed: read %q, %v: %s", out, err, &stderr)
		}
	}
}

// TestPermissionsAreChecked by the kernel, with other users allowed in.
func TestPermissionsAreChecked(t *testing.T) {
	s := mount(t, fusedev.Options{AllowOther: true}, passthrough.Config{})
	write(t, s.at("f"), "text")
	if err := os.Chmod(s.at("f"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := job("read", s.at("f"), nobody).Output(); err == nil {
		t.Errorf("read of root's private file: %q", out)
	}
}
