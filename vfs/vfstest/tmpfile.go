package vfstest

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// tmpfileScenarios make files without a name.
func tmpfileScenarios(s *suite) []scenario {
	const tmp = unix.O_TMPFILE
	list := []scenario{
		{"nameless", []op{
			mkdir("d", 0o755), open("f", "d", tmp|rdwr, 0o640), fstat("f"), pwrite("f", "data", 0), pread("f", 9, 0), readdir("d"),
			fsetattr("f", vfs.SetAttr{Valid: vfs.SetMode, Mode: 0o600}), fstat("f"), open("g", "d", tmp|wronly, 0), fstat("g"),
			fails(syscall.EBADF, pread("g", 1, 0)), pwrite("g", "x", 0), closeFile("g"), readdir("d"), rmdir("d"),
		}},
		{"in the wrong place", []op{
			mkfile("f", "", 0o644), fails(syscall.ENOTDIR, open("t", "f", tmp|rdwr, 0o600)), fails(syscall.ENOENT, open("t", "no", tmp|rdwr, 0o600)),
		}},
		{"as a user", []op{
			mkdir("d", 0o777), by(caller{uid: 1000, gid: 2000}, open("f", "d", tmp|rdwr, 0o666)), fstat("f"),
			chmod("d", 0o2777), chown("d", 0, 77), by(caller{uid: 1000, gid: 2000, umask: 0o27}, open("g", "d", tmp|rdwr, 0o666)), fstat("g"),
		}},
	}
	if s.Lacks&NoHardLinks == 0 {
		list = append(list, scenario{"named later", []op{
			open("f", "", tmp|rdwr, 0o644), pwrite("f", "complete at once", 0), flink("f", "name"), fstat("f"), cat("name"), flink("f", "second"), stat("name"),
			closeFile("f"), cat("second"), open("g", "", tmp|rdwr, 0o644), fails(syscall.EEXIST, flink("g", "name")),
			open("h", "", tmp|excl|rdwr, 0o644), fails(syscall.ENOENT, flink("h", "never")),
		}})
	}
	return list
}
