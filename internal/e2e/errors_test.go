package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/isthmus-fs/isthmus/internal/lab"
)

// TestServeRefusesWithOneLine gives serve what cannot work: one line that says
// what to do, exit status 1, or 2 for a wrong command line.
func TestServeRefusesWithOneLine(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	running := serve(t, dir)
	for _, tt := range []struct {
		name   string
		args   []string
		status int
		want   string // in the line
	}{
		{"missing share", []string{"--socket", socket, "--share", dir + "/none"}, 1, "no such file or directory"},
		{"share is a pipe", []string{"--socket", socket, "--share", dir + "/fifo"}, 1, "neither a directory nor a regular file"},
		{"share is a file", []string{"--socket", socket, "--share", file}, 1, "a file cannot be the root"},
		{"missing socket directory", []string{"--socket", dir + "/none/s", "--share", dir}, 1, "none"},
		{"socket path is a file", []string{"--socket", file, "--share", dir}, 1, "not a socket"},
		{"socket in use", []string{"--socket", running.socket, "--share", dir}, 1, "another"},
		{"unknown group", []string{"--socket", socket, "--share", dir, "--socket-group", "nobody-has-this"}, 1, "no such group"},
		{"bad fd", []string{"--fd", "99", "--share", dir}, 1, "99"},
		{"fd is no socket", []string{"--fd", "0", "--share", dir}, 1, "socket"},
		{"no socket", []string{"--share", dir}, 2, "socket"},
		{"no share", []string{"--socket", socket}, 2, "share"},
		{"socket and fd", []string{"--socket", socket, "--fd", "3", "--share", dir}, 2, "fd"},
		{"empty share", []string{"--socket", socket, "--share", ""}, 2, "path is empty"},
		{"unknown flag", []string{"--sockets", socket, "--share", dir}, 2, "--sockets"},
		{"argument", []string{"--socket", socket, "--share", dir, "more"}, 2, "more"},
		{"cache word", []string{"--socket", socket, "--share", dir, "--cache", "sometimes"}, 2, "sometimes"},
		{"long tag", []string{"--socket", socket, "--share", dir, "--tag", strings.Repeat("t", 37)}, 2, "36"},
		{"no queues", []string{"--socket", socket, "--share", dir, "--queues", "0"}, 2, "64"},
		{"too many queues", []string{"--socket", socket, "--share", dir, "--queues", "65"}, 2, "64"},
		{"socket mode", []string{"--socket", socket, "--share", dir, "--socket-mode", "rw"}, 2, "octal"},
		{"negative time", []string{"--socket", socket, "--share", dir, "--attr-timeout", "-1s"}, 2, "want a time"},
		{"log level", []string{"--socket", socket, "--share", dir, "--log-level", "loud"}, 2, "loud"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, stderr := runOnce(t, append([]string{"serve"}, tt.args...)...)
			if status != tt.status {
				t.Errorf("exit status %d, want %d", status, tt.status)
			}
			lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
			if tt.status == 2 && len(lines) == 2 && strings.HasPrefix(lines[1], "Try ") {
				lines = lines[:1]
			}
			if len(lines) != 1 || !strings.Contains(lines[0], tt.want) {
				t.Errorf("want one line with %q, got\n%s", tt.want, stderr)
			}
			if _, err := os.Lstat(socket); err == nil {
				t.Error("a socket is left behind")
			}
		})
	}
	if b, err := os.ReadFile(file); err != nil || len(b) != 0 {
		t.Error("the file in place of the socket was touched")
	}
}

// TestMissingRights runs serve as a user who may not read the directory.
func TestMissingRights(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "secret"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{dir, filepath.Dir(dir), filepath.Dir(isthmus)} {
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(isthmus, "serve", "--socket", filepath.Join(dir, "s"), "--share", filepath.Join(dir, "secret"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
	out, _ := cmd.CombinedOutput()
	if status := cmd.ProcessState.ExitCode(); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	if s := string(out); strings.Count(s, "\n") != 1 || !strings.Contains(s, "permission denied") {
		t.Errorf("want one line that says permission denied, got\n%s", s)
	}
}

// TestMemoryNotShared boots a VM whose memory nobody else can map, as QEMU's is by
// default.
func TestMemoryNotShared(t *testing.T) {
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatal("qemu-system-x86_64 is missing: install the Debian package qemu-system-x86")
	}
	private := filepath.Join(t.TempDir(), "qemu")
	script := `#!/bin/bash
args=()
while [ $# -gt 0 ]; do
	case $1 in
	-object) shift ;;
	*) args+=("${1/,memory-backend=mem/}") ;;
	esac
	shift
done
exec ` + qemu + ` "${args[@]}"
`
	if err := os.WriteFile(private, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv(lab.EnvQEMU, private)
	d := serve(t, t.TempDir(), "--once", "--queues", "2")
	console := bootUntilDaemonEnds(t, d)
	if status := d.wait(); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	if log := d.log.String(); strings.Count(log, "share=on") != 1 {
		t.Errorf("want one line that says what to do:\n%s\nVM:\n%s", log, console)
	}
}

// TestMemoryPrivate boots a VM whose memory is in a file, but mapped private:
// nothing but the silence in the rings tells.
func TestMemoryPrivate(t *testing.T) {
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatal("qemu-system-x86_64 is missing: install the Debian package qemu-system-x86")
	}
	private := filepath.Join(t.TempDir(), "qemu")
	script := "#!/bin/bash\nexec " + qemu + " \"${@/share=on/share=off}\"\n"
	if err := os.WriteFile(private, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv(lab.EnvQEMU, private)
	d := serve(t, t.TempDir(), "--queues", "2")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	vm := make(chan struct{})
	go func() {
		defer close(vm)
		lab.Run(ctx, guest(lab.QEMU, d, "true"))
	}()
	d.waitLog("is its memory shared with this daemon")
	cancel()
	<-vm
	d.stop(syscall.SIGTERM)
}

// TestMoreQueuesThanTheShareHas has QEMU ask for two request queues of a share
// with one.
func TestMoreQueuesThanTheShareHas(t *testing.T) {
	d := serve(t, t.TempDir(), "--once")
	console := bootUntilDaemonEnds(t, d)
	if status := d.wait(); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	if log := d.log.String(); strings.Count(log, "no more request queues than the share has") != 1 {
		t.Errorf("want one line that says what to do:\n%s\nVM:\n%s", log, console)
	}
}

// bootUntilDaemonEnds starts QEMU with the daemon's share, stops it when the
// daemon has ended, and returns what the VM said.
func bootUntilDaemonEnds(t *testing.T, d *daemon) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var console logBuffer
	cfg := guest(lab.QEMU, d, "true")
	cfg.Console = &console
	vm := make(chan struct{})
	go func() {
		defer close(vm)
		lab.Run(ctx, cfg)
	}()
	select {
	case err := <-d.exited:
		d.exited <- err
	case <-vm:
	case <-time.After(patience):
		t.Errorf("the daemon does not end")
	}
	cancel()
	<-vm
	return tail(&console)
}

func runOnce(t *testing.T, args ...string) (status int, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, isthmus, args...)
	var b bytes.Buffer
	cmd.Stderr = &b
	cmd.Run()
	return cmd.ProcessState.ExitCode(), b.String()
}
