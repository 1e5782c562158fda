package scratch

import (
	"math"
	"syscall"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// maxCopy is what one call copies at most: nobody else can use the files meanwhile.
const maxCopy = 16 << 20

// CopyFileRange implements [vfs.FileSystem]. It may copy less than asked for. Holes
// stay holes.
func (fs *FS) CopyFileRange(r *vfs.Request, in *vfs.CopyRange) (uint64, syscall.Errno) {
	if in.Flags != 0 || in.SrcOff > math.MaxInt64 || in.DstOff > math.MaxInt64 {
		return 0, syscall.EINVAL
	}
	src, errno := fs.handle(in.SrcNode, in.SrcHandle, kindFile)
	if errno != 0 {
		return 0, errno
	}
	dst, errno := fs.handle(in.DstNode, in.DstHandle, kindFile)
	switch {
	case errno != 0:
		return 0, errno
	case !src.reads() || !dst.writes():
		return 0, syscall.EBADF
	case r.Nowait:
		return 0, vfs.WouldBlock
	}
	unlock := lockTwo(src.node, dst.node)
	defer unlock()
	if src.node.dead.Load() || dst.node.dead.Load() {
		return 0, syscall.EBADF
	}
	n := min(in.Len, src.node.size-min(src.node.size, in.SrcOff), maxIO)
	switch {
	case src.node == dst.node && in.SrcOff < in.DstOff+n && in.DstOff < in.SrcOff+n:
		return 0, syscall.EINVAL
	case n == 0:
		return 0, 0
	case in.DstOff == math.MaxInt64:
		return 0, syscall.EFBIG
	}
	n = min(n, maxCopy, math.MaxInt64-in.DstOff)
	done, errno := fs.copyData(src.node, dst.node, in.SrcOff, in.DstOff, n)
	if done != 0 {
		fs.wrote(dst.node, in.DstOff+done, fs.clears(r))
		src.node.accessed()
	}
	return done, errno
}

// lockTwo takes the data locks of two files, which may be one.
func lockTwo(src, dst *node) (unlock func()) {
	switch {
	case src == dst:
		dst.data.Lock()
		return dst.data.Unlock
	case src.id < dst.id:
		src.data.RLock()
		dst.data.Lock()
	default:
		dst.data.Lock()
		src.data.RLock()
	}
	return func() {
		dst.data.Unlock()
		src.data.RUnlock()
	}
}

// copyData copies left bytes. The caller holds the data locks.
func (fs *FS) copyData(src, dst *node, from, to, left uint64) (done uint64, errno syscall.Errno) {
	for left > 0 && errno == 0 {
		var n uint64
		n, errno = fs.copyRun(src, dst, from, to, left)
		from += n
		to += n
		left -= n
		done += n
	}
	if done != 0 {
		return done, 0
	}
	return 0, errno
}

// copyRun copies a first part of left bytes: one that is in one piece on both sides.
func (fs *FS) copyRun(src, dst *node, from, to, left uint64) (uint64, syscall.Errno) {
	skip := from & pageMask
	first, run := src.table.run(from>>pageShift, pagesOf(skip+left))
	part := min(left, run<<pageShift-skip)
	if first == 0 {
		return part, fs.punch(dst, to, to+part)
	}
	page, over := to>>pageShift, to&pageMask
	place, room := dst.table.run(page, pagesOf(over+part))
	hole := place == 0
	if hole {
		if place, room = fs.extend(dst, page, room); room == 0 {
			return 0, syscall.ENOSPC
		}
	}
	part = min(part, room<<pageShift-over)
	in := int64(uint64(first.page())<<pageShift + skip)
	out := int64(uint64(place.page())<<pageShift + over)
	n, errno := oslib.CopyFileRange(fs.store.fd, &in, fs.store.fd, &out, int(part), 0)
	if errno == 0 && n == 0 {
		errno = syscall.EIO
	}
	written := page
	if n != 0 {
		written += pagesOf(over + uint64(n))
	}
	dst.table.mark(page, written, true)
	short := uint64(n) < part
	switch {
	case hole:
		dst.table.drop(fs, written, page+room, short)
	case short:
		fs.clearReserved(dst, written, page+room)
	}
	if short {
		fs.clearTail(dst, to+uint64(n))
	}
	return uint64(n), errno
}
