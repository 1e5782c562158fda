package guesttest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// installSelf copies the test binary into dir and returns its path.
func installSelf(t *testing.T, dir string) string {
	t.Helper()
	self, err := os.Open("/proc/self/exe")
	check(t, err, "open the test binary")
	defer self.Close()
	path := dir + "/binary"
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	check(t, err, "create the copy")
	_, err = io.Copy(f, self)
	check(t, err, "copy the test binary")
	check(t, f.Close(), "close the copy")
	return path
}

// runIdentity runs the copy and returns the user ids that it reports.
func runIdentity(t *testing.T, path string, u *user) (effective, real uint32, err error) {
	t.Helper()
	out, err := helperCommand(path, "identity", u).Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0, 0, err
	}
	if exit.ExitCode() != identityStatus {
		t.Fatalf("%s ended with %v, want status %d", path, err, identityStatus)
	}
	if _, err := fmt.Sscan(string(out), &effective, &real); err != nil {
		t.Fatalf("%s printed %q", path, out)
	}
	return effective, real, nil
}

func TestAProgramOnTheShareRuns(t *testing.T) {
	dir := scratch(t)
	path := installSelf(t, dir)
	var fs unix.Statfs_t
	check(t, unix.Statfs(dir, &fs), "statfs")
	setuid := fs.Flags&unix.ST_NOSUID == 0
	if !setuid {
		t.Log("mounted nosuid: only that set-user-ID has no effect APPLIES")
	}
	for _, c := range []struct {
		mode      uint32
		who       *user
		effective uint32
		err       error
	}{
		{0o755, nil, 0, nil},
		{0o755, &carol, carol.uid, nil},
		{0o711, &carol, carol.uid, nil}, // running takes no right to read
		{0o111, &carol, carol.uid, nil},
		{0o754, &carol, 0, unix.EACCES},
		{0o100, nil, 0, nil},
		{0o644, nil, 0, unix.EACCES},
		{0o4755, &carol, alice.uid, nil},
		{0o4755, nil, alice.uid, nil},
	} {
		check(t, unix.Chown(path, int(alice.uid), int(alice.gid)), "chown")
		check(t, unix.Chmod(path, c.mode), "chmod")
		real := uint32(0)
		if c.who != nil {
			real = c.who.uid
		}
		if c.mode&unix.S_ISUID != 0 && !setuid {
			c.effective = real
		}
		e, r, err := runIdentity(t, path, c.who)
		want(t, err, c.err, "run with mode %#o as %d", c.mode, real)
		if err == nil && (e != c.effective || r != real) {
			t.Errorf("run with mode %#o as %d: ids %d %d, want %d %d", c.mode, real, e, r, c.effective, real)
		}
	}

	check(t, unix.Chmod(path, 0o755), "chmod")
	script := dir + "/script"
	write(t, script, []byte("#!"+path+"\n"))
	check(t, unix.Chmod(script, 0o755), "chmod")
	if e, _, err := runIdentity(t, script, &carol); err != nil || e != carol.uid {
		t.Errorf("script: user %d, %v", e, err)
	}
	write(t, dir+"/text", []byte("no program"))
	check(t, unix.Chmod(dir+"/text", 0o755), "chmod")
	_, _, err := runIdentity(t, dir+"/text", nil)
	want(t, err, unix.ENOEXEC, "run a text")
	_, _, err = runIdentity(t, dir, nil)
	want(t, err, unix.EACCES, "run a directory")
}

// busyText tries to run a file that is open for writing, and to write to one
// that runs. Whether the second is refused changed between kernel versions.
func busyText(t *testing.T, dir string) (run, write error) {
	t.Helper()
	path := installSelf(t, dir)
	w := open(t, path, unix.O_WRONLY, 0)
	var errno syscall.Errno
	if _, _, err := runIdentity(t, path, nil); errors.As(err, &errno) {
		run = errno
	} else {
		check(t, err, "run")
	}
	check(t, w.Close(), "close")
	c := startChild(t, path, "hold")
	if got := c.receive(); got != "ready" {
		t.Fatalf("the helper says %q", got)
	}
	write = tryOpen(path, unix.O_WRONLY, 0)
	// A running program does not need its name.
	check(t, unix.Unlink(path), "unlink a running program")
	check(t, c.in.Close(), "tell the helper to end")
	check(t, c.cmd.Wait(), "the helper whose program was unlinked")
	return run, write
}

func TestARunningProgramIsProtectedAsOnALocalFileSystem(t *testing.T) {
	local, err := os.MkdirTemp("", "guesttest-")
	check(t, err, "make a local directory")
	defer os.RemoveAll(local)
	wantRun, wantWrite := busyText(t, local)
	t.Logf("on the local file system: run %s, write %s", describe(wantRun), describe(wantWrite))
	gotRun, gotWrite := busyText(t, scratch(t))
	want(t, gotRun, wantRun, "run a program that is open for writing")
	want(t, gotWrite, wantWrite, "open a running program for writing")
}
