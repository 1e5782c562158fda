package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestOwnersDoorsLeadNowhere: of all that the owner's doors bring into the process that serves, no
// directory is one of the host's mounts. From such a descriptor ".." would lead to
// every file of the host, in spite of all namespaces.
func TestOwnersDoorsLeadNowhere(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		flags  []string
		within bool
	}{
		"handles":       {},
		"path rules":    {flags: []string{"--file-handles=never"}, within: true},
		"no path rules": {flags: []string{"--file-handles=never", "--landlock=false"}},
		"needless":      {within: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, run := t.TempDir(), t.TempDir()
			for _, name := range []string{"share", "later", "over"} {
				if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range []string{"one", "two"} {
				if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			ctl := filepath.Join(run, "ctl")
			d := launch{}.serve(t, filepath.Join(dir, "share"), append([]string{
				"--share", filepath.Join(dir, "one") + ":/one:unlink=delete", "--control", ctl, "--metrics", "0",
				"--audit", filepath.Join(run, "log"), "--allow-source", dir}, tt.flags...)...)
			for _, spec := range []string{"later:/later", "later:/ro:ro", "two:/two:unlink=delete", "over:/over:type=overlay"} {
				add := []string{"ctl", "--socket", ctl, "add", filepath.Join(dir, spec)}
				if tt.within {
					add = append(add, "--within", dir)
				}
				out, err := exec.Command(isthmus, add...).CombinedOutput()
				if err != nil {
					t.Errorf("add %s: %v\n%s", spec, err, out)
				}
			}
			host := mountsHere(t)
			fds := fmt.Sprintf("/proc/%d/fd/", d.inner())
			names, err := os.ReadDir(fds)
			if err != nil {
				t.Fatal(err)
			}
			for _, fd := range names {
				info, err := os.Stat(fds + fd.Name())
				if err != nil || !info.IsDir() {
					continue // or closed meanwhile
				}
				if mount := mountOf(t, d.inner(), fd.Name()); host[mount] {
					path, _ := os.Readlink(fds + fd.Name())
					t.Errorf("descriptor %s is the host's directory %s", fd.Name(), path)
				}
			}
			d.stop(syscall.SIGTERM)
		})
	}
}

// mountsHere are the ids of all mounts of this process.
func mountsHere(t *testing.T) map[string]bool {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		id, _, _ := strings.Cut(line, " ")
		ids[id] = true
	}
	return ids
}

// mountOf is the id of the mount that a descriptor of a process is on.
func mountOf(t *testing.T, pid int, fd string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", pid, fd))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if id, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			return strings.TrimSpace(id)
		}
	}
	t.Fatalf("descriptor %s says nothing of its mount: %s", fd, b)
	return ""
}
