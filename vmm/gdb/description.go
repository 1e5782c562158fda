package gdb

import (
	"fmt"
	"strings"

	"github.com/isthmus-fs/isthmus/kvm"
)

// features are all registers in the order of their numbers. The first three are as GDB
// wants them of a 64-bit x86 ("i386 Features" in its manual).
var features = []feature{
	{"org.gnu.gdb.i386.core", flagsType, coreRegisters()},
	{"org.gnu.gdb.i386.sse", vectorType + mxcsrType, sseRegisters()},
	{"org.gnu.gdb.i386.segments", "", []register{
		special("fs_base", "int", func(s *kvm.Sregs) *uint64 { return &s.FS.Base }),
		special("gs_base", "int", func(s *kvm.Sregs) *uint64 { return &s.GS.Base }),
	}},
	{"isthmus.control", "", []register{
		control("cr0", func(s *kvm.Sregs) *uint64 { return &s.CR0 }),
		control("cr2", func(s *kvm.Sregs) *uint64 { return &s.CR2 }),
		control("cr3", func(s *kvm.Sregs) *uint64 { return &s.CR3 }),
		control("cr4", func(s *kvm.Sregs) *uint64 { return &s.CR4 }),
		control("cr8", func(s *kvm.Sregs) *uint64 { return &s.CR8 }),
		control("efer", func(s *kvm.Sregs) *uint64 { return &s.EFER }),
	}},
}

func coreRegisters() []register {
	list := []register{
		general("rax", "int64", func(r *kvm.Regs) *uint64 { return &r.RAX }),
		general("rbx", "int64", func(r *kvm.Regs) *uint64 { return &r.RBX }),
		general("rcx", "int64", func(r *kvm.Regs) *uint64 { return &r.RCX }),
		general("rdx", "int64", func(r *kvm.Regs) *uint64 { return &r.RDX }),
		general("rsi", "int64", func(r *kvm.Regs) *uint64 { return &r.RSI }),
		general("rdi", "int64", func(r *kvm.Regs) *uint64 { return &r.RDI }),
		general("rbp", "data_ptr", func(r *kvm.Regs) *uint64 { return &r.RBP }),
		general("rsp", "data_ptr", func(r *kvm.Regs) *uint64 { return &r.RSP }),
		general("r8", "int64", func(r *kvm.Regs) *uint64 { return &r.R8 }),
		general("r9", "int64", func(r *kvm.Regs) *uint64 { return &r.R9 }),
		general("r10", "int64", func(r *kvm.Regs) *uint64 { return &r.R10 }),
		general("r11", "int64", func(r *kvm.Regs) *uint64 { return &r.R11 }),
		general("r12", "int64", func(r *kvm.Regs) *uint64 { return &r.R12 }),
		general("r13", "int64", func(r *kvm.Regs) *uint64 { return &r.R13 }),
		general("r14", "int64", func(r *kvm.Regs) *uint64 { return &r.R14 }),
		general("r15", "int64", func(r *kvm.Regs) *uint64 { return &r.R15 }),
		general("rip", "code_ptr", func(r *kvm.Regs) *uint64 { return &r.RIP }),
		number("eflags", 4, "i386_eflags", "", func(st *state) *uint64 { return &st.regs.RFLAGS }),
		selector("cs", func(s *kvm.Sregs) *kvm.Segment { return &s.CS }),
		selector("ss", func(s *kvm.Sregs) *kvm.Segment { return &s.SS }),
		selector("ds", func(s *kvm.Sregs) *kvm.Segment { return &s.DS }),
		selector("es", func(s *kvm.Sregs) *kvm.Segment { return &s.ES }),
		selector("fs", func(s *kvm.Sregs) *kvm.Segment { return &s.FS }),
		selector("gs", func(s *kvm.Sregs) *kvm.Segment { return &s.GS }),
	}
	for i := range 8 {
		list = append(list, float(fmt.Sprintf("st%d", i), 10, "i387_ext", "", fxST+16*i, 10))
	}
	return append(list,
		float("fctrl", 4, "int", "float", fxControl, 2),
		float("fstat", 4, "int", "float", fxStatus, 2),
		tags(),
		float("fiseg", 4, "int", "float", fxIP+4, 2),
		float("fioff", 4, "int", "float", fxIP, 4),
		float("foseg", 4, "int", "float", fxDP+4, 2),
		float("fooff", 4, "int", "float", fxDP, 4),
		float("fop", 4, "int", "float", fxOpcode, 2),
	)
}

func sseRegisters() []register {
	var list []register
	for i := range 16 {
		list = append(list, float(fmt.Sprintf("xmm%d", i), 16, "vec128", "", fxXMM+16*i, 16))
	}
	return append(list, float("mxcsr", 4, "i386_mxcsr", "vector", fxMXCSR, 4))
}

// Numbers of registers that each stop is reported with.
const (
	numRBP = 6
	numRSP = 7
	numRIP = 16
)

// registers are those of all features, by number.
var registers = func() (all []*register) {
	for i := range features {
		for j := range features[i].registers {
			all = append(all, &features[i].registers[j])
		}
	}
	return all
}()

var (
	flagsType = flags("i386_eflags", []string{
		0: "CF", 2: "PF", 4: "AF", 6: "ZF", 7: "SF", 8: "TF", 9: "IF", 10: "DF", 11: "OF",
		14: "NT", 16: "RF", 17: "VM", 18: "AC", 19: "VIF", 20: "VIP", 21: "ID",
	})
	mxcsrType = flags("i386_mxcsr", []string{
		"IE", "DE", "ZE", "OE", "UE", "PE", "DAZ", "IM", "DM", "ZM", "OM", "UM", "PM", 15: "FZ",
	})
	// vectorType gives XMM registers the fields that GDB's users know them by.
	vectorType = vectors("vec128", []vector{
		{"v4_float", "ieee_single", 4}, {"v2_double", "ieee_double", 2},
		{"v16_int8", "int8", 16}, {"v8_int16", "int16", 8}, {"v4_int32", "int32", 4}, {"v2_int64", "int64", 2},
	})
)

// flags describes a type of 32 single bits.
func flags(id string, names []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<flags id=%q size=\"4\">\n", id)
	for i, name := range names {
		if name != "" {
			fmt.Fprintf(&b, "<field name=%q start=\"%d\" end=\"%d\"/>\n", name, i, i)
		}
	}
	b.WriteString("</flags>\n")
	return b.String()
}

type vector struct {
	field, of string
	count     int
}

// vectors describes a type that is any of list, or a number of 128 bits.
func vectors(id string, list []vector) string {
	var types, fields strings.Builder
	for _, v := range list {
		fmt.Fprintf(&types, "<vector id=\"%s_t\" type=%q count=\"%d\"/>\n", v.field, v.of, v.count)
		fmt.Fprintf(&fields, "<field name=%q type=\"%s_t\"/>\n", v.field, v.field)
	}
	return fmt.Sprintf("%s<union id=%q>\n%s<field name=\"uint128\" type=\"uint128\"/>\n</union>\n", &types, id, &fields)
}

// description is target.xml.
var description = func() string {
	var b strings.Builder
	b.WriteString("<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n" +
		"<target>\n<architecture>i386:x86-64</architecture>\n")
	number := 0
	for _, f := range features {
		fmt.Fprintf(&b, "<feature name=%q>\n%s", f.name, f.types)
		for _, r := range f.registers {
			fmt.Fprintf(&b, "<reg name=%q bitsize=\"%d\" type=%q regnum=\"%d\"", r.name, 8*r.size, r.typ, number)
			if r.group != "" {
				fmt.Fprintf(&b, " group=%q", r.group)
			}
			b.WriteString("/>\n")
			number++
		}
		b.WriteString("</feature>\n")
	}
	b.WriteString("</target>\n")
	return b.String()
}()
