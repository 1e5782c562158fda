package overlay_test

import (
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// faults has one call of several file systems fail. Calls that give something
// back are not counted: they do not fail.
type faults struct {
	left  atomic.Int64 // calls until the one that fails
	errno syscall.Errno
}

// fail counts a call.
func (f *faults) fail() syscall.Errno {
	if f.left.Add(-1) == 0 {
		return f.errno
	}
	return 0
}

// arm has the n-th call from now on fail; 0 has none fail.
func (f *faults) arm(n int64) { f.left.Store(n) }

// fired tells whether the call that was to fail has come.
func (f *faults) fired() bool { return f.left.Load() <= 0 }

// faulty is a file system some of whose calls fail.
type faulty struct {
	vfs.FileSystem
	*faults
}

func (f faulty) Lookup(r *vfs.Request, parent vfs.NodeID, name vfs.Name, out *vfs.Entry) syscall.Errno {
	if errno := f.fail(); errno != 0 {
		return errno
	}
	return f.FileSystem.Lookup(r, parent, name, out)
}

func (f faulty) Getattr(r *vfs.Request, node vfs.NodeID, h vfs.Handle, out *vfs.AttrOut) syscall.Errno {
	if errno := f.fail(); errno != 0 {
		return errno
	}
	return f.FileSystem.Getattr(r, node, h, out)
}

func (f faulty) Setattr(r *vfs.Request, node vfs.NodeID, h vfs.Handle, in *vfs.SetAttr, out *vfs.AttrOut) syscall.Errno {
	if errno := f.fail(); errno != 0 {
		return errno
	}
	return f.FileSystem.Setattr(r, node, h, in, out)
}

func (f faulty) Readlink(r *vfs.Request, node vfs.NodeID, buf []byte) (int, syscall.Errno) {
	if errno := f.fail(); errno != 0 {
		return 0, errno
	}
	return f.FileSystem.Readlink(r, node, buf)
}

func (f faulty) Symlink(r *vfs.Request, parent vfs.NodeID, name vfs.Name, target []byte, out *vfs.Entry) syscall.Errno {
	if errno := f.fail(); errno != 0 {
		return errno
	}
	return f.FileSystem.Symlink(r, parent, name, target, out)
}

func (f faulty) Mknod(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode, rdev uint32, out *vfs.Entry) syscall.Errno {
	if errno := f.fail(); errno != 0 {
		return errno
	}
	return f.FileSystem.Mknod(r, parent, name, mode, rdev, out)
}

func (f faulty) Mkdir(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode uint32, out *vfs.Entry) syscall.Errno {
	if errno := f.fail(); errno != 0 {
		return errno
	}
	return f.FileSystem.Mkdir(r, parent, name, mode, out)
}

func (f faulty) Link(r *vfs.Request, node, newParent vfs.NodeID, newName vfs.Name, out *vfs.Entry) syscall.Errno {
	if errno := f.fail(); errno != 0 {
		return errno
	}
	return f.FileSystem.Link(r, node, newParent, newName, out)
}

func (f faulty) Unlink(r *vfs.Request, parent vfs.NodeID, name vfs.Name) syscall.Errno {
	if errno := f.fail(); errno != 0 {
		return errno
	}
	return f.FileSystem.Unlink(r, parent, name)
}

func (f faulty) Rmdir(r *vfs.Request, parent vfs.NodeID, name vfs.Name) syscall.Errno {
	if errno := f.fail(); errno != 0 {
		return errno
	}
	return f.FileSystem.Rmdir(r, parent, name)
}

func (f faulty) Rename(r *vfs.Request, oldParent vfs.NodeID, oldName vfs.Name, newParent vfs.NodeID, newName vfs.Name, flags uint32) syscall.Errno {
	if errno := f.fail(); errno != 0 {
		return errno
	}
	return f.FileSystem.Rename(r, oldParent, oldName, newParent, newName, flags)
}

func (f faulty) Open(r *vfs.Request, node vfs.NodeID, flags uint32, kill bool, out *vfs.Opened) syscall.Errno {
	if errno := f.fail(); errno != 0 {
		return errno
	}
	return f.FileSystem.Open(r, node, flags, kill, out)
}

func (f faulty) Create(r *vfs.Request, parent vfs.NodeID, name vfs.Name, flags, mode uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	if errno := f.fail(); errno != 0 {
		return errno
	}
	return f.FileSystem.Create(r, parent, name, flags, mode, out, opened)
}

func (f faulty) Read(r *vfs.Request, node vfs.NodeID, h vfs.Handle, dst []unix.Iovec, off uint64, openFlags uint32) (int, syscall.Errno) {
	if errno := f.fail(); errno != 0 {
		return 0, errno
	}
	return f.FileSystem.Read(r, node, h, dst, off, openFlags)
}

func (f faulty) Write(r *vfs.Request, node vfs.NodeID, h vfs.Handle, src []unix.Iovec, off uint64, openFlags uint32, flags vfs.WriteFlags) (int, syscall.Errno) {
	if errno := f.fail(); errno != 0 {
		return 0, errno
	}
	return f.FileSystem.Write(r, node, h, src, off, openFlags, flags)
}

func (f faulty) Opendir(r *vfs.Request, node vfs.NodeID, flags uint32, out *vfs.Opened) syscall.Errno {
	if errno := f.fail(); errno != 0 {
		return errno
	}
	return f.FileSystem.Opendir(r, node, flags, out)
}

func (f faulty) Readdir(r *vfs.Request, node vfs.NodeID, h vfs.Handle, off uint64, sink vfs.DirSink) syscall.Errno {
	if errno := f.fail(); errno != 0 {
		return errno
	}
	return f.FileSystem.Readdir(r, node, h, off, sink)
}

func (f faulty) Getxattr(r *vfs.Request, node vfs.NodeID, name, buf []byte) (int, syscall.Errno) {
	if errno := f.fail(); errno != 0 {
		return 0, errno
	}
	return f.FileSystem.Getxattr(r, node, name, buf)
}

func (f faulty) Listxattr(r *vfs.Request, node vfs.NodeID, buf []byte) (int, syscall.Errno) {
	if errno := f.fail(); errno != 0 {
		return 0, errno
	}
	return f.FileSystem.Listxattr(r, node, buf)
}

func (f faulty) Setxattr(r *vfs.Request, node vfs.NodeID, name, value []byte, flags uint32, killSGID bool) syscall.Errno {
	if errno := f.fail(); errno != 0 {
		return errno
	}
	return f.FileSystem.Setxattr(r, node, name, value, flags, killSGID)
}

func (f faulty) Removexattr(r *vfs.Request, node vfs.NodeID, name []byte) syscall.Errno {
	if errno := f.fail(); errno != 0 {
		return errno
	}
	return f.FileSystem.Removexattr(r, node, name)
}
