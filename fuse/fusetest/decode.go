package fusetest

import (
	"encoding/binary"
	"fmt"
	"syscall"
	"time"

	"github.com/isthmus-fs/isthmus/vfs"
)

var le = binary.LittleEndian

// Sizes of reply payloads.
const (
	EntrySize  = 128
	AttrSize   = 104
	OpenSize   = 16
	StatxSize  = 288
	StatfsSize = 80
	InitSize   = 64
)

// Reply checks a reply against the rules that Linux checks: the length in the
// header is the length used, an error is alone and in range, and the number is
// that of the request. It returns the payload's length or the error number; err
// is set for a reply that breaks a rule.
func Reply(used int, header []byte, unique uint64) (n int, errno syscall.Errno, err error) {
	if used < OutHeaderSize || len(header) < OutHeaderSize {
		return 0, 0, fmt.Errorf("reply of %d bytes", used)
	}
	length, code, number := le.Uint32(header), int32(le.Uint32(header[4:])), le.Uint64(header[8:])
	switch {
	case int64(length) != int64(used):
		err = fmt.Errorf("reply of %d bytes says that it has %d", used, length)
	case number != unique:
		err = fmt.Errorf("reply to request %#x has number %#x", unique, number)
	case code > 0 || code <= -512:
		err = fmt.Errorf("reply has error %d", code)
	case code != 0 && used != OutHeaderSize:
		err = fmt.Errorf("reply with error %d has %d bytes", code, used)
	}
	return used - OutHeaderSize, syscall.Errno(-code), err
}

func decodeAttr(b []byte) vfs.Attr {
	return vfs.Attr{
		Ino:     le.Uint64(b),
		Size:    le.Uint64(b[8:]),
		Blocks:  le.Uint64(b[16:]),
		Atime:   vfs.Timespec{Sec: int64(le.Uint64(b[24:])), Nsec: le.Uint32(b[48:])},
		Mtime:   vfs.Timespec{Sec: int64(le.Uint64(b[32:])), Nsec: le.Uint32(b[52:])},
		Ctime:   vfs.Timespec{Sec: int64(le.Uint64(b[40:])), Nsec: le.Uint32(b[56:])},
		Mode:    le.Uint32(b[60:]),
		Nlink:   le.Uint32(b[64:]),
		UID:     le.Uint32(b[68:]),
		GID:     le.Uint32(b[72:]),
		Rdev:    le.Uint32(b[76:]),
		Blksize: le.Uint32(b[80:]),
		Flags:   vfs.AttrFlags(le.Uint32(b[84:])),
	}
}

func decodeTTL(sec uint64, nsec uint32) time.Duration {
	return time.Duration(sec)*time.Second + time.Duration(nsec)
}

// Entry decodes struct fuse_entry_out.
func Entry(b []byte) vfs.Entry {
	return vfs.Entry{
		Node:       vfs.NodeID(le.Uint64(b)),
		Generation: le.Uint64(b[8:]),
		EntryTTL:   decodeTTL(le.Uint64(b[16:]), le.Uint32(b[32:])),
		AttrTTL:    decodeTTL(le.Uint64(b[24:]), le.Uint32(b[36:])),
		Attr:       decodeAttr(b[40:]),
	}
}

// Attr decodes struct fuse_attr_out.
func Attr(b []byte) vfs.AttrOut {
	return vfs.AttrOut{TTL: decodeTTL(le.Uint64(b), le.Uint32(b[8:])), Attr: decodeAttr(b[16:])}
}

// Opened decodes struct fuse_open_out.
func Opened(b []byte) vfs.Opened {
	return vfs.Opened{Handle: vfs.Handle(le.Uint64(b)), Flags: vfs.OpenFlags(le.Uint32(b[8:]))}
}

// Statfs decodes struct fuse_statfs_out.
func Statfs(b []byte) vfs.Statfs {
	return vfs.Statfs{
		Blocks:  le.Uint64(b),
		Bfree:   le.Uint64(b[8:]),
		Bavail:  le.Uint64(b[16:]),
		Files:   le.Uint64(b[24:]),
		Ffree:   le.Uint64(b[32:]),
		Bsize:   le.Uint32(b[40:]),
		Namelen: le.Uint32(b[44:]),
		Frsize:  le.Uint32(b[48:]),
	}
}

// Statx decodes struct fuse_statx_out.
func Statx(b []byte) vfs.Statx {
	stamp := func(b []byte) vfs.Timespec {
		return vfs.Timespec{Sec: int64(le.Uint64(b)), Nsec: le.Uint32(b[8:])}
	}
	s := b[32:]
	return vfs.Statx{
		TTL:            decodeTTL(le.Uint64(b), le.Uint32(b[8:])),
		Mask:           le.Uint32(s),
		Attributes:     le.Uint64(s[8:]),
		AttributesMask: le.Uint64(s[56:]),
		Btime:          stamp(s[80:]),
		DevMajor:       le.Uint32(s[136:]),
		DevMinor:       le.Uint32(s[140:]),
		Attr: vfs.Attr{
			Blksize: le.Uint32(s[4:]),
			Nlink:   le.Uint32(s[16:]),
			UID:     le.Uint32(s[20:]),
			GID:     le.Uint32(s[24:]),
			Mode:    uint32(le.Uint16(s[28:])),
			Ino:     le.Uint64(s[32:]),
			Size:    le.Uint64(s[40:]),
			Blocks:  le.Uint64(s[48:]),
			Atime:   stamp(s[64:]),
			Ctime:   stamp(s[96:]),
			Mtime:   stamp(s[112:]),
			Rdev:    vfs.MakeDev(le.Uint32(s[128:]), le.Uint32(s[132:])),
		},
	}
}

// Dirent is one record of a listing. Name aliases the listing.
type Dirent struct {
	Name  []byte
	Ino   uint64
	Next  uint64
	Type  uint32    // S_IFMT bits
	Entry vfs.Entry // zero in a plain listing
}

// NextDirent decodes the record at the front of a listing and returns what
// follows; ok is false if it is malformed.
func NextDirent(list []byte, plus bool) (d Dirent, rest []byte, ok bool) {
	size := 24
	b := list
	if plus {
		size += EntrySize
		if len(b) < size {
			return Dirent{}, nil, false
		}
		d.Entry = Entry(b)
		b = b[EntrySize:]
	}
	if len(b) < 24 {
		return Dirent{}, nil, false
	}
	d.Ino, d.Next, d.Type = le.Uint64(b), le.Uint64(b[8:]), le.Uint32(b[20:])<<12
	n := int(le.Uint32(b[16:]))
	end := (size + n + 7) &^ 7
	if n == 0 || n > vfs.MaxName || end > len(list) {
		return Dirent{}, nil, false
	}
	d.Name = b[24 : 24+n]
	return d, list[end:], true
}
