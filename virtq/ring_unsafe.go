//go:build amd64 || arm64 || riscv64 || loong64

package virtq

import (
	"sync/atomic"
	"unsafe"
)

// The words of a ring that both sides use at the same time are little-endian and
// 16 bits wide, and so are the hosts above; Go has atomic operations on 32 bits
// and more. An aligned load or store of 16 bits is one access on these hosts, but
// only an atomic operation keeps it in order with others. So:
//
//   - idx of the available ring is loaded atomically with its neighbour.
//   - flags and idx of the used ring, which has one writer, are stored
//     atomically together.
//   - The event words have no neighbour that is ours. They are accessed plainly,
//     right before or after a full fence.

// availWord is the aligned 32-bit word of an available ring that holds idx.
type availWord struct {
	word  *uint32
	shift uint8
}

// newAvailWord finds idx in a ring aligned to 2. Where the ring is aligned to 4
// the word is flags and idx, where it is not, idx and the first element.
func newAvailWord(avail []byte) availWord {
	p := unsafe.Pointer(unsafe.SliceData(avail))
	if uintptr(p)%4 == 0 {
		return availWord{(*uint32)(p), 16}
	}
	return availWord{(*uint32)(unsafe.Add(p, 2)), 0}
}

// load returns idx. What the driver wrote before it is visible afterwards.
func (w availWord) load() uint16 {
	return uint16(atomic.LoadUint32(w.word) >> w.shift)
}

// usedWord is flags (low half) and idx (high half) of a used ring.
type usedWord struct{ word *uint32 }

func newUsedWord(used []byte) usedWord {
	return usedWord{(*uint32)(unsafe.Pointer(unsafe.SliceData(used)))}
}

func (w usedWord) load() (flags, idx uint16) {
	v := atomic.LoadUint32(w.word)
	return uint16(v), uint16(v >> 16)
}

// publish stores flags and idx after all earlier stores, and is a full fence:
// later loads see what the driver stored before it saw idx.
func (w usedWord) publish(flags, idx uint16) {
	atomic.SwapUint32(w.word, uint32(idx)<<16|uint32(flags))
}

// fence orders all accesses before it with all after it; scratch is any word
// that is nobody else's.
func fence(scratch *uint32) { atomic.SwapUint32(scratch, 0) }

// load16 and store16 access the aligned 16-bit word at b[off] once.
func load16(b []byte, off int) uint16 {
	return *(*uint16)(unsafe.Pointer(&b[off : off+2 : off+2][0]))
}

func store16(b []byte, off int, v uint16) {
	*(*uint16)(unsafe.Pointer(&b[off : off+2 : off+2][0])) = v
}

// misaligned returns how far b begins after a multiple of align.
func misaligned(b []byte, align uintptr) uintptr {
	return uintptr(unsafe.Pointer(unsafe.SliceData(b))) % align
}
