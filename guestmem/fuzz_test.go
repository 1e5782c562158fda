package guestmem

import (
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzIovecs compares the translation of one range with a model that looks every
// byte up by itself. The input is the range and a table of regions, two bytes
// each: address and length. All is near 0 or, when top is set, near the end of
// all addresses.
func FuzzIovecs(f *testing.F) {
	f.Add(uint8(0), uint16(10), false, []byte{0, 16})
	f.Add(uint8(8), uint16(40), false, []byte{0, 16, 16, 16, 32, 32, 70, 1})
	f.Add(uint8(0xfe), uint16(4), true, []byte{0xf0, 16, 0, 16})
	f.Add(uint8(0), uint16(0), true, []byte{})
	f.Fuzz(func(t *testing.T, at uint8, n uint16, top bool, table []byte) {
		var high uint64
		if top {
			high = 0xffff_ffff_ffff_ff00
		}
		var s Space
		defer s.Close()
		model := map[uint64]*byte{}
		for ; len(table) >= 2 && len(model) < 512; table = table[2:] {
			gpa := high | uint64(table[0])
			mem := make([]byte, table[1])
			free := len(mem) > 0 && gpa+uint64(len(mem))-1 >= gpa
			for i := range mem {
				free = free && model[gpa+uint64(i)] == nil
			}
			if err := s.AddMapped(gpa, mem); (err == nil) != free {
				t.Fatalf("AddMapped(%#x, %d bytes): %v; the model has room: %v", gpa, len(mem), err, free)
			}
			if free {
				for i := range mem {
					model[gpa+uint64(i)] = &mem[i]
				}
			}
		}
		v := s.Acquire()
		defer v.Release()
		gpa := high | uint64(at)
		inside := true
		for i := range uint64(n) {
			inside = inside && gpa+i >= gpa && model[gpa+i] != nil
		}
		iov, ok := v.Iovecs(nil, gpa, uint32(n))
		if ok != inside {
			t.Fatalf("Iovecs(%#x, %d) says %v, the model %v", gpa, n, ok, inside)
		}
		if !ok {
			if len(iov) != 1 || iov[0] != (unix.Iovec{Len: uint64(n)}) {
				t.Fatalf("outside: %v", iov)
			}
			return
		}
		a := gpa
		for _, p := range iov {
			if p.Len == 0 || p.Base != model[a] || &bytesOf(p)[p.Len-1] != model[a+p.Len-1] {
				t.Fatalf("%d bytes at %#x: not the model's", p.Len, a)
			}
			a += p.Len
		}
		if a-gpa != uint64(n) {
			t.Fatalf("%d bytes, want %d", a-gpa, n)
		}
		_, one := v.HostGPA(gpa, uint64(n))
		if n > 0 && one != (len(iov) == 1) {
			t.Fatalf("HostGPA says %v for %d pieces", one, len(iov))
		}
	})
}
