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

// TestRestrictSetIDGoes makes each call on a file with set-ID bits that the guest does
// not see. The caller is root, for whom nobody else takes them away.
func TestRestrictSetIDGoes(t *testing.T) {
	for _, r := range restrictions {
		for _, tt := range setIDCalls {
			fs, dir := restrict(t, r, passthrough.Config{})
			path := join(dir, "file")
			write(t, path, "content")
			e := lookup(t, fs, "file")
			h := open(t, fs, e.Node, unix.O_RDWR)
			// Once more without any.
			for _, mode := range []uint32{0o6755, 0o755} {
				must(t, unix.Chmod(path, mode))
				want(t, tt.name, tt.call(fs, e.Node, h), 0)
				left := mode
				if tt.removes && hidden(r) != 0 {
					left &^= 0o6000
				}
				if got := hostMode(t, path) & 0o7777; got != left {
					t.Errorf("%+v: after %s the mode is %#o, want %#o", r, tt.name, got, left)
				}
			}
		}
	}
}

// TestRestrictSetIDFirst shows that a file whose set-ID bits cannot be taken away is
// not changed, in which order it is done, and on which file.
func TestRestrictSetIDFirst(t *testing.T) {
	for _, tt := range setIDCalls {
		if !tt.removes || tt.name == "truncating create" {
			continue
		}
		for _, e := range []struct {
			mode     uint32
			get, set syscall.Errno
			want     syscall.Errno
		}{
			{unix.S_IFREG | 0o4755, 0, 0, 0},
			{unix.S_IFREG | 0o2644, 0, 0, 0},
			{unix.S_IFREG | 0o4755, 0, syscall.EPERM, syscall.EPERM},
			{unix.S_IFREG | 0o4755, 0, vfs.WouldBlock, vfs.WouldBlock},
			{unix.S_IFREG | 0o4755, syscall.ESTALE, 0, syscall.ESTALE},
			{unix.S_IFREG | 0o4755, vfs.WouldBlock, 0, vfs.WouldBlock},
			{unix.S_IFREG | 0o1755, 0, syscall.EIO, 0},
			{unix.S_IFDIR | 0o2755, 0, syscall.EIO, 0},
		} {
			s := &spy{mode: e.mode, answer: func(call string, _ *vfs.Request) syscall.Errno {
				switch call {
				case "Getattr":
					return e.get
				case "Setattr":
					return e.set
				}
				return 0
			}}
			want(t, tt.name, tt.call(Restrict(s, Restrictions{NoExec: true}), 2, 3), e.want)
			before := []string{"Getattr"}
			if e.get == 0 && e.mode&unix.S_IFMT == unix.S_IFREG && e.mode&0o6000 != 0 {
				before = append(before, "Setattr")
				if set := s.set; set.Valid != vfs.SetMode || set.Mode != e.mode&0o1777 || s.nodes[0] != 2 {
					t.Errorf("%s: %+v is set, of %v", tt.name, set, s.nodes)
				}
			}
			if len(s.calls) < len(before) || !slices.Equal(s.calls[:len(before)], before) {
				t.Errorf("%s, %+v: the calls are %v", tt.name, e, s.calls)
			} else if changed := len(s.calls) > len(before); changed != (e.want == 0) {
				t.Errorf("%s, %+v: the calls are %v", tt.name, e, s.calls)
			}
		}
	}
	s := &spy{mode: unix.S_IFREG | 0o4755}
	_, errno := Restrict(s, Restrictions{NoSUID: true}).CopyFileRange(root(), &vfs.CopyRange{SrcNode: 5, DstNode: 6})
	want(t, "copy", errno, 0)
	if !slices.Equal(s.nodes, []vfs.NodeID{6}) {
		t.Errorf("the bits of %v are taken away, want those of 6", s.nodes)
	}
}

// TestRestrictCreate is for the one call that finds out late what it changes.
func TestRestrictCreate(t *testing.T) {
	const truncate = unix.O_RDWR | unix.O_TRUNC
	for _, tt := range []struct {
		what  string
		mode  uint32
		flags uint32
		set   syscall.Errno
		want  syscall.Errno
		calls []string
	}{
		{"new, or without the bits", 0o755, truncate, syscall.EIO, 0, []string{"Create"}},
		{"truncates", 0o4755, truncate, 0, 0, []string{"Create", "Setattr"}},
		{"keeps content", 0o4755, unix.O_RDWR, 0, 0, []string{"Create"}},
		{"cannot", 0o4755, truncate, syscall.EPERM, syscall.EPERM, []string{"Create", "Setattr", "Release", "Forget"}},
		{"would wait", 0o4755, truncate, vfs.WouldBlock, vfs.WouldBlock, []string{"Create", "Setattr", "Release", "Forget"}},
	} {
		s := &spy{mode: unix.S_IFREG | tt.mode, answer: func(call string, _ *vfs.Request) syscall.Errno {
			if call == "Setattr" {
				return tt.set
			}
			return 0
		}}
		var e vfs.Entry
		fs := Restrict(s, Restrictions{NoSUID: true})
		want(t, tt.what, fs.Create(&vfs.Request{Nowait: true}, vfs.Root, name("a"), tt.flags, 0, &e, new(vfs.Opened)), tt.want)
		if !slices.Equal(s.calls, tt.calls) {
			t.Errorf("%s: the calls are %v, want %v", tt.what, s.calls, tt.calls)
		}
		if tt.want == 0 && e.Attr.Mode != unix.S_IFREG|0o755 {
			t.Errorf("%s: the mode is shown as %#o", tt.what, e.Attr.Mode)
		}
		if !s.req.Nowait {
			t.Errorf("%s: Nowait was lost", tt.what)
		}
	}
	s := &spy{mode: unix.S_IFREG | 0o4755}
	fs := Restrict(s, Restrictions{NoDev: true})
	want(t, "create where nothing is hidden", fs.Create(root(), vfs.Root, name("a"), truncate, 0, new(vfs.Entry), new(vfs.Opened)), 0)
	if !slices.Equal(s.calls, []string{"Create"}) {
		t.Errorf("where nothing is hidden the calls are %v", s.calls)
	}
	s = &spy{answer: func(string, *vfs.Request) syscall.Errno { return syscall.EEXIST }}
	want(t, "create of what exists", Restrict(s, Restrictions{NoExec: true}).Create(root(), vfs.Root, name("a"), truncate, 0, new(vfs.Entry), new(vfs.Opened)), syscall.EEXIST)
	if !slices.Equal(s.calls, []string{"Create"}) {
		t.Errorf("after a failure the calls are %v", s.calls)
	}
}

// TestRestrictErrors has the call fail that a call begins with.
func TestRestrictErrors(t *testing.T) {
	s := &spy{answer: func(string, *vfs.Request) syscall.Errno { return syscall.ESTALE }}
	fs := Restrict(s, Restrictions{NoExec: true})
	want(t, "chmod", setattrCall(vfs.SetAttr{Valid: vfs.SetMode})(fs, 2, 3), syscall.ESTALE)
	want(t, "access", fs.Access(root(), 2, unix.X_OK), syscall.ESTALE)
	if !slices.Equal(s.calls, []string{"Getattr", "Getattr"}) {
		t.Errorf("the calls are %v", s.calls)
	}
}

// TestRestrictCalls shows that what is not restricted takes no other calls.
func TestRestrictCalls(t *testing.T) {
	for _, tt := range []struct {
		r     Restrictions
		call  func(fs vfs.FileSystem, node vfs.NodeID, h vfs.Handle) syscall.Errno
		calls []string
	}{
		{Restrictions{NoDev: true}, capCalls[0].call, []string{"Write"}},
		{Restrictions{NoDev: true}, setattrCall(vfs.SetAttr{Valid: vfs.SetMode | vfs.SetSize}), []string{"Setattr"}},
		{Restrictions{NoExec: true}, setattrCall(vfs.SetAttr{Valid: vfs.SetUID}), []string{"Setattr"}},
		{Restrictions{NoExec: true}, openCall(unix.O_RDWR), []string{"Open", "Release"}},
		{Restrictions{NoExec: true}, func(fs vfs.FileSystem, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
			return fs.Access(root(), node, unix.R_OK|unix.W_OK)
		}, []string{"Access"}},
		{Restrictions{NoSUID: true}, func(fs vfs.FileSystem, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
			return fs.Access(root(), node, unix.X_OK)
		}, []string{"Access"}},
	} {
		s := &spy{}
		want(t, tt.calls[0], tt.call(Restrict(s, tt.r), 2, 3), 0)
		if !slices.Equal(s.calls, tt.calls) {
			t.Errorf("%+v: the calls are %v, want %v", tt.r, s.calls, tt.calls)
		}
	}
	// A mode that stays as it is is not set: who may write need not be the owner.
	s := &spy{}
	want(t, "truncate", setattrCall(vfs.SetAttr{Valid: vfs.SetSize})(Restrict(s, Restrictions{NoSUID: true}), 2, 3), 0)
	if s.set.Valid != vfs.SetSize {
		t.Errorf("to truncate a file, %+v is set", s.set)
	}
}

// TestRestrictCapabilities looks for file capabilities where they are.
func TestRestrictCapabilities(t *testing.T) {
	const capability = "security.capability"
	for _, r := range restrictions {
		fs, dir := restrict(t, r, passthrough.Config{})
		path := join(dir, "file")
		write(t, path, "content")
		must(t, unix.Lsetxattr(path, capability, fileCaps, 0))
		must(t, unix.Lsetxattr(path, "trusted.a", []byte("x"), 0))
		node := lookup(t, fs, "file").Node
		buf := make([]byte, 100)
		cname := []byte(capability + "\x00")
		names := []string{capability, "trusted.a"}
		var get, change syscall.Errno
		if r.NoSUID {
			names, get, change = names[1:], syscall.ENODATA, syscall.EPERM
		}
		_, errno := fs.Getxattr(root(), node, cname, buf)
		want(t, "getxattr", errno, get)
		n, errno := fs.Listxattr(root(), node, buf)
		want(t, "listxattr", errno, 0)
		if got := splitNames(buf[:n]); !slices.Equal(got, names) {
			t.Errorf("%+v: listed are %q, want %q", r, got, names)
		}
		want(t, "setxattr", fs.Setxattr(root(), node, cname, fileCaps, 0, false), change)
		want(t, "removexattr", fs.Removexattr(root(), node, cname), change)
		if r.NoSUID && !slices.Contains(hostNames(t, path), capability) {
			t.Errorf("%+v: the host's capabilities are gone", r)
		}
		_, errno = fs.Getxattr(root(), node, []byte("trusted.a\x00"), buf)
		want(t, "getxattr of another", errno, 0)
		labelled := &vfs.Request{Security: []vfs.SecurityContext{{Name: cname, Value: fileCaps}}}
		if errno := fs.Mknod(labelled, vfs.Root, name("new"), unix.S_IFREG, 0, new(vfs.Entry)); r.NoSUID && errno != syscall.EPERM {
			t.Errorf("%+v: a file that is made with capabilities: %v", r, errno)
		}
	}
}

// TestRestrictBacking: what is written to a backing file is not seen, so a file with
// set-ID bits that have to go has none.
func TestRestrictBacking(t *testing.T) {
	for _, r := range restrictions {
		for _, tt := range []struct {
			mode  uint32
			errno syscall.Errno
			ok    bool
		}{
			{0o755, 0, true}, {0o1777, 0, true},
			{0o4755, 0, hidden(r) == 0}, {0o2755, 0, hidden(r) == 0}, {0o755, syscall.EIO, hidden(r) == 0},
		} {
			b := &backed{spy{mode: unix.S_IFREG | tt.mode, answer: func(string, *vfs.Request) syscall.Errno { return tt.errno }}}
			if fd, ok := Restrict(b, r).(vfs.Backer).Backing(2, 3); ok != tt.ok || ok && fd != 42 {
				t.Errorf("%+v: the backing file of a file of mode %#o is %d, %v", r, tt.mode, fd, ok)
			}
		}
	}
}

// backed is a spy whose files have a backing file.
type backed struct{ spy }

func (*backed) Backing(vfs.NodeID, vfs.Handle) (int, bool) { return 42, true }

// TestRestrictFeatures: access control lists may allow execution.
func TestRestrictFeatures(t *testing.T) {
	for _, r := range restrictions {
		want := everything
		if r.NoExec {
			want &^= vfs.FeatPOSIXACL
		}
		if got := begin(t, Restrict(&spy{}, r)); got != want {
			t.Errorf("%+v: %#x is not agreed to", r, everything&^got)
		}
	}
}
