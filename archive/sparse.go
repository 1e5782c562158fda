package archive

import (
	"bytes"
	"strconv"
)

const (
	// sparseSize is the length of a segment in GNU's old format: two numeric
	// fields of 12 bytes.
	sparseSize = 24
	// maxSegments bounds the segments of one file, which are held in memory
	// while it is read.
	maxSegments = 1 << 20
)

// segment is a part of a file with holes that has data.
type segment struct{ off, length uint64 }

// sparseRecords are the PAX records of a file with holes (GNU tar manual, "PAX
// Format, Versions 0.0, 0.1 and 1.0").
type sparseRecords struct {
	major, minor *int64
	name         []byte
	size         *int64
	count        *int64   // versions 0.0 and 0.1
	numbers      []uint64 // offset, length, offset, ...; versions 0.0 and 0.1
	mapped       bool     // a map was there; version 0.1
}

// addMap is version 0.1: all numbers in one record.
func (s *sparseRecords) addMap(v []byte) bool {
	if s.mapped || s.numbers != nil {
		return false
	}
	s.mapped = true
	for part := range bytes.SplitSeq(v, []byte{','}) {
		if !s.addNumber(part, len(s.numbers)%2) {
			return false
		}
	}
	return true
}

// addNumber is version 0.0: a record for each, in turns.
func (s *sparseRecords) addNumber(v []byte, turn int) bool {
	n, err := strconv.ParseUint(string(v), 10, 63)
	if err != nil || len(s.numbers)%2 != turn || len(s.numbers) == 2*maxSegments {
		return false
	}
	s.numbers = append(s.numbers, n)
	return true
}

// there reports whether the records say that the file has holes, and in which
// way.
func (s *sparseRecords) there() (inData, there bool, err error) {
	version := [2]int64{-1, -1}
	if s.major != nil {
		version[0] = *s.major
	}
	if s.minor != nil {
		version[1] = *s.minor
	}
	old := s.numbers != nil || s.count != nil
	switch version {
	case [2]int64{1, 0}:
		inData, there = true, true
	case [2]int64{0, 0}, [2]int64{0, 1}:
		there = true
	case [2]int64{-1, -1}:
		there = old
		if !old && (s.size != nil || s.name != nil) {
			return false, false, refuse(ErrCorrupt, "a sparse file without a map")
		}
	default:
		return false, false, refuse(ErrUnsupported, "a sparse file of version %d.%d", version[0], version[1])
	}
	if there && (s.size == nil || inData == old) {
		return false, false, refuse(ErrCorrupt, "the records of a sparse file do not fit together")
	}
	return inData, there, nil
}

// list makes segments of the numbers of versions 0.0 and 0.1.
func (s *sparseRecords) list() ([]segment, error) {
	if len(s.numbers)%2 != 0 || s.count != nil && uint64(*s.count) != uint64(len(s.numbers)/2) {
		return nil, refuse(ErrCorrupt, "the map of a sparse file has the wrong length")
	}
	list := make([]segment, 0, len(s.numbers)/2)
	for i := 0; i < len(s.numbers); i += 2 {
		list = append(list, segment{s.numbers[i], s.numbers[i+1]})
	}
	return list, nil
}

// readSparse reads the map of a file with holes, where it has one, and compares
// it with the rest of the entry. first is its header.
func (t *tarReader) readSparse(e *entry, x *extended, first *block) error {
	var err error
	inData, there, err := x.sparse.there()
	switch {
	case err != nil:
		return err
	case e.typ == typeSparse && there:
		return refuse(ErrCorrupt, "a sparse file has two maps")
	case e.typ == typeSparse:
		e.segments, err = t.readOldMap(e, first)
	case !there:
		return nil
	case e.typ != typeFile:
		return refuse(ErrCorrupt, "a map of holes for what is no file")
	case inData:
		e.size = uint64(*x.sparse.size)
		e.segments, err = t.readDataMap(e)
	default:
		e.size = uint64(*x.sparse.size)
		e.segments, err = x.sparse.list()
	}
	if err != nil {
		return err
	}
	e.sparse = true
	return e.checkSegments()
}

// checkSegments makes sure that segments are in order, inside the file, and as
// long together as the data.
func (e *entry) checkSegments() error {
	var end, sum uint64
	for _, s := range e.segments {
		// All numbers are below 1<<63: sums of two do not overflow.
		if s.off < end || s.off+s.length > e.size {
			return refuse(ErrCorrupt, "the map of a sparse file has overlapping parts, or parts behind its end")
		}
		end = s.off + s.length
		sum += s.length
	}
	if sum != e.packed {
		return refuse(ErrCorrupt, "a sparse file has %d bytes of data, its map says %d", e.packed, sum)
	}
	return nil
}

// readOldMap reads a map in GNU's old format: four segments in the header, and
// 21 in each block that may follow it.
func (t *tarReader) readOldMap(e *entry, first *block) ([]segment, error) {
	size, ok := number(fieldGNUReal.of(first))
	if !ok || size < 0 {
		return nil, refuse(ErrCorrupt, "the size of a sparse file is no number")
	}
	e.size = uint64(size)
	var list []segment
	part, more := fieldGNUSparse.of(first), fieldGNUExtended.of(first)[0] != 0
	var b block
	for {
		for ; len(part) >= sparseSize && part[0] != 0; part = part[sparseSize:] {
			off, ok1 := number(part[:12])
			length, ok2 := number(part[12:24])
			if !ok1 || !ok2 || off < 0 || length < 0 {
				return nil, refuse(ErrCorrupt, "the map of a sparse file has something other than numbers")
			}
			if len(list) == maxSegments {
				return nil, refuse(ErrLimit, "a sparse file has more than %d parts", maxSegments)
			}
			list = append(list, segment{uint64(off), uint64(length)})
		}
		if !more {
			return list, nil
		}
		if err := t.addMetadata(blockSize); err != nil {
			return nil, err
		}
		if err := t.s.read(b[:]); err != nil {
			return nil, err
		}
		part, more = b[:21*sparseSize], b[21*sparseSize] != 0
	}
}

// readDataMap reads a map of version 1.0: numbers with a newline behind each, the
// first of them how many segments there are, filled up to whole blocks. It is
// the first part of the data.
func (t *tarReader) readDataMap(e *entry) ([]segment, error) {
	var b block
	var left []byte
	next := func() (uint64, error) {
		var n uint64
		for digits := 0; ; digits++ {
			if len(left) == 0 {
				if e.packed < blockSize {
					return 0, refuse(ErrCorrupt, "the map of a sparse file is cut off")
				}
				if err := t.addMetadata(blockSize); err != nil {
					return 0, err
				}
				if err := t.s.read(b[:]); err != nil {
					return 0, err
				}
				e.packed -= blockSize
				left = b[:]
			}
			c := left[0]
			left = left[1:]
			switch {
			case c == '\n' && digits > 0:
				return n, nil
			case c < '0', c > '9', digits == 18:
				return 0, refuse(ErrCorrupt, "the map of a sparse file has something other than numbers")
			}
			n = n*10 + uint64(c-'0')
		}
	}
	count, err := next()
	if err != nil {
		return nil, err
	}
	if count > maxSegments {
		return nil, refuse(ErrLimit, "a sparse file has more than %d parts", maxSegments)
	}
	var list []segment
	for range count {
		var s segment
		if s.off, err = next(); err != nil {
			return nil, err
		}
		if s.length, err = next(); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}
