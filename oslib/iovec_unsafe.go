package oslib

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// MaxIov is the number of iovecs that one system call takes (UIO_MAXIOV).
const MaxIov = 1024

// Iov returns an iovec over b.
func Iov(b []byte) unix.Iovec {
	return unix.Iovec{Base: unsafe.SliceData(b), Len: uint64(len(b))}
}

// IovLen returns the number of bytes that v covers.
func IovLen(v []unix.Iovec) uint64 {
	var n uint64
	for i := range v {
		n += v[i].Len
	}
	return n
}

// IovSlice appends to dst the n bytes of v that begin at off and returns the
// result. Where v is shorter, it is all there is from off on.
func IovSlice(dst, v []unix.Iovec, off, n uint64) []unix.Iovec {
	for i := range v {
		if n == 0 {
			break
		}
		l := v[i].Len
		if off >= l {
			off -= l
			continue
		}
		part := unix.Iovec{Base: v[i].Base, Len: min(l-off, n)}
		if part.Base != nil {
			part.Base = (*byte)(unsafe.Add(unsafe.Pointer(part.Base), off))
		}
		dst = append(dst, part)
		n -= part.Len
		off = 0
	}
	return dst
}

// IovRead copies from v into dst until either ends and returns the count. An
// iovec with a nil Base stands for memory that is not there: the copy stops
// before it and ok is false.
//
// The memory may be a guest's: a caller that reads such memory runs under
// [CatchFault].
func IovRead(dst []byte, v []unix.Iovec) (n int, ok bool) {
	for i := range v {
		if n == len(dst) {
			break
		}
		if v[i].Len == 0 {
			continue
		}
		if v[i].Base == nil {
			return n, false
		}
		l := min(uint64(len(dst)-n), v[i].Len)
		n += copy(dst[n:], unsafe.Slice(v[i].Base, l))
	}
	return n, true
}

// IovWrite copies src into v until either ends; otherwise as [IovRead].
func IovWrite(v []unix.Iovec, src []byte) (n int, ok bool) {
	for i := range v {
		if n == len(src) {
			break
		}
		if v[i].Len == 0 {
			continue
		}
		if v[i].Base == nil {
			return n, false
		}
		l := min(uint64(len(src)-n), v[i].Len)
		n += copy(unsafe.Slice(v[i].Base, l), src[n:])
	}
	return n, true
}
