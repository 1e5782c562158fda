package guesttest

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// prepared is the sub-directory that helpPrepare makes for the tests of what
// cannot be changed.
const prepared = "prepared"

// helpPrepare makes, in ISTHMUS_TEST_DIR, the files that the tests of the word
// readonly look at: everybody may change them, if anybody could.
func helpPrepare() int {
	unix.Umask(0)
	if err := prepare(os.Getenv(dirVar)); err != nil {
		fmt.Fprintln(os.Stderr, "guesttest: prepare:", err)
		return 1
	}
	return 0
}

func prepare(base string) error {
	dir := base + "/" + prepared
	for _, step := range []func() error{
		func() error { return unix.Mkdir(dir, 0o777) },
		func() error { return os.WriteFile(dir+"/file", []byte("text"), 0o666) },
		func() error { return os.WriteFile(dir+"/other", []byte("more"), 0o666) },
		func() error { return unix.Mkdir(dir+"/dir", 0o777) },
		func() error { return os.WriteFile(dir+"/dir/inner", []byte("inner"), 0o666) },
		func() error { return unix.Mkdir(dir+"/empty", 0o777) },
		func() error { return unix.Symlink("file", dir+"/link") },
		func() error { return unix.Mkfifo(dir+"/fifo", 0o666) },
		func() error { return unix.Lsetxattr(dir+"/file", "user.x", []byte("value"), 0) },
		func() error {
			for _, name := range []string{"", "/file", "/other", "/dir", "/dir/inner", "/empty", "/fifo"} {
				if err := unix.Chown(dir+name, int(alice.uid), int(alice.gid)); err != nil {
					return err
				}
				// An access time that a read would set, if it could.
				times := []unix.Timespec{past, {Sec: past.Sec + 1}}
				if err := unix.UtimesNanoAt(unix.AT_FDCWD, dir+name, times, 0); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// readOnlyDir returns the prepared directory on a file system that cannot be
// changed: the one under test where it is of that kind, and otherwise a
// read-only mount of what the test prepares itself.
func readOnlyDir(t *testing.T) string {
	t.Helper()
	if expected[featReadOnly] {
		return os.Getenv(dirVar) + "/" + prepared
	}
	dir := scratch(t)
	check(t, prepare(dir), "prepare")
	at := t.TempDir()
	check(t, os.Chmod(at, 0o755), "chmod")
	bindMount(t, dir, at)
	check(t, unix.Mount("", at, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""), "remount read-only")
	openWay(t, at)
	return at + "/" + prepared
}

func TestNothingChangesOnAReadOnlyShare(t *testing.T) {
	dir := readOnlyDir(t)
	names := []string{"", "/file", "/other", "/dir", "/dir/inner", "/empty", "/link", "/fifo"}
	before := map[string]unix.Stat_t{}
	for _, name := range names {
		before[name] = lstat(t, dir+name)
	}
	now := []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}
	create := unix.O_RDWR | unix.O_CREAT
	for _, who := range rootAndOwner {
		as(t, who, func() {
			for _, c := range []struct {
				what string
				got  error
				err  error
			}{
				{"open for writing", tryOpen(dir+"/file", unix.O_WRONLY, 0), unix.EROFS},
				{"open for both", tryOpen(dir+"/file", unix.O_RDWR, 0), unix.EROFS},
				{"open for appending", tryOpen(dir+"/file", unix.O_WRONLY|unix.O_APPEND, 0), unix.EROFS},
				{"open with O_TRUNC", tryOpen(dir+"/file", unix.O_WRONLY|unix.O_TRUNC, 0), unix.EROFS},
				{"open with O_CREAT of what is there", tryOpen(dir+"/file", unix.O_RDONLY|unix.O_CREAT, 0o666), nil},
				{"the same, exclusive", tryOpen(dir+"/file", create|unix.O_EXCL, 0o666), unix.EEXIST},
				{"create", tryOpen(dir+"/new", create, 0o666), unix.EROFS},
				{"create, exclusive", tryOpen(dir+"/dir/new", create|unix.O_EXCL, 0o666), unix.EROFS},
				{"mkdir", unix.Mkdir(dir+"/new", 0o777), unix.EROFS},
				{"mkdir of what is there", unix.Mkdir(dir+"/dir", 0o777), unix.EEXIST},
				{"mknod", unix.Mknod(dir+"/new", unix.S_IFREG|0o666, 0), unix.EROFS},
				{"mkfifo", unix.Mkfifo(dir+"/new", 0o666), unix.EROFS},
				{"symlink", unix.Symlink("x", dir+"/new"), unix.EROFS},
				{"link", unix.Link(dir+"/file", dir+"/new"), unix.EROFS},
				{"rename", unix.Rename(dir+"/file", dir+"/new"), unix.EROFS},
				{"rename over another", unix.Rename(dir+"/file", dir+"/other"), unix.EROFS},
				{"rename into another directory", unix.Rename(dir+"/file", dir+"/dir/new"), unix.EROFS},
				{"exchange", unix.Renameat2(unix.AT_FDCWD, dir+"/file", unix.AT_FDCWD, dir+"/other", unix.RENAME_EXCHANGE), unix.EROFS},
				{"unlink", unix.Unlink(dir + "/file"), unix.EROFS},
				{"rmdir", unix.Rmdir(dir + "/empty"), unix.EROFS},
				{"truncate", unix.Truncate(dir+"/file", 1), unix.EROFS},
				{"chmod", unix.Chmod(dir+"/file", 0o600), unix.EROFS},
				{"chmod of a directory", unix.Chmod(dir, 0o700), unix.EROFS},
				{"chgrp", unix.Chown(dir+"/file", -1, int(alice.gid)), unix.EROFS},
				{"times", unix.UtimesNanoAt(unix.AT_FDCWD, dir+"/file", now, 0), unix.EROFS},
				{"stat of nothing", unix.Access(dir+"/none", unix.F_OK), unix.ENOENT},
				{"open of nothing", tryOpen(dir+"/none", unix.O_RDONLY, 0), unix.ENOENT},
				{"O_PATH", tryOpen(dir+"/file", unix.O_PATH, 0), nil},
				{"open of a fifo for both", tryOpen(dir+"/fifo", unix.O_RDWR, 0), nil},
			} {
				want(t, c.got, c.err, "%s as %d", c.what, who.uid)
			}
			if !expected[featNoTmpfile] {
				want(t, tryOpen(dir, unix.O_RDWR|unix.O_TMPFILE, 0o600), unix.EROFS, "O_TMPFILE as %d", who.uid)
			}
			if !expected[featNoXattr] {
				want(t, unix.Lsetxattr(dir+"/file", "user.y", nil, 0), unix.EROFS, "setxattr as %d", who.uid)
				want(t, unix.Lremovexattr(dir+"/file", "user.x"), unix.EROFS, "removexattr as %d", who.uid)
			}
		})
	}
	accessOnReadOnly(t, dir)

	// Reading works, and leaves no trace either.
	for _, who := range rootAndOwner {
		as(t, who, func() { readOnlyUse(t, dir) })
	}
	for _, name := range names {
		was, after := before[name], lstat(t, dir+name)
		if overFUSE(t, dir) {
			// The host keeps the access times, and it may be that nothing
			// is read-only there.
			after.Atim = was.Atim
		}
		if after != was {
			t.Errorf("%q was %+v and is %+v", name, was, after)
		}
	}
}

// accessOnReadOnly asks for the right to write. A guest asks its own mount, which
// knows of it only if it is read-only itself.
func accessOnReadOnly(t *testing.T, dir string) {
	t.Helper()
	var fs unix.Statfs_t
	check(t, unix.Statfs(dir, &fs), "statfs")
	var wanted error
	if fs.Flags&unix.ST_RDONLY != 0 {
		wanted = unix.EROFS
	}
	want(t, unix.Access(dir+"/file", unix.W_OK), wanted, "access for writing")
	want(t, unix.Access(dir+"/file", unix.R_OK), nil, "access for reading")
}

// readOnlyUse reads what there is in a prepared directory. It must not end the
// test.
func readOnlyUse(t *testing.T, dir string) {
	for name, text := range map[string]string{"/file": "text", "/link": "text", "/dir/inner": "inner"} {
		if got, err := os.ReadFile(dir + name); err != nil || string(got) != text {
			t.Errorf("%s holds %q, %v", name, got, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 6 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
	if to, err := os.Readlink(dir + "/link"); err != nil || to != "file" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	n, err := unix.Open(dir+"/file", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Errorf("open: %v", err)
		return
	}
	defer unix.Close(n)
	want(t, unix.Fsync(n), nil, "fsync")
	want(t, unix.Flock(n, unix.LOCK_SH), nil, "flock")
	m, err := unix.Mmap(n, 0, 4, unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil || string(m) != "text" {
		t.Errorf("mapped: %q, %v", m, err)
	} else {
		unix.Munmap(m)
	}
	if _, err := unix.IoctlGetInt(n, unix.FS_IOC_GETFLAGS); err == nil && os.Geteuid() == 0 {
		want(t, unix.IoctlSetPointerInt(n, unix.FS_IOC_SETFLAGS, fsNodump), unix.EROFS, "FS_IOC_SETFLAGS")
	}
	if !expected[featNoXattr] {
		if got, err := getXattr(dir+"/file", "user.x"); err != nil || string(got) != "value" {
			t.Errorf("attribute %q, %v", got, err)
		}
	}
}
