package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/internal/control"
)

const topShown = `isthmus 1.2, process 42, up 1h00m: src
10 requests/s, 0/s failed; 40.0 KiB/s read, 0 B/s written
now 2 requests in flight, 1 of them waiting; 12346 nodes, 3 open files, 40 descriptors
memory 5.00 MiB heap, 20.0 MiB resident; private data 1.00 MiB
the access log lacks 9 accesses

QUEUE      WAITING  SERVED/S
request 0        4         0

OPERATION  PER SECOND  FAILED    MEAN     50%     99%  LONGEST  BUSY
READ               10       0  10.0µs  15.5µs  15.5µs   15.5µs  0.00

`

func TestCtlTop(t *testing.T) {
	t.Setenv(envControl, startTarget(t, exampleTarget()))
	got := mustCtl(t, "top", "-n", "2", "--interval", "100ms")
	if want := topShown + topShown; got != want {
		t.Errorf("it prints\n%swant\n%s", got, want)
	}
	got = mustCtl(t, "top", "-n", "2", "--interval", "100ms", "--json")
	if strings.Count(got, "\n") != 2 {
		t.Errorf("it prints\n%s", got)
	}
	for line := range strings.Lines(got) {
		var d control.Stats
		if err := json.Unmarshal([]byte(line), &d); err != nil || d.Uptime != time.Second || d.BytesRead != 40960 || len(d.Ops) != 1 {
			t.Errorf("%v in %s", err, line)
		}
	}
}

func TestCtlTopEnds(t *testing.T) {
	target := exampleTarget()
	t.Setenv(envControl, startTarget(t, target))
	ctx, cancel := context.WithCancel(t.Context())
	shown := writerFunc(func(p []byte) (int, error) {
		cancel() // once it has shown something
		return len(p), nil
	})
	var stderr bytes.Buffer
	if code := execute(ctx, []string{"isthmus", "ctl", "top", "--interval", "100ms"}, shown, &stderr); code != 0 || stderr.Len() != 0 {
		t.Errorf("interrupted: exit status %d, %q", code, stderr.String())
	}
	top := topFlags{interval: time.Hour}
	quit := make(chan struct{})
	close(quit)
	ask := func(ctx context.Context) (*control.Stats, error) { return &control.Stats{}, nil }
	if err := top.loop(t.Context(), quit, ask, nil); err != nil {
		t.Errorf("after q: %v", err)
	}
	gone := errors.New("gone")
	ask = func(ctx context.Context) (*control.Stats, error) { return nil, gone }
	if err := top.loop(t.Context(), nil, ask, nil); err != gone {
		t.Errorf("without a daemon: %v", err)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestCtlTopOnATerminal runs top at a terminal and ends it with q.
func TestCtlTopOnATerminal(t *testing.T) {
	socket := startTarget(t, exampleTarget())
	master, slave := openTerminal(t)
	before, err := unix.IoctlGetTermios(int(master.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 4, Col: 20}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "ctl", "top", "--socket", socket, "--interval", "100ms")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	slave.Close() // so that master ends with the program
	const want = "\x1b[Histhmus 1.2, process\x1b[K\r\n10 requests/s, 0/s f\x1b[K\r\nnow 2 requests in fl\x1b[K\r\n\x1b[J"
	var seen []byte
	for buf := make([]byte, 4096); !bytes.Contains(seen, []byte(want+want)); {
		n, err := master.Read(buf)
		if err != nil {
			t.Fatalf("%v after %q", err, seen)
		}
		if seen = append(seen, buf[:n]...); len(seen) > 1<<16 {
			t.Fatalf("it shows %q", seen)
		}
	}
	if _, err := master.WriteString("xq"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after q: %v", err)
	}
	after, err := unix.IoctlGetTermios(int(master.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("the terminal is left as %+v, %v, and was %+v", after, err, before)
	}
}

// openTerminal makes a pseudo-terminal.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

func TestFrame(t *testing.T) {
	for _, tc := range []struct {
		text       string
		rows, cols int
		want       string
	}{
		{"a\nbc\n", 0, 0, "\x1b[Ha\x1b[K\nbc\x1b[K\n\x1b[J"},
		{"a\nbc\n", 3, 2, "\x1b[Ha\x1b[K\nbc\x1b[K\n\x1b[J"},
		{"a\nbc\n", 2, 1, "\x1b[Ha\x1b[K\n\x1b[J"},
		{"µµµ\n", 9, 2, "\x1b[Hµµ\x1b[K\n\x1b[J"},
	} {
		if got := frame(tc.text, tc.rows, tc.cols); got != tc.want {
			t.Errorf("%q on %d × %d: %q, want %q", tc.text, tc.rows, tc.cols, got, tc.want)
		}
	}
}

func TestTopTextOfNothing(t *testing.T) {
	text := topText(&control.Version{Program: "\x1b"}, &control.Stats{}, &control.Stats{})
	if !strings.HasPrefix(text, `isthmus "\x1b", process 0, up 0s: -`+"\n0 requests/s, 0/s failed; 0 B/s read") {
		t.Errorf("it is\n%s", text)
	}
}

func TestNumbersForPeople(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{latency(0), "0ns"},
		{latency(999), "999ns"},
		{latency(1000), "1.00µs"},
		{latency(12_345), "12.3µs"},
		{latency(99_960), "100µs"},
		{latency(999_499), "999µs"},
		{latency(999_500), "1.00ms"},
		{latency(1_500_000_000), "1.50s"},
		{latency(3_600_000_000_000), "3600s"},
		{latency(math.MaxUint64), "?"},
		{size(0), "0 B"},
		{size(1023), "1023 B"},
		{size(1024), "1.00 KiB"},
		{size(1536.5), "1.50 KiB"},
		{size(1 << 60), "1.00 EiB"},
		{size(math.MaxUint64), "16.0 EiB"},
		{rate(0), "0"},
		{rate(0.126), "0.13"},
		{rate(12), "12"},
		{rate(999.4), "999"},
		{rate(12_345), "12.3k"},
		{rate(5e12), "5000G"},
		{age(-time.Second), "0s"},
		{age(59*time.Second + 999*time.Millisecond), "59s"},
		{age(61 * time.Second), "1m01s"},
		{age(23*time.Hour + 59*time.Minute), "23h59m"},
		{age(49 * time.Hour), "2d01h"},
		{printable("/a b ä"), "/a b ä"},
		{printable("\u009b2J"), `"\u009b2J"`},
		{printable("a\u202eb"), `"a\u202eb"`},
		{printable(`"a"`), `"\"a\""`},
		{printable("\xff"), `"\xff"`},
	} {
		if tc.got != tc.want {
			t.Errorf("%q, want %q", tc.got, tc.want)
		}
	}
}

// TestTopAfterTheDaemonsEnd: it was the right socket, so that is not what it says.
func TestTopAfterTheDaemonsEnd(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "control")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ended := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			ended <- err
			return
		}
		defer conn.Close()
		requests := bufio.NewReader(conn)
		for id := 1; err == nil; id++ {
			if _, err = requests.ReadString('\n'); id == 3 {
				break // without an answer
			}
			if err == nil {
				_, err = fmt.Fprintf(conn, `{"id":%d,"result":{}}`+"\n", id)
			}
		}
		ended <- err
	}()
	code, _, stderr := ctl("top", "--socket", socket, "--interval", "100ms")
	if code != exitFailure || !strings.Contains(stderr, "the daemon has ended\n") {
		t.Errorf("exit status %d, %s", code, stderr)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
