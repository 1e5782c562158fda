package virtq_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

const (
	next     = virtq.DescNext
	write    = virtq.DescWrite
	indirect = virtq.DescIndirect
)

// Where the hostile rings put their things.
const (
	buf       = 0x200000 // a buffer in memory
	table     = 0x300000 // an indirect table
	nowhere   = 0x8000_0000
	lowEnd    = lowSize // the border between two regions that touch
	midEnd    = lowSize + midSize
	hostileSz = 8
)

type desc = virtqtest.Desc

// hostile is one chain, made by hand, in a ring of 8, and what Pop makes of it.
type hostile struct {
	name    string
	ring    map[int]desc // the descriptor table
	tableAt uint64       // where table is put; 0: 0x300000
	table   []desc
	head    uint16
	idx     uint16 // avail.idx; 0 means 1
	plain   bool   // VIRTIO_F_INDIRECT_DESC is not negotiated
	err     error  // nil: the chain is fine, with
	in, out []int64
}

// longTable returns an indirect table of n descriptors in a row.
func longTable(n int) []desc {
	t := make([]desc, n)
	for i := range t {
		t[i] = desc{Addr: buf, Len: 1, Flags: next, Next: uint16(i + 1)}
	}
	t[n-1].Flags = 0
	return t
}

// ones returns n iovec lengths of 1.
func ones(n int) []int64 { return slices.Repeat([]int64{1}, n) }

func tableDesc(n int) desc {
	return desc{Addr: table, Len: uint32(16 * n), Flags: indirect}
}

var hostiles = []hostile{
	// Good chains, some of them odd.
	{name: "one readable", ring: map[int]desc{0: {Addr: buf, Len: 5}}, in: []int64{5}},
	{name: "one writable", ring: map[int]desc{7: {Addr: buf, Len: 5, Flags: write}}, head: 7, out: []int64{5}},
	{name: "readable, writable", ring: map[int]desc{
		3: {Addr: buf, Len: 5, Flags: next, Next: 1},
		1: {Addr: buf, Len: 6, Flags: write},
	}, head: 3, in: []int64{5}, out: []int64{6}},
	{name: "next without the flag is ignored", ring: map[int]desc{0: {Addr: buf, Len: 5, Next: 999}}, in: []int64{5}},
	{name: "empty buffers are skipped", ring: map[int]desc{
		0: {Addr: buf, Len: 0, Flags: next, Next: 1},
		1: {Addr: nowhere, Len: 0, Flags: next, Next: 2},
		2: {Addr: buf, Len: 4, Flags: write | next, Next: 3},
		3: {Addr: buf, Len: 0, Flags: write},
	}, out: []int64{4}},
	{name: "nothing but an empty buffer", ring: map[int]desc{0: {}}},
	{name: "all descriptors", ring: map[int]desc{
		0: {Addr: buf, Len: 1, Flags: next, Next: 1}, 1: {Addr: buf, Len: 1, Flags: next, Next: 2},
		2: {Addr: buf, Len: 1, Flags: next, Next: 3}, 3: {Addr: buf, Len: 1, Flags: next, Next: 4},
		4: {Addr: buf, Len: 1, Flags: next, Next: 5}, 5: {Addr: buf, Len: 1, Flags: next, Next: 6},
		6: {Addr: buf, Len: 1, Flags: next, Next: 7}, 7: {Addr: buf, Len: 1},
	}, in: ones(8)},
	{name: "unknown flags are ignored", ring: map[int]desc{0: {Addr: buf, Len: 2, Flags: 0xfff8}}, in: []int64{2}},
	{name: "over the border of regions", ring: map[int]desc{0: {Addr: lowEnd - 3, Len: 10}}, in: []int64{3, 7}},

	// Buffers outside of memory concern one request alone.
	{name: "outside of memory", ring: map[int]desc{
		0: {Addr: nowhere, Len: 5, Flags: next, Next: 1},
		1: {Addr: buf, Len: 6, Flags: write},
	}, in: []int64{-5}, out: []int64{6}},
	{name: "partly outside", ring: map[int]desc{0: {Addr: midEnd - 3, Len: 10, Flags: write}}, out: []int64{-10}},
	{name: "address wraps", ring: map[int]desc{0: {Addr: ^uint64(0), Len: 10}}, in: []int64{-10}},

	// Indices.
	{name: "head out of range", head: hostileSz, err: virtq.ErrDescriptor},
	{name: "head far out of range", head: 0xffff, err: virtq.ErrDescriptor},
	{name: "next out of range", ring: map[int]desc{0: {Addr: buf, Len: 1, Flags: next, Next: hostileSz}}, err: virtq.ErrDescriptor},
	{name: "avail.idx one too far", ring: map[int]desc{0: {Addr: buf, Len: 1}}, idx: hostileSz + 1, err: virtq.ErrAvailIndex},
	{name: "avail.idx behind", ring: map[int]desc{0: {Addr: buf, Len: 1}}, idx: 0xffff, err: virtq.ErrAvailIndex},
	{name: "avail.idx halfway around", ring: map[int]desc{0: {Addr: buf, Len: 1}}, idx: 0x8000, err: virtq.ErrAvailIndex},
	{name: "avail.idx as far as it may be", ring: map[int]desc{0: {Addr: buf, Len: 1}}, idx: hostileSz, in: []int64{1}},

	// Loops and order.
	{name: "loop of one", ring: map[int]desc{0: {Addr: buf, Len: 1, Flags: next}}, err: virtq.ErrLength},
	{name: "loop of two", ring: map[int]desc{
		0: {Addr: buf, Len: 1, Flags: next, Next: 1}, 1: {Addr: buf, Len: 1, Flags: next},
	}, err: virtq.ErrLength},
	{name: "loop of empty buffers", ring: map[int]desc{0: {Flags: next}}, err: virtq.ErrLength},
	{name: "readable after writable", ring: map[int]desc{
		0: {Addr: buf, Len: 1, Flags: write | next, Next: 1}, 1: {Addr: buf, Len: 1},
	}, err: virtq.ErrOrder},
	{name: "readable after empty writable", ring: map[int]desc{
		0: {Flags: write | next, Next: 1}, 1: {Addr: buf, Len: 1},
	}, err: virtq.ErrOrder},

	// Totals. Outside of memory a descriptor can be as long as it likes.
	{name: "2³² bytes", ring: map[int]desc{
		0: {Addr: nowhere, Len: 1 << 31, Flags: next, Next: 1}, 1: {Addr: nowhere, Len: 1 << 31, Flags: write},
	}, in: []int64{-1 << 31}, out: []int64{-1 << 31}},
	{name: "more than 2³² bytes", ring: map[int]desc{
		0: {Addr: nowhere, Len: 1<<32 - 1, Flags: next, Next: 1}, 1: {Addr: nowhere, Len: 2, Flags: write},
	}, err: virtq.ErrTotal},

	// Indirect tables.
	{name: "indirect", ring: map[int]desc{2: tableDesc(3)}, head: 2, table: []desc{
		{Addr: buf, Len: 1, Flags: next, Next: 2}, {Addr: buf, Len: 3, Flags: write}, {Addr: buf, Len: 2, Flags: next, Next: 1},
	}, in: []int64{1, 2}, out: []int64{3}},
	{name: "indirect, write flag ignored", ring: map[int]desc{0: {Addr: table, Len: 16, Flags: indirect | write}},
		table: []desc{{Addr: buf, Len: 1}}, in: []int64{1}},
	{name: "direct, then indirect", ring: map[int]desc{
		0: {Addr: buf, Len: 4, Flags: next, Next: 5}, 5: tableDesc(1),
	}, table: []desc{{Addr: buf, Len: 1, Flags: write}}, in: []int64{4}, out: []int64{1}},
	{name: "unaligned table", ring: map[int]desc{0: {Addr: table + 1, Len: 16, Flags: indirect}},
		tableAt: table + 1, table: []desc{{Addr: buf, Len: 9}}, in: []int64{9}},
	{name: "table over the border of regions", ring: map[int]desc{0: {Addr: lowEnd - 24, Len: 48, Flags: indirect}},
		tableAt: lowEnd - 24, table: []desc{
			{Addr: buf, Len: 1, Flags: next, Next: 1}, {Addr: buf, Len: 2, Flags: next, Next: 2}, {Addr: buf, Len: 3},
		}, in: []int64{1, 2, 3}},
	{name: "table longer than the queue", ring: map[int]desc{0: tableDesc(300)}, table: longTable(300), in: ones(300)},
	{name: "longest table", ring: map[int]desc{0: tableDesc(virtq.MaxIndirect)}, table: longTable(virtq.MaxIndirect), in: ones(virtq.MaxIndirect)},
	{name: "table of too many", ring: map[int]desc{0: tableDesc(virtq.MaxIndirect + 1)}, table: longTable(virtq.MaxIndirect + 1), err: virtq.ErrLength},
	{name: "direct, then too many", ring: map[int]desc{
		0: {Addr: buf, Len: 1, Flags: next, Next: 1}, 1: tableDesc(virtq.MaxIndirect),
	}, table: longTable(virtq.MaxIndirect), err: virtq.ErrLength},
	{name: "long table, short chain", ring: map[int]desc{0: tableDesc(0x8000)}, table: []desc{{Addr: buf, Len: 1}}, in: []int64{1}},
	{name: "feature not negotiated", plain: true, ring: map[int]desc{0: tableDesc(1)}, table: []desc{{Addr: buf, Len: 1}}, err: virtq.ErrIndirect},
	{name: "nested", ring: map[int]desc{0: tableDesc(2)}, table: []desc{tableDesc(1), {Addr: buf, Len: 1}}, err: virtq.ErrIndirect},
	{name: "nested, further down", ring: map[int]desc{0: tableDesc(2)},
		table: []desc{{Addr: buf, Len: 1, Flags: next, Next: 1}, tableDesc(1)}, err: virtq.ErrIndirect},
	{name: "indirect and next", ring: map[int]desc{0: {Addr: table, Len: 16, Flags: indirect | next, Next: 1}, 1: {Addr: buf, Len: 1}},
		table: []desc{{Addr: buf, Len: 1}}, err: virtq.ErrIndirect},
	{name: "empty table", ring: map[int]desc{0: {Addr: table, Len: 0, Flags: indirect}}, err: virtq.ErrIndirect},
	{name: "table of a half", ring: map[int]desc{0: {Addr: table, Len: 24, Flags: indirect}}, table: []desc{{Addr: buf, Len: 1}}, err: virtq.ErrIndirect},
	{name: "table outside of memory", ring: map[int]desc{0: {Addr: nowhere, Len: 16, Flags: indirect}}, err: virtq.ErrIndirectTable},
	{name: "table leaves memory", ring: map[int]desc{0: {Addr: midEnd - 16, Len: 32, Flags: indirect}},
		tableAt: midEnd - 16, table: []desc{{Addr: buf, Len: 1, Flags: next, Next: 1}}, err: virtq.ErrIndirectTable},
	{name: "table wraps", ring: map[int]desc{0: {Addr: ^uint64(0) - 15, Len: 32, Flags: indirect}}, err: virtq.ErrIndirectTable},
	{name: "next beyond the table", ring: map[int]desc{0: tableDesc(2)},
		table: []desc{{Addr: buf, Len: 1, Flags: next, Next: 2}, {}, {Addr: buf, Len: 1}}, err: virtq.ErrDescriptor},
	{name: "loop in the table", ring: map[int]desc{0: tableDesc(2)},
		table: []desc{{Addr: buf, Len: 1, Flags: next, Next: 1}, {Addr: buf, Len: 1, Flags: next}}, err: virtq.ErrLength},
	{name: "order across the table", ring: map[int]desc{
		0: {Addr: buf, Len: 1, Flags: write | next, Next: 1}, 1: tableDesc(1),
	}, table: []desc{{Addr: buf, Len: 1}}, err: virtq.ErrOrder},
}

func TestHostileChains(t *testing.T) {
	for _, h := range hostiles {
		t.Run(h.name, func(t *testing.T) {
			cfg := virtqtest.Config{Size: hostileSz, Indirect: 1}
			if h.plain {
				cfg.Indirect = 0
			}
			r := testRig(t, cfg)
			for i, d := range h.ring {
				r.drv.SetDesc(i, d)
			}
			at := h.tableAt
			if at == 0 {
				at = table
			}
			mem := r.mem.Bytes(virtqtest.Buf{GPA: at, Len: uint32(16 * len(h.table))})
			for i, d := range h.table {
				virtqtest.PutDesc(mem, i, d)
			}
			r.drv.SetAvail(0, h.head)
			r.drv.SetAvailIdx(max(h.idx, 1))
			var c virtq.Chain
			ok, err := r.q.Pop(r.view, &c)
			if !errors.Is(err, h.err) {
				t.Fatalf("error %v, want %v", err, h.err)
			}
			if h.err != nil {
				checkBroken(t, r, &c, ok, err)
				return
			}
			if !ok || c.Head != h.head {
				t.Fatalf("ok = %v, head %d", ok, c.Head)
			}
			checkSide(t, "In", lens(c.In), h.in, c.InLen)
			checkSide(t, "Out", lens(c.Out), h.out, c.OutLen)
			if r.q.Err() != nil {
				t.Errorf("Err: %v", r.q.Err())
			}
		})
	}
}

func checkSide(t *testing.T, name string, got, want []int64, total uint64) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", name, got, want)
	}
	var sum uint64
	for _, n := range want {
		sum += uint64(max(n, -n))
	}
	if total != sum {
		t.Errorf("%sLen: %d, want %d", name, total, sum)
	}
}

// checkBroken checks that a queue that Pop has just found broken stays so and
// leaves its ring alone.
func checkBroken(t *testing.T, r *rig, c *virtq.Chain, ok bool, err error) {
	t.Helper()
	if ok || len(c.In)+len(c.Out) != 0 || c.InLen+c.OutLen != 0 {
		t.Errorf("Pop returned a chain along with its error: %v %+v", ok, c)
	}
	if r.q.Err() != err {
		t.Errorf("Err: %v, want %v", r.q.Err(), err)
	}
	// Were the queue to look again, it would find a good ring.
	r.drv.SetDesc(0, desc{Addr: buf, Len: 1})
	r.drv.SetAvail(0, 0)
	r.drv.SetAvailIdx(1)
	if ok, again := r.q.Pop(r.view, c); ok || again != err {
		t.Errorf("second Pop: %v, %v", ok, again)
	}
	used := r.mem.Bytes(virtqtest.Buf{GPA: r.drv.Layout().Used, Len: uint32(virtq.UsedSize(hostileSz))})
	before := slices.Clone(used)
	r.q.Push(0, 1)
	if r.q.Flush() {
		t.Error("a broken queue interrupts")
	}
	r.q.DisableNotify()
	if !r.q.EnableNotify() {
		t.Error("EnableNotify lets the device of a broken queue sleep")
	}
	if !slices.Equal(before, used) {
		t.Error("a broken queue wrote its used ring")
	}
}

// A driver that offers more chains than it has descriptors wants the device to
// collect requests without end.
func TestTooManyOutstanding(t *testing.T) {
	r := testRig(t, virtqtest.Config{Size: 4})
	r.drv.SetDesc(0, desc{Addr: buf, Len: 1})
	var c virtq.Chain
	pop := func(idx uint16) (bool, error) {
		r.drv.SetAvailIdx(idx)
		return r.q.Pop(r.view, &c)
	}
	for i := range uint16(4) {
		if ok, err := pop(i + 1); !ok {
			t.Fatalf("chain %d: %v", i, err)
		}
	}
	r.q.Push(0, 0)
	if ok, err := pop(5); !ok {
		t.Fatalf("after one has come back: %v", err)
	}
	if ok, err := pop(6); ok || !errors.Is(err, virtq.ErrOutstanding) {
		t.Errorf("%v, %v", ok, err)
	}
}

// The descriptors may change after Pop: the chain must be what was checked.
func TestChainIsACopy(t *testing.T) {
	r := testRig(t, virtqtest.Config{Size: 4, Indirect: 4})
	in := []virtqtest.Buf{{GPA: buf, Len: 1}, {GPA: buf, Len: 2}}
	if _, ok := r.drv.AddChain(in, nil); !ok {
		t.Fatal("no room")
	}
	r.drv.Publish()
	var c virtq.Chain
	if ok, err := r.q.Pop(r.view, &c); !ok {
		t.Fatal(err)
	}
	first := slices.Clone(c.In)
	for i := range 4 {
		r.drv.SetDesc(i, desc{Addr: nowhere, Len: 77})
	}
	if !slices.Equal(first, c.In) || c.InLen != 3 {
		t.Errorf("%v", lens(c.In))
	}
}

// A table that begins at the end of all addresses does not go on at the first.
func TestTableWrapsIntoMemory(t *testing.T) {
	mem := make([]byte, 4096)
	last := make([]byte, 16)
	var s guestmem.Space
	defer s.Close()
	for gpa, m := range map[uint64][]byte{0: mem, ^uint64(15): last} {
		if err := s.AddMapped(gpa, m); err != nil {
			t.Fatal(err)
		}
	}
	view := s.Acquire()
	defer view.Release()
	virtqtest.PutDesc(last, 0, desc{Addr: 0, Len: 1, Flags: next, Next: 1})
	virtqtest.PutDesc(mem, 0, desc{Addr: 0, Len: 1}) // what would be the second
	ring := make([]byte, 4096)
	virtqtest.PutDesc(ring, 0, desc{Addr: ^uint64(15), Len: 32, Flags: indirect})
	ring[16+2] = 1 // avail.idx
	q, err := virtq.New(virtq.Config{
		Size: 1, Indirect: true,
		Desc: ring[:16], Avail: ring[16 : 16+virtq.AvailSize(1)], Used: ring[32 : 32+virtq.UsedSize(1)],
	})
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := q.Pop(view, &virtq.Chain{}); ok || !errors.Is(err, virtq.ErrIndirectTable) {
		t.Errorf("%v, %v", ok, err)
	}
}
