package hermit

import "fmt"

// Bits of a page table's entry.
const (
	pteTable = 0x3  // present, writable
	pteLarge = 0x83 // present, writable, a page of 2 MiB
)

// gdt is null, 64-bit code, data.
var gdt = [...]uint64{0, 0x00af9b000000ffff, 0x00cf93000000ffff}

// Selectors in the GDT.
const (
	selCode = 1 << 3
	selData = 2 << 3
)

func writeGDT(mem []byte, l *Layout) {
	for i, e := range gdt {
		le.PutUint64(mem[l.GDT-l.Base+uint64(i)*8:], e)
	}
}

// tables builds page tables in guest memory. Frames come one after the other.
type tables struct {
	mem        []byte
	base       uint64 // guest-physical address of mem
	root       uint64
	next, last uint64 // addresses of the next free frame, and of the end of all
}

// writeTables maps guest memory up to what is needed to start, one to one and in large
// pages, and the tables themselves through the last entry of the PML4, where kernels
// walk them. Nothing is no-execute.
func writeTables(mem []byte, l *Layout, legacy bool) error {
	clear(mem[offTables:offFree])
	t := tables{mem: mem, base: l.Base, root: l.Tables, next: l.Tables + pageSize, last: l.Base + offFree}
	t.set(t.root, 511, t.root|pteTable)
	for addr, end := l.Base, mappedEnd(l, legacy); addr < end; addr += largePage {
		if err := t.mapLarge(addr); err != nil {
			return err
		}
	}
	return nil
}

// mappedEnd returns the end of what is mapped: of the large page in which the last byte
// is, and one page more where that ends exactly with it. Kernels before 0.10 want
// their GiB whole; what has no memory behind it they unmap.
func mappedEnd(l *Layout, legacy bool) uint64 {
	if legacy {
		return alignUp(l.KernelEnd, gib)
	}
	end := max(l.KernelEnd, l.InitrdEnd)
	return end&^(largePage-1) + largePage
}

func (t *tables) mapLarge(addr uint64) error {
	table := t.root
	for _, shift := range [...]uint{39, 30} {
		n := addr >> shift & 511
		entry := t.get(table, n)
		if entry == 0 {
			if t.next == t.last {
				return fmt.Errorf("the page tables need more than the %d KiB there are for them: the kernel and the image's files are too large", (offFree-offTables)>>10)
			}
			entry = t.next | pteTable
			t.next += pageSize
			t.set(table, n, entry)
		}
		table = entry &^ (pageSize - 1)
	}
	t.set(table, addr>>21&511, addr|pteLarge)
	return nil
}

func (t *tables) get(table, n uint64) uint64 {
	return le.Uint64(t.mem[table-t.base+n*8:])
}

func (t *tables) set(table, n, entry uint64) {
	le.PutUint64(t.mem[table-t.base+n*8:], entry)
}
