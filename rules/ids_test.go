package rules

import (
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
)

// actingCalls create, change or check something.
var actingCalls = map[string]func(fs vfs.FileSystem, r *vfs.Request) syscall.Errno{
	"Setattr": func(fs vfs.FileSystem, r *vfs.Request) syscall.Errno {
		return fs.Setattr(r, 2, vfs.NoHandle, &vfs.SetAttr{}, new(vfs.AttrOut))
	},
	"Access": func(fs vfs.FileSystem, r *vfs.Request) syscall.Errno { return fs.Access(r, 2, unix.R_OK) },
	"Symlink": func(fs vfs.FileSystem, r *vfs.Request) syscall.Errno {
		return fs.Symlink(r, vfs.Root, name("a"), []byte("t\x00"), new(vfs.Entry))
	},
	"Mknod": func(fs vfs.FileSystem, r *vfs.Request) syscall.Errno {
		return fs.Mknod(r, vfs.Root, name("a"), 0, 0, new(vfs.Entry))
	},
	"Mkdir": func(fs vfs.FileSystem, r *vfs.Request) syscall.Errno {
		return fs.Mkdir(r, vfs.Root, name("a"), 0, new(vfs.Entry))
	},
	"Link": func(fs vfs.FileSystem, r *vfs.Request) syscall.Errno {
		return fs.Link(r, 2, vfs.Root, name("a"), new(vfs.Entry))
	},
	"Unlink": func(fs vfs.FileSystem, r *vfs.Request) syscall.Errno { return fs.Unlink(r, vfs.Root, name("a")) },
	"Rmdir":  func(fs vfs.FileSystem, r *vfs.Request) syscall.Errno { return fs.Rmdir(r, vfs.Root, name("a")) },
	"Rename": func(fs vfs.FileSystem, r *vfs.Request) syscall.Errno {
		return fs.Rename(r, vfs.Root, name("a"), vfs.Root, name("b"), 0)
	},
	"Open": func(fs vfs.FileSystem, r *vfs.Request) syscall.Errno {
		return fs.Open(r, 2, unix.O_RDWR, false, new(vfs.Opened))
	},
	"Create": func(fs vfs.FileSystem, r *vfs.Request) syscall.Errno {
		return fs.Create(r, vfs.Root, name("a"), 0, 0, new(vfs.Entry), new(vfs.Opened))
	},
	"Tmpfile": func(fs vfs.FileSystem, r *vfs.Request) syscall.Errno {
		return fs.Tmpfile(r, vfs.Root, 0, 0, new(vfs.Entry), new(vfs.Opened))
	},
	"Fallocate": func(fs vfs.FileSystem, r *vfs.Request) syscall.Errno { return fs.Fallocate(r, 2, 3, 0, 1, 0) },
	"CopyFileRange": func(fs vfs.FileSystem, r *vfs.Request) syscall.Errno {
		_, errno := fs.CopyFileRange(r, &vfs.CopyRange{})
		return errno
	},
	"Setxattr": func(fs vfs.FileSystem, r *vfs.Request) syscall.Errno {
		return fs.Setxattr(r, 2, []byte("user.a\x00"), nil, 0, false)
	},
	"Removexattr": func(fs vfs.FileSystem, r *vfs.Request) syscall.Errno {
		return fs.Removexattr(r, 2, []byte("user.a\x00"))
	},
	"Ioctl": func(fs vfs.FileSystem, r *vfs.Request) syscall.Errno {
		_, _, errno := fs.Ioctl(r, 2, 3, 0, 0, nil, nil)
		return errno
	},
}

func TestTranslateCallers(t *testing.T) {
	uids := mapOf(t, "map:0:100000:1000", "forbid-guest:1000:1", "squash-guest:2000:65534:10")
	gids := mapOf(t, "map:0:200000:1000", "forbid-guest:1000:1")
	many := make([]uint32, 3*usualGroups)
	manyHost := make([]uint32, len(many))
	for i := range many {
		many[i], manyHost[i] = uint32(i), uint32(200000+i)
	}
	for callName, call := range actingCalls {
		for _, tt := range []struct {
			what             string
			uid, gid         uint32
			groups           []uint32
			hostUID, hostGID uint32
			hostGroups       []uint32
			errno            syscall.Errno
		}{
			{"root", 0, 0, nil, 100000, 200000, nil, 0},
			{"user", 5, 6, []uint32{7, 5000}, 100005, 200006, []uint32{200007, 5000}, 0},
			{"many groups", 5, 6, many, 100005, 200006, manyHost, 0},
			{"squashed", 2005, 2005, nil, 65534, 2005, nil, 0},
			{"without a rule", 3000, 3000, nil, 3000, 3000, nil, 0},
			{"nobody at all", noID, noID, []uint32{noID}, noID, noID, []uint32{noID}, 0},
			{"forbidden uid", 1000, 0, nil, 0, 0, nil, syscall.EPERM},
			{"forbidden gid", 0, 1000, nil, 0, 0, nil, syscall.EPERM},
			{"forbidden group", 0, 0, []uint32{1, 1000}, 0, 0, nil, syscall.EPERM},
		} {
			s := &spy{}
			fs := TranslateIDs(s, uids, gids)
			given := vfs.Request{UID: tt.uid, GID: tt.gid, PID: 77, Umask: 0o22, Groups: slices.Clone(tt.groups), Nowait: true}
			r := given
			errno := call(fs, &r)
			want(t, callName+" by "+tt.what, errno, tt.errno)
			if r.UID != given.UID || r.GID != given.GID || !slices.Equal(r.Groups, tt.groups) {
				t.Errorf("%s by %s changed the request of the door: %+v", callName, tt.what, r)
			}
			if tt.errno != 0 {
				if len(s.calls) != 0 {
					t.Errorf("%s by %s: the file system behind saw %v", callName, tt.what, s.calls)
				}
				continue
			}
			if !slices.Equal(s.calls, []string{callName}) {
				t.Errorf("%s by %s became %v", callName, tt.what, s.calls)
			}
			if s.req.UID != tt.hostUID || s.req.GID != tt.hostGID || !slices.Equal(s.req.Groups, tt.hostGroups) ||
				s.req.PID != 77 || s.req.Umask != 0o22 || !s.req.Nowait {
				t.Errorf("%s by %s is made by %+v", callName, tt.what, s.req)
			}
		}
	}
}

// TestTranslateReaders has a forbidden user read, which nobody in particular
// does.
func TestTranslateReaders(t *testing.T) {
	s := &spy{}
	fs := TranslateIDs(s, mapOf(t, "forbid-guest:1000:1"), nil)
	r := &vfs.Request{UID: 1000}
	want(t, "Open", fs.Open(r, 2, unix.O_RDONLY, false, new(vfs.Opened)), 0)
	want(t, "Lookup", fs.Lookup(r, vfs.Root, name("a"), new(vfs.Entry)), 0)
	want(t, "Getattr", fs.Getattr(r, 2, vfs.NoHandle, new(vfs.AttrOut)), 0)
	if f := begin(t, fs); f.Has(vfs.FeatPOSIXACL) || !f.Has(vfs.FeatSetxattrExt) {
		t.Errorf("agreed to %#x", f)
	}
}

func TestTranslateOwners(t *testing.T) {
	s := &spy{owner: [2]uint32{100005, 200006}}
	fs := TranslateIDs(s, mapOf(t, "map:0:100000:1000", "forbid-guest:7000:1"), mapOf(t, "map:0:200000:1000", "forbid-guest:7000:1"))
	r := root()
	var e vfs.Entry
	var a vfs.AttrOut
	var x vfs.Statx
	check := func(call string, errno syscall.Errno, got *vfs.Attr) {
		t.Helper()
		want(t, call, errno, 0)
		if got.UID != 5 || got.GID != 6 {
			t.Errorf("%s: the owner is %d:%d, want 5:6", call, got.UID, got.GID)
		}
		e, a, x = vfs.Entry{}, vfs.AttrOut{}, vfs.Statx{}
	}
	check("Lookup", fs.Lookup(r, vfs.Root, name("a"), &e), &e.Attr)
	check("Symlink", fs.Symlink(r, vfs.Root, name("a"), nil, &e), &e.Attr)
	check("Mknod", fs.Mknod(r, vfs.Root, name("a"), 0, 0, &e), &e.Attr)
	check("Mkdir", fs.Mkdir(r, vfs.Root, name("a"), 0, &e), &e.Attr)
	check("Link", fs.Link(r, 2, vfs.Root, name("a"), &e), &e.Attr)
	check("Create", fs.Create(r, vfs.Root, name("a"), 0, 0, &e, new(vfs.Opened)), &e.Attr)
	check("Tmpfile", fs.Tmpfile(r, vfs.Root, 0, 0, &e, new(vfs.Opened)), &e.Attr)
	check("Getattr", fs.Getattr(r, 2, vfs.NoHandle, &a), &a.Attr)
	check("Statx", fs.Statx(r, 2, vfs.NoHandle, 0, 0, &x), &x.Attr)
	l := &list{plus: true}
	errno := fs.Readdir(r, vfs.Root, 3, 0, l)
	if !slices.Equal(l.names, []string{"file", "."}) || l.entries[1] != nil {
		t.Fatalf("Readdir lists %v", l.names)
	}
	check("Readdir", errno, &l.entries[0].Attr)

	const both = vfs.SetUID | vfs.SetGID
	for _, tt := range []struct {
		valid            vfs.SetAttrMask
		uid, gid         uint32
		hostUID, hostGID uint32
		errno            syscall.Errno
	}{
		{both, 1, 2, 100001, 200002, 0},
		{vfs.SetUID, 1, 2, 100001, 2, 0},
		{vfs.SetGID, 1, 2, 1, 200002, 0},
		{vfs.SetMode, 7000, 7000, 7000, 7000, 0},
		{both, noID, noID, noID, noID, 0},
		{both, 7000, 1, 0, 0, syscall.EPERM},
		{both, 1, 7000, 0, 0, syscall.EPERM},
	} {
		s.calls = nil
		in := vfs.SetAttr{Valid: tt.valid, UID: tt.uid, GID: tt.gid, Mode: 0o640, Size: 7}
		given := in
		errno := fs.Setattr(r, 2, vfs.NoHandle, &in, &a)
		if in != given {
			t.Errorf("Setattr changed what belongs to the door: %+v", in)
		}
		if tt.errno != 0 {
			want(t, "Setattr", errno, tt.errno)
			if len(s.calls) != 0 {
				t.Errorf("the file system behind saw %v", s.calls)
			}
			continue
		}
		check("Setattr", errno, &a.Attr)
		given.UID, given.GID = tt.hostUID, tt.hostGID
		if s.set != given {
			t.Errorf("Setattr with %+v becomes %+v", in, s.set)
		}
	}
}

// TestTranslateOnHost looks at both ends of a real file system.
func TestTranslateOnHost(t *testing.T) {
	dir := tempDir(t, "")
	must(t, unix.Chmod(dir, 0o777))
	fs := TranslateIDs(share(t, passthrough.Config{Path: dir}), mapOf(t, "map:0:100000:1000"), mapOf(t, "map:0:200000:1000"))
	begin(t, fs)
	for _, id := range []uint32{0, 500} {
		r := &vfs.Request{UID: id, GID: id}
		var e vfs.Entry
		if errno := fs.Mkdir(r, vfs.Root, name("d"), 0o755, &e); errno != 0 {
			t.Fatal(errno)
		}
		var st unix.Stat_t
		must(t, unix.Stat(join(dir, "d"), &st))
		if st.Uid != 100000+id || st.Gid != 200000+id || e.Attr.UID != id || e.Attr.GID != id {
			t.Errorf("a directory of %d belongs to %d:%d on the host and %d:%d in the guest", id, st.Uid, st.Gid, e.Attr.UID, e.Attr.GID)
		}
		fs.Forget(e.Node, 1)
		want(t, "Rmdir", fs.Rmdir(r, vfs.Root, name("d")), 0)
	}
}

func TestTranslateNothing(t *testing.T) {
	s := &spy{}
	if fs := TranslateIDs(s, nil, &IDMap{}); fs != vfs.FileSystem(s) {
		t.Error("empty maps make another file system")
	}
}
