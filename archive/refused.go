package archive

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// The calls here change something, or are about locks, which the guest is to
// keep for itself, or ioctls, of which there are none.

// readOnly is the answer to a call that would change a node.
func (fs *FS) readOnly(id vfs.NodeID) syscall.Errno {
	if _, _, errno := fs.node(id); errno != 0 {
		return errno
	}
	return syscall.EROFS
}

// Setattr implements [vfs.FileSystem].
func (fs *FS) Setattr(_ *vfs.Request, id vfs.NodeID, _ vfs.Handle, _ *vfs.SetAttr, _ *vfs.AttrOut) syscall.Errno {
	return fs.readOnly(id)
}

// Symlink implements [vfs.FileSystem].
func (fs *FS) Symlink(_ *vfs.Request, parent vfs.NodeID, _ vfs.Name, _ []byte, _ *vfs.Entry) syscall.Errno {
	return fs.readOnly(parent)
}

// Mknod implements [vfs.FileSystem].
func (fs *FS) Mknod(_ *vfs.Request, parent vfs.NodeID, _ vfs.Name, _, _ uint32, _ *vfs.Entry) syscall.Errno {
	return fs.readOnly(parent)
}

// Mkdir implements [vfs.FileSystem].
func (fs *FS) Mkdir(_ *vfs.Request, parent vfs.NodeID, _ vfs.Name, _ uint32, _ *vfs.Entry) syscall.Errno {
	return fs.readOnly(parent)
}

// Link implements [vfs.FileSystem].
func (fs *FS) Link(_ *vfs.Request, id, newParent vfs.NodeID, _ vfs.Name, _ *vfs.Entry) syscall.Errno {
	if errno := fs.readOnly(id); errno != syscall.EROFS {
		return errno
	}
	return fs.readOnly(newParent)
}

// Unlink implements [vfs.FileSystem].
func (fs *FS) Unlink(_ *vfs.Request, parent vfs.NodeID, _ vfs.Name) syscall.Errno {
	return fs.readOnly(parent)
}

// Rmdir implements [vfs.FileSystem].
func (fs *FS) Rmdir(_ *vfs.Request, parent vfs.NodeID, _ vfs.Name) syscall.Errno {
	return fs.readOnly(parent)
}

// Rename implements [vfs.FileSystem].
func (fs *FS) Rename(_ *vfs.Request, oldParent vfs.NodeID, _ vfs.Name, newParent vfs.NodeID, _ vfs.Name, _ uint32) syscall.Errno {
	if errno := fs.readOnly(oldParent); errno != syscall.EROFS {
		return errno
	}
	return fs.readOnly(newParent)
}

// Tmpfile implements [vfs.FileSystem].
func (fs *FS) Tmpfile(_ *vfs.Request, parent vfs.NodeID, _, _ uint32, _ *vfs.Entry, _ *vfs.Opened) syscall.Errno {
	return fs.readOnly(parent)
}

// Write implements [vfs.FileSystem].
func (fs *FS) Write(_ *vfs.Request, id vfs.NodeID, _ vfs.Handle, _ []unix.Iovec, _ uint64, _ uint32, _ vfs.WriteFlags) (int, syscall.Errno) {
	return 0, fs.readOnly(id)
}

// Fallocate implements [vfs.FileSystem].
func (fs *FS) Fallocate(_ *vfs.Request, id vfs.NodeID, _ vfs.Handle, _, _ uint64, _ uint32) syscall.Errno {
	return fs.readOnly(id)
}

// CopyFileRange implements [vfs.FileSystem].
func (fs *FS) CopyFileRange(_ *vfs.Request, in *vfs.CopyRange) (uint64, syscall.Errno) {
	if errno := fs.readOnly(in.SrcNode); errno != syscall.EROFS {
		return 0, errno
	}
	return 0, fs.readOnly(in.DstNode)
}

// Setxattr implements [vfs.FileSystem].
func (fs *FS) Setxattr(_ *vfs.Request, id vfs.NodeID, _, _ []byte, _ uint32, _ bool) syscall.Errno {
	return fs.readOnly(id)
}

// Removexattr implements [vfs.FileSystem].
func (fs *FS) Removexattr(_ *vfs.Request, id vfs.NodeID, _ []byte) syscall.Errno {
	return fs.readOnly(id)
}

// Getlk implements [vfs.FileSystem].
func (fs *FS) Getlk(*vfs.Request, vfs.NodeID, vfs.Handle, *vfs.Lock) syscall.Errno {
	return syscall.ENOSYS
}

// Setlk implements [vfs.FileSystem].
func (fs *FS) Setlk(*vfs.Request, vfs.NodeID, vfs.Handle, *vfs.Lock) syscall.Errno {
	return syscall.ENOSYS
}

// Ioctl implements [vfs.FileSystem].
func (fs *FS) Ioctl(_ *vfs.Request, id vfs.NodeID, h vfs.Handle, _ uint32, _ uint64, _, _ []byte) (int, int32, syscall.Errno) {
	if _, errno := fs.object(id, h); errno != 0 {
		return 0, 0, errno
	}
	return 0, 0, syscall.ENOTTY
}
