package virtq_test

import (
	"fmt"
	"testing"

	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

// batch sends n requests of one readable and three writable buffers through the
// ring and back.
func (r *rig) batch(n int, c *virtq.Chain, in, out []virtqtest.Buf) error {
	for range n {
		r.drv.AddChain(in, out)
	}
	r.drv.Publish()
	r.q.DisableNotify()
	for range n {
		if ok, err := r.q.Pop(r.view, c); !ok {
			return fmt.Errorf("nothing to pop: %w", err)
		}
		r.q.Push(c.Head, 16)
	}
	r.q.Flush()
	r.q.EnableNotify()
	for range n {
		if _, _, ok := r.drv.Poll(); !ok {
			return fmt.Errorf("nothing came back: %w", r.drv.Err())
		}
	}
	return nil
}

func requestBufs(r *rig) (in, out []virtqtest.Buf) {
	for i := range 4 {
		b := virtqtest.Buf{GPA: buf + uint64(i)*0x1000, Len: 80}
		if i == 0 {
			in = append(in, b)
		} else {
			out = append(out, b)
		}
	}
	return in, out
}

func TestNoAllocations(t *testing.T) {
	for _, cfg := range []virtqtest.Config{
		{Size: 64},
		{Size: 64, EventIdx: true},
		{Size: 64, EventIdx: true, Indirect: 4},
	} {
		r := testRig(t, cfg)
		ring, err := r.drv.Ring(r.view)
		if err != nil {
			t.Fatal(err)
		}
		var c virtq.Chain
		in, out := requestBufs(r)
		if n := testing.AllocsPerRun(100, func() {
			if err := r.batch(8, &c, in, out); err != nil {
				t.Fatal(err)
			}
			ring.Interrupt()
			if ok, err := r.drv.Wait(0); !ok {
				t.Fatal(err)
			}
			r.drv.EnableInterrupts()
			r.drv.DisableInterrupts()
		}); n != 0 {
			t.Errorf("%+v: %v allocations", cfg, n)
		}
	}
}

// BenchmarkQueue is the device's work per chain: Pop, Push, and a Flush and a
// change of notifications for each batch. The driver offers the same chains again
// and again, so that its part is one store per batch.
func BenchmarkQueue(b *testing.B) {
	const size = 128
	for _, kind := range []struct {
		name     string
		indirect int
	}{{"direct", 0}, {"indirect", 4}} {
		for _, n := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/batch=%d", kind.name, n), func(b *testing.B) {
				r := testRig(b, virtqtest.Config{Size: size, EventIdx: true, Indirect: kind.indirect})
				in, out := requestBufs(r)
				for i := range uint16(size) {
					head, ok := r.drv.AddChain(in, out)
					if !ok {
						// The ring is full of direct chains.
						head = i % (size / 4) * 4
					}
					r.drv.SetAvail(i, head)
				}
				var c virtq.Chain
				idx := uint16(0)
				b.ReportAllocs()
				b.ResetTimer()
				for done := 0; done < b.N; done += n {
					idx += uint16(n)
					r.drv.SetAvailIdx(idx)
					r.q.DisableNotify()
					for range n {
						if ok, err := r.q.Pop(r.view, &c); !ok {
							b.Fatal(err)
						}
						r.q.Push(c.Head, 16)
					}
					r.q.Flush()
					r.q.EnableNotify()
				}
			})
		}
	}
}
