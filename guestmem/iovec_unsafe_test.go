package guestmem

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

func bytesOf(p unix.Iovec) []byte { return unsafe.Slice(p.Base, p.Len) }
