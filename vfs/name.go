package vfs

import (
	"bytes"
	"syscall"
)

// Name is one checked path component: not empty, no '/', no NUL, neither "."
// nor "..", at most MaxName bytes; any other byte is allowed, UTF-8 or not.
// Only [ParseName] and [MakeName] make one, so that whoever holds a Name need
// not check it. The bytes belong to the caller and are valid until the call
// they were passed to returns.
type Name struct {
	cstr []byte
}

// MaxName is the longest component that Linux file systems take, in bytes.
const MaxName = 255

// ParseName takes a name from the front of b, which must end it with a NUL, and
// returns what follows the NUL. The errors are EINVAL for what is not a
// component and ENAMETOOLONG. The Name keeps pointing into b.
func ParseName(b []byte) (name Name, rest []byte, errno syscall.Errno) {
	n := bytes.IndexByte(b, 0)
	if n < 0 {
		return Name{}, nil, syscall.EINVAL
	}
	c := b[: n+1 : n+1]
	switch {
	case n == 0,
		n == 1 && c[0] == '.',
		n == 2 && c[0] == '.' && c[1] == '.',
		bytes.IndexByte(c[:n], '/') >= 0:
		return Name{}, nil, syscall.EINVAL
	case n > MaxName:
		return Name{}, nil, syscall.ENAMETOOLONG
	}
	return Name{c}, b[n+1:], 0
}

// MakeName checks and copies a Go string.
func MakeName(s string) (Name, syscall.Errno) {
	if bytes.IndexByte([]byte(s), 0) >= 0 {
		return Name{}, syscall.EINVAL
	}
	name, _, errno := ParseName(append([]byte(s), 0))
	return name, errno
}

// CString returns the name with its terminating NUL, as system calls want it.
func (n Name) CString() []byte { return n.cstr }

// Bytes returns the name without the NUL.
func (n Name) Bytes() []byte { return n.cstr[:len(n.cstr)-1] }

// Len returns the length without the NUL.
func (n Name) Len() int { return len(n.cstr) - 1 }

// String copies the name into a string.
func (n Name) String() string { return string(n.Bytes()) }
