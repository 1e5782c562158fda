package virtq_test

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// within says whether all of p lies in one of memory.
func within(p unix.Iovec, memory [][]byte) bool {
	for _, m := range memory {
		off := uintptr(unsafe.Pointer(p.Base)) - uintptr(unsafe.Pointer(&m[0]))
		if off < uintptr(len(m)) && p.Len <= uint64(len(m))-uint64(off) {
			return true
		}
	}
	return false
}
