package vfstest

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// identityScenarios make files as other users: the owner, the group of a
// directory with setgid and the umask come out as on the host.
func identityScenarios(s *suite) []scenario {
	user := caller{uid: 1000, gid: 1000}
	member := caller{uid: 1001, gid: 1001, groups: []uint32{2000}}
	masked := caller{uid: 1000, gid: 1000, umask: 0o077}
	makeAll := func(who caller, dir string) []op {
		ops := []op{
			by(who, mkfile(dir+"/file", "x", 0o666)), stat(dir + "/file"), by(who, mkdir(dir+"/dir", 0o777)), stat(dir + "/dir"),
			by(who, symlink("t", dir+"/link")), stat(dir + "/link"), by(who, mknod(dir+"/reg", unix.S_IFREG|0o666, 0)), stat(dir + "/reg"),
			by(who, mkdir(dir+"/dirset", 0o3777)), stat(dir + "/dirset"), stat(dir),
		}
		if who.umask == 0 || s.feat.Has(vfs.FeatDontMask) {
			// Whether setgid stays depends on the mode before the umask,
			// which a file system that does not apply it never sees: there
			// the guest's kernel takes it away.
			ops = append(ops,
				by(who, mkfile(dir+"/set", "", 0o6777)), stat(dir+"/set"), by(who, mkfile(dir+"/setgid", "", 0o2755)), stat(dir+"/setgid"),
				by(who, mkfile(dir+"/setnox", "", 0o2644)), stat(dir+"/setnox"))
		}
		if s.Lacks&NoSpecial == 0 {
			ops = append(ops, by(who, mknod(dir+"/fifo", unix.S_IFIFO|0o666, 0)), stat(dir+"/fifo"), by(who, mknod(dir+"/sock", unix.S_IFSOCK|0o666, 0)))
		}
		return ops
	}
	scenarios := []scenario{}
	for _, w := range []struct {
		name string
		who  caller
	}{
		{"root", caller{}},
		{"user", user},
		{"user and root's group", caller{uid: 1000}},
		{"root and user's group", caller{gid: 1000}},
		{"member of the directory's group", member},
		{"umask", masked},
		{"umask of root", caller{umask: 0o027}},
		{"umask of all", caller{uid: 7, gid: 8, umask: 0o777}},
		{"high ids", caller{uid: 1<<32 - 2, gid: 1<<31 + 5}},
	} {
		ops := []op{
			mkdir("plain", 0o777), mkdir("setgid", 0o2777), chown("setgid", 0, 2000), chmod("setgid", 0o2777), stat("setgid"),
			mkdir("sticky", 0o1777),
		}
		for _, dir := range []string{"plain", "setgid", "sticky"} {
			// With a umask of everything the user may not open again what
			// is made; the scenario needs no more than that it is made.
			ops = append(ops, makeAll(w.who, dir)...)
		}
		scenarios = append(scenarios, scenario{w.name, ops})
	}
	scenarios = append(scenarios,
		scenario{"a group's directory", []op{
			mkdir("d", 0o770), chown("d", 0, 2000), chmod("d", 0o2770), by(member, mkfile("d/f", "x", 0o660)), stat("d/f"),
			by(member, mkdir("d/d", 0o770)), stat("d/d"), by(member, mkfile("d/d/f", "", 0o660)), stat("d/d/f"), by(member, symlink("t", "d/l")), stat("d/l"),
		}},
		scenario{"one after the other", []op{
			mkdir("d", 0o777), by(user, mkfile("d/a", "", 0o666)), mkfile("d/b", "", 0o666), by(member, mkfile("d/c", "", 0o666)), mkfile("d/e", "", 0o666),
			by(masked, mkfile("d/f", "", 0o666)), by(user, mkfile("d/g", "", 0o666)), readdir("d"),
		}},
		scenario{"read-only file of a user", []op{
			mkdir("d", 0o777), by(user, open("f", "d/f", creat|excl|rdwr, 0o400)), by(user, pwrite("f", "mine", 0)), stat("d/f"), cat("d/f"),
		}},
	)
	return scenarios
}

// testIdentityKept shows that calls which do not create leave owners alone, and
// that an identity does not outlive its call.
func (s *suite) testIdentityKept(t *testing.T) {
	c := s.root(t)
	if _, errno := c.mkdir("shared", 0o777); errno != 0 {
		t.Fatal(errno)
	}
	shared := c.mustWalk("shared")
	defer c.put(shared)
	c = s.session(shared)
	c.t = t
	defer c.end()
	user := c.as(caller{uid: 1234, gid: 1234, groups: []uint32{5678}}).(*session)
	f, errno := c.open("roots", creat|rdwr, 0o666)
	if errno != 0 {
		t.Fatal(errno)
	}
	f.close()
	g, errno := user.open("roots", creat|rdwr, 0o666)
	if errno != 0 {
		t.Fatal(errno)
	}
	if a, errno := g.stat(); errno != 0 || a.UID != 0 || a.GID != 0 {
		t.Errorf("after a Create of root's file by a user it belongs to %d:%d, %s", a.UID, a.GID, errnoName(errno))
	}
	g.close()
	for i := range 50 {
		for _, who := range []*session{c, user} {
			n := "switch"
			f, errno := who.open(n, creat|excl|rdwr, 0o600)
			if errno != 0 {
				t.Fatalf("round %d as %d: %s", i, who.who.uid, errnoName(errno))
			}
			a, _ := f.stat()
			f.close()
			if a.UID != who.who.uid || a.GID != who.who.gid {
				t.Fatalf("round %d: a file of %d:%d belongs to %d:%d", i, who.who.uid, who.who.gid, a.UID, a.GID)
			}
			if errno := c.unlink(n); errno != 0 {
				t.Fatal(errno)
			}
		}
	}
	var out vfs.AttrOut
	if errno := s.FS.Setattr(&vfs.Request{UID: 1234, GID: 1234}, vfs.Root, vfs.NoHandle, &vfs.SetAttr{Valid: vfs.SetMode, Mode: 0o755}, &out); errno != 0 {
		t.Errorf("Setattr by a user, which the guest has allowed: %s", errnoName(errno))
	}
}
