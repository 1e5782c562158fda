package hermit

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"
)

// sized is a kernel that takes size bytes of memory.
func sized(t *testing.T, e testELF, size uint64) *Kernel {
	t.Helper()
	e.bss = size - textAt - 64
	return parse(t, e)
}

func TestPlaceFixed(t *testing.T) {
	exec := legacy()
	exec.exec, exec.base = true, 0x800000
	aligned := modern()
	aligned.align = 2 << 20
	second := modern()
	second.notes = []testNote{noteEntry4, noteABI13, noteIface(2)}
	first := modern()
	first.notes = []testNote{noteEntry4, noteABI13, noteIface(1)}
	for _, tt := range []struct {
		name         string
		e            testELF
		base, kernel uint64
	}{
		{"legacy", legacy(), 0, 0x40000},
		{"linked", exec, 0, 0x800000},
		{"interface 1", first, 0, 0x40000},
		{"interface 2", second, 4 * gib, 4*gib + 0x40000},
		{"interface 3", modern(), 4 * gib, 4*gib + 0x40000},
		{"aligned", aligned, 4 * gib, 4*gib + 0x200000},
	} {
		k := sized(t, tt.e, 0x9c600)
		l, err := (&Config{Kernel: k, Memory: 64 << 20, CPUs: 1, Fixed: true}).Place()
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		want := Layout{
			Base: tt.base, End: tt.base + 64<<20, GDT: tt.base + 0x1000, BootInfo: tt.base + 0x2000,
			Tables: tt.base + 0x10000, FDT: tt.base + 0x3000, FDTEnd: tt.base + 0x10000,
			Stack: tt.kernel - 0x8000, Kernel: tt.kernel, KernelEnd: tt.kernel + 0x9c600,
		}
		if *l != want {
			t.Errorf("%s: %+v, want %+v", tt.name, *l, want)
		}
	}
}

// counter is a source of randomness that goes through all values of 32 bits evenly.
type counter uint32

func (c *counter) Read(p []byte) (int, error) {
	*c += 0x9e3779b1 // odd, so that all come
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(*c))
	return copy(p, b[:]), nil
}

// TestPlaceRandom: each good place is chosen as often as the others, and no other.
func TestPlaceRandom(t *testing.T) {
	const memory = 2<<30 + 512<<20
	// Guest memory can begin at 0 to 512 MiB, which is 257 places. A kernel of 300 MiB
	// is good in all of them. One of 800 MiB ends 802 MiB after the base, in large
	// pages, and so is good up to the base 220 MiB.
	for _, tt := range []struct{ size, places uint64 }{{300 << 20, 257}, {800 << 20, 111}} {
		k := sized(t, legacy(), tt.size)
		seen := map[uint64]int{}
		var random counter
		for range 20000 {
			l, err := (&Config{Kernel: k, Memory: memory, CPUs: 1, Random: &random}).Place()
			if err != nil {
				t.Fatal(err)
			}
			if !l.Randomised || l.Base%MemoryStep != 0 || l.End > 3*gib {
				t.Fatalf("a bad place: %+v", l)
			}
			if l.Kernel/gib != alignUp(l.KernelEnd, largePage)/gib {
				t.Fatalf("the kernel at %#x ends in another GiB, at %#x", l.Kernel, l.KernelEnd)
			}
			seen[l.Base]++
		}
		if uint64(len(seen)) != tt.places {
			t.Errorf("%d places, want %d", len(seen), tt.places)
		}
		for base, n := range seen {
			if mean := 20000 / int(tt.places); n < mean/2 || n > mean*2 {
				t.Errorf("base %#x came %d times of 20000, mean %d", base, n, mean)
			}
		}
	}
}

// TestPlaceAlways: wherever a kernel is put, all lies in memory and nothing overlaps.
func TestPlaceAlways(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		e := rapid.SampledFrom([]testELF{modern(), legacy()}).Draw(rt, "kernel")
		k := sized(t, e, rapid.Uint64Range(0x2000, 1<<30).Draw(rt, "size"))
		c := Config{
			Kernel: k, CPUs: rapid.IntRange(1, maxCPUs).Draw(rt, "cpus"),
			Memory:  rapid.Uint64Range(1, 1536).Draw(rt, "memory") * MemoryStep,
			AppArgs: []string{string(bytes.Repeat([]byte("a"), rapid.IntRange(0, 200_000).Draw(rt, "args")))},
		}
		if !k.Legacy {
			c.Initrd = make([]byte, rapid.IntRange(0, 1<<20).Draw(rt, "initrd"))
		}
		l, err := c.Place()
		if err != nil {
			return
		}
		spans := []struct{ from, to uint64 }{
			{l.Base, l.GDT}, {l.GDT, l.GDT + 24}, {l.BootInfo, l.BootInfo + bootInfoSize},
		}
		add := func(from, to uint64) { spans = append(spans, struct{ from, to uint64 }{from, to}) }
		if l.FDT < l.Tables {
			add(l.FDT, l.FDTEnd)
			add(l.Tables, l.Base+offFree)
		} else {
			add(l.Tables, l.Base+offFree)
			add(l.FDT, l.FDTEnd)
		}
		add(l.Stack, l.Stack+StackSize)
		add(l.Kernel, l.KernelEnd)
		if len(c.Initrd) > 0 {
			add(l.Initrd, l.InitrdEnd)
		}
		add(l.End, l.End)
		for i := 1; i < len(spans); i++ {
			if spans[i-1].to > spans[i].from || spans[i].from > spans[i].to {
				rt.Fatalf("%#x overlaps in %+v", spans[i], l)
			}
		}
		if tree, err := c.tree(l); err != nil || uint64(len(tree)) > l.FDTEnd-l.FDT {
			rt.Fatalf("the tree takes %d bytes of %d, %v", len(tree), l.FDTEnd-l.FDT, err)
		}
		a := areas[k.Interface]
		if l.Base < a.start || l.End > a.end {
			rt.Fatalf("outside of the area: %+v", l)
		}
	})
}

func TestPlaceRefuses(t *testing.T) {
	exec := legacy()
	exec.exec, exec.base = true, 0x20000
	near := legacy()
	near.exec, near.base = true, 0x40000
	far := modern()
	far.exec, far.base = true, 0x800000
	straddling := legacy()
	straddling.exec, straddling.base = true, 1<<30-largePage
	long := []string{string(bytes.Repeat([]byte("a"), 60_000))}
	older := modern()
	older.notes[1].desc = words(6, 0, 11, 9)
	for _, tt := range []struct {
		name string
		e    testELF
		c    Config
		want string
	}{
		{"no processors", modern(), Config{Memory: 64 << 20}, "0 processors"},
		{"many processors", modern(), Config{Memory: 64 << 20, CPUs: 255}, "255 processors"},
		{"odd memory", modern(), Config{Memory: 3 << 20, CPUs: 1}, "no multiple of 2 MiB"},
		{"no memory", modern(), Config{CPUs: 1}, "no multiple of 2 MiB"},
		{"interface 1", legacy(), Config{Memory: 4 << 30, CPUs: 1}, "this kernel speaks interface 1, whose guests live below 3 GiB: at most 3072 MiB of memory"},
		{"interface 3", modern(), Config{Memory: 61 << 30, CPUs: 1}, "between 4 GiB and 64 GiB: at most 61440 MiB"},
		{"too little memory", modern(), Config{Memory: 2 << 20, CPUs: 1}, "the kernel takes 4 MiB, from 0x40000 on in guest memory of 2 MiB: give it more"},
		{"linked low", exec, Config{Memory: 64 << 20, CPUs: 1}, "linked to 0x20000"},
		{"linked below", far, Config{Memory: 64 << 20, CPUs: 1}, "linked to 0x800000"},
		{"large tree", near, Config{Memory: 64 << 20, CPUs: 1, AppArgs: long}, "there is room for 53248"},
		{"huge tree", modern(), Config{Memory: 64 << 20, CPUs: 1, AppArgs: []string{string(make([]byte, 3<<20))}}, "zero byte"},
		{"across a GiB", straddling, Config{Memory: 2 << 30, CPUs: 1}, "kernels before 0.10 must lie in one GiB"},
		{"initrd, legacy", legacy(), Config{Memory: 64 << 20, CPUs: 1, Initrd: []byte{1}}, "external mode"},
		{"initrd, 0.11", older, Config{Memory: 64 << 20, CPUs: 1, Initrd: []byte{1}}, "older than 0.12"},
		{"large initrd", modern(), Config{Memory: 8 << 20, CPUs: 1, Initrd: make([]byte, 6<<20)}, "the image's files take 6 MiB"},
	} {
		tt.c.Kernel = sized(t, tt.e, 3<<20+1)
		_, err := tt.c.Place()
		if len(tt.c.AppArgs) > 0 && len(tt.c.AppArgs[0]) > 1<<20 {
			tt.c.AppArgs[0] = string(bytes.Repeat([]byte("a"), 3<<20))
			_, err2 := tt.c.Place()
			checkError(t, tt.name, err2, "at most 2097152 are possible")
		}
		checkError(t, tt.name, err, tt.want)
	}
}

// walk translates an address as a processor does, and tells the flags of the last
// entry.
func walk(mem []byte, base, root, addr uint64) (to, flags uint64) {
	table := root
	for _, shift := range []uint{39, 30, 21} {
		e := le.Uint64(mem[table-base+(addr>>shift&511)*8:])
		if e&1 == 0 {
			return 0, 0
		}
		if e&0x80 != 0 {
			mask := uint64(1)<<shift - 1
			return e&^0xfff&^mask | addr&mask, e & 0xfff
		}
		if e&0xfff != 3 {
			return 0, 0
		}
		table = e &^ 0xfff
	}
	return 0, 0
}

func TestTables(t *testing.T) {
	for _, tt := range []struct {
		name          string
		l             Layout
		legacy        bool
		mapped, after uint64 // the last byte mapped, the first one not
	}{
		{"legacy maps its GiB", Layout{Base: 0, Kernel: 0x40000, KernelEnd: 0xdc600}, true, gib - 1, gib},
		{"legacy high", Layout{Base: gib - 4<<20, KernelEnd: gib + 2<<20}, true, 2*gib - 1, 2 * gib},
		{"kernel", Layout{Base: 4 * gib, KernelEnd: 4*gib + 0x200001}, false, 4*gib + 0x3fffff, 4*gib + 0x400000},
		{"aligned kernel", Layout{Base: 4 * gib, KernelEnd: 4*gib + 0x200000}, false, 4*gib + 0x3fffff, 4*gib + 0x400000},
		{"files", Layout{Base: 5*gib - 2<<20, KernelEnd: 5 * gib, InitrdEnd: 6*gib + 1}, false, 6*gib + 0x1fffff, 6*gib + 0x200000},
	} {
		l := tt.l
		l.Tables = l.Base + offTables
		mem := bytes.Repeat([]byte{0xff}, 1<<20) // what was there does not matter
		if err := writeTables(mem, &l, tt.legacy); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := le.Uint64(mem[offTables+511*8:]); got != l.Tables|3 {
			t.Errorf("%s: the last entry of the PML4 is %#x", tt.name, got)
		}
		for addr := l.Base; addr < tt.mapped; addr += largePage / 2 {
			if to, flags := walk(mem, l.Base, l.Tables, addr); to != addr || flags != 0x83 {
				t.Fatalf("%s: %#x is mapped to %#x with %#x", tt.name, addr, to, flags)
			}
		}
		for _, addr := range []uint64{l.Base - 1, tt.after} {
			if _, flags := walk(mem, l.Base, l.Tables, addr); flags != 0 {
				t.Errorf("%s: %#x is mapped", tt.name, addr)
			}
		}
		if mem[offTables-1] != 0xff || mem[offFree] != 0xff {
			t.Errorf("%s: something was written outside of the tables", tt.name)
		}
	}
	l := Layout{Base: 0, Tables: offTables, KernelEnd: 64 * gib}
	checkError(t, "64 GiB", writeTables(make([]byte, 1<<20), &l, false), "more than the 160 KiB")
}
