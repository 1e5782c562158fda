package control

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vhostuser"
)

// fakeTarget is a daemon with a table of mounts and nothing behind them.
type fakeTarget struct {
	mu     sync.Mutex
	mounts []Mount
	added  [][]byte // what the files of the last Add hold
	level  slog.Level
	files  []OpenFile
	stats  Stats
	block  chan struct{} // Remove waits for it
}

func (f *fakeTarget) Version(context.Context) (Version, error) {
	return Version{Program: "1.2", PID: 42, Uptime: time.Minute, Shares: []string{"src"}}, nil
}

func (f *fakeTarget) Mounts(context.Context) ([]Mount, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Mount(nil), f.mounts...), nil
}

func (f *fakeTarget) Files(_ context.Context, limit int) (Files, error) {
	n := min(limit, len(f.files))
	return Files{f.files[:n], uint64(len(f.files) - n)}, nil
}

func (f *fakeTarget) Stats(context.Context) (*Stats, error) { return &f.stats, nil }

func (f *fakeTarget) Add(_ context.Context, spec string, files []*os.File) error {
	defer closeFiles(files)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.added = nil
	for _, file := range files {
		b, err := io.ReadAll(file)
		if err != nil {
			return err
		}
		f.added = append(f.added, b)
	}
	if spec == "taken" {
		return Errorf(CodeExists, "something is mounted there")
	}
	f.mounts = append(f.mounts, Mount{Path: Text(spec), Type: "dir"})
	return nil
}

func (f *fakeTarget) Remove(ctx context.Context, path string) error {
	if f.block != nil {
		select {
		case <-f.block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, m := range f.mounts {
		if string(m.Path) == path {
			f.mounts = append(f.mounts[:i], f.mounts[i+1:]...)
			return nil
		}
	}
	return Errorf(CodeNotFound, "nothing is mounted at %s", path)
}

func (f *fakeTarget) LogLevel(context.Context) (slog.Level, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.level == slog.LevelError+1 {
		return 0, errors.New("broken")
	}
	return f.level, nil
}

func (f *fakeTarget) SetLogLevel(_ context.Context, l slog.Level) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.level = l
	return nil
}

// logBuffer is a logger's output that may be read at any time.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serve serves the target at a socket until the end of the test, and checks that nothing
// is left then.
func serve(t *testing.T, target Target) (path string, log *logBuffer) {
	t.Helper()
	before := openDescriptors(t)
	path = filepath.Join(t.TempDir(), "control")
	l, err := vhostuser.Listen(path, vhostuser.ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	log = new(logBuffer)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, l, target, slog.New(slog.NewTextHandler(log, nil))) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
		l.Close()
		if after := openDescriptors(t); after != before {
			t.Errorf("%d descriptors at the start, %d at the end:\n%s", before, after, describe())
		}
	})
	return path, log
}

func dial(t *testing.T, path string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// rawDial connects without a Client.
func rawDial(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.UnixConn)
}

// openDescriptors counts what leaks could be: all descriptors but those of the runtime,
// which are made once and stay.
func openDescriptors(t *testing.T) int {
	t.Helper()
	return len(strings.Fields(describe()))
}

func describe() string {
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err.Error()
	}
	var list []string
	for _, e := range dir {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && !strings.HasPrefix(to, "anon_inode:") && !strings.HasPrefix(to, "/proc/") && e.Name() > "2" {
			list = append(list, e.Name()+"→"+strings.ReplaceAll(to, " ", "_"))
		}
	}
	return strings.Join(list, "\n")
}

// memfile makes an open file that holds text.
func memfile(t testing.TB, text string) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "memfd")
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return f
}

// pair makes a connection: a client's end, and a server's.
func pair(t testing.TB) (client, server *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = c.(*net.UnixConn)
		t.Cleanup(func() { c.Close() })
	}
	return ends[0], ends[1]
}
