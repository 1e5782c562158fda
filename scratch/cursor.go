package scratch

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

// maxIO is what one call reads, writes or copies at most (MAX_RW_COUNT).
const maxIO = 0x7ffff000

// length is what a list of iovecs covers, up to maxIO. The lengths are a guest's.
func length(iov []unix.Iovec) uint64 {
	n := uint64(0)
	for i := range iov {
		if iov[i].Len >= maxIO-n {
			return maxIO
		}
		n += iov[i].Len
	}
	return n
}

// span checks the range of a read or write of n bytes.
func span(off, n uint64) syscall.Errno {
	if off > math.MaxInt64 || n > math.MaxInt64-off {
		return syscall.EINVAL
	}
	return 0
}

// clipped is how many iovecs are copied so as to end where a run of pages ends.
const clipped = 16

// cursor is a place in a list of iovecs that belongs to somebody else.
type cursor struct {
	iov  []unix.Iovec
	done uint64 // how much of iov[0] is behind the place
}

// advance moves on by n bytes and past empty iovecs.
func (c *cursor) advance(n uint64) {
	n += c.done
	for len(c.iov) > 0 && n >= c.iov[0].Len {
		n -= c.iov[0].Len
		c.iov = c.iov[1:]
	}
	c.done = n
}

// next returns iovecs for one call that moves at most n bytes: those of the list
// where they can be taken as they are, or copies of some in room.
func (c *cursor) next(room *[clipped]unix.Iovec, n uint64) []unix.Iovec {
	whole := 0
	if c.done == 0 {
		left := n
		for whole < min(len(c.iov), oslib.MaxIov) && c.iov[whole].Len <= left {
			left -= c.iov[whole].Len
			whole++
		}
		if whole == len(c.iov) || whole >= clipped {
			return c.iov[:whole]
		}
	}
	return oslib.IovSlice(room[:0], c.iov[:min(len(c.iov), clipped)], c.done, n)
}
