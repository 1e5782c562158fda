package hermit

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// The format of a flattened device tree, Devicetree Specification chapter 5. All its
// numbers are big-endian.
const (
	fdtMagic      = 0xd00dfeed
	fdtVersion    = 17
	fdtCompatible = 16 // the oldest version that a reader may know
	fdtHeaderSize = 40

	fdtBeginNode = 1
	fdtEndNode   = 2
	fdtProp      = 3
	fdtEnd       = 9
)

// maxFDT is the largest device tree, in bytes. Linux has the same limit.
const maxFDT = 2 << 20

var be = binary.BigEndian

// fdt writes a device tree. Nodes are begun and ended in the order in which they stand
// there; the properties of a node come before its children.
type fdt struct {
	structure, strings, reserved []byte
	names                        map[string]uint32 // where they begin in strings
}

func newFDT() *fdt { return &fdt{names: make(map[string]uint32)} }

func (f *fdt) word(v uint32) { f.structure = be.AppendUint32(f.structure, v) }

// padded appends data and fills up to the next word.
func (f *fdt) padded(data []byte) {
	f.structure = append(f.structure, data...)
	for len(f.structure)%4 != 0 {
		f.structure = append(f.structure, 0)
	}
}

func (f *fdt) begin(name string) {
	f.word(fdtBeginNode)
	f.padded(append([]byte(name), 0))
}

func (f *fdt) end() { f.word(fdtEndNode) }

// prop writes a property. Names that are there twice are stored once.
func (f *fdt) prop(name string, value []byte) {
	at, ok := f.names[name]
	if !ok {
		at = uint32(len(f.strings))
		f.names[name] = at
		f.strings = append(append(f.strings, name...), 0)
	}
	f.word(fdtProp)
	f.word(uint32(len(value)))
	f.word(at)
	f.padded(value)
}

func (f *fdt) u32(name string, v uint32) { f.prop(name, be.AppendUint32(nil, v)) }

func (f *fdt) u64(name string, v ...uint64) {
	var value []byte
	for _, v := range v {
		value = be.AppendUint64(value, v)
	}
	f.prop(name, value)
}

// text writes a property of one or several strings, which have no NUL in them.
func (f *fdt) text(name string, s ...string) {
	f.prop(name, []byte(strings.Join(s, "\x00")+"\x00"))
}

// reserve adds a range to those that the guest is to leave alone.
func (f *fdt) reserve(addr, size uint64) {
	f.reserved = be.AppendUint64(be.AppendUint64(f.reserved, addr), size)
}

// blob returns the finished tree.
func (f *fdt) blob() ([]byte, error) {
	f.word(fdtEnd)
	reserved := append(f.reserved, make([]byte, 16)...) // ends with one that is empty
	structAt := fdtHeaderSize + len(reserved)
	stringsAt := structAt + len(f.structure)
	total := stringsAt + len(f.strings)
	if total > maxFDT {
		return nil, fmt.Errorf("the device tree takes %d bytes, at most %d are possible: pass fewer arguments, environment variables or mappings", total, maxFDT)
	}
	b := make([]byte, 0, total)
	for _, v := range [...]int{
		fdtMagic, total, structAt, stringsAt, fdtHeaderSize,
		fdtVersion, fdtCompatible, 0, len(f.strings), len(f.structure),
	} {
		b = be.AppendUint32(b, uint32(v))
	}
	b = append(b, reserved...)
	b = append(b, f.structure...)
	return append(b, f.strings...), nil
}
