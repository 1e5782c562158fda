package fsx

import (
	"fmt"
	"os"
	"path/filepath"
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
	foundVar  = "ISTHMUS_FSX_FOUND"
)

// TestFiles tests the directory that the environment names or, without one,
// what the host has, which shows that the tests are right.
func TestFiles(t *testing.T) {
	if dir := os.Getenv(dirVar); dir != "" {
		lacks, err := ParseLacks(os.Getenv(lacksVar))
		if err != nil {
			t.Fatal(err)
		}
		Check(t, Config{Dir: dir, Behind: os.Getenv(behindVar), Lacks: lacks, Found: os.Getenv(foundVar) != ""})
		return
	}
	t.Run("disk", func(t *testing.T) { Check(t, Config{Dir: t.TempDir()}) })
	t.Run("memory", func(t *testing.T) { Check(t, Config{Dir: inMemory(t), Lacks: NoZeroRange | NoCollapse}) })
}

// TestFound does the same with files that are there before.
func TestFound(t *testing.T) {
	dir := inMemory(t)
	if err := Prepare(dir, 130); err != nil {
		t.Fatal(err)
	}
	Check(t, Config{Dir: dir, Behind: dir, Lacks: NoZeroRange | NoCollapse, Found: true})
}

// TestOneFile does it with one file alone.
func TestOneFile(t *testing.T) {
	dir := inMemory(t)
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("something"), 0o644); err != nil {
		t.Fatal(err)
	}
	Check(t, Config{Dir: dir, Behind: dir, Lacks: NoZeroRange | NoCollapse | NoNames})
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
