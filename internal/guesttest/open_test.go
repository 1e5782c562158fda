package guesttest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpenFlagsDecideWhatMayBeOpened(t *testing.T) {
	dir := scratch(t)
	tree(t, dir, "file", "dir/")
	check(t, unix.Symlink("file", dir+"/link"), "symlink")
	check(t, unix.Symlink("dir", dir+"/dirlink"), "symlink")
	check(t, unix.Symlink("none", dir+"/dangling"), "symlink")
	const (
		rd, wr, rw = unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR
		creat      = unix.O_CREAT
		excl       = unix.O_EXCL
		nofollow   = unix.O_NOFOLLOW
		directory  = unix.O_DIRECTORY
		path       = unix.O_PATH
	)
	for _, c := range []struct {
		name  string
		flags int
		err   error
	}{
		{"file", rd, nil},
		{"none", rd, unix.ENOENT},
		{"file", rw | creat, nil},
		{"file", rw | creat | excl, unix.EEXIST},
		{"dir", rw | creat | excl, unix.EEXIST},
		{"link", rw | creat | excl, unix.EEXIST},
		{"dangling", rw | creat | excl, unix.EEXIST},
		{"dangling", rd, unix.ENOENT},
		{"link", rd, nil},
		{"link", rd | nofollow, unix.ELOOP},
		{"dangling", rw | creat | nofollow, unix.ELOOP},
		{"file", rd | nofollow, nil},
		{"dir", rd, nil},
		{"dir", wr, unix.EISDIR},
		{"dir", rw, unix.EISDIR},
		{"dir", rd | creat, unix.EISDIR},
		{"dir", rd | directory, nil},
		{"file", rd | directory, unix.ENOTDIR},
		{"dirlink", rd | directory, nil},
		{"dirlink", rd | directory | nofollow, unix.ENOTDIR},
		{"link", rd | directory, unix.ENOTDIR},
		{"file/x", rd, unix.ENOTDIR},
		{"file", path, nil},
		{"link", path | nofollow, nil},
		{"link", path | nofollow | directory, unix.ENOTDIR},
		{"dir", path | directory, nil},
		{"file", path | directory, unix.ENOTDIR},
		{"none", path, unix.ENOENT},
	} {
		want(t, tryOpen(dir+"/"+c.name, c.flags, 0o644), c.err, "open %s with %#o", c.name, c.flags)
	}
	if got := read(t, dir+"/file"); string(got) != "file" {
		t.Errorf("the file contains %q", got)
	}
	absent(t, dir+"/none")
}

func TestAFileCreatedReadOnlyCanStillBeWrittenByItsCreator(t *testing.T) {
	path := filepath.Join(scratch(t), "f")
	f := open(t, path, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0)
	writeAt(t, f, 0, []byte("written"))
	check(t, f.Sync(), "fsync")
	if got := readAt(t, f, 0, 7); string(got) != "written" {
		t.Errorf("contents %q", got)
	}
	if st := fstat(t, f); st.Mode != unix.S_IFREG {
		t.Errorf("mode %#o, want no rights", st.Mode)
	}
}

func TestPathDescriptorsNameAFileWithoutOpeningIt(t *testing.T) {
	dir := scratch(t)
	tree(t, dir, "file", "dir/", "dir/f")
	check(t, unix.Symlink("file", dir+"/link"), "symlink")
	p := open(t, dir+"/file", unix.O_PATH, 0)
	_, err := unix.Read(fd(p), make([]byte, 1))
	want(t, err, unix.EBADF, "read")
	_, err = unix.Write(fd(p), []byte("x"))
	want(t, err, unix.EBADF, "write")
	want(t, unix.Fchmod(fd(p), 0o600), unix.EBADF, "fchmod")
	want(t, unix.Fchown(fd(p), 1, 1), unix.EBADF, "fchown")
	want(t, unix.Ftruncate(fd(p), 0), unix.EBADF, "ftruncate")
	want(t, unix.Fsync(fd(p)), unix.EBADF, "fsync")
	if st := fstat(t, p); st.Size != 4 {
		t.Errorf("size %d, want 4", st.Size)
	}
	// It stays with the file when the name goes, and opens it again.
	check(t, unix.Rename(dir+"/file", dir+"/moved"), "rename")
	again := open(t, fmt.Sprint("/proc/self/fd/", fd(p)), unix.O_RDWR, 0)
	writeAt(t, again, 0, []byte("more"))
	if got := read(t, dir+"/moved"); string(got) != "more" {
		t.Errorf("contents %q", got)
	}
	check(t, unix.Unlink(dir+"/moved"), "unlink")
	if st := fstat(t, p); st.Nlink != 0 {
		t.Errorf("%d links after unlink", st.Nlink)
	}
	last := open(t, fmt.Sprint("/proc/self/fd/", fd(p)), unix.O_RDONLY, 0)
	if got := readAt(t, last, 0, 4); string(got) != "more" {
		t.Errorf("contents after unlink %q", got)
	}

	l := open(t, dir+"/link", unix.O_PATH|unix.O_NOFOLLOW, 0)
	buf := make([]byte, 100)
	n, err := unix.Readlinkat(fd(l), "", buf)
	if err != nil || !bytes.Equal(buf[:n], []byte("file")) {
		t.Errorf("readlink of a path descriptor: %q, %v", buf[:max(n, 0)], err)
	}
	d := open(t, dir+"/dir", unix.O_PATH|unix.O_DIRECTORY, 0)
	var st unix.Stat_t
	check(t, unix.Fstatat(fd(d), "f", &st, 0), "stat below a path descriptor")
	_, err = unix.Getdents(fd(d), buf)
	want(t, err, unix.EBADF, "getdents of a path descriptor")
}

func TestFiveHundredFilesMayBeOpenAtOnce(t *testing.T) {
	const n = 500
	dir := scratch(t)
	files := make([]*os.File, n)
	for i := range files {
		files[i] = open(t, fmt.Sprint(dir, "/", i), unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o644)
		writeAt(t, files[i], int64(i), pattern(uint64(i), 0, 100))
	}
	for i, f := range files {
		same(t, readAt(t, f, int64(i), 100), pattern(uint64(i), 0, 100), int64(i), f.Name())
		if i%2 == 0 {
			check(t, unix.Unlink(f.Name()), "unlink")
		}
	}
	for i, f := range files {
		same(t, readAt(t, f, int64(i), 100), pattern(uint64(i), 0, 100), int64(i), f.Name())
		check(t, f.Close(), "close")
	}
	if got := list(t, dir); len(got) != n/2 {
		t.Errorf("%d files left, want %d", len(got), n/2)
	}
}
