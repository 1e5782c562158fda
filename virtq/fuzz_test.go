package virtq_test

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

// The guest of FuzzQueue has three regions; the ring is at the beginning of the
// first, the second touches it.
const (
	fuzzBorder = 2048
	fuzzEnd    = 4000
	fuzzApart  = 0x10000
	fuzzSize   = 100
)

// fuzzRing returns the memory of a guest whose ring has the given descriptors
// and offers the given heads.
func fuzzRing(size int, ring, table []desc, heads ...uint16) []byte {
	mem := make([]byte, fuzzEnd)
	for i, d := range ring {
		virtqtest.PutDesc(mem, i, d)
	}
	for i, d := range table {
		virtqtest.PutDesc(mem[fuzzBorder-8:], i, d)
	}
	avail := mem[virtq.DescSize(size):]
	binary.LittleEndian.PutUint16(avail[2:], uint16(len(heads)))
	for i, h := range heads {
		binary.LittleEndian.PutUint16(avail[4+2*i:], h)
	}
	return mem
}

// FuzzQueue lets a queue take what it finds in arbitrary memory. Whatever that
// is, popping ends, and what it returns is guest memory.
func FuzzQueue(f *testing.F) {
	f.Add(uint8(2), true, true, uint16(0), fuzzRing(4, []desc{
		{Addr: 1000, Len: 40, Flags: next, Next: 1}, {Addr: fuzzBorder - 10, Len: 20, Flags: write | next, Next: 2}, {Addr: fuzzApart, Len: fuzzSize, Flags: write},
	}, nil, 0, 1, 2))
	f.Add(uint8(2), false, true, uint16(0), fuzzRing(4, []desc{
		{Addr: fuzzBorder - 8, Len: 48, Flags: indirect}, {Addr: fuzzBorder + 8, Len: 32, Flags: indirect}, {Addr: nowhere, Len: 9},
	}, []desc{
		{Addr: 1500, Len: 1, Flags: next, Next: 2}, {Addr: fuzzEnd - 1, Len: 2, Flags: write}, {Addr: 1600, Len: 2, Flags: next, Next: 1},
	}, 2, 0, 1))
	f.Add(uint8(1), false, false, uint16(65535), fuzzRing(2, []desc{
		{Addr: 1000, Len: 1, Flags: next, Next: 1}, {Addr: 1000, Len: 1, Flags: next, Next: 0},
	}, nil, 0))
	f.Add(uint8(0), true, true, uint16(3), []byte{})
	f.Fuzz(func(t *testing.T, log uint8, eventIdx, withIndirect bool, start uint16, content []byte) {
		size := 1 << (log % 6)
		mem := make([]byte, fuzzEnd)
		copy(mem, content)
		apart := make([]byte, fuzzSize)
		var s guestmem.Space
		defer s.Close()
		for gpa, m := range map[uint64][]byte{0: mem[:fuzzBorder], fuzzBorder: mem[fuzzBorder:], fuzzApart: apart} {
			if err := s.AddMapped(gpa, m); err != nil {
				t.Fatal(err)
			}
		}
		view := s.Acquire()
		defer view.Release()
		avail := virtq.DescSize(size)
		used := (avail + virtq.AvailSize(size) + 3) &^ 3
		q, err := virtq.New(virtq.Config{
			Size:     size,
			Desc:     mem[:avail],
			Avail:    mem[avail : avail+virtq.AvailSize(size)],
			Used:     mem[used : used+virtq.UsedSize(size)],
			Next:     start,
			EventIdx: eventIdx,
			Indirect: withIndirect,
		})
		if err != nil {
			t.Fatal(err)
		}
		q.DisableNotify()
		var c virtq.Chain
		for n := 0; ; n++ {
			ok, err := q.Pop(view, &c)
			if !ok {
				if err != q.Err() {
					t.Fatalf("Pop: %v, Err: %v", err, q.Err())
				}
				break
			}
			if n == size {
				t.Fatalf("more than %d chains without a change of the index", size)
			}
			if int(c.Head) >= size {
				t.Fatalf("head %d", c.Head)
			}
			checkIovecs(t, c.In, c.InLen, mem, apart)
			checkIovecs(t, c.Out, c.OutLen, mem, apart)
			if len(c.In)+len(c.Out) > 3*virtq.MaxIndirect {
				t.Fatalf("%d iovecs", len(c.In)+len(c.Out))
			}
			q.Push(c.Head, uint32(n))
		}
		q.Flush()
		q.EnableNotify()
	})
}

func checkIovecs(t *testing.T, v []unix.Iovec, total uint64, memory ...[]byte) {
	if oslib.IovLen(v) != total {
		t.Fatalf("%d bytes, said to be %d", oslib.IovLen(v), total)
	}
	for _, p := range v {
		if p.Len == 0 {
			t.Fatal("empty iovec")
		}
		if p.Base != nil && !within(p, memory) {
			t.Fatalf("%d bytes at %p are not guest memory", p.Len, p.Base)
		}
	}
}
