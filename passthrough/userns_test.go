package passthrough

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// Ids of the host, as they may belong to an ordinary user.
const (
	ownID    = 3000000 // is root in the namespace
	firstSub = 3100000 // is 1 there, and so on
	subs     = 9
	ownGroup = 3200000 // a supplementary group, which has no id there
)

func mapped(ids ...syscall.SysProcIDMap) []syscall.SysProcIDMap {
	return append([]syscall.SysProcIDMap{{ContainerID: 0, HostID: ownID, Size: 1}}, ids...)
}

// TestUserNamespace runs the daemon's side as root of a user namespace, as
// rootless daemons are.
func TestUserNamespace(t *testing.T) {
	sub := syscall.SysProcIDMap{ContainerID: 1, HostID: firstSub, Size: subs}
	few := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: mapped(sub), GidMappings: mapped(sub), GidMappingsEnableSetgroups: true,
		Credential: &syscall.Credential{NoSetGroups: true},
	}
	one := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: mapped(), GidMappings: mapped(),
		Credential: &syscall.Credential{NoSetGroups: true},
	}
	prepare := func(t *testing.T, dir string) {
		if err := os.Chown(dir, ownID, ownID); err != nil {
			t.Error(err)
		}
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Error(err)
		}
		hostFile(t, join(dir, "own"), 0o644, ownID, ownID)
		hostFile(t, join(dir, "roots"), 0o644, 0, 0)
		if errno := oslib.SetThreadGroups([]uint32{ownGroup}); errno != 0 {
			t.Error(errno)
		}
	}
	t.Run("few ids", func(t *testing.T) { runTestAs(t, few, prepare, testFewIDs) })
	t.Run("one id", func(t *testing.T) { runTestAs(t, one, prepare, testOneID) })
}

// rootless makes the share of a daemon in a user namespace and tests what does
// not depend on the ids that it has.
func rootless(t *testing.T, dir string) *FS {
	t.Helper()
	if os.Geteuid() != 0 || !oslib.ThreadHasCap(unix.CAP_SYS_ADMIN) {
		t.Fatal("not root of a user namespace")
	}
	log, text := logged()
	fs := share(t, Config{Path: dir, Xattr: true, KillPriv: true, Logger: log})
	own, roots := walk(t, fs, "own"), walk(t, fs, "roots")
	if own.Attr.UID != 0 || roots.Attr.UID != overflowGID {
		t.Errorf("owners %d and %d", own.Attr.UID, roots.Attr.UID)
	}
	if fs.nodes.get(own.Node).mount != nil {
		t.Error("a node has a handle")
	}
	if s := text.String(); strings.Contains(s, "level=WARN") {
		t.Errorf("that handles are not permitted is not worth a warning: %s", s)
	}
	// What the host's kernel says of an id that it does not know is passed on.
	_, errno := setattr(fs, own.Node, vfs.SetAttr{Valid: vfs.SetUID, UID: 1234})
	want(t, "chown to an id without a map", errno, syscall.EINVAL)
	_, errno = setattr(fs, own.Node, vfs.SetAttr{Valid: vfs.SetGID, GID: 1234})
	want(t, "chgrp to an id without a map", errno, syscall.EINVAL)
	_, errno = setattr(fs, roots.Node, vfs.SetAttr{Valid: vfs.SetUID, UID: 0})
	want(t, "chown of a file of another", errno, syscall.EPERM)
	var o vfs.Opened
	want(t, "open of a file of another", fs.Open(&root, roots.Node, unix.O_WRONLY, false, &o), syscall.EACCES)
	testUnprivilegedNames(t, fs, own.Node)
	testUntoldCaller(t, fs)
	for _, m := range makers {
		var e vfs.Entry
		want(t, m.what+" by root", m.make(fs, &vfs.Request{Groups: []uint32{5, 7777}}, vfs.Root, name(t, m.what), 0o644, &e), 0)
		for _, r := range []vfs.Request{
			{UID: 1234, GID: 0}, {UID: 0, GID: 1234}, {UID: 1234, GID: 1234, Groups: []uint32{1}}, {UID: noID - 1, GID: noID - 1},
		} {
			want(t, m.what+" by an id without a map", m.make(fs, &r, vfs.Root, name(t, m.what+"1"), 0o644, &e), syscall.EPERM)
		}
	}
	return fs
}

func testFewIDs(t *testing.T, dir string) {
	fs := rootless(t, dir)
	if err := os.Mkdir(join(dir, "shared"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(join(dir, "shared"), 0, 4); err != nil {
		t.Fatal(err)
	}
	if err := unix.Chmod(join(dir, "shared"), 0o2770); err != nil {
		t.Fatal(err)
	}
	in := walk(t, fs, "shared").Node
	for _, m := range makers {
		var e vfs.Entry
		want(t, m.what+" by a user", m.make(fs, &vfs.Request{UID: 2, GID: 3, Groups: []uint32{4}}, in, name(t, m.what), 0o644, &e), 0)
		if e.Attr.UID != 2 || e.Attr.GID != 4 {
			t.Errorf("%s: owner %d:%d", m.what, e.Attr.UID, e.Attr.GID)
		}
		want(t, m.what+" by a stranger", m.make(fs, &vfs.Request{UID: 2, GID: 3}, in, name(t, m.what+"1"), 0o644, &e), syscall.EACCES)
		want(t, m.what+" with a group without a map", m.make(fs, &vfs.Request{UID: 2, GID: 3, Groups: []uint32{1234}}, in, name(t, m.what+"1"), 0o644, &e), syscall.EPERM)
	}
	_, errno := setattr(fs, walk(t, fs, "own").Node, vfs.SetAttr{Valid: vfs.SetUID | vfs.SetGID, UID: subs, GID: subs})
	want(t, "chown", errno, 0)
	if ids := threadIDs(t); len(ids) != 1 {
		t.Errorf("threads differ: %v", ids)
	}
}

func testOneID(t *testing.T, dir string) {
	rootless(t, dir)
	groups, err := os.Getgroups()
	if err != nil || len(groups) != 1 || groups[0] != overflowGID {
		t.Errorf("groups %v, %v: the daemon gave up what it need not", groups, err)
	}
	if ids := threadIDs(t); len(ids) != 1 {
		t.Errorf("threads differ: %v", ids)
	}
}
