package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vhostuser"
)

func TestMethods(t *testing.T) {
	target := &fakeTarget{
		mounts: []Mount{{
			Path: "/", Type: "dir", Source: "/srv/\xff", Spec: "type=dir,source=/srv/\xff", ReadOnly: true,
			References: 7, Counts: Counts{Nodes: 3, Handles: 2, Descriptors: 9, Bytes: 1 << 40},
		}},
		files: []OpenFile{
			{Path: "/a\n\x1b[m", Flags: unix.O_RDWR | unix.O_APPEND | 0x8000, UID: 1000, PID: 17, Since: time.Unix(1e9, 0).UTC(), Bytes: 5},
			{Path: "/b"},
		},
		stats: Stats{
			Uptime: time.Second,
			Bounds: []uint64{10, 100, 1000},
			Ops:    []Op{{Name: "READ", Count: 100, Errors: 1, Latency: Latency{Sum: 5000, Max: 77, Buckets: []uint64{90, 10}}}},
			Queues: []Queue{{"request 0", 3, 100}}, BytesRead: 12, Memory: Memory{1, 2},
		},
	}
	path, log := serve(t, target)
	c, ctx := dial(t, path), t.Context()

	v, err := c.Version(ctx)
	check(t, v, Version{"1.2", Protocol, 42, time.Minute, []string{"src"}}, err)
	m, err := c.Mounts(ctx)
	check(t, m, target.mounts, err)

	f, err := c.Files(ctx, 1)
	want := target.files[0]
	want.Flags &^= 0x8000
	check(t, f, Files{[]OpenFile{want}, 1}, err)
	f, err = c.Files(ctx, 0)
	check(t, len(f.Files), 2, err)

	s, err := c.Stats(ctx)
	full := target.stats
	full.Ops = []Op{full.Ops[0]}
	full.Ops[0].P50, full.Ops[0].P90, full.Ops[0].P99, full.Ops[0].P999 = 10, 10, 77, 77
	check(t, s, &full, err)
	if target.stats.Ops[0].P50 != 0 {
		t.Error("the server has changed the target's own")
	}

	err = c.Add(ctx, "type=dir,target=/new", []*os.File{memfile(t, "one"), memfile(t, "two")})
	target.mu.Lock()
	check(t, target.added, [][]byte{[]byte("one"), []byte("two")}, err)
	target.mu.Unlock()
	check(t, c.Remove(ctx, "type=dir,target=/new"), error(nil), nil)

	level, err := c.LogLevel(ctx)
	check(t, level, "info", err)
	check(t, c.SetLogLevel(ctx, "debug"), error(nil), nil)
	now, err := target.LogLevel(ctx)
	check(t, now, slog.LevelDebug, err)
	for _, want := range []string{
		"add a mount\" spec=\"type=dir,target=/new\"", "remove a mount", "set the log level\" level=debug",
		fmt.Sprintf("by-pid=%d by-uid=%d", os.Getpid(), os.Getuid()),
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 3 {
		t.Errorf("%d lines in the log, want one for each change:\n%s", n, log)
	}
}

func check[T any](t *testing.T, got, want T, err error) {
	t.Helper()
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("error %v, difference (-want +got):\n%s", err, d)
	}
}

func TestErrorsOfMethods(t *testing.T) {
	path, _ := serve(t, &fakeTarget{level: slog.LevelError + 1})
	c, ctx := dial(t, path), t.Context()
	for _, tc := range []struct {
		err  error
		code Code
		text string
	}{
		{c.Remove(ctx, "/none"), CodeNotFound, "nothing is mounted at /none"},
		{c.Remove(ctx, ""), CodeBadParams, "params has no path"},
		{c.Add(ctx, "taken", []*os.File{memfile(t, "")}), CodeExists, "something is mounted there"},
		{c.Add(ctx, "", []*os.File{memfile(t, "")}), CodeBadParams, "params has no spec"},
		{c.SetLogLevel(ctx, "loud"), CodeBadParams, `level is "loud": want error, warn, info, debug`},
		{second(c.LogLevel(ctx)), CodeFailed, "broken"},
		{second(c.Files(ctx, -1)), CodeBadParams, "limit is -1: want 1 to 10000"},
		{second(c.Files(ctx, 10001)), CodeBadParams, "limit is 10001: want 1 to 10000"},
		{c.call(ctx, "mount", nil, nil, &empty{}), CodeUnknownMethod, `unknown method "mount": want one of add, files, log-level, mounts, remove, stats, version`},
		{c.call(ctx, "stats", nil, []*os.File{memfile(t, "")}, &empty{}), CodeBadParams, "stats takes no descriptors"},
		{c.call(ctx, "stats", filesParams{1}, nil, &empty{}), CodeBadParams, `params: unknown field "limit"`},
		{c.call(ctx, "files", map[string]string{"limit": "x"}, nil, &empty{}), CodeBadParams, "params: limit is a JSON string, which does not fit"},
		{c.call(ctx, "files", []int{1}, nil, &empty{}), CodeBadParams, "params: want a JSON object, { … }"},
	} {
		e, ok := tc.err.(*Error)
		if !ok || e.Code != tc.code || e.Message != tc.text {
			t.Errorf("%#v, want %s: %s", tc.err, tc.code, tc.text)
		}
	}
	if _, err := c.Mounts(ctx); err != nil {
		t.Errorf("the connection is of no use any more: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestLinesOnTheWire speaks the protocol by hand.
func TestLinesOnTheWire(t *testing.T) {
	const bad = `{"id":0,"error":{"code":"malformed","message":`
	for _, tc := range []struct {
		name, send string
		answers    []string // their beginnings; the connection is closed then
	}{
		{"nothing", "", nil},
		{"no params", `{"id":1,"method":"log-level"}` + "\n", []string{`{"id":1,"result":{"level":"info"}}`}},
		{"null params", `{"id":1,"method":"log-level","params":null}` + "\n", []string{`{"id":1,"result":{"level":"info"}}`}},
		{"no id", `{"method":"mounts"}` + "\r\n", []string{`{"id":0,"result":{"mounts":[]}}`}},
		{"several at once", `{"id":1,"method":"mounts"}` + "\n" + `{"id":2,"method":"files"}` + "\n", []string{`{"id":1,"result":{"mounts":[]}}`, `{"id":2,"result":{"files":[],"more":0}}`}},
		{"an error goes on", `{"id":1,"method":"x"}` + "\n" + `{"id":2,"method":"mounts"}` + "\n", []string{`{"id":1,"error":{"code":"unknown-method"`, `{"id":2,"result"`}},
		{"empty stats", `{"id":3,"method":"stats"}` + "\n", []string{`{"id":3,"result":{"uptime_ns":0,"bounds_ns":[],"ops":[],"bytes_read":0`}},
		{"no JSON", "mounts\n" + `{"method":"mounts"}` + "\n", []string{bad + `"this line is no request: want a JSON object, { … }"}}`}},
		{"an empty line", "\n", []string{bad}},
		{"an array", "[1]\n", []string{bad}},
		{"no end", `{"id":1` + "\n", []string{bad + `"this line is no request: the JSON object has no end"}}`}},
		{"two objects", `{"method":"mounts"}{}` + "\n", []string{bad + `"this line is no request: something follows the JSON object`}},
		{"an unknown name", `{"method":"mounts","jsonrpc":"2.0"}` + "\n", []string{bad + `"this line is no request: unknown field \"jsonrpc\""}}`}},
		{"no method", `{"id":1}` + "\n", []string{bad + `"this line is no request: it has no \"method\""}}`}},
		{"a negative id", `{"id":-1,"method":"mounts"}` + "\n", []string{bad + `"this line is no request: id is a JSON number -1, which does not fit"}}`}},
		{"files that did not come", `{"method":"add","files":1}` + "\n", []string{bad + `"files is 1, and 0 descriptors came with the request"}}`}},
		{"too many files", `{"method":"add","files":9}` + "\n", []string{bad + `"files is 9: want 0 to 8"}}`}},
		{"no newline", `{"method":"mounts"}`, []string{bad + `"the last line has no newline"}}`}},
		{"too long", strings.Repeat(" ", MaxRequest), []string{bad + `"a line has more than 1048576 bytes"}}`}},
		{"as long as can be", strings.Repeat(" ", MaxRequest-20) + `{"method":"mounts"}` + "\n", []string{`{"id":0,"result"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path, _ := serve(t, &fakeTarget{})
			c := rawDial(t, path)
			if _, err := io.WriteString(c, tc.send); err != nil {
				t.Fatal(err)
			}
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			r := bufio.NewReader(c)
			for _, want := range tc.answers {
				line, err := r.ReadString('\n')
				if err != nil || !strings.HasPrefix(line, want) {
					t.Errorf("answer %q, %v, want %q", line, err, want)
				}
			}
			if rest, _ := io.ReadAll(r); len(rest) != 0 {
				t.Errorf("then %q", rest)
			}
		})
	}
}

// TestDescriptors passes more than was asked for, in all the ways that there are. serve
// finds what is leaked.
func TestDescriptors(t *testing.T) {
	for _, tc := range []struct {
		name   string
		send   []string // each with files descriptors
		files  int
		answer []string
	}{
		{"surplus", []string{`{"id":1,"method":"add","files":1,"params":{"spec":"x"}}` + "\n"}, 5, []string{`{"id":1,"result":{}}`}},
		{"not announced", []string{`{"id":1,"method":"mounts"}` + "\n"}, 5, []string{`{"id":1,"result"`}},
		{"not announced, then announced", []string{`{"id":1,"method":"mounts"}` + "\n", `{"id":2,"method":"add","files":2,"params":{"spec":"x"}}` + "\n"}, 2, []string{`{"id":1,"result"`, `{"id":2,"result":{}}`}},
		{"as many as can be", []string{`{"id":1,"method":"add","files":8,"params":{"spec":"x"}}` + "\n"}, 8, []string{`{"id":1,"result":{}}`}},
		{"too many", []string{`{"id":1,"method":"add","files":8,"params":{"spec":"x"}}` + "\n"}, 9, []string{`{"id":0,"error":{"code":"malformed","message":"descriptors were lost`}},
		{"far too many", []string{`{"id":1,"method":"mounts"}` + "\n"}, 200, []string{`{"id":0,"error":{"code":"malformed","message":"descriptors were lost`}},
		{"in pieces", []string{`{"id":1,`, `"method":"add","params":{"spec":"x"},"files":3}` + "\n"}, 4, []string{`{"id":1,"result":{}}`}},
		{"too many pieces", []string{`{"id":1`, `,"method":`, `"add"`}, 4, []string{`{"id":0,"error":{"code":"malformed","message":"descriptors were lost`}},
		{"of the wrong method", []string{`{"id":1,"method":"mounts","files":2}` + "\n"}, 2, []string{`{"id":1,"error":{"code":"bad-params"`}},
		{"of an unknown method", []string{`{"id":1,"method":"x","files":2}` + "\n"}, 3, []string{`{"id":1,"error":{"code":"unknown-method"`}},
		{"with bad params", []string{`{"id":1,"method":"add","files":2,"params":{"x":1}}` + "\n"}, 2, []string{`{"id":1,"error":{"code":"bad-params"`}},
		{"refused", []string{`{"id":1,"method":"add","files":2,"params":{"spec":"taken"}}` + "\n"}, 2, []string{`{"id":1,"error":{"code":"exists"`}},
		{"no JSON", []string{"x\n"}, 8, []string{`{"id":0,"error":{"code":"malformed"`}},
		{"half a line", []string{`{"id":1`}, 8, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path, _ := serve(t, &fakeTarget{})
			c := rawDial(t, path)
			file := memfile(t, "")
			defer file.Close()
			fds := make([]int, tc.files)
			for i := range fds {
				fds[i] = int(file.Fd())
			}
			r := bufio.NewReader(c)
			answers := tc.answer
			expect := func() {
				line, err := r.ReadString('\n')
				if err != nil || !strings.HasPrefix(line, answers[0]) {
					t.Errorf("answer %q, %v, want %q", line, err, answers[0])
				}
				answers = answers[1:]
			}
			for _, s := range tc.send {
				if _, _, err := c.WriteMsgUnix([]byte(s), unix.UnixRights(fds...), nil); err != nil {
					break // the server has had enough
				}
				if strings.HasSuffix(s, "\n") {
					expect()
				}
			}
			for len(answers) > 0 {
				expect()
			}
			c.Close()
		})
	}
}

func TestTooManyConnections(t *testing.T) {
	path, _ := serve(t, &fakeTarget{})
	var clients []*Client
	for range MaxConns {
		c := dial(t, path)
		if _, err := c.Mounts(t.Context()); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	one := dial(t, path)
	_, err := one.Mounts(t.Context())
	if err == nil || !strings.Contains(err.Error(), "16 clients are connected") {
		t.Errorf("one too many: %v", err)
	}
	if _, again := one.Mounts(t.Context()); again == nil {
		t.Error("a connection that has ended still answers")
	}
	// The others sit idle, and that holds nobody up. Whether the place is free at once
	// is up to the server's goroutine: ask until it is.
	clients[0].Close()
	for {
		c := dial(t, path)
		_, err := c.Mounts(t.Context())
		c.Close()
		if err == nil {
			break
		}
	}
	if _, err := clients[1].Mounts(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestManyClients(t *testing.T) {
	target := &fakeTarget{}
	path, _ := serve(t, target)
	shared := dial(t, path)
	var all sync.WaitGroup
	for i := range 8 {
		own := dial(t, path)
		file := memfile(t, "")
		all.Go(func() {
			for j := range 30 {
				at := fmt.Sprintf("/%d/%d", i, j)
				c := []*Client{own, shared}[j%2]
				if err := c.Add(t.Context(), at, []*os.File{file}); err != nil {
					t.Error(err)
				}
				if _, err := c.Stats(t.Context()); err != nil {
					t.Error(err)
				}
				if err := shared.Remove(t.Context(), at); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if m, err := shared.Mounts(t.Context()); err != nil || len(m) != 0 {
		t.Errorf("left over: %v, %v", m, err)
	}
}

// TestEndWhileBusy ends the server while a request is under way: Serve comes back, and the
// client is told.
func TestEndWhileBusy(t *testing.T) {
	ours, conn := pair(t)
	ctx, cancel := context.WithCancel(t.Context())
	target := &fakeTarget{block: make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- ServeConn(ctx, conn, target, slog.New(slog.DiscardHandler)) }()
	c := NewClient(ours)
	defer c.Close()
	if _, err := c.Mounts(t.Context()); err != nil {
		t.Fatal(err)
	}
	asked := make(chan error, 1)
	go func() { asked <- c.Remove(t.Context(), "/") }()
	cancel()
	if err := <-served; err != nil {
		t.Errorf("ServeConn: %v", err)
	}
	// Remove says so itself, if there is time for an answer.
	if err := <-asked; !errors.Is(err, ErrEnded) && (err == nil || err.Error() != "context canceled") {
		t.Errorf("Remove: %v", err)
	}
}

func TestServeEndsWithItsListener(t *testing.T) {
	l, err := vhostuser.Listen(filepath.Join(t.TempDir(), "control"), vhostuser.ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- Serve(t.Context(), l, &fakeTarget{}, slog.New(slog.DiscardHandler)) }()
	l.Close()
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// failingListener has nothing to accept.
type failingListener struct {
	errs []error
	end  context.CancelFunc
}

func (l *failingListener) Accept(ctx context.Context) (*net.UnixConn, error) {
	err := l.errs[0]
	if l.errs = l.errs[1:]; len(l.errs) == 0 && l.end != nil {
		l.end()
	}
	return nil, err
}

func TestErrorsOfAccept(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	log := new(logBuffer)
	// Without descriptors a client has to wait, and the daemon goes on.
	l := &failingListener{errs: []error{unix.EMFILE, context.Canceled}, end: cancel}
	if err := Serve(ctx, l, &fakeTarget{}, slog.New(slog.NewTextHandler(log, nil))); err != nil || !strings.Contains(log.String(), "too many open files") {
		t.Errorf("Serve: %v, and it logs %s", err, log)
	}
	if err := Serve(t.Context(), &failingListener{errs: []error{unix.EINVAL}}, &fakeTarget{}, slog.New(slog.DiscardHandler)); err != unix.EINVAL {
		t.Errorf("Serve: %v", err)
	}
}

// TestUnreadAnswer is a client that asks on and on and never reads: it is let go of.
func TestUnreadAnswer(t *testing.T) {
	files := make([]OpenFile, 1000)
	for i := range files {
		files[i].Path = Text(strings.Repeat("x", 4000))
	}
	ours, conn := pair(t)
	if _, err := io.WriteString(ours, `{"method":"files"}`+"\n"); err != nil {
		t.Fatal(err)
	}
	c := newServerConn(conn, &fakeTarget{files: files}, nil)
	c.patience = time.Millisecond
	if err := c.serve(t.Context()); !isTimeout(err) {
		t.Errorf("serve: %v", err)
	}
}

func isTimeout(err error) bool {
	t, ok := err.(net.Error)
	return ok && t.Timeout()
}

func TestTimesOfLines(t *testing.T) {
	for _, tc := range []struct{ send, want string }{
		{"", "i/o timeout"},
		{`{"id":`, "a line stopped for 1ms before its end"},
		{`{"method":"mounts"}` + "\n", ""},
	} {
		ours, conn := pair(t)
		if _, err := io.WriteString(ours, tc.send); err != nil {
			t.Fatal(err)
		}
		l := newServerLines(conn)
		l.idle, l.partial = time.Hour, time.Millisecond
		if tc.send == "" {
			l.idle = time.Millisecond
		}
		_, err := l.next()
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("after %q: %v, want %q", tc.send, err, tc.want)
		}
		ours.Close()
		conn.Close()
	}
}

// TestLongAnswers asks a server whose answers are short.
func TestLongAnswers(t *testing.T) {
	files := make([]OpenFile, 1000)
	for i := range files { // as long in JSON as can be
		files[i] = OpenFile{Text(strings.Repeat("\x01", i)), ^OpenFlags(0), 1<<32 - 1, 1<<32 - 1, time.Now(), 1<<64 - 1}
	}
	ours, conn := pair(t)
	s := newServerConn(conn, &fakeTarget{files: files, mounts: make([]Mount, 10_000)}, nil)
	s.longest = 100_000
	served := make(chan error, 1)
	go func() { served <- s.serve(t.Context()) }()
	c := NewClient(ours)
	f, err := c.Files(t.Context(), 1000)
	if err != nil || len(f.Files) < 50 || int(f.More)+len(f.Files) != 1000 {
		t.Errorf("%d files and %d more, %v", len(f.Files), f.More, err)
	}
	if _, err := c.Mounts(t.Context()); err == nil || err.Error() != "the answer has more than 100000 bytes" {
		t.Errorf("Mounts: %v", err)
	}
	if _, err := c.Version(t.Context()); err != nil {
		t.Error(err)
	}
	c.Close()
	if err := <-served; err != io.EOF {
		t.Errorf("serve: %v", err)
	}
}

func TestLevelsInBetween(t *testing.T) {
	target := &fakeTarget{}
	path, _ := serve(t, target)
	c := dial(t, path)
	for level, want := range map[slog.Level]string{
		slog.LevelDebug - 4: "debug", slog.LevelDebug: "debug", slog.LevelInfo - 1: "info", slog.LevelWarn: "warn", slog.LevelError: "error", slog.LevelError + 4: "error",
	} {
		if err := target.SetLogLevel(t.Context(), level); err != nil {
			t.Fatal(err)
		}
		got, err := c.LogLevel(t.Context())
		check(t, got, want, err)
	}
}
