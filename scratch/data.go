package scratch

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// pagesOf is how many pages n bytes take from their start.
func pagesOf(n uint64) uint64 { return (n + pageMask) >> pageShift }

// Read implements [vfs.FileSystem].
func (fs *FS) Read(r *vfs.Request, id vfs.NodeID, h vfs.Handle, dst []unix.Iovec, off uint64, _ uint32) (int, syscall.Errno) {
	total := length(dst)
	if errno := span(off, total); errno != 0 {
		return 0, errno
	}
	o, errno := fs.handle(id, h, kindFile)
	switch {
	case errno != 0:
		return 0, errno
	case !o.reads():
		return 0, syscall.EBADF
	}
	flags := 0
	if r.Nowait && fs.store.slow {
		flags = unix.RWF_NOWAIT
	}
	n := o.node
	n.data.RLock()
	done, errno := 0, syscall.Errno(0)
	switch {
	case n.dead.Load():
		errno = syscall.EBADF
	case off < n.size:
		done, errno = fs.read(n, dst, off, min(total, n.size-off), flags)
	}
	n.data.RUnlock()
	if done != 0 {
		n.accessed()
	}
	return done, errno
}

// read reads left bytes of n, which are before its end. The caller holds n.data.
func (fs *FS) read(n *node, dst []unix.Iovec, pos, left uint64, flags int) (int, syscall.Errno) {
	total := 0
	var room [clipped]unix.Iovec
	c := oslib.IovCursor{Left: dst}
	for c.Advance(0); left > 0 && len(c.Left) > 0; {
		skip := pos & pageMask
		first, run := n.table.run(pos>>pageShift, pagesOf(skip+left))
		part := min(left, run<<pageShift-skip)
		at := int64(uint64(first.page())<<pageShift + skip)
		if first == 0 {
			at, part = fs.store.zeroAt, min(part, zerosLen)
		}
		got, errno := oslib.Preadv2(fs.store.fd, c.Next(room[:], part), at, flags)
		switch {
		case errno == 0:
		case flags != 0 && (errno == syscall.EAGAIN || errno == syscall.EOPNOTSUPP):
			return 0, vfs.WouldBlock
		case total != 0:
			return total, 0
		default:
			return 0, errno
		}
		if got == 0 {
			break
		}
		total += got
		pos += uint64(got)
		left -= uint64(got)
		c.Advance(uint64(got))
	}
	return total, 0
}

// Write implements [vfs.FileSystem]. What has no room any more is not written, and
// ENOSPC is for when nothing has.
func (fs *FS) Write(_ *vfs.Request, id vfs.NodeID, h vfs.Handle, src []unix.Iovec, off uint64, openFlags uint32, flags vfs.WriteFlags) (int, syscall.Errno) {
	total := length(src)
	appending := openFlags&unix.O_APPEND != 0 && flags&vfs.WriteCache == 0
	if appending {
		off = 0
	}
	if errno := span(off, total); errno != 0 {
		return 0, errno
	}
	o, errno := fs.handle(id, h, kindFile)
	switch {
	case errno != 0:
		return 0, errno
	case !o.writes():
		return 0, syscall.EBADF
	case total == 0:
		return 0, 0
	}
	n := o.node
	n.data.Lock()
	defer n.data.Unlock()
	if n.dead.Load() {
		return 0, syscall.EBADF
	}
	if appending {
		off = n.size
		if total = min(total, math.MaxInt64-off); total == 0 {
			return 0, syscall.EFBIG
		}
	}
	done, errno := fs.write(n, src, off, total)
	if done != 0 {
		fs.wrote(n, off+uint64(done), flags&vfs.WriteKillSUIDGID != 0)
	}
	return done, errno
}

// wrote notes that data of n, up to end, have changed. The caller holds n.data.
func (fs *FS) wrote(n *node, end uint64, kill bool) {
	n.mu.Lock()
	n.size = max(n.size, end)
	n.pages = n.table.pages
	fs.changed(n, kill)
	n.mu.Unlock()
}

// write writes left bytes at pos. Holes get pages first, as reserved ones; what
// was not written of them goes back. The caller holds n.data.
func (fs *FS) write(n *node, src []unix.Iovec, pos, left uint64) (int, syscall.Errno) {
	total := 0
	var room [clipped]unix.Iovec
	c := oslib.IovCursor{Left: src}
	for c.Advance(0); left > 0 && len(c.Left) > 0; {
		skip := pos & pageMask
		page := pos >> pageShift
		first, run := n.table.run(page, pagesOf(skip+left))
		part := min(left, run<<pageShift-skip)
		vec := c.Next(room[:], part)
		hole := first == 0
		if hole {
			first, run = fs.extend(n, page, pagesOf(skip+oslib.IovLen(vec)))
			if run == 0 && total == 0 {
				return 0, syscall.ENOSPC
			} else if run == 0 {
				return total, 0
			}
			vec = c.Next(room[:], min(part, run<<pageShift-skip))
		}
		at := uint64(first.page())<<pageShift + skip
		put, errno := oslib.Pwritev2(fs.store.fd, vec, int64(at), 0)
		done := uint64(put)
		written := page
		if done != 0 {
			written += pagesOf(skip + done)
		}
		n.table.mark(page, written, true)
		short := done < oslib.IovLen(vec)
		switch {
		case hole:
			n.table.drop(fs, written, page+run, short)
		case short:
			fs.clearReserved(n, written, page+run)
		}
		if short {
			fs.clearTail(n, pos+done)
		}
		total += put
		pos += done
		left -= done
		c.Advance(done)
		switch {
		case errno != 0 && total == 0:
			return 0, errno
		case errno != 0 || put == 0:
			return total, 0
		}
	}
	return total, 0
}

// extend gives the hole of most pages at page some, or as many as lie together and
// there are, and returns where they are. They are reserved. None is ENOSPC.
func (fs *FS) extend(n *node, page, most uint64) (first place, got uint64) {
	hint := ^uint32(0)
	if page > 0 {
		if p := n.table.get(page - 1); p != 0 {
			hint = p.page() + 1
		}
	}
	// A file that has pages, or asks for many, is likely to ask for more.
	at, k := fs.store.alloc(hint, uint32(min(most, maxIO>>pageShift+1)), n.table.pages > 0)
	if k == 0 {
		return 0, 0
	}
	added := n.table.add(fs, page, at, k)
	fs.store.release(at+added, k-added, false)
	return placeOf(at), uint64(added)
}

// clearReserved makes holes of the data file where pages are reserved, after a write
// that ended before them: the host may have begun with one that it did not get done.
func (fs *FS) clearReserved(n *node, from, to uint64) {
	for page := from; page < to; page++ {
		if p := n.table.get(page); p&reserved != 0 {
			fs.store.zero(uint64(p.page())<<pageShift, pageSize)
		}
	}
}

// clearTail makes what is behind the end of the file, in its last page, zero again,
// after a write that ended early at pos. A longer file would show it.
func (fs *FS) clearTail(n *node, pos uint64) {
	end := max(pos, n.size)
	if tail := end & pageMask; tail != 0 {
		fs.zeroPart(n, end, pageSize-tail)
	}
}

// zeroPart makes a part of one page zero, if it was written.
func (fs *FS) zeroPart(n *node, off, count uint64) bool {
	p := n.table.get(off >> pageShift)
	if !p.written() {
		return true
	}
	return fs.store.zero(uint64(p.page())<<pageShift+off&pageMask, count)
}
