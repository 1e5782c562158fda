package vfstest

import (
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// oddNames are names that a file system has to take as they are.
var oddNames = []string{
	" ", "-rf", "...", "..a", ".hidden", "a b\tc\nd", "*?[]", `back\slash`, `"quoted'`, "colon:c", "~",
	"\x01\x02\x1f\x7f", "\xff", "\xff\xfe\xfd", "\xc3\x28", "a\x80b", "\xed\xa0\x80", "\xf0\x9f\x90\x9a", "e\u0301", "\u00e9", "A", "a",
	strings.Repeat("n", 254), strings.Repeat("N", vfs.MaxName), strings.Repeat("\xff", vfs.MaxName), strings.Repeat("\u00e9", 127) + "!",
}

// nameScenarios make, find, list and remove names of all kinds.
func nameScenarios(*suite) []scenario {
	var all []op
	for _, n := range oddNames {
		all = append(all, mkfile(n, n, 0o644), cat(n))
	}
	all = append(all, readdir(""))
	for i, n := range oddNames {
		if i%2 == 0 {
			all = append(all, unlink(n), fails(syscall.ENOENT, stat(n)))
		}
	}
	var dirs []op
	for _, n := range oddNames {
		dirs = append(dirs, mkdir(n, 0o755), mkfile(n+"/"+n, n, 0o600), symlink(n, n+"/link"), readlink(n+"/link"))
	}
	var renames []op
	for i, n := range oddNames {
		renames = append(renames, mkdir("from", 0o755), rename("from", n, 0), stat(n))
		if i > 0 {
			renames = append(renames, rename(oddNames[i-1], n+"/inner", 0))
		}
	}
	long := strings.Repeat("x", vfs.MaxName)
	tooLong := long + "x"
	deep := []op{}
	for p, i := "", 0; i < 15; i++ {
		p = strings.TrimPrefix(p+"/"+long, "/")
		deep = append(deep, mkdir(p, 0o755), stat(p))
		if i == 14 {
			deep = append(deep, mkfile(p+"/leaf", "nearly PATH_MAX", 0o644))
		}
	}
	return []scenario{
		{"files", all},
		{"directories", dirs},
		{"renames", renames},
		{"too long", []op{
			fails(syscall.ENAMETOOLONG, stat(tooLong)),
			fails(syscall.ENAMETOOLONG, mkdir(tooLong, 0o755)),
			fails(syscall.ENAMETOOLONG, mkfile(tooLong, "", 0o644)),
			mkdir(long, 0o755),
			fails(syscall.ENAMETOOLONG, rename(long, tooLong, 0)),
		}},
		{"missing", []op{
			fails(syscall.ENOENT, stat("no")),
			fails(syscall.ENOENT, stat("no/no")),
			fails(syscall.ENOENT, open("f", "no", unix.O_RDONLY, 0)),
			fails(syscall.ENOENT, unlink("no")),
			fails(syscall.ENOENT, rmdir("no")),
			fails(syscall.ENOENT, rename("no", "new", 0)),
			fails(syscall.ENOENT, readlink("no")),
			fails(syscall.ENOENT, readdir("no")),
			fails(syscall.ENOENT, chmod("no", 0o600)),
			fails(syscall.ENOENT, mkdir("no/dir", 0o755)),
		}},
		{"taken", []op{
			mkdir("d", 0o755), mkfile("f", "", 0o644), symlink("nowhere", "l"),
			fails(syscall.EEXIST, mkdir("d", 0o755)),
			fails(syscall.EEXIST, mkdir("f", 0o755)),
			fails(syscall.EEXIST, mkdir("l", 0o755)),
			fails(syscall.EEXIST, mknod("f", unix.S_IFREG|0o644, 0)),
			fails(syscall.EEXIST, mknod("d", unix.S_IFREG|0o644, 0)),
			fails(syscall.EEXIST, symlink("t", "f")),
			fails(syscall.EEXIST, symlink("t", "d")),
			fails(syscall.EEXIST, symlink("t", "l")),
			fails(syscall.EEXIST, mkfile("f", "", 0o644)),
			fails(syscall.EEXIST, mkfile("d", "", 0o644)),
			fails(syscall.EEXIST, mkfile("l", "", 0o644)),
		}},
		{"removing the wrong kind", []op{
			mkdir("d", 0o755), mkdir("d/d", 0o755), mkfile("f", "", 0o644), symlink("d", "l"),
			fails(syscall.EISDIR, unlink("d")),
			fails(syscall.ENOTDIR, rmdir("f")),
			fails(syscall.ENOTDIR, rmdir("l")),
			fails(syscall.ENOTEMPTY, rmdir("d")),
			rmdir("d/d"), rmdir("d"), unlink("f"), unlink("l"),
		}},
		{"below a removed directory", []op{
			mkdir("d", 0o755), open("d", "d", unix.O_RDONLY|unix.O_DIRECTORY, 0), rmdir("d"),
			fails(syscall.ENOENT, mkfile("d/f", "", 0o644)), closeFile("d"),
		}},
		{"deep", deep},
	}
}

// testRemovedParent uses the node of a directory that is gone, which the guest
// may still hold.
func (s *suite) testRemovedParent(t *testing.T) {
	c := s.root(t)
	if _, errno := c.mkdir("gone", 0o755); errno != 0 {
		t.Fatal(errno)
	}
	node, _, errno := c.walk("gone")
	if errno != 0 {
		t.Fatal(errno)
	}
	if errno := c.rmdir("gone"); errno != 0 {
		t.Fatal(errno)
	}
	in := &session{t: t, fs: s.FS, feat: s.feat, base: node, held: map[vfs.NodeID]uint64{}}
	if a, errno := in.getattr(node, vfs.NoHandle); errno != 0 || a.Nlink != 0 {
		t.Errorf("Getattr of a removed directory: nlink %d, %s; want 0", a.Nlink, errnoName(errno))
	}
	for _, tt := range []struct {
		name string
		call func() syscall.Errno
	}{
		{"Lookup", func() syscall.Errno { _, errno := in.stat("x"); return errno }},
		{"Mkdir", func() syscall.Errno { _, errno := in.mkdir("x", 0o755); return errno }},
		{"Mknod", func() syscall.Errno { _, errno := in.mknod("x", unix.S_IFREG|0o644, 0); return errno }},
		{"Symlink", func() syscall.Errno { _, errno := in.symlink("t", "x"); return errno }},
		{"Create", func() syscall.Errno { _, errno := in.open("x", unix.O_CREAT|unix.O_RDWR, 0o644); return errno }},
		{"Unlink", func() syscall.Errno { return in.unlink("x") }},
		{"Rmdir", func() syscall.Errno { return in.rmdir("x") }},
	} {
		if errno := tt.call(); errno != syscall.ENOENT {
			t.Errorf("%s in a removed directory: %s, want ENOENT", tt.name, errnoName(errno))
		}
	}
	in.end()
	c.put(node)
}
