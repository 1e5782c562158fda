package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-fs/isthmus/internal/lab"
	"github.com/isthmus-fs/isthmus/internal/lab/labtest"
	"github.com/isthmus-fs/isthmus/sandbox"
)

// TestMain runs the tests, or the program where it is started as such: as a mount, a ctl, or
// the daemon of try.
func TestMain(m *testing.M) {
	if sandbox.Inside() || len(os.Args) > 1 && slices.Contains([]string{"serve", "mount", "ctl"}, os.Args[1]) {
		os.Exit(Main(os.Args))
	}
	labtest.Main(m)
}

// TestTry shares a directory with a guest of each kind and looks at both ends
// of it.
func TestTry(t *testing.T) {
	for _, kind := range []lab.Kind{lab.UML, lab.QEMU} {
		t.Run(kind.String(), func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "from-host"), []byte("host\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			console := filepath.Join(t.TempDir(), "console")
			var stdout, stderr bytes.Buffer
			code := execute(context.Background(), []string{
				"isthmus", "try", "--vmm", kind.String(), "--tag", "my-tag", "--env", "WORD=guest", "--console", console, dir,
				"--", "sh", "-c", "cat from-host; echo $WORD > from-guest; grep -c '^my-tag /mnt/share virtiofs rw' /proc/mounts; echo oops >&2; exit 42",
			}, &stdout, &stderr)
			if code != 42 || stdout.String() != "host\n1\n" || stderr.String() != "oops\n" {
				t.Errorf("exit status %d, output %q, error output %q", code, stdout.String(), stderr.String())
			}
			if text, err := os.ReadFile(filepath.Join(dir, "from-guest")); string(text) != "guest\n" {
				t.Errorf("the host reads %q, %v", text, err)
			}
			if text, err := os.ReadFile(console); err != nil || bytes.Contains(text, []byte("isthmus guest")) {
				t.Errorf("%v, or the guest complained:\n%s", err, text)
			}
		})
	}
}

// TestTryEachSandbox: the daemon says that it is ready from wherever it is.
func TestTryEachSandbox(t *testing.T) {
	for _, mode := range []string{"namespace", "chroot", "none"} {
		t.Run(mode, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			var stdout, stderr bytes.Buffer
			code := execute(ctx, []string{"isthmus", "try", "--sandbox", mode, t.TempDir(), "--", "echo", "there"}, &stdout, &stderr)
			if code != 0 || stdout.String() != "there\n" || stderr.Len() != 0 {
				t.Errorf("exit status %d, output %q, error output %q", code, stdout.String(), stderr.String())
			}
		})
	}
}

func TestTryInterruptedEarly(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var stdout, stderr bytes.Buffer
	code := execute(ctx, []string{"isthmus", "try", t.TempDir(), "--", "true"}, &stdout, &stderr)
	if code != exitFailure || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("exit status %d, %q", code, stderr.String())
	}
}

func TestTryReadOnlyMount(t *testing.T) {
	dir := t.TempDir()
	var stdout, stderr bytes.Buffer
	code := execute(context.Background(), []string{"isthmus", "try", "-o", "ro,nosuid", dir, "--", "touch", "file"}, &stdout, &stderr)
	if code != 1 || !strings.Contains(stderr.String(), "Read-only file system") {
		t.Errorf("exit status %d, %q", code, stderr.String())
	}
}

func TestTryPositional(t *testing.T) {
	tests := []struct {
		name    string
		socket  string
		args    []string
		dash    int
		shares  []string
		command []string
		err     string
	}{
		{name: "shell", args: []string{"d"}, dash: -1, shares: []string{"d"}},
		{name: "command", args: []string{"d", "ls", "-l"}, dash: 1, shares: []string{"d"}, command: []string{"ls", "-l"}},
		{name: "socket", socket: "/s", args: []string{"ls"}, dash: 0, command: []string{"ls"}},
		{name: "socket and directory", socket: "/s", args: []string{"d"}, dash: -1, err: "has that already"},
		{name: "nothing", dash: -1, err: "isthmus try DIR"},
		{name: "several", args: []string{"d", "type=scratch,target=/tmp", "ls"}, dash: 2, shares: []string{"d", "type=scratch,target=/tmp"}, command: []string{"ls"}},
		{name: "no directory", args: []string{"ls"}, dash: 0, err: "no directory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := tryFlags{socket: test.socket}
			command, err := f.positional(test.args, test.dash)
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Fatalf("error %v, want %q", err, test.err)
			}
			if err == nil && (!slices.Equal(f.share.shares, test.shares) || !slices.Equal(command, test.command)) {
				t.Errorf("shares %q and command %q", f.share.shares, command)
			}
		})
	}
}

func TestTryErrors(t *testing.T) {
	dir := t.TempDir()
	tests := []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--vmm", "xen", dir}, exitUsage, "unknown kind of guest \"xen\": one of uml, qemu"},
		{[]string{"--tag", "", dir}, exitUsage, "--tag"},
		{[]string{"--timeout", "-1s", dir}, exitUsage, "cannot be negative"},
		{[]string{"/no/such/dir", "--", "true"}, exitFailure, "share /no/such/dir: no such file or directory"},
		{[]string{"/proc/version", "--", "true"}, exitFailure, "the source is a file: target: a file cannot be the root"},
		{[]string{dir, "ls"}, exitFailure, "isthmus try " + dir + " -- ls"},
		{[]string{"--socket", "/no/such.sock", "--", "true"}, exitFailure, "/no/such.sock: no such file or directory"},
		{[]string{"--console", "/no/such/file", dir, "--", "true"}, exitFailure, "--console: "},
		{[]string{"--memory", "1", dir, "--", "true"}, exitFailure, "1 MiB of memory"},
	}
	for _, test := range tests {
		var stdout, stderr bytes.Buffer
		code := execute(context.Background(), append([]string{"isthmus", "try"}, test.args...), &stdout, &stderr)
		if code != test.code || !strings.Contains(stderr.String(), test.want) || stdout.Len() > 0 {
			t.Errorf("try %q: exit status %d, %q and output %q; want %d and %q", test.args, code, stderr.String(), stdout.String(), test.code, test.want)
		}
	}
}

// TestTryMissingTool names a tool that is not there.
func TestTryMissingTool(t *testing.T) {
	t.Setenv("ISTHMUS_UML_MODULES", t.TempDir())
	var stdout, stderr bytes.Buffer
	code := execute(context.Background(), []string{"isthmus", "try", t.TempDir(), "--", "true"}, &stdout, &stderr)
	if code != exitFailure || !strings.Contains(stderr.String(), "apt install user-mode-linux") {
		t.Errorf("exit status %d, %q", code, stderr.String())
	}
}
