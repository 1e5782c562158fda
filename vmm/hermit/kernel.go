package hermit

import (
	"encoding/binary"
	"errors"
	"fmt"
)

var le = binary.LittleEndian

// What is needed of the ELF format.
const (
	ehdrSize = 64
	phdrSize = 56

	etExec  = 2
	etDyn   = 3
	emX8664 = 62

	ptLoad    = 1
	ptDynamic = 2
	ptNote    = 4
	ptTLS     = 7
)

// maxAlign is the most that a kernel may ask its start to be aligned to: what guest
// memory itself is.
const maxAlign = 2 << 20

// What a kernel has of each is some ten. More only cost time.
const (
	maxHeaders = 256
	maxNotes   = 1 << 20 // bytes in one PT_NOTE
)

// Version is the version of a kernel, from its GNU ABI tag.
type Version struct {
	Major, Minor, Patch uint32
}

// String returns the version as "0.13.2".
func (v Version) String() string {
	return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
}

// Less says whether v comes before major.minor.
func (v Version) Less(major, minor uint32) bool {
	return v.Major < major || v.Major == major && v.Minor < minor
}

// A Kernel is an ELF file that has been found good to load. It refers to the bytes it
// was parsed from, which must not change.
type Kernel struct {
	// PIE: the kernel can be anywhere; addresses count from its start.
	PIE bool
	// Interface is the version of the uhyve interface that it speaks, 1 to 3.
	Interface int
	// Legacy: the kernel states no version, so it is older than 0.10.
	Legacy bool
	// Version is that of the kernel, if not Legacy.
	Version Version
	// Entry is the address of its first instruction.
	Entry uint64

	file     []byte
	first    uint64 // address of its first byte; 0 if PIE
	size     uint64 // bytes of memory, from first to the end of the last segment
	align    uint64 // of its start: a power of two, 4 KiB to maxAlign
	segments []segment
	tls      TLS
	dynamic  dynamic
}

// TLS is the template of thread-local storage, as it stands in the boot information.
// All zero is none.
type TLS struct {
	Start, FileSize, MemSize, Align uint64
}

// segment is a PT_LOAD: data to be at addr, and zeros up to memSize.
type segment struct {
	addr, memSize uint64
	data          []byte
}

// Size returns how many bytes of memory the kernel takes.
func (k *Kernel) Size() uint64 { return k.size }

// ParseKernel looks at a kernel's ELF file and checks all of it but its relocations,
// which [Kernel.Load] does.
func ParseKernel(file []byte) (*Kernel, error) {
	k := &Kernel{file: file, align: pageSize}
	headers, err := k.parseHeader()
	if err != nil {
		return nil, err
	}
	var notes notes
	var tls, dyn []byte
	for ; len(headers) >= phdrSize; headers = headers[phdrSize:] {
		h := headers[:phdrSize]
		switch le.Uint32(h) {
		case ptLoad:
			err = k.addSegment(h)
		case ptNote:
			err = notes.parse(k, h)
		case ptTLS:
			err = once(&tls, h, "PT_TLS")
		case ptDynamic:
			err = once(&dyn, h, "PT_DYNAMIC")
		}
		if err != nil {
			return nil, err
		}
	}
	if len(k.segments) == 0 {
		return nil, errors.New("the kernel has nothing to load (no PT_LOAD)")
	}
	if err := k.measure(); err != nil {
		return nil, err
	}
	if err := notes.apply(k); err != nil {
		return nil, err
	}
	if tls != nil {
		if err := k.parseTLS(tls); err != nil {
			return nil, err
		}
	}
	if dyn != nil {
		if err := k.parseDynamic(dyn); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// once keeps a program header of which there is one at most.
func once(kept *[]byte, h []byte, name string) error {
	if *kept != nil {
		return fmt.Errorf("the kernel has more than one %s", name)
	}
	*kept = h
	return nil
}

// identity is what the first bytes of a kernel must be.
var identity = []struct {
	at   int
	want []byte
	err  string
}{
	{0, []byte{0x7f, 'E', 'L', 'F'}, "the kernel is not an ELF file"},
	{4, []byte{2}, "the kernel is not a 64-bit ELF file"},
	{5, []byte{1}, "the kernel is not a little-endian ELF file"},
	{6, []byte{1}, "the kernel has an unknown ELF version"},
	{18, []byte{emX8664, 0}, "the kernel is not for x86-64: build it for x86_64-unknown-hermit"},
}

// parseHeader checks the ELF header and returns the program headers.
func (k *Kernel) parseHeader() ([]byte, error) {
	f := k.file
	if len(f) < ehdrSize {
		return nil, errors.New("the kernel is too short for an ELF file")
	}
	for _, id := range identity {
		if string(f[id.at:id.at+len(id.want)]) != string(id.want) {
			return nil, errors.New(id.err)
		}
	}
	switch t := le.Uint16(f[16:]); t {
	case etExec:
	case etDyn:
		k.PIE = true
	default:
		return nil, fmt.Errorf("the kernel is an ELF file of type %d, not an executable", t)
	}
	k.Entry = le.Uint64(f[24:])
	at, n := le.Uint64(f[32:]), uint64(le.Uint16(f[56:]))
	if size := le.Uint16(f[54:]); n > 0 && size != phdrSize {
		return nil, fmt.Errorf("the kernel has program headers of %d bytes, not %d", size, phdrSize)
	}
	if n > maxHeaders {
		return nil, fmt.Errorf("the kernel has %d program headers; %d are possible", n, maxHeaders)
	}
	headers, ok := sub(f, at, n*phdrSize)
	if !ok {
		return nil, errors.New("the kernel is cut off: its program headers lie outside of the file")
	}
	return headers, nil
}

// sub returns b[at:at+n], if that is all in b.
func sub(b []byte, at, n uint64) ([]byte, bool) {
	if at > uint64(len(b)) || n > uint64(len(b))-at {
		return nil, false
	}
	return b[at : at+n : at+n], true
}

// contents returns what a program header says is in the file.
func (k *Kernel) contents(h []byte, name string) ([]byte, error) {
	data, ok := sub(k.file, le.Uint64(h[8:]), le.Uint64(h[32:]))
	if !ok {
		return nil, fmt.Errorf("the kernel is cut off: a %s lies outside of the file", name)
	}
	return data, nil
}

// addSegment takes a PT_LOAD. They are in ascending order, as the format wants it, and
// do not overlap.
func (k *Kernel) addSegment(h []byte) error {
	data, err := k.contents(h, "PT_LOAD")
	if err != nil {
		return err
	}
	s := segment{addr: le.Uint64(h[16:]), memSize: le.Uint64(h[40:]), data: data}
	if s.memSize == 0 && len(data) == 0 {
		return nil
	}
	if s.memSize < uint64(len(data)) || s.addr+s.memSize < s.addr {
		return fmt.Errorf("the kernel has a PT_LOAD at %#x with an impossible size (%#x bytes, %#x of them in the file)", s.addr, s.memSize, len(data))
	}
	if n := len(k.segments); n > 0 {
		if last := k.segments[n-1]; s.addr < last.addr+last.memSize {
			return fmt.Errorf("the kernel's PT_LOAD at %#x overlaps the one at %#x, or comes too late", s.addr, last.addr)
		}
	}
	if align := le.Uint64(h[48:]); align > 1 {
		if align > maxAlign || align&(align-1) != 0 {
			return fmt.Errorf("the kernel wants an alignment of %#x; powers of two to %#x are possible", align, maxAlign)
		}
		k.align = max(k.align, align)
	}
	k.segments = append(k.segments, s)
	return nil
}

// measure finds how much memory the segments take, and checks that the kernel starts
// in one of them.
func (k *Kernel) measure() error {
	last := k.segments[len(k.segments)-1]
	if !k.PIE {
		k.first = k.segments[0].addr
	}
	k.size = last.addr + last.memSize - k.first
	for _, s := range k.segments {
		if k.Entry >= s.addr && k.Entry-s.addr < s.memSize {
			return nil
		}
	}
	return fmt.Errorf("the kernel's entry %#x lies outside of its segments", k.Entry)
}

// parseTLS takes the PT_TLS. Its data are part of a PT_LOAD, but the zeros after them
// need not be: every thread has its own.
func (k *Kernel) parseTLS(h []byte) error {
	t := TLS{Start: le.Uint64(h[16:]), FileSize: le.Uint64(h[32:]), MemSize: le.Uint64(h[40:]), Align: le.Uint64(h[48:])}
	switch {
	case t.Start < k.first || t.Start-k.first > k.size || t.FileSize > k.size-(t.Start-k.first):
		return fmt.Errorf("the kernel's PT_TLS at %#x lies outside of its segments", t.Start)
	case t.MemSize < t.FileSize || t.Start+t.MemSize < t.Start:
		return fmt.Errorf("the kernel's PT_TLS has an impossible size (%#x bytes, %#x of them in the file)", t.MemSize, t.FileSize)
	case t.Align&(t.Align-1) != 0:
		return fmt.Errorf("the kernel's PT_TLS wants an alignment of %#x, which is no power of two", t.Align)
	}
	k.tls = t
	return nil
}
