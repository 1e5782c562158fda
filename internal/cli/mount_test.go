package cli

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isthmus-fs/isthmus/internal/spec"
)

// TestMount mounts a directory by the program, as a process of its own, and looks at
// it with others: whoever serves a mount must not use it.
func TestMount(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(from, "file"), []byte("text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, line := startMount(t, "--translate-uid", "map:77:0:1", from, to)
	if !strings.Contains(line, "mounted") {
		t.Fatalf("it says %q", line)
	}
	out, err := exec.Command("sh", "-c", `cd "$1" && cat file && stat -c %u file && echo new >made`, "sh", to).CombinedOutput()
	if err != nil || string(out) != "text\n77\n" {
		t.Errorf("in the mount: %v\n%s", err, out)
	}
	if text, err := os.ReadFile(filepath.Join(from, "made")); string(text) != "new\n" {
		t.Errorf("the host reads %q, %v", text, err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after the interrupt: %v", err)
	}
	if names, err := os.ReadDir(to); err != nil || len(names) != 0 {
		t.Errorf("the mount point holds %v, %v afterwards", names, err)
	}
}

// TestMountEndsWithItsTerminal and leaves no mount behind that nobody serves, unless
// nohup(1) has asked for more.
func TestMountEndsWithItsTerminal(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	from, to := t.TempDir(), t.TempDir()
	staying, line := start(t, "nohup", self, "mount", from, to)
	if !strings.Contains(line, "mounted") {
		t.Fatalf("it says %q", line)
	}
	if err := errors.Join(staying.Process.Signal(syscall.SIGHUP), exec.Command("touch", filepath.Join(to, "file")).Run()); err != nil {
		t.Errorf("a mount that is to stay: %v", err)
	}
	if err := errors.Join(staying.Process.Signal(os.Interrupt), staying.Wait()); err != nil {
		t.Errorf("after the interrupt: %v", err)
	}
	// Whoever runs the tests may ignore the signal, which is inherited.
	going, line := start(t, "env", "--default-signal=HUP", self, "mount", from, to)
	if !strings.Contains(line, "mounted") {
		t.Fatalf("it says %q", line)
	}
	if err := errors.Join(going.Process.Signal(syscall.SIGHUP), going.Wait()); err != nil {
		t.Errorf("after the signal: %v", err)
	}
	if names, err := os.ReadDir(to); err != nil || len(names) != 0 {
		t.Errorf("the mount point holds %v, %v afterwards", names, err)
	}
}

// TestMountOutlivesWhoReadsItsLog: it goes on without a log.
func TestMountOutlivesWhoReadsItsLog(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	cmd := exec.Command("/proc/self/exe", "mount", "--log-level=debug", from, to)
	log, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	err = cmd.Start()
	theirs.Close()
	log.Close() // before it has said anything
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	wait := `until mountpoint -q "$1" || test ! -d /proc/$2; do sleep 0.01; done; touch "$1"/file`
	if out, err := exec.Command("sh", "-c", wait, "sh", to, strconv.Itoa(cmd.Process.Pid)).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if err := errors.Join(cmd.Process.Signal(os.Interrupt), cmd.Wait()); err != nil {
		t.Errorf("after the interrupt: %v", err)
	}
	if _, err := os.Stat(filepath.Join(from, "file")); err != nil {
		t.Error(err)
	}
}

// TestMountEndsInOtherNamespaces: a mount of which another mount namespace has a copy
// ends all the same, and what was written to it has arrived.
func TestMountEndsInOtherNamespaces(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	cmd, line := startMount(t, "--writeback", "--passthrough=never", from, to)
	if !strings.Contains(line, "mounted") {
		t.Fatalf("it says %q", line)
	}
	other := exec.Command("unshare", "-m", "--propagation", "private", "sh", "-c", "echo there; exec sleep 1000")
	other.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Wait()
	defer other.Process.Kill()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("sh", "-c", `echo held back >"$1"/file`, "sh", to).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after the interrupt: %v", err)
	}
	if text, err := os.ReadFile(filepath.Join(from, "file")); string(text) != "held back\n" {
		t.Errorf("the host reads %q, %v", text, err)
	}
}

func TestMountInBackground(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(from, "file"), []byte("text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) string {
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Errorf("%s %q: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	log := filepath.Join(t.TempDir(), "log")
	cmd := exec.Command("/proc/self/exe", "mount", "--background", from+":/d", "type=scratch,target=/tmp", to)
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd.Stderr = f
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(log)
		t.Fatalf("%v\n%s", err, text)
	}
	if out := run("cat", filepath.Join(to, "d", "file")); out != "text\n" {
		t.Errorf("in the mount: %q", out)
	}
	run("umount", to)
	// Who reads all that the command says does not wait for the mount's end.
	if out := run("/proc/self/exe", "mount", "--background", from, to); !strings.Contains(out, "mounted") {
		t.Errorf("it says %q", out)
	}
	run("umount", to)
	cmd = exec.Command("/proc/self/exe", "mount", "--background", filepath.Join(from, "none"), to)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != exitFailure || !strings.Contains(string(out), "no such file") || strings.Count(string(out), "\n") != 1 {
		t.Errorf("of what is not there: %v\n%s", err, out)
	}
}

func TestMountPointIsADirectory(t *testing.T) {
	from := t.TempDir()
	at := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(at, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "mount", "--background", from, at)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != exitFailure || !strings.Contains(string(out), "not a directory") {
		t.Errorf("%v\n%s", err, out)
		exec.Command("umount", at).Run()
	}
}

func TestScratchSpaceIsTheUsers(t *testing.T) {
	root, other := uint32(0), uint32(7)
	for _, tc := range []struct {
		user     int
		said     *uint32
		uid, gid *uint32
	}{
		{0, nil, nil, nil}, // root's, as everywhere
		{7, nil, &other, &other},
		{7, &root, &root, &other},
	} {
		var all spec.Mount
		ownSpace(&all, tc.user, tc.user)
		m := spec.Mount{Type: spec.Scratch, Target: "/", RootUID: tc.said}
		if err := m.Fill(&all); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]*uint32{tc.uid, tc.gid}, []*uint32{m.RootUID, m.RootGID}); diff != "" {
			t.Errorf("user %d: %s", tc.user, diff)
		}
	}
}

// startMount runs the program, as a process of its own, and returns its first line.
func startMount(t *testing.T, args ...string) (*exec.Cmd, string) {
	t.Helper()
	return start(t, "/proc/self/exe", append([]string{"mount"}, args...)...)
}

// start runs a command and returns its first line.
func start(t *testing.T, name string, args ...string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	line, _ := bufio.NewReader(stderr).ReadString('\n')
	return cmd, line
}

func TestMountPointInsideTheDirectory(t *testing.T) {
	dir := t.TempDir()
	inside, beside := filepath.Join(dir, "a", "b"), filepath.Join(dir, "ab")
	link := filepath.Join(dir, "link")
	for _, d := range []string{inside, beside} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(inside, link); err != nil {
		t.Fatal(err)
	}
	a := filepath.Join(dir, "a")
	for _, tc := range []struct {
		dir, at string
		refused string
	}{
		{a, beside, ""},
		{inside, a, ""}, // covers the directory, which is open by then
		{a, inside, "inside"},
		{a, link, "inside"},
		{a, a, "inside"},
		{"/", beside, "inside"},
		{a, filepath.Join(dir, "none"), "no such file"},
	} {
		err := checkApart(tc.dir, tc.at)
		if (err != nil) != (tc.refused != "") || err != nil && !strings.Contains(err.Error(), tc.refused) {
			t.Errorf("%s on %s: %v, want %q", tc.dir, tc.at, err, tc.refused)
		}
	}
}

func TestFSNameFits(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"/srv/a", "/srv/a"},
		{"/srv/a\nb\x7f", "/srv/a?b?"},
		{strings.Repeat("x", 255), strings.Repeat("x", 255)},
		{strings.Repeat("x", 256), strings.Repeat("x", 252) + "…"},
		{strings.Repeat("é", 200), strings.Repeat("é", 126) + "…"},
	} {
		if got := fsName(tt.text); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.text, got, tt.want)
		}
	}
}
