package oslib

import "golang.org/x/sys/unix"

// IovCursor is a place in a list of iovecs that belongs to somebody else, for calls
// that move less than they are asked to. Advance(0) comes before the first Next.
type IovCursor struct {
	Left []unix.Iovec // what is left; after Advance, Left[0] is not empty
	done uint64       // how much of Left[0] is behind the place
}

// Advance moves on by n bytes and past empty iovecs.
func (c *IovCursor) Advance(n uint64) {
	n += c.done
	for len(c.Left) > 0 && n >= c.Left[0].Len {
		n -= c.Left[0].Len
		c.Left = c.Left[1:]
	}
	c.done = n
}

// Next returns iovecs for one system call that moves at most n bytes: those of the
// list where they can be taken as they are, or copies in room, as many as that has
// capacity for.
func (c *IovCursor) Next(room []unix.Iovec, n uint64) []unix.Iovec {
	whole := 0
	if c.done == 0 {
		left := n
		for whole < min(len(c.Left), MaxIov) && c.Left[whole].Len <= left {
			left -= c.Left[whole].Len
			whole++
		}
		if whole == len(c.Left) || whole >= cap(room) {
			return c.Left[:whole]
		}
	}
	return IovSlice(room[:0], c.Left[:min(len(c.Left), cap(room))], c.done, n)
}
