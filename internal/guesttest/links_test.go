package guesttest

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestHardLinksAreOneFileUnderManyNames(t *testing.T) {
	dir := scratch(t)
	mkdir(t, dir+"/sub")
	write(t, dir+"/a", []byte("one"))
	ino := lstat(t, dir+"/a").Ino
	names := []string{"/a", "/b", "/sub/c", "/sub/d"}
	for i, name := range names[1:] {
		check(t, unix.Link(dir+names[i], dir+name), "link %s", name)
		for _, each := range names[:i+2] {
			if st := lstat(t, dir+each); st.Ino != ino || st.Nlink != uint64(i+2) {
				t.Errorf("%s: inode %d with %d links, want %d with %d", each, st.Ino, st.Nlink, ino, i+2)
			}
		}
	}
	write(t, dir+"/sub/d", []byte("changed"))
	check(t, unix.Chmod(dir+"/b", 0o600), "chmod")
	for _, name := range names {
		if got := read(t, dir+name); string(got) != "changed" {
			t.Errorf("%s contains %q", name, got)
		}
		if st := lstat(t, dir+name); st.Mode&0o777 != 0o600 {
			t.Errorf("%s has mode %#o", name, st.Mode)
		}
	}
	f := open(t, dir+"/a", unix.O_RDONLY, 0)
	for i, name := range names {
		check(t, unix.Unlink(dir+name), "unlink %s", name)
		if st := fstat(t, f); st.Nlink != uint64(len(names)-1-i) {
			t.Errorf("%d links after removing %d of %d", st.Nlink, i+1, len(names))
		}
	}
}

func TestLinksThatCannotBeAreRefused(t *testing.T) {
	dir := scratch(t)
	mkdir(t, dir+"/d")
	write(t, dir+"/f", nil)
	check(t, unix.Symlink("f", dir+"/s"), "symlink")
	for _, c := range []struct {
		what     string
		from, to string
		err      error
	}{
		{"to an existing file", "/f", "/s", unix.EEXIST},
		{"to an existing directory", "/f", "/d", unix.EEXIST},
		{"to itself", "/f", "/f", unix.EEXIST},
		{"of a directory", "/d", "/x", unix.EPERM},
		{"of nothing", "/none", "/x", unix.ENOENT},
		{"into nothing", "/f", "/none/x", unix.ENOENT},
		{"below a file", "/f", "/f/x", unix.ENOTDIR},
	} {
		want(t, unix.Link(dir+c.from, dir+c.to), c.err, "link %s", c.what)
	}
	want(t, unix.Link("/proc/self/status", dir+"/x"), unix.EXDEV, "link from another file system")
	want(t, unix.Rename(dir+"/f", "/proc/x"), unix.EXDEV, "rename to another file system")
	if st := lstat(t, dir+"/f"); st.Nlink != 1 {
		t.Errorf("%d links after all refusals", st.Nlink)
	}
}

func TestDirectoryLinkCountsFollowTheirSubdirectories(t *testing.T) {
	dir := scratch(t)
	links := func(name string, n uint64) {
		t.Helper()
		if st := lstat(t, dir+name); st.Nlink != n {
			t.Errorf("%s has %d links, want %d", name, st.Nlink, n)
		}
	}
	mkdir(t, dir+"/a")
	mkdir(t, dir+"/b")
	links("/a", 2)
	for i := range 3 {
		mkdir(t, fmt.Sprint(dir, "/a/", i))
		links("/a", uint64(3+i))
	}
	write(t, dir+"/a/f", nil)
	links("/a", 5)
	check(t, unix.Rename(dir+"/a/0", dir+"/b/0"), "rename")
	links("/a", 4)
	links("/b", 3)
	check(t, unix.Rename(dir+"/a/1", dir+"/b/0"), "rename over an empty directory")
	links("/a", 3)
	links("/b", 3)
	check(t, unix.Rmdir(dir+"/b/0"), "rmdir")
	links("/b", 2)
	f := open(t, dir+"/b", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	check(t, unix.Rmdir(dir+"/b"), "rmdir")
	if st := fstat(t, f); st.Nlink != 0 {
		t.Errorf("a removed directory has %d links", st.Nlink)
	}
}

func TestSymbolicLinksKeepTheirTextWhateverItSays(t *testing.T) {
	dir := scratch(t)
	for i, target := range []string{
		"f", "./f", "../x/f", "/", "/etc/passwd", "/none/at/all", "..", "a//b", " ", "\xff\n",
		strings.Repeat("t", 255), strings.Repeat("long/", 200), strings.Repeat("t/", 2047) + "t",
	} {
		path := fmt.Sprint(dir, "/", i)
		check(t, unix.Symlink(target, path), "symlink to %d bytes", len(target))
		got, err := os.Readlink(path)
		if got != target || err != nil {
			t.Errorf("link to %.40q reads %.40q, %v", target, got, err)
		}
		st := lstat(t, path)
		if st.Size != int64(len(target)) || st.Mode != unix.S_IFLNK|0o777 {
			t.Errorf("link to %d bytes: size %d, mode %#o", len(target), st.Size, st.Mode)
		}
	}
	buf := make([]byte, 3)
	n, err := unix.Readlink(dir+"/4", buf)
	if n != 3 || err != nil || string(buf) != "/et" {
		t.Errorf("readlink into 3 bytes: %d, %v, %q", n, err, buf)
	}
	want(t, unix.Symlink("", dir+"/x"), unix.ENOENT, "symlink to nothing")
	want(t, unix.Symlink(strings.Repeat("t", 4096), dir+"/x"), unix.ENAMETOOLONG, "symlink to 4096 bytes")
	want(t, unix.Symlink("x", dir+"/0"), unix.EEXIST, "symlink over a link")
	write(t, dir+"/f", nil)
	_, err = unix.Readlink(dir+"/f", buf)
	want(t, err, unix.EINVAL, "readlink of a file")
}

func TestSymbolicLinksAreFollowedWhereTheyShouldBe(t *testing.T) {
	dir := scratch(t)
	write(t, dir+"/f", []byte("text"))
	mkdir(t, dir+"/d")
	for name, target := range map[string]string{
		"f": "../f", "absolute": dir + "/f", "up": "..", "dangling": "../none", "loop1": "loop2", "loop2": "loop1",
	} {
		check(t, unix.Symlink(target, dir+"/d/"+name), "symlink %s", name)
	}
	for _, name := range []string{"f", "absolute", "up/f", "up/d/up/d/f"} {
		if got := read(t, dir+"/d/"+name); string(got) != "text" {
			t.Errorf("through %s: %q", name, got)
		}
	}
	var st unix.Stat_t
	for _, c := range []struct {
		what string
		got  error
		err  error
	}{
		{"stat of a dangling link", unix.Stat(dir+"/d/dangling", &st), unix.ENOENT},
		{"lstat of a dangling link", unix.Lstat(dir+"/d/dangling", &st), nil},
		{"stat of a loop", unix.Stat(dir+"/d/loop1", &st), unix.ELOOP},
		{"open of a loop", tryOpen(dir+"/d/loop1", unix.O_RDWR|unix.O_CREAT, 0o644), unix.ELOOP},
		{"exclusive creation at a dangling link", tryOpen(dir+"/d/dangling", unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o644), unix.EEXIST},
		{"mkdir at a dangling link", unix.Mkdir(dir+"/d/dangling", 0o755), unix.EEXIST},
		{"open without following", tryOpen(dir+"/d/f", unix.O_RDONLY|unix.O_NOFOLLOW, 0), unix.ELOOP},
		{"rmdir of a link to a directory", unix.Rmdir(dir + "/d/up"), unix.ENOTDIR},
		{"creation at a dangling link", tryOpen(dir+"/d/dangling", unix.O_RDWR|unix.O_CREAT, 0o644), nil},
		{"what that created", unix.Lstat(dir+"/none", &st), nil},
		{"unlink of a link", unix.Unlink(dir + "/d/f"), nil},
		{"what it led to", unix.Lstat(dir+"/f", &st), nil},
	} {
		want(t, c.got, c.err, "%s", c.what)
	}

	// Forty links in a row are followed, and not one more.
	check(t, unix.Symlink("f", dir+"/1"), "symlink")
	for i := 2; i <= 41; i++ {
		check(t, unix.Symlink(fmt.Sprint(i-1), fmt.Sprint(dir, "/", i)), "symlink")
	}
	want(t, unix.Stat(dir+"/40", &st), nil, "a chain of 40 links")
	want(t, unix.Stat(dir+"/41", &st), unix.ELOOP, "a chain of 41 links")
}

func TestSymbolicLinksHaveAnOwnerTimesAndLinksOfTheirOwn(t *testing.T) {
	dir := scratch(t)
	write(t, dir+"/f", nil)
	check(t, unix.Symlink("f", dir+"/s"), "symlink")
	check(t, unix.Lchown(dir+"/s", 5001, 5002), "lchown")
	when := []unix.Timespec{{Sec: 1e9, Nsec: 1}, {Sec: 1e9 + 1, Nsec: 2}}
	check(t, unix.UtimesNanoAt(unix.AT_FDCWD, dir+"/s", when, unix.AT_SYMLINK_NOFOLLOW), "utimensat")
	st := lstat(t, dir+"/s")
	if st.Uid != 5001 || st.Gid != 5002 || st.Mtim != when[1] {
		t.Errorf("link has owner %d:%d, mtime %v", st.Uid, st.Gid, st.Mtim)
	}
	if f := lstat(t, dir+"/f"); f.Uid != 0 || f.Mtim == when[1] {
		t.Errorf("changes of the link reached its target: %+v", f)
	}
	check(t, unix.Link(dir+"/s", dir+"/s2"), "link of a link")
	st2 := lstat(t, dir+"/s2")
	if st2.Ino != st.Ino || st2.Mode&unix.S_IFMT != unix.S_IFLNK || st2.Nlink != 2 {
		t.Errorf("hard link of a symbolic link: %+v", st2)
	}
	check(t, unix.Linkat(unix.AT_FDCWD, dir+"/s", unix.AT_FDCWD, dir+"/f2", unix.AT_SYMLINK_FOLLOW), "link following")
	if st := lstat(t, dir+"/f2"); st.Mode&unix.S_IFMT != unix.S_IFREG {
		t.Errorf("following link has mode %#o", st.Mode)
	}
}

func TestTemporaryFilesGetTheirNameLater(t *testing.T) {
	dir := scratch(t)
	if expected[featNoTmpfile] {
		want(t, tryOpen(dir, unix.O_TMPFILE|unix.O_RDWR, 0o600), unix.EOPNOTSUPP, "O_TMPFILE with notmpfile")
		t.Log("notmpfile: only the refusal APPLIES, and was checked")
		return
	}
	f := open(t, dir, unix.O_TMPFILE|unix.O_RDWR, 0o640)
	if got := list(t, dir); len(got) != 0 {
		t.Errorf("a temporary file shows as %q", got)
	}
	data := pattern(1, 0, 100_000)
	writeAt(t, f, 0, data)
	same(t, readAt(t, f, 0, len(data)), data, 0, "temporary file")
	st := fstat(t, f)
	if st.Nlink != 0 || st.Mode != unix.S_IFREG|0o640 || st.Size != 100_000 {
		t.Errorf("temporary file: %d links, mode %#o, size %d", st.Nlink, st.Mode, st.Size)
	}
	name := fmt.Sprint("/proc/self/fd/", fd(f))
	check(t, unix.Linkat(unix.AT_FDCWD, name, unix.AT_FDCWD, dir+"/f", unix.AT_SYMLINK_FOLLOW), "linkat")
	same(t, read(t, dir+"/f"), data, 0, "linked file")
	if now := lstat(t, dir+"/f"); now.Ino != st.Ino || now.Nlink != 1 {
		t.Errorf("linked: inode %d with %d links, want %d with 1", now.Ino, now.Nlink, st.Ino)
	}
	want(t, unix.Linkat(unix.AT_FDCWD, name, unix.AT_FDCWD, dir+"/f", unix.AT_SYMLINK_FOLLOW), unix.EEXIST, "linkat to a taken name")
	writeAt(t, f, 10, []byte("through the old descriptor"))
	copy(data[10:], "through the old descriptor")
	same(t, read(t, dir+"/f"), data, 0, "written after linking")

	sealed := open(t, dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_EXCL, 0o600)
	name = fmt.Sprint("/proc/self/fd/", fd(sealed))
	want(t, unix.Linkat(unix.AT_FDCWD, name, unix.AT_FDCWD, dir+"/g", unix.AT_SYMLINK_FOLLOW), unix.ENOENT, "linkat of an exclusive temporary file")
	want(t, tryOpen(dir, unix.O_TMPFILE|unix.O_RDONLY, 0o600), unix.EINVAL, "O_TMPFILE for reading")
	want(t, tryOpen(dir+"/f", unix.O_TMPFILE|unix.O_RDWR, 0o600), unix.ENOTDIR, "O_TMPFILE in a file")
}
