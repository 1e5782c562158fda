package passthrough

import (
	"math"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

func setattr(fs *FS, id vfs.NodeID, in vfs.SetAttr) (vfs.Attr, syscall.Errno) {
	var out vfs.AttrOut
	errno := fs.Setattr(&root, id, vfs.NoHandle, &in, &out)
	return out.Attr, errno
}

// TestAttributes compares what Lookup, Getattr and Statx say with each other
// and with the host.
func TestAttributes(t *testing.T) {
	eachConfig(t, func(t *testing.T, fs *FS, dir string) {
		p := join(dir, "f")
		write(t, p, "some content")
		if err := os.Chown(p, 70000, 80000); err != nil {
			t.Fatal(err)
		}
		if err := unix.Chmod(p, 0o6751); err != nil {
			t.Fatal(err)
		}
		times := []unix.Timespec{{Sec: -123456, Nsec: 7}, {Sec: 3_000_000_000, Nsec: 999_999_999}}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, p, times, 0); err != nil {
			t.Fatal(err)
		}
		st := host(t, p)
		wantAttr := vfs.Attr{
			Ino: st.Ino, Size: 12, Blocks: uint64(st.Blocks), Mode: unix.S_IFREG | 0o6751, Nlink: 1,
			UID: 70000, GID: 80000, Blksize: uint32(st.Blksize),
			Atime: vfs.Timespec{Sec: -123456, Nsec: 7},
			Mtime: vfs.Timespec{Sec: 3_000_000_000, Nsec: 999_999_999},
			Ctime: vfs.Timespec{Sec: st.Ctim.Sec, Nsec: uint32(st.Ctim.Nsec)},
		}
		e := walk(t, fs, "f")
		if e.Attr != wantAttr {
			t.Errorf("lookup: %+v\nwant    %+v", e.Attr, wantAttr)
		}
		if again := walk(t, fs, "f"); again != e {
			t.Errorf("a second lookup: %+v\nwant %+v", again, e)
		}
		if a, errno := getattr(fs, e.Node); errno != 0 || a != wantAttr {
			t.Errorf("getattr: %v, %+v\nwant %+v", errno, a, wantAttr)
		}
		var x vfs.Statx
		want(t, "statx", fs.Statx(&root, e.Node, vfs.NoHandle, unix.AT_STATX_FORCE_SYNC|unix.AT_SYMLINK_NOFOLLOW, math.MaxUint32, &x), 0)
		var hx unix.Statx_t
		if err := unix.Statx(unix.AT_FDCWD, p, 0, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &hx); err != nil {
			t.Fatal(err)
		}
		wantX := vfs.Statx{
			Mask: hx.Mask & (unix.STATX_BASIC_STATS | unix.STATX_BTIME), Attr: wantAttr,
			Attributes: hx.Attributes, AttributesMask: hx.Attributes_mask,
			Btime: vfs.Timespec{Sec: hx.Btime.Sec, Nsec: hx.Btime.Nsec}, DevMajor: hx.Dev_major, DevMinor: hx.Dev_minor, TTL: x.TTL,
		}
		if x != wantX || x.Mask&unix.STATX_BTIME == 0 {
			t.Errorf("statx: %+v\nwant   %+v", x, wantX)
		}
	})
}

func TestSetattr(t *testing.T) {
	eachConfig(t, func(t *testing.T, fs *FS, dir string) {
		p := join(dir, "f")
		write(t, p, "some content")
		if err := os.Symlink("/etc/passwd", join(dir, "link")); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mkfifo(join(dir, "fifo"), 0o600); err != nil {
			t.Fatal(err)
		}
		passwd := host(t, "/etc/passwd")
		f, link, fifo := walk(t, fs, "f").Node, walk(t, fs, "link").Node, walk(t, fs, "fifo").Node
		before := host(t, p)
		for _, c := range []struct {
			what string
			id   vfs.NodeID
			in   vfs.SetAttr
			want syscall.Errno
			ok   func(vfs.Attr) bool
		}{
			{"nothing", f, vfs.SetAttr{}, 0, func(a vfs.Attr) bool { return a.Size == 12 }},
			{"mode", f, vfs.SetAttr{Valid: vfs.SetMode, Mode: unix.S_IFREG | 0o4755}, 0, func(a vfs.Attr) bool { return a.Mode == unix.S_IFREG|0o4755 }},
			{"mode of a pipe", fifo, vfs.SetAttr{Valid: vfs.SetMode, Mode: 0o644}, 0, func(a vfs.Attr) bool { return a.Mode == unix.S_IFIFO|0o644 }},
			{"mode of a link", link, vfs.SetAttr{Valid: vfs.SetMode, Mode: 0o644}, syscall.EOPNOTSUPP, nil},
			{"uid alone", f, vfs.SetAttr{Valid: vfs.SetUID, UID: 11, GID: 99}, 0, func(a vfs.Attr) bool { return a.UID == 11 && a.GID == before.Gid && a.Mode&0o4000 == 0 }},
			{"gid alone", f, vfs.SetAttr{Valid: vfs.SetGID, UID: 99, GID: 22}, 0, func(a vfs.Attr) bool { return a.UID == 11 && a.GID == 22 }},
			{"owner of a link", link, vfs.SetAttr{Valid: vfs.SetUID | vfs.SetGID, UID: 33, GID: 44}, 0, func(a vfs.Attr) bool { return a.UID == 33 && a.GID == 44 }},
			{"size", f, vfs.SetAttr{Valid: vfs.SetSize, Size: 5 << 32}, 0, func(a vfs.Attr) bool { return a.Size == 5<<32 }},
			{"size back", f, vfs.SetAttr{Valid: vfs.SetSize, Size: 4}, 0, func(a vfs.Attr) bool { return a.Size == 4 }},
			{"huge size", f, vfs.SetAttr{Valid: vfs.SetSize, Size: 1 << 63}, syscall.EINVAL, nil},
			{"size of the root", vfs.Root, vfs.SetAttr{Valid: vfs.SetSize}, syscall.EISDIR, nil},
			{"size of a pipe", fifo, vfs.SetAttr{Valid: vfs.SetSize}, syscall.EINVAL, nil},
			{"size of a link", link, vfs.SetAttr{Valid: vfs.SetSize}, syscall.EINVAL, nil},
			{"times", f, vfs.SetAttr{Valid: vfs.SetAtime | vfs.SetMtime, Atime: vfs.Timespec{Sec: -2, Nsec: 999999999}, Mtime: vfs.Timespec{Sec: 5e9, Nsec: 1}}, 0,
				func(a vfs.Attr) bool {
					return a.Atime == vfs.Timespec{Sec: -2, Nsec: 999999999} && a.Mtime == vfs.Timespec{Sec: 5e9, Nsec: 1}
				}},
			{"atime alone", f, vfs.SetAttr{Valid: vfs.SetAtime, Atime: vfs.Timespec{Sec: 8}, Mtime: vfs.Timespec{Sec: 9}}, 0,
				func(a vfs.Attr) bool { return a.Atime.Sec == 8 && a.Mtime == vfs.Timespec{Sec: 5e9, Nsec: 1} }},
			{"mtime now", f, vfs.SetAttr{Valid: vfs.SetMtime | vfs.SetMtimeNow, Mtime: vfs.Timespec{Sec: 9}}, 0,
				func(a vfs.Attr) bool { return a.Atime.Sec == 8 && a.Mtime.Sec >= before.Mtim.Sec && a.Mtime.Sec < 5e9 }},
			{"nanoseconds out of range", f, vfs.SetAttr{Valid: vfs.SetAtime, Atime: vfs.Timespec{Nsec: 1e9}}, syscall.EINVAL, nil},
			{"nanoseconds that mean now", f, vfs.SetAttr{Valid: vfs.SetAtime, Atime: vfs.Timespec{Nsec: unix.UTIME_NOW}}, syscall.EINVAL, nil},
			{"times of a link", link, vfs.SetAttr{Valid: vfs.SetMtime, Mtime: vfs.Timespec{Sec: 77}}, 0, func(a vfs.Attr) bool { return a.Mtime.Sec == 77 && a.Mode&unix.S_IFMT == unix.S_IFLNK }},
			{"times of a pipe", fifo, vfs.SetAttr{Valid: vfs.SetMtime, Mtime: vfs.Timespec{Sec: 77}}, 0, func(a vfs.Attr) bool { return a.Mtime.Sec == 77 }},
			{"a size that fails after a mode", fifo, vfs.SetAttr{Valid: vfs.SetMode | vfs.SetSize, Mode: 0o611}, syscall.EINVAL, nil},
		} {
			evict(fs)
			a, errno := setattr(fs, c.id, c.in)
			want(t, c.what, errno, c.want)
			if errno == 0 && !c.ok(a) {
				t.Errorf("%s: %+v", c.what, a)
			}
		}
		if a, _ := getattr(fs, fifo); a.Mode&0o777 != 0o611 {
			t.Errorf("mode %#o: the part before the one that failed was not applied", a.Mode)
		}
		if now := host(t, "/etc/passwd"); now != passwd {
			t.Error("the target of a link was changed")
		}
	})
}

func TestTruncateHandle(t *testing.T) {
	dir := tempDir(t, "")
	write(t, join(dir, "f"), "some content")
	fs := share(t, Config{Path: dir})
	e := walk(t, fs, "f")
	var r, w vfs.Opened
	want(t, "open", fs.Open(&root, e.Node, unix.O_RDONLY, false, &r), 0)
	want(t, "open", fs.Open(&root, e.Node, unix.O_WRONLY, false, &w), 0)
	size := &vfs.SetAttr{Valid: vfs.SetSize, Size: 5}
	var out vfs.AttrOut
	want(t, "truncate through a handle for reading", fs.Setattr(&root, e.Node, r.Handle, size, &out), syscall.EINVAL)
	want(t, "truncate through a handle for writing", fs.Setattr(&root, e.Node, w.Handle, size, &out), 0)
	if out.Attr.Size != 5 {
		t.Errorf("size %d", out.Attr.Size)
	}
	want(t, "truncate through a handle of another node", fs.Setattr(&root, vfs.Root, w.Handle, size, &out), syscall.EBADF)
}

// TestKillPrivileges wants setuid and setgid to go exactly when the guest asks.
func TestKillPrivileges(t *testing.T) {
	dir := tempDir(t, "")
	fs := share(t, Config{Path: dir, KillPriv: true})
	p := join(dir, "f")
	for _, kill := range []bool{false, true} {
		for _, how := range []string{"truncate", "open", "create"} {
			write(t, p, "content")
			if err := unix.Chmod(p, 0o6755); err != nil {
				t.Fatal(err)
			}
			e := walk(t, fs, "f")
			var errno syscall.Errno
			var o vfs.Opened
			switch how {
			case "truncate":
				in := vfs.SetAttr{Valid: vfs.SetSize}
				if kill {
					in.Valid |= vfs.SetKillSUIDGID
				}
				_, errno = setattr(fs, e.Node, in)
			case "open":
				errno = fs.Open(&root, e.Node, unix.O_WRONLY|unix.O_TRUNC, kill, &o)
			case "create":
				r := root
				if kill {
					r.UID, r.GID = 1234, 1234
					os.Chown(p, 1234, 1234)
					unix.Chmod(p, 0o6755)
				}
				errno = fs.Create(&r, vfs.Root, name(t, "f"), unix.O_WRONLY|unix.O_TRUNC, 0o644, &e, &o)
			}
			want(t, how, errno, 0)
			st := host(t, p)
			if st.Size != 0 || (st.Mode&0o6000 == 0) != kill {
				t.Errorf("%s, kill %v: size %d, mode %#o", how, kill, st.Size, st.Mode)
			}
			os.Chown(p, 0, 0)
		}
	}
}

func TestAccess(t *testing.T) {
	dir := tempDir(t, "")
	write(t, join(dir, "f"), "")
	if err := os.Chown(join(dir, "f"), 1234, 4321); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(join(dir, "f"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	fs := share(t, Config{Path: dir})
	f, link := walk(t, fs, "f").Node, walk(t, fs, "link").Node
	owner := &vfs.Request{UID: 1234, GID: 1}
	member := &vfs.Request{UID: 99, GID: 1, Groups: []uint32{4321}}
	other := &vfs.Request{UID: 99, GID: 1}
	for _, c := range []struct {
		r    *vfs.Request
		id   vfs.NodeID
		mask uint32
		want syscall.Errno
	}{
		{&root, f, unix.R_OK | unix.W_OK, 0},
		{&root, f, unix.X_OK, syscall.EACCES},
		{owner, f, unix.R_OK | unix.W_OK, 0},
		{owner, f, unix.X_OK, syscall.EACCES},
		{member, f, unix.R_OK, 0},
		{member, f, unix.W_OK, syscall.EACCES},
		{other, f, unix.F_OK, 0},
		{other, f, unix.R_OK, syscall.EACCES},
		{other, link, unix.R_OK, 0},
		{other, f, 8, syscall.EINVAL},
		{other, 77, unix.R_OK, syscall.ESTALE},
	} {
		if got := fs.Access(c.r, c.id, c.mask); got != c.want {
			t.Errorf("access(%d) by %d:%d %v: %v, want %v", c.mask, c.r.UID, c.r.GID, c.r.Groups, got, c.want)
		}
	}
}
