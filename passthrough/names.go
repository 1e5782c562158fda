package passthrough

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// The calls here run as the daemon: the guest has checked its caller's rights,
// and nothing that they make has an owner of its own.

// Readlink implements [vfs.FileSystem].
func (fs *FS) Readlink(_ *vfs.Request, id vfs.NodeID, buf []byte) (int, syscall.Errno) {
	n, fd, errno := fs.pin(id)
	if errno != 0 {
		return 0, errno
	}
	defer n.unpin()
	if n.typ != unix.S_IFLNK {
		return 0, syscall.EINVAL
	}
	return oslib.Readlinkat(fd, oslib.Empty, buf)
}

// Link implements [vfs.FileSystem]. The link is made to what the magic link
// /proc/self/fd/N leads to, which is the object itself, be it a symbolic link:
// linkat with AT_EMPTY_PATH would need CAP_DAC_READ_SEARCH.
func (fs *FS) Link(_ *vfs.Request, id, newParent vfs.NodeID, newName vfs.Name, out *vfs.Entry) syscall.Errno {
	n, fd, errno := fs.pin(id)
	if errno != 0 {
		return errno
	}
	defer n.unpin()
	p, pfd, errno := fs.pinDir(newParent)
	if errno != 0 {
		return errno
	}
	defer p.unpin()
	var buf [12]byte
	errno = oslib.Linkat(fs.procSelfFD, oslib.ProcFDName(&buf, fd), pfd, newName.CString(), unix.AT_SYMLINK_FOLLOW)
	if errno != 0 {
		return errno
	}
	// Not by the new name: another call may have given it to another object.
	var stx unix.Statx_t
	if errno := statFD(fd, &stx); errno != 0 {
		return errno
	}
	if !fs.nodes.again(n) {
		return syscall.ESTALE
	}
	fs.fillEntry(p, n, &stx, out)
	return 0
}

// Unlink implements [vfs.FileSystem].
func (fs *FS) Unlink(_ *vfs.Request, parent vfs.NodeID, name vfs.Name) syscall.Errno {
	return fs.unlinkat(parent, name, 0)
}

// Rmdir implements [vfs.FileSystem].
func (fs *FS) Rmdir(_ *vfs.Request, parent vfs.NodeID, name vfs.Name) syscall.Errno {
	return fs.unlinkat(parent, name, unix.AT_REMOVEDIR)
}

func (fs *FS) unlinkat(parent vfs.NodeID, name vfs.Name, flags int) syscall.Errno {
	p, fd, errno := fs.pinDir(parent)
	if errno != 0 {
		return errno
	}
	errno = oslib.Unlinkat(fd, name.CString(), flags)
	p.unpin()
	return errno
}

// Rename implements [vfs.FileSystem]. Flags that it does not name are EINVAL.
func (fs *FS) Rename(_ *vfs.Request, oldParent vfs.NodeID, oldName vfs.Name, newParent vfs.NodeID, newName vfs.Name, flags uint32) syscall.Errno {
	if flags&^uint32(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE|unix.RENAME_WHITEOUT) != 0 {
		return syscall.EINVAL
	}
	from, fromFD, errno := fs.pinDir(oldParent)
	if errno != 0 {
		return errno
	}
	defer from.unpin()
	to, toFD, errno := fs.pinDir(newParent)
	if errno != 0 {
		return errno
	}
	defer to.unpin()
	return oslib.Renameat2(fromFD, oldName.CString(), toFD, newName.CString(), uint(flags))
}

// pinDir is pin for a directory; anything else is ENOTDIR.
func (fs *FS) pinDir(id vfs.NodeID) (*node, int, syscall.Errno) {
	n, fd, errno := fs.pin(id)
	if errno == 0 && !n.isDir() {
		n.unpin()
		return nil, -1, syscall.ENOTDIR
	}
	return n, fd, errno
}
