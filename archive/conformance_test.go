package archive_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/isthmus-fs/isthmus/archive"
	"github.com/isthmus-fs/isthmus/vfs/vfstest"
)

// TestConformance runs the suite on archives that tar(1) makes of the suite's
// own tree.
func TestConformance(t *testing.T) {
	for _, tt := range []struct {
		name  string
		args  []string
		lacks vfstest.Lack
	}{
		{"ustar", []string{"--format=ustar"}, vfstest.NoXattr},
		{"gnu", []string{"--format=gnu"}, vfstest.NoXattr},
		{"pax", []string{"--format=pax", "--xattrs"}, 0},
		{"pax, gzip", []string{"--format=pax", "--xattrs", "-z"}, 0},
		{"gnu, zstd", []string{"--format=gnu", "--zstd", "--sparse"}, vfstest.NoXattr},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, err := os.MkdirTemp("/dev/shm", "archive-conformance-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			twin, image := filepath.Join(dir, "twin"), filepath.Join(dir, "image")
			if err := os.Mkdir(twin, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := vfstest.Populate(twin, true); err != nil {
				t.Fatal(err)
			}
			args := append([]string{"-C", twin, "-cf", image}, tt.args...)
			if out, err := exec.Command("tar", append(args, ".")...).CombinedOutput(); err != nil {
				t.Fatalf("tar: %v\n%s", err, out)
			}
			vfstest.Run(t, func(t *testing.T) vfstest.Subject {
				fs, err := archive.Open(context.Background(), image, archive.Options{})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := fs.Close(); err != nil {
						t.Error(err)
					}
				})
				return vfstest.Subject{
					FS: fs, Twin: twin, ReadOnly: true, Lacks: tt.lacks | vfstest.NoLocks,
					Stats: func() (nodes, handles, fds int) {
						c := fs.Counts()
						return int(c.Nodes), int(c.Handles), int(c.Descriptors)
					},
				}
			})
		})
	}
}
