package guesttest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// classes are the three kinds of caller that a mode distinguishes, with the
// place of their bits, for what belongs to alice and the group staff.
var classes = []struct {
	name  string
	who   user
	shift int
}{
	{"owner", alice, 6},
	{"member of the group", bob, 3},
	{"other", carol, 0},
}

// modeFor gives one class exactly the rights bits (read 4, write 2, execute 1)
// and all others the opposite, so that a right taken from the wrong class
// shows.
func modeFor(bits uint32, shift int) uint32 {
	all := (bits ^ 7) * 0o111
	return all&^(7<<shift) | bits<<shift
}

// granted tells what an error says about a right.
func granted(err error) (bool, error) {
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EACCES):
		return false, nil
	}
	return false, err
}

// rights reports a call that was let through against the mode, or refused
// against it, or that failed otherwise.
func rights(t *testing.T, got error, wanted bool, what string, args ...any) {
	t.Helper()
	ok, err := granted(got)
	if err != nil || ok != wanted {
		t.Errorf("%s: %s, want it granted: %v", fmt.Sprintf(what, args...), describe(got), wanted)
	}
}

func TestFileModesGrantEachClassItsOwnRights(t *testing.T) {
	dir := scratch(t)
	for _, class := range classes {
		for bits := range uint32(8) {
			path := fmt.Sprintf("%s/%d-%d", dir, class.shift, bits)
			write(t, path, nil)
			check(t, unix.Chown(path, int(alice.uid), staff), "chown")
			check(t, unix.Chmod(path, modeFor(bits, class.shift)), "chmod")
		}
		as(t, class.who, func() {
			for bits := range uint32(8) {
				path := fmt.Sprintf("%s/%d-%d", dir, class.shift, bits)
				r, w, x := bits&4 != 0, bits&2 != 0, bits&1 != 0
				who := fmt.Sprintf("%s with rights %o", class.name, bits)
				rights(t, tryOpen(path, unix.O_RDONLY, 0), r, "%s: open for reading", who)
				rights(t, tryOpen(path, unix.O_WRONLY, 0), w, "%s: open for writing", who)
				rights(t, tryOpen(path, unix.O_RDWR, 0), r && w, "%s: open for both", who)
				rights(t, tryOpen(path, unix.O_WRONLY|unix.O_TRUNC, 0), w, "%s: open with O_TRUNC", who)
				rights(t, unix.Truncate(path, 0), w, "%s: truncate", who)
				rights(t, unix.Faccessat2(unix.AT_FDCWD, path, unix.R_OK, unix.AT_EACCESS), r, "%s: access for reading", who)
				rights(t, unix.Faccessat2(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS), w, "%s: access for writing", who)
				rights(t, unix.Faccessat2(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS), x, "%s: access for execution", who)
				rights(t, tryOpen(path, unix.O_PATH, 0), true, "%s: open with O_PATH", who)
			}
		})
	}
	// Root may read and write all of them, but execute only what somebody may.
	for bits, wanted := range map[uint32]error{0: unix.EACCES, 0o001: nil, 0o666: unix.EACCES} {
		path := dir + "/6-0"
		check(t, unix.Chmod(path, bits), "chmod")
		want(t, tryOpen(path, unix.O_RDWR, 0), nil, "open by root with mode %o", bits)
		want(t, unix.Access(path, unix.X_OK), wanted, "access for execution by root with mode %o", bits)
	}
}

func TestDirectoryModesGrantEachClassItsOwnRights(t *testing.T) {
	dir := scratch(t)
	for _, class := range classes {
		for bits := range uint32(8) {
			path := mkdir(t, fmt.Sprintf("%s/%d-%d", dir, class.shift, bits))
			write(t, path+"/f", nil)
			check(t, unix.Chmod(path+"/f", 0o666), "chmod")
			check(t, unix.Chown(path, int(alice.uid), staff), "chown")
			check(t, unix.Chmod(path, modeFor(bits, class.shift)), "chmod")
		}
		as(t, class.who, func() {
			for bits := range uint32(8) {
				path := fmt.Sprintf("%s/%d-%d", dir, class.shift, bits)
				r, x := bits&4 != 0, bits&1 != 0
				change := bits&3 == 3 // names are changed by who may write and search
				who := fmt.Sprintf("%s with rights %o", class.name, bits)
				var st unix.Stat_t
				rights(t, tryOpen(path, unix.O_RDONLY|unix.O_DIRECTORY, 0), r, "%s: open", who)
				rights(t, unix.Stat(path+"/f", &st), x, "%s: stat inside", who)
				rights(t, tryOpen(path+"/f", unix.O_RDWR, 0), x, "%s: open inside", who)
				if x { // what is not there is known only to who may search
					want(t, unix.Stat(path+"/none", &st), unix.ENOENT, "%s: stat of nothing inside", who)
				} else {
					want(t, unix.Stat(path+"/none", &st), unix.EACCES, "%s: stat of nothing inside", who)
				}
				rights(t, tryOpen(path+"/new", unix.O_RDWR|unix.O_CREAT, 0o644), change, "%s: create", who)
				rights(t, unix.Mkdir(path+"/dir", 0o755), change, "%s: mkdir", who)
				rights(t, unix.Symlink("x", path+"/link"), change, "%s: symlink", who)
				rights(t, unix.Mkfifo(path+"/fifo", 0o644), change, "%s: mkfifo", who)
				rights(t, unix.Link(path+"/f", path+"/hard"), change, "%s: link", who)
				rights(t, unix.Rename(path+"/f", path+"/g"), change, "%s: rename", who)
				if change {
					rights(t, unix.Unlink(path+"/new"), true, "%s: unlink", who)
					rights(t, unix.Rmdir(path+"/dir"), true, "%s: rmdir", who)
				} else {
					rights(t, unix.Unlink(path+"/f"), false, "%s: unlink", who)
				}
			}
		})
	}
}

func TestNewFilesBelongToTheirCreator(t *testing.T) {
	dir := scratch(t)
	check(t, unix.Chmod(dir, 0o777), "chmod")
	mkdir(t, dir+"/team")
	check(t, unix.Chown(dir+"/team", 0, staff), "chown")
	// Only the supplementary group opens this directory, and it passes on
	// its group.
	check(t, unix.Chmod(dir+"/team", unix.S_ISGID|0o770), "chmod")
	as(t, bob, func() {
		for _, base := range []string{dir, dir + "/team"} {
			want(t, tryOpen(base+"/file", unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o664), nil, "create in %s", base)
			want(t, unix.Mkdir(base+"/dir", 0o775), nil, "mkdir in %s", base)
			want(t, unix.Symlink("x", base+"/link"), nil, "symlink in %s", base)
			want(t, unix.Mkfifo(base+"/fifo", 0o660), nil, "mkfifo in %s", base)
			want(t, tryOpen(base+"/dir/file", unix.O_RDWR|unix.O_CREAT, 0o664), nil, "create below %s", base)
		}
		want(t, unix.Mknod(dir+"/char", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))), unix.EPERM, "mknod of a device")
	})
	as(t, carol, func() {
		want(t, tryOpen(dir+"/team/x", unix.O_RDWR|unix.O_CREAT, 0o664), unix.EACCES, "create by a stranger")
	})
	for _, c := range []struct {
		name string
		gid  uint32
		mode uint32
	}{
		{"/file", bob.gid, unix.S_IFREG | 0o664},
		{"/dir", bob.gid, unix.S_IFDIR | 0o775},
		{"/link", bob.gid, unix.S_IFLNK | 0o777},
		{"/fifo", bob.gid, unix.S_IFIFO | 0o660},
		{"/dir/file", bob.gid, unix.S_IFREG | 0o664},
		{"/team/file", staff, unix.S_IFREG | 0o664},
		{"/team/dir", staff, unix.S_IFDIR | unix.S_ISGID | 0o775},
		{"/team/link", staff, unix.S_IFLNK | 0o777},
		{"/team/fifo", staff, unix.S_IFIFO | 0o660},
		{"/team/dir/file", staff, unix.S_IFREG | 0o664},
	} {
		if st := lstat(t, dir+c.name); st.Uid != bob.uid || st.Gid != c.gid || st.Mode != c.mode {
			t.Errorf("%s belongs to %d:%d with mode %#o, want %d:%d, %#o", c.name, st.Uid, st.Gid, st.Mode, bob.uid, c.gid, c.mode)
		}
	}
}

func TestTheUmaskIsTakenFromNewModes(t *testing.T) {
	dir := scratch(t)
	for _, mask := range []int{0, 0o022, 0o077, 0o777, 0o137} {
		base := mkdir(t, fmt.Sprintf("%s/%o", dir, mask))
		onThread(func() {
			// The umask becomes this thread's own.
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				t.Errorf("unshare: %v", err)
				return
			}
			unix.Umask(mask)
			want(t, tryOpen(base+"/file", unix.O_RDWR|unix.O_CREAT, 0o6777), nil, "create")
			want(t, unix.Mkdir(base+"/dir", 0o1777), nil, "mkdir")
			want(t, unix.Mknod(base+"/node", unix.S_IFREG|0o777, 0), nil, "mknod")
			want(t, unix.Mkfifo(base+"/fifo", 0o666), nil, "mkfifo")
			want(t, unix.Symlink("x", base+"/link"), nil, "symlink")
		})
		for name, mode := range map[string]uint32{"file": 0o6777, "dir": 0o1777, "node": 0o777, "fifo": 0o666} {
			if got, wanted := lstat(t, base+"/"+name).Mode&0o7777, mode&^uint32(mask); got != wanted {
				t.Errorf("umask %04o: %s made with %#o has mode %#o, want %#o", mask, name, mode, got, wanted)
			}
		}
		if got := lstat(t, base+"/link").Mode & 0o7777; got != 0o777 {
			t.Errorf("umask %04o: a symbolic link has mode %#o", mask, got)
		}
	}
}

func TestOnlyOwnersChangeOwnershipModeAndTimes(t *testing.T) {
	dir := scratch(t)
	tree(t, dir, "bobs", "open", "closed")
	check(t, unix.Chown(dir+"/bobs", int(bob.uid), int(bob.gid)), "chown")
	check(t, unix.Chmod(dir+"/open", 0o666), "chmod")
	check(t, unix.Chmod(dir+"/closed", 0o444), "chmod")
	const omit, now = unix.UTIME_OMIT, unix.UTIME_NOW
	touch := func(name string, atime, mtime int64) error {
		return unix.UtimesNanoAt(unix.AT_FDCWD, dir+name, []unix.Timespec{{Nsec: atime}, {Nsec: mtime}}, 0)
	}
	as(t, bob, func() {
		for _, c := range []struct {
			what string
			got  error
			err  error
		}{
			{"chmod of his own", unix.Chmod(dir+"/bobs", 0o600), nil},
			{"chmod of another's", unix.Chmod(dir+"/open", 0o600), unix.EPERM},
			{"chown of his own to another", unix.Chown(dir+"/bobs", int(alice.uid), -1), unix.EPERM},
			{"chown of another's to himself", unix.Chown(dir+"/open", int(bob.uid), -1), unix.EPERM},
			{"chgrp to a group of his", unix.Chown(dir+"/bobs", -1, staff), nil},
			{"chgrp to a strange group", unix.Chown(dir+"/bobs", -1, int(alice.gid)), unix.EPERM},
			{"chown that changes nothing", unix.Chown(dir+"/bobs", -1, -1), nil},
			{"times of his own", touch("/bobs", 1, 2), nil},
			{"times of another's", touch("/open", 1, 2), unix.EPERM},
			{"one time of another's", touch("/open", omit, now), unix.EPERM},
			{"present times of a writable file", touch("/open", now, now), nil},
			{"present times of a read-only file", touch("/closed", now, now), unix.EACCES},
			{"no times at all", touch("/closed", omit, omit), nil},
			{"open with O_NOATIME of his own", tryOpen(dir+"/bobs", unix.O_RDONLY|unix.O_NOATIME, 0), nil},
			{"open with O_NOATIME of another's", tryOpen(dir+"/open", unix.O_RDONLY|unix.O_NOATIME, 0), unix.EPERM},
			{"g+s for a group of his", unix.Chmod(dir+"/bobs", unix.S_ISGID|0o650), nil},
		} {
			want(t, c.got, c.err, "%s", c.what)
		}
	})
	if st := lstat(t, dir+"/bobs"); st.Uid != bob.uid || st.Gid != staff || st.Mode&0o7777 != unix.S_ISGID|0o650 {
		t.Errorf("bob's file: %d:%d, mode %#o", st.Uid, st.Gid, st.Mode)
	}
	// The set-group-ID bit is for members only: others lose it silently.
	check(t, unix.Chown(dir+"/bobs", -1, int(alice.gid)), "chown")
	as(t, bob, func() {
		want(t, unix.Chmod(dir+"/bobs", unix.S_ISGID|0o770), nil, "chmod by a stranger to the group")
	})
	if st := lstat(t, dir+"/bobs"); st.Mode&0o7777 != 0o770 {
		t.Errorf("mode after g+s by a stranger to the group: %#o", st.Mode)
	}
}

func TestStickyDirectoriesKeepFilesFromOthers(t *testing.T) {
	dir := mkdir(t, scratch(t)+"/d")
	check(t, unix.Chown(dir, int(carol.uid), 0), "chown")
	check(t, unix.Chmod(dir, unix.S_ISVTX|0o777), "chmod")
	as(t, alice, func() {
		for _, name := range []string{"/a", "/b", "/c"} {
			want(t, tryOpen(dir+name, unix.O_RDWR|unix.O_CREAT, 0o666), nil, "create")
		}
		want(t, unix.Mkdir(dir+"/d", 0o777), nil, "mkdir")
	})
	as(t, bob, func() {
		want(t, unix.Unlink(dir+"/a"), unix.EPERM, "unlink of another's file")
		want(t, unix.Rename(dir+"/a", dir+"/x"), unix.EPERM, "rename of another's file")
		want(t, unix.Rmdir(dir+"/d"), unix.EPERM, "rmdir of another's directory")
		want(t, tryOpen(dir+"/mine", unix.O_RDWR|unix.O_CREAT, 0o666), nil, "create")
		want(t, unix.Rename(dir+"/mine", dir+"/a"), unix.EPERM, "rename over another's file")
		want(t, unix.Rename(dir+"/mine", dir+"/own"), nil, "rename of his own file")
		want(t, unix.Unlink(dir+"/own"), nil, "unlink of his own file")
	})
	as(t, alice, func() { want(t, unix.Unlink(dir+"/a"), nil, "unlink by the owner") })
	as(t, carol, func() { want(t, unix.Unlink(dir+"/b"), nil, "unlink by the directory's owner") })
	check(t, unix.Unlink(dir+"/c"), "unlink by root")
}

func TestSetuidDoesNotSurviveAStrangersChange(t *testing.T) {
	dir := scratch(t)
	path := dir + "/f"
	writeOne := func() error {
		n, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(n)
		_, err = unix.Pwrite(n, []byte("x"), 0)
		return err
	}
	root := user{}
	for _, c := range []struct {
		what   string
		who    user
		before uint32
		do     func() error
		after  uint32
	}{
		{"a write by another", bob, 0o6777, writeOne, 0o777},
		{"a truncation by another", bob, 0o6777, func() error { return unix.Truncate(path, 1) }, 0o777},
		{"O_TRUNC by another", bob, 0o6777, func() error { return tryOpen(path, unix.O_WRONLY|unix.O_TRUNC, 0) }, 0o777},
		{"a write by the owner", alice, 0o4755, writeOne, 0o755},
		{"an open by another", bob, 0o6777, func() error { return tryOpen(path, unix.O_RDWR, 0) }, 0o6777},
		{"a write by root", root, 0o6777, writeOne, 0o6777},
		{"a chown by root", root, 0o6777, func() error { return unix.Chown(path, int(carol.uid), -1) }, 0o777},
		{"a chgrp by the owner", alice, 0o6777, func() error { return unix.Chown(path, -1, int(alice.gid)) }, 0o777},
	} {
		write(t, path, []byte("text"))
		check(t, unix.Chown(path, int(alice.uid), int(alice.gid)), "chown")
		check(t, unix.Chmod(path, c.before), "chmod")
		if c.who.uid == 0 {
			want(t, c.do(), nil, "%s", c.what)
		} else {
			as(t, c.who, func() { want(t, c.do(), nil, "%s", c.what) })
		}
		if got := lstat(t, path).Mode & 0o7777; got != c.after {
			t.Errorf("mode %#o after %s, want %#o", got, c.what, c.after)
		}
		check(t, unix.Unlink(path), "unlink")
	}
}

// TestManyUsersAtOnceAreKeptApart has several users make files in one directory at
// the same time, each under a umask of his own.
func TestManyUsersAtOnceAreKeptApart(t *testing.T) {
	dir := scratch(t)
	check(t, unix.Chmod(dir, 0o777), "chmod")
	callers := []struct {
		user
		mask int
	}{{user{}, 0}, {alice, 0o022}, {bob, 0o077}, {carol, 0o007}}
	each := scaled(200)
	var all sync.WaitGroup
	for _, who := range callers {
		all.Go(func() {
			underUmask(t, who.user, who.mask, func() {
				for i := range each {
					name := fmt.Sprintf("%s/%d-%d", dir, who.uid, i)
					want(t, tryOpen(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o666), nil, "create")
					want(t, unix.Mkdir(name+"-dir", 0o777), nil, "mkdir")
				}
			})
		})
	}
	all.Wait()
	for _, who := range callers {
		for i := range each {
			name := fmt.Sprintf("%s/%d-%d", dir, who.uid, i)
			for suffix, mode := range map[string]uint32{"": 0o666, "-dir": 0o777} {
				st := lstat(t, name+suffix)
				if st.Uid != who.uid || st.Gid != who.gid || st.Mode&0o7777 != mode&^uint32(who.mask) {
					t.Fatalf("%s%s: %d:%d, mode %#o; want %d:%d, %#o", name, suffix, st.Uid, st.Gid, st.Mode&0o7777,
						who.uid, who.gid, mode&^uint32(who.mask))
				}
			}
		}
	}
}
