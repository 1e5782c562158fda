// Package labtest prepares test programs that start guests.
package labtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/isthmus-fs/isthmus/internal/lab"
)

// Main is the TestMain of a package that calls [lab.Run]: it builds the
// guest's first process, which it needs the Go tool for, runs the tests and
// exits.
func Main(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv(lab.EnvInit) == "" {
		dir, err := os.MkdirTemp("", "isthmus-labtest-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		agent := filepath.Join(dir, "guestagent")
		// Static whatever the tests are built like: under the race detector
		// they are not.
		build := exec.Command("go", "build", "-ldflags=-s -w", "-o", agent, "github.com/isthmus-fs/isthmus/internal/lab/guestagent")
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build the guest's first process: %v\n%s", err, out)
			return 1
		}
		os.Setenv(lab.EnvInit, agent)
	}
	return m.Run()
}
