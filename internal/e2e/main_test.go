package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The programs under test, built once.
var (
	isthmus   string // cmd/isthmus
	guestTest string // the tests of internal/guesttest
	holdLock  string // internal/e2e/holdlock
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "isthmus-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		isthmus = filepath.Join(dir, "isthmus")
		guestTest = filepath.Join(dir, "guest.test")
		holdLock = filepath.Join(dir, "holdlock")
		for _, build := range [][]string{
			{"build", "-o", isthmus, "../../cmd/isthmus"},
			{"build", "-o", holdLock, "./holdlock"},
			{"test", "-c", "-o", guestTest, "../guesttest"},
		} {
			cmd := exec.Command("go", build...)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				fmt.Fprintf(os.Stderr, "go %v: %v\n%s", build, err, out)
				return 1
			}
		}
		return m.Run()
	}())
}
