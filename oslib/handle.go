package oslib

import (
	"encoding/binary"
	"errors"
)

// MaxHandle is the size of the largest file handle (MAX_HANDLE_SZ).
const MaxHandle = 128

// FileHandle is struct file_handle: a name for a file system object that stays
// valid without an open descriptor. Two handles of the same mount are equal (==)
// if and only if they name the same object: what lies behind the first Bytes of
// Data is zero.
type FileHandle struct {
	Bytes uint32 // how much of Data counts
	Type  int32  // of meaning to the file system alone
	Data  [MaxHandle]byte
}

var (
	errHandleSize = errors.New("file handle: wrong size")
	errHandleType = errors.New("file handle: invalid type")
)

// handleInvalid is FILEID_INVALID, which no file system gives out.
const handleInvalid = 0xff

func (h *FileHandle) check() error {
	switch {
	case h.Bytes == 0 || h.Bytes > MaxHandle:
		return errHandleSize
	case h.Type < 0 || h.Type&0xffff == handleInvalid:
		return errHandleType
	}
	return nil
}

// AppendBinary appends the serialised form: Bytes and Type as 32 bits each,
// little endian, then as many bytes as Bytes says.
func (h *FileHandle) AppendBinary(b []byte) ([]byte, error) {
	if err := h.check(); err != nil {
		return b, err
	}
	b = binary.LittleEndian.AppendUint32(b, h.Bytes)
	b = binary.LittleEndian.AppendUint32(b, uint32(h.Type))
	return append(b, h.Data[:h.Bytes]...), nil
}

// UnmarshalBinary reads what AppendBinary wrote; b holds that and nothing more.
// After an error h is as it was.
func (h *FileHandle) UnmarshalBinary(b []byte) error {
	if len(b) < 8 {
		return errHandleSize
	}
	n := FileHandle{
		Bytes: binary.LittleEndian.Uint32(b),
		Type:  int32(binary.LittleEndian.Uint32(b[4:])),
	}
	if err := n.check(); err != nil {
		return err
	}
	if uint64(len(b)) != 8+uint64(n.Bytes) {
		return errHandleSize
	}
	copy(n.Data[:], b[8:])
	*h = n
	return nil
}
