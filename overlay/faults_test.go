package overlay_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/passthrough"
)

// small is a lower tree with something of each kind.
func small(t testing.TB, dir string) {
	t.Helper()
	h := &host{dir}
	for _, errno := range []syscall.Errno{
		h.write("file", unix.O_WRONLY|unix.O_CREAT, strings.Repeat("data ", 1000), 0),
		h.setxattr("file", "user.a", "value"),
		h.chmod("file", 0o640),
		h.chown("file", 7, 8),
		h.link("file", "other-name"),
		h.write("plain", unix.O_WRONLY|unix.O_CREAT, "plain", 0),
		h.symlink("file", "link"),
		h.mkfifo("pipe"),
		h.mkdir("empty", 0o755),
		h.mkdir("full", 0o2775),
		h.write("full/inner", unix.O_WRONLY|unix.O_CREAT, "inner", 0),
		h.mkdir("full/deep", 0o755),
		h.write("full/deep/leaf", unix.O_WRONLY|unix.O_CREAT, "leaf", 0),
		h.setMtime("file", 1000),
	} {
		if errno != 0 {
			t.Fatal(errno)
		}
	}
}

var faultSteps = []step{
	{"chmod", func(s system) syscall.Errno { return s.chmod("file", 0o600) }},
	{"chmod of a link", func(s system) syscall.Errno { return s.chown("link", 3, 4) }},
	{"chmod of a directory", func(s system) syscall.Errno { return s.chmod("full", 0o700) }},
	{"truncate", func(s system) syscall.Errno { return s.truncate("file", 10) }},
	{"setxattr", func(s system) syscall.Errno { return s.setxattr("plain", "user.b", "v") }},
	{"removexattr", func(s system) syscall.Errno { return s.removexattr("file", "user.a") }},
	{"unlink", func(s system) syscall.Errno { return s.unlink("plain") }},
	{"unlink one of two", func(s system) syscall.Errno { return s.unlink("file") }},
	{"rmdir", func(s system) syscall.Errno { return s.rmdir("empty") }},
	{"mkdir", func(s system) syscall.Errno { return s.mkdir("full/new", 0o755) }},
	{"symlink", func(s system) syscall.Errno { return s.symlink("t", "full/new") }},
	{"link", func(s system) syscall.Errno { return s.link("plain", "full/new") }},
	{"rename", func(s system) syscall.Errno { return s.rename("plain", "full/new", 0) }},
	{"rename one of two", func(s system) syscall.Errno { return s.rename("file", "full/new", 0) }},
	{"rename over a file", func(s system) syscall.Errno { return s.rename("plain", "full/inner", 0) }},
	{"rename a directory", func(s system) syscall.Errno { return s.rename("full", "moved", 0) }},
	{"rename over a directory", func(s system) syscall.Errno { return s.rename("full", "empty", 0) }},
	{"exchange", func(s system) syscall.Errno { return s.rename("full/deep", "pipe", unix.RENAME_EXCHANGE) }},
}

// TestFaults has each step fail at each of the children's calls in turn. What
// failed has changed nothing, leaves nothing in the upper layer, and works when it
// is tried again.
func TestFaults(t *testing.T) {
	for _, s := range faultSteps {
		t.Run(s.text, func(t *testing.T) {
			twin := tempDir(t, "/dev/shm")
			small(t, twin)
			if errno := s.run(&host{twin}); errno != 0 {
				t.Fatal(errno)
			}
			want := tree(t, &host{twin}, nothing)
			for n := int64(1); ; n++ {
				if !failAt(t, s, n, want) {
					if n < 4 {
						t.Errorf("there were only %d calls", n-1)
					}
					break
				}
			}
		})
	}
}

// failAt makes a step with the n-th call failing and reports whether there were
// so many.
func failAt(t *testing.T, s step, n int64, want map[string]string) bool {
	t.Helper()
	lowerDir, upperDir := tempDir(t, "/dev/shm"), tempDir(t, "/dev/shm")
	small(t, lowerDir)
	lower, upper := newLayer(t, lowerDir, passthrough.HandlesNever), newLayer(t, upperDir, passthrough.HandlesNever)
	f := &faults{errno: syscall.ENOSPC}
	over := newOverlay(t, faulty{lower, f}, faulty{upper, f})
	if _, errno := over.Init(0); errno != 0 {
		t.Fatal(errno)
	}
	g := newGuest(over)
	before := tree(t, g, nothing)
	f.arm(n)
	errno := s.run(g)
	fired := f.fired()
	f.arm(0)
	after := tree(t, g, nothing)
	if errno == 0 {
		// A call may fail of which the result does not matter.
		if diff := cmp.Diff(want, after); diff != "" {
			t.Errorf("call %d fails, the step does not (-want +got):\n%s", n, diff)
		}
		return fired
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("call %d fails, and something has changed (-before +after):\n%s", n, diff)
	}
	if parts := entries(t, upperDir); parts > over.Stats().Records {
		t.Errorf("call %d fails: there are %d upper parts for %d records", n, parts, over.Stats().Records)
	}
	if errno := s.run(g); errno != 0 {
		t.Errorf("call %d fails; again: %v", n, errno)
	}
	if diff := cmp.Diff(want, tree(t, g, nothing)); diff != "" {
		t.Errorf("call %d fails, and then again (-want +got):\n%s", n, diff)
	}
	g.end()
	for what, nodes := range map[string]int{"lower": lower.Stats().Nodes - 1, "upper": upper.Stats().Nodes - 2, "overlay's": int(over.Counts().Nodes) - 1} {
		if nodes > 0 {
			t.Errorf("call %d fails: at the end there are %d %s nodes too many", n, nodes, what)
		}
	}
	if h := lower.Stats().Handles + upper.Stats().Handles + int(over.Counts().Handles); h != 0 {
		t.Errorf("call %d fails: at the end there are %d handles", n, h)
	}
	return true
}

// entries is how many there are in a host directory.
func entries(t *testing.T, dir string) int {
	t.Helper()
	list, err := os.ReadDir(filepath.Clean(dir))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
