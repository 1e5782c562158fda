package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/internal/control"
	"github.com/isthmus-fs/isthmus/vhostuser"
)

// ctlTarget is a daemon that is asked by isthmus ctl. A second goes by and ten files are read
// each time that somebody asks for its stats.
type ctlTarget struct {
	mu      sync.Mutex
	mounts  []control.Mount
	files   control.Files
	stats   control.Stats
	level   slog.Level
	added   string        // by the last add
	handed  []unix.Stat_t // of the files that came with the last add
	flags   []int         // that they were opened with
	removed []string
}

func (c *ctlTarget) Version(context.Context) (control.Version, error) {
	return control.Version{Program: "1.2", PID: 42, Uptime: 26*time.Hour + time.Minute, Shares: []string{"src"}}, nil
}

func (c *ctlTarget) Mounts(context.Context) ([]control.Mount, error) { return c.mounts, nil }

func (c *ctlTarget) Files(context.Context, int) (control.Files, error) { return c.files, nil }

func (c *ctlTarget) Stats(context.Context) (*control.Stats, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Uptime += time.Second
	if len(c.stats.Ops) > 0 {
		read := &c.stats.Ops[0]
		read.Count += 10
		read.Sum += 100_000
		read.Buckets = slices.Clone(read.Buckets)
		read.Buckets[1] += 10
		c.stats.BytesRead += 40960
	}
	s := c.stats
	s.Ops = slices.Clone(s.Ops)
	return &s, nil
}

func (c *ctlTarget) Add(_ context.Context, spec string, files []*os.File) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.added = spec
	c.handed, c.flags = nil, nil
	for _, f := range files {
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			return err
		}
		flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
		if err != nil {
			return err
		}
		c.handed, c.flags = append(c.handed, st), append(c.flags, flags&(unix.O_PATH|unix.O_ACCMODE))
		f.Close()
	}
	return nil
}

// last returns what came with the last add.
func (c *ctlTarget) last() (handed []unix.Stat_t, flags []int, spec string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.handed, c.flags, c.added
}

func (c *ctlTarget) Remove(_ context.Context, path string) error {
	if path != "/data" {
		return control.Errorf(control.CodeNotFound, "nothing is mounted at %s", path)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removed = append(c.removed, path)
	return nil
}

func (c *ctlTarget) LogLevel(context.Context) (slog.Level, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.level, nil
}

func (c *ctlTarget) SetLogLevel(_ context.Context, l slog.Level) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.level = l
	return nil
}

// startTarget serves a target until the end of the test.
func startTarget(t *testing.T, target control.Target) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "control")
	l, err := vhostuser.Listen(socket, vhostuser.ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- control.Serve(ctx, l, target, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		l.Close()
	})
	return socket
}

// ctl runs isthmus ctl.
func ctl(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = execute(context.Background(), append([]string{"isthmus", "ctl"}, args...), &out, &err)
	return code, out.String(), err.String()
}

// mustCtl is ctl that succeeds.
func mustCtl(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := ctl(args...)
	if code != 0 || stderr != "" {
		t.Errorf("ctl %q: exit status %d, %s", args, code, stderr)
	}
	return stdout
}

func exampleTarget() *ctlTarget {
	return &ctlTarget{
		mounts: []control.Mount{
			{Path: "/", Type: "dir", Source: "/srv/a b", Spec: "type=dir,source=/srv/a b,target=/", Counts: control.Counts{Nodes: 12345, Handles: 3, Descriptors: 40}},
			{Path: "/\x1b[2J\xff", Type: "scratch", Spec: "type=scratch,target=/x", ReadOnly: true, References: 7, Counts: control.Counts{Nodes: 1, Bytes: 1 << 20}},
		},
		files: control.Files{Files: []control.OpenFile{
			{Path: "/a", Flags: unix.O_RDWR | unix.O_APPEND, UID: 1000, PID: 7, Bytes: 123456},
			{Flags: unix.O_DIRECTORY, UID: 1<<32 - 1},
		}, More: 5},
		stats: control.Stats{
			Uptime: time.Hour, Bounds: []uint64{1000, 20_000, 300_000},
			Ops: []control.Op{
				{Name: "READ", Count: 90, Latency: control.Latency{Sum: 900_000, Max: 15_500, Buckets: []uint64{0, 90}}},
				{Name: "FSYNC", Count: 1000, Errors: 3, Latency: control.Latency{Sum: 2_000_000, Max: 2_345_678, Buckets: []uint64{500, 450, 40, 10}}},
			},
			BytesRead: 1 << 30, BytesWritten: 1500, InFlight: 2, Pending: 1, OpenFiles: 3, AuditDropped: 9,
			Queues: []control.Queue{{Name: "request 0", Depth: 4, Served: 1090}},
			Counts: control.Counts{Nodes: 12346, Handles: 3, Descriptors: 40, Bytes: 1 << 20},
			Memory: control.Memory{Heap: 5 << 20, Resident: 20 << 20},
		},
	}
}

const mountsShown = `PATH            TYPE     MODE  NODES  OPEN  FDS  REFS      DATA  SOURCE
/               dir      rw    12345     3   40     0       0 B  /srv/a b
"/\x1b[2J\xff"  scratch  ro        1     0    0     7  1.00 MiB  -
`

const statsShown = `up 1h00m: 1100 requests, 3 of them failed; 1.00 GiB read, 1.46 KiB written
now 2 requests in flight, 1 of them waiting; 12346 nodes, 3 open files, 40 descriptors
memory 5.00 MiB heap, 20.0 MiB resident; private data 1.00 MiB
the access log lacks 9 accesses

QUEUE      WAITING  SERVED
request 0        4    1090

OPERATION  COUNT  FAILED    MEAN     50%     90%     99%   99.9%  LONGEST
FSYNC       1000       3  2.00µs  1.00µs  20.0µs   300µs  2.35ms   2.35ms
READ         100       0  10.0µs  15.5µs  15.5µs  15.5µs  15.5µs   15.5µs
`

func TestCtlText(t *testing.T) {
	target := exampleTarget()
	target.files.Files[0].Since = time.Now().Add(-90 * time.Minute)
	target.files.Files[1].Since = time.Now().Add(time.Hour) // a clock was set
	s := "--socket=" + startTarget(t, target)
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"mounts"}, mountsShown},
		{[]string{"files"}, " OPEN   UID  PID     DATA  HOW                PATH\n1h30m  1000    7  121 KiB  read-write,append  /a\n   0s     -    0      0 B  read,directory     -\nand 5 more: see --limit\n"},
		{[]string{"stats"}, statsShown},
		{[]string{"log-level"}, "info\n"},
		{[]string{"log-level", "debug"}, ""},
		{[]string{"log-level"}, "debug\n"},
		{[]string{"remove", "/data"}, ""},
		{[]string{"version"}, "isthmus 1.2\nprotocol 1\npid 42\nup 1d02h\nshares src\n"},
	} {
		if got := mustCtl(t, append(tc.args, s)...); got != tc.want {
			t.Errorf("ctl %q prints\n%swant\n%s", tc.args, got, tc.want)
		}
	}
	if long := mustCtl(t, "mounts", "-l", s); !strings.Contains(long, "OPTIONS\n") || !strings.Contains(long, "type=dir,source=/srv/a b,target=/\n") {
		t.Errorf("mounts -l prints\n%s", long)
	}
	target.mu.Lock()
	defer target.mu.Unlock()
	if !slices.Equal(target.removed, []string{"/data"}) || target.level != slog.LevelDebug {
		t.Errorf("removed %q, level %v", target.removed, target.level)
	}
}

func TestCtlJSON(t *testing.T) {
	t.Setenv(envControl, startTarget(t, exampleTarget()))
	dir := t.TempDir()
	for _, tc := range []struct{ command, want string }{
		{"add " + dir + ":/x", `{}`},
		{"remove /data", `{}`},
		{"log-level info", `"level": "info"`},
		{"mounts", `"bytes": 1048576`},
		{"mounts", `"base64": "LxtbMkr/"`},
		{"files", `"flags": "read-write,append"`},
		{"stats", `"p99_ns": 300000`},
		{"log-level", `"level": "info"`},
		{"version", `"protocol": 1`},
	} {
		got := mustCtl(t, append(strings.Fields(tc.command), "--json")...)
		if !json.Valid([]byte(got)) || !strings.Contains(got, tc.want) {
			t.Errorf("ctl %s prints, without %s:\n%s", tc.command, tc.want, got)
		}
	}
}

func TestCtlAdd(t *testing.T) {
	target := &ctlTarget{}
	t.Setenv(envControl, startTarget(t, target))
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("TMPDIR", dir)
	for _, name := range []string{"sub", "sub/dir"} {
		if err := os.Mkdir(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"sub/file", "a.tar"} {
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("sub/dir", "link"); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		spec, want string
		files      []string // "" is one without a name
		flags      []int
	}{
		{"sub:/data:ro", "type=dir,source=" + dir + "/sub,target=/data,readonly", []string{"sub"}, []int{unix.O_PATH}},
		{"type=auto,src=sub/file,dst=/f", "type=file,source=" + dir + "/sub/file,target=/f", []string{"sub/file"}, []int{unix.O_PATH}},
		{"link/..:/up", "type=dir,source=" + dir + "/link/..,target=/up", []string{"sub"}, []int{unix.O_PATH}},
		{dir + "/sub", "type=dir,source=" + dir + "/sub,target=/", []string{"sub"}, []int{unix.O_PATH}},
		{"type=archive,source=a.tar,target=/a", "type=archive,source=" + dir + "/a.tar,target=/a", []string{"a.tar"}, []int{unix.O_RDONLY}},
		{"type=overlay,lower=archive,source=a.tar,target=/o", "type=overlay,source=" + dir + "/a.tar,target=/o,lower=archive", []string{"a.tar"}, []int{unix.O_RDONLY}},
		{"sub:/o:type=overlay", "type=overlay,source=" + dir + "/sub,target=/o,lower=dir", []string{"sub"}, []int{unix.O_PATH}},
		{"type=scratch,target=/tmp,size=1M", "type=scratch,target=/tmp,size=1M", nil, nil},
		{"type=scratch,target=/tmp,backing=disk", "type=scratch,target=/tmp,backing=disk", []string{""}, []int{unix.O_RDWR}},
		{"sub/file:/f:unlink=delete", "type=file,source=" + dir + "/sub/file,target=/f,unlink=delete", []string{"sub/file", "sub"}, []int{unix.O_PATH, unix.O_PATH}},
	} {
		mustCtl(t, "add", tc.spec)
		handed, flags, added := target.last()
		if added != tc.want {
			t.Errorf("add %s sends %s, want %s", tc.spec, added, tc.want)
		}
		if len(handed) != len(tc.files) || !slices.Equal(flags, tc.flags) {
			t.Errorf("add %s hands over %d files with the flags %#o, want %#o", tc.spec, len(handed), flags, tc.flags)
			continue
		}
		for i, name := range tc.files {
			var st unix.Stat_t
			if name == "" {
				st = handed[i]
			} else if err := unix.Stat(name, &st); err != nil {
				t.Fatal(err)
			}
			if st.Ino != handed[i].Ino || st.Dev != handed[i].Dev {
				t.Errorf("add %s hands over another file than %s", tc.spec, name)
			}
		}
	}
}

func TestCtlErrors(t *testing.T) {
	socket := startTarget(t, exampleTarget())
	s := "--socket=" + socket
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv(envControl, "")
	if err := os.WriteFile("file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{nil, exitUsage, "which command? One of add, files, log-level, mounts, remove, stats, top, version"},
		{[]string{"mount"}, exitUsage, `unknown command "mount" for "isthmus ctl"`},
		{[]string{"mounts"}, exitUsage, "which daemon? --socket PATH, or ISTHMUS_CONTROL=PATH in the environment"},
		{[]string{"mounts", "--socket=none"}, exitFailure, "there is no socket none: start the daemon with --control none"},
		{[]string{"mounts", "--socket=file"}, exitFailure, "no daemon listens at file: start it with --control file"},
		{[]string{"remove", s, "/none"}, exitFailure, "nothing is mounted at /none"},
		{[]string{"remove", s}, exitUsage, "accepts 1 arg(s)"},
		{[]string{"log-level", s, "loud"}, exitFailure, `level is "loud": want error, warn, info, debug`},
		{[]string{"log-level", s, ""}, exitUsage, "no level: want one of error, warn, info, debug"},
		{[]string{"files", s, "--limit=0"}, exitUsage, "--limit 0: want 1 to 10000"},
		{[]string{"top", s, "--interval=1ms"}, exitUsage, "--interval 1ms: want 100ms to 1m0s"},
		{[]string{"top", s, "-n=-1"}, exitUsage, "-n -1: want how many times"},
		{[]string{"add", s, ":/x"}, exitUsage, "the host's path is empty"},
		{[]string{"add", s, "none:/x"}, exitFailure, "share none: no such file or directory"},
		{[]string{"add", s, "type=archive,source=.,target=/x"}, exitFailure, "share .: it is a directory, not an archive"},
	} {
		code, stdout, stderr := ctl(tc.args...)
		if code != tc.code || !strings.Contains(stderr, tc.want) || stdout != "" {
			t.Errorf("ctl %q: exit status %d, %q and output %q; want %d and %q", tc.args, code, stderr, stdout, tc.code, tc.want)
		}
	}
}

// TestCtlAtTheWrongSocket asks the socket that VMs connect to, which has other messages.
func TestCtlAtTheWrongSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "socket")
	l, err := vhostuser.Listen(socket, vhostuser.ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(t.Context()); err == nil {
			conn.Close()
		}
	}()
	code, _, stderr := ctl("version", "--socket", socket)
	if want := fmt.Sprintf("is %s the path that it was given as --control, not as --socket?", socket); code != exitFailure || !strings.Contains(stderr, want) {
		t.Errorf("exit status %d, %q, want %q", code, stderr, want)
	}
}

func TestCtlCompletion(t *testing.T) {
	socket := startTarget(t, &ctlTarget{mounts: []control.Mount{{Path: "/"}, {Path: "/data"}}})
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"ctl", "--socket", socket, "remove", ""}, "/\n/data\n:4\n"},
		{[]string{"ctl", "--socket", socket + "x", "remove", ""}, ":4\n"},
		{[]string{"ctl", "--socket", socket, "remove", "/", ""}, ":4\n"},
		{[]string{"ctl", "log-level", "d"}, "debug\n:4\n"},
		{[]string{"ctl", "ve"}, "version\tWhich daemon it is, and for how long it has been up\n:4\n"},
	} {
		var stdout, stderr bytes.Buffer
		code := execute(context.Background(), append([]string{"isthmus", "__complete"}, tc.args...), &stdout, &stderr)
		if code != 0 || stdout.String() != tc.want {
			t.Errorf("after %q: exit status %d, %q, want %q", tc.args, code, stdout.String(), tc.want)
		}
	}
}
