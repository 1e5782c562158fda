package virtq_test

import (
	"testing"

	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

func TestUnpopReturnsTheChainAgain(t *testing.T) {
	r := testRig(t, virtqtest.Config{Size: 4})
	in, _ := requestBufs(r)
	var heads []uint16
	for range 4 { // as many as there are descriptors: one too many outstanding breaks the queue
		head, ok := r.drv.AddChain(in, nil)
		if !ok {
			t.Fatal("the ring is full")
		}
		heads = append(heads, head)
	}
	r.drv.Publish()
	var c virtq.Chain
	for _, head := range heads {
		for range 3 {
			before := r.q.Next()
			if ok, err := r.q.Pop(r.view, &c); !ok || err != nil || c.Head != head {
				t.Fatalf("Pop: %v, %v, head %d, want %d", ok, err, c.Head, head)
			}
			r.q.Unpop()
			if r.q.Next() != before {
				t.Fatalf("Next is %d, was %d", r.q.Next(), before)
			}
		}
		if ok, err := r.q.Pop(r.view, &c); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if ok, err := r.q.Pop(r.view, &c); ok || err != nil {
		t.Fatalf("a fifth chain: %v, %v", ok, err)
	}
}

type countedSignals struct{ interrupts, fails int }

func (s *countedSignals) Interrupt() { s.interrupts++ }
func (s *countedSignals) Fail()      { s.fails++ }

func TestSignalsTakeThePlaceOfDescriptors(t *testing.T) {
	s := &countedSignals{}
	r := virtq.Ring{Kick: -1, Call: -1, Err: -1, Signals: s}
	if n := testing.AllocsPerRun(1, r.Interrupt); n != 0 {
		t.Errorf("%v allocations", n)
	}
	r.Fail()
	if s.interrupts != 2 || s.fails != 1 {
		t.Errorf("%d interrupts and %d failures, want 2 and 1", s.interrupts, s.fails)
	}
}
