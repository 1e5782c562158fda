package archive

import (
	"bytes"
	"math"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// blockSize is the unit of tar: headers are one block, data fill whole ones.
const blockSize = 512

// field is a part of a header block.
type field struct{ at, size int }

func (f field) of(b *block) []byte { return b[f.at : f.at+f.size] }

// The fields of a header (POSIX.1-2024, pax, "ustar Interchange Format"; GNU tar
// manual, "Basic Tar Format").
var (
	fieldName     = field{0, 100}
	fieldMode     = field{100, 8}
	fieldUID      = field{108, 8}
	fieldGID      = field{116, 8}
	fieldSize     = field{124, 12}
	fieldMtime    = field{136, 12}
	fieldChecksum = field{148, 8}
	fieldType     = field{156, 1}
	fieldLink     = field{157, 100}
	fieldMagic    = field{257, 8}
	fieldMajor    = field{329, 8}
	fieldMinor    = field{337, 8}
	fieldPrefix   = field{345, 155} // ustar

	fieldStarPrefix = field{345, 131} // star, which has times behind it
	fieldStarMagic  = field{508, 4}

	fieldGNUAtime    = field{345, 12}
	fieldGNUCtime    = field{357, 12}
	fieldGNUSparse   = field{386, 4 * sparseSize}
	fieldGNUExtended = field{482, 1}
	fieldGNUReal     = field{483, 12}
)

// Type flags. All others are refused.
const (
	typeOld        = 0 // a file, or a directory if the name ends in a slash
	typeFile       = '0'
	typeHardLink   = '1'
	typeSymlink    = '2'
	typeChar       = '3'
	typeBlock      = '4'
	typeDir        = '5'
	typeFifo       = '6'
	typeContiguous = '7' // a file
	typeExtended   = 'x' // PAX records for the next entry
	typeGlobal     = 'g' // PAX records for all entries that follow
	typeLongLink   = 'K' // GNU: link target of the next entry
	typeLongName   = 'L' // GNU: name of the next entry
	typeSparse     = 'S' // GNU: a file with holes
)

type block [blockSize]byte

// family is which of the layouts a header has.
type family uint8

const (
	familyV7 family = iota
	familyUstar
	familyGNU
)

func (b *block) family() family {
	switch magic := string(fieldMagic.of(b)); {
	case magic == "ustar  \x00":
		return familyGNU
	case magic[:6] == "ustar\x00":
		return familyUstar
	}
	return familyV7
}

// checked reports whether the block's checksum is right: the sum of its bytes,
// or, as some old programs have it, of its bytes taken as signed, with the
// checksum's own place taken as spaces.
func (b *block) checked() bool {
	want, ok := number(fieldChecksum.of(b))
	if !ok {
		return false
	}
	var plain, signed int64
	for i, c := range b {
		if i >= fieldChecksum.at && i < fieldChecksum.at+fieldChecksum.size {
			c = ' '
		}
		plain += int64(c)
		signed += int64(int8(c))
	}
	return want == plain || want == signed
}

// number reads a numeric field: octal digits between spaces and NULs, or, with
// the top bit of the first byte set, a big-endian number in two's complement.
func number(b []byte) (int64, bool) {
	if b[0]&0x80 != 0 {
		return binaryNumber(b)
	}
	b = bytes.TrimLeft(b, " \x00")
	if end := bytes.IndexAny(b, " \x00"); end >= 0 {
		if len(bytes.Trim(b[end:], " \x00")) != 0 {
			return 0, false
		}
		b = b[:end]
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '7' || n > math.MaxInt64>>3 {
			return 0, false
		}
		n = n<<3 | int64(c-'0')
	}
	return n, true
}

func binaryNumber(b []byte) (int64, bool) {
	var flip byte
	if b[0]&0x40 != 0 {
		flip = 0xff
	}
	var n uint64
	for i, c := range b {
		c ^= flip
		if i == 0 {
			c &= 0x7f
		}
		if n > math.MaxInt64>>8 {
			return 0, false
		}
		n = n<<8 | uint64(c)
	}
	if flip != 0 {
		return ^int64(n), true
	}
	return int64(n), true
}

// text reads a field that a NUL ends, unless it is full.
func text(b []byte) []byte {
	if end := bytes.IndexByte(b, 0); end >= 0 {
		b = b[:end]
	}
	return bytes.Clone(b)
}

// entry is one entry of an archive, with its extended headers applied.
type entry struct {
	typ    byte
	name   []byte // as it stands in the archive
	link   []byte // target of a hard or symbolic link
	mode   uint32 // permission bits
	uid    uint32
	gid    uint32
	rdev   uint32 // as vfs.MakeDev packs it
	size   uint64 // of the file
	packed uint64 // of its data in the archive
	atime  vfs.Timespec
	mtime  vfs.Timespec
	ctime  vfs.Timespec
	xattrs []xattr
	// segments are where the data of a file with holes belong; nil for a file
	// that has none.
	segments []segment
	sparse   bool
}

// xattr is an extended attribute.
type xattr struct{ name, value []byte }

// decode takes in a header block whose checksum is right.
func (e *entry) decode(b *block) error {
	*e = entry{typ: fieldType.of(b)[0], name: text(fieldName.of(b)), link: text(fieldLink.of(b))}
	fam := b.family()
	var mode, uid, gid, size, mtime int64
	for _, f := range []struct {
		what  string
		field field
		to    *int64
	}{
		{"mode", fieldMode, &mode}, {"uid", fieldUID, &uid}, {"gid", fieldGID, &gid},
		{"size", fieldSize, &size}, {"mtime", fieldMtime, &mtime},
	} {
		var ok bool
		if *f.to, ok = number(f.field.of(b)); !ok {
			return refuse(ErrCorrupt, "its %s is no number", f.what)
		}
	}
	if size < 0 {
		return refuse(ErrCorrupt, "its size is negative")
	}
	e.mode = uint32(mode & 0o7777)
	e.size, e.packed = uint64(size), uint64(size)
	e.mtime.Sec = mtime
	e.atime, e.ctime = e.mtime, e.mtime
	if err := e.setOwner(uid, gid); err != nil {
		return err
	}
	switch fam {
	case familyUstar:
		prefix := fieldPrefix
		if string(fieldStarMagic.of(b)) == "tar\x00" {
			prefix = fieldStarPrefix
		}
		if p := text(prefix.of(b)); len(p) != 0 {
			e.name = append(append(p, '/'), e.name...)
		}
	case familyGNU:
		e.gnuTime(fieldGNUAtime.of(b), &e.atime)
		e.gnuTime(fieldGNUCtime.of(b), &e.ctime)
	}
	if e.typ == typeSparse && fam != familyGNU {
		return refuse(ErrUnsupported, "a sparse file in a format other than GNU's")
	}
	if e.typ == typeChar || e.typ == typeBlock {
		return e.setDevice(b, fam)
	}
	return nil
}

// gnuTime takes a time that GNU tar writes only if asked to.
func (e *entry) gnuTime(b []byte, to *vfs.Timespec) {
	if b[0] == 0 {
		return
	}
	if n, ok := number(b); ok {
		*to = vfs.Timespec{Sec: n}
	}
}

// setOwner refuses the id -1 as well, which Linux reserves for "no change".
func (e *entry) setOwner(uid, gid int64) error {
	if uid < 0 || uid >= math.MaxUint32 || gid < 0 || gid >= math.MaxUint32 {
		return refuse(ErrCorrupt, "its owner is %d:%d", uid, gid)
	}
	e.uid, e.gid = uint32(uid), uint32(gid)
	return nil
}

func (e *entry) setDevice(b *block, fam family) error {
	if fam == familyV7 {
		return refuse(ErrCorrupt, "a device in a format that has no device numbers")
	}
	major, ok1 := number(fieldMajor.of(b))
	minor, ok2 := number(fieldMinor.of(b))
	if !ok1 || !ok2 || major < 0 || major > 0xfff || minor < 0 || minor > 0xfffff {
		return refuse(ErrCorrupt, "its device number is none of Linux")
	}
	e.rdev = vfs.MakeDev(uint32(major), uint32(minor))
	return nil
}

// fileTypes are what type flags are in the file system.
var fileTypes = map[byte]uint32{
	typeFile:    unix.S_IFREG,
	typeSparse:  unix.S_IFREG,
	typeSymlink: unix.S_IFLNK,
	typeChar:    unix.S_IFCHR,
	typeBlock:   unix.S_IFBLK,
	typeDir:     unix.S_IFDIR,
	typeFifo:    unix.S_IFIFO,
}
