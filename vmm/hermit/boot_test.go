package hermit

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isthmus-fs/isthmus/kvm"
)

// TestBootInfo compares with what a Hermit 0.6.9 kernel has been started with.
func TestBootInfo(t *testing.T) {
	want, err := hex.DecodeString(strings.Join(strings.Fields(`
		00 00 00 00 00 00 00 00 00 00 00 04 00 00 00 00
		00 08 00 00 00 00 00 00 00 50 00 00 00 00 00 00
		00 00 04 00 00 00 00 00 00 c6 0d 00 00 00 00 00
		f8 06 0d 00 00 00 00 00 20 00 00 00 00 00 00 00
		81 00 00 00 00 00 00 00 08 00 00 00 00 00 00 00
		01 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00
		01 00 00 00 00 00 00 00 a0 9c 27 00 00 00 00 00
		f0 61 9f 65 bd 05 ea 18 00 00 00 00 00 00 00 00`), ""))
	if err != nil {
		t.Fatal(err)
	}
	b := bootInfo{
		memEnd: 64 << 20, serialPort: 0x800, fdt: 0x5000, kernelStart: 0x40000, kernelEnd: 0xdc600,
		tls: TLS{0xd06f8, 0x20, 0x81, 8}, pci: true, cpus: 1, tscKHz: 2596000,
		bootTime: time.Unix(0, 1795253712472465904),
	}
	var got [bootInfoSize]byte
	b.encode(&got)
	if !bytes.Equal(got[:], want) {
		t.Errorf("boot information\n%swant\n%s", hex.Dump(got[:]), hex.Dump(want))
	}
}

// TestBootInfoFields: each field lands in its place, high halves too.
func TestBootInfoFields(t *testing.T) {
	b := bootInfo{
		memStart: 0x0102030405060708, memEnd: 0x1112131415161718, serialPort: 0x2122, fdt: 0x3132333435363738,
		kernelStart: 0x4142434445464748, kernelEnd: 0x5152535455565758, cpus: 0x6162636465666768, tscKHz: 0x71727374,
		tls: TLS{0x8182838485868788, 0x9192939495969798, 0xa1a2a3a4a5a6a7a8, 0xb1b2b3b4b5b6b7b8}, bootTime: time.Unix(0, -1),
	}
	var got [bootInfoSize]byte
	b.encode(&got)
	for off, want := range []uint64{
		b.memStart, b.memEnd, 0x2122, b.fdt, b.kernelStart, b.kernelEnd, b.tls.Start, b.tls.FileSize,
		b.tls.MemSize, b.tls.Align, 1, 0, b.cpus, 0x71727374, 1<<64 - 1, 1<<64 - 1,
	} {
		if v := le.Uint64(got[8*off:]); v != want {
			t.Errorf("at %d there is %#x, want %#x", 8*off, v, want)
		}
	}
}

func TestPrepare(t *testing.T) {
	const size = 16 << 20
	tree := []string{strings.Repeat("a", 100_000)}
	for _, tt := range []struct {
		name   string
		kernel testELF
		c      Config
		serial uint16
	}{
		{"legacy", legacy(), Config{CPUs: 1, Fixed: true}, 0x800},
		{"anywhere", legacy(), Config{CPUs: 4, PCI: true}, 0x800},
		{"modern", modern(), Config{CPUs: 2, Initrd: []byte("the files"), Mounts: []string{"/x"}}, 0x1030},
		{"large tree", modern(), Config{CPUs: 1, AppArgs: tree}, 0x1030},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.c
			tt.kernel.tls = &TLS{0x1008, 8, 16, 32}
			c.Kernel, c.Memory = parse(t, tt.kernel), size
			l, err := c.Place()
			if err != nil {
				t.Fatal(err)
			}
			mem := make([]byte, size)
			c.TSCKHz, c.BootTime = 3_000_000, time.Unix(5, 6)
			b, err := c.Prepare(l, mem)
			if err != nil {
				t.Fatal(err)
			}
			if b.Layout != *l || b.Start != l.Kernel || b.End != l.KernelEnd || b.Entry != l.Kernel+textAt {
				t.Errorf("%+v does not fit %+v", b, l)
			}
			if mem[b.Entry-l.Base] != 0xcc {
				t.Error("the kernel is not at its entry")
			}
			if got := mem[l.Initrd-min(l.Base, l.Initrd):][:len(c.Initrd)]; !bytes.Equal(got, c.Initrd) {
				t.Errorf("the files are %q", got)
			}
			info := mem[l.BootInfo-l.Base:]
			for off, want := range map[int]uint64{0: l.Base, 8: l.End, 16: uint64(tt.serial), 24: l.FDT, 32: l.Kernel, 48: l.Kernel + 0x1008, 96: uint64(c.CPUs), 104: 3_000_000, 112: 5_000_000_006} {
				if got := le.Uint64(info[off:]); got != want {
					t.Errorf("boot information at %d is %#x, want %#x", off, got, want)
				}
			}
			if got := info[88] == 1; got != c.PCI {
				t.Errorf("PCI is %v", got)
			}
			fdt := mem[l.FDT-l.Base:]
			if _, err := readFDT(fdt[:be.Uint32(fdt[4:])]); err != nil {
				t.Error(err)
			}
			for _, addr := range []uint64{l.GDT, l.BootInfo, l.FDT, l.FDTEnd - 1, l.Tables, l.Stack, l.Kernel, l.KernelEnd, max(l.InitrdEnd, l.Base)} {
				if to, flags := walk(mem, l.Base, l.Tables, addr); to != addr || flags != 0x83 {
					t.Errorf("%#x is mapped to %#x with %#x", addr, to, flags)
				}
			}
			for i, want := range []uint64{0, 0x00af9b000000ffff, 0x00cf93000000ffff} {
				if got := le.Uint64(mem[l.GDT-l.Base+uint64(i)*8:]); got != want {
					t.Errorf("GDT %d is %#x", i, got)
				}
			}
		})
	}
}

func TestPrepareRefuses(t *testing.T) {
	c := Config{Kernel: parse(t, modern()), Memory: 16 << 20, CPUs: 1}
	l, err := c.Place()
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Prepare(l, make([]byte, 8<<20))
	checkError(t, "size", err, "not the 16777216 it was planned with")
	c.Initrd = []byte{1}
	_, err = c.Prepare(l, make([]byte, 16<<20))
	checkError(t, "files", err, "has changed")
	c.Initrd, c.AppArgs = nil, []string{strings.Repeat("a", 60_000)}
	_, err = c.Prepare(l, make([]byte, 16<<20))
	checkError(t, "arguments", err, "has changed")
}

func TestRegisters(t *testing.T) {
	b := Boot{Loaded: Loaded{Entry: 0x760e0}, Layout: Layout{GDT: 0x1000, BootInfo: 0x9000, Tables: 0x10000, Stack: 0x38000}}
	if got, want := b.Regs(3), (kvm.Regs{RIP: 0x760e0, RDI: 0x9000, RSI: 3, RSP: 0x38000, RFLAGS: 2}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	reset := kvm.Sregs{CR2: 1, CR8: 2, APICBase: 0xfee00900, TR: kvm.Segment{Limit: 0xffff, Type: 11, Present: 1}}
	got := reset
	b.Sregs(&got)
	want := reset
	want.CR0, want.CR3, want.CR4, want.EFER = 0x80000031, 0x10000, 0x20, 0xd00
	want.GDT = kvm.DTable{Base: 0x1000, Limit: 23}
	want.CS = kvm.Segment{Limit: 0xffffffff, Selector: 8, Type: 11, S: 1, Present: 1, L: 1, G: 1}
	want.DS = kvm.Segment{Limit: 0xffffffff, Selector: 0x10, Type: 3, S: 1, Present: 1, G: 1, DB: 1}
	want.ES, want.SS = want.DS, want.DS
	if got != want {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	if m := MSRs(); len(m) != 1 || m[0].Index != 0x1a0 || m[0].Data != 1 {
		t.Errorf("MSRs %+v", m)
	}
}

func TestMountList(t *testing.T) {
	for _, tt := range []struct {
		mapped []Mapped
		want   []string
	}{
		{nil, nil},
		{[]Mapped{{"/", true}, {"/f.txt", false}, {"f", false}}, nil},
		{[]Mapped{{"/b/", true}, {"//a/./x/../d", true}, {"b", true}}, []string{"/a/d", "/b"}},
		{[]Mapped{{"/a/b/c", true}, {"/a/f", false}, {"/a/g", false}, {"/a/b", true}}, []string{"/a", "/a/b", "/a/b/c"}},
		{[]Mapped{{"/../../etc", true}}, []string{"/etc"}},
	} {
		if got := MountList(tt.mapped); !slices.Equal(got, tt.want) {
			t.Errorf("%v: %q, want %q", tt.mapped, got, tt.want)
		}
	}
}

// answers turns leaves into a map, and fails where one is there twice.
func answers(t *testing.T, leaves []kvm.CPUIDEntry2) map[[2]uint32][4]uint32 {
	t.Helper()
	m := make(map[[2]uint32][4]uint32)
	for _, l := range leaves {
		key := [2]uint32{l.Function, l.Index}
		if _, ok := m[key]; ok {
			t.Errorf("leaf %#x is there twice", key)
		}
		m[key] = [4]uint32{l.EAX, l.EBX, l.ECX, l.EDX}
	}
	return m
}

func TestPatchCPUID(t *testing.T) {
	supported := []kvm.CPUIDEntry2{
		{Function: 0, EAX: 0x1f}, {Function: 1, EBX: 0x11223344, ECX: 1, EDX: 1 << 28},
		{Function: 4, Index: 0, EAX: 0xffffc121}, {Function: 4, Index: 1, EAX: 0xffffc163}, {Function: 4, Index: 2},
		{Function: 7, EBX: 5}, {Function: 0xa, EAX: 0x07300802, EBX: 1},
		{Function: 0xb, Index: 0, EBX: 2, EDX: 99}, {Function: 0xb, Index: 1, EBX: 64, EDX: 99},
		{Function: 0x80000000, EAX: 0x8000001e}, {Function: 0x80000002, EAX: 1},
		{Function: 0x80000008, EAX: 0x3030, ECX: 0x1f0ff}, {Function: 0x8000001d, EAX: 0x3c163}, {Function: 0x8000001e, EAX: 77, ECX: 3},
	}
	before := slices.Clone(supported)
	got := answers(t, PatchCPUID(supported, 2, 4))
	if !slices.Equal(supported, before) {
		t.Error("what KVM said was changed")
	}
	want := map[[2]uint32][4]uint32{
		{0, 0}: {0x1f}, {1, 0}: {0, 0x02043344, 1<<31 | 1<<24 | 1, 1<<28 | 1<<5},
		{4, 0}: {3<<26 | 0x121}, {4, 1}: {3<<26 | 3<<14 | 0x163}, {4, 2}: {},
		{7, 0}: {0, 5}, {0xa, 0}: {0, 1},
		{0xb, 0}: {0, 1, 0x100, 2}, {0xb, 1}: {2, 4, 0x201, 2}, {0xb, 2}: {0, 0, 2, 2},
		{0x80000000, 0}: {0x8000001e}, {0x80000008, 0}: {0x3030, 0, 0x12003}, {0x8000001d, 0}: {3<<14 | 0x163}, {0x8000001e, 0}: {2, 2},
	}
	var name []byte
	for i := range uint32(3) {
		key := [2]uint32{0x80000002 + i, 0}
		for _, r := range got[key] {
			name = le.AppendUint32(name, r)
		}
		want[key] = got[key]
	}
	if s := string(bytes.TrimRight(name, "\x00")); s != "isthmus - unikernel machine" || name[47] != 0 {
		t.Errorf("the processor is called %q", name)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("CPUID (-want +got)\n%s", d)
	}

	// Where KVM says nothing, what kernels need is there all the same.
	got = answers(t, PatchCPUID(nil, 0, 1))
	if len(got) != 7 || got[[2]uint32{0, 0}][0] != 1 || got[[2]uint32{1, 0}] != [4]uint32{0, 1 << 16, 1<<31 | 1<<24, 1 << 5} || got[[2]uint32{0x80000000, 0}][0] != 0x80000004 {
		t.Errorf("CPUID from nothing: %#x", got)
	}
}
