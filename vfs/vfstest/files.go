package vfstest

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

const (
	rdonly = unix.O_RDONLY
	wronly = unix.O_WRONLY
	rdwr   = unix.O_RDWR
	creat  = unix.O_CREAT
	excl   = unix.O_EXCL
	trunc  = unix.O_TRUNC
	appnd  = unix.O_APPEND
)

// fileScenarios open and make files in all ways.
func fileScenarios(*suite) []scenario {
	var modes []op
	for _, m := range []uint32{0, 0o444, 0o600, 0o755, 0o777, 0o1644, 0o2755, 0o4755, 0o7777} {
		p := string(rune('a' + len(modes)/2))
		modes = append(modes, mkfile("f"+p, "", m), mkdir("d"+p, m&0o1777))
	}
	return []scenario{
		{"modes", modes},
		{"create and open", []op{
			open("f", "f", creat|rdwr, 0o640), pwrite("f", "first", 0), pread("f", 10, 0), closeFile("f"),
			open("f", "f", creat|rdwr, 0o777), pread("f", 10, 0), closeFile("f"),
			fails(syscall.EEXIST, open("f", "f", creat|excl|rdwr, 0o640)),
			open("f", "f", creat|rdonly, 0o640), fails(syscall.EBADF, pwrite("f", "x", 0)), closeFile("f"),
			open("f", "f", creat|trunc|wronly, 0o640), fstat("f"), closeFile("f"), cat("f"),
		}},
		{"read-only file made for writing", []op{
			open("f", "f", creat|excl|rdwr, 0o444), pwrite("f", "written through the first open", 0), closeFile("f"),
			cat("f"), open("f", "f", creat|excl|wronly|trunc, 0o444).but(syscall.EEXIST),
		}},
		{"no permissions at all", []op{
			open("f", "f", creat|excl|rdwr, 0), pwrite("f", "x", 0), pread("f", 1, 0), closeFile("f"),
			open("f", "f", rdwr, 0), pread("f", 1, 0), closeFile("f"), stat("f"),
		}},
		{"access modes", []op{
			mkfile("f", "content", 0o644),
			open("r", "f", rdonly, 0), pread("r", 3, 2), fails(syscall.EBADF, pwrite("r", "x", 0)),
			open("w", "f", wronly, 0), pwrite("w", "C", 0),
			open("rw", "f", rdwr, 0), pwrite("rw", "O", 1), pread("rw", 3, 0),
			pread("r", 7, 0),
		}},
		{"truncate on open", []op{
			mkfile("f", "content", 0o644), open("f", "f", wronly|trunc, 0), fstat("f"), pwrite("f", "new", 0), closeFile("f"), cat("f"),
			open("f", "f", rdwr|trunc|appnd, 0), pwrite("f", "1", 100), pwrite("f", "2", 0), closeFile("f"), cat("f"),
			open("f", "f", rdwr|trunc|creat, 0o600), fstat("f"),
		}},
		{"unlinked while open", []op{
			open("f", "f", creat|rdwr, 0o644), pwrite("f", "still here", 0), unlink("f"),
			fails(syscall.ENOENT, stat("f")), fstat("f"), pread("f", 20, 0), pwrite("f", "and more", 20), fstat("f"),
			fsetattr("f", vfs.SetAttr{Valid: vfs.SetMode | vfs.SetSize, Mode: 0o600, Size: 4}), pread("f", 20, 0),
			mkfile("f", "another", 0o644), fstat("f"), cat("f"), closeFile("f"), cat("f"),
		}},
		{"renamed while open", []op{
			mkdir("d", 0o755), open("f", "f", creat|rdwr, 0o644), rename("f", "d/g", 0), pwrite("f", "moved", 0), cat("d/g"),
			mkfile("h", "victim", 0o644), open("h", "h", rdonly, 0), rename("d/g", "h", 0), pread("h", 9, 0), pread("f", 9, 0), fstat("h"),
		}},
		{"fsync", []op{
			open("f", "f", creat|rdwr, 0o644), pwrite("f", "durable", 0), fsync("f", true), fsync("f", false), closeFile("f"),
			open("f", "f", rdonly, 0), fsync("f", false), closeFile("f"),
			mkdir("d", 0o755), open("d", "d", unix.O_DIRECTORY, 0), fsync("d", false), fsync("d", true),
		}},
		{"parents that are no directories", []op{
			mkfile("f", "", 0o644), fails(syscall.ENOTDIR, stat("f/x")), fails(syscall.ENOTDIR, mkfile("f/x", "", 0o644)),
			fails(syscall.ENOTDIR, readdir("f")), fails(syscall.EISDIR, open("d", "", rdwr, 0)),
		}},
	}
}

// but is fails, for the end of a line.
func (o op) but(errno syscall.Errno) op { return fails(errno, o) }

// testWrongKind makes each call that wants a directory on a file.
func (s *suite) testWrongKind(t *testing.T) {
	c := s.root(t)
	f, errno := c.open("plain", creat|rdwr, 0o644)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer f.close()
	node := f.(*openFile).node
	var r vfs.Request
	var e vfs.Entry
	var o vfs.Opened
	x := name("x")
	for _, tt := range []struct {
		name  string
		errno syscall.Errno
	}{
		{"Lookup", s.FS.Lookup(&r, node, x, &e)},
		{"Mkdir", s.FS.Mkdir(&r, node, x, 0o755, &e)},
		{"Mknod", s.FS.Mknod(&r, node, x, unix.S_IFREG|0o644, 0, &e)},
		{"Symlink", s.FS.Symlink(&r, node, x, []byte("t\x00"), &e)},
		{"Create", s.FS.Create(&r, node, x, creat|rdwr, 0o644, &e, &o)},
		{"Unlink", s.FS.Unlink(&r, node, x)},
		{"Rmdir", s.FS.Rmdir(&r, node, x)},
		{"Rename from", s.FS.Rename(&r, node, x, vfs.Root, x, 0)},
		{"Rename to", s.FS.Rename(&r, vfs.Root, name("plain"), node, x, 0)},
		{"Opendir", s.FS.Opendir(&r, node, 0, &o)},
	} {
		if tt.errno != syscall.ENOTDIR {
			t.Errorf("%s on a regular file: %s, want ENOTDIR", tt.name, errnoName(tt.errno))
		}
	}
	if s.Lacks&NoHardLinks == 0 {
		if errno := s.FS.Link(&r, node, node, x, &e); errno != syscall.ENOTDIR {
			t.Errorf("Link into a regular file: %s, want ENOTDIR", errnoName(errno))
		}
	}
	if _, errno := c.readlink("plain"); errno != syscall.EINVAL {
		t.Errorf("Readlink of a regular file: %s, want EINVAL", errnoName(errno))
	}
}

// testOpenKinds asks for opens that a guest's kernel would not ask for: they
// must be refused, and at once.
func (s *suite) testOpenKinds(t *testing.T) {
	c := s.root(t)
	c.mkdir("dir", 0o755)
	c.symlink("dir", "link")
	kinds := []string{"dir", "link"}
	if s.Lacks&NoSpecial == 0 {
		for n, m := range map[string]uint32{"fifo": unix.S_IFIFO, "socket": unix.S_IFSOCK, "null": unix.S_IFCHR, "disk": unix.S_IFBLK} {
			if _, errno := c.mknod(n, m|0o666, vfs.MakeDev(1, 3)); errno != 0 {
				t.Fatalf("Mknod %s: %s", n, errnoName(errno))
			}
			kinds = append(kinds, n)
		}
	}
	for _, n := range kinds {
		node, a, errno := c.walk(n)
		if errno != 0 {
			t.Fatal(errno)
		}
		for _, flags := range []uint32{rdonly, wronly, rdwr, rdwr | trunc, rdonly | unix.O_DIRECTORY, unix.O_PATH} {
			var o vfs.Opened
			if errno := s.FS.Open(&vfs.Request{}, node, flags, false, &o); errno == 0 {
				t.Errorf("Open of %s with flags %#x succeeds", n, flags)
				s.FS.Release(&vfs.Request{}, node, o.Handle, &vfs.ReleaseIn{})
			}
			if a.isType(unix.S_IFDIR) {
				continue
			}
			if errno := s.FS.Opendir(&vfs.Request{}, node, flags, &o); errno == 0 {
				t.Errorf("Opendir of %s with flags %#x succeeds", n, flags)
				s.FS.Releasedir(&vfs.Request{}, node, o.Handle)
			}
		}
		for _, flags := range []uint32{creat | rdwr, creat | rdonly, creat | wronly | trunc, creat | excl | rdwr} {
			var e vfs.Entry
			var o vfs.Opened
			if errno := s.FS.Create(&vfs.Request{}, vfs.Root, name(n), flags, 0o644, &e, &o); errno == 0 {
				t.Errorf("Create of %s with flags %#x succeeds", n, flags)
				s.FS.Release(&vfs.Request{}, e.Node, o.Handle, &vfs.ReleaseIn{})
				s.FS.Forget(e.Node, 1)
			}
		}
		var out vfs.AttrOut
		if errno := s.FS.Setattr(&vfs.Request{}, node, vfs.NoHandle, &vfs.SetAttr{Valid: vfs.SetSize}, &out); errno == 0 {
			t.Errorf("truncating %s succeeds", n)
		}
		c.put(node)
	}
}
