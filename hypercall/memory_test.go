package hypercall

import (
	"bytes"
	"encoding/binary"
	"math"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/oslib"
)

// tables are page tables in the memory of a view, made one entry at a time.
type tables struct {
	t    testing.TB
	view *guestmem.View
	cr3  uint64
	next uint64 // a free page
}

// newTables has its pages from an address on, the first as the root.
func newTables(t testing.TB, view *guestmem.View, at uint64) *tables {
	return &tables{t, view, at, at + pageSize}
}

func (p *tables) entry(table, va uint64, shift int) []byte {
	p.t.Helper()
	b, ok := p.view.HostGPA(table+va>>shift&511*8, 8)
	if !ok {
		p.t.Fatal("a table is outside of memory")
	}
	return b
}

// set makes the entry for va in the table of the level with that shift: 39, 30, 21 or 12.
func (p *tables) set(va uint64, shift int, entry uint64) {
	p.t.Helper()
	table := p.cr3
	for s := 39; s > shift; s -= 9 {
		e := p.entry(table, va, s)
		v := binary.LittleEndian.Uint64(e)
		if v&1 == 0 {
			v = p.next | 1
			p.next += pageSize
			binary.LittleEndian.PutUint64(e, v)
		}
		table = v & entryAddr
	}
	binary.LittleEndian.PutUint64(p.entry(table, va, shift), entry)
}

func TestTranslate(t *testing.T) {
	view := viewOf(t, map[uint64][]byte{ramBase: mapRAM(t, ramSize)})
	p := newTables(t, view, tablesAt)
	const (
		high  = 0xffff_8000_0000_0000
		flags = 1 | 1<<63 | 0x7f<<52 | 0xe7e // all that mean nothing to us; not PS
		large = 1 << 7
	)
	p.set(0x1000, 12, dataAt|1)
	p.set(0x2000, 12, dataAt|flags|large) // at this level the bit is PAT
	p.set(0x20_0000, 21, 0x40_0000|large|1)
	p.set(0x40_0000, 21, 0x40_0000|large|flags|0x1f_f000) // with bits below the page
	p.set(0x4000_0000, 30, 0x8000_0000|large|1)
	p.set(0x8000_0000, 30, 0x8000_0000|large)       // not present
	p.set(0x80_0000_0000, 39, dataAt|large|1)       // PS does not exist at the top
	p.set(high, 12, 0x000f_ffff_ffff_f000|1)        // the highest address that there is
	p.set(0x7fff_ffff_f000, 12, dataAt+0x1000|1)    // the last page below the hole
	p.set(0xffff_ffff_ffff_f000, 39, p.cr3|1)       // the table maps itself
	p.set(0x1_0000_0000, 30, (ramEnd-pageSize+8)|1) // a table's address has no lower bits
	p.set(0x1_4000_0000, 30, ramEnd|1)              // a table behind memory
	for _, tt := range []struct {
		va, gpa, left uint64
		ok            bool
	}{
		{0, 0, 0, false},
		{0x1000, dataAt, 0x1000, true},
		{0x1fff, dataAt + 0xfff, 1, true},
		{0x2345, dataAt + 0x345, 0xcbb, true},
		{0x3000, 0, 0, false},
		{0x20_0000, 0x40_0000, 0x20_0000, true},
		{0x3f_ffff, 0x5f_ffff, 1, true},
		{0x51_2345, 0x51_2345, 0x20_0000 - 0x11_2345, true},
		{0x4000_0000, 0x8000_0000, 0x4000_0000, true},
		{0x7fff_ffff, 0xbfff_ffff, 1, true},
		{0x8000_0000, 0, 0, false},
		{0x80_0000_0000, 0, 0, false},
		{high + 0x123, 0x000f_ffff_ffff_f123, 0xedd, true},
		{high + 0x1000, 0, 0, false},
		{0x7fff_ffff_ffff, dataAt + 0x1fff, 1, true},
		{0x8000_0000_0000, 0, 0, false}, // not canonical
		{0x0001_0000_0000_1000, 0, 0, false},
		{high - 1, 0, 0, false},
		{0xffff_ffff_ffff_f008, p.cr3 + 8, 0xff8, true},
		{math.MaxUint64, p.cr3 + 0xfff, 1, true},
		{0x1_0000_0000, 0, 0, false},
		{0x1_4000_0000, 0, 0, false},
	} {
		gpa, left, ok := Translate(view, p.cr3|0xfff|0xfff<<52, tt.va)
		if ok != tt.ok || ok && (gpa != tt.gpa || left != tt.left) {
			t.Errorf("%#x: %#x, %#x, %t", tt.va, gpa, left, ok)
		}
	}
	for _, cr3 := range []uint64{0, ramEnd, ramBase - pageSize, math.MaxUint64} {
		if gpa, _, ok := Translate(view, cr3, 0x1000); ok {
			t.Errorf("CR3 %#x: %#x", cr3, gpa)
		}
	}
}

// TestVirtual: buffers over pages that lie anywhere.
func TestVirtual(t *testing.T) {
	ram := mapRAM(t, ramSize)
	view := viewOf(t, map[uint64][]byte{
		ramBase:              ram[:ramSize/2],
		ramBase + ramSize/2:  ram[ramSize/2:], // adjoins; host memory too
		0x1_0000_0000:        mapRAM(t, 2*pageSize),
		0x1_0000_0000 + 8192: mapRAM(t, 2*pageSize),
	})
	p := newTables(t, view, tablesAt)
	const va = 0x7000_0000
	for i, gpa := range []uint64{
		dataAt + 0x3000,
		dataAt + 0x4000, // adjoins
		dataAt + 0x2000,
		dataAt + 0x2000, // the same again
		0x1_0000_1000,
		0x1_0000_2000,              // adjoins in another region
		ramBase + ramSize/2 - 4096, // as here
		ramBase + ramSize/2,
		ramEnd, // not memory
		dataAt,
	} {
		p.set(va+uint64(i)*pageSize, 12, gpa|1)
	}
	m := memory{view}
	for _, tt := range []struct {
		va, n  uint64
		pieces []uint64 // lengths
	}{
		{va, 0, nil},
		{va, 1, []uint64{1}},
		{va + 0x800, 0x1000, []uint64{0x1000}},
		{va, 0x2000, []uint64{0x2000}},
		{va + 1, 0x2fff, []uint64{0x1fff, 0x1000}},
		{va + 0x2800, 0x1000, []uint64{0x800, 0x800}},
		{va + 0x4000, 0x2000, []uint64{0x1000, 0x1000}},
		{va + 0x6000, 0x2000, []uint64{0x1000, 0x1000}},
		{va, 0x8000, []uint64{0x2000, 0x1000, 0x1000, 0x1000, 0x1000, 0x1000, 0x1000}},
		{va + 0x9000, 0x1000, []uint64{0x1000}},
	} {
		v, n, ok := m.virtual(nil, p.cr3, tt.va, tt.n)
		var pieces []uint64
		for i := range v {
			pieces = append(pieces, v[i].Len)
		}
		if !ok || n != tt.n || len(pieces) != len(tt.pieces) {
			t.Errorf("%#x+%#x: %x, %#x, %t", tt.va, tt.n, pieces, n, ok)
			continue
		}
		for i := range pieces {
			if pieces[i] != tt.pieces[i] {
				t.Errorf("%#x+%#x: %x, want %x", tt.va, tt.n, pieces, tt.pieces)
			}
		}
		// What is in the pieces is what the pages have, byte by byte.
		for i := range tt.n {
			gpa, _, _ := Translate(view, p.cr3, tt.va+i)
			b, _ := view.HostGPA(gpa, 1)
			b[0] = byte(i*7 + i>>8)
		}
		got := make([]byte, tt.n)
		oslib.IovRead(got, v)
		for i := range got {
			gpa, _, _ := Translate(view, p.cr3, tt.va+uint64(i))
			if b, _ := view.HostGPA(gpa, 1); b[0] != got[i] {
				t.Fatalf("%#x+%#x: byte %d", tt.va, tt.n, i)
			}
		}
	}
	for _, bad := range []struct{ va, n uint64 }{
		{va, 0x8001}, {va, 0xa000}, {va + 0x8000, 1}, {va + 0x8fff, 2}, {va - 1, 2}, {va + 0x9fff, 2},
	} {
		if _, _, ok := m.virtual(nil, p.cr3, bad.va, bad.n); ok {
			t.Errorf("%#x+%#x is memory", bad.va, bad.n)
		}
	}
}

// TestManyPieces: a buffer of more iovecs than go at once, good and with its last byte
// missing.
func TestManyPieces(t *testing.T) {
	m, _ := scratchMachine(t)
	p := newTables(t, m.view, tablesAt+0x1_0000)
	const va, pages = 0x7000_0000, 2*maxPieces + 100
	for i := range uint64(pages) {
		// 4 pages, backwards: none adjoins the one before.
		p.set(va+i*pageSize, 12, dataAt+3*pageSize-i%4*pageSize|1)
	}
	for i := range uint64(4) {
		copy(m.mem(dataAt+3*pageSize-i*pageSize, pageSize), bytes.Repeat([]byte{byte('a' + i)}, pageSize))
	}
	m.cpu.CR3 = p.cr3
	fd := m.open("f", rdwrCreate, 0o644)
	const size = pages*pageSize - 100
	if r := m.writeV1(fd, va+100, size); r.Errno != 0 {
		t.Fatal(r.Errno)
	}
	if pos := m.lseek(fd, 0, unix.SEEK_CUR); pos != size {
		t.Errorf("the position is %d", pos)
	}
	for _, at := range []int64{0, pageSize - 101, pageSize - 100, 1024*pageSize - 101, 1024*pageSize - 100, size - 1} {
		m.lseek(fd, at, unix.SEEK_SET)
		if n := m.read(fd, dataAt+0x10_0000, 1); n != 1 {
			t.Fatal(n)
		}
		if got, want := m.mem(dataAt+0x10_0000, 1)[0], byte('a'+(at+100)/pageSize%4); got != want {
			t.Errorf("byte %d: %c, want %c", at, got, want)
		}
	}
	m.lseek(fd, 0, unix.SEEK_SET)
	if n := m.readV1(fd, va+100, size); n != size {
		t.Errorf("read: %d", n)
	}
	if n := m.readV1(fd, va+100, size); n != 0 {
		t.Errorf("read at the end: %d", n)
	}
	// Nothing is moved if one byte is missing.
	if r := m.writeV1(fd, va, pages*pageSize+1); r.Errno != syscall.EFAULT {
		t.Errorf("write: %v", r.Errno)
	}
	m.lseek(fd, 0, unix.SEEK_SET)
	want(t, "read", m.readV1(fd, va, pages*pageSize+1), syscall.EFAULT)
	if a, _ := m.fstat(fd); a.Size.Get() != size || m.lseek(fd, 0, unix.SEEK_CUR) != 0 {
		t.Error("something was moved")
	}
	// To the console it goes by the same way.
	if r := m.writeV1(1, va+100, size); r.Errno != 0 || m.out.Len() != size || m.out.Bytes()[size-1] != byte('a'+(pages-1)%4) {
		t.Errorf("console: %v, %d bytes", r.Errno, m.out.Len())
	}
}

// TestHostileTables: tables that are their own next level, and buffers as long as
// numbers go. It ends.
func TestHostileTables(t *testing.T) {
	m, _ := scratchMachine(t)
	self := uint64(tablesAt + 0x2_0000)
	for i := range uint64(512) {
		m.u64(self+i*8, self|1)
	}
	m.cpu.CR3 = self
	m.makeFile("f", "12345678")
	fd := m.open("f", unix.O_RDONLY, 0)
	for _, tt := range []struct {
		va, n uint64
		want  int64
	}{
		{0x1234, 8, 8},
		{0, 1 << 20, 0},
		{0, maxTransfer, 0},
		{0x7fff_ffff_ffff, 1, 0},
		{0x7fff_ffff_ffff, 2, -int64(syscall.EFAULT)},
		{0xffff_ffff_ffff_ffff, 1, 0},
		{0xffff_ffff_ffff_ffff, 2, -int64(syscall.EFAULT)},
		{0xffff_ffff_ffff_f000, math.MaxInt64, -int64(syscall.EFAULT)},
		{0, math.MaxInt64, 0},
	} {
		if n := m.readV1(fd, tt.va, tt.n); n != tt.want {
			t.Errorf("read to %#x+%#x: %d, want %d", tt.va, tt.n, n, tt.want)
		}
		// The table was read into: mend it.
		for i := range uint64(512) {
			m.u64(self+i*8, self|1)
		}
	}
	if r := m.writeV1(1, 0, 1<<32); r.Errno != syscall.EINVAL {
		t.Errorf("a write longer than memory: %v", r.Errno)
	}
	// All levels outside of memory, one after the other.
	for level, e := range []uint64{0, ramEnd | 1, math.MaxUint64, 1, 1 << 51} {
		m.u64(tablesAt, e)
		m.cpu.CR3 = tablesAt
		if n := m.readV1(fd, 0x1234, 1); n != -int64(syscall.EFAULT) {
			t.Errorf("entry %d: %d", level, n)
		}
	}
}

// TestGoneMemory: memory whose file was cut off is EFAULT.
func TestGoneMemory(t *testing.T) {
	fd, err := unix.MemfdCreate("gone", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, 4*pageSize); err != nil {
		t.Fatal(err)
	}
	gone, err := unix.Mmap(fd, 0, 4*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(gone)
	m, fs := scratchMachine(t)
	m.makeFile("f", "content")
	m.g.mem.view = viewOf(t, map[uint64][]byte{ramBase: m.ram, 0x1000_0000: gone})
	if err := unix.Ftruncate(fd, 0); err != nil {
		t.Fatal(err)
	}
	const at = 0x1000_0000
	f := m.open("f", unix.O_RDWR, 0)
	d := m.open("/", unix.O_DIRECTORY, 0)
	want(t, "open", m.openAt(at, 0, 0), syscall.EFAULT)
	want(t, "read", m.read(f, at, 1), syscall.EFAULT)
	want(t, "write", m.write(f, at, 1), syscall.EFAULT)
	want(t, "write to the console", m.write(1, at, 1), syscall.EFAULT)
	want(t, "getdents", m.getdents(d, at, 200), syscall.EFAULT)
	m.cpu.CR3 = at
	want(t, "read of version 1", m.readV1(f, 0, 1), syscall.EFAULT)
	for _, n := range Numbers() {
		if r := m.call(n, at); !r.Known || r.Errno == 0 && n != Exit && n != V1Uart && n != SerialWriteByte {
			t.Errorf("%v: %+v", n, r)
		}
	}
	if s := m.content("f"); s != "content" {
		t.Errorf("%q", s)
	}
	m.close(f)
	m.close(d)
	held(t, fs, 0, 0)
}

// TestStructs: each call with a structure that begins before, ends behind or lies outside of
// memory, and one over two regions.
func TestStructs(t *testing.T) {
	ram := mapRAM(t, 2*pageSize)
	other := mapRAM(t, 2*pageSize)
	view := viewOf(t, map[uint64][]byte{ramBase: ram, ramBase + 2*pageSize: other})
	g, err := New(Config{FS: newScratch(t), Memory: view, Logger: quiet, Args: []string{"k"}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	immediate := map[Number]bool{Exit: true, V1Uart: true, SerialWriteByte: true, V1Netread: true, V1Netwrite: true,
		V1Netstat: true, SerialReadByte: true, SharedMemOpen: true, SharedMemClose: true}
	const end = ramBase + 4*pageSize
	for _, n := range Numbers() {
		if immediate[n] {
			continue
		}
		for _, arg := range []uint64{0, ramBase - 1, end - 3, end, 1 << 31, math.MaxUint32 - 2, 1 << 32, math.MaxUint64 - 2, math.MaxUint64} {
			if r := g.Call(n, arg, CPU{}); r.Errno != syscall.EFAULT || r.Exit {
				t.Errorf("%v at %#x: %+v", n, arg, r)
			}
		}
	}
	if !bytes.Equal(other, make([]byte, 2*pageSize)) {
		t.Error("part of an answer was written")
	}
	var p CloseParams
	p.FD.Set(77)
	copy(ram, Bytes(&p))
	for n, want := range map[Number]syscall.Errno{V1FileClose: syscall.EBADF, FileClose: syscall.EFAULT} {
		if r := g.Call(n, 1<<32|ramBase, CPU{}); r.Errno != want {
			t.Errorf("%v with more than 32 bits: %+v", n, r)
		}
	}
	at := uint64(ramBase + 2*pageSize - 6)
	copy(ram[2*pageSize-6:], Bytes(&p)[:6])
	if r := g.Call(FileClose, at, CPU{}); r.Errno != syscall.EBADF {
		t.Errorf("over two regions: %+v", r)
	}
	if got := string(ram[2*pageSize-2:]) + string(other[:2]); got != "\xf7\xff\xff\xff" {
		t.Errorf("the answer is %q", got)
	}
}
