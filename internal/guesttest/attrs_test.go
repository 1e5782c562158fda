package guesttest

import (
	"testing"

	"golang.org/x/sys/unix"
)

const (
	fsNodump  = 0x40 // FS_NODUMP_FL
	fsNoatime = 0x80 // FS_NOATIME_FL

	xflagNoatime = 0x40 // FS_XFLAG_NOATIME
	xflagNodump  = 0x80 // FS_XFLAG_NODUMP
)

func TestInodeFlagsCanBeSetAndRead(t *testing.T) {
	dir := scratch(t)
	tree(t, dir, "file", "dir/")
	for _, name := range []string{"/file", "/dir"} {
		f := open(t, dir+name, unix.O_RDONLY, 0)
		before, err := unix.IoctlGetInt(fd(f), unix.FS_IOC_GETFLAGS)
		if expected[featNoFlags] {
			want(t, err, unix.ENOTTY, "FS_IOC_GETFLAGS of %s", name)
			continue
		}
		check(t, err, "FS_IOC_GETFLAGS of %s", name)
		for _, flags := range []int{fsNodump, fsNodump | fsNoatime, fsNoatime, 0} {
			check(t, unix.IoctlSetPointerInt(fd(f), unix.FS_IOC_SETFLAGS, before|flags), "FS_IOC_SETFLAGS")
			got, err := unix.IoctlGetInt(fd(f), unix.FS_IOC_GETFLAGS)
			check(t, err, "FS_IOC_GETFLAGS")
			if got != before|flags {
				t.Errorf("%s: flags %#x, want %#x", name, got, before|flags)
			}
			var x fsxattr
			check(t, ioctlFsxattr(fd(f), fsIocFsgetxattr, &x), "FS_IOC_FSGETXATTR")
			if x.xflags&xflagNodump != 0 != (flags&fsNodump != 0) || x.xflags&xflagNoatime != 0 != (flags&fsNoatime != 0) {
				t.Errorf("%s: extended flags %#x with flags %#x", name, x.xflags, flags)
			}
		}
		var x fsxattr
		check(t, ioctlFsxattr(fd(f), fsIocFsgetxattr, &x), "FS_IOC_FSGETXATTR")
		x.xflags |= xflagNodump
		check(t, ioctlFsxattr(fd(f), fsIocFssetxattr, &x), "FS_IOC_FSSETXATTR")
		after, err := unix.IoctlGetInt(fd(f), unix.FS_IOC_GETFLAGS)
		if err != nil || after != before|fsNodump {
			t.Errorf("%s: flags %#x, %v after setting the extended ones, want %#x", name, after, err, before|fsNodump)
		}
	}
	if expected[featNoFlags] {
		t.Log("noflags: only the refusal APPLIES, and was checked")
		return
	}
	as(t, bob, func() {
		n, err := unix.Open(dir+"/file", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Errorf("open: %v", err)
			return
		}
		defer unix.Close(n)
		want(t, unix.IoctlSetPointerInt(n, unix.FS_IOC_SETFLAGS, 0), unix.EPERM, "FS_IOC_SETFLAGS by a user who is not the owner")
	})
}

func TestUnknownIoctlsAreRefused(t *testing.T) {
	f := open(t, scratch(t)+"/f", unix.O_RDWR|unix.O_CREAT, 0o644)
	_, err := unix.IoctlGetInt(fd(f), unix.TCGETS)
	want(t, err, unix.ENOTTY, "a terminal's ioctl on a file")
}

func TestStatfsIsPlausibleAndTheSameEverywhere(t *testing.T) {
	dir := scratch(t)
	tree(t, dir, "d/", "d/f")
	var top unix.Statfs_t
	check(t, unix.Statfs(dir, &top), "statfs")
	if top.Bsize < 512 || top.Bsize > 16<<20 || top.Blocks == 0 || top.Bfree > top.Blocks || top.Bavail > top.Bfree ||
		top.Ffree > top.Files || top.Namelen != 255 {
		t.Errorf("statfs: %+v", top)
	}
	f := open(t, dir+"/d/f", unix.O_RDONLY, 0)
	var deep unix.Statfs_t
	check(t, unix.Fstatfs(fd(f), &deep), "fstatfs")
	if deep.Type != top.Type || deep.Blocks != top.Blocks || deep.Bsize != top.Bsize || deep.Fsid != top.Fsid {
		t.Errorf("fstatfs %+v, statfs %+v", deep, top)
	}
	want(t, unix.Statfs(dir+"/none", &deep), unix.ENOENT, "statfs of nothing")
}

func TestInodeNumbersStayAndDiffer(t *testing.T) {
	dir := scratch(t)
	tree(t, dir, "a", "b", "c/", "c/d")
	seen := map[uint64]string{}
	dev := lstat(t, dir).Dev
	for _, name := range []string{"/a", "/b", "/c", "/c/d"} {
		st := lstat(t, dir+name)
		if other, ok := seen[st.Ino]; ok {
			t.Errorf("%s and %s are both inode %d", name, other, st.Ino)
		}
		if st.Dev != dev {
			t.Errorf("%s is on device %#x, its directory on %#x", name, st.Dev, dev)
		}
		seen[st.Ino] = name
		check(t, unix.Rename(dir+name, dir+name+"-"), "rename")
		if now := lstat(t, dir+name+"-"); now.Ino != st.Ino {
			t.Errorf("%s was inode %d and is %d after a rename", name, st.Ino, now.Ino)
		}
		check(t, unix.Rename(dir+name+"-", dir+name), "rename back")
	}
}

func TestModeBitsAreAllKept(t *testing.T) {
	dir := scratch(t)
	tree(t, dir, "file", "dir/")
	f := open(t, dir+"/file", unix.O_RDONLY, 0)
	for _, mode := range []uint32{0, 0o7777, 0o4711, 0o2755, 0o1777, 0o644} {
		check(t, unix.Chmod(dir+"/dir", mode), "chmod")
		if got := lstat(t, dir+"/dir").Mode; got != unix.S_IFDIR|mode {
			t.Errorf("directory has mode %#o after chmod %#o", got, mode)
		}
		check(t, unix.Fchmod(fd(f), mode), "fchmod")
		if got := fstat(t, f).Mode; got != unix.S_IFREG|mode {
			t.Errorf("file has mode %#o after fchmod %#o", got, mode)
		}
	}
	for _, id := range []int{0, 1, 65534, 100_000, 1<<31 + 5, 1<<32 - 2} {
		check(t, unix.Chown(dir+"/file", id, id), "chown to %d", id)
		if st := fstat(t, f); st.Uid != uint32(id) || st.Gid != uint32(id) {
			t.Errorf("owner %d:%d after chown to %d", st.Uid, st.Gid, id)
		}
	}
	check(t, unix.Fchown(fd(f), -1, 7), "fchown")
	check(t, unix.Fchown(fd(f), 8, -1), "fchown")
	if st := fstat(t, f); st.Uid != 8 || st.Gid != 7 {
		t.Errorf("owner %d:%d, want 8:7", st.Uid, st.Gid)
	}
}
