package hypercall

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// callReadV1 serves V1FileRead.
func (g *Guest) callReadV1(c *call) syscall.Errno {
	var p ReadParamsV1
	if errno := g.params(c, Bytes(&p)); errno != 0 {
		return errno
	}
	n, errno := g.read(c, p.FD.Get(), buffer{p.Buf.Get(), true, c.cr3}, p.Len.Get())
	p.Ret.Set(result(n, errno))
	return g.answer(c, readRetV1, p.Ret[:], errno)
}

// callRead serves FileRead.
func (g *Guest) callRead(c *call) syscall.Errno {
	var p ReadParams
	if errno := g.params(c, Bytes(&p)); errno != 0 {
		return errno
	}
	n, errno := g.read(c, p.FD.Get(), buffer{addr: p.Buf.Get()}, p.Len.Get())
	p.Ret.Set(result(n, errno))
	return g.answer(c, writeRet, p.Ret[:], errno)
}

// maxWriteV1 is the longest write of version 1, whose guests have less memory.
const maxWriteV1 = math.MaxUint32

// callWriteV1 serves V1FileWrite. As the guest takes it that all was written, it is.
func (g *Guest) callWriteV1(c *call) syscall.Errno {
	c.mute = true
	var p WriteParamsV1
	if errno := g.params(c, Bytes(&p)); errno != 0 {
		return errno
	}
	b := buffer{p.Buf.Get(), true, c.cr3}
	left := p.Len.Get()
	if left > maxWriteV1 {
		return syscall.EINVAL
	}
	for {
		n, errno := g.write(c, p.FD.Get(), b, left)
		left -= n
		b.addr += n
		if errno != 0 || left == 0 {
			return errno
		}
	}
}

// callWrite serves FileWrite.
func (g *Guest) callWrite(c *call) syscall.Errno {
	var p WriteParams
	if errno := g.params(c, Bytes(&p)); errno != 0 {
		return errno
	}
	n, errno := g.write(c, p.FD.Get(), buffer{addr: p.Buf.Get()}, p.Len.Get())
	p.Ret.Set(result(n, errno))
	return g.answer(c, writeRet, p.Ret[:], errno)
}

// result is a count or a negative error number.
func result(n uint64, errno syscall.Errno) int64 {
	if errno != 0 {
		return -int64(errno)
	}
	return int64(n)
}

func (g *Guest) read(c *call, fd int32, b buffer, n uint64) (uint64, syscall.Errno) {
	if fd == stdin {
		return g.readConsole(c, b, n)
	}
	f, errno := g.files.get(fd)
	if errno != 0 {
		return 0, errno
	}
	defer g.put(c, f)
	switch {
	case f.dir:
		return 0, syscall.EISDIR
	case f.flags&unix.O_ACCMODE == unix.O_WRONLY:
		return 0, syscall.EBADF
	}
	return g.move(c, f, b, n, false)
}

func (g *Guest) write(c *call, fd int32, b buffer, n uint64) (uint64, syscall.Errno) {
	if fd == stdout || fd == stderr {
		return g.writeConsole(c, fd, b, n)
	}
	f, errno := g.files.get(fd)
	if errno != 0 {
		return 0, errno
	}
	defer g.put(c, f)
	if f.flags&unix.O_ACCMODE == unix.O_RDONLY {
		return 0, syscall.EBADF
	}
	return g.move(c, f, b, n, true)
}

// transfer checks a buffer and returns how much of it a call may move. The first
// iovecs of it are in c.iov then, and c.part says how much of it they are.
func (g *Guest) transfer(c *call, b buffer, n uint64) (uint64, syscall.Errno) {
	if n > math.MaxInt64 {
		return 0, syscall.EINVAL
	}
	n = min(n, maxTransfer)
	var ok bool
	c.iov, c.part, ok = g.mem.check(c.iov[:0], b, n)
	if !ok {
		return 0, syscall.EFAULT
	}
	return n, 0
}

// move moves data between a buffer and a file, whose position moves along. A short read
// is the end of the file; after a short write the rest is tried.
func (g *Guest) move(c *call, f *file, b buffer, n uint64, writing bool) (uint64, syscall.Errno) {
	n, errno := g.transfer(c, b, n)
	if errno != 0 || n == 0 {
		return 0, errno
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for done := uint64(0); ; {
		moved, errno := g.moveOnce(c, f, writing)
		done += uint64(moved)
		f.pos += uint64(moved)
		if errno != 0 || done >= n || uint64(moved) < c.part && !writing {
			if writing && done != 0 && f.flags&unix.O_APPEND != 0 {
				g.seekEnd(c, f)
			}
			return some(done, errno)
		}
		var ok bool
		if c.iov, c.part, ok = g.mem.translate(c.iov[:0], b, done, n-done); !ok {
			return some(done, syscall.EFAULT)
		}
	}
}

// moveOnce has the file system read into or write from c.iov.
func (g *Guest) moveOnce(c *call, f *file, writing bool) (n int, errno syscall.Errno) {
	var flags vfs.WriteFlags
	if g.uid != 0 {
		flags = vfs.WriteKillSUIDGID
	}
	err := oslib.CatchFault(func() {
		if writing {
			n, errno = g.fs.Write(&c.req, f.node, f.handle, c.iov, f.pos, f.flags, flags)
		} else {
			n, errno = g.fs.Read(&c.req, f.node, f.handle, c.iov, f.pos, f.flags)
		}
	})
	switch {
	case err != nil:
		return 0, syscall.EFAULT
	case writing && n == 0 && errno == 0:
		return 0, syscall.EIO // the rest would be tried for ever
	}
	return n, errno
}

// seekEnd puts the position to the end of the file, where appending has left it. If
// others append too, that may be behind the end of what this call has written.
func (g *Guest) seekEnd(c *call, f *file) {
	if g.fs.Getattr(&c.req, f.node, f.handle, &c.attr) == 0 {
		f.pos = min(c.attr.Attr.Size, math.MaxInt64)
	}
}

// copyIn copies data of a guest's buffer, from off on.
func (g *Guest) copyIn(c *call, b buffer, off uint64, data []byte) bool {
	return g.copy(c, b, off, data, oslib.IovRead)
}

// copyOut copies data to the beginning of a guest's buffer.
func (g *Guest) copyOut(c *call, b buffer, data []byte) bool {
	return g.copy(c, b, 0, data, func(data []byte, v []unix.Iovec) (int, bool) { return oslib.IovWrite(v, data) })
}

func (g *Guest) copy(c *call, b buffer, off uint64, data []byte, how func([]byte, []unix.Iovec) (int, bool)) bool {
	for len(data) > 0 {
		v, part, ok := g.mem.translate(c.iov[:0], b, off, uint64(len(data)))
		if c.iov = v; !ok {
			return false
		}
		n := 0
		err := oslib.CatchFault(func() { n, _ = how(data[:part], v) })
		if err != nil || n == 0 {
			return false
		}
		data = data[n:]
		off += uint64(n)
	}
	return true
}
