package passthrough_test

import (
	"io"
	"log/slog"
	"os"
	"testing"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs/vfstest"
)

// TestConformance runs the suite for each way to hold nodes, each kind of host
// file system and options that change what is agreed with a guest.
func TestConformance(t *testing.T) {
	// The runtime's poller opens descriptors at its first use. Have them open
	// before any are counted.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	w.Close()
	for _, tt := range []struct {
		name   string
		parent string
		lacks  vfstest.Lack
		cfg    passthrough.Config
	}{
		{"disk, descriptors", "/tmp", 0, passthrough.Config{
			FileHandles: passthrough.HandlesNever, Cache: passthrough.CacheAuto,
			Xattr: true, KillPriv: true, Locks: passthrough.Locks{POSIX: true, Flock: true},
		}},
		{"disk, handles", "/tmp", 0, passthrough.Config{
			FileHandles: passthrough.HandlesPrefer, Cache: passthrough.CacheAlways,
			PosixACL: passthrough.NegotiateAlways, SecurityLabel: passthrough.NegotiateAlways, KillPriv: true, Locks: passthrough.Locks{POSIX: true, Flock: true},
		}},
		{"tmpfs, descriptors", "/dev/shm", 0, passthrough.Config{
			FileHandles: passthrough.HandlesNever, Cache: passthrough.CacheAlways,
			PosixACL: passthrough.NegotiateAlways, SecurityLabel: passthrough.NegotiateAlways, Locks: passthrough.Locks{POSIX: true, Flock: true}, AnnounceSubmounts: true,
		}},
		{"tmpfs, handles", "/dev/shm", vfstest.NoXattr | vfstest.NoLocks, passthrough.Config{
			FileHandles: passthrough.HandlesPrefer, Cache: passthrough.CacheAuto, KillPriv: true, MaxCachedFDs: 8,
		}},
		{"disk, plain listings", "/tmp", 0, passthrough.Config{
			Cache: passthrough.CacheNever, Xattr: true, DirectIOMmap: true, Locks: passthrough.Locks{Flock: true, POSIX: true},
		}},
		{"disk, direct", "/tmp", 0, passthrough.Config{
			IO: passthrough.IODirect, FileHandles: passthrough.HandlesNever, Xattr: true, KillPriv: true, Locks: passthrough.Locks{POSIX: true, Flock: true},
		}},
		{"disk, sync", "/tmp", 0, passthrough.Config{
			IO: passthrough.IOSync, DirectIO: true, Xattr: true, KillPriv: true, Locks: passthrough.Locks{POSIX: true, Flock: true},
		}},
		{"tmpfs, direct and sync", "/dev/shm", 0, passthrough.Config{
			IO: passthrough.IODirect | passthrough.IOSync, Xattr: true, Locks: passthrough.Locks{POSIX: true, Flock: true},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			vfstest.Run(t, func(t *testing.T) vfstest.Subject {
				sub := vfstest.Subject{Dir: tempDir(t, tt.parent), Twin: tempDir(t, tt.parent), Lacks: tt.lacks}
				cfg := tt.cfg
				cfg.Path = sub.Dir
				cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
				fs, err := passthrough.New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := fs.Close(); err != nil {
						t.Error(err)
					}
				})
				sub.FS = fs
				// What Stats counts must also be what the process has open.
				idle := openFDs(t) - fs.Stats().FDs
				sub.Stats = func() (nodes, handles, fds int) {
					s := fs.Stats()
					return s.Nodes, s.Handles, max(s.FDs, openFDs(t)-idle)
				}
				return sub
			})
		})
	}
}

func tempDir(t *testing.T, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "passthrough-conformance-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// openFDs is the number of descriptors that the process has open.
func openFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
