package hypercall

import (
	"bytes"
	"math"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/oslib"
)

const pageSize = 4096

// maxTransfer is the most that one call moves, as on Linux (MAX_RW_COUNT).
const maxTransfer = math.MaxInt32 &^ (pageSize - 1)

// maxPieces is how many iovecs go to the file system at a time, but for those that
// the regions of guest memory add.
const maxPieces = oslib.MaxIov

// memory is that of the guest.
type memory struct{ view *guestmem.View }

// read fills b from a physical address. It is false, and b is undefined, unless all
// of it is guest memory.
func (m memory) read(gpa uint64, b []byte) bool {
	var room [2]unix.Iovec
	v, ok := m.view.Iovecs(room[:0], gpa, uint32(len(b)))
	if !ok {
		return false
	}
	n := 0
	err := oslib.CatchFault(func() { n, _ = oslib.IovRead(b, v) })
	return err == nil && n == len(b)
}

// write puts b at a physical address; all of it, or, unless memory vanishes, nothing.
func (m memory) write(gpa uint64, b []byte) bool {
	var room [2]unix.Iovec
	v, ok := m.view.Iovecs(room[:0], gpa, uint32(len(b)))
	if !ok {
		return false
	}
	n := 0
	err := oslib.CatchFault(func() { n, _ = oslib.IovWrite(v, b) })
	return err == nil && n == len(b)
}

// text copies what is at a physical address up to a NUL into b and returns how long it
// is. Memory may end behind the NUL. Without one in the length of b, it is
// ENAMETOOLONG.
func (m memory) text(gpa uint64, b []byte) (int, syscall.Errno) {
	for n := 0; n < len(b); {
		part := b[n:min(len(b), n+int(pageSize-gpa%pageSize))]
		if !m.read(gpa, part) {
			return 0, syscall.EFAULT
		}
		if end := bytes.IndexByte(part, 0); end >= 0 {
			return n + end, 0
		}
		n += len(part)
		gpa += uint64(len(part))
	}
	return 0, syscall.ENAMETOOLONG
}

// buffer is where a guest has data.
type buffer struct {
	addr    uint64
	virtual bool
	cr3     uint64 // for a virtual address
}

// translate appends to dst the host memory of n bytes of b, from off on, or of the
// first of them, and returns for how many. It is false if one of these is not guest memory.
func (m memory) translate(dst []unix.Iovec, b buffer, off, n uint64) ([]unix.Iovec, uint64, bool) {
	n = min(n, maxTransfer)
	if b.virtual {
		return m.virtual(dst, b.cr3, b.addr+off, n)
	}
	dst, ok := m.view.Iovecs(dst, b.addr+off, uint32(n))
	return dst, n, ok
}

// check translates as translate does, after it has made sure that all of the n bytes
// are guest memory.
func (m memory) check(dst []unix.Iovec, b buffer, n uint64) ([]unix.Iovec, uint64, bool) {
	if n != 0 && b.addr+n-1 < b.addr {
		return dst, 0, false
	}
	v, first, ok := m.translate(dst, b, 0, n)
	if !ok || first == n {
		return v, first, ok
	}
	for off, part := first, uint64(0); off < n; off += part {
		if v, part, ok = m.translate(v[:0], b, off, n-off); !ok {
			return v, 0, false
		}
	}
	return m.translate(v[:0], b, 0, n)
}
