package hermit

import "fmt"

const (
	dynSize  = 16
	relaSize = 24
	symSize  = 24
)

// Relocations of AMD64 that a linker leaves in a static PIE.
const (
	relNone     = 0
	rel64       = 1
	relGlobDat  = 6
	relRelative = 8
)

// What is needed of a symbol.
const (
	stbWeak  = 2
	shnUndef = 0
	shnAbs   = 0xfff1
)

// dynamic is what the dynamic section says of relocations. Addresses are the kernel's.
type dynamic struct {
	rela, relaSize uint64
	symtab         uint64
}

// Entries of the dynamic section.
const (
	dtNull     = 0
	dtNeeded   = 1
	dtPltRelSz = 2
	dtSymtab   = 6
	dtRela     = 7
	dtRelaSz   = 8
	dtRelaEnt  = 9
	dtSymEnt   = 11
	dtRelSz    = 18
	dtRelrSz   = 35
)

// parseDynamic takes the PT_DYNAMIC.
func (k *Kernel) parseDynamic(h []byte) error {
	data, err := k.contents(h, "PT_DYNAMIC")
	if err != nil {
		return err
	}
	for ; len(data) >= dynSize; data = data[dynSize:] {
		tag, v := le.Uint64(data), le.Uint64(data[8:])
		switch tag {
		case dtNull:
			return k.checkRela()
		case dtNeeded:
			return fmt.Errorf("the kernel needs shared libraries (DT_NEEDED): link it statically")
		case dtRela:
			k.dynamic.rela = v
		case dtRelaSz:
			k.dynamic.relaSize = v
		case dtSymtab:
			k.dynamic.symtab = v
		case dtRelaEnt, dtSymEnt:
			if v != relaSize { // which is symSize too
				return fmt.Errorf("the kernel's dynamic section says that entries have %d bytes, not %d", v, relaSize)
			}
		case dtPltRelSz, dtRelSz, dtRelrSz:
			if v != 0 && k.PIE {
				return fmt.Errorf("the kernel has relocations of a kind that is not known (dynamic tag %d): link it with -z now and without packed relocations", tag)
			}
		}
	}
	return k.checkRela()
}

func (k *Kernel) checkRela() error {
	if d := k.dynamic; d.relaSize%relaSize != 0 {
		return fmt.Errorf("the kernel's DT_RELASZ is %d, no multiple of %d", d.relaSize, relaSize)
	}
	return nil
}

// fileAt returns the n bytes of the file that are loaded to an address.
func (k *Kernel) fileAt(addr, n uint64) ([]byte, bool) {
	for _, s := range k.segments {
		if addr >= s.addr && addr-s.addr < s.memSize {
			return sub(s.data, addr-s.addr, n)
		}
	}
	return nil, false
}

// relocate adapts a PIE kernel to its start. What it reads comes from the file, so that
// relocations that point to the tables change nothing.
func (k *Kernel) relocate(image []byte, start uint64) error {
	d := k.dynamic
	if d.relaSize == 0 {
		return nil
	}
	table, ok := k.fileAt(d.rela, d.relaSize)
	if !ok {
		return fmt.Errorf("the kernel's relocations (DT_RELA %#x, DT_RELASZ %#x) lie outside of its segments", d.rela, d.relaSize)
	}
	for ; len(table) >= relaSize; table = table[relaSize:] {
		at, info, addend := le.Uint64(table), le.Uint64(table[8:]), le.Uint64(table[16:])
		kind := uint32(info)
		var value uint64
		switch kind {
		case relNone:
			continue
		case relRelative:
			value = start + addend
		case rel64, relGlobDat:
			s, defined, err := k.symbol(info>>32, start)
			if err != nil {
				return fmt.Errorf("%w, for the relocation of %#x", err, at)
			}
			if defined {
				value = s + addend
			}
		default:
			return fmt.Errorf("the kernel has a relocation of type %d at %#x, which is not known: link it as a static PIE", kind, at)
		}
		target, ok := sub(image, at, 8)
		if !ok {
			return fmt.Errorf("the kernel has a relocation at %#x, outside of its %#x bytes", at, k.size)
		}
		le.PutUint64(target, value)
	}
	return nil
}

// symbol returns the address of a symbol, or false for a weak one that is nowhere.
func (k *Kernel) symbol(n, start uint64) (uint64, bool, error) {
	// n has 32 bits: the product does not overflow, the sum may.
	addr := k.dynamic.symtab + n*symSize
	sym, ok := k.fileAt(addr, symSize)
	if !ok || k.dynamic.symtab == 0 || addr < k.dynamic.symtab {
		return 0, false, fmt.Errorf("the kernel has no symbol %d", n)
	}
	bind, section, value := sym[4]>>4, le.Uint16(sym[6:]), le.Uint64(sym[8:])
	switch {
	case section == shnUndef && bind == stbWeak:
		return 0, false, nil
	case section == shnUndef:
		return 0, false, fmt.Errorf("the kernel leaves symbol %d undefined", n)
	case section == shnAbs:
		return value, true, nil
	}
	return start + value, true, nil
}
