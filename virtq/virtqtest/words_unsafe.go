//go:build amd64 || arm64 || riscv64 || loong64

package virtqtest

import (
	"sync/atomic"
	"unsafe"
)

// load16 and store16 access the aligned little-endian 16-bit word at b[off]
// once. Only fence orders them.
func load16(b []byte, off int) uint16 {
	return *(*uint16)(unsafe.Pointer(&b[off : off+2 : off+2][0]))
}

func store16(b []byte, off int, v uint16) {
	*(*uint16)(unsafe.Pointer(&b[off : off+2 : off+2][0])) = v
}

// fence is a full memory fence; scratch is any word that is nobody else's.
func fence(scratch *uint32) { atomic.SwapUint32(scratch, 0) }
