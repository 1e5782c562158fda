package virtiopci_test

import (
	"encoding/binary"
	"testing"

	"github.com/isthmus-fs/isthmus/vmm/virtiopci"
)

// FuzzTransport does whatever accesses a guest can think of. Each takes six bytes:
// what and how wide, where, and the value. Afterwards an honest driver finds the
// device in order.
func FuzzTransport(f *testing.F) {
	op := func(kind byte, width int, off uint16, v byte) []byte {
		b := []byte{kind | byte(width)<<4, 0, 0, v, v}
		binary.LittleEndian.PutUint16(b[1:], off)
		return b
	}
	join := func(ops ...[]byte) (all []byte) {
		for _, o := range ops {
			all = append(all, o...)
		}
		return all
	}
	f.Add(join(op(1, 0, 0x14, 1), op(1, 0, 0x14, 3), op(1, 2, 0x08, 1), op(1, 2, 0x0c, 1), op(1, 0, 0x14, 11),
		op(1, 1, 0x18, 4), op(1, 3, 0x20, 0), op(1, 1, 0x1c, 1), op(1, 0, 0x14, 15), op(1, 1, 0x1000, 0)))
	f.Add(join(op(3, 2, 0x04, 0xff), op(3, 2, 0x10, 0xff), op(2, 2, 0x10, 0), op(3, 1, 0x42, 0x80)))
	f.Add(join(op(1, 3, 0x2000, 0xfe), op(1, 2, 0x200c, 0), op(3, 1, 0x42, 0xc0), op(0, 3, 0x3000, 0)))
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) > 1000 {
			return
		}
		g := newGuest(t, virtiopci.Options{MSIX: true})
		bar := g.bar
		for ; len(ops) >= 5; ops = ops[5:] {
			width := 1 << (ops[0] >> 4 & 3)
			off := uint64(binary.LittleEndian.Uint16(ops[1:]))
			v := uint64(ops[3])
			if ops[0]&0x80 != 0 {
				v = ^uint64(0) / 255 * uint64(ops[4])
			}
			switch ops[0] & 3 {
			case 0:
				g.load(bar+off, width)
			case 1:
				g.store(bar+off, width, v)
			case 2:
				g.configRead(uint32(off)&0xff, min(width, 4-int(off&3)))
			case 3:
				g.configWrite(uint32(off)&0xff, min(width, 4-int(off&3)), uint32(v))
			}
		}
		g.configWrite(4, 2, 6)
		g.setConfig32(0x14, 0)
		g.setConfig32(0x10, base)
		g.bar = base
		g.configWrite(g.msix+2, 2, 0)
		for i, drv := range g.start(features) {
			g.roundTrip(i, drv, 8)
		}
	})
}
