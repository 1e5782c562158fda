package guesttest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// getXattr returns the value of an attribute of the object itself, also of a
// symbolic link.
func getXattr(path, name string) ([]byte, error) {
	buf := make([]byte, 65536)
	n, err := unix.Lgetxattr(path, name, buf)
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}

// listXattr returns the sorted names of the attributes, without those that a
// security module of the machine gives to every file.
func listXattr(t *testing.T, path string) []string {
	t.Helper()
	buf := make([]byte, 65536)
	n, err := unix.Llistxattr(path, buf)
	check(t, err, "listxattr")
	names := []string{}
	for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if name != "" && name != "security.selinux" && name != "security.SMACK64" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// xattrsOr reports whether there are extended attributes. Where there are none
// it checks that every call says so.
func xattrsOr(t *testing.T, dir string) bool {
	t.Helper()
	if !expected[featNoXattr] {
		return true
	}
	write(t, dir+"/plain", nil)
	_, err := getXattr(dir+"/plain", "user.x")
	want(t, err, unix.EOPNOTSUPP, "getxattr")
	want(t, unix.Lsetxattr(dir+"/plain", "user.x", []byte("v"), 0), unix.EOPNOTSUPP, "setxattr")
	want(t, unix.Lremovexattr(dir+"/plain", "user.x"), unix.EOPNOTSUPP, "removexattr")
	t.Log("noxattr: only the refusal APPLIES, and was checked")
	return false
}

func TestExtendedAttributesKeepNamesAndValues(t *testing.T) {
	dir := scratch(t)
	if !xattrsOr(t, dir) {
		return
	}
	tree(t, dir, "file", "dir/")
	longest := "user." + strings.Repeat("n", 250)
	values := map[string][]byte{
		"user.empty":        {},
		"user.one":          {0},
		"user.binary":       pattern(1, 0, 256),
		"user.caf\xe9 \xff": []byte("name that is not UTF-8"),
		"user.thousand":     pattern(2, 0, 1000),
		longest:             []byte("longest name"),
	}
	for _, path := range []string{dir + "/file", dir + "/dir"} {
		wanted := []string{}
		for name, value := range values {
			check(t, unix.Lsetxattr(path, name, value, 0), "setxattr %q", name)
			wanted = append(wanted, name)
		}
		slices.Sort(wanted)
		if got := listXattr(t, path); !slices.Equal(got, wanted) {
			t.Errorf("attributes %q, want %q", got, wanted)
		}
		for name, value := range values {
			if got, err := getXattr(path, name); err != nil || !bytes.Equal(got, value) {
				t.Errorf("%q is %q, %v; want %q", name, got, err, value)
			}
		}
		// With no room at all, the calls tell how much is needed.
		size, err := unix.Lgetxattr(path, "user.thousand", nil)
		if size != 1000 || err != nil {
			t.Errorf("size of a value: %d, %v", size, err)
		}
		size, err = unix.Llistxattr(path, nil)
		if err != nil || size < len(strings.Join(wanted, " "))+1 {
			t.Errorf("size of the list: %d, %v", size, err)
		}
		_, err = unix.Lgetxattr(path, "user.thousand", make([]byte, 999))
		want(t, err, unix.ERANGE, "getxattr with too little room")
		_, err = unix.Llistxattr(path, make([]byte, 10))
		want(t, err, unix.ERANGE, "listxattr with too little room")

		for name := range values {
			check(t, unix.Lremovexattr(path, name), "removexattr %q", name)
			_, err := getXattr(path, name)
			want(t, err, unix.ENODATA, "getxattr of the removed %q", name)
		}
		if got := listXattr(t, path); len(got) != 0 {
			t.Errorf("left: %q", got)
		}
	}
}

func TestExtendedAttributeCallsFollowTheirRules(t *testing.T) {
	dir := scratch(t)
	if !xattrsOr(t, dir) {
		return
	}
	tree(t, dir, "file")
	path := dir + "/file"
	check(t, unix.Symlink("file", dir+"/link"), "symlink")
	check(t, unix.Mkfifo(dir+"/fifo", 0o644), "mkfifo")
	v := []byte("value")
	for _, c := range []struct {
		what string
		got  error
		err  error
	}{
		{"replace what is not there", unix.Lsetxattr(path, "user.x", v, unix.XATTR_REPLACE), unix.ENODATA},
		{"create", unix.Lsetxattr(path, "user.x", v, unix.XATTR_CREATE), nil},
		{"create again", unix.Lsetxattr(path, "user.x", v, unix.XATTR_CREATE), unix.EEXIST},
		{"replace", unix.Lsetxattr(path, "user.x", []byte("new"), unix.XATTR_REPLACE), nil},
		{"unknown flags", unix.Lsetxattr(path, "user.x", v, 8), unix.EINVAL},
		{"remove what is not there", unix.Lremovexattr(path, "user.y"), unix.ENODATA},
		{"a name of 256 bytes", unix.Lsetxattr(path, "user."+strings.Repeat("n", 251), v, 0), unix.ERANGE},
		{"a name without a class", unix.Lsetxattr(path, "name", v, 0), unix.EOPNOTSUPP},
		{"a value of 65,537 bytes", unix.Lsetxattr(path, "user.big", make([]byte, 65537), 0), unix.E2BIG},
		{"user. on a symbolic link", unix.Lsetxattr(dir+"/link", "user.x", v, 0), unix.EPERM},
		{"user. on a fifo", unix.Lsetxattr(dir+"/fifo", "user.x", v, 0), unix.EPERM},
		{"a file that is not there", unix.Lsetxattr(dir+"/none", "user.x", v, 0), unix.ENOENT},
		{"through a link", unix.Setxattr(dir+"/link", "user.link", v, 0), nil},
	} {
		want(t, c.got, c.err, "%s", c.what)
	}
	if got := listXattr(t, path); !slices.Equal(got, []string{"user.link", "user.x"}) {
		t.Errorf("attributes %q", got)
	}
	if got, err := getXattr(path, "user.x"); string(got) != "new" {
		t.Errorf("value %q, %v", got, err)
	}
	// Attributes belong to the file, not to its name or descriptor.
	f := open(t, path, unix.O_RDONLY, 0)
	check(t, unix.Fsetxattr(fd(f), "user.f", v, 0), "fsetxattr on a file open for reading")
	check(t, unix.Rename(path, dir+"/moved"), "rename")
	if got, err := getXattr(dir+"/moved", "user.f"); string(got) != "value" {
		t.Errorf("after rename: %q, %v", got, err)
	}
	check(t, unix.Unlink(dir+"/moved"), "unlink")
	buf := make([]byte, 100)
	n, err := unix.Fgetxattr(fd(f), "user.f", buf)
	if err != nil || string(buf[:n]) != "value" {
		t.Errorf("of an unlinked file: %q, %v", buf[:max(n, 0)], err)
	}

	write(t, dir+"/other", nil)
	as(t, bob, func() {
		want(t, unix.Lsetxattr(dir+"/other", "user.x", v, 0), unix.EACCES, "setxattr without the right to write")
		want(t, unix.Lsetxattr(dir+"/other", "trusted.x", v, 0), unix.EPERM, "setxattr of trusted. by a user")
		_, err := getXattr(dir+"/other", "user.none")
		want(t, err, unix.ENODATA, "getxattr with the right to read")
	})
}

func TestTrustedAndSecurityAttributesAreForEveryKindOfFile(t *testing.T) {
	dir := scratch(t)
	if !xattrsOr(t, dir) {
		return
	}
	tree(t, dir, "file", "dir/")
	check(t, unix.Symlink("nowhere", dir+"/link"), "symlink")
	check(t, unix.Mkfifo(dir+"/fifo", 0o644), "mkfifo")
	check(t, unix.Mknod(dir+"/char", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))), "mknod")
	names := []string{"security.isthmus_test", "trusted.isthmus_test"}
	for _, base := range []string{"file", "dir", "link", "fifo", "char"} {
		path := dir + "/" + base
		if expected[featNoTrusted] {
			for _, name := range names {
				want(t, unix.Lsetxattr(path, name, []byte("v"), 0), unix.EPERM, "setxattr %s of a %s", name, base)
			}
			continue
		}
		for _, name := range names {
			value := fmt.Append(nil, name, " of a ", base)
			check(t, unix.Lsetxattr(path, name, value, 0), "setxattr %s of a %s", name, base)
			if got, err := getXattr(path, name); err != nil || !bytes.Equal(got, value) {
				t.Errorf("%s of a %s is %q, %v", name, base, got, err)
			}
		}
		if got := listXattr(t, path); !slices.Equal(got, names) {
			t.Errorf("attributes of a %s: %q", base, got)
		}
		for _, name := range names {
			check(t, unix.Lremovexattr(path, name), "removexattr %s of a %s", name, base)
		}
	}
	absent(t, dir+"/nowhere")
}

func TestFileCapabilitiesEndWithAChangeOfTheFile(t *testing.T) {
	dir := scratch(t)
	if !xattrsOr(t, dir) {
		return
	}
	path := dir + "/f"
	// struct vfs_ns_cap_data of revision 2: CAP_NET_RAW, permitted and effective.
	capability := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	for _, c := range []struct {
		what string
		do   func() error
	}{
		{"write", func() error {
			f := open(t, path, unix.O_WRONLY, 0)
			defer f.Close()
			_, err := f.WriteAt([]byte("x"), 0)
			return err
		}},
		{"truncate", func() error { return unix.Truncate(path, 1) }},
		{"chown", func() error { return unix.Chown(path, 1, 1) }},
	} {
		write(t, path, []byte("text"))
		check(t, unix.Lsetxattr(path, "security.capability", capability, 0), "setxattr")
		if got, err := getXattr(path, "security.capability"); err != nil || !bytes.Equal(got, capability) {
			t.Errorf("capability is %x, %v", got, err)
		}
		check(t, c.do(), "%s", c.what)
		_, err := getXattr(path, "security.capability")
		want(t, err, unix.ENODATA, "getxattr of the capability after %s", c.what)
		check(t, unix.Unlink(path), "unlink")
	}
}
