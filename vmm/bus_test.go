package vmm

import (
	"bytes"
	"fmt"
	"testing"
)

// tape remembers what it was asked.
type tape struct{ said string }

func (d *tape) Read(off uint64, data []byte) {
	d.said += fmt.Sprintf("r%d+%d ", off, len(data))
	data[0] = byte(off)
}

func (d *tape) Write(off uint64, data []byte) { d.said += fmt.Sprintf("w%d=%x ", off, data) }

func TestBus(t *testing.T) {
	var low, high, last tape
	var b bus
	b.add(0x20, 2, &high)
	b.add(0x10, 8, &low)
	b.add(1<<64-16, 16, &last)
	for _, tt := range []struct {
		addr, n uint64
		device  *tape
		off     uint64
	}{
		{0x10, 8, &low, 0},
		{0x17, 1, &low, 7},
		{0x16, 2, &low, 6},
		{0x20, 2, &high, 0},
		{1<<64 - 1, 1, &last, 15},
		{1<<64 - 8, 8, &last, 8},
		{0xf, 1, nil, 0},
		{0x18, 1, nil, 0},
		{0x17, 2, nil, 0}, // leaves the device
		{0x0f, 8, nil, 0}, // begins before it
		{0x21, 2, nil, 0},
		{1<<64 - 1, 2, nil, 0},
	} {
		d, off := b.find(tt.addr, tt.n)
		if tt.device == nil {
			if d != nil {
				t.Errorf("%d bytes at %#x: a device", tt.n, tt.addr)
			}
		} else if d != tt.device || off != tt.off {
			t.Errorf("%d bytes at %#x: offset %d of %p, want %d of %p", tt.n, tt.addr, off, d, tt.off, tt.device)
		}
	}
	data := []byte{1, 2, 3, 4}
	if b.read(0x18, data) || !bytes.Equal(data, []byte{0xff, 0xff, 0xff, 0xff}) {
		t.Errorf("a read where no device is: % x", data)
	}
	if !b.read(0x12, data) || !bytes.Equal(data, []byte{2, 0xff, 0xff, 0xff}) || !b.write(0x20, data[:2]) {
		t.Errorf("a read of a device: % x", data)
	}
	if low.said != "r2+4 " || high.said != "w0=02ff " {
		t.Errorf("the devices were asked %q and %q", low.said, high.said)
	}
	for _, tt := range [][2]uint64{{0x17, 1}, {0xf, 2}, {0x21, 1}, {0, 1 << 63}, {1<<64 - 1, 1}, {5, 0}, {1<<64 - 1, 2}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%#x bytes at %#x were taken", tt[1], tt[0])
				}
			}()
			b.add(tt[0], tt[1], &low)
		}()
	}
}

func TestRAM(t *testing.T) {
	for _, bad := range []RAMConfig{{}, {Size: 1}, {Size: 4097}, {Size: 4096, GPA: 1}, {Size: 8192, GPA: 1<<64 - 4096}, {Size: 1 << 63}} {
		if r, err := NewRAM(bad); err == nil {
			r.Close()
			t.Errorf("%+v was taken", bad)
		}
	}
	for _, cfg := range []RAMConfig{
		{Size: 4 << 20},
		{Size: 4096, GPA: 0x3000},
		{Size: 16 << 20, GPA: 1<<32 + 5*4096, Shared: true},
		{Size: 4 << 20, HugePages: true},
	} {
		r, err := NewRAM(cfg)
		if err != nil {
			t.Errorf("%+v: %v", cfg, err)
			continue
		}
		mem := r.Bytes()
		if uint64(len(mem)) != cfg.Size || uint64(cap(mem)) != cfg.Size || r.GPA() != cfg.GPA || (r.FD() >= 0) != cfg.Shared {
			t.Errorf("%+v: %d bytes at %#x, file %d", cfg, len(mem), r.GPA(), r.FD())
		}
		if (addressOf(mem)-cfg.GPA)%hugePage != 0 {
			t.Errorf("%+v: mapped at %#x: huge pages of the guest are not of ours", cfg, addressOf(mem))
		}
		mem[0], mem[len(mem)-1] = 1, 2
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}
