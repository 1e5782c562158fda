package hermit

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// entryVersion is the version of the boot information that this package writes.
const entryVersion = 4

// The notes that matter.
const (
	noteEntryVersion = 0x5a00 // of "HERMIT": one byte
	noteInterface    = 0x5b00 // of "UHYVEIF": 32 bits, big-endian
	noteABITag       = 1      // of "GNU": four times 32 bits
	abiHermit        = 6      // the first of them
)

// otherEntries says which kernels have the entry versions that are not this one's.
var otherEntries = map[byte]string{
	1: "hermit-entry 0.3 to 0.8",
	2: "hermit-entry 0.9.0",
	3: "hermit-entry 0.9.1 to 0.9.10, Hermit up to 0.6.9",
}

// notes are the descriptions of the notes found; nil is not found. Of several the first
// counts.
type notes struct {
	any                      bool // there is a PT_NOTE
	entry, abi, uhyveVersion []byte
}

// parse takes a PT_NOTE.
func (n *notes) parse(k *Kernel, h []byte) error {
	n.any = true
	data, err := k.contents(h, "PT_NOTE")
	if err != nil {
		return err
	}
	if len(data) > maxNotes {
		return fmt.Errorf("the kernel has notes of %d bytes; %d are possible", len(data), maxNotes)
	}
	align := uint64(4)
	if le.Uint64(h[48:]) == 8 {
		align = 8
	}
	for uint64(len(data)) >= 12 {
		nameSize, descSize, kind := uint64(le.Uint32(data)), uint64(le.Uint32(data[4:])), le.Uint32(data[8:])
		// Each fits in 32 bits, so that no sum overflows.
		descAt := alignUp(12+nameSize, align)
		name, ok := sub(data, 12, nameSize)
		desc, ok2 := sub(data, descAt, descSize)
		if !ok || !ok2 {
			return errors.New("the kernel has a note that goes beyond its segment")
		}
		n.keep(string(name), kind, desc)
		// The last one may lack its padding.
		data = data[min(alignUp(descAt+descSize, align), uint64(len(data))):]
	}
	return nil
}

func (n *notes) keep(name string, kind uint32, desc []byte) {
	for _, note := range []struct {
		name string
		kind uint32
		to   *[]byte
	}{
		{"HERMIT\x00", noteEntryVersion, &n.entry},
		{"UHYVEIF\x00", noteInterface, &n.uhyveVersion},
		{"GNU\x00", noteABITag, &n.abi},
	} {
		if name == note.name && kind == note.kind && *note.to == nil {
			*note.to = desc[:len(desc):len(desc)]
		}
	}
}

// apply checks what the notes say and tells the kernel.
func (n *notes) apply(k *Kernel) error {
	switch {
	case !n.any:
		return errors.New("the kernel has no notes (PT_NOTE), so it is not a Hermit kernel")
	case n.entry == nil:
		return errors.New("the kernel has no HERMIT note with an entry version, so it is not a Hermit kernel")
	case len(n.entry) != 1:
		return fmt.Errorf("the kernel's note with the entry version has %d bytes, not 1", len(n.entry))
	case n.entry[0] != entryVersion:
		which := ""
		if s, ok := otherEntries[n.entry[0]]; ok {
			which = " (" + s + ")"
		}
		return fmt.Errorf("the kernel has entry version %d%s, and only %d can be started: build it with Hermit 0.7 to 0.13", n.entry[0], which, entryVersion)
	}

	k.Legacy = n.abi == nil
	if !k.Legacy {
		if len(n.abi) != 16 {
			return fmt.Errorf("the kernel's ABI tag has %d bytes, not 16", len(n.abi))
		}
		if os := le.Uint32(n.abi); os != abiHermit {
			return fmt.Errorf("the kernel's ABI tag is for system %d; Hermit is %d", os, abiHermit)
		}
		k.Version = Version{le.Uint32(n.abi[4:]), le.Uint32(n.abi[8:]), le.Uint32(n.abi[12:])}
	}

	k.Interface = 1
	if n.uhyveVersion != nil {
		if len(n.uhyveVersion) != 4 {
			return fmt.Errorf("the kernel's note with the uhyve interface version has %d bytes, not 4", len(n.uhyveVersion))
		}
		v := binary.BigEndian.Uint32(n.uhyveVersion)
		if v < 1 || v > 3 {
			return fmt.Errorf("the kernel speaks version %d of the uhyve interface; 1 to 3 are known", v)
		}
		k.Interface = int(v)
	}
	return nil
}
