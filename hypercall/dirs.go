package hypercall

import (
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// callGetdents serves Getdents.
func (g *Guest) callGetdents(c *call) syscall.Errno {
	var p GetdentsParams
	if errno := g.params(c, Bytes(&p)); errno != 0 {
		return errno
	}
	n, errno := g.getdents(c, p.FD.Get(), p.Buf.Get(), p.Len.Get())
	switch {
	case errno != 0:
		p.Tag.Set(GetdentsError)
		p.Payload.Set(uint64(errno))
	case n == 0:
		p.Tag.Set(GetdentsEnd)
	default:
		p.Tag.Set(GetdentsSuccess)
		p.Payload.Set(uint64(n))
	}
	return g.answer(c, getdentsRet, Bytes(&p)[getdentsRet:], errno)
}

// getdents lists from the position of a directory on and returns how many bytes the
// records take. The position moves behind them when they are in guest memory.
func (g *Guest) getdents(c *call, fd int32, gpa, size uint64) (int, syscall.Errno) {
	if fd >= 0 && fd < firstFile {
		return 0, syscall.ENOTDIR
	}
	f, errno := g.files.get(fd)
	if errno != 0 {
		return 0, errno
	}
	defer g.put(c, f)
	if !f.dir {
		return 0, syscall.ENOTDIR
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &c.sink
	s.buf, s.full = c.data[:0:min(size, dataSize)], false
	if errno := g.fs.Readdir(&c.req, f.node, f.handle, f.pos, s); errno != 0 {
		return 0, errno
	}
	switch {
	case len(s.buf) == 0 && s.full:
		return 0, syscall.EINVAL
	case len(s.buf) == 0:
		return 0, 0
	case !g.mem.write(gpa, s.buf):
		return 0, syscall.EFAULT
	}
	f.pos = s.next
	return len(s.buf), 0
}

// direntSink makes records of type [Dirent64].
type direntSink struct {
	buf  []byte // made so far, with the capacity for all
	full bool   // one did not fit
	next uint64 // position behind the last
}

var _ vfs.DirSink = (*direntSink)(nil)

// recordLen is how long the record of a name of n bytes is.
func recordLen(n int) int { return (direntSize + n + 1 + 7) &^ 7 }

func (s *direntSink) Plus() bool { return false }

func (s *direntSink) Fits(n int) bool {
	fits := recordLen(n) <= cap(s.buf)-len(s.buf)
	s.full = s.full || !fits
	return fits
}

func (s *direntSink) Add(name []byte, ino, next uint64, typ uint32, _ *vfs.Entry) {
	at := len(s.buf)
	s.buf = s.buf[:at+recordLen(len(name))]
	record := s.buf[at:]
	clear(record)
	var d Dirent64
	d.Ino.Set(ino)
	d.Off.Set(int64(next))
	d.Reclen.Set(uint16(len(record)))
	d.Type = uint8(typ >> 12)
	copy(record[copy(record, Bytes(&d)):], name)
	s.next = next
}
