package overlay

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Getxattr implements [vfs.FileSystem].
func (fs *FS) Getxattr(r *vfs.Request, id vfs.NodeID, name, buf []byte) (int, syscall.Errno) {
	n := fs.get(id)
	if n == nil {
		return 0, syscall.ESTALE
	}
	child, node := fs.layer(n)
	return child.Getxattr(r, node, name, buf)
}

// Listxattr implements [vfs.FileSystem].
func (fs *FS) Listxattr(r *vfs.Request, id vfs.NodeID, buf []byte) (int, syscall.Errno) {
	n := fs.get(id)
	if n == nil {
		return 0, syscall.ESTALE
	}
	child, node := fs.layer(n)
	return child.Listxattr(r, node, buf)
}

// Setxattr implements [vfs.FileSystem].
func (fs *FS) Setxattr(r *vfs.Request, id vfs.NodeID, name, value []byte, flags uint32, killSGID bool) syscall.Errno {
	return fs.changeXattr(r, id, func(upper vfs.NodeID) syscall.Errno {
		return fs.upper.Setxattr(r, upper, name, value, flags, killSGID)
	})
}

// Removexattr implements [vfs.FileSystem]. To find that there is none needs no
// copy.
func (fs *FS) Removexattr(r *vfs.Request, id vfs.NodeID, name []byte) syscall.Errno {
	if n := fs.get(id); n != nil && n.upperID() == 0 {
		if _, errno := fs.lower.Getxattr(r, n.lowerID(), name, nil); errno == syscall.ENODATA {
			return errno
		}
	}
	return fs.changeXattr(r, id, func(upper vfs.NodeID) syscall.Errno {
		return fs.upper.Removexattr(r, upper, name)
	})
}

// changeXattr makes a change on the upper part, or on the copy that becomes it.
func (fs *FS) changeXattr(r *vfs.Request, id vfs.NodeID, change func(vfs.NodeID) syscall.Errno) syscall.Errno {
	n := fs.getPinned(id)
	if n == nil {
		return syscall.ESTALE
	}
	defer fs.unpin(n)
	made, errno := fs.copyUp(r, n, all, change)
	if errno == 0 && !made {
		errno = change(n.upperID())
	}
	return errno
}

// Numbers of linux/fs.h that package unix lacks.
const (
	fsIoc32GetFlags = 0x80046601
	fsIoc32SetFlags = 0x40046602
	fsIocGetXattr   = 0x801c581f
	fsIocSetXattr   = 0x401c5820
)

// changing are the ioctls that are known in the lower layer, and whether they
// change the file. Others are the upper's to know or not.
var changing = map[uint32]bool{
	unix.FS_IOC_GETFLAGS: false,
	fsIoc32GetFlags:      false,
	fsIocGetXattr:        false,
	unix.FS_IOC_SETFLAGS: true,
	fsIoc32SetFlags:      true,
	fsIocSetXattr:        true,
}

// Ioctl implements [vfs.FileSystem].
func (fs *FS) Ioctl(r *vfs.Request, id vfs.NodeID, v vfs.Handle, cmd uint32, arg uint64, in, out []byte) (int, int32, syscall.Errno) {
	n, child, node, h, errno := fs.object(id, v)
	if errno != 0 {
		return 0, 0, errno
	}
	if change, known := changing[cmd]; child == fs.upper || known && !change {
		return child.Ioctl(r, node, h, cmd, arg, in, out)
	} else if !known || !n.isDir() && n.typ != unix.S_IFREG {
		return 0, 0, syscall.ENOTTY
	}
	if n = fs.getPinned(id); n == nil {
		return 0, 0, syscall.ESTALE
	}
	defer fs.unpin(n)
	var size int
	var result int32
	made, errno := fs.copyUp(r, n, all, func(upper vfs.NodeID) (errno syscall.Errno) {
		size, result, errno = fs.upper.Ioctl(r, upper, vfs.NoHandle, cmd, arg, in, out)
		return errno
	})
	if errno == 0 && !made {
		return fs.upper.Ioctl(r, n.upperID(), vfs.NoHandle, cmd, arg, in, out)
	}
	return size, result, errno
}
