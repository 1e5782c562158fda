package passthrough

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// hotCalls are calls that must not allocate once a guest is under way. Each
// leaves things as it found them.
func hotCalls(t testing.TB, fs *FS) map[string]func() syscall.Errno {
	known, unknown, absent := name(t, "known"), name(t, "unknown"), name(t, "absent")
	file := walk(t, fs, "known")
	link := walk(t, fs, "link")
	var e vfs.Entry
	var o, keep vfs.Opened
	var a vfs.AttrOut
	var x vfs.Statx
	buf := make([]byte, unix.PathMax)
	if errno := fs.Open(&root, file.Node, unix.O_RDWR, false, &keep); errno != 0 {
		t.Fatal(errno)
	}
	user := &vfs.Request{UID: 1234, GID: 5678, Groups: []uint32{1, 2}}
	return map[string]func() syscall.Errno{
		"lookup of a known name": func() syscall.Errno {
			errno := fs.Lookup(&root, vfs.Root, known, &e)
			fs.Forget(e.Node, 1)
			return errno
		},
		"lookup of an absent name": func() syscall.Errno {
			if errno := fs.Lookup(&root, vfs.Root, absent, &e); errno != syscall.ENOENT {
				return errno
			}
			return 0
		},
		"getattr":           func() syscall.Errno { return fs.Getattr(&root, file.Node, vfs.NoHandle, &a) },
		"getattr by handle": func() syscall.Errno { return fs.Getattr(&root, file.Node, keep.Handle, &a) },
		"statx":             func() syscall.Errno { return fs.Statx(&root, file.Node, vfs.NoHandle, 0, 0xfff, &x) },
		"open and release": func() syscall.Errno {
			errno := fs.Open(&root, file.Node, unix.O_RDONLY, false, &o)
			fs.Release(&root, file.Node, o.Handle, &vfs.ReleaseIn{})
			return errno
		},
		"truncating open and release": func() syscall.Errno {
			errno := fs.Open(&root, file.Node, unix.O_WRONLY|unix.O_TRUNC, true, &o)
			fs.Release(&root, file.Node, o.Handle, &vfs.ReleaseIn{})
			return errno
		},
		"readlink": func() syscall.Errno { _, errno := fs.Readlink(&root, link.Node, buf); return errno },
		"setattr": func() syscall.Errno {
			return fs.Setattr(&root, file.Node, vfs.NoHandle, &vfs.SetAttr{Valid: vfs.SetMode | vfs.SetSize | vfs.SetMtimeNow | vfs.SetUID, Mode: 0o644}, &a)
		},
		"rename and unlink": func() syscall.Errno {
			if errno := fs.Link(&root, file.Node, vfs.Root, unknown, &e); errno != 0 {
				return errno
			}
			fs.Forget(e.Node, 1)
			if errno := fs.Rename(&root, vfs.Root, unknown, vfs.Root, absent, 0); errno != 0 {
				return errno
			}
			return fs.Unlink(&root, vfs.Root, absent)
		},
		"change of identity": func() syscall.Errno {
			as, errno := fs.become(user, callerUmask)
			as.restore()
			return errno
		},
	}
}

// newCalls make nodes: each may allocate the node, and its handle's bytes.
func newCalls(t testing.TB, fs *FS) map[string]func() syscall.Errno {
	other, fresh := name(t, "other"), name(t, "fresh")
	var e vfs.Entry
	var o vfs.Opened
	return map[string]func() syscall.Errno{
		"lookup of a new name": func() syscall.Errno {
			errno := fs.Lookup(&root, vfs.Root, other, &e)
			fs.Forget(e.Node, 1)
			return errno
		},
		"create, release and unlink": func() syscall.Errno {
			if errno := fs.Create(&root, vfs.Root, fresh, unix.O_RDWR, 0o644, &e, &o); errno != 0 {
				return errno
			}
			fs.Release(&root, e.Node, o.Handle, &vfs.ReleaseIn{})
			fs.Forget(e.Node, 1)
			return fs.Unlink(&root, vfs.Root, fresh)
		},
		"mkdir and rmdir": func() syscall.Errno {
			if errno := fs.Mkdir(&root, vfs.Root, fresh, 0o755, &e); errno != 0 {
				return errno
			}
			fs.Forget(e.Node, 1)
			return fs.Rmdir(&root, vfs.Root, fresh)
		},
	}
}

func hotShare(t testing.TB, cfg Config) *FS {
	dir := tempDir(t, "/dev/shm")
	write(t, join(dir, "known"), "")
	write(t, join(dir, "other"), "")
	if err := unix.Symlink("known", join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	cfg.Path = dir
	return share(t, cfg)
}

func TestAllocs(t *testing.T) {
	for cfgName, cfg := range configs {
		t.Run(cfgName, func(t *testing.T) {
			fs := hotShare(t, cfg)
			check := func(calls map[string]func() syscall.Errno, allowed float64) {
				for what, call := range calls {
					want(t, what, call(), 0)
					if n := testing.AllocsPerRun(100, func() { call() }); n > allowed {
						t.Errorf("%s: %v allocations, want at most %v", what, n, allowed)
					}
				}
			}
			check(hotCalls(t, fs), 0)
			check(newCalls(t, fs), 2)
		})
	}
}

func BenchmarkCalls(b *testing.B) {
	for cfgName, cfg := range configs {
		fs := hotShare(b, cfg)
		for _, calls := range []map[string]func() syscall.Errno{hotCalls(b, fs), newCalls(b, fs)} {
			for what, call := range calls {
				b.Run(cfgName+"/"+what, func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						if errno := call(); errno != 0 {
							b.Fatal(errno)
						}
					}
				})
			}
		}
	}
}
