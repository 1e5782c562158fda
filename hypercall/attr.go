package hypercall

import (
	"math"
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// device is the number of the device that all files are on, as the guest sees it. The
// host's are not told.
const device = 1

// callStat serves FileStat.
func (g *Guest) callStat(c *call) syscall.Errno {
	var p StatParams
	if errno := g.params(c, Bytes(&p)); errno != 0 {
		return errno
	}
	errno := g.stat(c, p.Name.Get(), p.Kind.Get())
	if errno == 0 {
		errno = g.putAttr(c, p.Attr.Get())
	}
	tag(&p.Tag, &p.Errno, errno)
	return g.answer(c, statRet, Bytes(&p)[statRet:], errno)
}

// stat fills in c.attr.
func (g *Guest) stat(c *call, name uint64, kind uint32) syscall.Errno {
	ends := [...]end{KindStat: toTarget, KindLstat: toLink}
	if kind >= uint32(len(ends)) {
		return syscall.EINVAL
	}
	if errno := g.loadPath(c, name); errno != 0 {
		return errno
	}
	defer g.leave(c)
	if errno := g.follow(c, ends[kind], false); errno != 0 {
		return errno
	}
	if !c.path.exists() {
		return syscall.ENOENT
	}
	if c.path.named {
		c.attr.Attr = c.path.found.Attr
		return 0
	}
	return g.fs.Getattr(&c.req, c.path.node(), vfs.NoHandle, &c.attr)
}

// callFstat serves FileFstat. The console is no file.
func (g *Guest) callFstat(c *call) syscall.Errno {
	var p FstatParams
	if errno := g.params(c, Bytes(&p)); errno != 0 {
		return errno
	}
	errno := g.fstat(c, p.FD.Get())
	if errno == 0 {
		errno = g.putAttr(c, p.Attr.Get())
	}
	tag(&p.Tag, &p.Errno, errno)
	return g.answer(c, fstatRet, Bytes(&p)[fstatRet:], errno)
}

// fstat fills in c.attr.
func (g *Guest) fstat(c *call, fd int32) syscall.Errno {
	f, errno := g.files.get(fd)
	if errno != 0 {
		return errno
	}
	defer g.put(c, f)
	h := f.handle
	if f.dir {
		h = vfs.NoHandle
	}
	return g.fs.Getattr(&c.req, f.node, h, &c.attr)
}

// putAttr puts c.attr to a physical address.
func (g *Guest) putAttr(c *call, gpa uint64) syscall.Errno {
	a := &c.attr.Attr
	var out FileAttr
	out.Dev.Set(device)
	out.Ino.Set(a.Ino)
	out.Nlink.Set(uint64(a.Nlink))
	out.Mode.Set(a.Mode)
	out.UID.Set(a.UID)
	out.GID.Set(a.GID)
	out.Rdev.Set(uint64(a.Rdev))
	out.Size.Set(signed(a.Size))
	out.Blksize.Set(int64(a.Blksize))
	out.Blocks.Set(signed(a.Blocks))
	out.Atime.set(a.Atime)
	out.Mtime.set(a.Mtime)
	out.Ctime.set(a.Ctime)
	if !g.mem.write(gpa, Bytes(&out)) {
		return syscall.EFAULT
	}
	return 0
}

func (t *Timespec) set(v vfs.Timespec) {
	t.Sec.Set(v.Sec)
	t.Nsec.Set(int32(v.Nsec))
}

// signed is n as a field without a sign bit to spare has it.
func signed(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
