package overlay_test

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
)

// TestAllocs: what is done most often with a known file makes no garbage, in
// either layer and in a directory that is merged.
func TestAllocs(t *testing.T) {
	l, g, _ := overSmall(t)
	if errno := g.chmod("plain", 0o600); errno != 0 {
		t.Fatal(errno)
	}
	if errno := g.mkdir("new", 0o755); errno != 0 {
		t.Fatal(errno)
	}
	for _, p := range []string{"file", "plain"} {
		for what, call := range hotCalls(t, l, g, p) {
			if n := testing.AllocsPerRun(200, func() {
				if errno := call(); errno != 0 {
					t.Fatal(errno)
				}
			}); n != 0 && !(what == "Lookup" && p == "plain") {
				t.Errorf("%s of %s allocates %v times", what, p, n)
			}
		}
	}
}

// hotCalls are the calls that are made most often, on a file that stays known
// and open until the test ends.
func hotCalls(t testing.TB, fs vfs.FileSystem, g *guest, p string) map[string]func() syscall.Errno {
	t.Helper()
	e := g.must(t, p)
	node, h, errno := g.open(p, unix.O_RDONLY)
	if errno != 0 {
		t.Fatal(errno)
	}
	t.Cleanup(func() {
		g.close(node, h)
		fs.Forget(e.Node, 1)
	})
	r := &vfs.Request{}
	var entry vfs.Entry
	var attr vfs.AttrOut
	last := name(p)
	iov := []unix.Iovec{oslib.Iov(make([]byte, 4096))}
	return map[string]func() syscall.Errno{
		"Lookup": func() syscall.Errno {
			errno := fs.Lookup(r, vfs.Root, last, &entry)
			fs.Forget(entry.Node, 1)
			return errno
		},
		"Getattr": func() syscall.Errno { return fs.Getattr(r, node, vfs.NoHandle, &attr) },
		"Read": func() syscall.Errno {
			_, errno := fs.Read(r, node, h, iov, 0, unix.O_RDONLY)
			return errno
		},
	}
}

// Benchmark compares with a bare host directory.
func Benchmark(b *testing.B) {
	l, g, dir := overSmall(b)
	bare := newLayer(b, dir, passthrough.HandlesPrefer)
	if _, errno := bare.Init(0); errno != 0 {
		b.Fatal(errno)
	}
	for _, tt := range []struct {
		name string
		fs   vfs.FileSystem
		g    *guest
	}{{"passthrough", bare, newGuest(bare)}, {"overlay", l, g}} {
		calls := hotCalls(b, tt.fs, tt.g, "plain")
		for _, what := range []string{"Lookup", "Getattr", "Read"} {
			b.Run(what+"/"+tt.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if errno := calls[what](); errno != 0 {
						b.Fatal(errno)
					}
				}
			})
		}
	}
}
