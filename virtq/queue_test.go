package virtq_test

import (
	"testing"

	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

func TestNewChecks(t *testing.T) {
	r := testRig(t, virtqtest.Config{Size: 64, Start: 7})
	good, err := r.drv.QueueConfig(r.view)
	if err != nil {
		t.Fatal(err)
	}
	// area returns n bytes of guest memory, off bytes into a page.
	area := func(off, n int) []byte {
		return r.mem.Bytes(virtqtest.Buf{GPA: 0x800000, Len: uint32(off + n)})[off:]
	}
	for _, c := range []struct {
		name   string
		change func(*virtq.Config)
		ok     bool
	}{
		{"good", func(c *virtq.Config) {}, true},
		{"size 0", func(c *virtq.Config) { c.Size = 0 }, false},
		{"size negative", func(c *virtq.Config) { c.Size = -64 }, false},
		{"size 63", func(c *virtq.Config) { c.Size = 63 }, false},
		{"size 65536", func(c *virtq.Config) {
			*c = virtq.Config{Size: 1 << 16, Desc: area(0, virtq.DescSize(1<<16)), Avail: area(0, virtq.AvailSize(1<<16)), Used: area(0, virtq.UsedSize(1<<16))}
		}, false},
		{"other size", func(c *virtq.Config) { c.Size = 32 }, false},
		{"no memory", func(c *virtq.Config) { c.Desc = nil }, false},
		{"short table", func(c *virtq.Config) { c.Desc = c.Desc[:len(c.Desc)-16] }, false},
		{"short available ring", func(c *virtq.Config) { c.Avail = c.Avail[:len(c.Avail)-2] }, false},
		{"short used ring", func(c *virtq.Config) { c.Used = c.Used[:len(c.Used)-2] }, false},
		{"table aligned to 8", func(c *virtq.Config) { c.Desc = area(8, virtq.DescSize(64)) }, false},
		{"available ring aligned to 2", func(c *virtq.Config) { c.Avail = area(2, virtq.AvailSize(64)) }, true},
		{"available ring aligned to 1", func(c *virtq.Config) { c.Avail = area(1, virtq.AvailSize(64)) }, false},
		{"used ring aligned to 2", func(c *virtq.Config) { c.Used = area(2, virtq.UsedSize(64)) }, false},
	} {
		cfg := good
		c.change(&cfg)
		q, err := virtq.New(cfg)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil && (q.Size() != 64 || q.Next() != 7 || q.Err() != nil) {
			t.Errorf("%s: size %d, next %d, error %v", c.name, q.Size(), q.Next(), q.Err())
		}
	}
}

// A queue goes on where another has ended, with the chains that one had taken.
func TestSuccessor(t *testing.T) {
	for _, eventIdx := range []bool{false, true} {
		r := testRig(t, virtqtest.Config{Size: 8, EventIdx: eventIdx, Start: 65534})
		in := []virtqtest.Buf{{GPA: buf, Len: 1}}
		for range 5 {
			r.drv.AddChain(in, nil)
		}
		r.drv.Publish()
		var c [5]virtq.Chain
		for i := range 3 {
			if ok, err := r.q.Pop(r.view, &c[i]); !ok {
				t.Fatal(err)
			}
		}
		r.q.Push(c[0].Head, 10)
		r.q.Flush()
		cfg, err := r.drv.QueueConfig(r.view)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Next = r.q.Next()
		q, err := virtq.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for i := 3; i < 5; i++ {
			if ok, err := q.Pop(r.view, &c[i]); !ok {
				t.Fatal(err)
			}
		}
		if ok, err := q.Pop(r.view, &virtq.Chain{}); ok || err != nil {
			t.Errorf("a sixth chain: %v, %v", ok, err)
		}
		for i := 1; i < 5; i++ {
			q.Push(c[i].Head, uint32(10+i))
		}
		// What the driver has seen of the first queue is unknown: it would
		// not have been interrupted by used_event.
		r.drv.SetUsedEvent(1000)
		if !q.Flush() {
			t.Error("the first Flush does not interrupt")
		}
		for i := range 5 {
			head, written, ok := r.drv.Poll()
			if !ok || head != c[i].Head || written != uint32(10+i) {
				t.Errorf("used chain %d: %d, %d, %v", i, head, written, ok)
			}
		}
		if _, _, ok := r.drv.Poll(); ok || r.drv.Err() != nil {
			t.Errorf("a sixth used chain, or %v", r.drv.Err())
		}
	}
}

// Backlog counts what Pop has seen, not what has come since.
func TestBacklog(t *testing.T) {
	r := testRig(t, virtqtest.Config{Size: 8, Start: 65533})
	add := func(n int) {
		for range n {
			r.drv.AddChain([]virtqtest.Buf{{GPA: buf, Len: 1}}, nil)
		}
		r.drv.Publish()
	}
	var c virtq.Chain
	pop := func(ok bool, backlog int) {
		t.Helper()
		got, err := r.q.Pop(r.view, &c)
		if got != ok || err != nil || r.q.Backlog() != backlog {
			t.Errorf("%v, %v, then %d wait; want %v and %d", got, err, r.q.Backlog(), ok, backlog)
		}
	}
	pop(false, 0)
	add(3)
	pop(true, 2)
	add(2)
	pop(true, 1)
	pop(true, 0)
	pop(true, 1)
	pop(true, 0)
	pop(false, 0)
}

// passes says whether an index that goes from old to now leaves event behind,
// step by step where the specification has a formula.
func passes(old, now, event uint16) bool {
	for ; old != now; old++ {
		if old == event {
			return true
		}
	}
	return false
}

// The indices go all the way round, in bursts as large as the ring.
func TestWrapAround(t *testing.T) {
	for _, size := range []int{1, 2, 256, virtq.MaxSize} {
		r := testRig(t, virtqtest.Config{Size: size, Start: 65535, EventIdx: true})
		in := []virtqtest.Buf{{GPA: buf, Len: 4}}
		var c virtq.Chain
		for total := 0; total < 70000; total += size {
			for i := range size {
				if _, ok := r.drv.AddChain(in, nil); !ok {
					t.Fatalf("size %d: no room for chain %d", size, i)
				}
			}
			if _, ok := r.drv.AddChain(in, nil); ok {
				t.Fatalf("size %d: room for one too many", size)
			}
			r.drv.Publish()
			for range size {
				if ok, err := r.q.Pop(r.view, &c); !ok {
					t.Fatalf("size %d: %v", size, err)
				}
				r.q.Push(c.Head, 0)
			}
			if ok, err := r.q.Pop(r.view, &c); ok || err != nil {
				t.Fatalf("size %d: one too many, or %v", size, err)
			}
			r.q.Flush()
			for range size {
				if _, _, ok := r.drv.Poll(); !ok {
					t.Fatalf("size %d: %v", size, r.drv.Err())
				}
			}
		}
	}
}

// The suppression formula at every distance, over the wrap.
func TestEventIdx(t *testing.T) {
	for _, start := range []uint16{0, 100, 65530} {
		for burst := 1; burst <= 8; burst++ {
			for off := -10; off <= 10; off++ {
				r := newRig(t, virtqtest.Config{Size: 8, EventIdx: true, Start: start})
				in := []virtqtest.Buf{{GPA: buf, Len: 1}}
				var c virtq.Chain
				serve := func(n int) bool {
					for range n {
						r.drv.AddChain(in, nil)
					}
					r.drv.Publish()
					for range n {
						if ok, err := r.q.Pop(r.view, &c); !ok {
							t.Fatal(err)
						}
						r.q.Push(c.Head, 0)
					}
					return r.q.Flush()
				}
				serve(1)
				r.drv.Poll()
				old := start + 1
				event := old + uint16(off)
				r.drv.SetUsedEvent(event)
				want := passes(old, old+uint16(burst), event)
				if got := serve(burst); got != want {
					t.Errorf("%d → +%d, used_event %d: %v", old, burst, event, got)
				}
				if r.q.Flush() {
					t.Error("an empty Flush interrupts")
				}
				r.close()
			}
		}
	}
}

func TestNoInterruptFlag(t *testing.T) {
	r := testRig(t, virtqtest.Config{Size: 4})
	in := []virtqtest.Buf{{GPA: buf, Len: 1}}
	var c virtq.Chain
	for i, quiet := range []bool{false, true, true, false} {
		if quiet {
			r.drv.DisableInterrupts()
		} else {
			r.drv.EnableInterrupts()
		}
		r.drv.AddChain(in, nil)
		r.drv.Publish()
		if ok, err := r.q.Pop(r.view, &c); !ok {
			t.Fatal(err)
		}
		r.q.Push(c.Head, 0)
		if r.q.Flush() == quiet {
			t.Errorf("chain %d: interrupt %v", i, !quiet)
		}
		r.drv.Poll()
	}
}

// The kick flag must survive a Flush, and used.idx a change of the flag.
func TestNoNotifyFlag(t *testing.T) {
	r := testRig(t, virtqtest.Config{Size: 4, Start: 65535})
	in := []virtqtest.Buf{{GPA: buf, Len: 1}}
	var c virtq.Chain
	r.q.DisableNotify()
	r.drv.AddChain(in, nil)
	if r.drv.Publish() {
		t.Error("kick while disabled")
	}
	if ok, err := r.q.Pop(r.view, &c); !ok {
		t.Fatal(err)
	}
	r.q.Push(c.Head, 0)
	if r.q.EnableNotify() {
		t.Error("EnableNotify found a chain that is not there")
	}
	if r.drv.UsedIdx() != 65535 || r.drv.UsedFlags() != 0 {
		t.Errorf("used index %d, flags %d: a change of the flag published a staged chain", r.drv.UsedIdx(), r.drv.UsedFlags())
	}
	r.q.DisableNotify()
	r.q.Flush()
	if r.drv.UsedIdx() != 0 || r.drv.UsedFlags() != virtq.UsedNoNotify {
		t.Errorf("used index %d, flags %d", r.drv.UsedIdx(), r.drv.UsedFlags())
	}
}
