package overlay

import (
	"sync"
	"syscall"
)

// A position in a merged directory is that of the lower listing, which comes
// first, or that of the upper one, moved to a range that the lower's seldom are
// in. What does not fit, as ext4's 63 bits, has a number in a table. All are
// positive as a loff_t.
const (
	upperBase  = 0x7fffffff << 32 // the start of the upper listing
	numberBase = upperBase + 1<<31
	maxNumbers = 1 << 24
)

// cookie is a position of a child.
type cookie struct {
	in  which
	pos uint64
}

// cookies is the table of a directory. It is shared by all that have it open,
// and emptied when the last closes it.
type cookies struct {
	mu      sync.Mutex
	open    int
	list    []cookie
	numbers map[cookie]uint32
}

func (c *cookies) opened() {
	c.mu.Lock()
	c.open++
	c.mu.Unlock()
}

func (c *cookies) close() {
	c.mu.Lock()
	if c.open--; c.open == 0 {
		c.list, c.numbers = nil, nil
	}
	c.mu.Unlock()
}

// rewind is called when a listing begins anew: then what only it knows may go.
func (c *cookies) rewind() {
	c.mu.Lock()
	if c.open == 1 {
		c.list, c.numbers = nil, nil
	}
	c.mu.Unlock()
}

// encode returns the guest's position for a child's, or ENOMEM if the guest has
// had too many.
func (c *cookies) encode(k cookie) (uint64, syscall.Errno) {
	switch {
	case k.in == inLower && k.pos < upperBase:
		return k.pos, 0
	case k.in == inUpper && k.pos < numberBase-upperBase:
		return upperBase + k.pos, 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n, ok := c.numbers[k]
	if !ok {
		if len(c.list) == maxNumbers {
			return 0, syscall.ENOMEM
		}
		if c.numbers == nil {
			c.numbers = map[cookie]uint32{}
		}
		n = uint32(len(c.list))
		c.list = append(c.list, k)
		c.numbers[k] = n
	}
	return numberBase + uint64(n), 0
}

// decode is the inverse. A position that was never given is the start of the
// upper listing.
func (c *cookies) decode(pos uint64) cookie {
	switch {
	case pos < upperBase:
		return cookie{inLower, pos}
	case pos < numberBase:
		return cookie{inUpper, pos - upperBase}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := pos - numberBase; n < uint64(len(c.list)) {
		return c.list[n]
	}
	return cookie{inUpper, 0}
}
