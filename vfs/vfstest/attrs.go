package vfstest

import (
	"math"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// kinds makes one object of each type that the file system has, named by it.
func (s *suite) kinds() (ops []op, names []string) {
	ops = []op{mkfile("file", "content", 0o644), mkdir("dir", 0o755), symlink("target", "link")}
	names = []string{"file", "dir", "link"}
	if s.Lacks&NoSpecial == 0 {
		ops = append(ops, mknod("fifo", unix.S_IFIFO|0o644, 0), mknod("sock", unix.S_IFSOCK|0o644, 0),
			mknod("chr", unix.S_IFCHR|0o644, vfs.MakeDev(1, 3)), mknod("blk", unix.S_IFBLK|0o644, vfs.MakeDev(7, 300)))
		names = append(names, "fifo", "sock", "chr", "blk")
	}
	return ops, names
}

// instants are times that a file may have. Those outside of what ext4 can store
// are clamped by the host, in the twin as well.
var instants = []vfs.Timespec{
	{Sec: 0}, {Sec: 0, Nsec: 1}, {Sec: 1, Nsec: 999_999_999}, {Sec: 1_700_000_000, Nsec: 123_456_789},
	{Sec: -1}, {Sec: -1, Nsec: 999_999_999}, {Sec: -86400 * 365 * 10, Nsec: 5}, {Sec: -(1 << 31)},
	{Sec: 1<<31 - 1}, {Sec: 1 << 31, Nsec: 7}, {Sec: 1<<32 - 1}, {Sec: 1 << 33}, {Sec: 1 << 40}, {Sec: -(1 << 40)},
	{Sec: math.MaxInt64}, {Sec: math.MinInt64},
}

// attrScenarios change modes, owners, sizes and times.
func attrScenarios(s *suite) []scenario {
	made, names := s.kinds()
	var modes, owners, stamps, extended []op
	modes, owners, stamps, extended = append(modes, made...), append(owners, made...), append(stamps, made...), append(extended, made...)
	for i, n := range names {
		for _, m := range []uint32{0, 0o7777, 0o1000, 0o2000, 0o4000, 0o644, 0o6711} {
			o := chmod(n, m)
			if n == "link" {
				o = fails(syscall.EOPNOTSUPP, o)
			}
			modes = append(modes, o, stat(n))
		}
		owners = append(owners, chown(n, 1000, 2000), chown(n, -1, 3000), chown(n, 4000, -1), stat(n),
			chown(n, 1<<31, 1<<31+1), chown(n, 1<<32-2, 1<<32-2), stat(n), chown(n, -1, -1), stat(n))
		for _, m := range []uint32{0o6755, 0o2745, 0o4644, 0o7777} {
			if n != "link" {
				owners = append(owners, chmod(n, m), chown(n, 5, -1), stat(n), chmod(n, m), chown(n, -1, 6), chmod(n, m), chown(n, 0, 0), stat(n))
			}
		}
		for j, ts := range instants {
			stamps = append(stamps, utimens(n, ts, instants[(i+j+3)%len(instants)]), times(n))
		}
		stamps = append(stamps, setattr(n, vfs.SetAttr{Valid: vfs.SetAtime, Atime: vfs.Timespec{Sec: 17, Nsec: 18}}), times(n),
			setattr(n, vfs.SetAttr{Valid: vfs.SetMtime, Mtime: vfs.Timespec{Sec: -17, Nsec: 18}}), times(n))
		extended = append(extended, whatever(statxOf(n)))
	}
	owner := func(p string, m uint32) []op {
		return []op{chmod(p, m), open("f", p, rdwr, 0), fsetattr("f", ownerChange(7, 8)), fstat("f"), chmod(p, m),
			fsetattr("f", vfs.SetAttr{Valid: vfs.SetMode, Mode: 0o2711}), fstat("f")}
	}
	list := []scenario{
		{"modes", modes},
		{"owners", owners},
		{"times", stamps},
		{"of an open file", append([]op{mkfile("f", "x", 0o644)}, append(owner("f", 0o6755), owner("f", 0o2644)...)...)},
		{"several at once", []op{
			mkfile("f", "content", 0o644), setattr("f", vfs.SetAttr{
				Valid: vfs.SetMode | vfs.SetUID | vfs.SetGID | vfs.SetSize | vfs.SetAtime | vfs.SetMtime,
				Mode:  0o640, UID: 3, GID: 4, Size: 5, Atime: vfs.Timespec{Sec: 6, Nsec: 7}, Mtime: vfs.Timespec{Sec: -8, Nsec: 9},
			}), stat("f"), times("f"), setattr("f", vfs.SetAttr{}), stat("f"), times("f"),
		}},
		{"setuid kept for root", []op{
			mkfile("f", "content", 0o6755), open("f", "f", rdwr, 0), pwrite("f", "x", 0), fstat("f"),
			fsetattr("f", vfs.SetAttr{Valid: vfs.SetSize, Size: 3}), fstat("f"), truncate("f", 2), stat("f"), open("g", "f", wronly|trunc, 0), stat("f"),
		}},
	}
	if s.Lacks&NoStatx == 0 {
		list = append(list, scenario{"statx", extended})
	}
	if s.feat.Has(vfs.FeatKillPriv) {
		list = append(list, killScenarios()...)
	}
	return list
}

// killScenarios write, truncate and open as a user that may not keep setuid.
// Without group-execute, whether setgid goes depends on the caller's groups,
// which a daemon is not in; so all modes here have it.
func killScenarios() []scenario {
	user := caller{uid: 1000, gid: 1000}
	var list []scenario
	for name, change := range map[string]func() []op{
		"write": func() []op { return []op{by(user, open("f", "f", wronly, 0)), by(user, pwrite("f", "x", 0))} },
		"append": func() []op {
			return []op{by(user, open("f", "f", wronly|appnd, 0)), by(user, pwrite("f", "x", 0))}
		},
		"truncate": func() []op { return []op{by(user, truncate("f", 3))} },
		"truncate on open": func() []op {
			return []op{by(user, open("f", "f", wronly|trunc, 0))}
		},
		"truncate open file": func() []op {
			return []op{by(user, open("f", "f", wronly, 0)), by(user, fsetattr("f", vfs.SetAttr{Valid: vfs.SetSize, Size: 1}))}
		},
		"read only": func() []op { return []op{by(user, open("f", "f", rdonly, 0)), by(user, pread("f", 3, 0))} },
	} {
		ops := []op{mkfile("f", "content", 0o666)}
		for _, mode := range []uint32{0o6777, 0o4777, 0o2777, 0o4666, 0o777} {
			ops = append(ops, chmod("f", mode))
			ops = append(ops, change()...)
			ops = append(ops, stat("f"))
		}
		list = append(list, scenario{"setuid lost: " + name, ops})
	}
	return list
}

// testNow sets times to the present.
func (s *suite) testNow(t *testing.T) {
	c := s.root(t)
	c.mkdir("now", 0o755)
	old := vfs.Timespec{Sec: 5}
	for _, tt := range []struct {
		valid        vfs.SetAttrMask
		atime, mtime bool // whether it becomes the present
	}{
		{vfs.SetAtimeNow, true, false},
		{vfs.SetMtimeNow, false, true},
		{vfs.SetAtime | vfs.SetAtimeNow | vfs.SetMtime | vfs.SetMtimeNow, true, true},
		{vfs.SetAtime | vfs.SetMtime | vfs.SetMtimeNow, false, true},
	} {
		if _, errno := c.setattr("now", vfs.SetAttr{Valid: vfs.SetAtime | vfs.SetMtime, Atime: old, Mtime: old}); errno != 0 {
			t.Fatal(errno)
		}
		var before unix.Timespec
		unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &before)
		a, errno := c.setattr("now", vfs.SetAttr{Valid: tt.valid, Atime: old, Mtime: old})
		if errno != 0 {
			t.Fatal(errno)
		}
		for _, f := range []struct {
			name string
			ts   vfs.Timespec
			now  bool
		}{{"atime", a.atime, tt.atime}, {"mtime", a.mtime, tt.mtime}} {
			if f.now != (f.ts.Sec >= before.Sec) || !f.now && f.ts != old {
				t.Errorf("Setattr with %#x gives %s %v; to be the present: %v", tt.valid, f.name, f.ts, f.now)
			}
		}
	}
}

// testAllFields compares every field with a stat of the very same object.
func (s *suite) testAllFields(t *testing.T) {
	if s.Dir == "" {
		return
	}
	c := s.root(t)
	host := newHost(t, s.Dir)
	defer host.end()
	made, names := s.kinds()
	a := newActor(c)
	for _, o := range made {
		if _, errno := o.run(a); errno != 0 {
			t.Fatalf("%v: %s", o, errnoName(errno))
		}
	}
	if err := os.Truncate(filepath.Join(s.Dir, "file"), 123456); err != nil {
		t.Fatal(err)
	}
	for _, n := range append(names, "") {
		want, errno := host.stat(n)
		if errno != 0 {
			t.Fatal(errno)
		}
		if got, errno := c.stat(n); errno != 0 || got != want {
			t.Errorf("%q: Getattr gives %s,\n got %+v\nwant %+v", n, errnoName(errno), got, want)
		}
		if s.Lacks&NoStatx != 0 {
			continue
		}
		wantX, errno := host.statx(n)
		if errno != 0 {
			t.Fatal(errno)
		}
		if got, errno := c.statx(n); errno != 0 || got != wantX {
			t.Errorf("%q: Statx gives %s,\n got %+v\nwant %+v", n, errnoName(errno), got, wantX)
		}
	}
	got, errno := c.statfs("")
	want, _ := host.statfs("")
	// Others use the same disk meanwhile.
	got.Bfree, got.Bavail, got.Ffree = want.Bfree, want.Bavail, want.Ffree
	got.Files = want.Files
	if errno != 0 || got != want {
		t.Errorf("Statfs gives %s,\n got %+v\nwant %+v", errnoName(errno), got, want)
	}
}
