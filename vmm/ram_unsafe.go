package vmm

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// addressOf is where mapped memory lies.
func addressOf(m []byte) uint64 {
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(m))))
}

// mapOver maps readable and writable memory in the place of m, which is part of a mapping
// of ours.
func mapOver(m []byte, flags, fd int) error {
	_, err := unix.MmapPtr(fd, 0, unsafe.Pointer(unsafe.SliceData(m)), uintptr(len(m)),
		unix.PROT_READ|unix.PROT_WRITE, flags|unix.MAP_FIXED)
	return err
}
