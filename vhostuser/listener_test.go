package vhostuser_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vhostuser"
	"github.com/isthmus-fs/isthmus/vhostuser/vhosttest"
)

func listen(t *testing.T, path string, opt vhostuser.ListenOptions) *vhostuser.Listener {
	t.Helper()
	l, err := vhostuser.Listen(path, opt)
	ok(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Lstat(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// connects checks that what connects at path arrives at l.
func connects(t *testing.T, l *vhostuser.Listener, path string) {
	t.Helper()
	fe, err := vhosttest.Dial(path)
	ok(t, err)
	defer fe.Close()
	fe.Timeout = patience
	sock, err := l.Accept(context.Background())
	ok(t, err)
	dev := newEcho(3)
	done := make(chan error, 1)
	go func() { done <- vhostuser.ServeConn(context.Background(), sock, dev, vhostuser.Options{}) }()
	n, err := fe.GetQueueNum()
	ok(t, err)
	if n != 3 {
		t.Errorf("%d queues, want 3", n)
	}
	fe.Close()
	ok(t, <-done)
	ok(t, dev.close())
}

func TestListen(t *testing.T) {
	before := held(t)
	path := filepath.Join(t.TempDir(), "sock")
	l := listen(t, path, vhostuser.ListenOptions{})
	pid, err := os.ReadFile(path + ".pid")
	ok(t, err)
	if want := strconv.Itoa(os.Getpid()) + "\n"; string(pid) != want {
		t.Errorf("the pid file says %q, want %q", pid, want)
	}
	st, err := os.Stat(path + ".pid")
	ok(t, err)
	if st.Mode() != 0o600 {
		t.Errorf("the pid file has mode %v", st.Mode())
	}
	for range 3 {
		connects(t, l, path)
	}
	ok(t, l.Close())
	if exists(t, path) || exists(t, path+".pid") {
		t.Error("files are left behind")
	}
	if after := held(t); !reflect.DeepEqual(after, before) {
		t.Errorf("held afterwards: %+v\nbefore: %+v", after, before)
	}
}

func TestListenMode(t *testing.T) {
	old := unix.Umask(0o027)
	defer unix.Umask(old)
	for _, tt := range []struct {
		opt  vhostuser.ListenOptions
		mode os.FileMode
		gid  uint32
	}{
		{vhostuser.ListenOptions{}, 0o600, 0},
		{vhostuser.ListenOptions{Group: 12345}, 0o660, 12345},
		{vhostuser.ListenOptions{Mode: 0o666}, 0o666, 0},
		{vhostuser.ListenOptions{Mode: 0o620, Group: 12345}, 0o620, 12345},
	} {
		path := filepath.Join(t.TempDir(), "sock")
		listen(t, path, tt.opt)
		var st unix.Stat_t
		ok(t, unix.Stat(path, &st))
		if got := os.FileMode(st.Mode & 0o7777); got != tt.mode || st.Gid != tt.gid {
			t.Errorf("%+v: mode %v, group %d; want %v, %d", tt.opt, got, st.Gid, tt.mode, tt.gid)
		}
	}
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	ok(t, os.WriteFile(at("file"), []byte("precious"), 0o644))
	ok(t, os.Symlink("target", at("link")))
	ok(t, os.Mkdir(at("dir"), 0o755))
	ok(t, os.Mkdir(at("blocked.pid"), 0o755))
	ok(t, os.Symlink("file", at("trap.pid")))
	ok(t, unix.Mkfifo(at("fifo.pid"), 0o600))
	for _, tt := range []struct{ path, want string }{
		{"", "no path of a socket"},
		{dir + "/", "no path of a socket"},
		{at("dir/.."), ""},
		{at("none/sock"), "does not exist: create it first"},
		{at("file/sock"), "is not a directory"},
		{at("file"), "exists and is not a socket"},
		{at("link"), "exists and is not a socket"},
		{at("dir"), "exists and is not a socket"},
		{at("blocked"), "pid file"},
		{at("trap"), "pid file"},
		{at("fifo"), "not a regular file"},
		{at(strings.Repeat("x", 250)), "too long"},
	} {
		before := held(t)
		l, err := vhostuser.Listen(tt.path, vhostuser.ListenOptions{})
		if err == nil {
			l.Close()
			t.Errorf("%q: no error", tt.path)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q in it", tt.path, err, tt.want)
		}
		if after := held(t); !reflect.DeepEqual(after, before) {
			t.Errorf("%q: held afterwards: %+v\nbefore: %+v", tt.path, after, before)
		}
	}
	if b, err := os.ReadFile(at("file")); err != nil || string(b) != "precious" {
		t.Errorf("the file that was in the way is %q, %v", b, err)
	}
	if !exists(t, at("link")) || exists(t, at("target")) {
		t.Error("the link that was in the way was followed or removed")
	}
}

func TestSecondDaemonIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	first := listen(t, path, vhostuser.ListenOptions{})
	_, err := vhostuser.Listen(path, vhostuser.ListenOptions{})
	want := fmt.Sprintf("another daemon, process %d, serves this socket", os.Getpid())
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("got %v, want %q", err, want)
	}
	connects(t, first, path)
	ok(t, first.Close())
	second := listen(t, path, vhostuser.ListenOptions{})
	connects(t, second, path)
}

// What a daemon that was killed has left is no obstacle.
func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	ok(t, err)
	ok(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	ok(t, unix.Close(fd))
	ok(t, os.WriteFile(path+".pid", []byte("999999999\n and more\n"), 0o600))
	l := listen(t, path, vhostuser.ListenOptions{})
	connects(t, l, path)
}

// Close leaves what is not its own.
func TestCloseLeavesForeignFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	l := listen(t, path, vhostuser.ListenOptions{})
	ok(t, os.Remove(path))
	ok(t, os.Remove(path+".pid"))
	ok(t, os.WriteFile(path, nil, 0o600))
	ok(t, os.WriteFile(path+".pid", nil, 0o600))
	ok(t, l.Close())
	if !exists(t, path) || !exists(t, path+".pid") {
		t.Error("files that were not the listener's are gone")
	}
}

func TestLongAndRelativePaths(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100), strings.Repeat("e", 100))
	ok(t, os.MkdirAll(dir, 0o755))
	path := filepath.Join(dir, "sock")
	l := listen(t, path, vhostuser.ListenOptions{})
	t.Chdir(dir)
	connects(t, l, "sock")
	other := listen(t, "other", vhostuser.ListenOptions{})
	connects(t, other, "other")
	// The process may be elsewhere when it ends.
	t.Chdir("/")
	ok(t, l.Close())
	ok(t, other.Close())
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestAcceptEndsWithContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	l := listen(t, path, vhostuser.ListenOptions{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := l.Accept(ctx)
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want %v", err, context.Canceled)
	}
	connects(t, l, path)
}

func TestFromFD(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	sockets := func(t *testing.T, domain, typ int) int {
		fd, err := unix.Socket(domain, typ|unix.SOCK_CLOEXEC, 0)
		ok(t, err)
		return fd
	}
	for _, tt := range []struct {
		name string
		fd   func(t *testing.T) int
		want string
	}{
		{"not open", func(*testing.T) int { return 12345 }, "not open"},
		{"negative", func(*testing.T) int { return -1 }, "not open"},
		{"file", func(t *testing.T) int {
			fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
			ok(t, err)
			return fd
		}, "not a socket"},
		{"connected", func(t *testing.T) int {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			ok(t, err)
			t.Cleanup(func() { unix.Close(fds[1]) })
			return fds[0]
		}, "connected socket: a listening one is needed"},
		{"idle", func(t *testing.T) int { return sockets(t, unix.AF_UNIX, unix.SOCK_STREAM) }, "does not listen"},
		{"datagram", func(t *testing.T) int { return sockets(t, unix.AF_UNIX, unix.SOCK_DGRAM) }, "not of type stream"},
		{"internet", func(t *testing.T) int { return sockets(t, unix.AF_INET, unix.SOCK_STREAM) }, "not a UNIX socket"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := held(t)
			fd := tt.fd(t)
			_, err := vhostuser.FromFD(fd)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), strconv.Itoa(fd)) {
				t.Errorf("got %v, want %q and the number", err, tt.want)
			}
			if after := held(t); after.total > before.total+1 {
				t.Errorf("held afterwards: %+v\nbefore: %+v", after, before)
			}
		})
	}
	t.Run("listening", func(t *testing.T) {
		before := held(t)
		fd := sockets(t, unix.AF_UNIX, unix.SOCK_STREAM)
		ok(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
		ok(t, unix.Listen(fd, 1))
		l, err := vhostuser.FromFD(fd)
		ok(t, err)
		connects(t, l, path)
		ok(t, l.Close())
		if !exists(t, path) {
			t.Error("a socket that somebody else made is gone")
		}
		if after := held(t); !reflect.DeepEqual(after, before) {
			t.Errorf("held afterwards: %+v\nbefore: %+v", after, before)
		}
	})
}

// The lock ends with the process, however that ends.
func TestLockEndsWithTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	if child := os.Getenv("VHOSTUSER_TEST_SOCKET"); child != "" {
		if _, err := vhostuser.Listen(child, vhostuser.ListenOptions{}); err != nil {
			t.Fatal(err)
		}
		ok(t, unix.Kill(os.Getpid(), unix.SIGKILL))
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestLockEndsWithTheProcess$")
	cmd.Env = append(os.Environ(), "VHOSTUSER_TEST_SOCKET="+path)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.String() != "signal: killed" {
		t.Fatalf("%v\n%s", err, out)
	}
	if !exists(t, path) || !exists(t, path+".pid") {
		t.Fatal("the killed daemon has left nothing")
	}
	l := listen(t, path, vhostuser.ListenOptions{})
	connects(t, l, path)
}
