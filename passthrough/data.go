package passthrough

import (
	"math"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// maxCopy is what one copy_file_range moves at most (MAX_RW_COUNT).
const maxCopy = 0x7ffff000

// inline is what is known of reading from an open file without waiting. It is
// found out at the first read that must not wait.
type inline struct{ how atomic.Uint32 }

const (
	inlineTry   = iota // RWF_NOWAIT works or was not tried
	inlinePlain        // it does not work, nor is it needed: the file is in memory
	inlineNever        // it does not work
)

// reset is for a handle that is given to another file.
func (i *inline) reset() { i.how.Store(inlineTry) }

// refused notes that RWF_NOWAIT did not work on fd and says what to do instead.
func (i *inline) refused(fd int) uint32 {
	how := uint32(inlineNever)
	var st unix.Statfs_t
	if oslib.Fstatfs(fd, &st) == 0 && inMemory(&st) {
		how = inlinePlain
	}
	i.how.Store(how)
	return how
}

// inMemory tells whether a file system has its files in the page cache alone.
func inMemory(st *unix.Statfs_t) bool {
	switch int64(st.Type) {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC, unix.HUGETLBFS_MAGIC:
		return true
	}
	return false
}

// Read implements [vfs.FileSystem]. With Nowait, it reads what is in the page
// cache, and all of it or nothing.
func (fs *FS) Read(r *vfs.Request, id vfs.NodeID, v vfs.Handle, dst []unix.Iovec, off uint64, _ uint32) (int, syscall.Errno) {
	if off > math.MaxInt64 {
		return 0, syscall.EINVAL
	}
	h, errno := fs.handle(id, v, kindFile)
	if errno != 0 {
		return 0, errno
	}
	n, errno := h.read(r.Nowait, dst, int64(off))
	h.unpin()
	return n, errno
}

// read reads until dst is full or the file ends. A short count does not say
// which, so another read, of nothing as a rule, has to.
func (h *handle) read(nowait bool, dst []unix.Iovec, off int64) (int, syscall.Errno) {
	if h.direct.on {
		if nowait {
			return 0, vfs.WouldBlock
		}
		return h.readWriteDirect(dst, off, reading)
	}
	flags := 0
	if nowait {
		switch h.inline.how.Load() {
		case inlineTry:
			flags = unix.RWF_NOWAIT
		case inlineNever:
			return 0, vfs.WouldBlock
		}
	}
	total := 0
	var one [1]unix.Iovec
	c := oslib.IovCursor{Left: dst}
	for c.Advance(0); len(c.Left) > 0; {
		n, errno := oslib.Preadv2(h.fd, c.Next(one[:], math.MaxUint64), off, flags)
		switch {
		case errno == 0:
		case flags != 0 && errno == syscall.EAGAIN:
			return 0, vfs.WouldBlock
		case flags != 0 && errno == syscall.EOPNOTSUPP:
			if h.inline.refused(h.fd) == inlineNever {
				return 0, vfs.WouldBlock
			}
			flags = 0
			continue
		case total != 0:
			return total, 0
		default:
			return 0, errno
		}
		if n == 0 {
			break
		}
		total += n
		off += int64(n)
		c.Advance(uint64(n))
	}
	return total, 0
}

// Write implements [vfs.FileSystem]. What goes into the page cache is written
// where it is asked for, with Nowait or without.
func (fs *FS) Write(r *vfs.Request, id vfs.NodeID, v vfs.Handle, src []unix.Iovec, off uint64, openFlags uint32, flags vfs.WriteFlags) (int, syscall.Errno) {
	if off > math.MaxInt64 {
		return 0, syscall.EINVAL
	}
	h, errno := fs.handle(id, v, kindFile)
	if errno != 0 {
		return 0, errno
	}
	if r.Nowait && (h.flags&(unix.O_DSYNC|unix.O_DIRECT) != 0 || h.direct.on) {
		h.unpin()
		return 0, vfs.WouldBlock
	}
	what := writing
	if openFlags&unix.O_APPEND != 0 && flags&vfs.WriteCache == 0 {
		what = appending
	}
	var without withoutFSETID
	if flags&vfs.WriteKillSUIDGID != 0 {
		without = dropFSETID()
	}
	n, errno := h.write(src, int64(off), what)
	if errno == syscall.EINVAL && flags&vfs.WriteCache != 0 && h.flags&unix.O_DIRECT != 0 {
		n, errno = h.writeBack(src, int64(off))
	}
	without.restore()
	h.unpin()
	return n, errno
}

// writeBack writes what comes out of a guest's cache by way of a handle that was opened with
// O_DIRECT, such as the end of a file that is mapped too. It need not be aligned.
func (h *handle) writeBack(src []unix.Iovec, off int64) (int, syscall.Errno) {
	fd, errno := h.fs.reopenAs(unix.S_IFREG, h.fd, unix.O_WRONLY|int(h.flags)&unix.O_SYNC)
	if errno != 0 {
		return 0, errno
	}
	n, errno := writeTo(fd, src, off, writing)
	oslib.Close(fd)
	return n, errno
}

func (h *handle) write(src []unix.Iovec, off int64, what transfer) (int, syscall.Errno) {
	if h.direct.on {
		return h.readWriteDirect(src, off, what)
	}
	return writeTo(h.fd, src, off, what)
}

func writeTo(fd int, src []unix.Iovec, off int64, what transfer) (int, syscall.Errno) {
	flags := 0
	if what == appending {
		// The kernel takes the end of the file, but looks at the offset too.
		flags, off = unix.RWF_APPEND, 0
	}
	total := 0
	var one [1]unix.Iovec
	c := oslib.IovCursor{Left: src}
	for c.Advance(0); len(c.Left) > 0; {
		n, errno := oslib.Pwritev2(fd, c.Next(one[:], math.MaxUint64), off, flags)
		if errno != 0 && total == 0 {
			return 0, errno
		}
		if errno != 0 || n == 0 {
			break
		}
		total += n
		if what != appending {
			off += int64(n)
		}
		c.Advance(uint64(n))
	}
	return total, 0
}

// Flush implements [vfs.FileSystem]. Closing a file of a remote file system may
// report that earlier writes failed, and makes them seen by others; there a
// descriptor is closed, which may wait. A local one has nothing to say.
func (fs *FS) Flush(r *vfs.Request, id vfs.NodeID, v vfs.Handle, lockOwner uint64) syscall.Errno {
	h, errno := fs.handle(id, v, kindFile)
	if errno != 0 {
		return errno
	}
	if fs.cfg.Locks.POSIX {
		fs.unlockAll(id, lockOwner)
	}
	switch {
	case h.node.key.dev == fs.localDev:
	case r.Nowait:
		errno = vfs.WouldBlock
	default:
		errno = flushRemote(h.fd)
	}
	h.unpin()
	return errno
}

func flushRemote(fd int) syscall.Errno {
	var st unix.Statfs_t
	if errno := oslib.Fstatfs(fd, &st); errno != 0 || !remote[int64(st.Type)] {
		return errno
	}
	dup, errno := oslib.Dup(fd)
	if errno != 0 {
		return errno
	}
	return oslib.Close(dup)
}

// Fsync implements [vfs.FileSystem].
func (fs *FS) Fsync(r *vfs.Request, id vfs.NodeID, v vfs.Handle, datasync bool) syscall.Errno {
	return fs.fsync(r, id, v, kindFile, datasync)
}

func (fs *FS) fsync(r *vfs.Request, id vfs.NodeID, v vfs.Handle, kind handleKind, datasync bool) syscall.Errno {
	h, errno := fs.handle(id, v, kind)
	if errno != 0 {
		return errno
	}
	switch {
	case r.Nowait:
		errno = vfs.WouldBlock
	case datasync:
		errno = oslib.Fdatasync(h.fd)
	default:
		errno = oslib.Fsync(h.fd)
	}
	h.unpin()
	return errno
}

// fallocModes are the modes of fallocate(2) that the kernel may know.
const fallocModes = unix.FALLOC_FL_KEEP_SIZE | unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_COLLAPSE_RANGE |
	unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_INSERT_RANGE | unix.FALLOC_FL_UNSHARE_RANGE | unix.FALLOC_FL_WRITE_ZEROES

// Fallocate implements [vfs.FileSystem]. It changes the file, so setuid and
// setgid are cleared for an ordinary caller.
func (fs *FS) Fallocate(r *vfs.Request, id vfs.NodeID, v vfs.Handle, off, length uint64, mode uint32) syscall.Errno {
	switch {
	case mode&^fallocModes != 0:
		return syscall.EOPNOTSUPP
	case off > math.MaxInt64 || length > math.MaxInt64:
		return syscall.EINVAL
	case off+length > math.MaxInt64:
		return syscall.EFBIG
	}
	h, errno := fs.handle(id, v, kindFile)
	if errno != 0 {
		return errno
	}
	switch {
	case r.Nowait:
		errno = vfs.WouldBlock
	case fs.clears(r):
		without := dropFSETID()
		errno = oslib.Fallocate(h.fd, mode, int64(off), int64(length))
		without.restore()
	default:
		errno = oslib.Fallocate(h.fd, mode, int64(off), int64(length))
	}
	if errno == 0 {
		errno = fs.settle(h.fd)
	}
	h.unpin()
	return errno
}

// Lseek implements [vfs.FileSystem]. Handles have no position: SEEK_DATA and
// SEEK_HOLE look at the file, SEEK_SET and SEEK_END are arithmetic, and there is
// nothing for SEEK_CUR to start from.
func (fs *FS) Lseek(_ *vfs.Request, id vfs.NodeID, v vfs.Handle, off uint64, whence uint32) (uint64, syscall.Errno) {
	h, errno := fs.handle(id, v, kindFile)
	if errno != 0 {
		return 0, errno
	}
	pos, errno := h.lseek(int64(off), whence)
	h.unpin()
	return uint64(pos), errno
}

func (h *handle) lseek(off int64, whence uint32) (int64, syscall.Errno) {
	switch whence {
	case unix.SEEK_DATA, unix.SEEK_HOLE:
		return oslib.Lseek(h.fd, off, int(whence))
	case unix.SEEK_SET:
	case unix.SEEK_END:
		var st unix.Stat_t
		if errno := oslib.Fstat(h.fd, &st); errno != 0 {
			return 0, errno
		}
		if off > math.MaxInt64-st.Size {
			return 0, syscall.EOVERFLOW
		}
		off += st.Size
	default:
		return 0, syscall.EINVAL
	}
	if off < 0 {
		return 0, syscall.EINVAL
	}
	return off, 0
}

// CopyFileRange implements [vfs.FileSystem] by what the host can copy within
// itself; a guest copies by reading and writing where it cannot (EXDEV,
// EOPNOTSUPP). It may copy less than asked for.
func (fs *FS) CopyFileRange(r *vfs.Request, in *vfs.CopyRange) (uint64, syscall.Errno) {
	if in.Flags != 0 || in.SrcOff > math.MaxInt64 || in.DstOff > math.MaxInt64 {
		return 0, syscall.EINVAL
	}
	src, errno := fs.handle(in.SrcNode, in.SrcHandle, kindFile)
	if errno != 0 {
		return 0, errno
	}
	dst, errno := fs.handle(in.DstNode, in.DstHandle, kindFile)
	if errno != 0 {
		src.unpin()
		return 0, errno
	}
	var n int
	if r.Nowait {
		errno = vfs.WouldBlock
	} else {
		n, errno = fs.copyRange(src, dst, in, fs.clears(r))
	}
	dst.unpin()
	src.unpin()
	return uint64(n), errno
}

func (fs *FS) copyRange(src, dst *handle, in *vfs.CopyRange, clear bool) (int, syscall.Errno) {
	from, to, size := int64(in.SrcOff), int64(in.DstOff), min(in.Len, maxCopy)
	if fs.cfg.IO&IODirect != 0 {
		size = min(size, directCopy)
	}
	var without withoutFSETID
	if clear {
		without = dropFSETID()
	}
	// A signal, which the Go runtime sends to itself, ends a call early.
	n, errno := 0, syscall.Errno(0)
	for uint64(n) < size {
		more, e := oslib.CopyFileRange(src.fd, &from, dst.fd, &to, int(size)-n, 0)
		if n += more; e != 0 && n == 0 {
			errno = e
		}
		if e != 0 || more == 0 {
			break
		}
	}
	without.restore()
	if n == 0 || fs.cfg.IO == 0 {
		return n, errno
	}
	if errno = fs.settle(dst.fd); errno != 0 {
		return 0, errno
	}
	if src.direct.on {
		dropPages(src.fd, int64(in.SrcOff), int64(n))
	}
	return n, 0
}

// Statfs implements [vfs.FileSystem].
func (fs *FS) Statfs(_ *vfs.Request, id vfs.NodeID, out *vfs.Statfs) syscall.Errno {
	n, fd, errno := fs.pin(id)
	if errno != 0 {
		return errno
	}
	var st unix.Statfs_t
	errno = oslib.Fstatfs(fd, &st)
	n.unpin()
	if errno != 0 {
		return errno
	}
	*out = vfs.Statfs{
		Blocks:  st.Blocks,
		Bfree:   st.Bfree,
		Bavail:  st.Bavail,
		Files:   st.Files,
		Ffree:   st.Ffree,
		Bsize:   uint32(st.Bsize),
		Frsize:  uint32(st.Frsize),
		Namelen: uint32(st.Namelen),
	}
	if out.Frsize == 0 {
		out.Frsize = out.Bsize
	}
	return 0
}

// Syncfs implements [vfs.FileSystem].
func (fs *FS) Syncfs(r *vfs.Request, id vfs.NodeID) syscall.Errno {
	n, fd, errno := fs.pin(id)
	if errno != 0 {
		return errno
	}
	if r.Nowait {
		errno = vfs.WouldBlock
	} else {
		errno = fs.syncfs(n, fd)
	}
	n.unpin()
	return errno
}

func (fs *FS) syncfs(n *node, fd int) syscall.Errno {
	opened, errno := fs.reopen(n, fd, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if errno != 0 {
		return errno
	}
	errno = oslib.Syncfs(opened)
	oslib.Close(opened)
	return errno
}
