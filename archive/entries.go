package archive

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// maxExtended bounds the body of one extended header.
const maxExtended = 1 << 20

// place is a place in an archive, for errors.
type place struct {
	entry  string
	offset uint64
}

// tarReader takes an archive apart into entries.
type tarReader struct {
	s        *stream
	o        Options
	metadata uint64 // counts against Options.MaxMetadata
	at       place  // the entry being read
	head     block
	acls     int // entries with ACLs, which are not shown
}

// addMetadata counts n bytes that are read or kept beside file data.
func (t *tarReader) addMetadata(n int) error {
	t.metadata += uint64(n)
	if t.metadata > t.o.MaxMetadata {
		return refuse(ErrLimit, "more than %d bytes of names and attributes", t.o.MaxMetadata)
	}
	return nil
}

// next reads the headers of the next entry. The caller reads e.packed bytes of
// data, and then calls pad. At the end of the archive, where nothing but zeros
// may follow, ok is false. buf is to work with.
func (t *tarReader) next(e *entry, buf []byte) (ok bool, err error) {
	t.at = place{offset: t.s.offset}
	var x extended
	for {
		end, err := t.header()
		if err != nil {
			return false, err
		}
		if end {
			if x.pax || x.longName || x.longLink {
				return false, refuse(ErrCorrupt, "an extended header without an entry")
			}
			return false, t.s.finish(buf)
		}
		more, err := t.extendedHeader(&x)
		if err != nil {
			return false, err
		}
		if !more {
			break
		}
	}
	if err := e.decode(&t.head); err != nil {
		return false, err
	}
	if err := x.apply(e); err != nil {
		return false, err
	}
	t.at.entry = string(e.name[:min(len(e.name), unix.PathMax)])
	if x.acl {
		t.acls++
	}
	if err := e.settle(); err != nil {
		return false, err
	}
	return true, t.readSparse(e, &x, &t.head)
}

// header reads a header block. Two blocks of zeros are the end mark.
func (t *tarReader) header() (end bool, err error) {
	first := t.s.offset == 0
	if err := t.s.read(t.head[:]); err != nil {
		if e, ok := err.(*Error); ok && first && !t.s.packed && e.Kind == ErrTruncated {
			e.Kind = ErrFormat
		}
		return false, err
	}
	if isZero(t.head[:]) {
		if err := t.s.read(t.head[:]); err != nil {
			return false, err
		}
		if !isZero(t.head[:]) {
			return false, refuse(ErrCorrupt, "a block of zeros where an entry should be")
		}
		return true, nil
	}
	if !t.head.checked() {
		if first {
			return false, &Error{Kind: ErrFormat}
		}
		return false, refuse(ErrCorrupt, "the checksum of a header is wrong")
	}
	return false, nil
}

// extendedHeader takes in the header just read if it speaks of the entry that
// follows; otherwise it reports false.
func (t *tarReader) extendedHeader(x *extended) (bool, error) {
	var seen *bool
	typ := fieldType.of(&t.head)[0]
	switch typ {
	case typeExtended:
		seen = &x.pax
	case typeLongName:
		seen = &x.longName
	case typeLongLink:
		seen = &x.longLink
	case typeGlobal:
		seen = new(bool) // there may be any number of them
	default:
		return false, nil
	}
	if *seen {
		return false, refuse(ErrCorrupt, "it has two extended headers of type %q", typ)
	}
	*seen = true
	size, ok := number(fieldSize.of(&t.head))
	if !ok || size < 0 {
		return false, refuse(ErrCorrupt, "the size of an extended header is no number")
	}
	if size > maxExtended {
		return false, refuse(ErrLimit, "an extended header of %d bytes", size)
	}
	if err := t.addMetadata(blockSize + int(size)); err != nil {
		return false, err
	}
	body := make([]byte, size)
	if err := t.s.read(body); err != nil {
		return false, err
	}
	if err := t.pad(uint64(size)); err != nil {
		return false, err
	}
	switch typ {
	case typeExtended:
		return true, x.parsePAX(body)
	case typeLongName:
		x.name = text(body)
	case typeLongLink:
		x.link = text(body)
	case typeGlobal:
		return true, checkGlobal(body)
	}
	return true, nil
}

// pad skips what fills the last of the blocks that n bytes take.
func (t *tarReader) pad(n uint64) error {
	var b block
	return t.s.skip(-n%blockSize, b[:])
}

// settle makes one type of those that mean the same, and refuses unknown ones
// and data where there can be none: programs differ in whether they follow.
func (e *entry) settle() error {
	switch e.typ {
	case typeOld:
		e.typ = typeFile
		if bytes.HasSuffix(e.name, []byte{'/'}) {
			e.typ = typeDir
		}
	case typeContiguous:
		e.typ = typeFile
	}
	switch e.typ {
	case typeFile, typeSparse:
	case typeDir:
		e.size, e.packed = 0, 0 // what stands there is no length (POSIX)
	case typeHardLink, typeSymlink, typeChar, typeBlock, typeFifo:
		if e.packed != 0 {
			return refuse(ErrUnsupported, "%d bytes of data for an entry of type %q", e.packed, e.typ)
		}
	default:
		return refuse(ErrUnsupported, "an entry of type %q", e.typ)
	}
	return nil
}
