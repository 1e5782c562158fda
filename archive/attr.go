package archive

import (
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// sectors is how many units of st_blocks there are in a page.
const sectors = pageSize / 512

// attr fills in the attributes of a node.
func (x *index) attr(i uint32, a *vfs.Attr) {
	n := &x.nodes[i]
	*a = vfs.Attr{
		Ino:     uint64(nodeID(i)),
		Atime:   n.time(0),
		Mtime:   n.time(1),
		Ctime:   n.time(2),
		Mode:    n.mode,
		Nlink:   n.nlink,
		UID:     n.uid,
		GID:     n.gid,
		Blksize: pageSize,
	}
	switch n.typ() {
	case unix.S_IFREG:
		a.Size = n.size
		a.Blocks = uint64(n.count) * sectors
		if n.size < pageSize {
			a.Blocks = (n.size + 511) / 512
		}
	case unix.S_IFLNK:
		a.Size = n.size
	case unix.S_IFDIR:
		a.Size = pageSize // as on most disks, so that it does not look odd
	case unix.S_IFCHR, unix.S_IFBLK:
		a.Rdev = n.other
	}
}

// object finds the node of a call that may be made on a handle.
func (fs *FS) object(id vfs.NodeID, h vfs.Handle) (uint32, syscall.Errno) {
	_, i, errno := fs.node(id)
	if errno == 0 && h != vfs.NoHandle {
		errno = fs.handles.check(h, i, kindAny)
	}
	return i, errno
}

// Getattr implements [vfs.FileSystem].
func (fs *FS) Getattr(_ *vfs.Request, id vfs.NodeID, h vfs.Handle, out *vfs.AttrOut) syscall.Errno {
	i, errno := fs.object(id, h)
	if errno != 0 {
		return errno
	}
	fs.x.attr(i, &out.Attr)
	out.TTL = ttl
	return 0
}

// Statx implements [vfs.FileSystem]. Archives know no time of birth, and no
// attributes beyond the basic ones.
func (fs *FS) Statx(_ *vfs.Request, id vfs.NodeID, h vfs.Handle, _, _ uint32, out *vfs.Statx) syscall.Errno {
	i, errno := fs.object(id, h)
	if errno != 0 {
		return errno
	}
	*out = vfs.Statx{Mask: unix.STATX_BASIC_STATS, TTL: ttl}
	fs.x.attr(i, &out.Attr)
	return 0
}

// Access implements [vfs.FileSystem] by the permission bits, as the kernel does
// on a read-only mount: writing is EROFS but for devices and the like.
func (fs *FS) Access(r *vfs.Request, id vfs.NodeID, mask uint32) syscall.Errno {
	if mask&^uint32(unix.R_OK|unix.W_OK|unix.X_OK) != 0 {
		return syscall.EINVAL
	}
	n, _, errno := fs.node(id)
	if errno != 0 {
		return errno
	}
	switch n.typ() {
	case unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK:
		if mask&unix.W_OK != 0 {
			return syscall.EROFS
		}
	}
	if r.UID == 0 {
		if mask&unix.X_OK != 0 && !n.isDir() && n.mode&0o111 == 0 {
			return syscall.EACCES
		}
		return 0
	}
	bits := n.mode
	switch {
	case r.UID == n.uid:
		bits >>= 6
	case r.GID == n.gid, slices.Contains(r.Groups, n.gid):
		bits >>= 3
	}
	if mask&^bits != 0 {
		return syscall.EACCES
	}
	return 0
}

// Readlink implements [vfs.FileSystem].
func (fs *FS) Readlink(_ *vfs.Request, id vfs.NodeID, buf []byte) (int, syscall.Errno) {
	n, _, errno := fs.node(id)
	if errno != 0 {
		return 0, errno
	}
	if n.typ() != unix.S_IFLNK {
		return 0, syscall.EINVAL
	}
	return copy(buf, fs.x.text[n.at:n.at+n.size]), 0
}
