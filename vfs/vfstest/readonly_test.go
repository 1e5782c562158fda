package vfstest_test

import (
	"io"
	"log/slog"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/vfs/vfstest"
)

// subject makes a subject of a host directory as change makes of it.
func subject(t *testing.T, populated bool, change func(vfs.FileSystem) vfs.FileSystem) vfstest.Subject {
	t.Helper()
	var dirs [2]string
	for i := range dirs {
		dir, err := os.MkdirTemp("/dev/shm", "isthmus-vfstest-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		if populated {
			if err := vfstest.Populate(dir, true); err != nil {
				t.Fatal(err)
			}
		}
		dirs[i] = dir
	}
	fs, err := passthrough.New(passthrough.Config{
		Path: dirs[0], Xattr: true, KillPriv: true, Locks: passthrough.Locks{POSIX: true, Flock: true},
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fs.Close() })
	return vfstest.Subject{
		FS: change(fs), Dir: dirs[0], Twin: dirs[1], ReadOnly: populated,
		Stats: func() (nodes, handles, fds int) {
			s := fs.Stats()
			return s.Nodes, s.Handles, s.FDs
		},
	}
}

// readOnly refuses all changes of what it is put on.
type readOnly struct{ plain }

func (readOnly) Setattr(*vfs.Request, vfs.NodeID, vfs.Handle, *vfs.SetAttr, *vfs.AttrOut) syscall.Errno {
	return syscall.EROFS
}

func (readOnly) Symlink(*vfs.Request, vfs.NodeID, vfs.Name, []byte, *vfs.Entry) syscall.Errno {
	return syscall.EROFS
}

func (readOnly) Mknod(*vfs.Request, vfs.NodeID, vfs.Name, uint32, uint32, *vfs.Entry) syscall.Errno {
	return syscall.EROFS
}

func (readOnly) Mkdir(*vfs.Request, vfs.NodeID, vfs.Name, uint32, *vfs.Entry) syscall.Errno {
	return syscall.EROFS
}

func (readOnly) Link(*vfs.Request, vfs.NodeID, vfs.NodeID, vfs.Name, *vfs.Entry) syscall.Errno {
	return syscall.EROFS
}

func (readOnly) Unlink(*vfs.Request, vfs.NodeID, vfs.Name) syscall.Errno { return syscall.EROFS }
func (readOnly) Rmdir(*vfs.Request, vfs.NodeID, vfs.Name) syscall.Errno  { return syscall.EROFS }

func (readOnly) Rename(*vfs.Request, vfs.NodeID, vfs.Name, vfs.NodeID, vfs.Name, uint32) syscall.Errno {
	return syscall.EROFS
}

func (fs readOnly) Open(r *vfs.Request, node vfs.NodeID, flags uint32, kill bool, out *vfs.Opened) syscall.Errno {
	if flags&unix.O_ACCMODE != unix.O_RDONLY || flags&unix.O_TRUNC != 0 {
		return syscall.EROFS
	}
	return fs.plain.Open(r, node, flags, kill, out)
}

func (readOnly) Create(*vfs.Request, vfs.NodeID, vfs.Name, uint32, uint32, *vfs.Entry, *vfs.Opened) syscall.Errno {
	return syscall.EROFS
}

func (readOnly) Tmpfile(*vfs.Request, vfs.NodeID, uint32, uint32, *vfs.Entry, *vfs.Opened) syscall.Errno {
	return syscall.EROFS
}

func (readOnly) Setxattr(*vfs.Request, vfs.NodeID, []byte, []byte, uint32, bool) syscall.Errno {
	return syscall.EROFS
}

func (readOnly) Removexattr(*vfs.Request, vfs.NodeID, []byte) syscall.Errno { return syscall.EROFS }
