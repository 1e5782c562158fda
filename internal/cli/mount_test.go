package cli

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestMount mounts a directory by the program, as a process of its own, and looks at
// it with others: whoever serves a mount must not use it.
func TestMount(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(from, "file"), []byte("text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "mount", "--translate-uid", "map:77:0:1", from, to)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	if line, err := bufio.NewReader(stderr).ReadString('\n'); !strings.Contains(line, "mounted") {
		t.Fatalf("it says %q, %v", line, err)
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
