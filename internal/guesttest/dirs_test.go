package guesttest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// dirent is an entry as getdents64 tells it.
type dirent struct {
	ino  uint64
	next int64 // the position behind the entry
	typ  byte
	name string
}

// getdents reads the next entries of a directory into a buffer of size bytes.
func getdents(t *testing.T, d *os.File, size int) []dirent {
	t.Helper()
	buf := make([]byte, size)
	n, err := unix.Getdents(fd(d), buf)
	check(t, err, "getdents")
	var entries []dirent
	for buf = buf[:n]; len(buf) > 0; {
		reclen := binary.NativeEndian.Uint16(buf[16:])
		name, _, _ := bytes.Cut(buf[19:reclen], []byte{0})
		entries = append(entries, dirent{
			ino:  binary.NativeEndian.Uint64(buf),
			next: int64(binary.NativeEndian.Uint64(buf[8:])),
			typ:  buf[18],
			name: string(name),
		})
		buf = buf[reclen:]
	}
	return entries
}

// entries reads a whole directory from its current position.
func entries(t *testing.T, d *os.File, size int) []dirent {
	t.Helper()
	var all []dirent
	for {
		some := getdents(t, d, size)
		if len(some) == 0 {
			return all
		}
		all = append(all, some...)
	}
}

// list returns the sorted names in a directory, without "." and "..".
func list(t *testing.T, path string) []string {
	t.Helper()
	d := open(t, path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	defer d.Close()
	names := []string{}
	for _, e := range entries(t, d, 32<<10) {
		if e.name != "." && e.name != ".." {
			names = append(names, e.name)
		}
	}
	slices.Sort(names)
	return names
}

func TestListingsTellTypeAndInodeOfEveryEntry(t *testing.T) {
	dir := mkdir(t, scratch(t)+"/d")
	types := map[string]byte{
		".": unix.DT_DIR, "..": unix.DT_DIR,
		"file": unix.DT_REG, "dir": unix.DT_DIR, "link": unix.DT_LNK,
		"fifo": unix.DT_FIFO, "socket": unix.DT_SOCK, "char": unix.DT_CHR, "block": unix.DT_BLK,
	}
	tree(t, dir, "file", "dir/")
	check(t, unix.Symlink("nowhere", dir+"/link"), "symlink")
	check(t, unix.Mknod(dir+"/fifo", unix.S_IFIFO|0o644, 0), "mknod")
	check(t, unix.Mknod(dir+"/socket", unix.S_IFSOCK|0o644, 0), "mknod")
	check(t, unix.Mknod(dir+"/char", unix.S_IFCHR|0o644, int(unix.Mkdev(1, 3))), "mknod")
	check(t, unix.Mknod(dir+"/block", unix.S_IFBLK|0o644, int(unix.Mkdev(7, 0))), "mknod")
	d := open(t, dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	all := entries(t, d, 1000)
	for _, e := range all {
		typ, ok := types[e.name]
		if !ok || typ != e.typ {
			t.Errorf("%q is listed with type %d, want %d (known: %v)", e.name, e.typ, typ, ok)
		}
		if st := lstat(t, dir+"/"+e.name); st.Ino != e.ino {
			t.Errorf("%q is listed as inode %d, stat says %d", e.name, e.ino, st.Ino)
		}
	}
	if len(all) != len(types) {
		t.Errorf("%d entries, want %d: %v", len(all), len(types), all)
	}
	_, err := unix.Getdents(fd(d), make([]byte, 1000))
	want(t, err, nil, "getdents at the end")
	f := open(t, dir+"/file", unix.O_RDONLY, 0)
	_, err = unix.Getdents(fd(f), make([]byte, 1000))
	want(t, err, unix.ENOTDIR, "getdents of a file")
	_, err = d.Seek(0, 0)
	check(t, err, "rewind")
	_, err = unix.Read(fd(d), make([]byte, 10))
	want(t, err, unix.EISDIR, "read of a directory")
	_, err = unix.Getdents(fd(d), make([]byte, 10))
	want(t, err, unix.EINVAL, "getdents into 10 bytes")
}

func TestALongListingIsExactWhileTheDirectoryChanges(t *testing.T) {
	dir := scratch(t)
	n := scaled(10_000)
	wanted := make([]string, n)
	for i := range wanted {
		wanted[i] = fmt.Sprintf("permanent-%05d", i)
		check(t, unix.Mknod(dir+"/"+wanted[i], unix.S_IFREG|0o644, 0), "create")
	}
	if got := list(t, dir); !slices.Equal(got, wanted) {
		t.Fatalf("%d names in a directory at rest, want %d", len(got), n)
	}

	c := startChurn(t, dir)
	sizes := []int{4096, 32 << 10, 1 << 20}
	for pass := 0; pass < len(sizes) || c.changes.Load() < 100; pass++ {
		size := sizes[pass%len(sizes)]
		d := open(t, dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		seen := map[string]int{}
		for _, e := range entries(t, d, size) {
			seen[e.name]++
		}
		check(t, d.Close(), "close")
		for _, name := range append(wanted, ".", "..") {
			if seen[name] != 1 {
				t.Errorf("buffer of %d: %s was listed %d times", size, name, seen[name])
			}
		}
		for name, times := range seen {
			if times > 1 {
				t.Errorf("buffer of %d: %s was listed %d times", size, name, times)
			}
		}
	}
	check(t, c.end(), "create and remove during the listing")
	t.Logf("%d entries; %d others came and went", n, c.changes.Load())
	for _, name := range wanted {
		check(t, unix.Unlink(dir+"/"+name), "unlink")
	}
	if got := list(t, dir); len(got) != 0 {
		t.Errorf("%d names left in an emptied directory", len(got))
	}
}

// churn makes and removes files in a directory until it is ended. It uses
// every name once only, so that even these must not be listed twice.
type churn struct {
	changes atomic.Int64
	stop    chan struct{}
	end     func() error // may be called again
}

func startChurn(t *testing.T, dir string) *churn {
	c := &churn{stop: make(chan struct{})}
	result := make(chan error, 1)
	go func() { result <- c.run(dir) }()
	c.end = sync.OnceValue(func() error {
		close(c.stop)
		return <-result
	})
	t.Cleanup(func() { c.end() })
	return c
}

func (c *churn) run(dir string) error {
	for i := 0; ; i++ {
		select {
		case <-c.stop:
			return nil
		default:
		}
		name := fmt.Sprintf("%s/transient-%d", dir, i)
		if err := unix.Mknod(name, unix.S_IFREG|0o644, 0); err != nil {
			return err
		}
		if i%2 == 0 {
			if err := unix.Rename(name, name+"-renamed"); err != nil {
				return err
			}
			name += "-renamed"
		}
		if err := unix.Unlink(name); err != nil {
			return err
		}
		c.changes.Add(1)
	}
}

func TestAListingMayRemoveWhatItLists(t *testing.T) {
	dir := scratch(t)
	n := scaled(1000)
	for i := range n {
		check(t, unix.Mknod(fmt.Sprintf("%s/%d", dir, i), unix.S_IFREG|0o644, 0), "create")
	}
	d := open(t, dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	removed := 0
	for {
		some := getdents(t, d, 2048)
		if len(some) == 0 {
			break
		}
		for _, e := range some {
			if e.typ != unix.DT_DIR {
				check(t, unix.Unlinkat(fd(d), e.name, 0), "unlink %s", e.name)
				removed++
			}
		}
	}
	if left := list(t, dir); removed != n || len(left) != 0 {
		t.Errorf("%d of %d removed, %d left", removed, n, len(left))
	}
}

func TestDirectoryPositionsLeadBackToTheirPlace(t *testing.T) {
	dir := scratch(t)
	for i := range 500 {
		check(t, unix.Mknod(fmt.Sprintf("%s/%d", dir, i), unix.S_IFREG|0o644, 0), "create")
	}
	d := open(t, dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	all := entries(t, d, 4096)
	for i := len(all) - 2; i >= 0; i -= 17 { // backwards, from position to position
		if pos, err := d.Seek(all[i].next, 0); err != nil || pos != all[i].next {
			t.Fatalf("seek to %d: %d, %v", all[i].next, pos, err)
		}
		if got := getdents(t, d, 512); len(got) == 0 || got[0].name != all[i+1].name {
			t.Errorf("behind %s comes %v, want %s", all[i].name, got, all[i+1].name)
		}
	}
	last := all[len(all)-1].next
	_, err := d.Seek(last, 0)
	check(t, err, "seek to the end")
	if got := getdents(t, d, 4096); len(got) != 0 {
		t.Errorf("%d entries behind the last", len(got))
	}
	// A position outlives the removal of the entry before it.
	i := len(all) / 2
	for ; all[i].typ == unix.DT_DIR || all[i+1].typ == unix.DT_DIR; i++ {
	}
	check(t, unix.Unlink(dir+"/"+all[i].name), "unlink")
	_, err = d.Seek(all[i].next, 0)
	check(t, err, "seek")
	if got := getdents(t, d, 512); len(got) == 0 || got[0].name != all[i+1].name {
		t.Errorf("behind the removed %s comes %v, want %s", all[i].name, got, all[i+1].name)
	}
	// From the start, what has been added since is there.
	write(t, dir+"/added", nil)
	_, err = d.Seek(0, 0)
	check(t, err, "rewind")
	if got := entries(t, d, 4096); !slices.ContainsFunc(got, func(e dirent) bool { return e.name == "added" }) || len(got) != len(all) {
		t.Errorf("%d entries after a rewind, want %d with the added one", len(got), len(all))
	}
}

func TestOnlyEmptyDirectoriesAreRemoved(t *testing.T) {
	dir := scratch(t)
	tree(t, dir, "full/", "full/f", "file", "empty/")
	want(t, unix.Rmdir(dir+"/full"), unix.ENOTEMPTY, "rmdir of a full directory")
	want(t, unix.Rmdir(dir+"/file"), unix.ENOTDIR, "rmdir of a file")
	want(t, unix.Unlink(dir+"/empty"), unix.EISDIR, "unlink of a directory")
	want(t, unix.Rmdir(dir+"/none"), unix.ENOENT, "rmdir of nothing")
	want(t, unix.Unlink(dir+"/none"), unix.ENOENT, "unlink of nothing")
	want(t, unix.Mkdir(dir+"/file", 0o755), unix.EEXIST, "mkdir over a file")
	want(t, unix.Mkdir(dir+"/empty", 0o755), unix.EEXIST, "mkdir over a directory")
	want(t, unix.Mkdir(dir+"/none/d", 0o755), unix.ENOENT, "mkdir in nothing")
	check(t, unix.Unlink(dir+"/full/f"), "unlink")
	check(t, unix.Rmdir(dir+"/full"), "rmdir of an emptied directory")
	absent(t, dir+"/full")
}

func TestARemovedDirectoryStaysOpenAndEmpty(t *testing.T) {
	dir := mkdir(t, scratch(t)+"/d")
	d := open(t, dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	check(t, unix.Rmdir(dir), "rmdir")
	if st := fstat(t, d); st.Nlink != 0 || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		t.Errorf("removed directory: %d links, mode %#o", st.Nlink, st.Mode)
	}
	_, err := unix.Getdents(fd(d), make([]byte, 4096))
	want(t, err, unix.ENOENT, "getdents of a removed directory")
	_, err = unix.Openat(fd(d), "f", unix.O_RDWR|unix.O_CREAT, 0o644)
	want(t, err, unix.ENOENT, "create in a removed directory")
	want(t, unix.Mkdirat(fd(d), "d", 0o755), unix.ENOENT, "mkdir in a removed directory")
	want(t, unix.Symlinkat("x", fd(d), "s"), unix.ENOENT, "symlink in a removed directory")
	mkdir(t, dir)
	write(t, dir+"/f", nil)
	_, err = unix.Openat(fd(d), "f", unix.O_RDONLY, 0)
	want(t, err, unix.ENOENT, "open in a removed directory of what its successor has")
}

func TestAChangedDirectoryHasNewTimes(t *testing.T) {
	dir := mkdir(t, scratch(t)+"/d")
	write(t, dir+"/kept", nil)
	old := time.Unix(1e9, 0)
	for _, c := range []struct {
		what string
		do   func() error
	}{
		{"create", func() error { return tryOpen(dir+"/f", unix.O_RDWR|unix.O_CREAT, 0o644) }},
		{"link", func() error { return unix.Link(dir+"/f", dir+"/l") }},
		{"rename", func() error { return unix.Rename(dir+"/l", dir+"/r") }},
		{"unlink", func() error { return unix.Unlink(dir + "/r") }},
		{"symlink", func() error { return unix.Symlink("x", dir+"/s") }},
		{"mkdir", func() error { return unix.Mkdir(dir+"/d", 0o755) }},
		{"rmdir", func() error { return unix.Rmdir(dir + "/d") }},
		{"mknod", func() error { return unix.Mknod(dir+"/p", unix.S_IFIFO|0o644, 0) }},
	} {
		check(t, os.Chtimes(dir, old, old), "chtimes")
		check(t, c.do(), "%s", c.what)
		if st := lstat(t, dir); st.Mtim.Sec == 1e9 {
			t.Errorf("%s left the directory's mtime alone", c.what)
		}
	}
	check(t, os.Chtimes(dir, old, old), "chtimes")
	write(t, dir+"/kept", []byte("x"))
	if st := lstat(t, dir); st.Mtim.Sec != 1e9 {
		t.Error("a write to a file changed its directory's mtime")
	}
}
