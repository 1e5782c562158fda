package vfstest

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// specialScenarios make pipes, sockets and device nodes. Opens of them are in
// testOpenKinds.
func specialScenarios(*suite) []scenario {
	var devices []op
	for i, d := range [][2]uint32{{0, 0}, {1, 3}, {8, 255}, {8, 256}, {255, 0}, {256, 1}, {0xfff, 0xfffff}, {1, 0xfffff}, {0xfff, 0}} {
		n := string(rune('a' + i))
		devices = append(devices,
			mknod("c"+n, unix.S_IFCHR|0o640, vfs.MakeDev(d[0], d[1])), mknod("b"+n, unix.S_IFBLK|0o640, vfs.MakeDev(d[0], d[1])),
			stat("c"+n), stat("b"+n))
	}
	return []scenario{
		{"device numbers", devices},
		{"types", []op{
			mknod("reg", unix.S_IFREG|0o4755, 0), stat("reg"), mknod("bare", 0o644, 0), stat("bare"), mknod("fifo", unix.S_IFIFO|0o1777, 0), mknod("sock", unix.S_IFSOCK|0, 0),
			whatever(mknod("dir", unix.S_IFDIR|0o755, 0)), whatever(mknod("link", unix.S_IFLNK|0o755, 0)), whatever(mknod("junk", 0o150000|0o755, 0)), readdir(""),
		}},
		{"as other files", []op{
			mknod("p", unix.S_IFIFO|0o644, 0), mkdir("d", 0o755), chmod("p", 0o600), chown("p", 1, 2), rename("p", "d/p", 0),
			utimens("d/p", vfs.Timespec{Sec: 1}, vfs.Timespec{Sec: 2}), times("d/p"), stat("d/p"), unlink("d/p"), fails(syscall.ENOENT, stat("d/p")),
			mknod("c", unix.S_IFCHR|0o666, vfs.MakeDev(1, 7)), stat("c"), mkfile("f", "x", 0o644), rename("f", "c", 0), cat("c"),
		}},
	}
}
