package lab_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-fs/isthmus/internal/lab"
	"github.com/isthmus-fs/isthmus/internal/lab/labtest"
)

// victim, in the environment, makes the test program start a guest of this
// kind and wait to be killed.
const victim = "ISTHMUS_LAB_VICTIM"

func TestMain(m *testing.M) {
	if kind, err := lab.ParseKind(os.Getenv(victim)); err == nil {
		_, err := lab.Run(context.Background(), lab.Config{
			Kind: kind, Args: []string{"sh", "-c", "echo up; sleep 1000"}, Stdout: os.Stdout, KernelArgs: os.Args[1:],
		})
		fmt.Println(err)
		return
	}
	labtest.Main(m)
}

// output is what a guest's command left.
type output struct {
	stdout, stderr, console bytes.Buffer
	result                  lab.Result
}

// start runs cfg and returns what came of it.
func start(t *testing.T, cfg lab.Config) (*output, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	out := &output{}
	if cfg.Stdout == nil {
		cfg.Stdout = &out.stdout
	}
	cfg.Stderr, cfg.Console = &out.stderr, &out.console
	began := time.Now()
	var err error
	out.result, err = lab.Run(ctx, cfg)
	t.Logf("%v guest: %v", cfg.Kind, time.Since(began).Round(10*time.Millisecond))
	return out, err
}

// run is start for a guest that must not fail.
func run(t *testing.T, cfg lab.Config) *output {
	t.Helper()
	out, err := start(t, cfg)
	if err != nil {
		t.Fatalf("%v\nconsole:\n%s", err, out.console.String())
	}
	return out
}

// eachKind runs a test with a guest of each kind.
func eachKind(t *testing.T, test func(t *testing.T, kind lab.Kind)) {
	for _, kind := range []lab.Kind{lab.UML, lab.QEMU} {
		t.Run(kind.String(), func(t *testing.T) { test(t, kind) })
	}
}

func TestStreams(t *testing.T) {
	eachKind(t, func(t *testing.T, kind lab.Kind) {
		// Input goes into User-Mode Linux byte by byte; output does not.
		const times = 40
		input := make([]byte, 256<<10+13)
		rand.NewChaCha8([32]byte{1}).Read(input)
		out := run(t, lab.Config{
			Kind:  kind,
			Args:  []string{"sh", "-c", "printf 'to stderr\\r\\n' >&2; cat > in; i=0; while [ $i -lt 40 ]; do cat in; i=$((i+1)); done; printf '%s' \"$GREETING\" >&2; pwd >&2; exit 7"},
			Env:   []string{"GREETING=a=b c "},
			Dir:   "/tmp",
			Stdin: bytes.NewReader(input),
		})
		if !bytes.Equal(out.stdout.Bytes(), bytes.Repeat(input, times)) {
			t.Errorf("the output came back changed: %d bytes of %d", out.stdout.Len(), times*len(input))
		}
		if got, want := out.stderr.String(), "to stderr\r\na=b c /tmp\n"; got != want {
			t.Errorf("error output %q, want %q", got, want)
		}
		if out.result.ExitCode != 7 || out.result.Boots != 1 || out.result.Kernel == "" {
			t.Errorf("result %+v, want exit code 7 after one boot", out.result)
		}
	})
}

func TestExitCode(t *testing.T) {
	unexecutable := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(unexecutable, []byte("no program\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		args   []string
		code   int
		stderr string
	}{
		{"success", []string{"true"}, 0, ""},
		{"signal", []string{"sh", "-c", "kill -KILL $$"}, 128 + 9, ""},
		{"missing", []string{"no-such-command"}, 127, "no-such-command: not found\n"},
		{"missing path", []string{"/no/such/command"}, 127, "/no/such/command: not found\n"},
		{"not executable", []string{"/text"}, 126, "/text: permission denied\n"},
		// The child keeps the outputs open; the run does not wait for it.
		{"background", []string{"sh", "-c", "sleep 1000 & exit 5"}, 5, ""},
		// 200 orphans, all of which process 1 must reap.
		{"orphans", []string{"sh", "-c", "i=0; while [ $i -lt 200 ]; do (true &); i=$((i+1)); done; sleep 0.2; [ $(ls -d /proc/[0-9]* | wc -l) -lt 100 ]"}, 0, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			out := run(t, lab.Config{
				Kind:  lab.UML,
				Args:  test.args,
				Files: []lab.File{{Path: "/text", Source: unexecutable}},
			})
			if out.result.ExitCode != test.code || out.stderr.String() != test.stderr || out.stdout.Len() != 0 {
				t.Errorf("exit code %d, error output %q, output %q; want %d, %q and none", out.result.ExitCode, out.stderr.String(), out.stdout.String(), test.code, test.stderr)
			}
		})
	}
}

func TestNoInput(t *testing.T) {
	for name, stdin := range map[string]*strings.Reader{"none": nil, "empty": strings.NewReader("")} {
		t.Run(name, func(t *testing.T) {
			cfg := lab.Config{Kind: lab.UML, Args: []string{"sh", "-c", "cat; echo end"}}
			if stdin != nil {
				cfg.Stdin = stdin
			}
			if got := run(t, cfg).stdout.String(); got != "end\n" {
				t.Errorf("output %q", got)
			}
		})
	}
}

// TestUnreadInput gives a command far more input than it takes.
func TestUnreadInput(t *testing.T) {
	eachKind(t, func(t *testing.T, kind lab.Kind) {
		out := run(t, lab.Config{Kind: kind, Args: []string{"head", "-c", "3"}, Stdin: endless{}})
		if got := out.stdout.String(); got != "yyy" {
			t.Errorf("output %q", got)
		}
	})
}

// endless is an input without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'y'
	}
	return len(p), nil
}

func TestTerminal(t *testing.T) {
	eachKind(t, func(t *testing.T, kind lab.Kind) {
		resize := make(chan lab.Size, 1)
		resize <- lab.Size{Rows: 50, Cols: 132}
		out := run(t, lab.Config{
			Kind:     kind,
			Args:     []string{"sh", "-c", "tty; until [ \"$(stty size)\" = '50 132' ]; do sleep 0.01; done; read line; echo \"<$line>\" >&2; cat"},
			Stdin:    strings.NewReader("typed\r"),
			Terminal: true,
			Size:     lab.Size{Rows: 10, Cols: 40},
			Resize:   resize,
		})
		got := out.stdout.String()
		if !strings.HasPrefix(strings.TrimPrefix(got, "typed\r\n"), "/dev/pts/0\r\n") || !strings.HasSuffix(got, "<typed>\r\n") || out.stderr.Len() != 0 {
			t.Errorf("screen %q, error output %q", got, out.stderr.String())
		}
	})
}

func TestReboots(t *testing.T) {
	eachKind(t, func(t *testing.T, kind lab.Kind) {
		out := run(t, lab.Config{
			Kind: kind,
			// The first boot ends well, the second reboots by itself.
			Args:    []string{"sh", "-c", "echo boot $ISTHMUS_BOOT; [ $ISTHMUS_BOOT != 2 ] || reboot -f; [ $ISTHMUS_BOOT != 3 ] || exit 4"},
			Reboots: 2,
		})
		if got := out.stdout.String(); got != "boot 1\nboot 2\nboot 3\n" {
			t.Errorf("output %q", got)
		}
		if out.result.Boots != 3 || out.result.ExitCode != 4 {
			t.Errorf("result %+v, want 3 boots and exit code 4", out.result)
		}
	})
}

func TestGuestFailures(t *testing.T) {
	tests := []struct {
		name   string
		args   []string
		dir    string
		reason string
	}{
		{"panic", []string{"sh", "-c", "echo c > /proc/sysrq-trigger"}, "", "the guest kernel panicked: "},
		{"power off", []string{"poweroff", "-f"}, "", "the guest ended before its command did"},
		{"working directory", []string{"true"}, "/no/such", "in the guest: working directory /no/such: no such file or directory"},
	}
	eachKind(t, func(t *testing.T, kind lab.Kind) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				_, err := start(t, lab.Config{Kind: kind, Args: test.args, Dir: test.dir})
				var guest *lab.GuestError
				if !errors.As(err, &guest) || !strings.HasPrefix(guest.Reason, test.reason) {
					t.Errorf("error %v, want a GuestError that starts with %q", err, test.reason)
				}
			})
		}
	})
}

// TestStopped stops a guest that does not end and checks that nothing of it is
// left on the host.
func TestStopped(t *testing.T) {
	eachKind(t, func(t *testing.T, kind lab.Kind) {
		mark := fmt.Sprintf("labtest.mark=%d.%v", os.Getpid(), kind)
		files := listTemp(t)
		ctx, cancel := context.WithCancel(t.Context())
		ready := writerFunc(func(p []byte) (int, error) {
			if left := processes(t, mark); len(left) == 0 {
				t.Errorf("no process has %q in its arguments, so the test cannot find any", mark)
			}
			cancel()
			return len(p), nil
		})
		_, err := lab.Run(ctx, lab.Config{
			Kind: kind,
			Args: []string{"sh", "-c", "sleep 1000 & sleep 1000 & echo up; sleep 1000"}, Stdout: ready, KernelArgs: []string{mark},
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want the context's", err)
		}
		if left := processes(t, mark); len(left) > 0 {
			t.Errorf("still there: processes %v", left)
		}
		if left := listTemp(t); !slices.Equal(files, left) {
			t.Errorf("files before %v and after %v", files, left)
		}
	})
}

// TestKilled kills the program that has started a guest, which then cannot
// stop it.
func TestKilled(t *testing.T) {
	eachKind(t, func(t *testing.T, kind lab.Kind) {
		mark := fmt.Sprintf("labtest.killed=%d.%v", os.Getpid(), kind)
		cmd := exec.Command(os.Args[0], mark)
		cmd.Env = append(os.Environ(), victim+"="+kind.String())
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if line != "up\n" {
			t.Errorf("the program said %q, %v", line, err)
		}
		if len(processes(t, mark)) < 2 {
			t.Error("no guest to be found")
		}
		cmd.Process.Kill()
		cmd.Wait()
		for range 1000 {
			if len(processes(t, mark)) == 0 {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("still there: processes %v", processes(t, mark))
	})
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// processes lists the processes with mark in their arguments. Those of
// User-Mode Linux share its memory, or a copy of it, and so its arguments.
func processes(t *testing.T, mark string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && bytes.Contains(text, []byte(mark)) {
			found = append(found, filepath.Base(filepath.Dir(file)))
		}
	}
	return found
}

// listTemp lists the files in the directories a guest's might be in.
func listTemp(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, pattern := range []string{"/dev/shm/vm_file*", filepath.Join(os.TempDir(), "vm_file*"), filepath.Join(os.Getenv("HOME"), ".uml/*")} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	return files
}

func TestBootTimeout(t *testing.T) {
	_, err := start(t, lab.Config{Kind: lab.UML, Args: []string{"true"}, BootTimeout: time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "the guest did not come up within 1ms") {
		t.Errorf("error %v", err)
	}
}

func TestProcessors(t *testing.T) {
	if got := run(t, lab.Config{Kind: lab.QEMU, CPUs: 2, MemoryMiB: 300, Args: []string{"nproc"}}).stdout.String(); got != "2\n" {
		t.Errorf("nproc prints %q", got)
	}
}

// TestOutputFails has a reader of the output that has gone away.
func TestOutputFails(t *testing.T) {
	broken := errors.New("nobody reads")
	_, err := start(t, lab.Config{
		Kind: lab.UML, Args: []string{"sh", "-c", "echo a; sleep 1000"},
		Stdout: writerFunc(func([]byte) (int, error) { return 0, broken }),
	})
	if !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}
