package scratch

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// TestCounts: what a guest holds, and what it takes.
func TestCounts(t *testing.T) {
	fs := newSpace(t, Options{})
	check := func(nodes, handles, bytes uint64) {
		t.Helper()
		if c, want := fs.Counts(), (vfs.Counts{Nodes: nodes, Handles: handles, Descriptors: 1, Bytes: bytes}); c != want {
			t.Errorf("the counts are %+v, want %+v", c, want)
		}
	}
	check(1, 0, rootCost)
	f := create(t, fs, "f")
	const named = rootCost + nodeCost + entryCost + 1
	check(2, 1, named)
	if errno := f.fallocate(0, 0, 3*pageSize); errno != 0 {
		t.Fatal(errno)
	}
	check(2, 1, fs.Stats().Metadata+3*pageSize)
	var d vfs.Opened
	if errno := fs.Opendir(root, vfs.Root, 0, &d); errno != 0 {
		t.Fatal(errno)
	}
	check(2, 2, fs.Stats().Metadata+3*pageSize)
	fs.Destroy()
	check(1, 0, fs.Stats().Metadata+3*pageSize)
}

// TestWriteback: a guest that collects writes may read from what it opened for writing
// only, to fill up a page. That is for those it was offered to.
func TestWriteback(t *testing.T) {
	fs := newSpace(t, Options{})
	if fs.Tolerates() != vfs.FeatWriteback|vfs.FeatDirectIOMmap {
		t.Errorf("it tolerates %#x", fs.Tolerates())
	}
	for _, tt := range []struct {
		offered vfs.Features
		want    syscall.Errno
	}{
		{vfs.FeatWriteback, 0},
		{^vfs.Features(0), 0},
		{^vfs.FeatWriteback, syscall.EBADF},
	} {
		if agreed, errno := fs.Init(tt.offered); errno != 0 || agreed&vfs.FeatWriteback != 0 {
			t.Errorf("offered %#x, it agrees to %#x, %v", tt.offered, agreed, errno)
		}
		var e vfs.Entry
		var o vfs.Opened
		if errno := fs.Create(root, vfs.Root, name("f"), unix.O_WRONLY, 0o644, &e, &o); errno != 0 {
			t.Fatal(errno)
		}
		buf := []byte("content")
		if _, errno := fs.Write(root, e.Node, o.Handle, []unix.Iovec{oslib.Iov(buf)}, 0, unix.O_WRONLY|unix.O_APPEND, vfs.WriteCache); errno != 0 {
			t.Errorf("offered %#x, a write: %v", tt.offered, errno)
		}
		if _, errno := fs.Read(root, e.Node, o.Handle, []unix.Iovec{oslib.Iov(buf)}, 0, unix.O_WRONLY); errno != tt.want {
			t.Errorf("offered %#x, a read from what is open for writing: %v, want %v", tt.offered, errno, tt.want)
		}
		fs.Release(root, e.Node, o.Handle, &vfs.ReleaseIn{})
		// What is open for reading stays so.
		if errno := fs.Open(root, e.Node, unix.O_RDONLY, false, &o); errno != 0 {
			t.Fatal(errno)
		}
		if _, errno := fs.Write(root, e.Node, o.Handle, []unix.Iovec{oslib.Iov(buf)}, 0, 0, vfs.WriteCache); errno != syscall.EBADF {
			t.Errorf("offered %#x, a write to what is open for reading: %v, want EBADF", tt.offered, errno)
		}
		fs.Release(root, e.Node, o.Handle, &vfs.ReleaseIn{})
	}
	fs.Init(^vfs.Features(0))
	fs.Destroy()
	if fs.writeback.Load() {
		t.Error("after its end, the session's features hold")
	}
}

// TestWishesAreHonoured: each promise about changes is kept in each call that it is
// about.
func TestWishesAreHonoured(t *testing.T) {
	fs := newSpace(t, Options{})
	agreed, errno := fs.Init(^vfs.Features(0))
	if errno != 0 {
		t.Fatal(errno)
	}
	if want := vfs.FeatAtomicTrunc | vfs.FeatDontMask | vfs.FeatKillPriv | vfs.FeatReaddirplusAuto | vfs.FeatCacheSymlinks |
		vfs.FeatIDMap; !agreed.Has(want) {
		t.Errorf("it does without %#x", want&^agreed)
	}
	var e vfs.Entry
	var o vfs.Opened
	user := &vfs.Request{UID: 1000, GID: 1000, Umask: 0o027}
	if errno := fs.Create(user, vfs.Root, name("f"), unix.O_RDWR, 0o777, &e, &o); errno != 0 || e.Attr.Mode != unix.S_IFREG|0o750 {
		t.Fatalf("Create with a umask: mode %#o, %v", e.Attr.Mode, errno)
	}
	// Who calls is not told of these calls where mounts may be id-mapped.
	untold := &vfs.Request{UID: noID, GID: noID}
	var a vfs.AttrOut
	for what, call := range map[string]func() syscall.Errno{
		"write": func() syscall.Errno {
			_, errno := fs.Write(untold, e.Node, o.Handle, []unix.Iovec{oslib.Iov([]byte("x"))}, 0, 0, vfs.WriteKillSUIDGID)
			return errno
		},
		"truncation": func() syscall.Errno {
			return fs.Setattr(untold, e.Node, vfs.NoHandle, &vfs.SetAttr{Valid: vfs.SetSize | vfs.SetKillSUIDGID}, &a)
		},
		"truncating open": func() syscall.Errno {
			var o vfs.Opened
			errno := fs.Open(untold, e.Node, unix.O_WRONLY|unix.O_TRUNC, true, &o)
			if errno == 0 {
				errno = fs.Release(untold, e.Node, o.Handle, &vfs.ReleaseIn{})
			}
			return errno
		},
		"fallocate": func() syscall.Errno { return fs.Fallocate(untold, e.Node, o.Handle, 0, 10, 0) },
		"copy": func() syscall.Errno {
			if errno := fs.Fallocate(root, e.Node, o.Handle, 0, 10, 0); errno != 0 {
				return errno
			}
			_, errno := fs.CopyFileRange(untold, &vfs.CopyRange{SrcNode: e.Node, SrcHandle: o.Handle, DstNode: e.Node, DstHandle: o.Handle, DstOff: 100, Len: 1})
			return errno
		},
	} {
		for _, errno := range []syscall.Errno{
			fs.Setattr(root, e.Node, vfs.NoHandle, &vfs.SetAttr{Valid: vfs.SetMode, Mode: 0o6755}, &a),
			call(),
			fs.Getattr(root, e.Node, vfs.NoHandle, &a),
		} {
			if errno != 0 {
				t.Errorf("%s: %v", what, errno)
			}
		}
		if a.Attr.Mode != unix.S_IFREG|0o755 {
			t.Errorf("after %s the mode is %#o", what, a.Attr.Mode)
		}
	}
	if errno := fs.Release(root, e.Node, o.Handle, &vfs.ReleaseIn{}); errno != 0 {
		t.Error(errno)
	}
	fs.Forget(e.Node, 1)
}
