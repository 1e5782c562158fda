package fusedev_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fusedev"
)

// nobodysDirs returns two directories that belong to an ordinary user.
func nobodysDirs(t *testing.T) serving {
	t.Helper()
	s := serving{From: tempDir(t, 0o755), To: tempDir(t, 0o755)}
	write(t, filepath.Join(s.From, "f"), "text")
	for _, path := range []string{s.From, s.To} {
		if err := os.Chown(path, int(nobody.Uid), int(nobody.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// TestAnOrdinaryUserMountsByTheHelper, uses the mount, and unmounts; root is
// another user to it.
func TestAnOrdinaryUserMountsByTheHelper(t *testing.T) {
	for _, c := range []struct {
		name string
		busy bool
	}{{"idle", false}, {"busy", true}} {
		t.Run(c.name, func(t *testing.T) {
			s := nobodysDirs(t)
			s.Options = fusedev.Options{FSName: `a,b\c`, Workers: 2}
			server := startServing(t, s, nobody)
			out, err := job("read", filepath.Join(s.To, "f"), nobody).Output()
			if err != nil || string(out) != "t" {
				t.Errorf("read %q, %v", out, err)
			}
			if _, err := os.ReadFile(filepath.Join(s.To, "f")); err == nil {
				t.Error("root was let in")
			}
			line := mounts(t, s.To)
			for _, want := range []string{"nosuid", "nodev", "user_id=65534", "default_permissions", `a,b\134c`, "fuse.isthmus"} {
				if !strings.Contains(line, want) {
					t.Errorf("%q does not say %q", line, want)
				}
			}
			if c.busy {
				hold := job("hold", s.To, nobody)
				in, _ := hold.StdinPipe()
				out, _ := hold.StdoutPipe()
				if err := hold.Start(); err != nil {
					t.Fatal(err)
				}
				out.Read(make([]byte, 1))
				defer hold.Wait()
				defer in.Close()
			}
			server.Process.Signal(unix.SIGTERM)
			if err := server.Wait(); err != nil {
				t.Errorf("server: %v", err)
			}
			if line := mounts(t, s.To); line != "" {
				t.Errorf("still mounted: %s", line)
			}
		})
	}
}

func TestWhatTheHelperRefusesIsTold(t *testing.T) {
	for _, c := range []struct {
		name    string
		options fusedev.Options
		path    string
		want    string
	}{
		{"no helper", fusedev.Options{}, "/nonexistent", "fuse3"},
		{"allow_other", fusedev.Options{AllowOther: true}, os.Getenv("PATH"), "user_allow_other"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.options.AllowOther && userAllowOther(t) {
				t.Log("/etc/fuse.conf allows it: nothing to see")
				return
			}
			s := nobodysDirs(t)
			s.Options = c.options
			cmd := job("serve", encode(t, s), nobody)
			cmd.Env = append(cmd.Env, "PATH="+c.path)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), c.want) {
				t.Errorf("%v: %s", err, out)
			}
			if line := mounts(t, s.To); line != "" {
				t.Errorf("mounted: %s", line)
			}
		})
	}
}

func userAllowOther(t *testing.T) bool {
	conf, err := os.ReadFile("/etc/fuse.conf")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(conf)) {
		if strings.TrimSpace(line) == "user_allow_other" {
			return true
		}
	}
	return false
}
