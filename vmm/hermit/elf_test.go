package hermit

import (
	"bytes"
	"encoding/binary"
)

// testELF describes a small ELF file. The file is built so that offsets and addresses of
// the first segment are the same.
type testELF struct {
	exec      bool
	machine   uint16
	base      uint64 // address of the first segment
	entry     uint64 // from base
	align     uint64 // of segments; 0 is 4 KiB
	bss       uint64 // bytes of zeros after the first segment's data
	notes     []testNote
	noNotes   bool
	tls       *TLS // Start from base
	dynamic   []uint64
	rela      []testRela
	symbols   []testSymbol
	extra     []testPhdr
	text      int // bytes of data after all tables
	textValue byte
}

type testNote struct {
	name string
	kind uint32
	desc []byte
}

type testRela struct {
	at     uint64
	kind   uint32
	symbol uint32
	addend uint64
}

type testSymbol struct {
	info    byte
	section uint16
	value   uint64
}

type testPhdr struct {
	kind                                uint32
	off, addr, fileSize, memSize, align uint64
}

var (
	noteEntry4 = testNote{"HERMIT\x00", noteEntryVersion, []byte{4}}
	noteABI13  = testNote{"GNU\x00", noteABITag, words(6, 0, 13, 2)}
)

func noteIface(v uint32) testNote {
	return testNote{"UHYVEIF\x00", noteInterface, binary.BigEndian.AppendUint32(nil, v)}
}

func words(v ...uint32) []byte {
	var b []byte
	for _, v := range v {
		b = le.AppendUint32(b, v)
	}
	return b
}

// textAt is where the text of a testELF begins, from its base.
const textAt = 0x1000

// encode lays the file out: header, program headers, notes, dynamic section,
// relocations, symbols, and from textAt on the text.
func (e testELF) encode() []byte {
	var noteData bytes.Buffer
	for _, n := range e.notes {
		noteData.Write(words(uint32(len(n.name)), uint32(len(n.desc)), n.kind))
		noteData.WriteString(n.name)
		noteData.Write(make([]byte, -noteData.Len()&3))
		noteData.Write(n.desc)
		noteData.Write(make([]byte, -noteData.Len()&3))
	}
	var relas, symbols, dyn []byte
	for _, r := range e.rela {
		relas = le.AppendUint64(relas, r.at)
		relas = le.AppendUint64(relas, uint64(r.symbol)<<32|uint64(r.kind))
		relas = le.AppendUint64(relas, r.addend)
	}
	for _, s := range e.symbols {
		symbols = append(symbols, 0, 0, 0, 0, s.info, 0)
		symbols = le.AppendUint16(symbols, s.section)
		symbols = le.AppendUint64(symbols, s.value)
		symbols = le.AppendUint64(symbols, 0)
	}
	const tablesAt = 0x300
	noteAt := uint64(tablesAt)
	relaAt := alignUp(noteAt+uint64(noteData.Len()), 8)
	symAt := relaAt + uint64(len(relas))
	dynAt := symAt + uint64(len(symbols))
	if e.rela != nil {
		e.dynamic = append(e.dynamic, dtRela, e.base+relaAt, dtRelaSz, uint64(len(relas)), dtRelaEnt, relaSize)
	}
	if e.symbols != nil {
		e.dynamic = append(e.dynamic, dtSymtab, e.base+symAt, dtSymEnt, symSize)
	}
	for _, v := range e.dynamic {
		dyn = le.AppendUint64(dyn, v)
	}
	if e.text == 0 {
		e.text = 64
	}
	if e.align == 0 {
		e.align = 0x1000
	}
	size := uint64(textAt + e.text)
	phdrs := []testPhdr{{ptLoad, 0, e.base, size, size + e.bss, e.align}}
	if !e.noNotes {
		phdrs = append(phdrs, testPhdr{ptNote, noteAt, e.base + noteAt, uint64(noteData.Len()), uint64(noteData.Len()), 4})
	}
	if e.tls != nil {
		phdrs = append(phdrs, testPhdr{ptTLS, e.tls.Start, e.base + e.tls.Start, e.tls.FileSize, e.tls.MemSize, e.tls.Align})
	}
	if dyn != nil {
		dyn = append(dyn, make([]byte, dynSize)...)
		phdrs = append(phdrs, testPhdr{ptDynamic, dynAt, e.base + dynAt, uint64(len(dyn)), uint64(len(dyn)), 8})
	}
	phdrs = append(phdrs, e.extra...)

	f := make([]byte, size)
	copy(f, "\x7fELF\x02\x01\x01\xff")
	le.PutUint16(f[16:], etDyn)
	if e.exec {
		le.PutUint16(f[16:], etExec)
	}
	le.PutUint16(f[18:], emX8664)
	if e.machine != 0 {
		le.PutUint16(f[18:], e.machine)
	}
	le.PutUint64(f[24:], e.base+textAt+e.entry)
	le.PutUint64(f[32:], ehdrSize)
	le.PutUint16(f[54:], phdrSize)
	le.PutUint16(f[56:], uint16(len(phdrs)))
	for i, p := range phdrs {
		h := f[ehdrSize+i*phdrSize:]
		le.PutUint32(h, p.kind)
		for j, v := range []uint64{p.off, p.addr, p.addr, p.fileSize, p.memSize, p.align} {
			le.PutUint64(h[8+8*j:], v)
		}
	}
	copy(f[noteAt:], noteData.Bytes())
	copy(f[relaAt:], relas)
	copy(f[symAt:], symbols)
	copy(f[dynAt:], dyn)
	for i := textAt; i < len(f); i++ {
		f[i] = e.textValue
	}
	return f
}

// modern is a kernel as they are today: interface 3, with an ABI tag.
func modern() testELF {
	return testELF{notes: []testNote{noteEntry4, noteABI13, noteIface(3)}, textValue: 0xcc}
}

// legacy is one from before 0.10.
func legacy() testELF {
	return testELF{notes: []testNote{noteEntry4}, textValue: 0xcc}
}
