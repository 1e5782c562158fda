package fsx

import (
	"slices"
	"sync"
)

// together has several descriptors of a file write and read in parts of their
// own at the same time, while it is synced or dropped from the cache, and
// sometimes past its end. Where that cannot be, they are of different files.
func (m *machine) together() {
	first := m.slot((*slot).anywhere)
	ino := m.slots[first].ino
	by, inodes := []int{first}, []*inode{ino}
	for i, s := range m.slots {
		if i == first || s == nil || !s.writable() || s.appends() {
			continue
		}
		if m.cfg.Lacks&NoSharing == 0 && s.ino == ino || m.cfg.Lacks&NoSharing != 0 && !slices.Contains(inodes, s.ino) {
			by, inodes = append(by, i), append(inodes, s.ino)
		}
	}
	// Those who go past the cache write whole pages, or they would write what
	// is beside their parts too.
	step, n := 1+m.pick("step", 2*page), 1+int64(m.pick("length", 4*page))
	step = max(step, int(n/8))
	off := m.place(ino)
	for _, i := range by {
		if s := m.slots[i]; s.direct() {
			step, n = page, (n+page-1)&^(page-1)
			off = off &^ (page - 1)
		}
	}
	if off+n*int64(len(by)) > limit {
		off = 0
	}
	var batches [len(m.actors)][]op
	for k, i := range by {
		o := op{
			Call: callChurn, Slot: i, Flags: m.slots[i].flags,
			Off: off + int64(k)*n, Len: n, Parts: []int{step},
			Rounds: 1 + m.pick("rounds", 4), Seed: m.step<<8 + uint64(k)<<4,
		}
		batches[i%2] = append(batches[i%2], o)
	}
	beside := sample(m, "beside", []call{callSize, callFdatasync, callDrop})
	batches[first%2] = append(batches[first%2], op{Call: beside, Slot: first})
	m.atOnce(batches)
	for _, ops := range batches {
		for _, o := range ops {
			if o.Call == callChurn {
				ino := m.slots[o.Slot].ino
				ino.write(o.Off, pattern(o.Seed+uint64(o.Rounds)-1, int(o.Len)))
				m.touch(ino, o.Off, o.Len)
			}
		}
	}
}

// atOnce has both actors make their steps at the same time.
func (m *machine) atOnce(batches [2][]op) {
	m.t.Helper()
	var answers [2][]answer
	var errs [2]error
	var both sync.WaitGroup
	for i, a := range m.actors {
		if len(batches[i]) > 0 {
			both.Go(func() { answers[i], errs[i] = a.do(batches[i]...) })
		}
	}
	both.Wait()
	for i, ops := range batches {
		if errs[i] != nil {
			m.t.Fatal(errs[i])
		}
		for j, o := range ops {
			m.t.Logf("at the same time: %v", o)
			if a := answers[i][j]; a.Errno != 0 || a.Wrong != "" {
				m.judge(0, o, a)
			}
		}
	}
}
