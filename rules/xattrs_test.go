package rules

import (
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
)

// mapped shares a directory with one file, "file", through a map.
func mapped(t testing.TB, rules string, cfg passthrough.Config) (fs vfs.FileSystem, path string, node vfs.NodeID) {
	t.Helper()
	dir := tempDir(t, "/dev/shm")
	path = join(dir, "file")
	write(t, path, "content")
	cfg.Path, cfg.Xattr = dir, true
	fs = MapXattrs(share(t, cfg), parse(t, rules))
	begin(t, fs)
	return fs, path, lookup(t, fs, "file").Node
}

func hostNames(t testing.TB, path string) []string {
	t.Helper()
	buf := make([]byte, 1<<16)
	n, err := unix.Llistxattr(path, buf)
	must(t, err)
	return splitNames(buf[:n])
}

func splitNames(list []byte) []string {
	if len(list) == 0 {
		return nil
	}
	names := strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00")
	slices.Sort(names)
	return names
}

func TestMapXattrs(t *testing.T) {
	fs, path, node := mapped(t, mapTrusted, passthrough.Config{})
	r := root()
	buf := make([]byte, 100)
	set := func(name string) syscall.Errno {
		return fs.Setxattr(r, node, []byte(name+"\x00"), []byte("value of "+name), 0, false)
	}
	get := func(name string) (string, syscall.Errno) {
		n, errno := fs.Getxattr(r, node, []byte(name+"\x00"), buf)
		return string(buf[:n]), errno
	}
	for _, n := range []string{"user.a", "trusted.a"} {
		want(t, "set "+n, set(n), 0)
		if v, errno := get(n); errno != 0 || v != "value of "+n {
			t.Errorf("%s is %q, %v", n, v, errno)
		}
	}
	want(t, "set user.virtiofs.a", set("user.virtiofs.a"), syscall.EPERM)
	_, errno := get("user.virtiofs.trusted.a")
	want(t, "get user.virtiofs.trusted.a", errno, syscall.ENODATA)
	want(t, "remove user.virtiofs.a", fs.Removexattr(r, node, []byte("user.virtiofs.a\x00")), syscall.EPERM)
	must(t, unix.Setxattr(path, "trusted.host", nil, 0))
	must(t, unix.Setxattr(path, "user.virtiofs.user.b", nil, 0))
	if got := hostNames(t, path); !slices.Equal(got, []string{"trusted.host", "user.a", "user.virtiofs.trusted.a", "user.virtiofs.user.b"}) {
		t.Errorf("the host has %q", got)
	}
	n, errno := fs.Listxattr(r, node, buf)
	want(t, "list", errno, 0)
	if got := splitNames(buf[:n]); !slices.Equal(got, []string{"trusted.a", "user.a"}) {
		t.Errorf("the guest has %q", got)
	}
	want(t, "remove", fs.Removexattr(r, node, []byte("trusted.a\x00")), 0)
	want(t, "remove again", fs.Removexattr(r, node, []byte("trusted.a\x00")), syscall.ENODATA)
}

// TestMapXattrsListSizes lists with every size of buffer: what the guest is
// told suffices, does.
func TestMapXattrsListSizes(t *testing.T) {
	for _, rules := range []string{mapAll, ":map:security.capability:user.:", hideSecurity, ":bad:all:::", ":ok:all:::", mapTrusted} {
		fs, path, node := mapped(t, rules, passthrough.Config{})
		for _, n := range []string{"user.virtiofs.user.a", "user.virtiofs.trusted.b", "user.b", "trusted.c", "security.d", "user.virtiofs.x"} {
			must(t, unix.Setxattr(path, n, nil, 0))
		}
		size, errno := fs.Listxattr(root(), node, nil)
		want(t, "size", errno, 0)
		for room := 1; room < 200; room++ {
			buf := make([]byte, room)
			n, errno := fs.Listxattr(root(), node, buf)
			switch {
			case room < size && errno != syscall.ERANGE:
				t.Errorf("%q: room for %d of %d: %d, %v", rules, room, size, n, errno)
			case room >= size && (errno != 0 || n != size):
				t.Errorf("%q: room for %d of %d: %d, %v", rules, room, size, n, errno)
			case errno == 0 && n > 0 && buf[n-1] != 0:
				t.Errorf("%q: the list %q does not end", rules, buf[:n])
			}
		}
	}
}

func TestMapXattrsBadNames(t *testing.T) {
	s := &spy{}
	fs := MapXattrs(s, parse(t, ":prefix:all:user.:v.:\n:unsupported:all:none.::\n:bad:all:bad.::\n:ok:all:::"))
	const atMost = maxXattrName - len("v.user.")
	for _, tt := range []struct {
		name string
		set  syscall.Errno
		get  syscall.Errno
	}{
		{"", syscall.EINVAL, syscall.EINVAL},
		{"user.a", syscall.EINVAL, syscall.EINVAL},
		{"user.\x00a\x00", syscall.EINVAL, syscall.EINVAL},
		{"\x00", syscall.ERANGE, syscall.ERANGE},
		{"none.a\x00", syscall.ENOTSUP, syscall.ENOTSUP},
		{"bad.a\x00", syscall.EPERM, syscall.ENODATA},
		{"user." + strings.Repeat("x", atMost) + "\x00", 0, 0},
		{"user." + strings.Repeat("x", atMost+1) + "\x00", syscall.ERANGE, syscall.ERANGE},
		{"user." + strings.Repeat("x", 1000) + "\x00", syscall.ERANGE, syscall.ERANGE},
		{strings.Repeat("x", maxXattrName) + "\x00", 0, 0},
		{strings.Repeat("x", maxXattrName+1) + "\x00", syscall.ERANGE, syscall.ERANGE},
	} {
		s.calls = nil
		n := []byte(tt.name)
		want(t, "set "+tt.name, fs.Setxattr(root(), 2, n, nil, 0, false), tt.set)
		want(t, "remove "+tt.name, fs.Removexattr(root(), 2, n), tt.set)
		_, errno := fs.Getxattr(root(), 2, n, nil)
		want(t, "get "+tt.name, errno, tt.get)
		if tt.set != 0 && len(s.calls) != 0 {
			t.Errorf("%q reached the file system behind: %v", tt.name, s.calls)
		}
	}
}

// TestMapXattrsACLs has access control lists refused by whatever name, unless
// they were agreed on.
func TestMapXattrsACLs(t *testing.T) {
	for _, agreed := range []bool{true, false} {
		s := &spy{}
		fs := MapXattrs(s, parse(t, ":prefix:all::user.:"))
		offered, errno := vfs.FeatSetxattrExt, syscall.ENOTSUP
		if agreed {
			offered, errno = offered|vfs.FeatPOSIXACL, 0
		}
		fs.Init(offered)
		for _, n := range []string{"system.posix_acl_access", "system.posix_acl_default"} {
			want(t, "set "+n, fs.Setxattr(root(), 2, []byte(n+"\x00"), nil, 0, true), errno)
		}
		want(t, "set another", fs.Setxattr(root(), 2, []byte("system.posix_acl\x00"), nil, 0, true), 0)
		list := []byte("user.system.posix_acl_access\x00user.a\x00")
		if n := fs.(*capabilityFS).m.toClient(list, agreed); (n > 2) != agreed {
			t.Errorf("agreed is %v, but the list is %q", agreed, list[:n])
		}
	}
}

func TestMapXattrsLabels(t *testing.T) {
	many := make([]vfs.SecurityContext, 2*maxContexts)
	for i := range many {
		many[i] = vfs.SecurityContext{Name: []byte("security." + strings.Repeat("x", 200) + "\x00"), Value: []byte{byte(i)}}
	}
	one := []vfs.SecurityContext{{Name: []byte("security.selinux\x00"), Value: []byte("label")}, {Name: []byte("user.a\x00")}}
	for callName, call := range map[string]func(vfs.FileSystem, *vfs.Request) syscall.Errno{
		"Symlink": actingCalls["Symlink"], "Mknod": actingCalls["Mknod"], "Mkdir": actingCalls["Mkdir"],
		"Create": actingCalls["Create"], "Tmpfile": actingCalls["Tmpfile"],
	} {
		for _, tt := range []struct {
			rules    string
			contexts []vfs.SecurityContext
			add      string
			errno    syscall.Errno
		}{
			{":map:security.:trusted.v.:", one[:1], "trusted.v.", 0},
			{":map::u.:", one, "u.", 0},
			{":ok:all:::", one, "", 0},
			{":map::u.:", many, "u.", 0},
			{":map::u.:", nil, "", 0},
			{":ok:all:user.:user.:", one, "", syscall.EPERM},
			{":unsupported:all:user.:user.: :ok:all:::", one, "", syscall.ENOTSUP},
			{":map::" + strings.Repeat("u", 250) + ":", one, "", syscall.ERANGE},
		} {
			s := &spy{}
			fs := MapXattrs(s, parse(t, tt.rules))
			r := &vfs.Request{UID: 7, Security: slices.Clone(tt.contexts), Nowait: true}
			errno := call(fs, r)
			want(t, callName, errno, tt.errno)
			for i, c := range r.Security {
				if string(c.Name) != string(tt.contexts[i].Name) {
					t.Errorf("%s through %q changed the request of the door", callName, tt.rules)
				}
			}
			if errno != 0 {
				if len(s.calls) != 0 {
					t.Errorf("%s through %q was made: %v", callName, tt.rules, s.calls)
				}
				continue
			}
			if len(s.req.Security) != len(tt.contexts) || s.req.UID != 7 || !s.req.Nowait {
				t.Fatalf("%s through %q becomes %+v", callName, tt.rules, s.req)
			}
			for i, c := range s.req.Security {
				if string(c.Name) != tt.add+string(tt.contexts[i].Name) || string(c.Value) != string(tt.contexts[i].Value) {
					t.Errorf("%s through %q: the context %d is %q=%q", callName, tt.rules, i, c.Name, c.Value)
				}
			}
		}
	}
}

func TestMapXattrsNil(t *testing.T) {
	s := &spy{}
	if fs := MapXattrs(s, nil); fs != vfs.FileSystem(s) {
		t.Error("no map makes another file system")
	}
}
