package passthrough

import (
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

const (
	// dirBufSize is what one getdents takes in: some 1,000 short names.
	dirBufSize = 32 << 10
	// maxDirBufs bounds the buffers that one guest makes us keep between
	// calls. A listing beyond it is read again from its position.
	maxDirBufs = 256
	// idleDirBufs is how many unused buffers are worth keeping.
	idleDirBufs = 16
)

// dirBuf is what a listing works in. The entries are here because what is
// passed to a DirSink would otherwise be made anew for each.
type dirBuf struct {
	entry vfs.Entry
	data  [dirBufSize]byte
}

// dirBufs hands out buffers and counts those that listings keep.
type dirBufs struct {
	mu   sync.Mutex
	free []*dirBuf
	kept int
}

func (p *dirBufs) get() *dirBuf {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		return b
	}
	return new(dirBuf)
}

func (p *dirBufs) put(b *dirBuf) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) < idleDirBufs {
		p.free = append(p.free, b)
	}
}

// keep asks for leave to hold a buffer until drop.
func (p *dirBufs) keep() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kept == maxDirBufs {
		return false
	}
	p.kept++
	return true
}

func (p *dirBufs) drop(b *dirBuf) {
	p.mu.Lock()
	p.kept--
	p.mu.Unlock()
	p.put(b)
}

// dirStream is how far the listing of an open directory has come. Its zero
// value is that of a descriptor just opened.
//
// The descriptor's own position is behind everything in rest. A guest that goes
// on where it stopped needs neither a seek nor entries read twice.
type dirStream struct {
	mu   sync.Mutex
	read bool          // something was read since the descriptor was at 0
	lost bool          // the descriptor is not where pos and rest say
	pos  uint64        // behind the last entry handed out
	buf  *dirBuf       // kept between calls for rest; otherwise nil
	rest oslib.Dirents // read and not handed out yet
}

// seek moves the stream to off. Position 0 is sought even if the stream is there
// already, so that a directory that is rewound shows what is new in it.
func (d *dirStream) seek(fd int, off uint64) syscall.Errno {
	if off == 0 && !d.read || off != 0 && off == d.pos && !d.lost {
		return 0
	}
	// Positions are 64 opaque bits; some file systems use all of them.
	if _, errno := oslib.Lseek(fd, int64(off), unix.SEEK_SET); errno != 0 {
		return errno
	}
	d.read, d.lost, d.pos, d.rest = off != 0, false, off, nil
	return 0
}

// take returns the buffer to work with until end.
func (d *dirStream) take(bufs *dirBufs) *dirBuf {
	if d.buf != nil {
		return d.buf
	}
	return bufs.get()
}

// end keeps the buffer if there are entries left in it.
func (d *dirStream) end(bufs *dirBufs, b *dirBuf) {
	switch left := len(d.rest) != 0; {
	case d.buf != nil && left:
	case d.buf != nil:
		bufs.drop(d.buf)
		d.buf = nil
	case left && bufs.keep():
		d.buf = b
	default:
		d.lost, d.rest = d.lost || left, nil
		bufs.put(b)
	}
}

// release makes the stream that of a descriptor just opened. Nobody uses it.
func (d *dirStream) release(bufs *dirBufs) {
	if d.buf != nil {
		bufs.drop(d.buf)
	}
	d.read, d.lost, d.pos, d.buf, d.rest = false, false, 0, nil, nil
}

// fill reads on into b; 0 bytes are the end of the directory. One that has been
// removed, which getdents calls ENOENT, is at its end, as readdir(3) has it.
func (d *dirStream) fill(fd int, b *dirBuf) (int, syscall.Errno) {
	d.read = true
	n, errno := oslib.Getdents(fd, b.data[:])
	if errno == syscall.ENOENT {
		errno = 0
	}
	d.rest = b.data[:n]
	return n, errno
}

// Opendir implements [vfs.FileSystem]. Of the flags only O_NOATIME means
// anything here.
func (fs *FS) Opendir(_ *vfs.Request, id vfs.NodeID, flags uint32, out *vfs.Opened) syscall.Errno {
	n, fd, errno := fs.pin(id)
	if errno != 0 {
		return errno
	}
	errno = fs.opendir(n, fd, flags, out)
	n.unpin()
	return errno
}

func (fs *FS) opendir(n *node, fd int, flags uint32, out *vfs.Opened) syscall.Errno {
	if !n.isDir() {
		return syscall.ENOTDIR
	}
	f := fs.hostFlags(flags&unix.O_NOATIME) | unix.O_DIRECTORY
	dir, errno := fs.openRetry(n, fd, f, flags)
	if errno != 0 {
		return errno
	}
	h, errno := fs.addHandle(n, dir, uint32(f), kindDir)
	if errno != 0 {
		return errno
	}
	*out = vfs.Opened{Handle: h, Flags: fs.dirReply()}
	return 0
}

// Releasedir implements [vfs.FileSystem].
func (fs *FS) Releasedir(_ *vfs.Request, id vfs.NodeID, v vfs.Handle) syscall.Errno {
	h, errno := fs.dropHandle(id, v, kindDir)
	if errno != 0 {
		return errno
	}
	h.unpin()
	return 0
}

// Readdir implements [vfs.FileSystem]. The positions are those of the host's
// file system, and so is what a listing shows of a directory that changes
// meanwhile.
func (fs *FS) Readdir(r *vfs.Request, id vfs.NodeID, v vfs.Handle, off uint64, sink vfs.DirSink) syscall.Errno {
	h, errno := fs.handle(id, v, kindDir)
	if errno != 0 {
		return errno
	}
	d := &h.dir
	d.mu.Lock()
	if errno = d.seek(h.fd, off); errno == 0 {
		b := d.take(&fs.dirBufs)
		errno = fs.readdir(r, h, b, sink)
		d.end(&fs.dirBufs, b)
	}
	d.mu.Unlock()
	h.unpin()
	return errno
}

func (fs *FS) readdir(r *vfs.Request, h *handle, b *dirBuf, sink vfs.DirSink) syscall.Errno {
	d := &h.dir
	plus := sink.Plus()
	added := false
	for {
		here := d.rest
		var e oslib.Dirent
		if !d.rest.Read(&e) {
			if n, errno := d.fill(h.fd, b); n == 0 {
				if added {
					return 0 // an error comes again in the next call
				}
				return errno
			}
			continue
		}
		name := e.Name()
		if !sink.Fits(len(name)) {
			d.rest = here
			return 0
		}
		typ := e.Type
		if isDots(name) {
			typ = unix.S_IFDIR // also where the file system does not say
		}
		var found *vfs.Entry
		if plus {
			var errno syscall.Errno
			if found, errno = fs.lookupDirent(r, h, &e, b); errno == syscall.ENOENT {
				d.pos = e.Next
				continue
			} else if errno != 0 {
				d.rest = here
				if added {
					return 0
				}
				return errno
			}
			if found != nil {
				typ = found.Attr.Mode & unix.S_IFMT
			}
		}
		sink.Add(name, e.Ino, e.Next, typ, found)
		d.pos = e.Next
		added = true
	}
}

func isDots(name []byte) bool { return string(name) == "." || string(name) == ".." }

// lookupDirent looks up an entry for a listing. The result is nil for those
// that are listed without: "." and "..", and what could not be looked up. The
// errors are ENOENT for an entry that is gone, and [vfs.WouldBlock].
func (fs *FS) lookupDirent(r *vfs.Request, h *handle, e *oslib.Dirent, b *dirBuf) (*vfs.Entry, syscall.Errno) {
	if isDots(e.Name()) {
		return nil, 0
	}
	switch errno := fs.lookupEntry(r, h.node, h.fd, e.CName, &b.entry); errno {
	case 0:
		return &b.entry, 0
	case syscall.ENOENT, vfs.WouldBlock:
		return nil, errno
	}
	return nil, 0
}

// Fsyncdir implements [vfs.FileSystem].
func (fs *FS) Fsyncdir(r *vfs.Request, id vfs.NodeID, v vfs.Handle, datasync bool) syscall.Errno {
	return fs.fsync(r, id, v, kindDir, datasync)
}
