package passthrough

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// TestServerCapabilities runs with no more capabilities than a sandbox leaves.
func TestServerCapabilities(t *testing.T) {
	server := []uintptr{
		unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID,
		unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_MKNOD, unix.CAP_SETFCAP,
	}
	for name, caps := range map[string][]uintptr{
		"descriptors": server,
		"handles":     append(server, unix.CAP_DAC_READ_SEARCH),
	} {
		t.Run(name, func(t *testing.T) {
			keepOnly := func(t *testing.T, dir string) {
				hostFile(t, join(dir, "file"), 0o600, 1234, 1234)
				kept := map[uintptr]bool{}
				for _, c := range caps {
					kept[c] = true
				}
				for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
					if !kept[c] {
						if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
							t.Errorf("drop capability %d: %v", c, err)
						}
					}
				}
			}
			runTestAs(t, nil, keepOnly, func(t *testing.T, dir string) {
				if oslib.ThreadHasCap(unix.CAP_SYS_ADMIN) || !oslib.ThreadHasCap(unix.CAP_SETFCAP) {
					t.Fatal("other capabilities than meant")
				}
				testServerCapabilities(t, dir, name == "handles")
			})
		})
	}
}

func testServerCapabilities(t *testing.T, dir string, handles bool) {
	if _, err := New(Config{Path: dir, FileHandles: HandlesMandatory}); (err == nil) != handles {
		t.Errorf("New with mandatory handles: %v", err)
	}
	fs := share(t, Config{Path: dir, Xattr: true, KillPriv: true, PreserveNoatime: true, PosixACL: NegotiateAuto})
	file := walk(t, fs, "file")
	if held := fs.nodes.get(file.Node).mount != nil; held != handles {
		t.Errorf("a node has a handle: %v", held)
	}
	for _, m := range makers {
		var e vfs.Entry
		want(t, m.what, m.make(fs, &vfs.Request{Groups: []uint32{7}}, vfs.Root, name(t, m.what), 0o644, &e), 0)
		want(t, m.what+" by a user", m.make(fs, &someone, vfs.Root, name(t, m.what+"1"), 0o644, &e), syscall.EACCES)
	}
	var e vfs.Entry
	want(t, "device", fs.Mknod(&root, vfs.Root, name(t, "dev"), unix.S_IFBLK|0o600, vfs.MakeDev(250, 1), &e), 0)
	_, errno := setattr(fs, file.Node, vfs.SetAttr{Valid: vfs.SetMode | vfs.SetUID | vfs.SetGID | vfs.SetSize | vfs.SetMtimeNow, Mode: 0o6755, UID: 4321, GID: 4321})
	want(t, "setattr", errno, 0)
	var o vfs.Opened
	want(t, "open", fs.Open(&root, file.Node, unix.O_RDWR|unix.O_NOATIME, false, &o), 0)
	if f := fdFlags(t, fs, file.Node, o.Handle); f&unix.O_NOATIME == 0 {
		t.Errorf("flags %#o", f)
	}
	if err := unix.Chmod(join(dir, "file"), 0o6755); err != nil {
		t.Fatal(err)
	}
	_, errno = fs.Write(&root, file.Node, o.Handle, iovs([]byte("x"), 1), 0, 0, vfs.WriteKillSUIDGID)
	want(t, "write", errno, 0)
	if mode := modeOf(t, join(dir, "file")); mode != 0o755 {
		t.Errorf("mode %#o after a write that clears setuid", mode)
	}
	capability := cstr("security.capability")
	value := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // version 2: net_bind_service
	want(t, "file capability", fs.Setxattr(&root, file.Node, capability, value, 0, false), 0)
	want(t, "trusted attribute", fs.Setxattr(&root, file.Node, cstr("trusted.a"), nil, 0, false), syscall.EPERM)
	want(t, "link", fs.Link(&root, file.Node, vfs.Root, name(t, "linked"), &e), 0)
	if ids := threadIDs(t); len(ids) != 1 {
		t.Errorf("threads differ: %v", ids)
	}
}
