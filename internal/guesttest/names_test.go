package guesttest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// oddNames are names that something on the way could mistake, change or refuse.
var oddNames = []string{
	"...", "....", ". ", " .", "..x", ".x", "-", "--", "-rf", " ", "  ", "\t", "\n", "a\nb", "a\rb", "\x01\x1f\x7f",
	"\x80", "\xff", "\xff\xfe", "\xc3\x28", "caf\xe9", "a\xc0\xafb", // not UTF-8; the last is an overlong slash
	"caf\u00e9", "cafe\u0301", "\u202e", "\U0001f600", // composed, decomposed, reversing, beyond 16 bits
	"name", "Name", "NAME", // three files
	"*", "?", "[a]", "$HOME", "`x`", "\"", "'", "\\", "a\\b", "%2f", "%00", ":", "a:b", "|", "<>", "~", "#", "&", ";",
	"con", "nul", "aux.txt", "lost+found", ".fuse_hidden0001", ".wh.name",
	strings.Repeat("n", 255), strings.Repeat("\xff", 255), strings.Repeat("\u00e9", 127) + "x",
}

func TestEveryNameButSlashAndNULIsJustBytes(t *testing.T) {
	dir := mkdir(t, filepath.Join(scratch(t), "d"))
	for i, name := range oddNames {
		write(t, dir+"/"+name, []byte{byte(i)})
	}
	for i, name := range oddNames {
		if got := read(t, dir+"/"+name); len(got) != 1 || got[0] != byte(i) {
			t.Errorf("%q contains %v, want %d", name, got, i)
		}
	}
	wanted := slices.Clone(oddNames)
	slices.Sort(wanted)
	if got := list(t, dir); !slices.Equal(got, wanted) {
		t.Errorf("listing:\n got %q\nwant %q", got, wanted)
	}
	for _, name := range oddNames {
		path := dir + "/" + name
		check(t, unix.Rename(path, dir+"/moved"), "rename %q", name)
		absent(t, path)
		check(t, unix.Symlink(name, path), "symlink %q", name)
		if got, err := os.Readlink(path); got != name || err != nil {
			t.Errorf("link to %q reads %q, %v", name, got, err)
		}
		check(t, unix.Unlink(path), "unlink %q", name)
		check(t, unix.Mkdir(path, 0o755), "mkdir %q", name)
		check(t, unix.Rmdir(path), "rmdir %q", name)
		check(t, unix.Link(dir+"/moved", path), "link %q", name)
		check(t, unix.Unlink(path), "unlink %q", name)
		check(t, unix.Unlink(dir+"/moved"), "unlink")
	}
	if got := list(t, dir); len(got) != 0 {
		t.Errorf("left over: %q", got)
	}
}

func TestNamesAndPathsThatAreTooLongAreRefused(t *testing.T) {
	dir := scratch(t)
	write(t, dir+"/f", nil)
	long := dir + "/" + strings.Repeat("n", 256)
	var st unix.Stat_t
	var buf [10]byte
	for _, c := range []struct {
		what string
		err  error
	}{
		{"open", tryOpen(long, unix.O_RDONLY, 0)},
		{"create", tryOpen(long, unix.O_RDWR|unix.O_CREAT, 0o644)},
		{"stat", unix.Stat(long, &st)},
		{"lstat", unix.Lstat(long, &st)},
		{"mkdir", unix.Mkdir(long, 0o755)},
		{"rmdir", unix.Rmdir(long)},
		{"unlink", unix.Unlink(long)},
		{"mknod", unix.Mknod(long, unix.S_IFIFO|0o644, 0)},
		{"symlink", unix.Symlink("f", long)},
		{"link", unix.Link(dir+"/f", long)},
		{"rename", unix.Rename(dir+"/f", long)},
		{"truncate", unix.Truncate(long, 0)},
		{"chmod", unix.Chmod(long, 0o644)},
		{"readlink", func() error { _, err := unix.Readlink(long, buf[:]); return err }()},
		{"a file behind it", unix.Stat(long+"/f", &st)},
	} {
		want(t, c.err, unix.ENAMETOOLONG, "%s with a name of 256 bytes", c.what)
	}
	// A path may have 4095 bytes, however few its names.
	slashes := strings.Repeat("/", 4095-len(dir)-len("f"))
	check(t, unix.Stat(dir+slashes+"f", &st), "stat with a path of 4095 bytes")
	want(t, unix.Stat(dir+slashes+"/f", &st), unix.ENAMETOOLONG, "stat with a path of 4096 bytes")
	want(t, unix.Stat("", &st), unix.ENOENT, "stat with an empty path")
}

func TestDotsAndSlashesMeanWhatTheyAlwaysMean(t *testing.T) {
	dir := scratch(t)
	mkdir(t, dir+"/a")
	mkdir(t, dir+"/a/b")
	write(t, dir+"/a/f", []byte("x"))
	home := lstat(t, dir)
	for _, path := range []string{"/.", "/a/..", "/a/b/../..", "/./a/./b/.././..", "//a//../", "/a/b/../../a/.."} {
		if st := lstat(t, dir+path); st.Ino != home.Ino || st.Dev != home.Dev {
			t.Errorf("%s is inode %d, want %d", path, st.Ino, home.Ino)
		}
	}
	// ".." belongs to the directory, not to the path that led there.
	b := open(t, dir+"/a/b", unix.O_PATH|unix.O_DIRECTORY, 0)
	mkdir(t, dir+"/c")
	check(t, unix.Rename(dir+"/a/b", dir+"/c/b"), "rename")
	var up unix.Stat_t
	check(t, unix.Fstatat(fd(b), "..", &up, 0), "stat of ..")
	if c := lstat(t, dir+"/c"); up.Ino != c.Ino {
		t.Errorf(".. after a move is inode %d, want %d", up.Ino, c.Ino)
	}
	check(t, unix.Symlink("c/b", dir+"/link"), "symlink")
	var st unix.Stat_t
	check(t, unix.Stat(dir+"/link/..", &st), "stat behind a link")
	if st.Ino != up.Ino {
		t.Errorf("link/.. is inode %d, want %d", st.Ino, up.Ino)
	}

	for _, c := range []struct {
		what string
		got  error
		err  error
	}{
		{"stat f/", unix.Lstat(dir+"/a/f/", &st), unix.ENOTDIR},
		{"stat f/.", unix.Lstat(dir+"/a/f/.", &st), unix.ENOTDIR},
		{"stat f/..", unix.Lstat(dir+"/a/f/..", &st), unix.ENOTDIR},
		{"stat f/x", unix.Lstat(dir+"/a/f/x", &st), unix.ENOTDIR},
		{"stat none/..", unix.Lstat(dir+"/none/..", &st), unix.ENOENT},
		{"create new/", tryOpen(dir+"/new/", unix.O_CREAT|unix.O_RDWR, 0o644), unix.EISDIR},
		{"mkdir new/", unix.Mkdir(dir+"/new/", 0o755), nil},
		{"mkdir .", unix.Mkdir(dir+"/a/.", 0o755), unix.EEXIST},
		{"mkdir ..", unix.Mkdir(dir+"/a/..", 0o755), unix.EEXIST},
		{"rmdir .", unix.Rmdir(dir + "/new/."), unix.EINVAL},
		{"rmdir ..", unix.Rmdir(dir + "/new/.."), unix.ENOTEMPTY},
		{"unlink f/", unix.Unlink(dir + "/a/f/"), unix.ENOTDIR},
		{"rename .", unix.Rename(dir+"/new/.", dir+"/x"), unix.EBUSY},
		{"rename to ..", unix.Rename(dir+"/new", dir+"/a/.."), unix.EBUSY},
		{"rename f/", unix.Rename(dir+"/a/f/", dir+"/x"), unix.ENOTDIR},
		{"rename to x/", unix.Rename(dir+"/a/f", dir+"/x/"), unix.ENOTDIR},
		{"rmdir new/", unix.Rmdir(dir + "/new/"), nil},
	} {
		want(t, c.got, c.err, "%s", c.what)
	}
}

func TestDirectoriesNestDeeperThanAPathIsLong(t *testing.T) {
	const levels = 200
	dir := scratch(t)
	name := strings.Repeat("deep-", 5)
	at := open(t, dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	path := dir
	for i := range levels {
		check(t, unix.Mkdirat(fd(at), name, 0o755), "mkdir at level %d", i)
		n, err := unix.Openat(fd(at), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		check(t, err, "open level %d", i)
		at.Close()
		at = os.NewFile(uintptr(n), fmt.Sprint("level ", i))
		path += "/" + name
	}
	defer at.Close()
	n, err := unix.Openat(fd(at), "f", unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o644)
	check(t, err, "create at the bottom")
	f := os.NewFile(uintptr(n), "bottom")
	writeAt(t, f, 0, []byte("deep"))
	check(t, f.Close(), "close")
	want(t, unix.Access(path, unix.F_OK), unix.ENAMETOOLONG, "the whole path")

	// Half the way fits into a path; the other half goes on from there.
	half := dir + strings.Repeat("/"+name, levels/2)
	mid := open(t, half, unix.O_PATH|unix.O_DIRECTORY, 0)
	rest := strings.Repeat(name+"/", levels/2) + "f"
	var st unix.Stat_t
	check(t, unix.Fstatat(fd(mid), rest, &st, 0), "stat in two steps")
	if st.Size != 4 {
		t.Errorf("size at the bottom %d, want 4", st.Size)
	}
	// All the way up again.
	check(t, unix.Fstatat(fd(at), strings.Repeat("../", levels)+".", &st, 0), "stat of the top from the bottom")
	if top := lstat(t, dir); st.Ino != top.Ino {
		t.Errorf("top seen from the bottom is inode %d, want %d", st.Ino, top.Ino)
	}
}
