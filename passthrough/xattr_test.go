package passthrough

import (
	"bytes"
	"encoding/binary"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

func cstr(s string) []byte { return append([]byte(s), 0) }

// eachXattrCall runs a test with the calls of new kernels and with those of old
// ones, there with and without /proc in sight.
func eachXattrCall(t *testing.T, f func(t *testing.T, cfg Config)) {
	t.Run("at", func(t *testing.T) {
		if !oslib.HaveXattrat() {
			t.Fatal("this kernel has no getxattrat")
		}
		f(t, Config{})
	})
	t.Run("path", func(t *testing.T) {
		withoutXattrat(t)
		f(t, Config{})
	})
	t.Run("relative path", func(t *testing.T) {
		withoutXattrat(t)
		procSelfFD := inProcSelfFD(t)
		f(t, Config{ProcSelfFD: procSelfFD})
	})
}

func withoutXattrat(t *testing.T) {
	haveXattrat = func() bool { return false }
	t.Cleanup(func() { haveXattrat = oslib.HaveXattrat })
}

// inProcSelfFD has the rest of the test run on a thread that works in
// /proc/self/fd: threads that have taken a umask of their own have a working
// directory of their own too.
func inProcSelfFD(t *testing.T) *os.File {
	runtime.LockOSThread()
	fd, err := unix.Open("/proc/self/fd", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "/proc/self/fd")
	old, err := unix.Open(".", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Fchdir(fd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Fchdir(old); err != nil {
			t.Fatal(err)
		}
		unix.Close(old)
		if err := f.Close(); err != nil {
			t.Errorf("the file system closed what is not its own: %v", err)
		}
		runtime.UnlockOSThread()
	})
	return f
}

// TestXattrTypes: attributes are those of the object itself, whatever it is.
func TestXattrTypes(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		write(t, join(dir, "file"), "")
		for _, err := range []error{
			os.Mkdir(join(dir, "dir"), 0o755),
			os.Symlink("file", join(dir, "link")),
			os.Symlink("/nowhere", join(dir, "dangling")),
			unix.Mkfifo(join(dir, "fifo"), 0o600),
			unix.Mknod(join(dir, "char"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))),
			unix.Mknod(join(dir, "block"), unix.S_IFBLK|0o600, int(unix.Mkdev(250, 3))),
			unix.Mknod(join(dir, "socket"), unix.S_IFSOCK|0o600, 0),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		eachXattrCall(t, func(t *testing.T, cfg Config) {
			cfg.Path, cfg.Xattr = dir, true
			fs := share(t, cfg)
			attr := cstr("trusted.isthmus")
			for _, name := range []string{"file", "dir", "link", "dangling", "fifo", "char", "block", "socket"} {
				id := walk(t, fs, name).Node
				_, errno := fs.Getxattr(&root, id, attr, nil)
				want(t, name+": none yet", errno, syscall.ENODATA)
				want(t, name+": set", fs.Setxattr(&root, id, attr, []byte("of "+name), unix.XATTR_CREATE, false), 0)
				host := make([]byte, 64)
				n, err := unix.Lgetxattr(join(dir, name), "trusted.isthmus", host)
				if err != nil || string(host[:n]) != "of "+name {
					t.Errorf("%s: the host has %q, %v", name, host[:max(n, 0)], err)
				}
				buf := make([]byte, 64)
				n, errno = fs.Getxattr(&root, id, attr, buf)
				if errno != 0 || string(buf[:n]) != "of "+name {
					t.Errorf("%s: got %q, %v", name, buf[:n], errno)
				}
				n, errno = fs.Getxattr(&root, id, attr, nil)
				if n != len("of "+name) || errno != 0 {
					t.Errorf("%s: length %d, %v", name, n, errno)
				}
				n, errno = fs.Listxattr(&root, id, buf)
				if errno != 0 || !strings.Contains(string(buf[:n]), "trusted.isthmus\x00") {
					t.Errorf("%s: listed %q, %v", name, buf[:n], errno)
				}
				want(t, name+": remove", fs.Removexattr(&root, id, attr), 0)
				want(t, name+": remove again", fs.Removexattr(&root, id, attr), syscall.ENODATA)
			}
		})
	})
}

func TestXattrErrors(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		write(t, join(dir, "f"), "")
		off := share(t, Config{Path: dir})
		for what, errno := range xattrCalls(off, vfs.Root, cstr("user.a"), nil) {
			want(t, what+" while off", errno, syscall.ENOSYS)
		}
		_, errno := off.Listxattr(&root, vfs.Root, nil)
		want(t, "list while off", errno, syscall.ENOSYS)

		eachXattrCall(t, func(t *testing.T, cfg Config) {
			cfg.Path, cfg.Xattr = dir, true
			fs := share(t, cfg)
			id := walk(t, fs, "f").Node
			for _, c := range []struct {
				what  string
				id    vfs.NodeID
				name  []byte
				errno syscall.Errno
			}{
				{"stale", 1 << 40, cstr("user.a"), syscall.ESTALE},
				{"nil", id, nil, syscall.EINVAL},
				{"no NUL", id, []byte("user.a"), syscall.EINVAL},
				{"NUL inside", id, []byte("user.a\x00b\x00"), syscall.EINVAL},
				{"empty", id, []byte{0}, syscall.ERANGE},
				{"too long", id, cstr("user." + strings.Repeat("x", 251)), syscall.ERANGE},
				{"no prefix", id, cstr("a"), syscall.EOPNOTSUPP},
				{"access ACL", id, cstr(aclAccess), syscall.ENOTSUP},
				{"default ACL", id, cstr(aclDefault), syscall.ENOTSUP},
				{"longest", id, cstr("trusted." + strings.Repeat("x", 247)), syscall.ENODATA},
			} {
				for what, errno := range xattrCalls(fs, c.id, c.name, nil) {
					if c.what == "longest" && what == "set" {
						continue
					}
					want(t, what+", "+c.what, errno, c.errno)
				}
			}
			attr := cstr("trusted.a")
			want(t, "value too large", fs.Setxattr(&root, id, attr, make([]byte, 64<<10+1), 0, false), syscall.E2BIG)
			want(t, "flags", fs.Setxattr(&root, id, attr, nil, 4, false), syscall.EINVAL)
			want(t, "both flags", fs.Setxattr(&root, id, attr, nil, unix.XATTR_CREATE|unix.XATTR_REPLACE, false), syscall.ENODATA)
			want(t, "replace nothing", fs.Setxattr(&root, id, attr, nil, unix.XATTR_REPLACE, false), syscall.ENODATA)
			want(t, "set", fs.Setxattr(&root, id, attr, []byte("12345"), 0, false), 0)
			want(t, "create again", fs.Setxattr(&root, id, attr, nil, unix.XATTR_CREATE, false), syscall.EEXIST)
			_, errno := fs.Getxattr(&root, id, attr, make([]byte, 4))
			want(t, "small buffer", errno, syscall.ERANGE)
			_, errno = fs.Listxattr(&root, id, make([]byte, 4))
			want(t, "small buffer for the list", errno, syscall.ERANGE)
			if n, errno := fs.Listxattr(&root, id, nil); errno != 0 || n < len(attr) {
				t.Errorf("length of the list: %d, %v", n, errno)
			}
			want(t, "remove", fs.Removexattr(&root, id, attr), 0)
		})
	})
}

// xattrCalls makes the calls that take a name.
func xattrCalls(fs *FS, id vfs.NodeID, name, value []byte) map[string]syscall.Errno {
	_, get := fs.Getxattr(&root, id, name, nil)
	return map[string]syscall.Errno{
		"get":    get,
		"remove": fs.Removexattr(&root, id, name),
		"set":    fs.Setxattr(&root, id, name, value, unix.XATTR_REPLACE, false),
	}
}

// accessACL is one that gives a user of its own some rights.
func accessACL() []byte {
	acl := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 7, ^uint32(0)}, {2, 5, 1234}, {4, 5, ^uint32(0)}, {0x10, 5, ^uint32(0)}, {0x20, 4, ^uint32(0)}} {
		acl = binary.LittleEndian.AppendUint16(acl, e.tag)
		acl = binary.LittleEndian.AppendUint16(acl, e.perm)
		acl = binary.LittleEndian.AppendUint32(acl, e.id)
	}
	return acl
}

func TestACL(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		path := join(dir, "f")
		write(t, path, "")
		if err := unix.Chmod(path, 0o2755); err != nil {
			t.Fatal(err)
		}
		fs := share(t, Config{Path: dir, Xattr: true})
		withACL, err := New(Config{Path: dir, PosixACL: NegotiateAlways, Logger: fs.log})
		if err != nil {
			t.Fatal(err)
		}
		defer withACL.Close()
		if _, errno := withACL.Init(everything); errno != 0 {
			t.Fatal(errno)
		}
		id, plain := walk(t, withACL, "f").Node, walk(t, fs, "f").Node
		name, acl := cstr(aclAccess), accessACL()

		want(t, "set", withACL.Setxattr(&root, id, name, acl, 0, false), 0)
		if mode := modeOf(t, path); mode != 0o2754 {
			t.Errorf("mode %o after an ACL", mode)
		}
		buf := make([]byte, 256)
		n, errno := withACL.Getxattr(&root, id, name, buf)
		if errno != 0 || !bytes.Equal(buf[:n], acl) {
			t.Errorf("got %x, %v", buf[:n], errno)
		}
		if n, _ = withACL.Listxattr(&root, id, buf); !strings.Contains(string(buf[:n]), aclAccess) {
			t.Errorf("listed %q", buf[:n])
		}
		_, errno = fs.Getxattr(&root, plain, name, buf)
		want(t, "get where not agreed", errno, syscall.ENOTSUP)
		if n, _ = fs.Listxattr(&root, plain, buf); strings.Contains(string(buf[:n]), "posix_acl") {
			t.Errorf("listed where not agreed: %q", buf[:n])
		}
		want(t, "set, kill", withACL.Setxattr(&root, id, name, acl, 0, true), 0)
		if mode := modeOf(t, path); mode != 0o754 {
			t.Errorf("mode %o after an ACL that clears setgid", mode)
		}
		if _, errno = withACL.Getxattr(&root, id, name, buf); errno != 0 {
			t.Errorf("the ACL went with setgid: %v", errno)
		}
		if err := unix.Chmod(path, 0o2754); err != nil {
			t.Fatal(err)
		}
		want(t, "set another, kill", withACL.Setxattr(&root, id, cstr("trusted.a"), acl, 0, true), 0)
		if mode := modeOf(t, path); mode != 0o2754 {
			t.Errorf("mode %o after another attribute", mode)
		}
	})
}

func TestWithoutACLs(t *testing.T) {
	for in, exp := range map[string]string{
		"":                                   "",
		"user.a\x00":                         "user.a\x00",
		aclAccess + "\x00":                   "",
		aclAccess + "\x00user.a\x00":         "user.a\x00",
		"a\x00" + aclDefault + "\x00b\x00":   "a\x00b\x00",
		"system.posix_acl\x00":               "system.posix_acl\x00",
		aclAccess + "s\x00" + "cut off here": aclAccess + "s\x00",
	} {
		b := []byte(in)
		if got := b[:withoutACLs(b)]; string(got) != exp {
			t.Errorf("%q: %q, want %q", in, got, exp)
		}
	}
}

func FuzzWithoutACLs(f *testing.F) {
	f.Add([]byte("user.a\x00" + aclAccess + "\x00"))
	f.Add([]byte("\x00\x00"))
	f.Add([]byte("unterminated"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var exp []byte
		for _, name := range bytes.SplitAfter(bytes.Clone(b), []byte{0}) {
			if bytes.HasSuffix(name, []byte{0}) && !isACL(name[:len(name)-1]) {
				exp = append(exp, name...)
			}
		}
		if got := b[:withoutACLs(b)]; !bytes.Equal(got, exp) {
			t.Errorf("%q, want %q", got, exp)
		}
	})
}
