package overlay_test

import (
	"io"
	"log/slog"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/overlay"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
)

// TestMain sets the umask while the process has one thread. A later change may
// miss threads that have a umask of their own by then.
func TestMain(m *testing.M) {
	unix.Umask(0)
	os.Exit(m.Run())
}

// quiet drops what is logged.
func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func tempDir(t testing.TB, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "overlay-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// layerConfig is for both children.
func layerConfig(path string, handles passthrough.HandleUse) passthrough.Config {
	return passthrough.Config{
		Path: path, FileHandles: handles, Cache: passthrough.CacheAlways, Xattr: true, KillPriv: true,
		PosixACL: passthrough.NegotiateAuto, SecurityLabel: passthrough.NegotiateAuto, Logger: quiet(),
	}
}

func newLayer(t testing.TB, path string, handles passthrough.HandleUse) *passthrough.FS {
	t.Helper()
	fs, err := passthrough.New(layerConfig(path, handles))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fs.Close() })
	return fs
}

// layers is an overlay of two host directories.
type layers struct {
	*overlay.FS
	lower, upper *passthrough.FS
}

// newLayers makes an overlay over a host directory, with an upper on the same
// kind of file system.
func newLayers(t testing.TB, lowerDir, parent string, handles passthrough.HandleUse) *layers {
	t.Helper()
	l := &layers{lower: newLayer(t, lowerDir, handles), upper: newLayer(t, tempDir(t, parent), handles)}
	l.FS = newOverlay(t, l.lower, l.upper)
	return l
}

func newOverlay(t testing.TB, lower, upper vfs.FileSystem) *overlay.FS {
	t.Helper()
	fs, err := overlay.New(lower, upper, overlay.Options{Name: "test", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

// stats are those of the overlay, with the descriptors of both layers.
func (l *layers) stats() (nodes, handles, fds int) {
	c := l.FS.Counts()
	return int(c.Nodes), int(c.Handles), l.lower.Stats().FDs + l.upper.Stats().FDs
}
