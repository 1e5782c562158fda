package rules

import (
	"os"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
)

// kinds are the names in the directory that TestReadOnlyIsAReadOnlyMount looks
// at; nothing has no entry.
var kinds = []string{"file", "dir", "link", "fifo", "null", "nothing"}

func populate(t *testing.T, dir string) {
	t.Helper()
	write(t, join(dir, "file"), "content")
	must(t, os.Mkdir(join(dir, "dir"), 0o755))
	must(t, os.Symlink("file", join(dir, "link")))
	must(t, unix.Mkfifo(join(dir, "fifo"), 0o644))
	must(t, unix.Mknod(join(dir, "null"), unix.S_IFCHR|0o644, int(unix.Mkdev(1, 3))))
}

// TestReadOnlyIsAReadOnlyMount makes each call on a read-only mount of the host
// and on a file system that the rule makes read-only.
func TestReadOnlyIsAReadOnlyMount(t *testing.T) {
	dir, mount := tempDir(t, ""), tempDir(t, "")
	populate(t, dir)
	must(t, unix.Mount(dir, mount, "", unix.MS_BIND, ""))
	t.Cleanup(func() { must(t, unix.Unmount(mount, unix.MNT_DETACH)) })
	must(t, unix.Mount("", mount, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	fs := ReadOnly(share(t, passthrough.Config{Path: dir, Xattr: true}))
	begin(t, fs)
	on := func(n string) string { return join(mount, n) }
	at := func(n string) int {
		fd, err := unix.Open(on(n), unix.O_RDONLY|unix.O_NONBLOCK, 0)
		must(t, err)
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}

	type call struct {
		name  string
		on    []string // names to make it with
		host  func(n string) error
		guest func(n string) syscall.Errno
	}
	there := kinds[:len(kinds)-1]
	var e vfs.Entry
	var o vfs.Opened
	var a vfs.AttrOut
	setattr := func(in vfs.SetAttr) func(string) syscall.Errno {
		return func(n string) syscall.Errno {
			return fs.Setattr(root(), lookup(t, fs, n).Node, vfs.NoHandle, &in, &a)
		}
	}
	user := func(host func(string) error, guest func(*vfs.Request, string) syscall.Errno) (func(string) error, func(string) syscall.Errno) {
		return func(n string) (err error) {
				as(t, 1000, 1000, func() { err = host(n) })
				return err
			}, func(n string) syscall.Errno {
				return guest(&vfs.Request{UID: 1000, GID: 1000}, n)
			}
	}
	x := []byte("user.x\x00")
	calls := []call{
		{"mkdir", kinds, func(n string) error { return unix.Mkdir(on(n), 0o755) },
			func(n string) syscall.Errno { return fs.Mkdir(root(), vfs.Root, name(n), 0o755, &e) }},
		{"mknod", kinds, func(n string) error { return unix.Mknod(on(n), unix.S_IFREG|0o644, 0) },
			func(n string) syscall.Errno {
				return fs.Mknod(root(), vfs.Root, name(n), unix.S_IFREG|0o644, 0, &e)
			}},
		{"symlink", kinds, func(n string) error { return unix.Symlink("t", on(n)) },
			func(n string) syscall.Errno { return fs.Symlink(root(), vfs.Root, name(n), []byte("t\x00"), &e) }},
		{"link to", kinds, func(n string) error { return unix.Link(on("file"), on(n)) },
			func(n string) syscall.Errno {
				return fs.Link(root(), lookup(t, fs, "file").Node, vfs.Root, name(n), &e)
			}},
		{"link from", there, func(n string) error { return unix.Link(on(n), on("new")) },
			func(n string) syscall.Errno {
				return fs.Link(root(), lookup(t, fs, n).Node, vfs.Root, name("new"), &e)
			}},
		{"unlink", kinds, func(n string) error { return unix.Unlink(on(n)) },
			func(n string) syscall.Errno { return fs.Unlink(root(), vfs.Root, name(n)) }},
		{"rmdir", kinds, func(n string) error { return unix.Rmdir(on(n)) },
			func(n string) syscall.Errno { return fs.Rmdir(root(), vfs.Root, name(n)) }},
		{"rename from", kinds, func(n string) error { return unix.Rename(on(n), on("new")) },
			func(n string) syscall.Errno { return fs.Rename(root(), vfs.Root, name(n), vfs.Root, name("new"), 0) }},
		{"rename to", kinds, func(n string) error { return unix.Rename(on("file"), on(n)) },
			func(n string) syscall.Errno { return fs.Rename(root(), vfs.Root, name("file"), vfs.Root, name(n), 0) }},
		{"exchange", kinds, func(n string) error {
			return unix.Renameat2(unix.AT_FDCWD, on("dir"), unix.AT_FDCWD, on(n), unix.RENAME_EXCHANGE)
		}, func(n string) syscall.Errno {
			return fs.Rename(root(), vfs.Root, name("dir"), vfs.Root, name(n), unix.RENAME_EXCHANGE)
		}},
		{"tmpfile", []string{"dir"}, func(n string) error {
			_, err := unix.Open(on(n), unix.O_TMPFILE|unix.O_RDWR, 0o600)
			return err
		}, func(n string) syscall.Errno {
			return fs.Tmpfile(root(), lookup(t, fs, n).Node, unix.O_TMPFILE|unix.O_RDWR, 0o600, &e, &o)
		}},
		{"chmod", []string{"file", "dir", "fifo", "null"}, func(n string) error { return unix.Chmod(on(n), 0o700) },
			setattr(vfs.SetAttr{Valid: vfs.SetMode, Mode: 0o700})},
		{"chown", there, func(n string) error { return unix.Lchown(on(n), 1, 1) },
			setattr(vfs.SetAttr{Valid: vfs.SetUID | vfs.SetGID, UID: 1, GID: 1})},
		{"chown to nobody", there, func(n string) error { return unix.Lchown(on(n), -1, -1) }, setattr(vfs.SetAttr{})},
		{"utimens", there, func(n string) error {
			return unix.UtimesNanoAt(unix.AT_FDCWD, on(n), make([]unix.Timespec, 2), unix.AT_SYMLINK_NOFOLLOW)
		}, setattr(vfs.SetAttr{Valid: vfs.SetAtime | vfs.SetMtime})},
		{"truncate", []string{"file"}, func(n string) error { return unix.Truncate(on(n), 1) },
			setattr(vfs.SetAttr{Valid: vfs.SetSize, Size: 1})},
		{"setxattr", there, func(n string) error { return unix.Lsetxattr(on(n), "trusted.x", []byte("v"), 0) },
			func(n string) syscall.Errno {
				return fs.Setxattr(root(), lookup(t, fs, n).Node, []byte("trusted.x\x00"), []byte("v"), 0, false)
			}},
		{"removexattr", there, func(n string) error { return unix.Lremovexattr(on(n), "trusted.x") },
			func(n string) syscall.Errno {
				return fs.Removexattr(root(), lookup(t, fs, n).Node, []byte("trusted.x\x00"))
			}},
		{"getxattr", []string{"file", "dir"}, func(n string) error {
			_, err := unix.Lgetxattr(on(n), "user.x", nil)
			return err
		}, func(n string) syscall.Errno {
			_, errno := fs.Getxattr(root(), lookup(t, fs, n).Node, x, nil)
			return errno
		}},
		{"statfs", []string{"file"}, func(n string) error { return unix.Statfs(on(n), new(unix.Statfs_t)) },
			func(n string) syscall.Errno { return fs.Statfs(root(), lookup(t, fs, n).Node, new(vfs.Statfs)) }},
		{"fsync", []string{"file"}, func(n string) error { return unix.Fsync(at(n)) },
			func(n string) syscall.Errno {
				node := lookup(t, fs, n).Node
				return fs.Fsync(root(), node, open(t, fs, node, unix.O_RDONLY), false)
			}},
		{"syncfs", []string{"file"}, func(n string) error { return unix.Syncfs(at(n)) },
			func(n string) syscall.Errno { return fs.Syncfs(root(), lookup(t, fs, n).Node) }},
	}
	for _, mask := range []uint32{0, unix.R_OK, unix.W_OK, unix.R_OK | unix.W_OK, unix.X_OK, unix.W_OK | unix.X_OK} {
		at := func(n string) error { return unix.Faccessat(unix.AT_FDCWD, on(n), mask, unix.AT_EACCESS) }
		access := func(r *vfs.Request, n string) syscall.Errno { return fs.Access(r, lookup(t, fs, n).Node, mask) }
		host, guest := user(at, access)
		calls = append(calls,
			call{"access", []string{"file", "dir", "fifo", "null"}, at, func(n string) syscall.Errno { return access(root(), n) }},
			call{"access of a user", []string{"file", "dir", "fifo", "null"}, host, guest},
		)
	}
	for _, access := range []uint32{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR, unix.O_ACCMODE} {
		for _, f := range []uint32{0, unix.O_TRUNC, unix.O_APPEND, unix.O_CREAT, unix.O_CREAT | unix.O_EXCL, unix.O_CREAT | unix.O_TRUNC} {
			flags := access | f
			host := func(n string) error {
				fd, err := unix.Open(on(n), int(flags|unix.O_NOFOLLOW|unix.O_NONBLOCK), 0o644)
				if err == nil {
					unix.Close(fd)
				}
				return err
			}
			if f&unix.O_CREAT == 0 {
				calls = append(calls, call{"open", []string{"file"}, host, func(n string) syscall.Errno {
					node := lookup(t, fs, n).Node
					errno := fs.Open(root(), node, flags, true, &o)
					if errno == 0 {
						fs.Release(root(), node, o.Handle, &vfs.ReleaseIn{})
					}
					return errno
				}})
				continue
			}
			calls = append(calls, call{"create", []string{"file", "dir", "link", "nothing"}, host, func(n string) syscall.Errno {
				errno := fs.Create(root(), vfs.Root, name(n), flags, 0o644, &e, &o)
				if errno == 0 {
					fs.Release(root(), e.Node, o.Handle, &vfs.ReleaseIn{})
					fs.Forget(e.Node, 1)
				}
				return errno
			}})
		}
	}
	node := lookup(t, fs, "file").Node
	h := open(t, fs, node, unix.O_RDONLY)
	for _, i := range ioctls {
		if i.cmd == fsIoc32GetFlags || i.cmd == fsIoc32SetFlags {
			continue // of 32-bit processes
		}
		size := 256
		if i.reads {
			size = 28
		}
		calls = append(calls, call{"ioctl", []string{"file"}, func(n string) error {
			if _, errno := oslib.Ioctl(at(n), i.cmd, make([]byte, size)); errno != 0 {
				return errno
			}
			return nil
		}, func(string) syscall.Errno {
			_, _, errno := fs.Ioctl(root(), node, h, i.cmd, 0, make([]byte, 28), make([]byte, 28))
			return errno
		}})
	}
	for i, c := range calls {
		for _, n := range c.on {
			host, guest := errnoOf(c.host(n)), c.guest(n)
			// What this host's file system or the one behind the rule has no
			// ioctl for cannot be compared.
			if c.name == "ioctl" && (host == syscall.ENOTTY || guest == syscall.ENOTTY) {
				continue
			}
			if host != guest {
				t.Errorf("%s %s (call %d): %v, but on a read-only mount %v", c.name, n, i, guest, host)
			}
		}
	}
	left, err := os.ReadDir(dir)
	must(t, err)
	if len(left) != len(there) {
		t.Errorf("there are %d entries, want %d", len(left), len(there))
	}
}

// TestReadOnlyHandles makes the calls on handles that a read-only mount never
// gets, as it opens nothing for writing.
func TestReadOnlyHandles(t *testing.T) {
	s := &spy{}
	fs := ReadOnly(s)
	r := root()
	_, errno := fs.Write(r, 2, 3, nil, 0, 0, 0)
	want(t, "Write", errno, syscall.EROFS)
	want(t, "Fallocate", fs.Fallocate(r, 2, 3, 0, 1, 0), syscall.EROFS)
	_, errno = fs.CopyFileRange(r, &vfs.CopyRange{})
	want(t, "CopyFileRange", errno, syscall.EROFS)
	for _, cmd := range []uint32{0, unix.TCGETS, 0xc0045877, 0xffffffff} {
		_, _, errno = fs.Ioctl(r, 2, 3, cmd, 0, nil, nil)
		want(t, "unknown ioctl", errno, syscall.ENOTTY)
	}
	if len(s.calls) != 0 {
		t.Errorf("the file system behind saw %v", s.calls)
	}
}

// TestReadOnlyFeatures: what is wanted is for the file system behind to say.
func TestReadOnlyFeatures(t *testing.T) {
	for _, wants := range []vfs.Features{0, vfs.FeatWriteback | vfs.FeatIDMap, vfs.FeatKillPriv, everything} {
		if got := begin(t, ReadOnly(&optional{wants: wants})); got != wants {
			t.Errorf("%#x is agreed to, want %#x", got, wants)
		}
	}
}

// TestReadOnlyCreateChecks has a user open a file, that the guest thought is
// not there, with O_CREAT.
func TestReadOnlyCreateChecks(t *testing.T) {
	dir := tempDir(t, "")
	write(t, join(dir, "public"), "")
	write(t, join(dir, "secret"), "")
	must(t, os.Chmod(join(dir, "secret"), 0o600))
	inner := share(t, passthrough.Config{Path: dir})
	fs := ReadOnly(inner)
	begin(t, fs)
	user := &vfs.Request{UID: 1000, GID: 1000}
	var e vfs.Entry
	var o vfs.Opened
	if errno := fs.Create(user, vfs.Root, name("public"), unix.O_CREAT, 0o644, &e, &o); errno != 0 {
		t.Fatal(errno)
	}
	fs.Release(user, e.Node, o.Handle, &vfs.ReleaseIn{})
	fs.Forget(e.Node, 1)
	want(t, "Create of a file that the user may not read", fs.Create(user, vfs.Root, name("secret"), unix.O_CREAT, 0o644, &e, &o), syscall.ESTALE)
	if s := inner.Stats(); s.Nodes != 1 || s.Handles != 0 {
		t.Errorf("left behind: %+v", s)
	}
}

// TestReadOnlyKeepsNothing shows that finding out what exists leaves no
// reference behind.
func TestReadOnlyKeepsNothing(t *testing.T) {
	dir := tempDir(t, "")
	write(t, join(dir, "file"), "")
	inner := share(t, passthrough.Config{Path: dir})
	fs := ReadOnly(inner)
	begin(t, fs)
	var e vfs.Entry
	want(t, "Mkdir", fs.Mkdir(root(), vfs.Root, name("file"), 0, &e), syscall.EEXIST)
	for _, flags := range []uint32{unix.O_CREAT | unix.O_EXCL, unix.O_CREAT | unix.O_RDWR} {
		if errno := fs.Create(root(), vfs.Root, name("file"), flags, 0, &e, new(vfs.Opened)); errno == 0 {
			t.Errorf("Create with %#x succeeds", flags)
		}
	}
	if s := inner.Stats(); s.Nodes != 1 || s.Handles != 0 {
		t.Errorf("left behind: %+v", s)
	}
}

// TestReadOnlyNowait has each of the calls behind a call answer that it would
// have to wait.
func TestReadOnlyNowait(t *testing.T) {
	var e vfs.Entry
	var o vfs.Opened
	r := &vfs.Request{Nowait: true}
	for _, tt := range []struct {
		blocks string
		call   func(fs vfs.FileSystem) syscall.Errno
		calls  []string
	}{
		{"Lookup", func(fs vfs.FileSystem) syscall.Errno { return fs.Mkdir(r, vfs.Root, name("a"), 0, &e) }, []string{"Lookup"}},
		{"Lookup", func(fs vfs.FileSystem) syscall.Errno { return fs.Create(r, vfs.Root, name("a"), 0, 0, &e, &o) }, []string{"Lookup"}},
		{"Access", func(fs vfs.FileSystem) syscall.Errno { return fs.Create(r, vfs.Root, name("a"), 0, 0, &e, &o) }, []string{"Lookup", "Access", "Forget"}},
		{"Open", func(fs vfs.FileSystem) syscall.Errno { return fs.Create(r, vfs.Root, name("a"), 0, 0, &e, &o) }, []string{"Lookup", "Access", "Open", "Forget"}},
		{"Getattr", func(fs vfs.FileSystem) syscall.Errno { return fs.Access(r, 2, unix.W_OK) }, []string{"Access", "Getattr"}},
	} {
		s := &spy{answer: func(call string, _ *vfs.Request) syscall.Errno {
			if call == tt.blocks {
				return vfs.WouldBlock
			}
			return 0
		}}
		want(t, tt.blocks, tt.call(ReadOnly(s)), vfs.WouldBlock)
		if !slices.Equal(s.calls, tt.calls) {
			t.Errorf("%s: calls %v, want %v", tt.blocks, s.calls, tt.calls)
		}
		if !s.req.Nowait {
			t.Errorf("%s: Nowait was lost", tt.blocks)
		}
	}
}
