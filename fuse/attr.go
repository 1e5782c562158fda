package fuse

import (
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// handleIf returns the handle fh if the request says that it has one.
func handleIf(has bool, fh uint64) vfs.Handle {
	if has {
		return vfs.Handle(fh)
	}
	return vfs.NoHandle
}

func (s *Server) getattr(c *Call) (int, syscall.Errno) {
	in := args[getattrIn](c)
	c.attr = vfs.AttrOut{}
	return c.attrReply(s.fs.Getattr(&c.req, c.node(), handleIf(in.flags&getattrFH != 0, in.fh), &c.attr))
}

// setattr passes on what vfs.SetAttrMask has bits for. Nanoseconds must be such:
// the values beyond that utimensat(2) gives a meaning have flags here.
func (s *Server) setattr(c *Call) (int, syscall.Errno) {
	in := args[setattrIn](c)
	c.set = vfs.SetAttr{
		Valid: vfs.SetAttrMask(in.valid) & setattrMask,
		Mode:  in.mode & 0o7777,
		UID:   in.uid,
		GID:   in.gid,
		Size:  in.size,
		Atime: vfs.Timespec{Sec: int64(in.atime), Nsec: in.atimensec},
		Mtime: vfs.Timespec{Sec: int64(in.mtime), Nsec: in.mtimensec},
		Ctime: vfs.Timespec{Sec: int64(in.ctime), Nsec: in.ctimensec},
	}
	valid := c.set.Valid
	if valid&(vfs.SetAtime|vfs.SetAtimeNow) == vfs.SetAtime && in.atimensec >= nanosecondsPerSecond ||
		valid&(vfs.SetMtime|vfs.SetMtimeNow) == vfs.SetMtime && in.mtimensec >= nanosecondsPerSecond ||
		valid&vfs.SetCtime != 0 && in.ctimensec >= nanosecondsPerSecond {
		return 0, syscall.EINVAL
	}
	c.attr = vfs.AttrOut{}
	return c.attrReply(s.fs.Setattr(&c.req, c.node(), handleIf(in.valid&fattrFH != 0, in.fh), &c.set, &c.attr))
}

func (s *Server) statxNode(c *Call) (int, syscall.Errno) {
	in := args[statxIn](c)
	h := handleIf(in.getattrFlags&getattrFH != 0, in.fh)
	c.statx = vfs.Statx{}
	if errno := s.fs.Statx(&c.req, c.node(), h, in.flags, in.mask, &c.statx); errno != 0 {
		return 0, errno
	}
	x, a := &c.statx, &c.statx.Attr
	w := out[statxOut](c)
	w.attrValid, w.attrValidNsec = timeout(x.TTL)
	w.stat = wireStatx{
		mask:           x.Mask,
		blksize:        a.Blksize,
		attributes:     x.Attributes,
		nlink:          a.Nlink,
		uid:            a.UID,
		gid:            a.GID,
		mode:           uint16(a.Mode),
		ino:            a.Ino,
		size:           a.Size,
		blocks:         a.Blocks,
		attributesMask: x.AttributesMask,
		atime:          sxTime{sec: a.Atime.Sec, nsec: a.Atime.Nsec},
		btime:          sxTime{sec: x.Btime.Sec, nsec: x.Btime.Nsec},
		ctime:          sxTime{sec: a.Ctime.Sec, nsec: a.Ctime.Nsec},
		mtime:          sxTime{sec: a.Mtime.Sec, nsec: a.Mtime.Nsec},
		devMajor:       x.DevMajor,
		devMinor:       x.DevMinor,
	}
	w.stat.rdevMajor, w.stat.rdevMinor = vfs.SplitDev(a.Rdev)
	return sizeof[statxOut](), 0
}

func (s *Server) access(c *Call) (int, syscall.Errno) {
	return 0, s.fs.Access(&c.req, c.node(), args[accessIn](c).mask)
}

func (s *Server) readlink(c *Call) (int, syscall.Errno) {
	buf := c.room(maxTarget + 1)
	n, errno := s.fs.Readlink(&c.req, c.node(), buf)
	if errno == 0 && uint(n) > uint(len(buf)) {
		errno = syscall.EIO
	}
	return n, errno
}

func (s *Server) statfs(c *Call) (int, syscall.Errno) {
	c.statfsOut = vfs.Statfs{}
	if errno := s.fs.Statfs(&c.req, c.node(), &c.statfsOut); errno != 0 {
		return 0, errno
	}
	f := &c.statfsOut
	*out[statfsOut](c) = statfsOut{
		blocks:  f.Blocks,
		bfree:   f.Bfree,
		bavail:  f.Bavail,
		files:   f.Files,
		ffree:   f.Ffree,
		bsize:   f.Bsize,
		namelen: f.Namelen,
		frsize:  f.Frsize,
	}
	return sizeof[statfsOut](), 0
}

func (s *Server) syncfs(c *Call) (int, syscall.Errno) {
	return 0, s.fs.Syncfs(&c.req, c.node())
}
