package fsx

import (
	"fmt"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	MaybeServe()
	if name := os.Getenv(mutantVar); name != "" {
		if err := mountMutant(name, os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const (
	dirVar    = "ISTHMUS_FSX_DIR"
	behindVar = "ISTHMUS_FSX_BEHIND"
	lacksVar  = "ISTHMUS_FSX_LACKS"
)

// TestFiles tests the directory that the environment names or, without one,
// what the host has, which shows that the tests are right.
func TestFiles(t *testing.T) {
	if dir := os.Getenv(dirVar); dir != "" {
		lacks, err := ParseLacks(os.Getenv(lacksVar))
		if err != nil {
			t.Fatal(err)
		}
		Check(t, Config{Dir: dir, Behind: os.Getenv(behindVar), Lacks: lacks})
		return
	}
	t.Run("disk", func(t *testing.T) { Check(t, Config{Dir: t.TempDir()}) })
	t.Run("memory", func(t *testing.T) { Check(t, Config{Dir: inMemory(t), Lacks: NoZeroRange | NoCollapse}) })
}

// inMemory makes a directory on tmpfs.
func inMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "isthmus-fsx-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
