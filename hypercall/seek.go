package hypercall

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"
)

// callLseekV1 serves V1FileLseek.
func (g *Guest) callLseekV1(c *call) syscall.Errno {
	var p LseekParamsV1
	if errno := g.params(c, Bytes(&p)); errno != 0 {
		return errno
	}
	pos, errno := g.lseek(c, p.FD.Get(), p.Offset.Get(), uint32(p.Whence.Get()))
	if errno != 0 {
		pos = -1
	}
	p.Offset.Set(pos)
	return g.answer(c, lseekRetV1, p.Offset[:], errno)
}

// callLseek serves FileLseek.
func (g *Guest) callLseek(c *call) syscall.Errno {
	var p LseekParams
	if errno := g.params(c, Bytes(&p)); errno != 0 {
		return errno
	}
	pos, errno := g.lseek(c, p.FD.Get(), p.Offset.Get(), p.Whence.Get())
	if errno != 0 {
		pos = -int64(errno)
	}
	p.Offset.Set(pos)
	return g.answer(c, lseekRet, p.Offset[:], errno)
}

func (g *Guest) lseek(c *call, fd int32, off int64, whence uint32) (int64, syscall.Errno) {
	if fd >= 0 && fd < firstFile {
		return 0, syscall.ESPIPE
	}
	f, errno := g.files.get(fd)
	if errno != 0 {
		return 0, errno
	}
	defer g.put(c, f)
	f.mu.Lock()
	defer f.mu.Unlock()
	pos, errno := g.seek(c, f, off, whence)
	if errno != 0 {
		return 0, errno
	}
	f.pos = uint64(pos)
	return pos, 0
}

// seek computes a position. The caller holds f.mu. Positions of directories are the
// file system's, so there is no end to seek to.
func (g *Guest) seek(c *call, f *file, off int64, whence uint32) (int64, syscall.Errno) {
	if f.dir && whence != unix.SEEK_SET && whence != unix.SEEK_CUR {
		return 0, syscall.EINVAL
	}
	var from uint64
	switch whence {
	case unix.SEEK_SET:
	case unix.SEEK_CUR:
		if from = f.pos; from > math.MaxInt64 {
			return 0, syscall.EOVERFLOW
		}
	case unix.SEEK_END, unix.SEEK_DATA, unix.SEEK_HOLE:
		if errno := g.fs.Getattr(&c.req, f.node, f.handle, &c.attr); errno != 0 {
			return 0, errno
		}
		from = min(c.attr.Attr.Size, math.MaxInt64)
	default:
		return 0, syscall.EINVAL
	}
	if whence == unix.SEEK_DATA || whence == unix.SEEK_HOLE {
		return g.seekData(c, f, off, int64(from), whence)
	}
	if off > math.MaxInt64-int64(from) || int64(from)+off < 0 {
		return 0, syscall.EINVAL
	}
	return int64(from) + off, 0
}

// seekData looks for data or for a hole. A file system that does not know holes has data
// up to the end.
func (g *Guest) seekData(c *call, f *file, off, size int64, whence uint32) (int64, syscall.Errno) {
	if off < 0 || off >= size {
		return 0, syscall.ENXIO
	}
	pos, errno := g.fs.Lseek(&c.req, f.node, f.handle, uint64(off), whence)
	switch {
	case errno == syscall.ENOSYS && whence == unix.SEEK_DATA:
		return off, 0
	case errno == syscall.ENOSYS:
		return size, 0
	case errno == 0 && pos > math.MaxInt64:
		return 0, syscall.EOVERFLOW
	}
	return int64(pos), errno
}
