package scratch_test

import (
	"io"
	"log/slog"
	"math"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/scratch"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/vfs/vfstest"
)

// likeTmpfs refuses what tmpfs, the twin, does not have, after what every file system
// refuses. Other tests are for it.
type likeTmpfs struct{ *scratch.FS }

func (fs likeTmpfs) Fallocate(r *vfs.Request, node vfs.NodeID, h vfs.Handle, off, length uint64, mode uint32) syscall.Errno {
	const zero = unix.FALLOC_FL_ZERO_RANGE
	if mode != zero && mode != zero|unix.FALLOC_FL_KEEP_SIZE || length == 0 || off+length > math.MaxInt64 {
		return fs.FS.Fallocate(r, node, h, off, length, mode)
	}
	// A write of nothing says whether there could be one.
	if _, errno := fs.FS.Write(r, node, h, nil, 0, 0, 0); errno != 0 {
		return errno
	}
	return syscall.EOPNOTSUPP
}

// TestConformance runs the suite beside a tmpfs. Inode flags, which are what its
// part on ioctls is about, are not there, and locks are the guest's.
func TestConformance(t *testing.T) {
	for _, tt := range []struct{ name, dir string }{
		{"memory", ""},
		{"on disk", "/tmp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			vfstest.Run(t, func(t *testing.T) vfstest.Subject {
				fs := newFS(t, scratch.Options{Dir: tt.dir})
				return vfstest.Subject{
					FS: likeTmpfs{fs}, Twin: tempDir(t), Lacks: vfstest.NoLocks | vfstest.NoIoctl,
					Stats: func() (nodes, handles, fds int) {
						c := fs.Counts()
						return int(c.Nodes), int(c.Handles), int(c.Descriptors)
					},
				}
			})
		})
	}
}

func newFS(t testing.TB, o scratch.Options) *scratch.FS {
	t.Helper()
	o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	fs, err := scratch.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fs.Close(); err != nil {
			t.Error(err)
		}
	})
	return fs
}

// tempDir makes a directory on a tmpfs.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "scratch-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
