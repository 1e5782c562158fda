package passthrough

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

func attrOfStat(a *vfs.Attr, st *unix.Stat_t) {
	*a = vfs.Attr{
		Ino:     st.Ino,
		Size:    uint64(st.Size),
		Blocks:  uint64(st.Blocks),
		Atime:   vfs.Timespec{Sec: st.Atim.Sec, Nsec: uint32(st.Atim.Nsec)},
		Mtime:   vfs.Timespec{Sec: st.Mtim.Sec, Nsec: uint32(st.Mtim.Nsec)},
		Ctime:   vfs.Timespec{Sec: st.Ctim.Sec, Nsec: uint32(st.Ctim.Nsec)},
		Mode:    st.Mode,
		Nlink:   uint32(min(st.Nlink, 1<<32-1)),
		UID:     st.Uid,
		GID:     st.Gid,
		Rdev:    vfs.MakeDev(unix.Major(st.Rdev), unix.Minor(st.Rdev)),
		Blksize: uint32(st.Blksize),
	}
}

func timeOfStatx(t *unix.StatxTimestamp) vfs.Timespec {
	return vfs.Timespec{Sec: t.Sec, Nsec: t.Nsec}
}

func attrOfStatx(a *vfs.Attr, stx *unix.Statx_t) {
	*a = vfs.Attr{
		Ino:     stx.Ino,
		Size:    stx.Size,
		Blocks:  stx.Blocks,
		Atime:   timeOfStatx(&stx.Atime),
		Mtime:   timeOfStatx(&stx.Mtime),
		Ctime:   timeOfStatx(&stx.Ctime),
		Mode:    uint32(stx.Mode),
		Nlink:   stx.Nlink,
		UID:     stx.Uid,
		GID:     stx.Gid,
		Rdev:    vfs.MakeDev(stx.Rdev_major, stx.Rdev_minor),
		Blksize: stx.Blksize,
	}
}

// object is what a call that may be made on a handle works with: a node and, if
// a handle was given or the node is known by one only, that.
type object struct {
	n  *node   // pinned, or nil
	h  *handle // pinned, or nil
	fd int     // of n if there is n, otherwise of h
}

// object finds the node of a call and its handle, if one was given. A file that
// has lost its last name may not be found by file handle any more, but can by
// the open file that it lives on in.
func (fs *FS) object(id vfs.NodeID, v vfs.Handle, o *object) syscall.Errno {
	*o = object{fd: -1}
	if v != vfs.NoHandle {
		h, errno := fs.handle(id, v, kindAny)
		if errno != 0 {
			return errno
		}
		o.h = h
	}
	n, fd, errno := fs.pin(id)
	switch {
	case errno == 0:
		o.n, o.fd = n, fd
	case errno == syscall.ESTALE && o.h != nil:
		o.fd = o.h.fd
	default:
		o.done()
		return errno
	}
	return 0
}

// typ is the type of the object.
func (o *object) typ() uint32 {
	if o.n != nil {
		return o.n.typ
	}
	return o.h.node.typ
}

func (o *object) done() {
	if o.n != nil {
		o.n.unpin()
	}
	if o.h != nil {
		o.h.unpin()
	}
}

// Getattr implements [vfs.FileSystem].
func (fs *FS) Getattr(_ *vfs.Request, id vfs.NodeID, v vfs.Handle, out *vfs.AttrOut) syscall.Errno {
	var o object
	if errno := fs.object(id, v, &o); errno != 0 {
		return errno
	}
	errno := fs.getattr(&o, out)
	o.done()
	return errno
}

func (fs *FS) getattr(o *object, out *vfs.AttrOut) syscall.Errno {
	var st unix.Stat_t
	if errno := oslib.Fstat(o.fd, &st); errno != 0 {
		return errno
	}
	attrOfStat(&out.Attr, &st)
	out.TTL = fs.attrTTL
	return 0
}

// Statx implements [vfs.FileSystem].
func (fs *FS) Statx(_ *vfs.Request, id vfs.NodeID, v vfs.Handle, flags, mask uint32, out *vfs.Statx) syscall.Errno {
	var o object
	if errno := fs.object(id, v, &o); errno != 0 {
		return errno
	}
	var stx unix.Statx_t
	// Of the flags, only how fresh the answer must be concerns us: the guest
	// has resolved the path.
	const freshness = unix.AT_STATX_FORCE_SYNC | unix.AT_STATX_DONT_SYNC
	at := int(flags&freshness) | unix.AT_EMPTY_PATH
	const tell = unix.STATX_BASIC_STATS | unix.STATX_BTIME
	errno := oslib.Statx(o.fd, oslib.Empty, at, mask&tell|unix.STATX_BASIC_STATS, &stx)
	o.done()
	if errno != 0 {
		return errno
	}
	*out = vfs.Statx{
		Mask:           stx.Mask & tell,
		Attributes:     stx.Attributes,
		AttributesMask: stx.Attributes_mask,
		Btime:          timeOfStatx(&stx.Btime),
		DevMajor:       stx.Dev_major,
		DevMinor:       stx.Dev_minor,
		TTL:            fs.attrTTL,
	}
	attrOfStatx(&out.Attr, &stx)
	return 0
}

// Access implements [vfs.FileSystem]. The host's kernel decides, for the
// caller's ids: only it knows of ACLs.
func (fs *FS) Access(r *vfs.Request, id vfs.NodeID, mask uint32) syscall.Errno {
	if mask&^uint32(unix.R_OK|unix.W_OK|unix.X_OK) != 0 {
		return syscall.EINVAL
	}
	n, fd, errno := fs.pin(id)
	if errno != 0 {
		return errno
	}
	defer n.unpin()
	if n.typ == unix.S_IFLNK {
		return 0 // all may read a link, and its target is the guest's affair
	}
	as, errno := fs.become(r, keepUmask)
	if errno != 0 {
		return errno
	}
	var buf [12]byte
	name := oslib.ProcFDName(&buf, fd)
	err := unix.Faccessat(fs.procSelfFD, string(name[:len(name)-1]), mask, unix.AT_EACCESS)
	as.restore()
	errno, _ = err.(syscall.Errno)
	return errno
}

// Setattr implements [vfs.FileSystem]. The parts are applied in the order mode,
// owner, size, times, and those before one that fails stay.
func (fs *FS) Setattr(r *vfs.Request, id vfs.NodeID, v vfs.Handle, in *vfs.SetAttr, out *vfs.AttrOut) syscall.Errno {
	if r.Nowait && in.Valid&vfs.SetSize != 0 && fs.cfg.IO != 0 {
		return vfs.WouldBlock
	}
	var o object
	if errno := fs.object(id, v, &o); errno != 0 {
		return errno
	}
	const (
		owner = vfs.SetUID | vfs.SetGID
		times = vfs.SetAtime | vfs.SetMtime | vfs.SetAtimeNow | vfs.SetMtimeNow
	)
	var errno syscall.Errno
	if in.Valid&vfs.SetMode != 0 {
		errno = fs.setMode(&o, in)
	}
	if errno == 0 && in.Valid&owner != 0 {
		errno = fs.setOwner(&o, in)
	}
	if errno == 0 && in.Valid&vfs.SetSize != 0 {
		errno = fs.setSize(&o, in)
	}
	if errno == 0 && in.Valid&times != 0 {
		errno = fs.setTimes(&o, in)
	}
	if errno == 0 {
		errno = fs.getattr(&o, out)
	}
	o.done()
	return errno
}

func (fs *FS) setMode(o *object, in *vfs.SetAttr) syscall.Errno {
	if o.typ() == unix.S_IFLNK {
		return syscall.EOPNOTSUPP
	}
	var buf [12]byte
	return oslib.Fchmodat(fs.procSelfFD, oslib.ProcFDName(&buf, o.fd), in.Mode&0o7777)
}

// setOwner passes on what the host's kernel says: EPERM to a daemon that may not
// give files away, EINVAL of an id that its user namespace lacks.
func (fs *FS) setOwner(o *object, in *vfs.SetAttr) syscall.Errno {
	uid, gid := uint32(oslib.KeepID), uint32(oslib.KeepID)
	if in.Valid&vfs.SetUID != 0 {
		uid = in.UID
	}
	if in.Valid&vfs.SetGID != 0 {
		gid = in.GID
	}
	return oslib.Fchownat(o.fd, oslib.Empty, uid, gid, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW)
}

func (fs *FS) setSize(o *object, in *vfs.SetAttr) syscall.Errno {
	switch o.typ() {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		return syscall.EISDIR
	default:
		return syscall.EINVAL
	}
	if in.Size > math.MaxInt64 {
		return syscall.EINVAL
	}
	fd := -1
	if o.h != nil {
		fd = o.h.fd
	} else {
		var errno syscall.Errno
		if fd, errno = fs.reopenAs(unix.S_IFREG, o.fd, unix.O_RDWR|unix.O_NONBLOCK); errno == syscall.EACCES {
			fd, errno = fs.reopenAs(unix.S_IFREG, o.fd, unix.O_WRONLY|unix.O_NONBLOCK)
		}
		if errno != 0 {
			return errno
		}
		defer oslib.Close(fd)
	}
	var without withoutFSETID
	if in.Valid&vfs.SetKillSUIDGID != 0 {
		without = dropFSETID()
	}
	errno := oslib.Ftruncate(fd, int64(in.Size))
	without.restore()
	if errno == 0 {
		errno = fs.settle(fd)
	}
	return errno
}

func (fs *FS) setTimes(o *object, in *vfs.SetAttr) syscall.Errno {
	times := [2]unix.Timespec{
		timeArg(in.Valid, vfs.SetAtime, vfs.SetAtimeNow, in.Atime),
		timeArg(in.Valid, vfs.SetMtime, vfs.SetMtimeNow, in.Mtime),
	}
	var buf [12]byte
	return oslib.Utimensat(fs.procSelfFD, oslib.ProcFDName(&buf, o.fd), &times, 0)
}

// timeArg is what utimensat(2) wants for one of the times. The kernel checks
// the nanoseconds, of which two values have a meaning of their own there.
func timeArg(valid, set, now vfs.SetAttrMask, t vfs.Timespec) unix.Timespec {
	switch {
	case valid&now != 0:
		return unix.Timespec{Nsec: unix.UTIME_NOW}
	case valid&set == 0:
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	case t.Nsec > 999999999:
		return unix.Timespec{Nsec: -1}
	}
	return unix.Timespec{Sec: t.Sec, Nsec: int64(t.Nsec)}
}
