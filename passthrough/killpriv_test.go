package passthrough

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// TestKillSetuid changes a file with setuid and setgid in all ways but by
// truncation, and wants what the host's kernel does for a caller of its own.
func TestKillSetuid(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		path := join(dir, "f")
		write(t, path, string(make([]byte, 8192)))
		write(t, join(dir, "src"), "source")
		for name, c := range map[string]struct {
			killPriv bool
			do       func(fs *FS, id vfs.NodeID, h vfs.Handle) syscall.Errno
			kept     bool
		}{
			"write": {true, func(fs *FS, id vfs.NodeID, h vfs.Handle) syscall.Errno {
				_, errno := fs.Write(&someone, id, h, iovs([]byte("x"), 1), 0, 0, 0)
				return errno
			}, true},
			// Where nothing is cached, Linux asks for it without having agreed.
			"write, kill, not agreed": {false, func(fs *FS, id vfs.NodeID, h vfs.Handle) syscall.Errno {
				_, errno := fs.Write(&someone, id, h, iovs([]byte("x"), 1), 0, 0, vfs.WriteKillSUIDGID)
				return errno
			}, false},
			"write, kill": {true, func(fs *FS, id vfs.NodeID, h vfs.Handle) syscall.Errno {
				_, errno := fs.Write(&someone, id, h, iovs([]byte("x"), 1), 0, 0, vfs.WriteKillSUIDGID)
				return errno
			}, false},
			"fallocate by root": {false, func(fs *FS, id vfs.NodeID, h vfs.Handle) syscall.Errno {
				return fs.Fallocate(&root, id, h, 0, 4096, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE)
			}, true},
			"fallocate by someone": {false, func(fs *FS, id vfs.NodeID, h vfs.Handle) syscall.Errno {
				return fs.Fallocate(&someone, id, h, 0, 4096, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE)
			}, false},
			"fallocate by someone who is not told, agreed": {true, func(fs *FS, id vfs.NodeID, h vfs.Handle) syscall.Errno {
				return fs.Fallocate(&vfs.Request{UID: noID, GID: noID}, id, h, 0, 4096, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE)
			}, false},
			"fallocate by someone who is not told": {false, func(fs *FS, id vfs.NodeID, h vfs.Handle) syscall.Errno {
				return fs.Fallocate(&vfs.Request{UID: noID, GID: noID}, id, h, 0, 4096, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE)
			}, true},
			"fallocate by someone, to grow": {true, func(fs *FS, id vfs.NodeID, h vfs.Handle) syscall.Errno {
				return fs.Fallocate(&someone, id, h, 8192, 4096, 0)
			}, false},
			"fallocate by someone, of zeroes": {true, func(fs *FS, id vfs.NodeID, h vfs.Handle) syscall.Errno {
				return fs.Fallocate(&someone, id, h, 0, 4096, unix.FALLOC_FL_ZERO_RANGE)
			}, false},
			"copy by root": {true, func(fs *FS, id vfs.NodeID, h vfs.Handle) syscall.Errno {
				src, srcH := openAt(t, fs, "src", unix.O_RDONLY)
				_, errno := fs.CopyFileRange(&root, &vfs.CopyRange{SrcNode: src, SrcHandle: srcH, DstNode: id, DstHandle: h, Len: 3})
				return errno
			}, true},
			"copy by someone": {false, func(fs *FS, id vfs.NodeID, h vfs.Handle) syscall.Errno {
				src, srcH := openAt(t, fs, "src", unix.O_RDONLY)
				_, errno := fs.CopyFileRange(&someone, &vfs.CopyRange{SrcNode: src, SrcHandle: srcH, DstNode: id, DstHandle: h, Len: 3})
				return errno
			}, false},
		} {
			fs := share(t, Config{Path: dir, KillPriv: c.killPriv})
			id, h := openAt(t, fs, "f", unix.O_RDWR)
			if err := unix.Chmod(path, 0o6755); err != nil {
				t.Fatal(err)
			}
			if errno := c.do(fs, id, h); errno == syscall.EOPNOTSUPP && name[:4] == "fall" {
				t.Logf("%s: %v", name, errno)
				continue
			} else if errno != 0 {
				t.Errorf("%s: %v", name, errno)
			}
			if mode := modeOf(t, path); mode != map[bool]uint32{true: 0o6755, false: 0o755}[c.kept] {
				t.Errorf("%s: mode %o", name, mode)
			}
			if !oslib.ThreadHasCap(unix.CAP_FSETID) {
				t.Errorf("%s: the thread lost CAP_FSETID", name)
			}
		}
	})
}
