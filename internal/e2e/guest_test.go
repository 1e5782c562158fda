package e2e

import (
	"context"
	"flag"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/isthmus-fs/isthmus/internal/lab"
)

const (
	tag       = "share"
	mountedAt = "/mnt/share"
	carried   = "/guest.test" // the guest tests in the initramfs
)

// A hostDir is a directory to share, and what the guest tests are to expect of
// it (see package guesttest): Debian 12's kernel asks for no birth times, the
// daemon keeps no right to trusted. attributes, and what fallocate can do is up to
// the host's file system.
type hostDir struct{ name, path, features string }

// hostDirs are a directory on each file system that the suite is run on.
func hostDirs(t *testing.T) []hostDir {
	shm, err := os.MkdirTemp("/dev/shm", "isthmus-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(shm) })
	if err := os.Chmod(shm, 0o755); err != nil { // ordinary users work in it
		t.Fatal(err)
	}
	return []hostDir{
		{"ext4", t.TempDir(), "nobtime,notrusted,zerorange"},
		{"tmpfs", shm, "nobtime,notrusted"},
	}
}

// guest returns the configuration of a guest that has the daemon's share.
func guest(kind lab.Kind, d *daemon, args ...string) lab.Config {
	cfg := lab.Config{
		Kind:   kind,
		Shares: []lab.Share{{Tag: tag, Socket: d.socket, Dir: mountedAt}},
		Args:   args,
		Agent:  isthmus,
	}
	if kind == lab.QEMU {
		cfg.CPUs, cfg.RequestQueues = 2, 2
	}
	return cfg
}

// consoleLog is for whoever looks into a guest that does not come up.
var consoleLog = flag.String("console", "", "append what the guests' kernels print to this `file`")

// run boots the guest and returns what its command printed. The command has to
// succeed.
func run(t *testing.T, cfg lab.Config) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var out, console logBuffer
	cfg.Stdout, cfg.Stderr, cfg.Console = &out, &out, &console
	if *consoleLog != "" {
		f, err := os.OpenFile(*consoleLog, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cfg.Console = io.MultiWriter(&console, f)
	}
	res, err := lab.Run(ctx, cfg)
	if err != nil {
		t.Fatalf("%v\noutput:\n%s\nconsole:\n%s", err, tail(&out), tail(&console))
	}
	if res.ExitCode != 0 {
		t.Fatalf("the guest's command ended with status %d\noutput:\n%s\nconsole:\n%s", res.ExitCode, tail(&out), tail(&console))
	}
	return out.String()
}

// sh is a guest command for the shell.
func sh(script string) []string { return []string{"sh", "-euc", script} }

func tail(b *logBuffer) string {
	const most = 20000
	s := b.String()
	if len(s) > most {
		s = "…" + s[len(s)-most:]
	}
	return s
}

// severalAtOnce are the guest tests that keep several processors busy, and move
// the most.
const severalAtOnce = "Parallel|ManyUsers|Thousands|FiveHundred|Random|Mapping|Transfers|Lock"

// TestFilesInAGuest runs the tests of internal/guesttest on a share, inside real
// guests: all of them in User-Mode Linux. QEMU has two processors, two request
// queues and PCI to add, for which each test need not be long, and the file
// system of the host matters only to those that do several things at once.
func TestFilesInAGuest(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		kind  lab.Kind
		tmpfs bool
		args  []string
		least int // how many tests there have to be
	}{
		{lab.UML, false, nil, 100},
		{lab.UML, true, nil, 100},
		{lab.QEMU, false, []string{"-test.short"}, 100},
		{lab.QEMU, true, []string{"-test.short", "-test.run", severalAtOnce}, 20},
	} {
		dir := openDir(t, tt.tmpfs)
		t.Run(tt.kind.String()+"/"+dir.name, func(t *testing.T) {
			t.Parallel()
			d := serve(t, dir.path, "--queues", "2")
			idle := d.openFiles()
			cfg := guest(tt.kind, d, append([]string{carried, "-test.v"}, tt.args...)...)
			cfg.Env = []string{"ISTHMUS_TEST_DIR=" + mountedAt, "ISTHMUS_TEST_FEATURES=" + dir.features}
			cfg.Files = []lab.File{{Path: carried, Source: guestTest, Mode: 0o755}}
			out := run(t, cfg)
			if n := strings.Count(out, "\n--- PASS"); n < tt.least {
				t.Errorf("only %d tests ran:\n%s", n, out)
			}
			d.waitLog("the VM has disconnected")
			if strings.Contains(d.log.String(), "do not arrive") {
				t.Error("the daemon warns of memory that is not shared")
			}
			if n := d.openFiles(); n > idle {
				t.Errorf("%d descriptors before the guest, %d after", idle, n)
			}
			d.stop(syscall.SIGTERM)
		})
	}
}
