package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/sandbox"
	"github.com/isthmus-fs/isthmus/vfs"
)

// namespaces are those that the inner process has for itself, by their name in
// /proc/PID/ns. A daemon of root's has the host's user namespace.
var namespaces = []string{"mnt", "pid", "net", "ipc", "uts"}

// TestClosedInAsSeenFromOutside looks at a running daemon by way of /proc, with
// a guest at work.
func TestClosedInAsSeenFromOutside(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		caps sandbox.Caps
	}{
		{"default", nil, sandbox.ServerCaps(true)},
		{"descriptors", []string{"--file-handles", "never"}, sandbox.ServerCaps(false)},
		{"read-only", []string{"--readonly"}, sandbox.ServerCaps(true)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			share := t.TempDir()
			if err := os.WriteFile(filepath.Join(share, "file"), []byte("something"), 0o644); err != nil {
				t.Fatal(err)
			}
			d := serve(t, share, tt.args...)
			g := attack(t, d)
			g.lookup(vfs.Root, "file")
			st, err := os.Stat(share)
			if err != nil {
				t.Fatal(err)
			}
			checkClosedIn(t, d, st.Sys().(*syscall.Stat_t))
			for _, task := range tasks(t, d.inner()) {
				for _, set := range []string{"CapEff", "CapPrm", "CapBnd"} {
					if caps := capSet(t, task, set); caps&^tt.caps != 0 {
						t.Errorf("%s: %s has %v beside what serving takes", task, set, caps&^tt.caps)
					}
				}
			}
			// The inner process has no descriptor of anything of the host's but
			// the share and what it talks through.
			checkDescriptors(t, d, share)
			g.hangUp()
			d.stop(syscall.SIGTERM)
		})
	}
}

// checkClosedIn checks both processes of a daemon that serves the directory with
// the attributes share.
func checkClosedIn(t *testing.T, d *daemon, share *syscall.Stat_t) {
	t.Helper()
	outer, inner := d.outer(), d.inner()
	if inner == outer {
		t.Error("the daemon has no inner process")
		return
	}
	for _, ns := range namespaces {
		link := func(pid int) string {
			text, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
			if err != nil {
				t.Error(err)
			}
			return text
		}
		if link(inner) == link(os.Getpid()) {
			t.Errorf("the inner process is in our %s namespace", ns)
		}
	}
	root, err := os.Stat(fmt.Sprintf("/proc/%d/root", inner))
	if err != nil {
		t.Error(err)
	} else if st := root.Sys().(*syscall.Stat_t); st.Dev != share.Dev || st.Ino != share.Ino {
		t.Errorf("the root of the inner process is inode %d, the share is %d", st.Ino, share.Ino)
	}
	// The working directory is the list of its own descriptors, cut off from
	// the rest of /proc: ".." leads back to it.
	cwd := fmt.Sprintf("/proc/%d/cwd", inner)
	var fs unix.Statfs_t
	if err := unix.Statfs(cwd, &fs); err != nil || fs.Type != unix.PROC_SUPER_MAGIC {
		t.Errorf("the working directory of the inner process is on a file system of type %#x (%v), not in /proc", fs.Type, err)
	}
	threads := tasks(t, inner)
	if len(threads) < 2 {
		t.Errorf("the inner process has %d threads: that says little of all", len(threads))
	}
	for _, task := range threads {
		for field, want := range map[string]string{"NoNewPrivs": "1", "Seccomp": "2", "CapInh": zeroCaps, "CapAmb": zeroCaps} {
			if got := statusField(t, task, field); got != want {
				t.Errorf("%s: %s is %s, want %s", task, field, got, want)
			}
		}
	}
	for _, task := range tasks(t, outer) {
		for field, want := range map[string]string{"NoNewPrivs": "1", "CapEff": zeroCaps, "CapPrm": zeroCaps, "CapInh": zeroCaps, "CapAmb": zeroCaps} {
			if got := statusField(t, task, field); got != want {
				t.Errorf("%s of the outer process: %s is %s, want %s", task, field, got, want)
			}
		}
	}
}

const zeroCaps = "0000000000000000"

// checkDescriptors checks what the descriptors of the inner process are of.
func checkDescriptors(t *testing.T, d *daemon, share string) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", d.inner())
	ents, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	// The inner process sees the share as /, and so does the kernel's text.
	allowed := []string{"socket:", "pipe:", "anon_inode:", "/dev/null", "/memfd:virtqtest", "/cpu."} // the Go runtime looks at the limits of processors
	for _, e := range ents {
		path := filepath.Join(dir, e.Name())
		text, err := os.Readlink(path)
		if err != nil {
			continue // closed meanwhile
		}
		if slices.ContainsFunc(allowed, func(prefix string) bool { return strings.HasPrefix(text, prefix) }) {
			continue
		}
		var st unix.Stat_t
		var fs unix.Statfs_t
		if unix.Stat(path, &st) != nil || unix.Statfs(path, &fs) != nil {
			continue
		}
		var of unix.Stat_t
		if err := unix.Stat(share, &of); err != nil {
			t.Fatal(err)
		}
		switch {
		case fs.Type == unix.PROC_SUPER_MAGIC && st.Mode&unix.S_IFMT == unix.S_IFDIR: // /proc/self/fd
		case st.Dev == of.Dev && (st.Ino == of.Ino || filepath.Dir(text) == "/" || strings.HasPrefix(text, share)):
		case fs.Type == unix.PROC_SUPER_MAGIC && strings.HasSuffix(text, "mountinfo"):
		default:
			t.Errorf("descriptor %s of the inner process is %s", e.Name(), text)
		}
	}
}

// TestEndsWithBothProcesses ends the daemon in each way that there is: no
// process stays behind.
func TestEndsWithBothProcesses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		end    func(t *testing.T, d *daemon)
		status int // of the outer process; −1: a signal
		clean  bool
	}{
		{"SIGTERM", func(t *testing.T, d *daemon) { d.cmd.Process.Signal(syscall.SIGTERM) }, 0, true},
		{"SIGINT", func(t *testing.T, d *daemon) { d.cmd.Process.Signal(syscall.SIGINT) }, 0, true},
		{"SIGTERM to both", func(t *testing.T, d *daemon) {
			syscall.Kill(d.inner(), syscall.SIGTERM)
			d.cmd.Process.Signal(syscall.SIGTERM)
		}, 0, true},
		{"kill of the outer", func(t *testing.T, d *daemon) { d.cmd.Process.Kill() }, -1, false},
		{"kill of the inner", func(t *testing.T, d *daemon) { syscall.Kill(d.inner(), syscall.SIGKILL) }, 128 + 9, true},
	} {
		for _, busy := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s with a VM %v", tt.name, busy), func(t *testing.T) {
				d := serve(t, t.TempDir())
				inner := d.inner()
				if busy {
					g := attack(t, d)
					defer g.fe.Close()
				}
				tt.end(t, d)
				if status := d.wait(); status != tt.status {
					t.Errorf("exit status %d, want %d", status, tt.status)
				}
				waitGone(t, inner)
				for _, left := range []string{d.socket, d.socket + ".pid"} {
					if _, err := os.Lstat(left); (err == nil) == tt.clean {
						t.Errorf("%s: %v", left, err)
					}
				}
			})
		}
	}
}

// TestInnerStopped has the inner process stand still, as a debugger or a freezer
// makes it do: the outer one can be killed all the same, and takes it along.
func TestInnerStopped(t *testing.T) {
	d := serve(t, t.TempDir())
	inner := d.inner()
	if err := syscall.Kill(inner, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if state, err := processState(inner); err != nil || state == 'T' {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the inner process does not stop")
		}
	}
	d.cmd.Process.Kill()
	d.wait()
	waitGone(t, inner)
}

// tasks returns the directories in /proc of the threads of a process.
func tasks(t *testing.T, pid int) []string {
	t.Helper()
	all, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || len(all) == 0 {
		t.Fatalf("process %d has no threads (%v)", pid, err)
	}
	return all
}

// statusField returns a field of status in a thread's directory.
func statusField(t *testing.T, task, field string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(task, "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if name, value, _ := strings.Cut(line, ":"); name == field {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("%s has no %s", task, field)
	return ""
}

func capSet(t *testing.T, task, field string) sandbox.Caps {
	t.Helper()
	n, err := strconv.ParseUint(statusField(t, task, field), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return sandbox.Caps(n)
}
