package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
)

// The programs under test, built once.
var (
	isthmus    string // cmd/isthmus
	guestTest  string // the tests of internal/guesttest
	randomTest string // the tests of internal/fsx
	holdLock   string // internal/e2e/holdlock
	churn      string // internal/e2e/churn
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := startTogether(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "isthmus-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		isthmus = filepath.Join(dir, "isthmus")
		guestTest = filepath.Join(dir, "guest.test")
		randomTest = filepath.Join(dir, "fsx.test")
		holdLock = filepath.Join(dir, "holdlock")
		churn = filepath.Join(dir, "churn")
		for _, build := range [][]string{
			{"build", "-o", isthmus, "../../cmd/isthmus"},
			{"build", "-o", holdLock, "./holdlock"},
			{"build", "-o", churn, "./churn"},
			{"test", "-c", "-o", guestTest, "../guesttest"},
			{"test", "-c", "-o", randomTest, "../fsx"},
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

// startTogether lets one more of the parallel tests run than there are
// processors, unless the command line says how many: each waits for its guest
// most of the time, and the guest for the daemon half of its own.
func startTogether() error {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return nil
	}
	return flag.Set("test.parallel", strconv.Itoa(runtime.NumCPU()+1))
}
