package vfstest

import (
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// xattrScenarios use extended attributes of all node types and sizes.
func xattrScenarios(s *suite) []scenario {
	made, names := s.kinds()
	each := append([]op{}, made...)
	for _, n := range names {
		// A host has user.* only on files and directories; the errno for
		// the others is its own.
		for _, x := range []string{"user.one", "trusted.one", "security.one"} {
			each = append(each, whatever(setxattr(n, x, "value of "+n, 0)), whatever(getxattr(n, x, 100)),
				whatever(getxattr(n, x, 0)), listxattr(n, 1000), listxattr(n, 0))
		}
		each = append(each, whatever(removexattr(n, "trusted.one")), listxattr(n, 1000), fails(syscall.ENODATA, getxattr(n, "trusted.one", 10)))
	}
	sizes := []op{mkfile("f", "", 0o644), mkdir("d", 0o755)}
	for _, n := range []int{0, 1, 2, 63, 64, 255, 256, 1000, 2000, 3000} {
		v := pattern(n)
		for _, p := range []string{"f", "d"} {
			sizes = append(sizes, setxattr(p, "user.sized", v, 0), getxattr(p, "user.sized", 0), getxattr(p, "user.sized", 1<<16), getxattr(p, "user.sized", n))
			if n > 1 {
				sizes = append(sizes, fails(syscall.ERANGE, getxattr(p, "user.sized", n-1)), fails(syscall.ERANGE, getxattr(p, "user.sized", 1)))
			}
		}
	}
	for _, n := range []int{4000, 20000, 65535, 65536, 65537} {
		sizes = append(sizes, whatever(setxattr("f", "user.sized", pattern(n), 0)), getxattr("f", "user.sized", 1<<16))
	}
	many := []op{mkfile("f", "", 0o644)}
	for i := range 40 {
		many = append(many, setxattr("f", "user."+strings.Repeat("n", i+1), "v", 0))
	}
	many = append(many, listxattr("f", 0), listxattr("f", 1<<16), fails(syscall.ERANGE, listxattr("f", 1)), fails(syscall.ERANGE, listxattr("f", 100)))
	list := []scenario{
		{"every type", each},
		{"sizes", sizes},
		{"many", many},
		{"flags", []op{
			mkfile("f", "", 0o644), fails(syscall.ENODATA, setxattr("f", "user.a", "1", unix.XATTR_REPLACE)),
			setxattr("f", "user.a", "1", unix.XATTR_CREATE), fails(syscall.EEXIST, setxattr("f", "user.a", "2", unix.XATTR_CREATE)),
			setxattr("f", "user.a", "3", unix.XATTR_REPLACE), getxattr("f", "user.a", 10), fails(syscall.EINVAL, setxattr("f", "user.a", "4", 4)),
			whatever(setxattr("f", "user.a", "5", 3)), removexattr("f", "user.a"), fails(syscall.ENODATA, removexattr("f", "user.a")),
		}},
		{"names", []op{
			mkfile("f", "", 0o644), setxattr("f", "user."+strings.Repeat("x", 250), "long", 0), listxattr("f", 1000),
			fails(syscall.ERANGE, setxattr("f", "user."+strings.Repeat("x", 251), "v", 0)),
			fails(syscall.ERANGE, getxattr("f", "user."+strings.Repeat("x", 251), 10)), fails(syscall.ERANGE, removexattr("f", "user."+strings.Repeat("x", 251))),
			setxattr("f", "user.\xff\xfe \n", "bytes", 0), listxattr("f", 1000), getxattr("f", "user.\xff\xfe \n", 10),
			whatever(setxattr("f", "user.", "v", 0)), whatever(setxattr("f", "", "v", 0)), whatever(getxattr("f", "", 10)),
			fails(syscall.EOPNOTSUPP, setxattr("f", "nonsense.x", "v", 0)), fails(syscall.EOPNOTSUPP, setxattr("f", "plain", "v", 0)),
			fails(syscall.EOPNOTSUPP, getxattr("f", "nonsense.x", 10)), fails(syscall.EOPNOTSUPP, removexattr("f", "nonsense.x")),
		}},
		{"with the file", []op{
			mkfile("f", "", 0o644), setxattr("f", "user.a", "kept", 0), rename("f", "g", 0), getxattr("g", "user.a", 10), chmod("g", 0), getxattr("g", "user.a", 10),
			setxattr("g", "user.a", "changed", 0), mkfile("f", "", 0o644), rename("f", "g", 0), listxattr("g", 100),
		}},
	}
	if s.feat.Has(vfs.FeatPOSIXACL) {
		// user::rw- group::r-- group:1000:rw- mask::rw- other::---
		acl := "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x04\x00\x04\x00\xff\xff\xff\xff" +
			"\x08\x00\x06\x00\xe8\x03\x00\x00" + "\x10\x00\x06\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff"
		list = append(list, scenario{"access control lists", []op{
			mkfile("f", "", 0o644), mkdir("d", 0o755), setxattr("f", "system.posix_acl_access", acl, 0), stat("f"), listxattr("f", 1000),
			setxattr("d", "system.posix_acl_default", acl, 0), mkfile("d/f", "", 0o666), listxattr("d/f", 100), stat("d/f"), mkdir("d/d", 0o777), stat("d/d"),
			by(caller{umask: 0o077}, mkfile("d/g", "", 0o666)), stat("d/g"), getxattr("d/g", "system.posix_acl_access", 100),
			removexattr("f", "system.posix_acl_access"), chmod("f", 0o600), whatever(setxattr("f", "system.posix_acl_access", "junk", 0)),
		}})
	}
	return list
}

// testSecurity makes objects that have a security attribute from the start.
func (s *suite) testSecurity(t *testing.T) {
	if !s.feat.Has(vfs.FeatSecurityContext) {
		return
	}
	c := s.root(t)
	label := []byte("label of its own\x00")
	r := vfs.Request{Security: []vfs.SecurityContext{{Name: []byte("security.isthmus\x00"), Value: label}}}
	var o vfs.Opened
	for _, tt := range []struct {
		name string
		call func(n vfs.Name, e *vfs.Entry) syscall.Errno
	}{
		{"mkdir", func(n vfs.Name, e *vfs.Entry) syscall.Errno { return s.FS.Mkdir(&r, vfs.Root, n, 0o755, e) }},
		{"mknod", func(n vfs.Name, e *vfs.Entry) syscall.Errno {
			return s.FS.Mknod(&r, vfs.Root, n, unix.S_IFREG|0o644, 0, e)
		}},
		{"symlink", func(n vfs.Name, e *vfs.Entry) syscall.Errno { return s.FS.Symlink(&r, vfs.Root, n, []byte("t\x00"), e) }},
		{"create", func(n vfs.Name, e *vfs.Entry) syscall.Errno {
			return s.FS.Create(&r, vfs.Root, n, creat|excl|rdwr, 0o644, e, &o)
		}},
	} {
		var e vfs.Entry
		if errno := tt.call(name(tt.name), &e); errno != 0 {
			t.Errorf("%s with a security context: %s", tt.name, errnoName(errno))
			continue
		}
		if v, _, errno := c.getxattr(tt.name, "security.isthmus", 100); errno != 0 || v != string(label) {
			t.Errorf("%s: the context is %q, %s; want %q", tt.name, v, errnoName(errno), label)
		}
		if tt.name == "create" {
			s.FS.Release(&r, e.Node, o.Handle, &vfs.ReleaseIn{})
		}
		s.FS.Forget(e.Node, 1)
	}
}

// testXattrRemoved uses the attributes of a file that is open but has no name.
func (s *suite) testXattrRemoved(t *testing.T) {
	c := s.root(t)
	f, errno := c.open("nameless", creat|rdwr, 0o644)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer f.close()
	c.unlink("nameless")
	node, x, buf := f.(*openFile).node, []byte("user.a\x00"), make([]byte, 100)
	if errno := s.FS.Setxattr(&vfs.Request{}, node, x, []byte("v"), 0, false); errno != 0 {
		t.Errorf("Setxattr: %s", errnoName(errno))
	}
	if n, errno := s.FS.Getxattr(&vfs.Request{}, node, x, buf); errno != 0 || string(buf[:n]) != "v" {
		t.Errorf("Getxattr: %q, %s", buf[:n], errnoName(errno))
	}
	if n, errno := s.FS.Listxattr(&vfs.Request{}, node, buf); errno != 0 || n < len(x) {
		t.Errorf("Listxattr: %q, %s", buf[:n], errnoName(errno))
	}
	if errno := s.FS.Removexattr(&vfs.Request{}, node, x); errno != 0 {
		t.Errorf("Removexattr: %s", errnoName(errno))
	}
}
