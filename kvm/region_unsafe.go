package kvm

import "unsafe"

// Region describes mem as a slot at a guest-physical address, for
// [VM.SetUserMemoryRegion]. mem comes from mmap(2), never from Go's heap, and is a
// number of whole pages.
func Region(slot, flags uint32, guestPhysAddr uint64, mem []byte) UserspaceMemoryRegion {
	return UserspaceMemoryRegion{
		Slot:          slot,
		Flags:         flags,
		GuestPhysAddr: guestPhysAddr,
		MemorySize:    uint64(len(mem)),
		UserspaceAddr: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))),
	}
}
