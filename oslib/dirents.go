package oslib

import (
	"bytes"
	"encoding/binary"
)

// Dirents walks over the records that [Getdents] put into a buffer. It is the
// rest of the buffer, so that a copy of it remembers a place.
type Dirents []byte

// Dirent is one record. CName points into the buffer.
type Dirent struct {
	Ino   uint64
	Next  uint64 // what to seek to for the record behind it (d_off); opaque
	Type  uint32 // S_IFMT bits; 0 if the file system does not say
	CName []byte // the name with its NUL
}

// Name returns the name without the NUL.
func (e *Dirent) Name() []byte { return e.CName[:len(e.CName)-1] }

// direntHeader is the size of struct linux_dirent64 up to d_name.
const direntHeader = 19

// Read takes the next record. It reports false at the end, and also, with
// everything that is left given up, at a record that is not whole: one that is
// cut off, or has no name or no NUL behind it.
func (d *Dirents) Read(e *Dirent) bool {
	b := *d
	if len(b) < direntHeader {
		*d = nil
		return false
	}
	n := int(binary.LittleEndian.Uint16(b[16:]))
	if n < direntHeader || n > len(b) {
		*d = nil
		return false
	}
	name := b[direntHeader:n]
	end := bytes.IndexByte(name, 0)
	if end <= 0 {
		*d = nil
		return false
	}
	*e = Dirent{
		Ino:   binary.LittleEndian.Uint64(b),
		Next:  binary.LittleEndian.Uint64(b[8:]),
		Type:  uint32(b[18]&0xf) << 12,
		CName: name[: end+1 : end+1],
	}
	*d = b[n:]
	return true
}
