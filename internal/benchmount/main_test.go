package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fusedev"
	"github.com/isthmus-fs/isthmus/passthrough"
)

// roleVar has this binary be something else than the tests.
const roleVar = "BENCHMOUNT_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVar) {
	case "program":
		main()
	case "server":
		if err := serve(os.Args[1], os.Args[2]); err != nil {
			panic(err)
		}
	default:
		os.Exit(m.Run())
	}
}

// serve mounts dir on mnt until SIGTERM.
func serve(dir, mnt string) error {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	fs, err := passthrough.New(passthrough.Config{Path: dir, Logger: quiet})
	if err != nil {
		return err
	}
	defer fs.Close()
	m, err := fusedev.Mount(ctx, fuse.NewServer(fs, fuse.Options{Logger: quiet}), mnt, fusedev.Options{Logger: quiet})
	if err != nil {
		return err
	}
	return m.Wait()
}

// self is a command for --peer that runs serve.
func self(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return "env " + roleVar + "=server " + quote(exe) + " {dir} {mnt}"
}

// leftovers fails if anything is left below dir, or a process that was told of it.
func leftovers(t *testing.T, dir string) {
	t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range commands {
		if line, err := os.ReadFile(path); err == nil && strings.Contains(string(line), dir) {
			t.Errorf("still there: %q", line)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("%s is left in %s", e.Name(), dir)
	}
}

func TestAllWorkloads(t *testing.T) {
	dir := t.TempDir()
	c := &config{dir: dir, peers: []string{"mounted=" + self(t)}, rounds: 2, quick: true, json: t.TempDir() + "/samples"}
	var out bytes.Buffer
	if err := measure(t.Context(), c, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, w := range workloads {
		if n := strings.Count(out.String(), "| "+w.name+" |"); n != 3 {
			t.Errorf("%q is in %d tables of 3", w.name, n)
		}
	}
	if strings.Contains(out.String(), "NaN") || strings.Contains(out.String(), "Inf") {
		t.Errorf("a workload did nothing or took no time:\n%s", &out)
	}
	samples, err := os.ReadFile(c.json)
	if want := 2 * 2 * len(workloads); err != nil || strings.Count(string(samples), `"units"`) != want {
		t.Errorf("samples: %v, or not %d of them", err, want)
	}
	leftovers(t, dir)
}

// TestInterrupted interrupts the program in the middle of its work on a mount.
func TestInterrupted(t *testing.T) {
	for _, sig := range []os.Signal{unix.SIGINT, unix.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.Command("/proc/self/exe", "--program=", "--dir", dir, "--peer", "mounted="+self(t), "--quick", "--rounds", "1000000")
			cmd.Env = append(os.Environ(), roleVar+"=program")
			progress := &waiter{text: "round 3 of 1000000: mounted", seen: make(chan struct{})}
			cmd.Stderr = progress
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() {
				cmd.Wait()
				close(ended)
			}()
			select {
			case <-progress.seen:
				cmd.Process.Signal(sig)
				<-ended
			case <-ended:
			}
			if code := cmd.ProcessState.ExitCode(); code != interrupted {
				t.Errorf("exit status %d: %s", code, &progress.all)
			}
			leftovers(t, dir)
		})
	}
}

// waiter tells when a text was written to it.
type waiter struct {
	text string
	seen chan struct{}
	all  bytes.Buffer
	told bool
}

func (w *waiter) Write(p []byte) (int, error) {
	w.all.Write(p)
	if !w.told && strings.Contains(w.all.String(), w.text) {
		w.told = true
		close(w.seen)
	}
	return len(p), nil
}
