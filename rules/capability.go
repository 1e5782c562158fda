package rules

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// capabilityFS takes capabilities away from files that change, where they are
// kept under a name that the host's kernel does not know (CVE-2021-20263). Each
// call removes them first: if the change does not come after all, a file has
// lost them for nothing, but a changed file never has those of its former self.
type capabilityFS struct{ *xattrFS }

// Backing implements [vfs.Backer]. There is none: what is written to a backing file is
// not seen here.
func (fs *capabilityFS) Backing(vfs.NodeID, vfs.Handle) (fd int, ok bool) { return -1, false }

// removed are the errors that mean that a file has no capabilities: none are
// set, or attributes cannot be, or the file cannot be found, in which case
// nobody can read its capabilities either.
func removed(errno syscall.Errno) bool {
	switch errno {
	case 0, syscall.ENODATA, syscall.ENOTSUP, syscall.ENOSYS, syscall.ESTALE:
		return true
	}
	return false
}

// drop removes the capabilities of a file. It looks first, as nearly always there
// are none: looking takes no lock and starts nothing on a disk.
func (fs *capabilityFS) drop(r *vfs.Request, node vfs.NodeID) syscall.Errno {
	_, errno := fs.FileSystem.Getxattr(r, node, fs.m.capability, nil)
	if errno == 0 {
		errno = fs.FileSystem.Removexattr(r, node, fs.m.capability)
	}
	if removed(errno) {
		return 0
	}
	return errno
}

func (fs *capabilityFS) Write(r *vfs.Request, node vfs.NodeID, h vfs.Handle, src []unix.Iovec, off uint64, openFlags uint32, flags vfs.WriteFlags) (int, syscall.Errno) {
	if errno := fs.drop(r, node); errno != 0 {
		return 0, errno
	}
	return fs.FileSystem.Write(r, node, h, src, off, openFlags, flags)
}

func (fs *capabilityFS) Fallocate(r *vfs.Request, node vfs.NodeID, h vfs.Handle, off, length uint64, mode uint32) syscall.Errno {
	if errno := fs.drop(r, node); errno != 0 {
		return errno
	}
	return fs.FileSystem.Fallocate(r, node, h, off, length, mode)
}

func (fs *capabilityFS) CopyFileRange(r *vfs.Request, in *vfs.CopyRange) (uint64, syscall.Errno) {
	if errno := fs.drop(r, in.DstNode); errno != 0 {
		return 0, errno
	}
	return fs.FileSystem.CopyFileRange(r, in)
}

func (fs *capabilityFS) Setattr(r *vfs.Request, node vfs.NodeID, h vfs.Handle, in *vfs.SetAttr, out *vfs.AttrOut) syscall.Errno {
	if in.Valid&(vfs.SetUID|vfs.SetGID|vfs.SetSize) != 0 {
		if errno := fs.drop(r, node); errno != 0 {
			return errno
		}
	}
	return fs.FileSystem.Setattr(r, node, h, in, out)
}

func (fs *capabilityFS) Open(r *vfs.Request, node vfs.NodeID, flags uint32, kill bool, out *vfs.Opened) syscall.Errno {
	if flags&unix.O_TRUNC != 0 {
		if errno := fs.drop(r, node); errno != 0 {
			return errno
		}
	}
	return fs.FileSystem.Open(r, node, flags, kill, out)
}

// Create may truncate a file that is there. Which that is shows only when it is
// open; until then it is empty, and whoever writes to it before has removed its
// capabilities. As the file may be new and cannot be made twice, there is no way
// back after that, so it is not begun where it may not wait.
func (fs *capabilityFS) Create(r *vfs.Request, parent vfs.NodeID, name vfs.Name, flags, mode uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	if flags&unix.O_TRUNC == 0 || flags&unix.O_EXCL != 0 {
		return fs.xattrFS.Create(r, parent, name, flags, mode, out, opened)
	}
	if r.Nowait {
		return vfs.WouldBlock
	}
	errno := fs.xattrFS.Create(r, parent, name, flags, mode, out, opened)
	if errno != 0 {
		return errno
	}
	if errno = fs.drop(r, out.Node); errno != 0 {
		fs.Release(r, out.Node, opened.Handle, &vfs.ReleaseIn{})
		fs.Forget(out.Node, 1)
	}
	return errno
}
