package gdb

import (
	"encoding/binary"
	"encoding/xml"
	"math"
	"strings"
	"testing"
)

// TestDescription reads target.xml as a debugger does, in parts.
func TestDescription(t *testing.T) {
	c := connect(t, newFake(1, program))
	var text strings.Builder
	for {
		part := c.ask("qXfer:features:read:target.xml:" + format(uint64(text.Len())) + ",3f1")
		text.WriteString(part[1:])
		if part[0] == 'l' {
			break
		}
	}
	var target struct {
		Architecture string `xml:"architecture"`
		Features     []struct {
			Name string `xml:"name,attr"`
			Regs []struct {
				Name string `xml:"name,attr"`
				Bits int    `xml:"bitsize,attr"`
				Num  int    `xml:"regnum,attr"`
			} `xml:"reg"`
		} `xml:"feature"`
	}
	d := xml.NewDecoder(strings.NewReader(text.String()))
	if err := d.Decode(&target); err != nil {
		t.Fatal(err)
	}
	if target.Architecture != "i386:x86-64" {
		t.Error(target.Architecture)
	}
	n, bits := 0, 0
	at := make(map[string]int)
	for _, f := range target.Features {
		for _, r := range f.Regs {
			if r.Num != n || r.Bits != 8*registers[n].size || r.Name != registers[n].name {
				t.Errorf("register %d: %+v", n, r)
			}
			at[r.Name] = r.Num
			n++
			bits += r.Bits
		}
	}
	// As GDB numbers them that knows no description.
	for name, want := range map[string]int{"rax": 0, "rbp": 6, "rsp": 7, "rip": 16, "eflags": 17, "cs": 18, "gs": 23, "st0": 24, "fctrl": 32, "fop": 39, "xmm0": 40, "xmm15": 55, "mxcsr": 56} {
		if at[name] != want {
			t.Errorf("%s is number %d, want %d", name, at[name], want)
		}
	}
	if got := c.ask("g"); len(got) != bits/4 {
		t.Errorf("g has %d digits, want %d", len(got), bits/4)
	}
}

func number32(v uint32) string { return formatBytes(binary.LittleEndian.AppendUint32(nil, v)) }

// float80 is a number as x87 registers hold it.
func float80(mantissa uint64, exponent uint16) []byte {
	return binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint64(nil, mantissa), exponent)
}

func TestFloatRegisters(t *testing.T) {
	m := newFake(1, program)
	cpu := m.cpus[0]
	cpu.setFX(fxControl, []byte{0x7f, 0x03})
	cpu.setFX(fxStatus, []byte{0x00, 0x38}) // the top of the stack is 7
	cpu.setFX(fxTags, []byte{0b10000111})   // physical registers
	cpu.setFX(fxOpcode, []byte{0x34, 0x05})
	cpu.setFX(fxIP, []byte{1, 2, 3, 4, 5, 6, 7, 8})
	cpu.setFX(fxDP, []byte{9, 10, 11, 12, 13, 14, 15, 16})
	cpu.setFX(fxMXCSR, []byte{0x80, 0x1f, 0, 0})
	one := float80(1<<63, 0x3fff)
	cpu.setFX(fxST+0*16, one)                    // physical 7
	cpu.setFX(fxST+1*16, float80(0, 0))          // physical 0
	cpu.setFX(fxST+2*16, float80(1<<63, 0x7fff)) // physical 1: infinite
	cpu.setFX(fxST+3*16, float80(1<<62, 1))      // physical 2: not normal
	cpu.setFX(fxXMM+15*16, []byte("0123456789abcdef"))
	const dontTouch = 576 // AVX
	cpu.setFX(dontTouch, []byte{0x77})
	c := connect(t, m)
	for _, r := range []struct {
		num  int
		want string
	}{
		{24, formatBytes(one)}, {32, number32(0x37f)}, {33, number32(0x3800)}, {34, number32(0x3fe9)},
		{35, number32(0x0605)}, {36, number32(0x04030201)}, {37, number32(0x0e0d)}, {38, number32(0x0c0b0a09)}, {39, number32(0x534)},
		{55, formatBytes([]byte("0123456789abcdef"))}, {56, number32(0x1f80)},
	} {
		if got := c.ask("p" + format(uint64(r.num))); got != r.want {
			t.Errorf("%s is %s, want %s", registers[r.num].name, got, r.want)
		}
	}
	all := c.ask("g")
	c.want("G"+all, "OK")
	c.want("g", all)
	if cpu.xsave.Region[xsaveHeader/4] != 0 {
		t.Error("the FPU was written though nothing changed")
	}
	c.want("P18="+formatBytes(float80(3<<62, 0x4000)), "OK")
	c.want("P22="+number32(0x3fff), "OK") // physical 7 is left
	c.want("p22", number32(0x3fff))
	c.want("P28="+formatBytes([]byte("fedcba9876543210")), "OK")
	c.want("p28", formatBytes([]byte("fedcba9876543210")))
	c.want("P38="+number32(math.MaxUint16), "OK")
	c.want("p37", formatBytes([]byte("0123456789abcdef")))
	if r := cpu.xsave.Region; r[xsaveHeader/4] != 3 || r[dontTouch/4] != 0x77 || r[fxMXCSR/4] != 0xffff {
		t.Errorf("header %#x, AVX %#x", r[xsaveHeader/4], r[dontTouch/4])
	}
}

// TestWithoutFPU has a KVM that does not tell what is in the FPU.
func TestWithoutFPU(t *testing.T) {
	m := newFake(1, program)
	m.cpus[0].noFPU = true
	c := connect(t, m)
	all := c.ask("g")
	if want := strings.Repeat("x", 2*(8*10+8*4+16*16+4)); !strings.Contains(all, want) || strings.Count(all, "x") != len(want) {
		t.Error(all)
	}
	c.want("p28", strings.Repeat("x", 32))
	c.want("P28="+strings.Repeat("0", 32), "E3d")
	c.want("G"+all, "OK")
	c.want("G"+strings.ReplaceAll(all, "x", "0"), "E3d")
}
