package rules

import (
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
)

// restrictions are all there are.
var restrictions = func() (list []Restrictions) {
	for i := range 8 {
		list = append(list, Restrictions{NoDev: i&1 != 0, NoExec: i&2 != 0, NoSUID: i&4 != 0})
	}
	return list
}()

// hidden are the bits of regular files that are not shown.
func hidden(r Restrictions) (bits uint32) {
	if r.NoExec {
		bits |= 0o6111
	}
	if r.NoSUID {
		bits |= 0o6000
	}
	return bits
}

// restrict shares a directory with restrictions.
func restrict(t testing.TB, r Restrictions, cfg passthrough.Config) (fs vfs.FileSystem, dir string) {
	t.Helper()
	dir = tempDir(t, "/dev/shm")
	cfg.Path, cfg.Xattr = dir, true
	fs = Restrict(share(t, cfg), r)
	begin(t, fs)
	return fs, dir
}

func hostMode(t testing.TB, path string) uint32 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	return st.Mode
}

// TestRestrictNothing: without restrictions there is no rule.
func TestRestrictNothing(t *testing.T) {
	s := &spy{}
	if fs := Restrict(s, Restrictions{}); fs != vfs.FileSystem(s) {
		t.Errorf("it is a %T", fs)
	}
}

// TestRestrictShows looks at each type of file in each way.
func TestRestrictShows(t *testing.T) {
	dev := func(major, minor uint32) int { return int(unix.Mkdev(major, minor)) }
	objects := []struct {
		name string
		mode uint32
		rdev int
	}{
		{"file", unix.S_IFREG | 0o6755, 0},
		{"plain", unix.S_IFREG | 0o644, 0},
		{"sticky", unix.S_IFREG | 0o7777, 0},
		{"dir", unix.S_IFDIR | 0o7755, 0},
		{"fifo", unix.S_IFIFO | 0o6755, 0},
		{"sock", unix.S_IFSOCK | 0o6755, 0},
		{"null", unix.S_IFCHR | 0o6755, dev(1, 3)},
		{"loop", unix.S_IFBLK | 0o6755, dev(7, 300)},
		{"whiteout", unix.S_IFCHR | 0o755, 0},
		{"link", unix.S_IFLNK | 0o777, 0},
	}
	for _, r := range restrictions {
		fs, dir := restrict(t, r, passthrough.Config{})
		for _, o := range objects {
			path := join(dir, o.name)
			switch o.mode & unix.S_IFMT {
			case unix.S_IFDIR:
				must(t, unix.Mkdir(path, 0))
			case unix.S_IFLNK:
				must(t, unix.Symlink("file", path))
				continue
			default:
				must(t, unix.Mknod(path, o.mode, o.rdev))
			}
			must(t, unix.Chmod(path, o.mode&0o7777))
		}
		listed := map[string]vfs.Attr{}
		for _, plus := range []bool{true, false} {
			l := list{plus: plus}
			var o vfs.Opened
			want(t, "opendir", fs.Opendir(root(), vfs.Root, 0, &o), 0)
			want(t, "readdir", fs.Readdir(root(), vfs.Root, o.Handle, 0, &l), 0)
			want(t, "releasedir", fs.Releasedir(root(), vfs.Root, o.Handle), 0)
			if len(l.names) != len(objects)+2 {
				t.Errorf("%+v: listed are %q", r, l.names)
			}
			for i, n := range l.names {
				if e := l.entries[i]; e != nil {
					listed[n] = e.Attr
					fs.Forget(e.Node, 1)
				}
			}
		}
		for _, o := range objects {
			mode, rdev := o.mode, vfs.MakeDev(unix.Major(uint64(o.rdev)), unix.Minor(uint64(o.rdev)))
			if o.mode&unix.S_IFMT == unix.S_IFREG {
				mode &^= hidden(r)
			}
			if r.NoDev {
				rdev = 0
			}
			e := lookup(t, fs, o.name)
			var a, set vfs.AttrOut
			var stx vfs.Statx
			var l vfs.Entry
			want(t, "getattr", fs.Getattr(root(), e.Node, vfs.NoHandle, &a), 0)
			want(t, "statx", fs.Statx(root(), e.Node, vfs.NoHandle, 0, 0, &stx), 0)
			want(t, "setattr", fs.Setattr(root(), e.Node, vfs.NoHandle, &vfs.SetAttr{Valid: vfs.SetMtimeNow}, &set), 0)
			attrs := map[string]vfs.Attr{"lookup": e.Attr, "getattr": a.Attr, "statx": stx.Attr, "setattr": set.Attr, "readdir": listed[o.name]}
			if o.mode&unix.S_IFMT != unix.S_IFDIR {
				want(t, "link", fs.Link(root(), e.Node, vfs.Root, name("link to "+o.name), &l), 0)
				fs.Forget(l.Node, 1)
				attrs["link"] = l.Attr
			}
			for how, a := range attrs {
				if a.Mode != mode || a.Rdev != rdev {
					t.Errorf("%+v: %s of %s shows mode %#o and device %#x; want %#o and %#x", r, how, o.name, a.Mode, a.Rdev, mode, rdev)
				}
			}
			if m := hostMode(t, join(dir, o.name)); m != o.mode {
				t.Errorf("%+v: %s is %#o on the host, was %#o", r, o.name, m, o.mode)
			}
		}
	}
}

// TestRestrictMakes makes files in each way with all bits.
func TestRestrictMakes(t *testing.T) {
	const bits = 0o7777
	for _, r := range restrictions {
		fs, dir := restrict(t, r, passthrough.Config{})
		var e vfs.Entry
		var o vfs.Opened
		for what, make := range map[string]struct {
			typ  uint32
			call func(vfs.Name) syscall.Errno
		}{
			"mknod": {unix.S_IFREG, func(n vfs.Name) syscall.Errno {
				return fs.Mknod(root(), vfs.Root, n, unix.S_IFREG|bits, 0, &e)
			}},
			"mknod of type 0": {unix.S_IFREG, func(n vfs.Name) syscall.Errno { return fs.Mknod(root(), vfs.Root, n, bits, 0, &e) }},
			"fifo":            {unix.S_IFIFO, func(n vfs.Name) syscall.Errno { return fs.Mknod(root(), vfs.Root, n, unix.S_IFIFO|bits, 0, &e) }},
			"mkdir":           {unix.S_IFDIR, func(n vfs.Name) syscall.Errno { return fs.Mkdir(root(), vfs.Root, n, bits, &e) }},
			"create": {unix.S_IFREG, func(n vfs.Name) syscall.Errno {
				errno := fs.Create(root(), vfs.Root, n, unix.O_RDWR|unix.O_TRUNC, bits, &e, &o)
				if errno == 0 {
					fs.Release(root(), e.Node, o.Handle, &vfs.ReleaseIn{})
				}
				return errno
			}},
			"tmpfile": {unix.S_IFREG, func(n vfs.Name) syscall.Errno {
				errno := fs.Tmpfile(root(), vfs.Root, unix.O_RDWR, bits, &e, &o)
				if errno == 0 {
					errno = fs.Link(root(), e.Node, vfs.Root, n, new(vfs.Entry))
					fs.Release(root(), e.Node, o.Handle, &vfs.ReleaseIn{})
					fs.Forget(e.Node, 1)
				}
				return errno
			}},
		} {
			want(t, what, make.call(name(what)), 0)
			mode := make.typ | bits
			if make.typ == unix.S_IFREG {
				mode &^= hidden(r)
			} else if make.typ == unix.S_IFDIR {
				mode = hostMode(t, join(dir, what)) // mkdir(2) takes some away
				if r.NoExec && mode&0o111 == 0 {
					t.Errorf("%+v: the new directory is %#o", r, mode)
				}
			}
			if host := hostMode(t, join(dir, what)); host != mode || e.Attr.Mode != mode {
				t.Errorf("%+v: %s makes %#o and shows %#o; want %#o", r, what, host, e.Attr.Mode, mode)
			}
			fs.Forget(e.Node, 1)
		}
	}
}

// TestRestrictShowsWhatWasMade is for a host that gives files other modes than it is
// asked for, as file systems without modes do.
func TestRestrictShowsWhatWasMade(t *testing.T) {
	fs := Restrict(&spy{mode: unix.S_IFREG | 0o6755}, Restrictions{NoExec: true})
	var e vfs.Entry
	var o vfs.Opened
	for what, call := range map[string]func() syscall.Errno{
		"mknod":   func() syscall.Errno { return fs.Mknod(root(), vfs.Root, name("a"), unix.S_IFREG, 0, &e) },
		"create":  func() syscall.Errno { return fs.Create(root(), vfs.Root, name("a"), unix.O_RDWR, 0, &e, &o) },
		"tmpfile": func() syscall.Errno { return fs.Tmpfile(root(), vfs.Root, unix.O_RDWR, 0, &e, &o) },
	} {
		want(t, what, call(), 0)
		if e.Attr.Mode != unix.S_IFREG|0o644 {
			t.Errorf("%s: the mode is shown as %#o", what, e.Attr.Mode)
		}
	}
}

// TestRestrictDevices makes what is no regular file.
func TestRestrictDevices(t *testing.T) {
	for _, tt := range []struct {
		mode, rdev uint32
		device     bool
	}{
		{unix.S_IFCHR, vfs.MakeDev(1, 3), true},
		{unix.S_IFCHR, vfs.MakeDev(0, 1), true},
		{unix.S_IFCHR, vfs.MakeDev(0, 256), true},
		{unix.S_IFCHR, 0, false},
		{unix.S_IFBLK, vfs.MakeDev(8, 0), true},
		{unix.S_IFBLK, 0, true},
		{unix.S_IFIFO, 0, false},
		{unix.S_IFIFO, vfs.MakeDev(1, 3), false},
		{unix.S_IFSOCK, 0, false},
		{unix.S_IFREG, vfs.MakeDev(1, 3), false},
	} {
		for _, r := range restrictions {
			s := &spy{mode: tt.mode}
			errno := syscall.Errno(0)
			if tt.device && r.NoDev {
				errno = syscall.EPERM
			}
			want(t, fmt.Sprintf("%+v: mknod of %#o, %#x", r, tt.mode, tt.rdev),
				Restrict(s, r).Mknod(root(), vfs.Root, name("n"), tt.mode|0o644, tt.rdev, new(vfs.Entry)), errno)
			if made := len(s.calls) != 0; made != (errno == 0) {
				t.Errorf("%+v: mknod of %#o, %#x: the calls are %v", r, tt.mode, tt.rdev, s.calls)
			}
		}
	}
	// A rename may leave a whiteout behind.
	fs, dir := restrict(t, Restrictions{NoDev: true}, passthrough.Config{})
	write(t, join(dir, "a"), "")
	want(t, "rename", fs.Rename(root(), vfs.Root, name("a"), vfs.Root, name("b"), unix.RENAME_WHITEOUT), 0)
	if e := lookup(t, fs, "a"); e.Attr.Mode&unix.S_IFMT != unix.S_IFCHR || e.Attr.Rdev != 0 {
		t.Errorf("the whiteout is %+v", e.Attr)
	}
}

// TestRestrictIsAMountOption asks for access on a mount of the host with the same
// options.
func TestRestrictIsAMountOption(t *testing.T) {
	dir, mount := tempDir(t, ""), tempDir(t, "")
	populate(t, dir)
	write(t, join(dir, "program"), "")
	must(t, os.Chmod(join(dir, "program"), 0o755))
	must(t, unix.Mount(dir, mount, "", unix.MS_BIND, ""))
	t.Cleanup(func() { must(t, unix.Unmount(mount, unix.MNT_DETACH)) })
	inner := share(t, passthrough.Config{Path: dir})
	for _, r := range restrictions {
		flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT)
		if r.NoDev {
			flags |= unix.MS_NODEV
		}
		if r.NoExec {
			flags |= unix.MS_NOEXEC
		}
		if r.NoSUID {
			flags |= unix.MS_NOSUID
		}
		must(t, unix.Mount("", mount, "", flags, ""))
		fs := Restrict(inner, r)
		begin(t, fs)
		for _, n := range []string{"program", "file", "dir", "fifo", "null"} {
			for mask := range uint32(8) {
				access := func() error { return unix.Faccessat(unix.AT_FDCWD, join(mount, n), mask, unix.AT_EACCESS) }
				for _, who := range []*vfs.Request{{}, {UID: 1000, GID: 1000}} {
					host := access()
					if who.UID != 0 {
						as(t, who.UID, who.GID, func() { host = access() })
					}
					want(t, fmt.Sprintf("%+v: access of %d to %s for %d", r, who.UID, n, mask),
						fs.Access(who, lookup(t, fs, n).Node, mask), errnoOf(host))
				}
			}
		}
		e := lookup(t, fs, "program")
		errno := syscall.Errno(0)
		if r.NoExec {
			errno = syscall.EACCES
		}
		want(t, fmt.Sprintf("%+v: open to execute", r), openCall(openToExecute)(fs, e.Node, 0), errno)
		want(t, fmt.Sprintf("%+v: open to read", r), openCall(unix.O_RDONLY)(fs, e.Node, 0), 0)
	}
}

// TestRestrictChmod changes mode and size of a file or directory that has any mode,
// and looks at what becomes of it on the host.
func TestRestrictChmod(t *testing.T) {
	dir := tempDir(t, "/dev/shm")
	inner := share(t, passthrough.Config{Path: dir})
	write(t, join(dir, "file"), "content")
	must(t, os.Mkdir(join(dir, "dir"), 0))
	bits := rapid.Uint32Range(0, 0o7777)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]string{"file", "dir"}).Draw(t, "name")
		r := rapid.SampledFrom(restrictions).Draw(t, "restrictions")
		before, in := bits.Draw(t, "before"), vfs.SetAttr{Valid: vfs.SetMtimeNow, Mode: bits.Draw(t, "mode")}
		after := before
		fs := Restrict(inner, r)
		if rapid.Bool().Draw(t, "chmod") {
			in.Valid |= vfs.SetMode
			after = in.Mode
			if n == "file" {
				after = after&^hidden(r) | before&hidden(r)
			}
		}
		if n == "file" && rapid.Bool().Draw(t, "truncate") {
			in.Valid |= vfs.SetSize
			if hidden(r) != 0 {
				after &^= 0o6000
			}
		}
		if err := unix.Chmod(join(dir, n), before); err != nil {
			t.Fatal(err)
		}
		var e vfs.Entry
		var a vfs.AttrOut
		if errno := fs.Lookup(root(), vfs.Root, name(n), &e); errno != 0 {
			t.Fatal(errno)
		}
		defer fs.Forget(e.Node, 1)
		if errno := fs.Setattr(root(), e.Node, vfs.NoHandle, &in, &a); errno != 0 {
			t.Fatal(errno)
		}
		var st unix.Stat_t
		if err := unix.Lstat(join(dir, n), &st); err != nil {
			t.Fatal(err)
		}
		shown := after
		if n == "file" {
			shown &^= hidden(r)
		}
		if st.Mode&0o7777 != after || a.Attr.Mode&0o7777 != shown {
			t.Fatalf("%#o becomes %#o and is shown as %#o; want %#o and %#o", before, st.Mode&0o7777, a.Attr.Mode&0o7777, after, shown)
		}
	})
}

// setIDCalls are those of capCalls, of which a truncation and a change of mode are
// TestRestrictChmod's, and a change of owner is for the file system behind.
var setIDCalls = slices.DeleteFunc(slices.Clone(capCalls), func(c capCall) bool {
	return slices.Contains([]string{"truncate", "chmod", "chown", "chgrp"}, c.name)
})
