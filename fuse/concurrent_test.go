package fuse_test

import (
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fuse/fusetest"
)

// TestConcurrent serves everything at once, beginnings and ends of sessions
// included, with few places for pending requests.
func TestConcurrent(t *testing.T) {
	stats := fuse.NewStats()
	s := fuse.NewServer(&modelFS{seed: maphash.MakeSeed()}, fuse.Options{MaxPending: 2, MaxLockWaits: 1, Stats: stats})
	samples := fusetest.Samples()
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			raw := newRaw(s)
			rnd := rand.New(rand.NewPCG(1, uint64(worker)))
			for range 2000 {
				sample := samples[rnd.IntN(len(samples))]
				if rnd.IntN(8) == 0 {
					sample = samples[0] // INIT, or most would find no session
				}
				reply := raw.serve(sample.Request, sample.Reply)
				if _, replied := checkReply(t, reply, uniqueOf(sample.Request)); replied != (sample.Reply > 0) {
					t.Errorf("%s: replied %v", sample.Name, replied)
				}
			}
		})
	}
	wg.Wait()
	s.Reset()
	if s.Session().Started {
		t.Error("a session outlived Reset")
	}
	counted := uint64(0)
	for _, n := range tallies(t, snapshot(stats)) {
		counted += n.Requests
	}
	if got := snapshot(stats); got.InFlight != 0 || got.Pending != 0 || got.LockWaits != 0 || counted != 4*2000 {
		t.Errorf("%d requests, in flight %d, pending %d, lock waits %d", counted, got.InFlight, got.Pending, got.LockWaits)
	}
}
