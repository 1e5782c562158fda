package overlay_test

import (
	"encoding/binary"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
)

// TestNoCopy makes calls that change nothing, or fail: none makes an upper part.
func TestNoCopy(t *testing.T) {
	l, g, _ := overSmall(t)
	for what, tt := range map[string]struct{ got, want syscall.Errno }{
		"mkdir":       {g.mkdir("empty", 0o755), syscall.EEXIST},
		"create":      {g.write("file", unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, "", 0), syscall.EEXIST},
		"link":        {g.link("plain", "file"), syscall.EEXIST},
		"link dir":    {g.link("full", "new"), syscall.EPERM},
		"unlink":      {g.unlink("nothing"), syscall.ENOENT},
		"unlink dir":  {g.unlink("full"), syscall.EISDIR},
		"rmdir file":  {g.rmdir("plain"), syscall.ENOTDIR},
		"rename":      {g.rename("nothing", "new", 0), syscall.ENOENT},
		"rename over": {g.rename("plain", "full", 0), syscall.EISDIR},
		"no replace":  {g.rename("plain", "file", unix.RENAME_NOREPLACE), syscall.EEXIST},
		"bad flags":   {g.rename("plain", "file", 8), syscall.EINVAL},
		"truncate":    {g.truncate("full", 0), syscall.EISDIR},
		"removexattr": {g.removexattr("plain", "user.none"), syscall.ENODATA},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %v, want %v", what, tt.got, tt.want)
		}
	}
	node, h, errno := g.open("plain", unix.O_RDONLY)
	if errno != 0 {
		t.Fatal(errno)
	}
	flags := make([]byte, 4)
	if _, _, errno := l.Ioctl(&g.r, node, h, unix.FS_IOC_GETFLAGS, 0, nil, flags); errno != 0 {
		t.Errorf("FS_IOC_GETFLAGS: %v", errno)
	}
	if _, _, errno := l.Ioctl(&g.r, node, h, unix.TCGETS, 0, nil, make([]byte, 64)); errno != syscall.ENOTTY {
		t.Errorf("TCGETS: %v, want ENOTTY", errno)
	}
	if errno := l.Fsync(&g.r, node, h, false); errno != 0 {
		t.Errorf("fsync: %v", errno)
	}
	if s := l.Stats(); s.Records != 0 {
		t.Errorf("there are %+v", s)
	}

	binary.LittleEndian.PutUint32(flags, unix.STATX_ATTR_NODUMP)
	if _, _, errno := l.Ioctl(&g.r, node, h, unix.FS_IOC_SETFLAGS, 0, flags, nil); errno != 0 {
		t.Errorf("FS_IOC_SETFLAGS: %v", errno)
	}
	if _, _, errno := l.Ioctl(&g.r, node, h, unix.FS_IOC_GETFLAGS, 0, nil, flags); errno != 0 || flags[0]&unix.STATX_ATTR_NODUMP == 0 {
		t.Errorf("the flags are %#x, %v; they were set", flags, errno)
	}
	g.close(node, h)
}

// TestCopyRange copies from a lower file into a new one.
func TestCopyRange(t *testing.T) {
	l, g, _ := overSmall(t)
	from, fh, errno := g.open("file", unix.O_RDONLY)
	if errno != 0 {
		t.Fatal(errno)
	}
	to, th, errno := g.open("new", unix.O_RDWR|unix.O_CREAT)
	if errno != 0 {
		t.Fatal(errno)
	}
	in := vfs.CopyRange{SrcNode: from, SrcHandle: fh, DstNode: to, DstHandle: th, SrcOff: 5, Len: 8}
	if n, errno := l.CopyFileRange(&g.r, &in); n != 8 || errno != 0 {
		t.Errorf("%d bytes are copied, %v", n, errno)
	}
	if data, _ := g.pread(to, th, 100); data != "data dat" {
		t.Errorf("the copy is %q", data)
	}
	for _, tt := range []struct {
		change func(*vfs.CopyRange)
		want   syscall.Errno
	}{
		{func(c *vfs.CopyRange) { c.Flags = 1 }, syscall.EINVAL},
		{func(c *vfs.CopyRange) { c.SrcOff = 1 << 63 }, syscall.EINVAL},
		{func(c *vfs.CopyRange) { c.DstOff = ^uint64(0) }, syscall.EINVAL},
		{func(c *vfs.CopyRange) { c.Len = ^uint64(0) }, syscall.EOVERFLOW},
		{func(c *vfs.CopyRange) { c.DstNode, c.DstHandle = from, fh }, syscall.EBADF},
		{func(c *vfs.CopyRange) { c.Len = 0 }, 0},
	} {
		c := in
		tt.change(&c)
		if _, errno := l.CopyFileRange(&g.r, &c); errno != tt.want {
			t.Errorf("%+v: %v, want %v", c, errno, tt.want)
		}
	}
	g.close(from, fh)
	g.close(to, th)
}

// TestCreateExisting has Create find a lower file in its place.
func TestCreateExisting(t *testing.T) {
	l, _, _ := overSmall(t)
	// Only then do the children check a caller's permissions.
	if _, errno := l.Init(vfs.FeatSuppGroups); errno != 0 {
		t.Fatal(errno)
	}
	for _, tt := range []struct {
		name  string
		uid   uint32
		flags uint32
		want  syscall.Errno
	}{
		{"plain", 0, unix.O_RDWR, 0},
		{"plain", 0, unix.O_RDWR | unix.O_EXCL, syscall.EEXIST},
		{"plain", 1000, unix.O_RDONLY, 0},
		{"plain", 1000, unix.O_WRONLY, syscall.ESTALE}, // for the guest to look again
		{"empty", 0, unix.O_RDWR, syscall.EISDIR},
		{"link", 0, unix.O_RDWR, syscall.ELOOP},
		{"full", 0, unix.O_RDWR | unix.O_EXCL, syscall.EEXIST},
	} {
		var e vfs.Entry
		var o vfs.Opened
		r := &vfs.Request{UID: tt.uid, GID: tt.uid}
		errno := l.Create(r, vfs.Root, name(tt.name), tt.flags|unix.O_CREAT, 0o644, &e, &o)
		if errno != tt.want {
			t.Errorf("%s by %d with %#x: %v, want %v", tt.name, tt.uid, tt.flags, errno, tt.want)
		}
		if errno == 0 {
			l.Release(r, e.Node, o.Handle, &vfs.ReleaseIn{})
			l.Forget(e.Node, 1)
		}
	}
	if s := l.Counts(); s.Nodes != 1 || s.Handles != 0 {
		t.Errorf("at the end there are %+v", s)
	}
}

// TestNested puts an overlay over an overlay.
func TestNested(t *testing.T) {
	inner, g, _ := overSmall(t)
	twin := tempDir(t, "/tmp")
	small(t, twin)
	half := len(faultSteps) / 2
	for _, s := range faultSteps[:half] {
		if got, want := s.run(g), s.run(&host{twin}); got != want {
			t.Errorf("inner %s: %v, want %v", s.text, got, want)
		}
	}
	before := tree(t, g, nothing)
	outer := newOverlay(t, inner, newLayer(t, tempDir(t, "/tmp"), passthrough.HandlesNever))
	if _, errno := outer.Init(0); errno != 0 {
		t.Fatal(errno)
	}
	over := newGuest(outer)
	over.plus = true
	for _, s := range faultSteps[half:] {
		if got, want := s.run(over), s.run(&host{twin}); got != want {
			t.Errorf("outer %s: %v, want %v", s.text, got, want)
		}
	}
	want := tree(t, &host{twin}, nothing)
	for p, text := range tree(t, over, nothing) {
		if want[p] != text {
			t.Errorf("%q:\n got %s\nwant %s", p, text, want[p])
		}
		delete(want, p)
	}
	for p := range want {
		t.Errorf("%q is missing", p)
	}
	for p, text := range tree(t, g, nothing) {
		if before[p] != text {
			t.Errorf("below, %q has changed:\n  is %s\n was %s", p, text, before[p])
		}
	}
}
