package fusedev_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fusedev"
	"github.com/isthmus-fs/isthmus/passthrough"
)

// TestFilesOnAMount runs every test of internal/guesttest on mounts. The guest's
// kernel is here the host's, so what it lacks is what newer ones do not.
func TestFilesOnAMount(t *testing.T) {
	binary := filepath.Join(tempDir(t, 0o755), "guesttest.test")
	build := exec.Command("go", "test", "-c", "-o", binary, "../internal/guesttest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	// With the word locks the suite expects that no signal ends a wait, as for
	// drivers that never send INTERRUPT. This one does: without the word the
	// test expects what happens here.
	const interrupted = "TestAWaitForALockIsInterruptedByASignal"
	const everything = "-test.run=."
	all := passthrough.Locks{POSIX: true, Flock: true}
	for _, c := range []struct {
		name, parent, features, arg string
		serving                     serving
	}{
		{"auto", "/tmp", "zerorange,stripnoatime,locks", "-test.skip=" + interrupted, serving{
			Config: passthrough.Config{Xattr: true, KillPriv: true, Locks: all}}},
		{"interrupts", "/tmp", "zerorange,stripnoatime", "-test.run=" + interrupted, serving{
			Config: passthrough.Config{Locks: all}}},
		{"writeback", "/tmp", "zerorange,stripnoatime", everything, serving{
			Config:  passthrough.Config{Cache: passthrough.CacheAlways, Xattr: true, KillPriv: true, Writeback: true},
			Options: fusedev.Options{Workers: 4}}},
		{"direct", "/dev/shm", "stripnoatime", everything, serving{
			Config: passthrough.Config{Cache: passthrough.CacheNever, Xattr: true, KillPriv: true, DirectIOMmap: true}}},
		{"backed", "/tmp", "zerorange,aligned", everything, serving{Backed: true,
			Config: passthrough.Config{Xattr: true, KillPriv: true, DirectIO: true}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			from, err := os.MkdirTemp(c.parent, "isthmus-fusedev-")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(from)
			if err := os.Chmod(from, 0o755); err != nil {
				t.Fatal(err)
			}
			s := c.serving
			s.From, s.To = from, tempDir(t, 0o755)
			s.Options.AllowOther, s.Options.AllowSUID, s.Options.AllowDev = true, true, true
			server := startServing(t, s, nil)
			cmd := exec.Command(binary, "-test.short", c.arg)
			cmd.Env = append(os.Environ(), "ISTHMUS_TEST_DIR="+s.To, "ISTHMUS_TEST_FEATURES="+c.features)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			server.Process.Signal(unix.SIGTERM)
			if err := server.Wait(); err != nil {
				t.Errorf("server: %v", err)
			}
		})
	}
}
