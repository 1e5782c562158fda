package guesttest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// changes are the calls that change what a file holds, or whose it is. All are
// done by the caller of do.
var changes = []struct {
	what string
	do   func(path string) error
	root bool // for root only
	// unsaid: the FUSE request has neither a flag for this nor, from Linux 6.12
	// on, the caller's id. The daemon has to take everybody for a stranger.
	unsaid bool
}{
	{what: "write", do: withFile(unix.O_WRONLY, func(n int) error {
		_, err := unix.Pwrite(n, []byte("x"), 0)
		return err
	})},
	{what: "append", do: withFile(unix.O_WRONLY|unix.O_APPEND, func(n int) error {
		_, err := unix.Write(n, []byte("x"))
		return err
	})},
	{what: "synchronous write", do: withFile(unix.O_WRONLY|unix.O_DSYNC, func(n int) error {
		_, err := unix.Pwrite(n, []byte("x"), 0)
		return err
	})},
	{what: "direct write", do: withFile(unix.O_WRONLY|unix.O_DIRECT, func(n int) error {
		// Memory that nobody has written to is the zero page, which some
		// machines do not share with their devices.
		b := aligned(page)
		copy(b, pattern(1, 0, page))
		_, err := unix.Pwrite(n, b, 0)
		return err
	})},
	{what: "truncate", do: func(path string) error { return unix.Truncate(path, 1) }},
	{what: "ftruncate", do: withFile(unix.O_WRONLY, func(n int) error { return unix.Ftruncate(n, 1) })},
	{what: "open with O_TRUNC", do: func(path string) error { return tryOpen(path, unix.O_WRONLY|unix.O_TRUNC, 0) }},
	{what: "fallocate", do: withFile(unix.O_WRONLY, func(n int) error { return unix.Fallocate(n, 0, 0, 10_000) }), unsaid: true},
	{what: "punched hole", do: withFile(unix.O_WRONLY, func(n int) error {
		return unix.Fallocate(n, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, page)
	}), unsaid: true},
	{what: "copy_file_range", do: withFile(unix.O_RDWR, func(n int) error {
		in, out := int64(0), int64(page)
		_, err := unix.CopyFileRange(n, &in, n, &out, 100, 0)
		return err
	}), unsaid: true},
	{what: "chown", do: func(path string) error { return unix.Chown(path, int(carol.uid), int(carol.gid)) }, root: true},
}

// withFile returns a call that opens a file, uses its descriptor and closes it.
func withFile(flags int, f func(n int) error) func(string) error {
	return func(path string) error {
		n, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(n)
		return f(n)
	}
}

// privilege is the value of security.capability for CAP_NET_RAW, permitted and
// effective: struct vfs_cap_data of revision 2.
var privilege = []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

const capability = "security.capability"

// TestPrivilegesEndWithAChange has each kind of caller change a file in each way.
// Without the right to keep them (CAP_FSETID), S_ISUID goes, and S_ISGID where
// the group may execute the file. A chown takes them from root's file too, and
// capabilities never survive.
func TestPrivilegesEndWithAChange(t *testing.T) {
	dir := scratch(t)
	path := dir + "/f"
	modes := []uint32{0o6777, 0o4766, 0o2776, 0o2767}
	fuse := overFUSE(t, dir)
	if fuse {
		// Without the right to execute, S_ISGID once stood for mandatory
		// locks, which Linux no longer has. Who loses it has changed between
		// kernels, and FUSE has no way to tell who is in the group.
		t.Log("FUSE: what becomes of S_ISGID without the group's right to execute does not APPLY, nor what root keeps where it cannot be told")
		modes = modes[:3]
	}
	for _, who := range []struct {
		what string
		user
	}{
		{"the owner", alice},
		{"a member of the group", bob},
		{"another", carol},
		{"root", user{}},
	} {
		for _, change := range changes {
			if change.root && who.uid != 0 {
				continue
			}
			for _, mode := range modes {
				what := fmt.Sprintf("%s by %s, mode %#o", change.what, who.what, mode)
				write(t, path, make([]byte, 2*page))
				check(t, unix.Chown(path, int(alice.uid), staff), "chown")
				check(t, unix.Chmod(path, mode), "chmod")
				if !expected[featNoXattr] {
					check(t, unix.Lsetxattr(path, capability, privilege, 0), "set the capability")
				}
				as(t, who.user, func() { want(t, change.do(path), nil, "%s", what) })
				left := mode
				if who.uid != 0 || change.root {
					left &^= unix.S_ISUID
					if mode&0o010 != 0 || who.uid == alice.uid || who.uid == carol.uid {
						left &^= unix.S_ISGID
					}
				}
				if !fuse || !change.unsaid || who.uid != 0 {
					sameMode(t, path, left, "%s", what)
				}
				if !expected[featNoXattr] {
					_, err := getXattr(path, capability)
					want(t, err, unix.ENODATA, "the capability after %s", what)
				}
				check(t, unix.Unlink(path), "unlink")
			}
		}
	}
}

// TestPrivilegesOutliveWhatChangesNothing looks at a file, renames it and gives
// it another link.
func TestPrivilegesOutliveWhatChangesNothing(t *testing.T) {
	dir := scratch(t)
	path := dir + "/f"
	for _, who := range rootAndOwner {
		write(t, path, []byte("text"))
		check(t, unix.Chown(path, int(alice.uid), int(alice.gid)), "chown")
		check(t, unix.Chown(dir, int(alice.uid), int(alice.gid)), "chown")
		check(t, unix.Chmod(path, 0o6777), "chmod")
		if !expected[featNoXattr] {
			check(t, unix.Lsetxattr(path, capability, privilege, 0), "set the capability")
		}
		as(t, who, func() {
			for _, c := range []struct {
				what string
				err  error
			}{
				{"open for writing", tryOpen(path, unix.O_RDWR, 0)},
				{"read", withFile(unix.O_RDONLY, func(n int) error { _, err := unix.Read(n, make([]byte, 10)); return err })(path)},
				{"empty write", withFile(unix.O_WRONLY, func(n int) error { _, err := unix.Write(n, nil); return err })(path)},
				{"fsync", withFile(unix.O_WRONLY, unix.Fsync)(path)},
				{"times", unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{past, past}, 0)},
				{"link", unix.Link(path, path+"-")},
				{"unlink", unix.Unlink(path)},
				{"rename", unix.Rename(path+"-", path)},
			} {
				want(t, c.err, nil, "%s as %d", c.what, who.uid)
			}
		})
		sameMode(t, path, 0o6777, "after what changes nothing, as %d", who.uid)
		if !expected[featNoXattr] {
			if got, err := getXattr(path, capability); err != nil || string(got) != string(privilege) {
				t.Errorf("the capability is %x, %v", got, err)
			}
		}
	}
}

// helpCapabilities prints the effective capabilities of the process.
func helpCapabilities() int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "CapEff:"); ok {
			fmt.Println(strings.TrimSpace(v))
		}
	}
	return 0
}

// removeCapability tries, as a user, to take away the capability of a file, which
// it sets before and afterwards. Before Linux 6.8 a kernel with the BPF security
// module forgets to refuse that.
func removeCapability(t *testing.T, path string) error {
	t.Helper()
	if err := unix.Lsetxattr(path, capability, privilege, 0); err != nil {
		t.Logf("no capabilities on the local file system (%v): the usual refusal APPLIES", err)
		return unix.EPERM
	}
	var err error
	as(t, alice, func() { err = unix.Lremovexattr(path, capability) })
	check(t, unix.Lsetxattr(path, capability, privilege, 0), "set the capability")
	return err
}

func TestAProgramHasTheCapabilitiesOfItsFile(t *testing.T) {
	dir := scratch(t)
	if !xattrsOr(t, dir) {
		return
	}
	path := installSelf(t, dir)
	var fs unix.Statfs_t
	check(t, unix.Statfs(dir, &fs), "statfs")
	run := func() string {
		out, err := helperCommand(path, "capabilities", &carol).Output()
		if exit, ok := err.(*exec.ExitError); ok {
			t.Fatalf("the program ended with %v: %s", err, exit.Stderr)
		}
		check(t, err, "run the program")
		return strings.TrimSpace(string(out))
	}
	const none, netRaw = "0000000000000000", "0000000000002000"
	if got := run(); got != none {
		t.Errorf("without capabilities of the file the program has %s", got)
	}
	check(t, unix.Lsetxattr(path, capability, privilege, 0), "set the capability")
	wanted := netRaw
	if fs.Flags&unix.ST_NOSUID != 0 {
		t.Log("mounted nosuid: only that capabilities have no effect APPLIES")
		wanted = none
	}
	if got := run(); got != wanted {
		t.Errorf("the program has capabilities %s, want %s", got, wanted)
	}
	as(t, alice, func() {
		want(t, unix.Lsetxattr(path, capability, privilege, 0), unix.EPERM, "set a capability by a user")
	})
	local, err := os.MkdirTemp("", "guesttest-")
	check(t, err, "make a local directory")
	defer os.RemoveAll(local)
	check(t, os.Chmod(local, 0o755), "open it to users")
	removal := removeCapability(t, installSelf(t, local))
	t.Logf("on the local file system, to remove a capability by a user: %s", describe(removal))
	want(t, removeCapability(t, path), removal, "remove a capability by a user")
	check(t, withFile(unix.O_WRONLY, func(n int) error {
		_, err := unix.Pwrite(n, []byte{0x7f}, 0)
		return err
	})(path), "write")
	if got := run(); got != none {
		t.Errorf("after a write the program has capabilities %s", got)
	}
}
