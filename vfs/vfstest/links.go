package vfstest

import (
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// linkScenarios make hard links of all that can have them, and symbolic links.
func linkScenarios(s *suite) []scenario {
	target := strings.Repeat("t", 4095)
	list := []scenario{
		{"of a file", []op{
			mkfile("f", "shared", 0o644), mkdir("d", 0o755), link("f", "g"), link("g", "d/h"), stat("f"),
			open("f", "f", rdwr, 0), pwrite("f", "SH", 0), cat("d/h"), chmod("g", 0o600), stat("d/h"),
			unlink("f"), stat("g"), cat("g"), rename("g", "f", 0), unlink("d/h"), stat("f"), fstat("f"),
		}},
		{"of a symbolic link", []op{
			symlink("nowhere", "l"), link("l", "m"), readlink("m"), unlink("l"), readlink("m"), stat("m"),
		}},
		{"refused", []op{
			mkfile("f", "", 0o644), mkfile("g", "", 0o644), mkdir("d", 0o755), symlink("f", "l"),
			fails(syscall.EEXIST, link("f", "g")), fails(syscall.EEXIST, link("f", "f")), fails(syscall.EEXIST, link("f", "d")),
			fails(syscall.EEXIST, link("f", "l")), fails(syscall.EPERM, link("d", "e")), fails(syscall.EPERM, link("d", "d/e")),
			fails(syscall.ENOENT, link("no", "e")), fails(syscall.ENOENT, link("f", "no/e")), fails(syscall.ENOTDIR, link("f", "g/e")),
			fails(syscall.ENAMETOOLONG, link("f", strings.Repeat("x", 256))),
		}},
		{"of a removed file", []op{
			open("f", "f", creat|rdwr, 0o644), unlink("f"), fails(syscall.ENOENT, flink("f", "again")),
		}},
		{"of an open file", []op{
			open("f", "f", creat|rdwr, 0o644), pwrite("f", "x", 0), flink("f", "g"), fstat("f"), unlink("f"), cat("g"),
		}},
		{"many", manyLinks(60)},
		{"symbolic", []op{
			symlink("x", "short"), symlink(target, "long"), symlink("/etc/passwd", "abs"), symlink("../../..", "up"), symlink("\xff\xfe\n", "bytes"),
			symlink("loop", "loop"), readlink("short"), readlink("long"), readlink("abs"), readlink("up"), readlink("bytes"), readlink("loop"),
			stat("short"), stat("long"), stat("loop"),
			mkfile("f", "", 0o644), mkdir("d", 0o755), fails(syscall.EINVAL, readlink("f")), fails(syscall.EINVAL, readlink("d")),
			fails(syscall.EOPNOTSUPP, chmod("short", 0o600)), chown("short", 12, 34), stat("short"), rename("short", "d/s", 0), readlink("d/s"),
		}},
	}
	if s.Lacks&NoSpecial == 0 {
		list = append(list, scenario{"of special files", []op{
			mknod("p", unix.S_IFIFO|0o644, 0), mknod("s", unix.S_IFSOCK|0o644, 0), mknod("c", unix.S_IFCHR|0o644, 0x103),
			link("p", "p2"), link("s", "s2"), link("c", "c2"), stat("c2"), unlink("p"), unlink("s"), unlink("c"), stat("p2"),
		}})
	}
	return list
}

// manyLinks makes n names of one file in several directories.
func manyLinks(n int) []op {
	ops := []op{mkfile("f", "x", 0o644), mkdir("d0", 0o755), mkdir("d1", 0o755), mkdir("d2", 0o755)}
	for i := range n {
		ops = append(ops, link("f", fmt.Sprintf("d%d/n%d", i%3, i)))
	}
	return append(ops, unlink("f"), stat("d0/n0"))
}
