package vfstest

import (
	"os"
	"testing"
)

// tempDir returns a maker of temporary directories below base.
func tempDir(base string) func(t *testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		dir, err := os.MkdirTemp(base, "isthmus-vfstest-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		return dir
	}
}
