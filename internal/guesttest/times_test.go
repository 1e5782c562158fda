package guesttest

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// past is a time that nothing in a test sets by itself.
var past = unix.Timespec{Sec: 1_000_000_000, Nsec: 123_456_789}

func setTimes(t *testing.T, path string, atime, mtime unix.Timespec) {
	t.Helper()
	check(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{atime, mtime}, 0), "utimensat %s", path)
}

func TestTimesAreKeptToTheNanosecond(t *testing.T) {
	dir := scratch(t)
	tree(t, dir, "file", "dir/")
	for _, path := range []string{dir + "/file", dir + "/dir"} {
		for _, ts := range []unix.Timespec{
			{Sec: 0, Nsec: 0},
			{Sec: 0, Nsec: 1},
			{Sec: 1, Nsec: 999_999_999},
			past,
			{Sec: -1, Nsec: 999_999_999},
			{Sec: -1, Nsec: 0},
			{Sec: -631_152_000, Nsec: 5}, // 1950
			{Sec: 1<<31 - 1, Nsec: 7},
			{Sec: 1 << 31, Nsec: 8},         // one second beyond 32 bits
			{Sec: 1<<32 + 5, Nsec: 9},       // 2106
			{Sec: 13_569_465_600, Nsec: 10}, // 2400
		} {
			other := unix.Timespec{Sec: ts.Sec + 100, Nsec: 999_999_999 - ts.Nsec}
			setTimes(t, path, ts, other)
			if st := lstat(t, path); st.Atim != ts || st.Mtim != other {
				t.Errorf("times %v and %v came back as %v and %v", ts, other, st.Atim, st.Mtim)
			}
		}
	}
}

func TestNowAndOmitAreHonouredForEachTime(t *testing.T) {
	path := scratch(t) + "/f"
	write(t, path, nil)
	f := open(t, path, unix.O_RDWR, 0)
	omit, now := unix.Timespec{Nsec: unix.UTIME_OMIT}, unix.Timespec{Nsec: unix.UTIME_NOW}
	isNow := func(ts unix.Timespec) bool {
		// The clocks of guest and host may differ; a day is enough to
		// tell the present from the past.
		return time.Since(time.Unix(ts.Unix())).Abs() < 24*time.Hour
	}
	later := unix.Timespec{Sec: past.Sec + 1000, Nsec: 1}
	for _, c := range []struct {
		what         string
		atime, mtime unix.Timespec
		okA, okM     func(unix.Timespec) bool
	}{
		{"atime omitted", omit, later, is(past), is(later)},
		{"mtime omitted", later, omit, is(later), is(past)},
		{"both omitted", omit, omit, is(past), is(past)},
		{"atime now", now, later, isNow, is(later)},
		{"mtime now", later, now, is(later), isNow},
		{"both now", now, now, isNow, isNow},
		{"now and omitted", now, omit, isNow, is(past)},
		{"omitted and now", omit, now, is(past), isNow},
	} {
		for _, byHandle := range []bool{false, true} {
			setTimes(t, path, past, past)
			if byHandle {
				// An empty path stands for the descriptor itself.
				err := unix.UtimesNanoAt(fd(f), "", []unix.Timespec{c.atime, c.mtime}, unix.AT_EMPTY_PATH)
				check(t, err, "%s", c.what)
			} else {
				setTimes(t, path, c.atime, c.mtime)
			}
			if st := fstat(t, f); !c.okA(st.Atim) || !c.okM(st.Mtim) {
				t.Errorf("%s (by descriptor: %v): atime %v, mtime %v", c.what, byHandle, st.Atim, st.Mtim)
			}
		}
	}
	bad := []unix.Timespec{{Nsec: 1_000_000_000}, omit}
	want(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, bad, 0), unix.EINVAL, "too many nanoseconds")
}

func is(wanted unix.Timespec) func(unix.Timespec) bool {
	return func(got unix.Timespec) bool { return got == wanted }
}

func TestEachChangeSetsTheTimesThatItShould(t *testing.T) {
	dir := scratch(t)
	path := dir + "/f"
	write(t, path, pattern(1, 0, 10_000))
	f := open(t, path, unix.O_RDWR, 0)
	for _, c := range []struct {
		what     string
		modifies bool // mtime; ctime is set by all of them
		do       func() error
	}{
		{"write", true, func() error { _, err := f.WriteAt([]byte("x"), 0); return err }},
		{"append", true, func() error { _, err := f.WriteAt([]byte("x"), 20_000); return err }},
		{"ftruncate", true, func() error { return unix.Ftruncate(fd(f), 5000) }},
		{"truncate", true, func() error { return unix.Truncate(path, 6000) }},
		{"open with O_TRUNC", true, func() error { return tryOpen(path, unix.O_WRONLY|unix.O_TRUNC, 0) }},
		{"fallocate", true, func() error { return unix.Fallocate(fd(f), 0, 0, 30_000) }},
		{"chmod", false, func() error { return unix.Chmod(path, 0o600) }},
		{"fchmod", false, func() error { return unix.Fchmod(fd(f), 0o644) }},
		{"chown", false, func() error { return unix.Chown(path, 1, 1) }},
		{"link", false, func() error { return unix.Link(path, path+"-") }},
		{"unlink of another name", false, func() error { return unix.Unlink(path + "-") }},
		{"utimensat", false, func() error {
			return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{past, past}, 0)
		}},
	} {
		setTimes(t, path, past, past)
		before := fstat(t, f)
		time.Sleep(25 * time.Millisecond) // more than any kernel's clock tick
		check(t, c.do(), "%s", c.what)
		after := fstat(t, f)
		if modified := after.Mtim != past; modified != c.modifies {
			t.Errorf("%s: mtime changed: %v, want %v", c.what, modified, c.modifies)
		}
		if c.modifies && time.Since(time.Unix(after.Mtim.Unix())).Abs() > 24*time.Hour {
			t.Errorf("%s: mtime is %v", c.what, after.Mtim)
		}
		if !newer(after.Ctim, before.Ctim) {
			t.Errorf("%s: ctime went from %v to %v", c.what, before.Ctim, after.Ctim)
		}
		// A cache may have to read what is changed in part; what changes
		// no contents has no such excuse.
		if after.Atim != past && !c.modifies {
			t.Errorf("%s: atime changed to %v", c.what, after.Atim)
		}
	}

	setTimes(t, path, past, past)
	before := fstat(t, f)
	time.Sleep(25 * time.Millisecond)
	check(t, tryOpen(path, unix.O_RDWR, 0), "open")
	_, err := f.Stat()
	check(t, err, "stat")
	check(t, unix.Access(path, unix.R_OK), "access")
	check(t, f.Sync(), "fsync")
	if after := fstat(t, f); after.Mtim != before.Mtim || after.Ctim != before.Ctim || after.Atim != before.Atim {
		t.Errorf("looking at a file changed its times: %+v, then %+v", before, after)
	}
}

func newer(a, b unix.Timespec) bool {
	return a.Sec > b.Sec || a.Sec == b.Sec && a.Nsec > b.Nsec
}

func TestReadingSetsTheAccessTime(t *testing.T) {
	dir := scratch(t)
	path := dir + "/f"
	write(t, path, pattern(1, 0, 10_000))
	w := open(t, path, unix.O_RDWR, 0)
	check(t, w.Sync(), "fsync")
	check(t, unix.Fadvise(fd(w), 0, 0, unix.FADV_DONTNEED), "fadvise")
	// An access time older than the modification is brought up to date on
	// every mount that keeps access times at all.
	setTimes(t, path, past, unix.Timespec{Sec: past.Sec + 1})
	f := open(t, path, unix.O_RDONLY, 0)
	readAt(t, f, 0, 100)
	var fs unix.Statfs_t
	check(t, unix.Statfs(dir, &fs), "statfs")
	changed := fstat(t, f).Atim != past
	if keeps := !expected[featNoAtime] && fs.Flags&unix.ST_NOATIME == 0; changed != keeps {
		t.Errorf("a read set the access time: %v, want %v", changed, keeps)
	}

	for _, who := range rootAndOwner {
		check(t, unix.Chown(path, int(alice.uid), int(alice.gid)), "chown")
		check(t, unix.Fadvise(fd(w), 0, 0, unix.FADV_DONTNEED), "fadvise")
		setTimes(t, path, past, unix.Timespec{Sec: past.Sec + 1})
		as(t, who, func() {
			want(t, withFile(unix.O_RDONLY|unix.O_NOATIME, func(n int) error {
				_, err := unix.Pread(n, make([]byte, 100), 0)
				return err
			})(path), nil, "read with O_NOATIME as %d", who.uid)
		})
		stripped := expected[featStripNoatime] && !expected[featNoAtime] && fs.Flags&unix.ST_NOATIME == 0
		if changed := lstat(t, path).Atim != past; changed != stripped {
			t.Errorf("a read with O_NOATIME as %d set the access time: %v, want %v", who.uid, changed, stripped)
		}
	}
	as(t, carol, func() {
		want(t, tryOpen(path, unix.O_RDONLY|unix.O_NOATIME, 0), unix.EPERM, "open with O_NOATIME of another's file")
	})
}

func TestStatxTellsWhatStatDoesAndTheBirth(t *testing.T) {
	dir := scratch(t)
	tree(t, dir, "file", "dir/")
	check(t, unix.Symlink("file", dir+"/link"), "symlink")
	check(t, unix.Mknod(dir+"/char", unix.S_IFCHR|0o600, int(unix.Mkdev(10, 200))), "mknod")
	for _, name := range []string{"/file", "/dir", "/link", "/char"} {
		st := lstat(t, dir+name)
		var sx unix.Statx_t
		const mask = unix.STATX_BASIC_STATS | unix.STATX_BTIME
		err := unix.Statx(unix.AT_FDCWD, dir+name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_FORCE_SYNC, mask, &sx)
		check(t, err, "statx %s", name)
		if sx.Mask&unix.STATX_BASIC_STATS != unix.STATX_BASIC_STATS {
			t.Errorf("%s: statx has mask %#x", name, sx.Mask)
		}
		if sx.Ino != st.Ino || uint32(sx.Mode) != st.Mode || uint64(sx.Nlink) != st.Nlink || sx.Uid != st.Uid ||
			sx.Gid != st.Gid || sx.Size != uint64(st.Size) || sx.Blocks != uint64(st.Blocks) ||
			unix.Mkdev(sx.Rdev_major, sx.Rdev_minor) != st.Rdev || unix.Mkdev(sx.Dev_major, sx.Dev_minor) != st.Dev ||
			sx.Mtime.Sec != st.Mtim.Sec || int64(sx.Mtime.Nsec) != st.Mtim.Nsec {
			t.Errorf("%s: statx %+v and stat %+v differ", name, sx, st)
		}
		if birth := sx.Mask&unix.STATX_BTIME != 0; birth == expected[featNoBtime] {
			t.Errorf("%s: birth time present: %v, want %v", name, birth, !birth)
		} else if birth {
			b := unix.Timespec{Sec: sx.Btime.Sec, Nsec: int64(sx.Btime.Nsec)}
			if time.Since(time.Unix(b.Unix())).Abs() > 24*time.Hour {
				t.Errorf("%s: born %v", name, b)
			}
		}
		if dax := sx.Attributes&unix.STATX_ATTR_DAX != 0; dax != (expected[featDAX] && name == "/file") {
			t.Errorf("%s: DAX: %v", name, dax)
		}
	}
	if expected[featNoBtime] {
		return
	}
	birth := func() unix.StatxTimestamp {
		var sx unix.Statx_t
		check(t, unix.Statx(unix.AT_FDCWD, dir+"/file", 0, unix.STATX_BTIME, &sx), "statx")
		return sx.Btime
	}
	first := birth()
	time.Sleep(25 * time.Millisecond)
	write(t, dir+"/file", []byte("longer than before"))
	check(t, unix.Chmod(dir+"/file", 0o600), "chmod")
	check(t, os.Chtimes(dir+"/file", time.Unix(1, 0), time.Unix(2, 0)), "chtimes")
	if second := birth(); second != first {
		t.Errorf("the birth moved from %v to %v", first, second)
	}
}
