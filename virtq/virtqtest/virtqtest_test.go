package virtqtest_test

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

func memory(t *testing.T, segments ...virtqtest.Segment) *virtqtest.Memory {
	t.Helper()
	m, err := virtqtest.NewMemory(segments...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func driver(t *testing.T, m *virtqtest.Memory, c virtqtest.Config) *virtqtest.Driver {
	t.Helper()
	d, err := virtqtest.New(m, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func TestMemoryIsWhatTheDeviceMaps(t *testing.T) {
	m := memory(t,
		virtqtest.Segment{GPA: 0x1000, Size: 0x3000},
		virtqtest.Segment{GPA: 0x4000, Size: 0x801},
		virtqtest.Segment{GPA: 0x4801, Size: 0x7ff},
		virtqtest.Segment{GPA: 0x100010, Size: 0x1000},
	)
	view, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	defer view.Release()
	for _, b := range []virtqtest.Buf{
		{GPA: 0x1000, Len: 0x4000}, {GPA: 0x3ffe, Len: 4}, {GPA: 0x3fff, Len: 0x803}, {GPA: 0x100010, Len: 0x1000},
	} {
		mine := m.Bytes(b)
		for i := range mine {
			mine[i] = byte(i*7 + int(b.GPA))
		}
		for i := range mine {
			gpa := b.GPA + uint64(i)
			his, ok := view.HostGPA(gpa, 1)
			if !ok || his[0] != mine[i] {
				t.Fatalf("byte %#x: %v, %v; want %v", gpa, his, ok, mine[i])
			}
			if his, ok := view.HostUVA(m.UVA(gpa), 1); !ok || his[0] != mine[i] {
				t.Fatalf("front-end address of %#x: %v, %v; want %v", gpa, his, ok, mine[i])
			}
		}
	}
	if _, ok := view.HostGPA(0x5000, 1); ok {
		t.Error("memory between the segments")
	}
}

func TestRegionsAreTheReceivers(t *testing.T) {
	m := memory(t, virtqtest.Segment{GPA: 0, Size: 0x1000}, virtqtest.Segment{GPA: 0x10000, Size: 0x1000})
	regions, err := m.Regions()
	if err != nil {
		t.Fatal(err)
	}
	var s guestmem.Space
	if err := s.Replace(regions); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := unix.FcntlInt(uintptr(m.FD()), unix.F_GETFD, 0); err != nil {
		t.Error("the memfd itself was closed")
	}
}

func TestAlloc(t *testing.T) {
	m := memory(t, virtqtest.Segment{GPA: 0x1004, Size: 0x100}, virtqtest.Segment{GPA: 0x8000, Size: 0x100})
	for _, c := range []struct {
		n, align int
		want     uint64 // 0: no room
	}{
		{0x10, 1, 0x1004}, {0x10, 16, 0x1020}, {0xd5, 1, 0x8000}, {0xd4, 1, 0x1030}, {1, 1, 0x80d5}, {0x100, 1, 0}, {0x20, 16, 0x80e0}, {1, 1, 0},
	} {
		b, err := m.Alloc(c.n, c.align)
		if (err == nil) != (c.want != 0) || b.GPA != c.want {
			t.Errorf("Alloc(%#x, %d): %#x, %v; want %#x", c.n, c.align, b.GPA, err, c.want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	m := memory(t, virtqtest.Segment{GPA: 0, Size: 0x1000})
	for _, size := range []int{-1, 0, 3, 1 << 16, 256} {
		if d, err := virtqtest.New(m, virtqtest.Config{Size: size}); err == nil {
			d.Close()
			t.Errorf("size %d: no error", size)
		}
	}
}

func TestFullRing(t *testing.T) {
	m := memory(t, virtqtest.Segment{GPA: 0, Size: 0x10000})
	b := []virtqtest.Buf{{GPA: 0x8000, Len: 1}, {GPA: 0x8001, Len: 1}, {GPA: 0x8002, Len: 1}}
	d := driver(t, m, virtqtest.Config{Size: 4, Indirect: 2})
	if _, ok := d.AddChain(nil, nil); ok {
		t.Error("a chain of nothing")
	}
	if _, ok := d.AddChain(b, nil); !ok { // too long for a table: 3 descriptors
		t.Error("no room in an empty ring")
	}
	if _, ok := d.AddChain(b[:2], b[2:]); ok {
		t.Error("room for 3 more")
	}
	if _, ok := d.AddChain(b[:1], b[1:2]); !ok { // in a table
		t.Error("no room for a table")
	}
	if _, ok := d.AddChain(b[:1], nil); ok {
		t.Error("room in a full ring")
	}
	if d.Outstanding() != 2 {
		t.Errorf("%d outstanding", d.Outstanding())
	}
}

// used makes the device's side return id, and idx be the used index.
func used(m *virtqtest.Memory, d *virtqtest.Driver, id uint32, idx uint16) {
	b := m.Bytes(virtqtest.Buf{GPA: d.Layout().Used, Len: uint32(virtq.UsedSize(d.Size()))})
	b[4], b[5], b[6], b[7] = byte(id), byte(id>>8), byte(id>>16), byte(id>>24)
	b[2], b[3] = byte(idx), byte(idx>>8)
}

func TestDeviceErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		id   uint32
		idx  uint16
		want string
	}{
		{"good", 0, 1, ""},
		{"not outstanding", 1, 1, "not outstanding"},
		{"no descriptor", 4, 1, "not outstanding"},
		{"wide id", 0x10000, 1, "not outstanding"},
		{"index jumps", 0, 5, "jumped"},
		{"index goes back", 0, 0xffff, "jumped"},
	} {
		m := memory(t, virtqtest.Segment{GPA: 0, Size: 0x1000})
		d := driver(t, m, virtqtest.Config{Size: 4})
		if head, ok := d.AddChain([]virtqtest.Buf{{GPA: 0, Len: 1}}, nil); head != 0 || !ok {
			t.Fatal("the first chain has not head 0")
		}
		d.Publish()
		used(m, d, c.id, c.idx)
		_, _, ok := d.Poll()
		err := d.Err()
		if ok != (c.want == "") || (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, %v", c.name, ok, err)
		}
	}
}

func TestWait(t *testing.T) {
	m := memory(t, virtqtest.Segment{GPA: 0, Size: 0x1000})
	d := driver(t, m, virtqtest.Config{Size: 4})
	view, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	defer view.Release()
	ring, err := d.Ring(view)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := d.Wait(0); ok || err != nil {
		t.Errorf("without an interrupt: %v, %v", ok, err)
	}
	ring.Interrupt()
	if ok, err := d.Wait(-1); !ok || err != nil {
		t.Errorf("with one: %v, %v", ok, err)
	}
	if ok, err := d.Wait(time.Millisecond); ok || err != nil {
		t.Errorf("it was not taken: %v, %v", ok, err)
	}
}

// BenchmarkRoundTrip is the cost of a chain for both sides in one thread: what is
// not the device's is the load generator's overhead.
func BenchmarkRoundTrip(b *testing.B) {
	m, err := virtqtest.NewMemory(virtqtest.Segment{GPA: 0, Size: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	d, err := virtqtest.New(m, virtqtest.Config{Size: 64, EventIdx: true, Indirect: 4})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	view, err := m.View()
	if err != nil {
		b.Fatal(err)
	}
	defer view.Release()
	ring, err := d.Ring(view)
	if err != nil {
		b.Fatal(err)
	}
	const batch = 16
	in := []virtqtest.Buf{{GPA: 0x8000, Len: 40}, {GPA: 0x9000, Len: 40}}
	out := []virtqtest.Buf{{GPA: 0xa000, Len: 16}, {GPA: 0xb000, Len: 4096}}
	var c virtq.Chain
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; done += batch {
		for range batch {
			d.AddChain(in, out)
		}
		d.Publish()
		for range batch {
			if ok, err := ring.Queue.Pop(view, &c); !ok {
				b.Fatal(err)
			}
			ring.Queue.Push(c.Head, 16)
		}
		ring.Queue.Flush()
		ring.Queue.EnableNotify()
		for range batch {
			if _, _, ok := d.Poll(); !ok {
				b.Fatal(d.Err())
			}
		}
	}
}
