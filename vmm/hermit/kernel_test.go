package hermit

import (
	"bytes"
	"strings"
	"testing"
)

func parse(t *testing.T, e testELF) *Kernel {
	t.Helper()
	k, err := ParseKernel(e.encode())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestParseKernel(t *testing.T) {
	e := modern()
	e.entry, e.bss, e.text = 0x10, 0x234, 0x100
	k := parse(t, e)
	if !k.PIE || k.Interface != 3 || k.Legacy || k.Version != (Version{0, 13, 2}) || k.Entry != textAt+0x10 || k.Size() != textAt+0x334 {
		t.Errorf("a modern kernel: %+v", k)
	}
	e = legacy()
	e.exec, e.base = true, 0x800000
	k = parse(t, e)
	if k.PIE || k.Interface != 1 || !k.Legacy || k.Entry != 0x800000+textAt || k.Size() != textAt+64 {
		t.Errorf("a legacy kernel: %+v", k)
	}
}

// TestNotes: notes of other owners are skipped, and the first of each kind counts,
// in whichever PT_NOTE it is.
func TestNotes(t *testing.T) {
	e := modern()
	e.notes = []testNote{
		{"GNU\x00", 3, make([]byte, 7)},
		{"HERMIT\x00", 1, []byte{9}},
		noteIface(2), noteIface(3), noteEntry4,
		{"HERMIT\x00", noteEntryVersion, []byte{3}},
	}
	if k := parse(t, e); k.Interface != 2 || !k.Legacy {
		t.Errorf("interface %d, legacy %v", k.Interface, k.Legacy)
	}
	// A second segment of notes, which is the end of the text.
	note := append(words(4, 16, noteABITag), "GNU\x00"...)
	note = append(note, noteABI13.desc...)
	e.text = len(note)
	e.extra = []testPhdr{{ptNote, textAt, textAt, uint64(len(note)), uint64(len(note)), 8}}
	file := e.encode()
	copy(file[textAt:], note)
	k, err := ParseKernel(file)
	if err != nil {
		t.Fatal(err)
	}
	if k.Legacy || k.Version.String() != "0.13.2" {
		t.Errorf("the second PT_NOTE was not read: %+v", k)
	}
}

func TestParseRefuses(t *testing.T) {
	entry := func(v byte) []testNote { return []testNote{{"HERMIT\x00", noteEntryVersion, []byte{v}}} }
	load := func(off, addr, fileSize, memSize, align uint64) func(*testELF) {
		return func(e *testELF) {
			e.extra = []testPhdr{{ptLoad, off, addr, fileSize, memSize, align}}
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*testELF)
		want   string
	}{
		{"aarch64", func(e *testELF) { e.machine = 183 }, "not for x86-64"},
		{"no PT_NOTE", func(e *testELF) { e.noNotes = true }, "no notes (PT_NOTE)"},
		{"no entry version", func(e *testELF) { e.notes = []testNote{noteABI13} }, "no HERMIT note"},
		{"entry version 1", func(e *testELF) { e.notes = entry(1) }, "entry version 1 (hermit-entry 0.3 to 0.8)"},
		{"entry version 2", func(e *testELF) { e.notes = entry(2) }, "entry version 2 (hermit-entry 0.9.0)"},
		{"entry version 3", func(e *testELF) { e.notes = entry(3) }, "Hermit up to 0.6.9"},
		{"entry version 5", func(e *testELF) { e.notes = entry(5) }, "entry version 5, and only 4"},
		{"entry version of 2 bytes", func(e *testELF) { e.notes[0].desc = []byte{4, 0} }, "2 bytes, not 1"},
		{"interface 0", func(e *testELF) { e.notes[2] = noteIface(0) }, "version 0 of the uhyve interface"},
		{"interface 4", func(e *testELF) { e.notes[2] = noteIface(4) }, "version 4 of the uhyve interface"},
		{"interface little-endian", func(e *testELF) { e.notes[2].desc = words(1) }, "version 16777216"},
		{"interface of 1 byte", func(e *testELF) { e.notes[2].desc = []byte{1} }, "1 bytes, not 4"},
		{"ABI of Linux", func(e *testELF) { e.notes[1].desc = words(0, 3, 2, 0) }, "for system 0"},
		{"short ABI tag", func(e *testELF) { e.notes[1].desc = words(6) }, "4 bytes, not 16"},
		{"entry outside", func(e *testELF) { e.entry = 64 }, "entry 0x1040 lies outside"},
		{"shared library", func(e *testELF) { e.dynamic = []uint64{dtNeeded, 1} }, "link it statically"},
		{"packed relocations", func(e *testELF) { e.dynamic = []uint64{dtRelrSz, 8} }, "dynamic tag 35"},
		{"odd RELASZ", func(e *testELF) { e.dynamic = []uint64{dtRelaSz, 25} }, "no multiple of 24"},
		{"odd RELAENT", func(e *testELF) { e.dynamic = []uint64{dtRelaEnt, 16} }, "16 bytes, not 24"},
		{"segment beyond the file", load(0, 0x10000, 1<<20, 1<<20, 0), "PT_LOAD lies outside of the file"},
		{"segment offset overflows", load(1<<64-1, 0x10000, 2, 2, 0), "PT_LOAD lies outside of the file"},
		{"file larger than memory", load(0, 0x10000, 2, 1, 0), "impossible size"},
		{"address overflows", load(0, 1<<64-1, 0, 2, 0), "impossible size"},
		{"overlapping segments", load(0, 0x1000, 1, 1, 0), "overlaps"},
		{"odd alignment", load(0, 0x10000, 0, 1, 0x1800), "alignment of 0x1800"},
		{"huge alignment", load(0, 0x40000000, 0, 1, 1<<30), "alignment of 0x40000000"},
		{"TLS outside", func(e *testELF) { e.tls = &TLS{0x1000, 0x41, 0x41, 8} }, "PT_TLS at 0x1000 lies outside"},
		{"TLS too small", func(e *testELF) { e.tls = &TLS{0x1000, 8, 4, 8} }, "PT_TLS has an impossible size"},
		{"TLS alignment", func(e *testELF) { e.tls = &TLS{0x1000, 8, 8, 3} }, "no power of two"},
		{"two TLS", func(e *testELF) {
			e.tls = &TLS{0x1000, 8, 8, 8}
			e.extra = []testPhdr{{kind: ptTLS}}
		}, "more than one PT_TLS"},
	} {
		e := modern()
		tt.change(&e)
		_, err := ParseKernel(e.encode())
		checkError(t, tt.name, err, tt.want)
	}

	good := modern().encode()
	for _, tt := range []struct {
		name   string
		change func([]byte) []byte
		want   string
	}{
		{"empty", func(f []byte) []byte { return nil }, "too short"},
		{"not ELF", func(f []byte) []byte { f[0] = 0; return f }, "not an ELF file"},
		{"32 bits", func(f []byte) []byte { f[4] = 1; return f }, "not a 64-bit"},
		{"big-endian", func(f []byte) []byte { f[5] = 2; return f }, "not a little-endian"},
		{"ELF version", func(f []byte) []byte { f[6] = 2; return f }, "unknown ELF version"},
		{"object file", func(f []byte) []byte { f[16] = 1; return f }, "type 1"},
		{"headers outside", func(f []byte) []byte { le.PutUint64(f[32:], 1<<64-8); return f }, "cut off"},
		{"odd headers", func(f []byte) []byte { f[54] = 32; return f }, "program headers of 32 bytes"},
		{"many headers", func(f []byte) []byte { le.PutUint16(f[56:], 0xffff); return f }, "65535 program headers"},
		{"no headers", func(f []byte) []byte { le.PutUint16(f[56:], 0); return f }, "nothing to load"},
		{"note name", func(f []byte) []byte { le.PutUint32(f[0x300:], 1<<32-1); return f }, "note that goes beyond"},
		{"note desc", func(f []byte) []byte { le.PutUint32(f[0x304:], 1<<32-1); return f }, "note that goes beyond"},
		{"cut", func(f []byte) []byte { return f[:len(f)-1] }, "cut off"},
	} {
		_, err := ParseKernel(tt.change(bytes.Clone(good)))
		checkError(t, tt.name, err, tt.want)
	}
}

// checkError asserts that there is an error, that it says what is wanted, and that it is
// one line.
func checkError(t *testing.T, name string, err error, want string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error", name)
		return
	}
	if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%s: %q, want %q in one line", name, err, want)
	}
}

func TestLoad(t *testing.T) {
	const base, start, size = 4 << 30, 4<<30 + offKernel, 1 << 20
	e := modern()
	e.bss, e.entry = 0x100, 4
	e.tls = &TLS{0x1008, 8, 16, 32}
	e.extra = []testPhdr{{ptLoad, textAt, 0x3000, 16, 32, 0x1000}}
	e.symbols = []testSymbol{{}, {0x10, 1, 0x1010}, {0x20, shnUndef, 0x77}, {0x10, shnAbs, 0x1234}}
	e.rela = []testRela{
		{0x1000, relRelative, 0, 0x1020},
		{0x1008, rel64, 1, 5},
		{0x1010, relGlobDat, 1, 0},
		{0x1018, relGlobDat, 2, 9},
		{0x1020, rel64, 3, 1},
		{0x1021, relNone, 0, 0},
		{0x3018, relRelative, 0, 0x10}, // in the zeros
	}
	k := parse(t, e)
	mem := bytes.Repeat([]byte{0xaa}, size)
	l, err := k.Load(mem, base, start)
	if err != nil {
		t.Fatal(err)
	}
	want := Loaded{Start: start, End: start + 0x3020, Offset: start, Entry: start + textAt + 4, TLS: TLS{start + 0x1008, 8, 16, 32}}
	if l != want {
		t.Errorf("loaded %+v, want %+v", l, want)
	}
	image := mem[offKernel:]
	for at, v := range map[int]uint64{
		0x1000: start + 0x1020, 0x1008: start + 0x1015, 0x1010: start + 0x1010, 0x1018: 0, 0x1020: 0x1235,
		0x1040: 0, 0x1138: 0, 0x3000: 0xcccccccccccccccc, 0x3010: 0, 0x3018: start + 0x10,
	} {
		if got := le.Uint64(image[at:]); got != v {
			t.Errorf("at %#x there is %#x, want %#x", at, got, v)
		}
	}
	if image[0x1140] != 0xaa || image[0x3020] != 0xaa || mem[offKernel-1] != 0xaa {
		t.Error("something was written outside of the segments")
	}
}

func TestLoadRefuses(t *testing.T) {
	rela := func(r testRela) testELF {
		e := modern()
		e.rela = []testRela{r}
		e.symbols = []testSymbol{{}, {0x10, shnUndef, 0}}
		return e
	}
	table := modern()
	table.dynamic = []uint64{dtRela, 0x5000, dtRelaSz, 24}
	for _, tt := range []struct {
		name string
		e    testELF
		want string
	}{
		{"type", rela(testRela{0x1000, 37, 0, 0}), "type 37 at 0x1000"},
		{"target behind", rela(testRela{textAt + 57, relRelative, 0, 0}), "relocation at 0x1039, outside"},
		{"target overflows", rela(testRela{1<<64 - 1, relRelative, 0, 0}), "outside of its"},
		{"undefined", rela(testRela{0x1000, rel64, 1, 0}), "leaves symbol 1 undefined, for the relocation of 0x1000"},
		{"no symbol", rela(testRela{0x1000, relGlobDat, 1 << 31, 0}), "has no symbol 2147483648"},
		{"table outside", table, "DT_RELA 0x5000"},
	} {
		k := parse(t, tt.e)
		mem := make([]byte, 1<<20)
		_, err := k.Load(mem, 0, offKernel)
		checkError(t, tt.name, err, tt.want)
	}

	k := parse(t, modern())
	for _, tt := range []struct {
		base, start uint64
		want        string
	}{
		{1 << 20, 0, "below guest memory"},
		{0, 1 << 20, "more than guest memory has"},
		{0, 1<<64 - 1, "more than guest memory has"},
	} {
		_, err := k.Load(make([]byte, 1<<20), tt.base, tt.start)
		checkError(t, tt.want, err, tt.want)
	}
	e := legacy()
	e.exec, e.base = true, 0x80000
	l, err := parse(t, e).Load(make([]byte, 1<<20), 0, 0x80000)
	if err != nil || l.Start != 0x80000 || l.Offset != 0 || l.Entry != 0x81000 {
		t.Errorf("a kernel that cannot be moved: %+v, %v", l, err)
	}
	_, err = parse(t, e).Load(make([]byte, 1<<20), 0, 0x40000)
	checkError(t, "moved", err, "cannot be moved")
}

// FuzzKernel: whatever a file says, it is refused or loaded into its own place.
func FuzzKernel(f *testing.F) {
	e := modern()
	e.symbols = []testSymbol{{}, {0x10, 1, 0x1010}}
	e.rela = []testRela{{0x1000, relRelative, 0, 1}, {0x1008, rel64, 1, 5}}
	e.tls = &TLS{0x1008, 8, 16, 32}
	f.Add(e.encode())
	f.Add(legacy().encode())
	e = legacy()
	e.exec, e.base = true, 0x40000
	f.Add(e.encode())
	f.Fuzz(func(t *testing.T, file []byte) {
		k, err := ParseKernel(file)
		if err != nil {
			return
		}
		c := Config{Kernel: k, Memory: MemoryStep, CPUs: 1, Fixed: true}
		l, err := c.Place()
		if err != nil {
			return
		}
		const guard = 4096
		room := bytes.Repeat([]byte{0xaa}, MemoryStep+2*guard)
		mem := room[guard : guard+MemoryStep : guard+MemoryStep]
		loaded, err := k.Load(mem, l.Base, l.Kernel)
		if err == nil && (loaded.Start != l.Kernel || loaded.End != l.KernelEnd || loaded.Entry < loaded.Start || loaded.Entry >= loaded.End) {
			t.Errorf("%+v is not what was laid out: %+v", loaded, l)
		}
		in := func(i int) bool {
			addr := uint64(i-guard) + l.Base
			return i >= guard && addr >= l.Kernel && addr < l.KernelEnd
		}
		for i, b := range room {
			if b != 0xaa && !in(i) {
				t.Fatalf("byte %#x was written, outside of the kernel", i-guard)
			}
		}
		clear(mem)
		c.Prepare(l, mem)
	})
}
