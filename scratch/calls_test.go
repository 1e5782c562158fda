package scratch

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

func TestOptions(t *testing.T) {
	for _, tt := range []struct {
		what string
		o    Options
	}{
		{"less than a page", Options{Size: pageSize - 1}},
		{"more than there may be", Options{Size: MaxSize + 1}},
		{"less than no nodes", Options{MaxNodes: -1}},
		{"no room for a root", Options{MaxMetadata: 100}},
		{"a mode with a type", Options{Mode: unix.S_IFDIR | 0o755}},
		{"a directory that is not there", Options{Dir: "/nonexistent"}},
		{"a directory that is a file", Options{Dir: "/proc/self/status"}},
	} {
		if fs, err := New(tt.o); err == nil {
			fs.Close()
			t.Errorf("%s: accepted", tt.what)
		}
	}
	fs := newSpace(t, Options{Size: MaxSize, UID: 1000, GID: 2000, Mode: 0o1755})
	var a vfs.AttrOut
	if errno := fs.Getattr(root, vfs.Root, vfs.NoHandle, &a); errno != 0 || a.Attr.UID != 1000 || a.Attr.GID != 2000 || a.Attr.Mode != unix.S_IFDIR|0o1755 {
		t.Errorf("the root is %+v, %v", a.Attr, errno)
	}
	if bfree(t, fs) != MaxSize/pageSize {
		t.Errorf("%d pages are free in the largest space", bfree(t, fs))
	}
}

// TestNothingInDir looks at the directory with the data: there is never a name.
func TestNothingInDir(t *testing.T) {
	dir := t.TempDir()
	fs := newSpace(t, Options{Dir: dir, Size: 1 << 20})
	f := create(t, fs, "f")
	f.pwrite([]byte("secret"), 0)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("the directory has %v, %v", entries, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fs.store.fd, &st); err != nil || st.Nlink != 0 || st.Mode != unix.S_IFREG|0o600 {
		t.Errorf("the data file has %d names and mode %#o, %v", st.Nlink, st.Mode, err)
	}
	if err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fs.store.fd), unix.AT_FDCWD, filepath.Join(dir, "x"), unix.AT_SYMLINK_FOLLOW); err == nil {
		t.Errorf("the data file was given a name")
	}
}

// TestOpenRemoved makes the data file as on file systems without O_TMPFILE.
func TestOpenRemoved(t *testing.T) {
	dir := t.TempDir()
	fd, err := openRemoved(filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if n, err := unix.Pwrite(fd, []byte("x"), 0); n != 1 || err != nil {
		t.Errorf("writing it: %d, %v", n, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("the directory has %v, %v", entries, err)
	}
	if _, err := openRemoved("/proc/self/nothing"); err == nil {
		t.Errorf("a file was made in /proc")
	}
}

// TestHostCannotClear takes the right to punch holes away: pages that hold old data
// are then lost, and no other file gets them.
func TestHostCannotClear(t *testing.T) {
	fs, err := New(Options{Size: 20 * pageSize, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	f := create(t, fs, "f")
	f.pwrite(bytes.Repeat([]byte("secret"), pageSize), 0) // 6 pages
	good := fs.store.fd
	if fs.store.fd, err = unix.Open(fmt.Sprintf("/proc/self/fd/%d", good), unix.O_RDONLY, 0); err != nil {
		t.Fatal(err)
	}
	if errno := f.truncate(100); errno != syscall.EIO || f.attr().Size != 6*pageSize {
		t.Errorf("a truncation that cannot clear the last page: %v, %+v", errno, f.attr())
	}
	if errno := f.fallocate(punchHole, 1, 10); errno != syscall.EIO {
		t.Errorf("a hole that cannot be made: %v", errno)
	}
	if errno := f.truncate(pageSize); errno != 0 {
		t.Errorf("a truncation to a whole page: %v", errno)
	}
	unix.Close(fs.store.fd)
	fs.store.fd = good
	if s := fs.Stats(); s.Pages != 6 {
		t.Errorf("%d pages are in use or lost, want 6", s.Pages)
	}
	g := create(t, fs, "g")
	for n, off := 1, uint64(1); n > 0; off += uint64(n) {
		n, _ = g.pwrite([]byte("g"), off)
		off += pageSize - 1
	}
	if got := g.contents(); bytes.Contains(got, []byte("secret")) || pagesOf(uint64(len(got))) != 14 {
		t.Errorf("another file got %d pages, with old data: %v", pagesOf(uint64(len(got))), bytes.Contains(got, []byte("secret")))
	}
}

// TestGenerations reuses a slot: the id that was is stale, and no pair of id and
// generation comes again, not even when the 16 bits in the id have gone around.
func TestGenerations(t *testing.T) {
	fs := newSpace(t, Options{MaxNodes: 2})
	type pair struct {
		id  vfs.NodeID
		gen uint64
	}
	seen := map[pair]bool{}
	ids := map[vfs.NodeID]int{}
	for i := range 1<<16 + 10 {
		var e vfs.Entry
		if errno := fs.Mknod(root, vfs.Root, name("x"), unix.S_IFREG, 0, &e); errno != 0 {
			t.Fatal(errno)
		}
		p := pair{e.Node, e.Generation}
		if seen[p] || e.Node > vfs.MaxNodeID || e.Attr.Ino != uint64(e.Node) {
			t.Fatalf("round %d: node %+v again", i, p)
		}
		seen[p] = true
		ids[e.Node]++
		fs.Forget(e.Node, 1)
		if errno := fs.Getattr(root, e.Node, vfs.NoHandle, &vfs.AttrOut{}); errno != syscall.ESTALE {
			t.Fatalf("a forgotten node that has a name: %v, want ESTALE", errno)
		}
		if errno := fs.Unlink(root, vfs.Root, name("x")); errno != 0 {
			t.Fatal(errno)
		}
	}
	if len(ids) != 1<<16 {
		t.Errorf("%d ids were given out for one slot, want %d", len(ids), 1<<16)
	}
}

// TestLargeDirectory makes 100,000 names, lists them in pieces while every second
// goes away, and finds the others.
func TestLargeDirectory(t *testing.T) {
	const n = 100_000
	fs := newSpace(t, Options{})
	var e vfs.Entry
	for i := range n {
		if errno := fs.Mknod(root, vfs.Root, name(fmt.Sprint(i)), unix.S_IFREG, 0, &e); errno != 0 {
			t.Fatal(errno)
		}
		fs.Forget(e.Node, 1)
	}
	var o vfs.Opened
	fs.Opendir(root, vfs.Root, 0, &o)
	seen := map[string]int{}
	s := &pieces{}
	for off := uint64(0); ; off = s.next {
		s.list = s.list[:0]
		if errno := fs.Readdir(root, vfs.Root, o.Handle, off, s); errno != 0 {
			t.Fatal(errno)
		}
		if len(s.list) == 0 {
			break
		}
		for _, got := range s.list {
			seen[got]++
			var i int
			if k, _ := fmt.Sscan(got, &i); k == 1 && i%2 == 0 {
				if errno := fs.Unlink(root, vfs.Root, name(got)); errno != 0 {
					t.Fatal(errno)
				}
			}
		}
	}
	fs.Releasedir(root, vfs.Root, o.Handle)
	for i := range n {
		if seen[fmt.Sprint(i)] != 1 {
			t.Fatalf("%d came %d times", i, seen[fmt.Sprint(i)])
		}
		e.Node = 0
		if errno := fs.Lookup(root, vfs.Root, name(fmt.Sprint(i)), &e); errno != 0 || (e.Node != 0) != (i%2 == 1) {
			t.Fatalf("Lookup of %d: node %d, %v", i, e.Node, errno)
		}
		fs.Forget(e.Node, 1)
	}
	if d := fs.root.dir; len(d.order) > n/2+n/2+10 || len(d.byName) != n/2 {
		t.Errorf("a directory of %d names has %d positions", n/2, len(d.order))
	}
	removeAll(t, fs, vfs.Root)
	if d := fs.root.dir; d.order != nil || d.byName != nil {
		t.Errorf("an empty directory keeps %d positions", cap(d.order))
	}
}

// pieces is a sink of 1,000 names.
type pieces struct {
	list []string
	next uint64
}

func (s *pieces) Plus() bool    { return false }
func (s *pieces) Fits(int) bool { return len(s.list) < 1000 }
func (s *pieces) Add(n []byte, _, next uint64, _ uint32, _ *vfs.Entry) {
	s.list = append(s.list, string(n))
	s.next = next
}

// TestZeroRange compares FALLOC_FL_ZERO_RANGE, which tmpfs lacks, with the host's
// disk, and lseek with what it reserves.
func TestZeroRange(t *testing.T) {
	host, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	fs := newSpace(t, Options{})
	f := create(t, fs, "f")
	data := bytes.Repeat([]byte{7}, 10*pageSize)
	for _, tt := range []struct{ off, n uint64 }{{0, pageSize}, {100, 50}, {pageSize - 1, 2}, {3 * pageSize, 4*pageSize + 5}, {9*pageSize + 1, 8 * pageSize}, {20 * pageSize, 1}} {
		for _, mode := range []uint32{zeroRange, zeroRange | keepSize} {
			f.truncate(0)
			f.pwrite(data, 0)
			host.Truncate(0)
			host.WriteAt(data, 0)
			if got, want := f.fallocate(mode, tt.off, tt.n), errnoOf(unix.Fallocate(int(host.Fd()), mode, int64(tt.off), int64(tt.n))); got != want || want != 0 {
				t.Errorf("%+v, mode %#x: %v, want %v", tt, mode, got, want)
			}
			want, err := os.ReadFile(host.Name())
			if got := f.contents(); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%+v, mode %#x: %d bytes, want %d, the same: %v", tt, mode, len(got), len(want), bytes.Equal(got, want))
			}
			checkSound(t, fs)
		}
	}
	f.truncate(0)
	f.pwrite(data, 0)
	f.fallocate(zeroRange, pageSize, 2*pageSize)
	if pos, errno := fs.Lseek(root, f.id, f.h, 0, unix.SEEK_HOLE); pos != pageSize || errno != 0 {
		t.Errorf("the first hole is at %d, %v", pos, errno)
	}
	if fs.Stats().Pages != 10 || fs.onHost(t) != 8 {
		t.Errorf("%d pages are reserved or written, %d on the host", fs.Stats().Pages, fs.onHost(t))
	}
}

// TestCapabilities: no file that changes keeps its capabilities.
func TestCapabilities(t *testing.T) {
	fs := newSpace(t, Options{})
	capability, buf := []byte("security.capability\x00"), make([]byte, 10)
	f := create(t, fs, "f")
	for _, tt := range []struct {
		what string
		kept bool
		call func() syscall.Errno
	}{
		{"write", false, func() syscall.Errno { _, errno := f.pwrite([]byte("x"), 0); return errno }},
		{"truncate", false, func() syscall.Errno { return f.truncate(0) }},
		{"fallocate", false, func() syscall.Errno { return f.fallocate(0, 0, 10) }},
		{"chown", false, func() syscall.Errno { return f.setattr(vfs.SetAttr{Valid: vfs.SetUID, UID: 1}) }},
		{"chmod", true, func() syscall.Errno { return f.setattr(vfs.SetAttr{Valid: vfs.SetMode, Mode: 0o700}) }},
		{"read", true, func() syscall.Errno { _, errno := f.pread(buf, 0); return errno }},
	} {
		if errno := fs.Setxattr(root, f.id, capability, []byte("cap"), 0, false); errno != 0 {
			t.Fatal(errno)
		}
		if errno := tt.call(); errno != 0 {
			t.Errorf("%s: %v", tt.what, errno)
		}
		n, errno := fs.Getxattr(root, f.id, capability, buf)
		if kept := errno == 0 && n == 3; kept != tt.kept || !kept && errno != syscall.ENODATA {
			t.Errorf("after %s there are %d bytes of capabilities, %v", tt.what, n, errno)
		}
	}
}

// TestTimes checks which times each call changes.
func TestTimes(t *testing.T) {
	fs := newSpace(t, Options{})
	f := create(t, fs, "f")
	f.pwrite([]byte("data"), 0)
	old := vfs.Timespec{Sec: 1000, Nsec: 5}
	var e vfs.Entry
	for _, tt := range []struct {
		what         string
		call         func()
		atime, mtime bool // ctime changes with all but reads
	}{
		{"read", func() { f.pread(make([]byte, 4), 0) }, true, false},
		{"write", func() { f.pwrite([]byte("x"), 0) }, false, true},
		{"truncate", func() { f.truncate(3) }, false, true},
		{"fallocate", func() { f.fallocate(keepSize, 0, 9) }, false, true},
		{"chmod", func() { f.setattr(vfs.SetAttr{Valid: vfs.SetMode, Mode: 0o600}) }, false, false},
		{"link", func() { fs.Link(root, f.id, vfs.Root, name("g"), &e) }, false, false},
		{"rename", func() { fs.Rename(root, vfs.Root, name("g"), vfs.Root, name("h"), 0) }, false, false},
		{"unlink", func() { fs.Unlink(root, vfs.Root, name("h")) }, false, false},
		{"setxattr", func() { fs.Setxattr(root, f.id, []byte("user.a\x00"), nil, 0, false) }, false, false},
	} {
		f.setattr(vfs.SetAttr{Valid: vfs.SetAtime | vfs.SetMtime | vfs.SetCtime, Atime: old, Mtime: old, Ctime: old})
		if a := f.attr(); a.Atime != old || a.Mtime != old || a.Ctime != old {
			t.Fatalf("times were set, and are %+v", a)
		}
		tt.call()
		a := f.attr()
		if (a.Atime != old) != tt.atime || (a.Mtime != old) != tt.mtime || (a.Ctime != old) != (tt.what != "read") {
			t.Errorf("after %s: atime %v, mtime %v, ctime %v", tt.what, a.Atime, a.Mtime, a.Ctime)
		}
		if tt.what == "read" {
			f.pread(make([]byte, 4), 0)
			if again := f.attr(); again.Atime != a.Atime {
				t.Errorf("a second read changes atime")
			}
		}
	}
	var x vfs.Statx
	if errno := fs.Statx(root, f.id, vfs.NoHandle, 0, 0, &x); errno != 0 || x.Btime.Sec < 1_600_000_000 || x.Mask&unix.STATX_BTIME == 0 {
		t.Errorf("born at %v, %v", x.Btime, errno)
	}
}

// TestAccess checks the permission bits for callers of all kinds.
func TestAccess(t *testing.T) {
	fs := newSpace(t, Options{})
	f := create(t, fs, "f")
	f.setattr(vfs.SetAttr{Valid: vfs.SetMode | vfs.SetUID | vfs.SetGID, UID: 10, GID: 20})
	for _, tt := range []struct {
		r    vfs.Request
		mode uint32
		mask uint32
		ok   bool
	}{
		{vfs.Request{}, 0, unix.R_OK | unix.W_OK, true},
		{vfs.Request{}, 0, unix.X_OK, false},
		{vfs.Request{}, 0o010, unix.X_OK, true},
		{vfs.Request{UID: 10}, 0o077, unix.R_OK, false},
		{vfs.Request{UID: 10}, 0o700, unix.R_OK | unix.W_OK | unix.X_OK, true},
		{vfs.Request{UID: 11, GID: 20}, 0o707, unix.R_OK, false},
		{vfs.Request{UID: 11, GID: 1, Groups: []uint32{5, 20}}, 0o040, unix.R_OK, true},
		{vfs.Request{UID: 11, GID: 1}, 0o004, unix.R_OK, true},
		{vfs.Request{UID: 11, GID: 1}, 0o770, unix.R_OK, false},
	} {
		f.setattr(vfs.SetAttr{Valid: vfs.SetMode, Mode: tt.mode})
		want := syscall.EACCES
		if tt.ok {
			want = 0
		}
		if errno := fs.Access(&tt.r, f.id, tt.mask); errno != want {
			t.Errorf("%+v, mode %#o, mask %d: %v, want %v", tt.r, tt.mode, tt.mask, errno, want)
		}
	}
	if errno := fs.Access(root, f.id, 8); errno != syscall.EINVAL {
		t.Errorf("a bad mask: %v", errno)
	}
	// Create of a file that is there is refused as the guest would refuse it.
	f.setattr(vfs.SetAttr{Valid: vfs.SetMode, Mode: 0o644})
	var e vfs.Entry
	var o vfs.Opened
	if errno := fs.Create(&vfs.Request{UID: 11}, vfs.Root, name("f"), unix.O_RDWR, 0, &e, &o); errno != syscall.ESTALE {
		t.Errorf("Create of another's file: %v, want ESTALE", errno)
	}
	if s := fs.Counts(); s.Nodes != 2 || s.Handles != 1 {
		t.Errorf("a refused Create leaves %+v", s)
	}
}

// TestACLs are not supported, by any call.
func TestACLs(t *testing.T) {
	fs := newSpace(t, Options{})
	f := create(t, fs, "f")
	for _, s := range []string{"system.posix_acl_access\x00", "system.posix_acl_default\x00"} {
		_, get := fs.Getxattr(root, f.id, []byte(s), nil)
		set := fs.Setxattr(root, f.id, []byte(s), []byte("x"), 0, true)
		remove := fs.Removexattr(root, f.id, []byte(s))
		if !slices.Equal([]syscall.Errno{get, set, remove}, []syscall.Errno{syscall.ENOTSUP, syscall.ENOTSUP, syscall.ENOTSUP}) {
			t.Errorf("%q: %v, %v, %v, want ENOTSUP", s, get, set, remove)
		}
	}
	if agreed, _ := fs.Init(^vfs.Features(0)); agreed&(vfs.FeatPOSIXLocks|vfs.FeatFlock|vfs.FeatPOSIXACL) != 0 {
		t.Errorf("locks or ACLs were agreed: %#x", agreed)
	}
}
