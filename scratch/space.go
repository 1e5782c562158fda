package scratch

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// truncate sets the size of a file. One that does not grow loses what was reserved
// behind its end.
func (fs *FS) truncate(n *node, size uint64, kill bool) syscall.Errno {
	n.data.Lock()
	defer n.data.Unlock()
	if n.dead.Load() {
		return syscall.ESTALE
	}
	if size <= n.size {
		// First what may fail: what is left behind the end must be zero when
		// the file grows again.
		if tail := size & pageMask; tail != 0 && !fs.zeroPart(n, size, pageSize-tail) {
			return syscall.EIO
		}
		n.table.drop(fs, pagesOf(size), allPages, false)
	}
	n.mu.Lock()
	n.size = size
	n.pages = n.table.pages
	fs.changed(n, kill)
	n.mu.Unlock()
	return 0
}

const (
	keepSize  = unix.FALLOC_FL_KEEP_SIZE
	punchHole = unix.FALLOC_FL_PUNCH_HOLE | keepSize
	zeroRange = unix.FALLOC_FL_ZERO_RANGE
)

// fallocs are the modes of fallocate(2) that there are.
var fallocs = map[uint32]func(fs *FS, n *node, off, end uint64) syscall.Errno{
	0:                    (*FS).reserve,
	keepSize:             (*FS).reserve,
	punchHole:            (*FS).punch,
	zeroRange:            (*FS).zero,
	zeroRange | keepSize: (*FS).zero,
}

// Fallocate implements [vfs.FileSystem]. Pages that are reserved count as used; the
// host sets memory aside for them when they are written.
func (fs *FS) Fallocate(r *vfs.Request, id vfs.NodeID, h vfs.Handle, off, count uint64, mode uint32) syscall.Errno {
	do := fallocs[mode]
	switch {
	case count == 0 || off > math.MaxInt64 || count > math.MaxInt64:
		return syscall.EINVAL
	case do == nil:
		return syscall.EOPNOTSUPP
	}
	o, errno := fs.handle(id, h, kindFile)
	switch {
	case errno != 0:
		return errno
	case !o.writes():
		return syscall.EBADF
	case off+count > math.MaxInt64:
		return syscall.EFBIG
	case r.Nowait:
		return vfs.WouldBlock
	}
	n, end := o.node, off+count
	n.data.Lock()
	defer n.data.Unlock()
	if n.dead.Load() {
		return syscall.EBADF
	}
	if errno := do(fs, n, off, end); errno != 0 {
		n.mu.Lock()
		n.pages = n.table.pages
		n.mu.Unlock()
		return errno
	}
	if mode&keepSize != 0 {
		end = 0
	}
	fs.wrote(n, end, fs.clears(r))
	return 0
}

// reserve gives pages to the holes from off to end: to all or none.
func (fs *FS) reserve(n *node, off, end uint64) syscall.Errno {
	from, to := off>>pageShift, pagesOf(end)
	holes := uint64(0)
	for page := from; page < to; {
		first, run := n.table.run(page, to-page)
		if first == 0 {
			holes += run
		}
		page += run
	}
	if !fs.store.room(holes) {
		return syscall.ENOSPC
	}
	type span struct{ from, to uint64 }
	var added []span
	for page := from; page < to; {
		first, run := n.table.run(page, to-page)
		if first == 0 {
			if _, run = fs.extend(n, page, run); run == 0 {
				for _, s := range added {
					n.table.drop(fs, s.from, s.to, false)
				}
				return syscall.ENOSPC
			}
			added = append(added, span{page, page + run})
		}
		page += run
	}
	return 0
}

// inner returns the whole pages between off and end, none if to is from, after it
// has made zero what is in the pages at the edges.
func (fs *FS) inner(n *node, off, end uint64) (from, to uint64, errno syscall.Errno) {
	from, to = pagesOf(off), end>>pageShift
	ok := true
	if from > to { // both edges are in one page
		ok = fs.zeroPart(n, off, end-off)
		return from, from, errnoIf(!ok)
	}
	if head := off & pageMask; head != 0 {
		ok = fs.zeroPart(n, off, pageSize-head)
	}
	if tail := end & pageMask; tail != 0 && ok {
		ok = fs.zeroPart(n, end-tail, tail)
	}
	return from, to, errnoIf(!ok)
}

// errnoIf is EIO for what the host could not do.
func errnoIf(failed bool) syscall.Errno {
	if failed {
		return syscall.EIO
	}
	return 0
}

// punch makes a hole from off to end.
func (fs *FS) punch(n *node, off, end uint64) syscall.Errno {
	from, to, errno := fs.inner(n, off, end)
	if errno == 0 {
		n.table.drop(fs, from, to, false)
	}
	return errno
}

// zero makes what is between off and end zero, and its holes reserved.
func (fs *FS) zero(n *node, off, end uint64) syscall.Errno {
	if errno := fs.reserve(n, off, end); errno != 0 {
		return errno
	}
	from, to, errno := fs.inner(n, off, end)
	if errno != 0 {
		return errno
	}
	for page := from; page < to; {
		first, run := n.table.run(page, to-page)
		if !fs.store.zero(uint64(first.page())<<pageShift, run<<pageShift) {
			return syscall.EIO
		}
		n.table.mark(page, page+run, false)
		page += run
	}
	return 0
}

// Lseek implements [vfs.FileSystem]. As handles have no position, SEEK_CUR is
// EINVAL. Reserved pages are holes.
func (fs *FS) Lseek(_ *vfs.Request, id vfs.NodeID, h vfs.Handle, off uint64, whence uint32) (uint64, syscall.Errno) {
	o, errno := fs.handle(id, h, kindFile)
	if errno != 0 {
		return 0, errno
	}
	n := o.node
	n.data.RLock()
	defer n.data.RUnlock()
	switch whence {
	case unix.SEEK_DATA, unix.SEEK_HOLE:
		return n.seek(off, whence == unix.SEEK_DATA)
	case unix.SEEK_SET:
	case unix.SEEK_END:
		if int64(off) > math.MaxInt64-int64(n.size) {
			return 0, syscall.EOVERFLOW
		}
		off += n.size // a negative offset wraps around to what it should be
	default:
		return 0, syscall.EINVAL
	}
	if off > math.MaxInt64 {
		return 0, syscall.EINVAL
	}
	return off, 0
}

// seek finds data, or a hole, from off on. The end of the file is a hole.
func (n *node) seek(off uint64, data bool) (uint64, syscall.Errno) {
	if off >= n.size {
		return 0, syscall.ENXIO
	}
	found := max(off, n.table.next(off>>pageShift, data)<<pageShift)
	if found >= n.size {
		if data {
			return 0, syscall.ENXIO
		}
		found = n.size
	}
	return found, 0
}
