package scratch

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"
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
