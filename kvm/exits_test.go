package kvm

import (
	"slices"
	"testing"
)

// fakeVCPU has a mapping but no processor.
func fakeVCPU() *VCPU {
	words := make([]uint64, 3*4096/8) // aligned as a mapping is
	mapping := bytesOf(words)
	return &VCPU{fd: -1, mapping: mapping, run: runOf(mapping)}
}

func TestIOData(t *testing.T) {
	mapping := make([]byte, 3*4096)
	for i := range mapping {
		mapping[i] = byte(i)
	}
	for _, tt := range []struct {
		size   uint8
		count  uint32
		offset uint64
		want   int // length, -1 for nil
	}{
		{1, 1, 4096, 1},
		{4, 1024, 4096, 4096},
		{4, 1024, 2 * 4096, 4096},
		{1, 0, 3 * 4096, 0},
		{2, 1, 3*4096 - 2, 2},
		{2, 1, 3*4096 - 1, -1},
		{1, 1, 3 * 4096, -1},
		{1, 0, 3*4096 + 1, -1},
		{4, 1025, 2 * 4096, -1},
		{255, 1<<32 - 1, 4096, -1},
		{1, 1, 1<<64 - 1, -1},
		{2, 1, 1<<64 - 2, -1},
		{1, 1, 0, -1},
		{1, 1, uint64(runSize) - 1, -1}, // struct kvm_run itself
		{1, 1, uint64(runSize), 1},
	} {
		io := IOExit{Size: tt.size, Count: tt.count, dataOffset: tt.offset}
		got := ioData(mapping, &io, runSize)
		switch {
		case tt.want < 0 && got != nil, tt.want >= 0 && (got == nil || len(got) != tt.want || cap(got) != tt.want):
			t.Errorf("%+v: %d bytes, nil %v", io, len(got), got == nil)
		case tt.want > 0 && got[0] != byte(tt.offset):
			t.Errorf("%+v: begins with %#x", io, got[0])
		}
	}
}

func FuzzIOData(f *testing.F) {
	f.Add(uint8(1), uint32(1), uint64(4096))
	f.Add(uint8(255), uint32(1<<32-1), uint64(1<<64-1))
	f.Add(uint8(4), uint32(1024), uint64(8192))
	mapping := make([]byte, 3*4096)
	f.Fuzz(func(t *testing.T, size uint8, count uint32, offset uint64) {
		io := IOExit{Size: size, Count: count, dataOffset: offset}
		if data := ioData(mapping, &io, runSize); data != nil && uint64(len(data)) != uint64(size)*uint64(count) {
			t.Errorf("%+v: %d bytes", io, len(data))
		}
	})
}

func TestIODataOfOtherExits(t *testing.T) {
	c := fakeVCPU()
	*exitData[IOExit](c) = IOExit{Direction: EXIT_IO_OUT, Size: 2, Port: 0x3f8, Count: 3, dataOffset: 4096}
	c.run.exitReason = EXIT_MMIO
	if c.IOData() != nil {
		t.Error("data of an exit that is no IO")
	}
	c.run.exitReason = EXIT_IO
	if data := c.IOData(); len(data) != 6 || c.IO().Port != 0x3f8 {
		t.Errorf("%d bytes, %+v", len(data), c.IO())
	}
}

func TestMMIOExit(t *testing.T) {
	for length, want := range map[uint32]int{0: 0, 1: 1, 8: 8, 9: 8, 1<<32 - 1: 8} {
		m := MMIOExit{length: length}
		if got := len(m.Data()); got != want {
			t.Errorf("length %d: %d bytes of data", length, got)
		}
	}
	c := fakeVCPU()
	c.MMIO().length = 4
	copy(c.MMIO().Data(), "abcd") // a read is answered in place
	if c.run.exit[1] != 'a'|'b'<<8|'c'<<16|'d'<<24 {
		t.Errorf("%#x", c.run.exit[1])
	}
}

func TestInternalErrorExit(t *testing.T) {
	insn := func(n, first uint64) [16]uint64 {
		return [16]uint64{internalErrorFlagInstruction, n | first<<8, 0xffeeddccbbaa9988}
	}
	for _, tt := range []struct {
		name string
		e    InternalErrorExit
		data int
		want []byte
	}{
		{"instruction", InternalErrorExit{INTERNAL_ERROR_EMULATION, 3, insn(3, 0x0504030201_0b0f)}, 3, []byte{0x0f, 0x0b, 1}},
		{"all of it", InternalErrorExit{INTERNAL_ERROR_EMULATION, 16, insn(15, 0x0504030201_0b0f)}, 16,
			[]byte{0x0f, 0x0b, 1, 2, 3, 4, 5, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}},
		{"length too large", InternalErrorExit{INTERNAL_ERROR_EMULATION, 1<<32 - 1, insn(255, 0)}, 16,
			[]byte{0, 0, 0, 0, 0, 0, 0, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}},
		{"no flag", InternalErrorExit{INTERNAL_ERROR_EMULATION, 3, [16]uint64{0, 3}}, 3, nil},
		{"too few words", InternalErrorExit{INTERNAL_ERROR_EMULATION, 2, insn(3, 0)}, 2, nil},
		{"another error", InternalErrorExit{INTERNAL_ERROR_DELIVERY_EV, 3, insn(3, 0)}, 3, nil},
		{"nothing", InternalErrorExit{}, 0, nil},
	} {
		got, n := tt.e.Instruction()
		if !slices.Equal(got[:n], tt.want) || len(tt.e.Data()) != tt.data {
			t.Errorf("%s: instruction %x, %d words", tt.name, got[:n], len(tt.e.Data()))
		}
	}
	e := SystemEventExit{Type: SYSTEM_EVENT_RESET, ndata: 1000}
	if len(e.Data()) != 16 {
		t.Errorf("%d words of a system event", len(e.Data()))
	}
}

func TestFlagsInControlWord(t *testing.T) {
	c := fakeVCPU()
	bytes := c.mapping[:2]
	c.SetImmediateExit(true)
	if bytes[0] != 0 || bytes[1] != 1 || !c.ImmediateExit() {
		t.Errorf("immediate_exit: %v", bytes)
	}
	c.RequestInterruptWindow(true)
	c.SetImmediateExit(false)
	if bytes[0] != 1 || bytes[1] != 0 || c.ImmediateExit() {
		t.Errorf("request_interrupt_window: %v", bytes)
	}
	c.RequestInterruptWindow(false)
	c.Kick()
	if bytes[0] != 0 || bytes[1] != 1 {
		t.Errorf("Kick: %v", bytes)
	}
}

func TestNames(t *testing.T) {
	for reason, want := range map[ExitReason]string{
		EXIT_IO: "KVM_EXIT_IO", EXIT_MEMORY_FAULT: "KVM_EXIT_MEMORY_FAULT", 38: "KVM_EXIT_38", 1<<32 - 1: "KVM_EXIT_4294967295",
	} {
		if got := reason.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestRoutes(t *testing.T) {
	if r := RouteToMSI(24, 0x1_fee00000, 0x40); r.GSI != 24 || r.Type != IRQ_ROUTING_MSI || r.U != [8]uint32{0xfee00000, 1, 0x40} {
		t.Errorf("%+v", r)
	}
	if r := RouteToChip(5, IRQCHIP_IOAPIC, 6); r.GSI != 5 || r.Type != IRQ_ROUTING_IRQCHIP || r.U != [8]uint32{2, 6} {
		t.Errorf("%+v", r)
	}
}
