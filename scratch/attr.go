package scratch

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// sectors is how many units of st_blocks there are in a page.
const sectors = pageSize / 512

// attr fills in the attributes. The caller holds mu.
func (n *node) attr(a *vfs.Attr) {
	*a = vfs.Attr{
		Ino:     uint64(n.id),
		Size:    n.size,
		Blocks:  n.pages * sectors,
		Atime:   n.atime,
		Mtime:   n.mtime,
		Ctime:   n.ctime,
		Mode:    n.typ | n.mode,
		Nlink:   n.nlink,
		UID:     n.uid,
		GID:     n.gid,
		Rdev:    n.rdev,
		Blksize: pageSize,
	}
}

// Getattr implements [vfs.FileSystem].
func (fs *FS) Getattr(_ *vfs.Request, id vfs.NodeID, h vfs.Handle, out *vfs.AttrOut) syscall.Errno {
	n, errno := fs.object(id, h)
	if errno != 0 {
		return errno
	}
	n.mu.Lock()
	n.attr(&out.Attr)
	n.mu.Unlock()
	out.TTL = ttl
	return 0
}

// Statx implements [vfs.FileSystem].
func (fs *FS) Statx(_ *vfs.Request, id vfs.NodeID, h vfs.Handle, _, _ uint32, out *vfs.Statx) syscall.Errno {
	n, errno := fs.object(id, h)
	if errno != 0 {
		return errno
	}
	*out = vfs.Statx{Mask: unix.STATX_BASIC_STATS | unix.STATX_BTIME, TTL: ttl}
	n.mu.Lock()
	n.attr(&out.Attr)
	out.Btime = n.btime
	n.mu.Unlock()
	return 0
}

// allows tells whether the permission bits let the caller do what mask, of R_OK,
// W_OK and X_OK, says. The caller of it holds mu.
func (n *node) allows(r *vfs.Request, mask uint32) bool {
	if r.UID == 0 {
		return mask&unix.X_OK == 0 || n.isDir() || n.mode&0o111 != 0
	}
	bits := n.mode
	switch {
	case r.UID == n.uid:
		bits >>= 6
	case inGroup(r, n.gid):
		bits >>= 3
	}
	return mask&^bits == 0
}

// Access implements [vfs.FileSystem] by the permission bits.
func (fs *FS) Access(r *vfs.Request, id vfs.NodeID, mask uint32) syscall.Errno {
	if mask&^uint32(unix.R_OK|unix.W_OK|unix.X_OK) != 0 {
		return syscall.EINVAL
	}
	n, errno := fs.node(id)
	if errno != 0 {
		return errno
	}
	n.mu.Lock()
	ok := n.allows(r, mask)
	n.mu.Unlock()
	if !ok {
		return syscall.EACCES
	}
	return 0
}

// Readlink implements [vfs.FileSystem].
func (fs *FS) Readlink(_ *vfs.Request, id vfs.NodeID, buf []byte) (int, syscall.Errno) {
	n, errno := fs.node(id)
	if errno != 0 {
		return 0, errno
	}
	if n.typ != unix.S_IFLNK {
		return 0, syscall.EINVAL
	}
	n.accessed()
	return copy(buf, n.target), 0
}

// accessed notes an access to the data as "relatime" does: once after each change, and
// once a day.
func (n *node) accessed() {
	t := now()
	n.mu.Lock()
	if !before(n.mtime, n.atime) || !before(n.ctime, n.atime) || t.Sec-n.atime.Sec >= 24*60*60 {
		n.atime = t
	}
	n.mu.Unlock()
}

func before(a, b vfs.Timespec) bool {
	return a.Sec < b.Sec || a.Sec == b.Sec && a.Nsec < b.Nsec
}

// clears tells whether a call that changes a file clears setuid and setgid. It is
// for calls that do not say so themselves. A guest that does not tell the caller
// does it by itself unless it was agreed that we do.
func (fs *FS) clears(r *vfs.Request) bool {
	if r.UID == noID {
		return fs.agreed(vfs.FeatKillPriv)
	}
	return r.UID != 0
}

// changed notes a change of the data: the times, capabilities, which no changed file
// keeps, and with kill also setuid and setgid. Setgid without group-execute is a
// mark for locking. The caller holds mu.
func (fs *FS) changed(n *node, kill bool) {
	t := now()
	n.mtime, n.ctime = t, t
	if kill {
		n.dropSetID()
	}
	fs.dropCapabilities(n)
}

func (n *node) dropSetID() {
	n.mode &^= unix.S_ISUID
	if n.mode&unix.S_IXGRP != 0 {
		n.mode &^= unix.S_ISGID
	}
}

const (
	setOwner = vfs.SetUID | vfs.SetGID
	setTimes = vfs.SetAtime | vfs.SetMtime | vfs.SetAtimeNow | vfs.SetMtimeNow | vfs.SetCtime
)

// Setattr implements [vfs.FileSystem]. The parts are applied in the order mode,
// owner, size, times, and those before one that fails stay.
func (fs *FS) Setattr(_ *vfs.Request, id vfs.NodeID, h vfs.Handle, in *vfs.SetAttr, out *vfs.AttrOut) syscall.Errno {
	n, errno := fs.object(id, h)
	if errno != 0 {
		return errno
	}
	if in.Valid&(vfs.SetMode|setOwner) != 0 {
		if in.Valid&vfs.SetMode != 0 && n.typ == unix.S_IFLNK {
			return syscall.EOPNOTSUPP
		}
		fs.setModeOwner(n, in)
	}
	if in.Valid&vfs.SetSize != 0 {
		if errno := fs.setSize(n, h, in); errno != 0 {
			return errno
		}
	}
	n.mu.Lock()
	if in.Valid&setTimes != 0 {
		errno = n.setTimes(in)
	}
	n.attr(&out.Attr)
	n.mu.Unlock()
	out.TTL = ttl
	return errno
}

// setModeOwner changes mode and owner. A change of owner clears setuid, setgid and
// capabilities of all but directories, whoever makes it.
func (fs *FS) setModeOwner(n *node, in *vfs.SetAttr) {
	n.mu.Lock()
	if in.Valid&vfs.SetMode != 0 {
		n.mode = in.Mode & 0o7777
	}
	if in.Valid&setOwner != 0 {
		if in.Valid&vfs.SetUID != 0 {
			n.uid = in.UID
		}
		if in.Valid&vfs.SetGID != 0 {
			n.gid = in.GID
		}
		if !n.isDir() {
			n.dropSetID()
			fs.dropCapabilities(n)
		}
	}
	n.ctime = now()
	n.mu.Unlock()
}

func (fs *FS) setSize(n *node, h vfs.Handle, in *vfs.SetAttr) syscall.Errno {
	switch {
	case n.isDir():
		return syscall.EISDIR
	case !n.isFile(), in.Size > math.MaxInt64:
		return syscall.EINVAL
	}
	if h != vfs.NoHandle {
		if o, errno := fs.handle(n.id, h, kindFile); errno != 0 || !o.writes() {
			return syscall.EINVAL
		}
	}
	return fs.truncate(n, in.Size, in.Valid&vfs.SetKillSUIDGID != 0)
}

// setTimes is called with mu held.
func (n *node) setTimes(in *vfs.SetAttr) syscall.Errno {
	t := now()
	const maxNsec = 999_999_999
	atime, mtime, ctime := n.atime, n.mtime, t
	for _, f := range [...]struct {
		set, now vfs.SetAttrMask
		to       *vfs.Timespec
		from     *vfs.Timespec
	}{
		{vfs.SetAtime, vfs.SetAtimeNow, &atime, &in.Atime},
		{vfs.SetMtime, vfs.SetMtimeNow, &mtime, &in.Mtime},
		{vfs.SetCtime, 0, &ctime, &in.Ctime},
	} {
		switch {
		case in.Valid&f.now != 0:
			*f.to = t
		case in.Valid&f.set == 0:
		case f.from.Nsec > maxNsec:
			return syscall.EINVAL
		default:
			*f.to = *f.from
		}
	}
	n.atime, n.mtime, n.ctime = atime, mtime, ctime
	return 0
}
