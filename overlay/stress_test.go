package overlay_test

import (
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/isthmus-fs/isthmus/passthrough"
)

// TestStress has several guests change the same tree at once. What each call
// answers depends on the others; at the end the tree must be whole, nothing may be
// held, and the lower directory must be as before.
func TestStress(t *testing.T) {
	dir := tempDir(t, "/dev/shm")
	below := rapid.SliceOfN(rapid.Custom(drawStep), 60, 60)
	for _, s := range below.Example(1) {
		s.run(&host{dir})
	}
	before := hostTree(t, dir)
	l := newLayers(t, dir, "/dev/shm", passthrough.HandlesNever)
	if _, errno := l.Init(0); errno != 0 {
		t.Fatal(errno)
	}
	rounds := 20
	if testing.Short() {
		rounds = 4
	}
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			g := newGuest(l)
			g.keep, g.plus = i%2 == 0, i%3 == 0
			for round := range rounds {
				for _, s := range below.Example(i*1000 + round) {
					s.run(g)
				}
				g.end()
			}
		})
	}
	wg.Wait()
	g := newGuest(l)
	tree(t, g, nothing)
	if s := l.Counts(); s.Nodes != 1 || s.Handles != 0 {
		t.Errorf("at the end the overlay holds %+v", s)
	}
	if lower, upper := l.lower.Stats(), l.upper.Stats(); lower.Nodes != 1 || lower.Handles != 0 || upper.Nodes > 2 || upper.Handles != 0 {
		t.Errorf("at the end the lower layer holds %+v and the upper %+v", lower, upper)
	}
	sameTree(t, before, hostTree(t, dir))
}
