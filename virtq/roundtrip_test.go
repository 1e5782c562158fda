package virtq_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

// request is a chain under way in the property test.
type request struct {
	in, out []virtqtest.Buf
	fill    byte // in is full of it; out is to be, plus 1
	slot    int
	written uint32
	chain   virtq.Chain
}

func (q *request) check(t *rapid.T, mem *virtqtest.Memory, bufs []virtqtest.Buf, want byte) {
	for _, b := range bufs {
		for _, got := range mem.Bytes(b) {
			if got != want {
				t.Fatalf("chain %d: read %#x, want %#x", q.chain.Head, got, want)
			}
		}
	}
}

// world is a ring with a driver and a device that keep to the rules.
type world struct {
	*rig
	cfg     virtqtest.Config
	free    []int // slots for buffers
	byHead  map[uint16]*request
	added   uint16 // available index of the driver, with what is not published
	shown   uint16 // as far as the device can see
	asked   bool   // the device wants to be kicked
	popped  []*request
	pushed  []*request // in used order
	flushed int        // of pushed, visible to the driver
	used    uint16     // used index, as far as flushed
	first   bool       // no Flush yet
	wanted  bool       // without EVENT_IDX: the driver wants interrupts
	event   uint16     // with EVENT_IDX: used_event
	serial  byte
}

// Buffers come in slots, around the border of two regions and not on it.
const (
	slots    = 48
	slotSize = 1001
	slotBase = lowSize - slots/2*slotSize - 500
)

func (w *world) add(t *rapid.T) {
	if len(w.free) == 0 {
		return
	}
	req := &request{slot: w.free[len(w.free)-1], fill: w.serial}
	w.serial++
	gpa := uint64(slotBase + req.slot*slotSize)
	n := rapid.IntRange(1, 8).Draw(t, "buffers")
	readable := rapid.IntRange(0, n).Draw(t, "readable")
	for i := range n {
		b := virtqtest.Buf{GPA: gpa, Len: uint32(rapid.IntRange(0, slotSize/8).Draw(t, "length"))}
		gpa += uint64(b.Len)
		mem := w.mem.Bytes(b)
		if i < readable {
			req.in = append(req.in, b)
			fill(mem, req.fill)
		} else {
			req.out = append(req.out, b)
			fill(mem, 0)
			req.written += b.Len
		}
	}
	head, ok := w.drv.AddChain(req.in, req.out)
	if !ok {
		if len(w.byHead) == 0 && n <= w.cfg.Size {
			t.Fatalf("no room for %d descriptors in an empty ring of %d", n, w.cfg.Size)
		}
		return
	}
	if w.byHead[head] != nil {
		t.Fatalf("head %d is in use", head)
	}
	w.free = w.free[:len(w.free)-1]
	w.byHead[head] = req
	w.added++
}

func (w *world) publish(t *rapid.T) {
	want := w.added != w.shown && w.asked
	if w.cfg.EventIdx {
		want = passes(w.shown, w.added, w.drv.AvailEvent())
	}
	if got := w.drv.Publish(); got != want {
		t.Fatalf("kick: %v, want %v (%d → %d, avail_event %d)", got, want, w.shown, w.added, w.drv.AvailEvent())
	}
	w.shown = w.added
}

func (w *world) pop(t *rapid.T) {
	req := &request{}
	ok, err := w.q.Pop(w.view, &req.chain)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		if w.q.Next() != w.shown {
			t.Fatal("Pop missed a chain")
		}
		return
	}
	sent := w.byHead[req.chain.Head]
	if sent == nil {
		t.Fatalf("popped %d, which is not outstanding", req.chain.Head)
	}
	sent.chain = req.chain
	c := &sent.chain
	if oslib.IovLen(c.In) != c.InLen || oslib.IovLen(c.Out) != c.OutLen || c.OutLen != uint64(sent.written) {
		t.Fatalf("%d and %d bytes, want %d and %d", c.InLen, c.OutLen, oslib.IovLen(c.In), sent.written)
	}
	got := make([]byte, c.InLen)
	if _, ok := oslib.IovRead(got, c.In); !ok {
		t.Fatal("a buffer is outside of memory")
	}
	var want []byte
	for _, b := range sent.in {
		want = append(want, w.mem.Bytes(b)...)
	}
	if !slices.Equal(got, want) {
		t.Fatal("read other bytes than the driver wrote")
	}
	answer := make([]byte, c.OutLen)
	fill(answer, sent.fill+1)
	if n, ok := oslib.IovWrite(c.Out, answer); !ok || n != len(answer) {
		t.Fatal("short write")
	}
	w.popped = append(w.popped, sent)
}

func (w *world) push(t *rapid.T) {
	if len(w.popped) == 0 {
		return
	}
	i := rapid.IntRange(0, len(w.popped)-1).Draw(t, "push")
	req := w.popped[i]
	w.popped = slices.Delete(w.popped, i, i+1)
	w.q.Push(req.chain.Head, req.written)
	w.pushed = append(w.pushed, req)
}

func (w *world) flush(t *rapid.T) {
	fresh := len(w.pushed) - w.flushed
	now := w.used + uint16(fresh)
	want := fresh > 0 && w.wanted
	if w.cfg.EventIdx {
		want = fresh > 0 && (w.first || passes(w.used, now, w.event))
	}
	if got := w.q.Flush(); got != want {
		t.Fatalf("interrupt: %v, want %v (%d → %d, used_event %d)", got, want, w.used, now, w.event)
	}
	if w.drv.UsedIdx() != now {
		t.Fatalf("used index %d, want %d", w.drv.UsedIdx(), now)
	}
	w.first = w.first && fresh == 0
	w.used = now
	w.flushed = len(w.pushed)
}

func (w *world) poll(t *rapid.T) {
	head, written, ok := w.drv.Poll()
	if err := w.drv.Err(); err != nil {
		t.Fatal(err)
	}
	if ok != (w.flushed > 0) {
		t.Fatalf("Poll: %v with %d flushed", ok, w.flushed)
	}
	if !ok {
		return
	}
	req := w.pushed[0]
	if head != req.chain.Head || written != req.written {
		t.Fatalf("used %d, %d bytes; want %d, %d", head, written, req.chain.Head, req.written)
	}
	req.check(t, w.mem, req.in, req.fill)
	req.check(t, w.mem, req.out, req.fill+1)
	w.pushed = w.pushed[1:]
	w.flushed--
	delete(w.byHead, head)
	w.free = append(w.free, req.slot)
}

// interrupts changes what the driver wants.
func (w *world) interrupts(t *rapid.T) {
	if w.cfg.EventIdx {
		w.event = w.used + uint16(rapid.IntRange(-3, 6).Draw(t, "used_event"))
		w.drv.SetUsedEvent(w.event)
		return
	}
	if w.wanted = rapid.Bool().Draw(t, "interrupts"); w.wanted {
		w.drv.EnableInterrupts()
	} else {
		w.drv.DisableInterrupts()
	}
}

// events changes what the device wants.
func (w *world) events(t *rapid.T) {
	if w.asked = rapid.Bool().Draw(t, "kicks"); !w.asked {
		w.q.DisableNotify()
		return
	}
	if more := w.q.EnableNotify(); more != (w.q.Next() != w.shown) {
		t.Fatalf("EnableNotify: %v; next %d, available %d", more, w.q.Next(), w.shown)
	}
	if w.cfg.EventIdx && w.drv.AvailEvent() != w.q.Next() {
		t.Fatalf("avail_event %d, next %d", w.drv.AvailEvent(), w.q.Next())
	}
}

func fill(b []byte, v byte) {
	for i := range b {
		b[i] = v
	}
}

// Random chains make their way through random rings, in bursts and out of order;
// indices wrap around.
func TestRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := virtqtest.Config{
			Size:     1 << rapid.IntRange(0, 15).Draw(t, "log size"),
			EventIdx: rapid.Bool().Draw(t, "event idx"),
			Indirect: rapid.SampledFrom([]int{0, 1, 4, 8}).Draw(t, "indirect"),
			Start:    -rapid.Uint16Range(0, 100).Draw(t, "before the wrap"),
		}
		if rapid.Bool().Draw(t, "odd available ring") {
			cfg.At = &virtqtest.Layout{Desc: highBase, Avail: highBase + 0x80002, Used: highBase + 0xa0000}
		}
		w := &world{
			rig: newRig(t, cfg), cfg: cfg, byHead: map[uint16]*request{},
			added: cfg.Start, shown: cfg.Start, used: cfg.Start,
			asked: true, first: true, wanted: true,
		}
		defer w.close()
		for i := range slots {
			w.free = append(w.free, i)
		}
		w.q.EnableNotify()
		steps := []func(*rapid.T){w.add, w.add, w.publish, w.pop, w.pop, w.push, w.push, w.flush, w.poll, w.poll, w.interrupts, w.events}
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			steps[rapid.IntRange(0, len(steps)-1).Draw(t, "step")](t)
		}
		// Everything comes back.
		for w.publish(t); w.q.Next() != w.shown; {
			w.pop(t)
		}
		for len(w.popped) > 0 {
			w.push(t)
		}
		for w.flush(t); w.flushed > 0; {
			w.poll(t)
		}
		if len(w.byHead) != 0 || w.drv.Outstanding() != 0 {
			t.Fatalf("%d chains got lost", len(w.byHead))
		}
	})
}
