package compat

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// kind says whose behaviour a daemon has.
type kind int

const (
	ours kind = iota
	v1_14
	v1_13
	legacyC // of QEMU up to 7.2
)

func (k kind) String() string { return [...]string{"ours", "1.14", "1.13", "C"}[k] }

// daemon is a program to run the table with.
type daemon struct {
	kind kind
	path string
}

// daemons are ours, built here, and all others that were found.
var daemons []daemon

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "isthmus-compat-")
		if err == nil {
			err = os.Chmod(dir, 0o755) // an ordinary user is to run it, too
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "virtiofsd")
		cmd := exec.Command("go", "build", "-o", path, "../../cmd/isthmus")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
		daemons = append(daemons, daemon{ours, path})
		if err := findPeers(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// findPeers finds other daemons. One that was asked for must be there.
func findPeers() error {
	for _, path := range []string{"/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/virtiofsd"} {
		if _, err := os.Stat(path); err == nil {
			if err := addPeer(path); err != nil {
				return err
			}
		}
	}
	for path := range strings.SplitSeq(os.Getenv("ISTHMUS_VIRTIOFSD"), ":") {
		if path == "" {
			continue
		}
		if err := addPeer(path); err != nil {
			return fmt.Errorf("ISTHMUS_VIRTIOFSD: %w", err)
		}
	}
	return nil
}

func addPeer(path string) error {
	out, err := exec.Command(path, "-V").Output()
	if err != nil {
		return fmt.Errorf("%s -V: %w", path, err)
	}
	var major, minor int
	k := legacyC
	if _, err := fmt.Sscanf(string(out), "virtiofsd %d.%d", &major, &minor); err == nil {
		k = v1_14
		if major == 1 && minor < 14 {
			k = v1_13
		}
	} else if !strings.HasPrefix(string(out), "virtiofsd version ") {
		return fmt.Errorf("%s -V says %q: it is no virtiofsd that this test knows", path, out)
	}
	daemons = append(daemons, daemon{k, path})
	return nil
}
