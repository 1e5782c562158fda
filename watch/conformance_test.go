package watch_test

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/scratch"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/vfs/vfstest"
	"github.com/isthmus-fs/isthmus/watch"
)

// likeTmpfs refuses what tmpfs, the twin, does not have.
type likeTmpfs struct{ *scratch.FS }

func (fs likeTmpfs) Fallocate(r *vfs.Request, node vfs.NodeID, h vfs.Handle, off, length uint64, mode uint32) syscall.Errno {
	if mode&unix.FALLOC_FL_ZERO_RANGE != 0 {
		return syscall.EOPNOTSUPP
	}
	return fs.FS.Fallocate(r, node, h, off, length, mode)
}

// ignoring is a Recorder that reads what it gets and keeps nothing.
type ignoring struct{}

func (ignoring) Record(rec *watch.Record) {
	if rec.Op >= watch.NumOps || len(rec.Path) > 5000 {
		panic("a record of nothing")
	}
}

// TestConformance puts watched file systems through the suite: nobody may notice. And
// whenever the suite looks for leaks, as much must be known as the file system behind
// holds.
func TestConformance(t *testing.T) {
	inScratch := func(t *testing.T) vfstest.Subject {
		return vfstest.Subject{FS: likeTmpfs{newScratch(t)}, Twin: tempDir(t, "/dev/shm"), Lacks: vfstest.NoLocks | vfstest.NoIoctl}
	}
	inShare := func(t *testing.T) vfstest.Subject {
		dir := tempDir(t, "/tmp")
		fs := newShare(t, passthrough.Config{Path: dir, Xattr: true, KillPriv: true, Locks: passthrough.Locks{POSIX: true, Flock: true}})
		return vfstest.Subject{FS: fs, Dir: dir, Twin: tempDir(t, "/tmp")}
	}
	for _, tt := range []struct {
		what string
		make func(*testing.T) vfstest.Subject
		o    watch.Options
	}{
		{"scratch", inScratch, watch.Options{CountBytes: true}},
		{"passthrough, recorded", inShare, watch.Options{Recorder: ignoring{}}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			vfstest.Run(t, func(t *testing.T) vfstest.Subject {
				sub := tt.make(t)
				fs := watch.New(sub.FS, tt.o)
				sub.FS = fs
				sub.Stats = func() (nodes, handles, fds int) {
					c := fs.Counts()
					known, names := fs.Known()
					if uint64(known) != c.Nodes || uint64(fs.NumOpen()) != c.Handles {
						t.Errorf("%d nodes and %d open files are known of %+v", known, fs.NumOpen(), c)
					}
					if names > known*8 {
						t.Errorf("%d nodes have %d names", known, names)
					}
					return known, fs.NumOpen(), int(c.Descriptors)
				}
				return sub
			})
		})
	}
}
