package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/internal/lab"
)

// mountAt starts `isthmus mount` for dir and returns where it is mounted, and
// the daemon, once it is.
func (l launch) mountAt(t *testing.T, at, dir string, args ...string) *daemon {
	t.Helper()
	// A daemon that is killed leaves its mount, on which nothing works.
	t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
	d := l.run(t, slices.Concat([]string{"mount"}, args, []string{dir, at})...)
	d.waitLog("mounted")
	return d
}

// unmount ends the daemon of a mount and checks that the mount ends too.
func (d *daemon) unmount(at string) {
	d.t.Helper()
	d.cmd.Process.Signal(syscall.SIGINT)
	if status := d.wait(); status != 0 {
		d.t.Errorf("exit status %d", status)
	}
	var st, parent unix.Stat_t
	if err := unix.Stat(at, &st); err != nil {
		d.t.Error(err)
	} else if err := unix.Stat(filepath.Dir(at), &parent); err != nil || st.Dev != parent.Dev {
		d.t.Errorf("%s is still mounted (%v)", at, err)
	}
}

// mountPoint makes a directory that all users may enter.
func mountPoint(t *testing.T) string {
	t.Helper()
	at := t.TempDir()
	for _, p := range []string{at, filepath.Dir(at)} {
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return at
}

// TestFilesOnAMount runs the tests of internal/guesttest on mounts of this host,
// made by root for all its users. Its kernel is newer than that of the guests,
// and lets nothing of a directory's own be missing.
func TestFilesOnAMount(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		args  []string
		words string
		tmpfs bool
	}{
		{"default", nil, "-notrusted,aligned", false},
		{"without backing files", []string{"--passthrough", "never"}, "-notrusted", false},
		{"writeback", []string{"--writeback", "--cache", "always", "--workers", "4"}, "-notrusted", false},
		{"cache never with mmap", []string{"--cache", "never", "--allow-mmap"}, "-notrusted", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir, at := openDir(t, tt.tmpfs), mountPoint(t)
			d := launch{}.mountAt(t, at, dir.path, append([]string{"--allow-other"}, tt.args...)...)
			out := onHost(t, []string{"-test.v", "-test.short"},
				[]string{"ISTHMUS_TEST_DIR=" + at, "ISTHMUS_TEST_FEATURES=" + combine(dir.features, "-nobtime,"+tt.words)}, "", nil)
			if n := strings.Count(out, "\n--- PASS"); n < 100 {
				t.Errorf("only %d tests ran:\n%s", n, out)
			}
			d.unmount(at)
		})
	}
}

// nobody is an ordinary user who has a name everywhere, which fusermount3 wants.
var nobody = syscall.Credential{Uid: 65534, Gid: 65534}

// needAnother are those of aloneTests that know somebody else, whom a guest has
// and a user namespace of one has not.
var needAnother = []string{"TestInodeFlagsCanBeSetAndRead", "TestExtendedAttributeCallsFollowTheirRules"}

// TestFilesOnAMountOfAnOrdinaryUser has an ordinary user mount a directory of its
// own, by fusermount3, and use it: as the root of a user namespace without another
// user, as which it may run the tests.
func TestFilesOnAMountOfAnOrdinaryUser(t *testing.T) {
	t.Parallel()
	dir, at := t.TempDir(), mountPoint(t)
	for _, p := range []string{dir, at} {
		if err := os.Chown(p, int(nobody.Uid), int(nobody.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{filepath.Dir(dir), filepath.Dir(isthmus)} {
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d := launch{credential: &nobody, dir: "/"}.mountAt(t, at, dir)
	alone := func(cmd *exec.Cmd) {
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(nobody.Uid), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(nobody.Gid), Size: 1}},
			Credential:  &syscall.Credential{NoSetGroups: true},
		}
	}
	tests := slices.DeleteFunc(slices.Clone(aloneTests), func(name string) bool { return slices.Contains(needAnother, name) })
	out := onHost(t, []string{"-test.v", "-test.short", "-test.run", oneOf(tests)},
		[]string{"ISTHMUS_TEST_DIR=" + at, "ISTHMUS_TEST_FEATURES=zerorange,notrusted", "TMPDIR=/tmp"}, "", alone)
	if n := strings.Count(out, "\n--- PASS"); n != len(tests) {
		t.Errorf("%d tests ran of %d", n, len(tests))
	}
	d.unmount(at)
}

// TestRandomStepsOnAMount runs the random sequences of internal/fsx on mounts, and
// compares what is in the directory afterwards.
func TestRandomStepsOnAMount(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args  []string
		lacks string
	}{
		{nil, ""},
		{[]string{"--passthrough", "never"}, "sharing"},
		{[]string{"--writeback"}, ""},
		{[]string{"--cache", "always", "--passthrough", "never"}, "sharing"},
		{[]string{"--cache", "always", "--writeback"}, ""},
		{[]string{"--cache", "never"}, "mmap"},
		{[]string{"--cache", "never", "--allow-mmap"}, ""},
		{[]string{"--direct-io"}, ""},
		{[]string{"--direct-io", "--passthrough", "never"}, "sharing"},
	} {
		t.Run(strings.Join(append([]string{"default"}, tt.args...), " "), func(t *testing.T) {
			t.Parallel()
			dir, at := t.TempDir(), mountPoint(t)
			d := launch{}.mountAt(t, at, dir, tt.args...)
			cmd := exec.Command(randomTest, "-test.v", "-rapid.checks=100", "-rapid.steps=40", "-test.run=^TestFiles$")
			cmd.Env = append(os.Environ(), "ISTHMUS_FSX_DIR="+at, "ISTHMUS_FSX_BEHIND="+dir, "ISTHMUS_FSX_LACKS=collapse,"+tt.lacks)
			if out, err := cmd.CombinedOutput(); err != nil || !ranATest.Match(out) {
				t.Errorf("%v\n%s", err, out)
			}
			d.unmount(at)
		})
	}
}

// TestRandomStepsInAGuest runs them in guests, whose kernel is another one.
func TestRandomStepsInAGuest(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args  []string
		lacks string
	}{
		{nil, "sharing"},
		{[]string{"--cache", "always", "--writeback"}, ""},
	} {
		t.Run(strings.Join(append([]string{"default"}, tt.args...), " "), func(t *testing.T) {
			t.Parallel()
			d := serve(t, t.TempDir(), tt.args...)
			const carried = "/fsx.test"
			cfg := guest(lab.UML, d, carried, "-test.v", "-rapid.checks=25", "-rapid.steps=40", "-test.run=^TestFiles$")
			cfg.Env = []string{"ISTHMUS_FSX_DIR=" + mountedAt, "ISTHMUS_FSX_LACKS=collapse," + tt.lacks}
			cfg.Files = []lab.File{{Path: carried, Source: randomTest, Mode: 0o755}}
			passed(t, run(t, cfg))
			d.stop(syscall.SIGTERM)
		})
	}
}
