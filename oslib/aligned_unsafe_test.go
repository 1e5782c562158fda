package oslib_test

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

func addrOf(v *unix.Iovec) uint64 { return uint64(uintptr(unsafe.Pointer(v.Base))) }
