package rules

import (
	"errors"
	"os"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
)

// fileCaps is a security.capability of revision 2 with CAP_NET_RAW.
var fileCaps = []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")

type capCall struct {
	name    string
	removes bool
	call    func(fs vfs.FileSystem, node vfs.NodeID, h vfs.Handle) syscall.Errno
}

// capCalls are calls on a file with a handle for reading and writing, and
// whether the host's kernel takes capabilities away in them.
var capCalls = []capCall{
	{"write", true, func(fs vfs.FileSystem, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		_, errno := fs.Write(root(), node, h, []unix.Iovec{oslib.Iov([]byte("x"))}, 0, unix.O_RDWR, 0)
		return errno
	}},
	{"write back", true, func(fs vfs.FileSystem, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		_, errno := fs.Write(root(), node, h, []unix.Iovec{oslib.Iov([]byte("x"))}, 0, unix.O_RDWR, vfs.WriteCache)
		return errno
	}},
	{"fallocate", true, func(fs vfs.FileSystem, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		return fs.Fallocate(root(), node, h, 0, 100, 0)
	}},
	{"copy", true, func(fs vfs.FileSystem, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		_, errno := fs.CopyFileRange(root(), &vfs.CopyRange{SrcNode: node, SrcHandle: h, DstNode: node, DstHandle: h, DstOff: 100, Len: 1})
		return errno
	}},
	{"truncate", true, setattrCall(vfs.SetAttr{Valid: vfs.SetSize, Size: 1})},
	{"chown", true, setattrCall(vfs.SetAttr{Valid: vfs.SetUID, UID: 5})},
	{"chgrp", true, setattrCall(vfs.SetAttr{Valid: vfs.SetGID, GID: 5})},
	{"chmod", false, setattrCall(vfs.SetAttr{Valid: vfs.SetMode, Mode: 0o600})},
	{"utimens", false, setattrCall(vfs.SetAttr{Valid: vfs.SetMtimeNow})},
	{"open", false, openCall(unix.O_RDWR)},
	{"truncating open", true, openCall(unix.O_WRONLY | unix.O_TRUNC)},
	{"create", false, createCall(unix.O_RDWR)},
	{"truncating create", true, createCall(unix.O_RDWR | unix.O_TRUNC)},
	{"read", false, func(fs vfs.FileSystem, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		_, errno := fs.Read(root(), node, h, []unix.Iovec{oslib.Iov(make([]byte, 3))}, 0, unix.O_RDWR)
		return errno
	}},
}

func setattrCall(in vfs.SetAttr) func(vfs.FileSystem, vfs.NodeID, vfs.Handle) syscall.Errno {
	return func(fs vfs.FileSystem, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return fs.Setattr(root(), node, vfs.NoHandle, &in, new(vfs.AttrOut))
	}
}

func openCall(flags uint32) func(vfs.FileSystem, vfs.NodeID, vfs.Handle) syscall.Errno {
	return func(fs vfs.FileSystem, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
		var o vfs.Opened
		errno := fs.Open(root(), node, flags, false, &o)
		if errno == 0 {
			fs.Release(root(), node, o.Handle, &vfs.ReleaseIn{})
		}
		return errno
	}
}

func createCall(flags uint32) func(vfs.FileSystem, vfs.NodeID, vfs.Handle) syscall.Errno {
	return func(fs vfs.FileSystem, _ vfs.NodeID, _ vfs.Handle) syscall.Errno {
		var e vfs.Entry
		var o vfs.Opened
		errno := fs.Create(root(), vfs.Root, name("file"), flags, 0o644, &e, &o)
		if errno == 0 {
			fs.Release(root(), e.Node, o.Handle, &vfs.ReleaseIn{})
			fs.Forget(e.Node, 1)
		}
		return errno
	}
}

// TestCapabilitiesGo makes each call on a file whose capabilities the host
// knows as such and on one where a map hides them: both lose or keep them. It is
// the test for CVE-2021-20263.
func TestCapabilitiesGo(t *testing.T) {
	for _, m := range []struct{ rules, hostName string }{
		{":ok:all:::", "security.capability"},
		{mapCapability, "trusted.virtiofs.security.capability"},
		{mapAll, "user.virtiofs.security.capability"},
	} {
		for _, tt := range capCalls {
			fs, path, node := mapped(t, m.rules, passthrough.Config{})
			h := open(t, fs, node, unix.O_RDWR)
			if errno := fs.Setxattr(root(), node, []byte("security.capability\x00"), fileCaps, 0, false); errno != 0 {
				t.Fatal(errno)
			}
			if !slices.Contains(hostNames(t, path), m.hostName) {
				t.Fatalf("through %q the host has %q", m.rules, hostNames(t, path))
			}
			// Once more without any, for the errors that do not matter.
			for range 2 {
				want(t, tt.name, tt.call(fs, node, h), 0)
				if gone := !slices.Contains(hostNames(t, path), m.hostName); gone != tt.removes {
					t.Errorf("through %q, after %s the capabilities are gone: %v, want %v", m.rules, tt.name, gone, tt.removes)
				}
			}
		}
	}
}

// TestCapabilitiesFirst shows that a file whose capabilities cannot be removed
// is not changed, in which order it is done, and for which errors.
func TestCapabilitiesFirst(t *testing.T) {
	for _, tt := range capCalls {
		if !tt.removes || tt.name == "truncating create" {
			continue
		}
		for _, e := range []struct {
			get, remove, want syscall.Errno
		}{
			{0, 0, 0}, {0, syscall.ENODATA, 0}, {0, syscall.EPERM, syscall.EPERM}, {0, syscall.EIO, syscall.EIO},
			{0, vfs.WouldBlock, vfs.WouldBlock}, {syscall.ENODATA, 0, 0}, {syscall.ENOTSUP, 0, 0}, {syscall.ENOSYS, 0, 0},
			{syscall.ESTALE, 0, 0}, {syscall.EIO, 0, syscall.EIO}, {vfs.WouldBlock, 0, vfs.WouldBlock},
		} {
			s := &spy{answer: func(call string, _ *vfs.Request) syscall.Errno {
				switch call {
				case "Getxattr":
					return e.get
				case "Removexattr":
					return e.remove
				}
				return 0
			}}
			errno := tt.call(MapXattrs(s, parse(t, mapCapability)), 2, 3)
			want(t, tt.name, errno, e.want)
			looked := []string{"Getxattr"}
			if e.get == 0 {
				looked = append(looked, "Removexattr")
			}
			if !slices.Equal(s.calls[:len(looked)], looked) {
				t.Errorf("%s: the calls are %v", tt.name, s.calls)
			}
			if changed := len(s.calls) > len(looked); changed != (e.want == 0) {
				t.Errorf("%s: with %+v the calls are %v", tt.name, e, s.calls)
			}
			for _, n := range s.names {
				if n != "trusted.virtiofs.security.capability\x00" {
					t.Errorf("%s uses the attribute %q", tt.name, n)
				}
			}
		}
	}
}

// TestCapabilitiesCreate is for the one call that finds out late what it
// changes.
func TestCapabilitiesCreate(t *testing.T) {
	const truncate = unix.O_RDWR | unix.O_TRUNC
	for _, tt := range []struct {
		what   string
		nowait bool
		flags  uint32
		remove syscall.Errno
		want   syscall.Errno
		calls  []string
	}{
		{"truncates", false, truncate, 0, 0, []string{"Create", "Getxattr", "Removexattr"}},
		{"cannot remove", false, truncate, syscall.EIO, syscall.EIO, []string{"Create", "Getxattr", "Removexattr", "Release", "Forget"}},
		{"may not wait", true, truncate, 0, vfs.WouldBlock, nil},
		{"new file", true, truncate | unix.O_EXCL, 0, 0, []string{"Create"}},
		{"keeps content", true, unix.O_RDWR, 0, 0, []string{"Create"}},
	} {
		s := &spy{answer: func(call string, _ *vfs.Request) syscall.Errno {
			if call == "Removexattr" {
				return tt.remove
			}
			return 0
		}}
		fs := MapXattrs(s, parse(t, mapCapability))
		errno := fs.Create(&vfs.Request{Nowait: tt.nowait}, vfs.Root, name("a"), tt.flags, 0, new(vfs.Entry), new(vfs.Opened))
		want(t, tt.what, errno, tt.want)
		if !slices.Equal(s.calls, tt.calls) {
			t.Errorf("%s: the calls are %v, want %v", tt.what, s.calls, tt.calls)
		}
	}
}

// TestCapabilitiesCopy shows which of two files loses them.
func TestCapabilitiesCopy(t *testing.T) {
	s := &spy{}
	_, errno := MapXattrs(s, parse(t, mapCapability)).CopyFileRange(root(), &vfs.CopyRange{SrcNode: 5, DstNode: 6})
	want(t, "copy", errno, 0)
	if !slices.Equal(s.nodes, []vfs.NodeID{6, 6}) {
		t.Errorf("the capabilities of %v are removed, want those of 6", s.nodes)
	}
}

// TestCapabilitiesElsewhere shows that other maps add no call to a write.
func TestCapabilitiesElsewhere(t *testing.T) {
	for _, rules := range []string{":ok:all:::", hideSecurity, mapTrusted, ":map:user.:trusted.:"} {
		for _, tt := range capCalls {
			if tt.name == "read" {
				continue // not the spy's
			}
			s := &spy{}
			want(t, tt.name, tt.call(MapXattrs(s, parse(t, rules)), 2, 3), 0)
			if slices.Contains(s.calls, "Getxattr") || slices.Contains(s.calls, "Removexattr") {
				t.Errorf("%q: %s makes the calls %v", rules, tt.name, s.calls)
			}
		}
	}
}

// TestCapabilitiesOfDeletedFile writes to a file that is open and has no name.
func TestCapabilitiesOfDeletedFile(t *testing.T) {
	for _, handles := range []passthrough.HandleUse{passthrough.HandlesPrefer, passthrough.HandlesNever} {
		fs, path, node := mapped(t, mapAll, passthrough.Config{FileHandles: handles})
		h := open(t, fs, node, unix.O_RDWR)
		must(t, os.Remove(path))
		want(t, "write", capCalls[0].call(fs, node, h), 0)
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the file is back: %v", err)
		}
	}
}
