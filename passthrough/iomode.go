package passthrough

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

// IOMode says how the host's files are read and written, whatever a guest asks for.
// Its bits may be combined; zero is as on the host: through the page cache.
type IOMode uint8

const (
	// IODirect: past the host's page cache. What is aligned as the file system wants it
	// is read and written with O_DIRECT. For the rest, whether for its place in the file
	// or in the guest's memory, the page cache is passed through and cleared behind it.
	// A write is answered when the disk has the data, though not yet for sure what is
	// needed to find them. File systems in memory are their own page cache, and as ever.
	IODirect IOMode = 1 << iota
	// IOSync: a write, a truncation, an allocation or a copy that is answered is on the
	// disk, with all that is needed to find it again (O_SYNC).
	IOSync
)

// ioModes are all bits that there are.
const ioModes = IODirect | IOSync

const (
	// directLeast is what pays for a call of its own, in bytes: where only a part of what
	// is read or written is aligned, less than this goes with the rest.
	directLeast = 64 << 10
	// directCopy bounds how much of a copy is in the page cache at a time.
	directCopy = 16 << 20

	pageSize = 4096
	// safeAlignment is enough for file systems that do not tell theirs.
	safeAlignment = pageSize
)

// direct is how an open file is read and written past the page cache. It is set when
// the handle is made.
type direct struct {
	on    bool            // in this mode; otherwise nothing else counts
	fd    int             // opened with O_DIRECT, if align is not zero
	align oslib.Alignment // zero: the file system does not have it
}

// openDirect makes ready what IODirect needs for an open file. What goes past the page
// cache needs a descriptor of its own, counted by the quota. Without one, all takes the
// way that unaligned data take.
func (fs *FS) openDirect(fd int) direct {
	var st unix.Statfs_t
	if oslib.Fstatfs(fd, &st) != 0 || inMemory(&st) {
		return direct{}
	}
	// Do not read ahead what is then thrown away.
	oslib.Fadvise(fd, 0, 0, unix.FADV_RANDOM)
	align := alignmentOf(fd)
	if align.Block == 0 || !fs.fds.take() {
		return direct{on: true}
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err == nil {
		const keep = unix.O_ACCMODE | unix.O_SYNC | unix.O_NOATIME
		if second, errno := fs.reopenAs(unix.S_IFREG, fd, flags&keep|unix.O_DIRECT|unix.O_NONBLOCK); errno == 0 {
			return direct{true, second, align}
		}
	}
	fs.fds.put()
	return direct{on: true}
}

func (d *direct) close(fs *FS) {
	if !d.on {
		return
	}
	if d.align.Block != 0 {
		oslib.Close(d.fd)
		fs.fds.put()
	}
	*d = direct{}
}

// alignmentOf asks how O_DIRECT wants things aligned. Zero is not at all.
func alignmentOf(fd int) oslib.Alignment {
	var stx unix.Statx_t
	errno := oslib.Statx(fd, oslib.Empty, unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &stx)
	if errno != 0 || stx.Mask&unix.STATX_DIOALIGN == 0 { // before Linux 6.1, or not told
		return oslib.Alignment{Mem: safeAlignment, Block: safeAlignment}
	}
	mem, block := uint64(stx.Dio_mem_align), uint64(stx.Dio_offset_align)
	if mem == 0 || block == 0 || mem&(mem-1) != 0 || block&(block-1) != 0 {
		return oslib.Alignment{}
	}
	return oslib.Alignment{Mem: mem, Block: max(mem, block)}
}

// notDirect tells whether a file system that refuses a direct read or write with errno
// may do it through the page cache: it found something unaligned after all, or came to
// memory that is not there, of which a read or write through the page cache makes a short
// count.
func notDirect(errno syscall.Errno) bool {
	return errno == syscall.EINVAL || errno == syscall.EFAULT || errno == syscall.EOPNOTSUPP
}

// transfer says what readWriteDirect is to do.
type transfer uint8

const (
	reading   transfer = iota
	writing            // where it is asked for
	appending          // at the end of the file
)

// readWriteDirect is read and write in the mode IODirect. It waits for the disk.
//
// What is appended goes one way as a whole, so that nobody else's data come in between.
// Where the file ends is a guess then, wrong if it grows meanwhile; what is not aligned
// after all, the file system refuses to take the direct way.
func (h *handle) readWriteDirect(v []unix.Iovec, off int64, what transfer) (int, syscall.Errno) {
	if what == appending {
		var st unix.Stat_t
		if errno := oslib.Fstat(h.fd, &st); errno != 0 {
			return 0, errno
		}
		off = st.Size
	}
	total, left, align := 0, oslib.IovLen(v), h.direct.align
	var one [1]unix.Iovec
	c := oslib.IovCursor{Left: v}
	for c.Advance(0); len(c.Left) > 0; {
		fd, size := h.fd, left
		if align.Block != 0 {
			fd, size = h.route(&c, off, left, what)
		}
		n, errno := what.do(fd, c.Next(one[:], size), off)
		if fd != h.fd && notDirect(errno) {
			align.Block = 0
			continue
		}
		if fd == h.fd && n != 0 {
			errno = what.cleanUp(fd, off, int64(n))
		}
		switch {
		case errno != 0 && total == 0:
			return 0, errno
		case errno != 0 || n == 0:
			return total, 0
		}
		total += n
		left -= uint64(n)
		off += int64(n)
		c.Advance(uint64(n))
	}
	return total, 0
}

// route says through which descriptor to go on, and how far.
func (h *handle) route(c *oslib.IovCursor, off int64, left uint64, what transfer) (fd int, size uint64) {
	least := left
	if what != appending {
		least = min(left, directLeast)
	}
	before, run := c.Aligned(uint64(off), h.direct.align, least)
	switch {
	case before == 0:
		return h.direct.fd, run
	case what == appending:
		return h.fd, left
	}
	return h.fd, before
}

func (t transfer) do(fd int, v []unix.Iovec, off int64) (int, syscall.Errno) {
	switch t {
	case reading:
		return oslib.Preadv2(fd, v, off, 0)
	case writing:
		return oslib.Pwritev2(fd, v, off, 0)
	default:
		// The kernel takes the end of the file, but looks at the offset too.
		return oslib.Pwritev2(fd, v, 0, unix.RWF_APPEND)
	}
}

// cleanUp clears the page cache behind a transfer that went through it.
func (t transfer) cleanUp(fd int, off, n int64) syscall.Errno {
	switch t {
	case reading:
		dropPages(fd, off, n)
		return 0
	case writing:
		return writeOut(fd, off, n)
	default:
		return writeOut(fd, off, 0) // others may have been there first
	}
}

// pages widens n bytes at off to whole pages, as both calls below want them: the first
// writes out pages, the second leaves those alone that are not covered. 0 bytes are all to
// the end of the file.
func pages(off, n int64) (int64, int64) {
	from := off &^ (pageSize - 1)
	if n == 0 || off > math.MaxInt64-n-pageSize {
		return from, 0
	}
	return from, (off + n - from + pageSize - 1) &^ (pageSize - 1)
}

// dropPages drops n bytes at off from the page cache, or all from off on if n is 0, but
// for what is not on the disk yet.
func dropPages(fd int, off, n int64) {
	off, n = pages(off, n)
	oslib.Fadvise(fd, off, n, unix.FADV_DONTNEED)
}

// writeOut has the disk take n bytes at off, or all from off on if n is 0, and drops them
// from the page cache.
func writeOut(fd int, off, n int64) syscall.Errno {
	from, length := pages(off, n)
	const wait = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	if errno := oslib.SyncFileRange(fd, from, length, wait); errno != 0 {
		return errno
	}
	dropPages(fd, off, n)
	return 0
}

// settle ends a call other than a write that changed a file, as the mode has it: what it
// did is on the disk, and not in the page cache, where it may have cleared parts of pages.
func (fs *FS) settle(fd int) syscall.Errno {
	if fs.cfg.IO&IOSync != 0 {
		// EINVAL is said of a file system that has nothing to keep.
		if errno := oslib.Fsync(fd); errno != 0 && errno != syscall.EINVAL {
			return errno
		}
	}
	if fs.cfg.IO&IODirect != 0 {
		return writeOut(fd, 0, 0)
	}
	return 0
}
