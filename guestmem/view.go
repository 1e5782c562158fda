package guestmem

import (
	"cmp"
	"fmt"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// View is the table of regions at one moment. It is valid, and the memory that
// it translates to mapped, until it has been released as often as it was
// acquired and retained.
type View struct {
	refs  atomic.Int64
	byGPA []span // ascending, without overlap
	byUVA []span // those with a front-end address; ascending, without overlap
}

// span is one region of a View.
type span struct {
	gpa, uva uint64
	hasUVA   bool
	mem      []byte   // never empty
	from     *mapping // nil: memory of [Space.AddMapped]
}

func (s *span) size() uint64 { return uint64(len(s.mem)) }

// newView makes the View of spans, which it keeps, with one reference. It
// retains the mappings.
func newView(spans []span) (*View, error) {
	if len(spans) > MaxRegions {
		return nil, errTooMany(len(spans))
	}
	v := &View{byGPA: spans}
	for _, s := range spans {
		if s.hasUVA {
			v.byUVA = append(v.byUVA, s)
		}
	}
	if err := sortSpans(v.byGPA, "guest-physical", func(s *span) uint64 { return s.gpa }); err != nil {
		return nil, err
	}
	if err := sortSpans(v.byUVA, "front-end", func(s *span) uint64 { return s.uva }); err != nil {
		return nil, err
	}
	for i := range v.byGPA {
		v.byGPA[i].from.retain()
	}
	v.refs.Store(1)
	return v, nil
}

func sortSpans(spans []span, kind string, addr func(*span) uint64) error {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(addr(&a), addr(&b)) })
	for i := 1; i < len(spans); i++ {
		a, b := &spans[i-1], &spans[i]
		if addr(b)-addr(a) < a.size() {
			return fmt.Errorf("memory regions overlap: %#x bytes at %s address %#x and %#x bytes at %#x",
				a.size(), kind, addr(a), b.size(), addr(b))
		}
	}
	return nil
}

// tryRetain takes a reference unless the last has gone already.
func (v *View) tryRetain() bool {
	for {
		n := v.refs.Load()
		if n <= 0 {
			return false
		}
		if v.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Retain takes one more reference, for a holder that outlives the caller's.
func (v *View) Retain() {
	if v.refs.Add(1) <= 1 {
		panic("guestmem: a View was retained after its last release")
	}
}

// Release gives a reference back. With the last, memory that is in no newer View
// is unmapped.
func (v *View) Release() {
	n := v.refs.Add(-1)
	if n < 0 {
		panic("guestmem: a View was released too often")
	}
	if n > 0 {
		return
	}
	for i := range v.byGPA {
		v.byGPA[i].from.release()
	}
}

// Iovecs appends to dst the host memory of the n bytes at guest-physical address
// gpa, an iovec for each region that they touch, and returns the result. If any
// byte is outside of guest memory, it appends a single iovec with a nil Base and
// the length n, which the kernel answers with EFAULT, and returns false.
func (v *View) Iovecs(dst []unix.Iovec, gpa uint64, n uint32) ([]unix.Iovec, bool) {
	before := len(dst)
	left := uint64(n)
	// A range that wraps around ends with the last span: the loop does not
	// come back to the first.
	for i := v.findGPA(gpa); left > 0; i++ {
		if i == len(v.byGPA) {
			return append(dst[:before], unix.Iovec{Len: uint64(n)}), false
		}
		s := &v.byGPA[i]
		off := gpa - s.gpa // below the span: wraps to more than its size
		if off >= s.size() {
			return append(dst[:before], unix.Iovec{Len: uint64(n)}), false
		}
		part := min(left, s.size()-off)
		dst = append(dst, unix.Iovec{Base: &s.mem[off], Len: part})
		left -= part
		gpa += part
	}
	return dst, true
}

// HostGPA returns the n bytes at guest-physical address gpa. It returns false
// unless they lie in one region. The slice is valid as long as the View.
func (v *View) HostGPA(gpa, n uint64) ([]byte, bool) {
	i := v.findGPA(gpa)
	if i == len(v.byGPA) {
		return nil, false
	}
	return v.byGPA[i].part(gpa-v.byGPA[i].gpa, n)
}

// HostUVA is HostGPA for an address of the front end, as SET_VRING_ADDR has
// them.
func (v *View) HostUVA(uva, n uint64) ([]byte, bool) {
	for i := range v.byUVA {
		s := &v.byUVA[i]
		if off := uva - s.uva; off < s.size() {
			return s.part(off, n)
		}
	}
	return nil, false
}

// part returns n bytes of the span from off on, if it has them.
func (s *span) part(off, n uint64) ([]byte, bool) {
	if off >= s.size() || n > s.size()-off {
		return nil, false
	}
	return s.mem[off : off+n : off+n], true
}

// findGPA returns the index of the only span that can contain gpa: the last that
// does not begin above it, else the first.
func (v *View) findGPA(gpa uint64) int {
	lo := 0
	for n := len(v.byGPA); n > 1; {
		half := n / 2
		if v.byGPA[lo+half].gpa <= gpa {
			lo += half
		}
		n -= half
	}
	return lo
}
