package virtq_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

// race runs a and b at the same time, as exactly as two spinning threads can,
// rounds times; between is alone.
func race(rounds int, a, b, between func()) {
	var turn, done atomic.Int64
	wait := func(v *atomic.Int64, n int64) {
		for i := 1; v.Load() < n; i++ {
			if i%1000 == 0 {
				runtime.Gosched()
			}
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := range int64(rounds) {
			wait(&turn, n+1)
			b()
			done.Store(n + 1)
		}
	})
	for n := range int64(rounds) {
		turn.Store(n + 1)
		a()
		wait(&done, n+1)
		between()
	}
	wg.Wait()
}

// A side that goes to sleep and a side that has something for it: either the one
// sees it or the other knows to wake it. Each store here must be visible before
// the load that follows, on both sides.
func TestSleepAgainstWork(t *testing.T) {
	const rounds = 50_000
	in := []virtqtest.Buf{{GPA: buf, Len: 1}}
	for _, eventIdx := range []bool{false, true} {
		r := testRig(t, virtqtest.Config{Size: 4, EventIdx: eventIdx})
		var c virtq.Chain
		var kick, more bool
		var interrupt, used bool
		pop := func() {
			if ok, err := r.q.Pop(r.view, &c); !ok {
				t.Error("nothing to pop", err)
			}
			r.q.Push(c.Head, 0)
		}
		r.drv.AddChain(in, nil)
		race(rounds, func() { kick = r.drv.Publish() }, func() { more = r.q.EnableNotify() }, func() {
			if !kick && !more {
				t.Error("the device sleeps, and the driver does not kick")
			}
			pop()
			r.q.Flush()
			r.q.DisableNotify()
			r.drv.Poll()
			r.drv.AddChain(in, nil)
		})
		r.drv.Publish()
		pop()
		race(rounds, func() { interrupt = r.q.Flush() }, func() { used = r.drv.EnableInterrupts() }, func() {
			if !interrupt && !used {
				t.Error("the driver sleeps, and the device does not interrupt")
			}
			r.drv.Poll()
			r.drv.DisableInterrupts()
			r.drv.AddChain(in, nil)
			r.drv.Publish()
			pop()
		})
	}
}
