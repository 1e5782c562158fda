package vfstest

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// nowaitScenarios use all of the session. They are played by a guest that makes
// each call first with Nowait and, where that would block, again without. A first
// try that had done something shows in the second: a name is there already, data
// are appended twice, a reference is too many.
func nowaitScenarios(s *suite) []scenario {
	made, names := s.kinds()
	ops := append([]op{}, made...)
	for _, n := range names {
		ops = append(ops, stat(n), chown(n, 3, 4), utimens(n, vfs.Timespec{Sec: 1}, vfs.Timespec{Sec: 2}), times(n))
	}
	ops = append(ops,
		open("f", "file", rdwr|appnd, 0), pwrite("f", "once", 0), pwrite("f", "twice", 0), pread("f", 100, 0), truncate("file", 5), cat("file"),
		fsetattr("f", vfs.SetAttr{Valid: vfs.SetMode, Mode: 0o600}), fsync("f", false), mkfile("cold", pattern(1<<20), 0o644), cat("cold"),
		open("g", "new", creat|excl|rdwr, 0o644), pwrite("g", "data", 0), fails(syscall.EEXIST, open("h", "new", creat|excl|rdwr, 0)), closeFile("g"),
		open("g", "new", rdwr|unix.O_TRUNC, 0), fstat("g"), readdir(""), readdir("dir"), readlink("link"), rename("new", "dir/new", 0), unlink("dir/new"), rmdir("dir"),
		fails(syscall.ENOENT, stat("nothing")),
	)
	if s.Lacks&NoXattr == 0 {
		ops = append(ops, setxattr("file", "user.a", "1", unix.XATTR_CREATE), getxattr("file", "user.a", 10), listxattr("file", 100), removexattr("file", "user.a"))
	}
	if s.Lacks&NoHardLinks == 0 {
		ops = append(ops, link("file", "file2"), unlink("file"))
	}
	if s.Lacks&NoTmpfile == 0 {
		ops = append(ops, open("t", "", unix.O_TMPFILE|rdwr, 0o600), pwrite("t", "x", 0), fstat("t"))
	}
	if s.Lacks&NoFallocate == 0 {
		ops = append(ops, fallocate("f", 0, 0, 9000), seek("f", 0, unix.SEEK_HOLE))
	}
	if s.Lacks&NoCopyRange == 0 {
		ops = append(ops, open("a", "cold", rdonly, 0), open("b", "copy", creat|rdwr, 0o644), copyRange("a", "b", 0, 0, 4096, 0), cat("copy"))
	}
	var many []op
	for i := range 100 {
		p := fmt.Sprintf("d%d", i)
		many = append(many, mkdir(p, 0o755), mkfile(p+"/f", p, 0o644), cat(p+"/f"), rename(p+"/f", "f", 0))
	}
	return []scenario{{"every operation", ops}, {"many names", append(many, readdir(""))}}
}
