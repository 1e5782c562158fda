package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestGHSA_rr59_xxvx_96qr: Kata passed a pod's annotation on to virtiofsd's
// command line, where "-o source=/" or "--sandbox none" undid the launcher's own.
// Ours cannot know whose an argument is, and of two the last counts, or both do: a
// launcher must pass on no arguments that it does not trust. But it may pass on
// values: whatever is in the value of one option, it never becomes another. In that
// of --share a path is written so that none of it is an option of the mount.
func TestGHSA_rr59_xxvx_96qr(t *testing.T) {
	top := t.TempDir()
	mkdir := func(name string) string {
		t.Helper()
		path := filepath.Join(top, name)
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain, other := mkdir("plain"), mkdir("other")
	names := []string{
		"--sandbox=none", "--seccomp", "-o", "a --sandbox none", "a\n--sandbox=none", "a\r\n--sandbox=none", "a,sandbox=none",
		"a=b", "@arguments", "$(touch owned)", "a;touch owned", "*", "a\x1b[31m", "a\" level=INFO msg=\"waiting for a VM",
	}
	for _, name := range names {
		mkdir(name)
	}
	// What "@arguments" would lead to if it were more than a name.
	if err := os.WriteFile(filepath.Join(top, "@arguments.txt"), []byte("--sandbox=none\n"), 0o644); err != nil {
		t.Fatal(err)
	}

	for _, name := range names {
		t.Run("share "+name, func(t *testing.T) {
			d := launch{dir: top}.serve(t, asPath(name))
			wantClosedIn(t, d, filepath.Join(top, name))
			if asPath(name) != name {
				d := launch{dir: top}.start(t, name)
				if status := d.wait(); status != 2 {
					t.Errorf("%q, as it is: exit status %d, want 2:\n%s", name, status, d.log)
				}
			}
		})
		t.Run("source "+name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			escaped := strings.ReplaceAll(name, ",", ",,") // as libvirt writes it
			d := launch{dir: top, socket: socket}.run(t, "virtiofsd", "--socket-path", socket, "-o", "source="+escaped)
			d.waitLog("Waiting for vhost-user socket connection")
			wantClosedIn(t, d, filepath.Join(top, name))
		})
		if len(name) <= 36 {
			t.Run("tag "+name, func(t *testing.T) {
				d := serve(t, plain, "--tag", name)
				wantClosedIn(t, d, plain)
				d = serve(t, plain, "--tag="+name)
				wantClosedIn(t, d, plain)
			})
		}
		t.Run("socket "+name, func(t *testing.T) {
			d := launch{dir: t.TempDir(), socket: name}.serve(t, plain)
			wantClosedIn(t, d, plain)
		})
	}
	t.Run("environment", func(t *testing.T) {
		for _, v := range []string{
			"ISTHMUS_SANDBOX=0", "ISTHMUS_SANDBOX=1", "ISTHMUS_SANDBOX=none", "ISTHMUS_SHARE=/", "ISTHMUS_SECCOMP=none", "ISTHMUS_OPTIONS=--sandbox=none",
		} {
			// To refuse it is right too.
			d := launch{env: []string{v}}.start(t, plain)
			if eventuallyLogs(d, "waiting for a VM") {
				wantClosedIn(t, d, plain)
			} else if status := d.wait(); status == 0 {
				t.Errorf("%s: the daemon ends with status 0", v)
			}
		}
	})
	t.Run("words that are no values", func(t *testing.T) {
		socket := filepath.Join(t.TempDir(), "s")
		for _, more := range [][]string{{"--", "--sandbox=none"}, {"sandbox=none"}, {""}, {"-o", "sandbox=none"}, {"--sandbox none"}, {"--sandbox="}, {"--sandbox"}} {
			status, stderr := runOnce(t, append([]string{"serve", "--socket", socket, "--share", plain}, more...)...)
			if status != 2 {
				t.Errorf("%q: exit status %d, want 2:\n%s", more, status, stderr)
			}
		}
	})
	t.Run("the last counts", func(t *testing.T) {
		if status := (launch{}).start(t, plain, "--share", other).wait(); status != 2 {
			t.Errorf("two shares at one path: exit status %d, want 2", status)
		}
		socket := filepath.Join(t.TempDir(), "s")
		d := launch{socket: socket}.run(t, "virtiofsd", "--socket-path", socket, "-o", "source="+plain, "-o", "source="+other)
		d.waitLog("Waiting for vhost-user socket connection")
		wantClosedIn(t, d, other)
	})
	if _, err := os.Lstat(filepath.Join(top, "owned")); err == nil {
		t.Error("a value was run as a command")
	}
}

// asPath writes a path of the host as a value of --share (see docs/shares.md).
func asPath(path string) string {
	if word, _, ok := strings.Cut(path, "="); ok && strings.Trim(word, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" && word[0] >= 'a' {
		path = "./" + path
	}
	return strings.NewReplacer(`\`, `\\`, `,`, `\,`, `:`, `\:`).Replace(path)
}

// wantClosedIn checks that a daemon serves a directory and is closed in as it is
// without a word about that, and that its log has only lines of its own.
func wantClosedIn(t *testing.T, d *daemon, share string) {
	t.Helper()
	want, err := os.Stat(share)
	if err != nil {
		t.Fatal(err)
	}
	checkClosedIn(t, d, want.Sys().(*syscall.Stat_t))
	for line := range strings.Lines(d.log.String()) {
		if !strings.HasPrefix(line, "time=") && !strings.HasPrefix(line, "[") {
			t.Errorf("a line of the log was made by a value: %q", line)
		}
		if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return r < ' ' }) {
			t.Errorf("a line of the log has control characters: %q", line)
		}
	}
	if n := strings.Count(d.log.String(), "\n"); n > 2 {
		t.Errorf("%d lines in the log:\n%s", n, d.log)
	}
}

// eventuallyLogs is waitLog for a daemon that may end instead.
func eventuallyLogs(d *daemon, text string) bool {
	d.t.Helper()
	done := false
	eventually(d.t, "the daemon listens or ends", func() bool {
		select {
		case err := <-d.exited:
			d.exited <- err
			done = true
		default:
		}
		return done || strings.Contains(d.log.String(), text)
	})
	return strings.Contains(d.log.String(), text)
}
