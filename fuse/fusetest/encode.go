package fusetest

import (
	"encoding/binary"

	"github.com/isthmus-fs/isthmus/fuse"
)

// Sizes of the headers.
const (
	InHeaderSize  = 40
	OutHeaderSize = 16
)

// Header is struct fuse_in_header.
type Header struct {
	Len    uint32
	Op     fuse.Opcode
	Unique uint64
	Node   uint64
	UID    uint32
	GID    uint32
	PID    uint32
	ExtLen uint16 // in units of 8 bytes
}

// Append appends the encoded header to b.
func (h *Header) Append(b []byte) []byte {
	b = Append(b).U32(h.Len).U32(uint32(h.Op)).U64(h.Unique).U64(h.Node).U32(h.UID).U32(h.GID).U32(h.PID)
	return Append(b).U16(h.ExtLen).U16(0)
}

// Append is a message that grows. Its methods append a field and return the
// result.
type Append []byte

// U16 appends 16 bits.
func (b Append) U16(v uint16) Append { return binary.LittleEndian.AppendUint16(b, v) }

// U32 appends 32 bits.
func (b Append) U32(v uint32) Append { return binary.LittleEndian.AppendUint32(b, v) }

// U64 appends 64 bits.
func (b Append) U64(v uint64) Append { return binary.LittleEndian.AppendUint64(b, v) }

// Str appends a string and a NUL.
func (b Append) Str(s string) Append { return append(append(b, s...), 0) }

// Bytes appends bytes as they are.
func (b Append) Bytes(p []byte) Append { return append(b, p...) }

// Zero appends n zero bytes.
func (b Append) Zero(n int) Append {
	for range n {
		b = append(b, 0)
	}
	return b
}

// Pad8 appends zero bytes up to a multiple of 8.
func (b Append) Pad8() Append { return b.Zero(-len(b) & 7) }

// Request returns a whole request: the header, with its Len set, the arguments,
// and the extensions, for which ExtLen is set.
func Request(h Header, args, ext []byte) []byte {
	h.Len = uint32(InHeaderSize + len(args) + len(ext))
	h.ExtLen = uint16(len(ext) / 8)
	return Append(h.Append(nil)).Bytes(args).Bytes(ext)
}

// GroupsExt returns a supplementary groups extension.
func GroupsExt(groups ...uint32) []byte {
	body := Append(nil).U32(uint32(len(groups)))
	for _, g := range groups {
		body = body.U32(g)
	}
	return extension(32, body.Pad8())
}

// SecurityExt returns an extension with security contexts, given as names and
// values in turn.
func SecurityExt(contexts ...string) []byte {
	var body Append
	for i := 0; i+1 < len(contexts); i += 2 {
		body = body.U32(uint32(len(contexts[i+1]))).U32(0).Str(contexts[i]).Bytes([]byte(contexts[i+1])).Pad8()
	}
	return extension(uint32(len(contexts)/2), body)
}

func extension(typ uint32, body []byte) []byte {
	return Append(nil).U32(uint32(8 + len(body))).U32(typ).Bytes(body)
}
