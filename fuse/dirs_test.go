package fuse_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fuse/fusetest"
	"github.com/isthmus-fs/isthmus/vfs"
)

// listing reads a directory to the end with a buffer of size bytes.
func listing(t *testing.T, c *fusetest.Client, size int, plus bool) (list []fusetest.Dirent) {
	t.Helper()
	var off uint64
	for {
		buf := make([]byte, size)
		read := c.Readdir
		if plus {
			read = c.Readdirplus
		}
		n, errno := read(1, 3, off, buf)
		if errno != 0 {
			t.Fatal(errno)
		}
		if n == 0 {
			return list
		}
		for b := buf[:n]; len(b) > 0; {
			d, rest, ok := fusetest.NextDirent(b, plus)
			if !ok {
				t.Fatalf("malformed: %x", b)
			}
			list = append(list, d)
			off, b = d.Next, rest
		}
	}
}

// TestListing reads a directory in portions of many sizes; each time it has to
// come out the same.
func TestListing(t *testing.T) {
	for _, plus := range []bool{false, true} {
		var want []fusetest.Dirent
		add := func(name string, typ uint32, e vfs.Entry) {
			i := uint64(len(want))
			want = append(want, fusetest.Dirent{Name: []byte(name), Ino: 100 + i, Next: i + 1, Type: typ, Entry: e})
		}
		for _, dots := range []string{".", ".."} {
			var e vfs.Entry
			if plus {
				e.Attr = vfs.Attr{Ino: 100 + uint64(len(want)), Mode: unix.S_IFDIR}
			}
			add(dots, unix.S_IFDIR, e)
		}
		for i := range 32 {
			var e vfs.Entry
			if plus {
				e = wantEntry
			}
			add(fmt.Sprintf("file%02d", i), unix.S_IFREG, e)
		}
		smallest := 32
		if plus {
			smallest = 160
		}
		ledger := fusetest.NewLedger(fusetest.NullFS{})
		_, c := start(t, ledger, fuse.Options{})
		lists := int64(0)
		for size := smallest; size < 8192; size += 1 + size/3 {
			if diff := cmp.Diff(want, listing(t, c, size, plus)); diff != "" {
				t.Fatalf("plus %v, %d bytes (-want +got):\n%s", plus, size, diff)
			}
			lists++
		}
		if plus {
			lists *= 32
		} else {
			lists = 0
		}
		if got := ledger.Held().Refs; got != lists {
			t.Errorf("plus %v: %d references, want %d", plus, got, lists)
		}
		for size := range smallest {
			if _, errno := c.Readdir(1, 3, 2, make([]byte, size)); !plus && errno != syscall.EINVAL {
				t.Errorf("room of %d bytes: %v", size, errno)
			}
			if _, errno := c.Readdirplus(1, 3, 2, make([]byte, size)); plus && errno != syscall.EINVAL {
				t.Errorf("room of %d bytes: %v", size, errno)
			}
		}
	}
}

// dirFS has a directory of given entries.
type dirFS struct {
	fusetest.NullFS
	names []string
	errno syscall.Errno // behind the entries
	entry *vfs.Entry
}

func (f *dirFS) Readdir(_ *vfs.Request, _ vfs.NodeID, _ vfs.Handle, off uint64, sink vfs.DirSink) syscall.Errno {
	for i := int(off); i < len(f.names); i++ {
		if !sink.Fits(len(f.names[i])) {
			return 0
		}
		sink.Add([]byte(f.names[i]), 5, uint64(i+1), unix.S_IFLNK, f.entry)
	}
	return f.errno
}

// TestListingErrors checks that an error behind entries does not lose them and
// that one without entries is told.
func TestListingErrors(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EIO, vfs.WouldBlock} {
		fs := &dirFS{names: []string{"a"}, errno: errno}
		_, c := start(t, fs, fuse.Options{})
		buf := make([]byte, 4096)
		if n, got := c.Readdir(1, 3, 0, buf); got != 0 || n != 32 {
			t.Errorf("%v behind an entry: %d bytes, %v", errno, n, got)
		}
		if _, got := c.Readdir(1, 3, 1, buf); got != syscall.EIO {
			t.Errorf("%v alone: %v", errno, got)
		}
	}
}

// TestListingBound asks for more than one listing carries, and for entries that
// no listing carries.
func TestListingBound(t *testing.T) {
	long := strings.Repeat("x", vfs.MaxName)
	fs := &dirFS{entry: &vfs.Entry{Node: 9}}
	for range 1000 {
		fs.names = append(fs.names, long)
	}
	_, c := start(t, fs, fuse.Options{})
	n, errno := c.Readdirplus(1, 3, 0, make([]byte, 1<<20))
	if want := 64 << 10 / 408 * 408; errno != 0 || n != want {
		t.Errorf("%d bytes, %v; want %d", n, errno, want)
	}
	fs.names = []string{long + "x"}
	if _, errno := c.Readdir(1, 3, 0, make([]byte, 1<<20)); errno != syscall.EINVAL {
		t.Errorf("name too long: %v", errno)
	}
}
