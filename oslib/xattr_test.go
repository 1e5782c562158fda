package oslib_test

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

// TestXattr takes the three families of calls through the same round.
func TestXattr(t *testing.T) {
	d, dir := openDir(t)
	fd := newFile(t, d, "f", "")
	path, name := cstr(filepath.Join(dir, "f")), cstr("f")
	if !oslib.HaveXattrat() {
		t.Fatal("getxattrat missing")
	}
	for family, c := range map[string]struct {
		get    func(attr, buf []byte) (int, syscall.Errno)
		set    func(attr, value []byte, flags int) syscall.Errno
		list   func(buf []byte) (int, syscall.Errno)
		remove func(attr []byte) syscall.Errno
	}{
		"path": {
			func(a, b []byte) (int, syscall.Errno) { return oslib.Getxattr(path, a, b) },
			func(a, v []byte, fl int) syscall.Errno { return oslib.Setxattr(path, a, v, fl) },
			func(b []byte) (int, syscall.Errno) { return oslib.Listxattr(path, b) },
			func(a []byte) syscall.Errno { return oslib.Removexattr(path, a) },
		},
		"fd": {
			func(a, b []byte) (int, syscall.Errno) { return oslib.Fgetxattr(fd, a, b) },
			func(a, v []byte, fl int) syscall.Errno { return oslib.Fsetxattr(fd, a, v, fl) },
			func(b []byte) (int, syscall.Errno) { return oslib.Flistxattr(fd, b) },
			func(a []byte) syscall.Errno { return oslib.Fremovexattr(fd, a) },
		},
		"at": {
			func(a, b []byte) (int, syscall.Errno) { return oslib.Getxattrat(d, name, 0, a, b) },
			func(a, v []byte, fl int) syscall.Errno { return oslib.Setxattrat(d, name, 0, a, v, fl) },
			func(b []byte) (int, syscall.Errno) { return oslib.Listxattrat(d, name, 0, b) },
			func(a []byte) syscall.Errno { return oslib.Removexattrat(d, name, 0, a) },
		},
	} {
		t.Run(family, func(t *testing.T) {
			attr := cstr("user.a")
			_, errno := c.get(attr, nil)
			want(t, "none yet", errno, syscall.ENODATA)
			must(t, "set", c.set(attr, []byte("value"), unix.XATTR_CREATE))
			want(t, "create again", c.set(attr, []byte("value"), unix.XATTR_CREATE), syscall.EEXIST)
			want(t, "replace another", c.set(cstr("user.b"), nil, unix.XATTR_REPLACE), syscall.ENODATA)
			buf := make([]byte, 64)
			if n, errno := c.get(attr, buf); string(buf[:n]) != "value" || errno != 0 {
				t.Errorf("got %q, %v", buf[:n], errno)
			}
			if n, errno := c.get(attr, nil); n != 5 || errno != 0 {
				t.Errorf("length %d, %v", n, errno)
			}
			_, errno = c.get(attr, buf[:4])
			want(t, "small buffer", errno, syscall.ERANGE)
			must(t, "set empty", c.set(cstr("user.b"), nil, 0))
			n, errno := c.list(buf)
			must(t, "list", errno)
			if got := string(buf[:n]); !strings.Contains(got, "user.a\x00") || !strings.Contains(got, "user.b\x00") {
				t.Errorf("listed %q", got)
			}
			if l, errno := c.list(nil); l != n || errno != 0 {
				t.Errorf("list length %d, %v, want %d", l, errno, n)
			}
			_, errno = c.get(cstr("user."+strings.Repeat("n", 251)), buf)
			want(t, "long name", errno, syscall.ERANGE)
			must(t, "remove", c.remove(attr))
			want(t, "remove again", c.remove(attr), syscall.ENODATA)
			must(t, "remove", c.remove(cstr("user.b")))
		})
	}
}
