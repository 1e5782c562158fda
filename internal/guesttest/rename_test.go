package guesttest

import (
	"bytes"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// tree makes files and directories: a name that ends with a slash is a
// directory, any other a file that contains its own name.
func tree(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		if name[len(name)-1] == '/' {
			mkdir(t, dir+"/"+name)
		} else {
			write(t, dir+"/"+name, []byte(name))
		}
	}
}

func TestRenameFollowsItsRules(t *testing.T) {
	const (
		noreplace = unix.RENAME_NOREPLACE
		exchange  = unix.RENAME_EXCHANGE
		whiteout  = unix.RENAME_WHITEOUT
	)
	for _, c := range []struct {
		from, to string
		flags    uint
		err      error
	}{
		{"file", "new", 0, nil},
		{"file", "file2", 0, nil},
		{"file", "full/new", 0, nil},
		{"file", "file", 0, nil},
		{"file", "link", 0, nil},
		{"empty", "new", 0, nil},
		{"empty", "empty2", 0, nil},
		{"full", "empty", 0, nil},
		{"none", "new", 0, unix.ENOENT},
		{"file", "none/new", 0, unix.ENOENT},
		{"file", "empty", 0, unix.EISDIR},
		{"empty", "file", 0, unix.ENOTDIR},
		{"empty", "full", 0, unix.ENOTEMPTY},
		{"full", "full/x", 0, unix.EINVAL},
		{"full", "full/sub/x", 0, unix.EINVAL},
		{"full/sub", "full", 0, unix.ENOTEMPTY},
		{"file", "file2/new", 0, unix.ENOTDIR},
		{"file", "new", noreplace, nil},
		{"empty", "new", noreplace, nil},
		{"file", "file2", noreplace, unix.EEXIST},
		{"empty", "empty2", noreplace, unix.EEXIST},
		{"file", "dangling", noreplace, unix.EEXIST},
		{"none", "new", noreplace, unix.ENOENT},
		{"file", "file2", exchange, nil},
		{"file", "full", exchange, nil},
		{"full", "empty", exchange, nil},
		{"file", "dangling", exchange, nil},
		{"file", "new", exchange, unix.ENOENT},
		{"none", "file", exchange, unix.ENOENT},
		{"full", "full/sub", exchange, unix.EINVAL},
		{"full/sub", "full", exchange, unix.EINVAL},
		{"file", "file2", exchange | noreplace, unix.EINVAL},
		{"file", "file2", exchange | whiteout, unix.EINVAL},
		{"file", "file2", 1 << 10, unix.EINVAL},
		{"file", "new", whiteout, nil},
		{"file", "file2", whiteout, nil},
		{"full", "new", whiteout, nil},
		{"file", "new", whiteout | noreplace, nil},
		{"file", "file2", whiteout | noreplace, unix.EEXIST},
	} {
		dir := scratch(t)
		tree(t, dir, "file", "file2", "empty/", "empty2/", "full/", "full/sub/", "full/inside")
		check(t, unix.Link(dir+"/file", dir+"/link"), "link")
		check(t, unix.Symlink("nowhere", dir+"/dangling"), "symlink")

		from, to := dir+"/"+c.from, dir+"/"+c.to
		var oldFrom, oldTo, newFrom, newTo unix.Stat_t
		missing := unix.Lstat(from, &oldFrom)
		newName := unix.Lstat(to, &oldTo) != nil
		err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, c.flags)
		want(t, err, c.err, "rename %s to %s with %#x", c.from, c.to, c.flags)
		gone := unix.Lstat(from, &newFrom)
		unix.Lstat(to, &newTo)

		var ok bool
		switch {
		case c.err != nil: // nothing has changed
			ok = newFrom.Ino == oldFrom.Ino && newTo.Ino == oldTo.Ino && (gone == nil) == (missing == nil)
		case c.flags&exchange != 0:
			ok = newFrom.Ino == oldTo.Ino && newTo.Ino == oldFrom.Ino
		case c.flags&whiteout != 0: // a character device 0:0 stays behind
			ok = newTo.Ino == oldFrom.Ino && newFrom.Mode&unix.S_IFMT == unix.S_IFCHR && newFrom.Rdev == 0
		case !newName && oldFrom.Ino == oldTo.Ino: // two names of one file both stay
			ok = gone == nil && newTo.Ino == oldTo.Ino
		default:
			ok = gone == unix.ENOENT && newTo.Ino == oldFrom.Ino
		}
		if !ok {
			t.Errorf("rename %s to %s with %#x: inodes were %d, %d and are %d (%v), %d",
				c.from, c.to, c.flags, oldFrom.Ino, oldTo.Ino, newFrom.Ino, gone, newTo.Ino)
		}
		if c.err == nil && c.from == "full" && c.flags&^whiteout == 0 {
			if got := read(t, to+"/inside"); string(got) != "full/inside" {
				t.Errorf("rename %s to %s: a file inside contains %q", c.from, c.to, got)
			}
		}
	}
}

func TestOpenFilesSurviveUnlinkAndRename(t *testing.T) {
	dir := scratch(t)
	mkdir(t, dir+"/d")
	model := pattern(1, 0, 100_000)
	write(t, dir+"/f", model)
	f := open(t, dir+"/f", unix.O_RDWR, 0)
	alive := func(when string, links uint64) {
		t.Helper()
		patch := pattern(uint64(len(when)), 0, 5000)
		writeAt(t, f, 33_333, patch)
		copy(model[33_333:], patch)
		same(t, readAt(t, f, 0, len(model)), model, 0, when)
		st := fstat(t, f)
		if st.Nlink != links || st.Size != int64(len(model)) {
			t.Errorf("%s: %d links, size %d", when, st.Nlink, st.Size)
		}
	}
	check(t, unix.Rename(dir+"/f", dir+"/d/g"), "rename")
	alive("renamed", 1)
	same(t, read(t, dir+"/d/g"), model, 0, "under the new name")
	check(t, unix.Rename(dir+"/d", dir+"/e"), "rename of the directory")
	alive("in a renamed directory", 1)
	same(t, read(t, dir+"/e/g"), model, 0, "in the renamed directory")

	write(t, dir+"/other", []byte("other"))
	check(t, unix.Rename(dir+"/other", dir+"/e/g"), "rename over it")
	alive("replaced", 0)
	if got := read(t, dir+"/e/g"); string(got) != "other" {
		t.Errorf("the replacement contains %q", got)
	}
	check(t, unix.Ftruncate(fd(f), 50_000), "truncate a replaced file")
	model = model[:50_000]
	check(t, unix.Fchmod(fd(f), 0o600), "chmod a replaced file")
	alive("replaced and cut", 0)

	g := open(t, dir+"/e/g", unix.O_RDWR, 0)
	check(t, unix.Unlink(dir+"/e/g"), "unlink")
	write(t, dir+"/e/g", []byte("a new file of the same name"))
	if got := readAt(t, g, 0, 5); string(got) != "other" {
		t.Errorf("an unlinked file contains %q", got)
	}
	check(t, g.Sync(), "fsync of an unlinked file")
	// What is reached through the descriptor is the old file as well.
	m := mmapRead(t, g, 5)
	if !bytes.Equal(m, []byte("other")) {
		t.Errorf("an unlinked file maps as %q", m)
	}
}

// mmapRead returns a private mapping of a file.
func mmapRead(t *testing.T, f *os.File, n int) []byte {
	t.Helper()
	return mmap(t, fd(f), n, unix.PROT_READ, unix.MAP_PRIVATE)
}

func TestADirectoryMayMoveUnderneathItsUsers(t *testing.T) {
	dir := scratch(t)
	tree(t, dir, "old/", "old/sub/", "old/f")
	d := open(t, dir+"/old", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	onThread(func() {
		// The working directory becomes this thread's own.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		want(t, unix.Chdir(dir+"/old/sub"), nil, "chdir")
		want(t, unix.Rename(dir+"/old", dir+"/new"), nil, "rename")
		buf := make([]byte, 4096)
		n, err := unix.Getcwd(buf)
		if got := string(bytes.TrimRight(buf[:max(n, 0)], "\x00")); err != nil || got != dir+"/new/sub" {
			t.Errorf("working directory %q, %v; want %s", got, err, dir+"/new/sub")
		}
		want(t, tryOpen("here", unix.O_RDWR|unix.O_CREAT, 0o644), nil, "create in the moved working directory")
		var st unix.Stat_t
		want(t, unix.Stat("../f", &st), nil, "stat beside the moved working directory")
	})
	check(t, unix.Access(dir+"/new/sub/here", unix.F_OK), "the file under the new path")
	var st unix.Stat_t
	check(t, unix.Fstatat(fd(d), "sub/here", &st, 0), "stat through the old descriptor")
	check(t, unix.Mkdirat(fd(d), "more", 0o755), "mkdir through the old descriptor")
	check(t, unix.Access(dir+"/new/more", unix.F_OK), "the directory under the new path")
	absent(t, dir+"/old")
}
