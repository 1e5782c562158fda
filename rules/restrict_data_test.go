package rules

import (
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
)

// TestRestrictSetIDGoes makes each call on a file with set-ID bits that the guest does
// not see. The caller is root, for whom nobody else takes them away.
func TestRestrictSetIDGoes(t *testing.T) {
	for _, r := range restrictions {
		for _, tt := range setIDCalls {
			fs, dir := restrict(t, r, passthrough.Config{})
			path := join(dir, "file")
			write(t, path, "content")
			e := lookup(t, fs, "file")
			h := open(t, fs, e.Node, unix.O_RDWR)
			// Once more without any.
			for _, mode := range []uint32{0o6755, 0o755} {
				must(t, unix.Chmod(path, mode))
				want(t, tt.name, tt.call(fs, e.Node, h), 0)
				left := mode
				if tt.removes && hidden(r) != 0 {
					left &^= 0o6000
				}
				if got := hostMode(t, path) & 0o7777; got != left {
					t.Errorf("%+v: after %s the mode is %#o, want %#o", r, tt.name, got, left)
				}
			}
		}
	}
}

// TestRestrictSetIDFirst shows that a file whose set-ID bits cannot be taken away is
// not changed, in which order it is done, and on which file.
func TestRestrictSetIDFirst(t *testing.T) {
	for _, tt := range setIDCalls {
		if !tt.removes || tt.name == "truncating create" {
			continue
		}
		for _, e := range []struct {
			mode     uint32
			get, set syscall.Errno
			want     syscall.Errno
		}{
			{unix.S_IFREG | 0o4755, 0, 0, 0},
			{unix.S_IFREG | 0o2644, 0, 0, 0},
			{unix.S_IFREG | 0o4755, 0, syscall.EPERM, syscall.EPERM},
			{unix.S_IFREG | 0o4755, 0, vfs.WouldBlock, vfs.WouldBlock},
			{unix.S_IFREG | 0o4755, syscall.ESTALE, 0, syscall.ESTALE},
			{unix.S_IFREG | 0o4755, vfs.WouldBlock, 0, vfs.WouldBlock},
			{unix.S_IFREG | 0o1755, 0, syscall.EIO, 0},
			{unix.S_IFDIR | 0o2755, 0, syscall.EIO, 0},
		} {
			s := &spy{mode: e.mode, answer: func(call string, _ *vfs.Request) syscall.Errno {
				switch call {
				case "Getattr":
					return e.get
				case "Setattr":
					return e.set
				}
				return 0
			}}
			want(t, tt.name, tt.call(Restrict(s, Restrictions{NoExec: true}), 2, 3), e.want)
			before := []string{"Getattr"}
			if e.get == 0 && e.mode&unix.S_IFMT == unix.S_IFREG && e.mode&0o6000 != 0 {
				before = append(before, "Setattr")
				if set := s.set; set.Valid != vfs.SetMode || set.Mode != e.mode&0o1777 || s.nodes[0] != 2 {
					t.Errorf("%s: %+v is set, of %v", tt.name, set, s.nodes)
				}
			}
			if len(s.calls) < len(before) || !slices.Equal(s.calls[:len(before)], before) {
				t.Errorf("%s, %+v: the calls are %v", tt.name, e, s.calls)
			} else if changed := len(s.calls) > len(before); changed != (e.want == 0) {
				t.Errorf("%s, %+v: the calls are %v", tt.name, e, s.calls)
			}
		}
	}
	s := &spy{mode: unix.S_IFREG | 0o4755}
	_, errno := Restrict(s, Restrictions{NoSUID: true}).CopyFileRange(root(), &vfs.CopyRange{SrcNode: 5, DstNode: 6})
	want(t, "copy", errno, 0)
	if !slices.Equal(s.nodes, []vfs.NodeID{6}) {
		t.Errorf("the bits of %v are taken away, want those of 6", s.nodes)
	}
}

// TestRestrictCreate is for the one call that finds out late what it changes.
func TestRestrictCreate(t *testing.T) {
	const truncate = unix.O_RDWR | unix.O_TRUNC
	for _, tt := range []struct {
		what  string
		mode  uint32
		flags uint32
		set   syscall.Errno
		want  syscall.Errno
		calls []string
	}{
		{"new, or without the bits", 0o755, truncate, syscall.EIO, 0, []string{"Create"}},
		{"truncates", 0o4755, truncate, 0, 0, []string{"Create", "Setattr"}},
		{"keeps content", 0o4755, unix.O_RDWR, 0, 0, []string{"Create"}},
		{"cannot", 0o4755, truncate, syscall.EPERM, syscall.EPERM, []string{"Create", "Setattr", "Release", "Forget"}},
		{"would wait", 0o4755, truncate, vfs.WouldBlock, vfs.WouldBlock, []string{"Create", "Setattr", "Release", "Forget"}},
	} {
		s := &spy{mode: unix.S_IFREG | tt.mode, answer: func(call string, _ *vfs.Request) syscall.Errno {
			if call == "Setattr" {
				return tt.set
			}
			return 0
		}}
		var e vfs.Entry
		fs := Restrict(s, Restrictions{NoSUID: true})
		want(t, tt.what, fs.Create(&vfs.Request{Nowait: true}, vfs.Root, name("a"), tt.flags, 0, &e, new(vfs.Opened)), tt.want)
		if !slices.Equal(s.calls, tt.calls) {
			t.Errorf("%s: the calls are %v, want %v", tt.what, s.calls, tt.calls)
		}
		if tt.want == 0 && e.Attr.Mode != unix.S_IFREG|0o755 {
			t.Errorf("%s: the mode is shown as %#o", tt.what, e.Attr.Mode)
		}
		if !s.req.Nowait {
			t.Errorf("%s: Nowait was lost", tt.what)
		}
	}
	s := &spy{mode: unix.S_IFREG | 0o4755}
	fs := Restrict(s, Restrictions{NoDev: true})
	want(t, "create where nothing is hidden", fs.Create(root(), vfs.Root, name("a"), truncate, 0, new(vfs.Entry), new(vfs.Opened)), 0)
	if !slices.Equal(s.calls, []string{"Create"}) {
		t.Errorf("where nothing is hidden the calls are %v", s.calls)
	}
	s = &spy{answer: func(string, *vfs.Request) syscall.Errno { return syscall.EEXIST }}
	want(t, "create of what exists", Restrict(s, Restrictions{NoExec: true}).Create(root(), vfs.Root, name("a"), truncate, 0, new(vfs.Entry), new(vfs.Opened)), syscall.EEXIST)
	if !slices.Equal(s.calls, []string{"Create"}) {
		t.Errorf("after a failure the calls are %v", s.calls)
	}
}

// TestRestrictErrors has the call fail that a call begins with.
func TestRestrictErrors(t *testing.T) {
	s := &spy{answer: func(string, *vfs.Request) syscall.Errno { return syscall.ESTALE }}
	fs := Restrict(s, Restrictions{NoExec: true})
	want(t, "chmod", setattrCall(vfs.SetAttr{Valid: vfs.SetMode})(fs, 2, 3), syscall.ESTALE)
	want(t, "access", fs.Access(root(), 2, unix.X_OK), syscall.ESTALE)
	if !slices.Equal(s.calls, []string{"Getattr", "Getattr"}) {
		t.Errorf("the calls are %v", s.calls)
	}
}

// TestRestrictCalls shows that what is not restricted takes no other calls.
func TestRestrictCalls(t *testing.T) {
	for _, tt := range []struct {
		r     Restrictions
		call  func(fs vfs.FileSystem, node vfs.NodeID, h vfs.Handle) syscall.Errno
		calls []string
	}{
		{Restrictions{NoDev: true}, capCalls[0].call, []string{"Write"}},
		{Restrictions{NoDev: true}, setattrCall(vfs.SetAttr{Valid: vfs.SetMode | vfs.SetSize}), []string{"Setattr"}},
		{Restrictions{NoExec: true}, setattrCall(vfs.SetAttr{Valid: vfs.SetUID}), []string{"Setattr"}},
		{Restrictions{NoExec: true}, openCall(unix.O_RDWR), []string{"Open", "Release"}},
		{Restrictions{NoExec: true}, func(fs vfs.FileSystem, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
			return fs.Access(root(), node, unix.R_OK|unix.W_OK)
		}, []string{"Access"}},
		{Restrictions{NoSUID: true}, func(fs vfs.FileSystem, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
			return fs.Access(root(), node, unix.X_OK)
		}, []string{"Access"}},
	} {
		s := &spy{}
		want(t, tt.calls[0], tt.call(Restrict(s, tt.r), 2, 3), 0)
		if !slices.Equal(s.calls, tt.calls) {
			t.Errorf("%+v: the calls are %v, want %v", tt.r, s.calls, tt.calls)
		}
	}
	// A mode that stays as it is is not set: who may write need not be the owner.
	s := &spy{}
	want(t, "truncate", setattrCall(vfs.SetAttr{Valid: vfs.SetSize})(Restrict(s, Restrictions{NoSUID: true}), 2, 3), 0)
	if s.set.Valid != vfs.SetSize {
		t.Errorf("to truncate a file, %+v is set", s.set)
	}
}

// TestRestrictCapabilities looks for file capabilities where they are.
func TestRestrictCapabilities(t *testing.T) {
	const capability = "security.capability"
	for _, r := range restrictions {
		fs, dir := restrict(t, r, passthrough.Config{})
		path := join(dir, "file")
		write(t, path, "content")
		must(t, unix.Lsetxattr(path, capability, fileCaps, 0))
		must(t, unix.Lsetxattr(path, "trusted.a", []byte("x"), 0))
		node := lookup(t, fs, "file").Node
		buf := make([]byte, 100)
		cname := []byte(capability + "\x00")
		names := []string{capability, "trusted.a"}
		var get, change syscall.Errno
		if r.NoSUID {
			names, get, change = names[1:], syscall.ENODATA, syscall.EPERM
		}
		_, errno := fs.Getxattr(root(), node, cname, buf)
		want(t, "getxattr", errno, get)
		n, errno := fs.Listxattr(root(), node, buf)
		want(t, "listxattr", errno, 0)
		if got := splitNames(buf[:n]); !slices.Equal(got, names) {
			t.Errorf("%+v: listed are %q, want %q", r, got, names)
		}
		want(t, "setxattr", fs.Setxattr(root(), node, cname, fileCaps, 0, false), change)
		want(t, "removexattr", fs.Removexattr(root(), node, cname), change)
		if r.NoSUID && !slices.Contains(hostNames(t, path), capability) {
			t.Errorf("%+v: the host's capabilities are gone", r)
		}
		_, errno = fs.Getxattr(root(), node, []byte("trusted.a\x00"), buf)
		want(t, "getxattr of another", errno, 0)
		labelled := &vfs.Request{Security: []vfs.SecurityContext{{Name: cname, Value: fileCaps}}}
		if errno := fs.Mknod(labelled, vfs.Root, name("new"), unix.S_IFREG, 0, new(vfs.Entry)); r.NoSUID && errno != syscall.EPERM {
			t.Errorf("%+v: a file that is made with capabilities: %v", r, errno)
		}
	}
}

// TestRestrictBacking: what is written to a backing file is not seen, so a file with
// set-ID bits that have to go has none.
func TestRestrictBacking(t *testing.T) {
	for _, r := range restrictions {
		for _, tt := range []struct {
			mode  uint32
			errno syscall.Errno
			ok    bool
		}{
			{0o755, 0, true}, {0o1777, 0, true},
			{0o4755, 0, hidden(r) == 0}, {0o2755, 0, hidden(r) == 0}, {0o755, syscall.EIO, hidden(r) == 0},
		} {
			b := &backed{spy{mode: unix.S_IFREG | tt.mode, answer: func(string, *vfs.Request) syscall.Errno { return tt.errno }}}
			if fd, ok := Restrict(b, r).(vfs.Backer).Backing(2, 3); ok != tt.ok || ok && fd != 42 {
				t.Errorf("%+v: the backing file of a file of mode %#o is %d, %v", r, tt.mode, fd, ok)
			}
		}
	}
}

// backed is a spy whose files have a backing file.
type backed struct{ spy }

func (*backed) Backing(vfs.NodeID, vfs.Handle) (int, bool) { return 42, true }

// TestRestrictFeatures: access control lists may allow execution.
func TestRestrictFeatures(t *testing.T) {
	for _, r := range restrictions {
		want := everything
		if r.NoExec {
			want &^= vfs.FeatPOSIXACL
		}
		if got := begin(t, Restrict(&spy{}, r)); got != want {
			t.Errorf("%+v: %#x is not agreed to", r, everything&^got)
		}
	}
}
