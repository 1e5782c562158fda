package scratch

import "slices"

// place is where a page of a file is: the number of a page in the data file, plus
// one, or 0 for a hole. A reserved page belongs to the file and was never written:
// it is a hole in the data file, and to lseek(2) one in the file as well.
type place uint32

const reserved place = 1 << 31

func placeOf(page uint32) place { return place(page + 1) }

// page is the number in the data file.
func (p place) page() uint32 { return uint32(p&^reserved) - 1 }

func (p place) written() bool { return p != 0 && p&reserved == 0 }

const (
	leafShift = 6
	leafPages = 1 << leafShift
	leafMask  = leafPages - 1

	// leafCost is what a leaf and its entry take, in bytes.
	leafCost = 320

	// allPages is beyond the last page that a file can have.
	allPages = 1 << (63 - pageShift)
)

// leaf has the places of 64 pages that follow each other.
type leaf struct {
	used  int // places that are not 0; never 0 between calls
	pages [leafPages]place
}

type leafRef struct {
	index uint64 // the first page, divided by leafPages
	*leaf
}

// pageTable says where the pages of a file are. It has leaves only where there are
// pages, in order; so a file can be of any size and have pages anywhere.
type pageTable struct {
	leaves []leafRef
	pages  uint64 // places that are not 0
}

// find returns the position of the first leaf at or behind an index.
func (t *pageTable) find(index uint64) int {
	lo, hi := 0, len(t.leaves)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if t.leaves[mid].index < index {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

func (t *pageTable) get(page uint64) place {
	i := t.find(page >> leafShift)
	if i == len(t.leaves) || t.leaves[i].index != page>>leafShift {
		return 0
	}
	return t.leaves[i].pages[page&leafMask]
}

// run returns how many pages from page on, up to most, are holes, or lie one behind
// the other in the data file, and the place of the first.
func (t *pageTable) run(page, most uint64) (first place, n uint64) {
	i := t.find(page >> leafShift)
	for n < most {
		at := page + n
		if i == len(t.leaves) || t.leaves[i].index != at>>leafShift {
			if first != 0 {
				return first, n
			}
			if i == len(t.leaves) {
				return 0, most
			}
			// A hole up to the next leaf.
			n = min(most, t.leaves[i].index<<leafShift-page)
			continue
		}
		l := t.leaves[i].leaf
		for j := at & leafMask; j < leafPages && n < most; j++ {
			p := l.pages[j]
			switch {
			case n == 0:
				first = p
			case first == 0 && p != 0, first != 0 && (p == 0 || p.page() != first.page()+uint32(n)):
				return first, n
			}
			n++
		}
		i++
	}
	return first, n
}

// next returns the first page from page on that is written, or that is not, and
// allPages if there is none.
func (t *pageTable) next(page uint64, written bool) uint64 {
	for i := t.find(page >> leafShift); i < len(t.leaves); i++ {
		l := t.leaves[i]
		if base := l.index << leafShift; base > page {
			if !written {
				return page
			}
			page = base
		}
		for ; page>>leafShift == l.index; page++ {
			if l.pages[page&leafMask].written() == written {
				return page
			}
		}
	}
	if written {
		return allPages
	}
	return page
}

// add puts n pages that follow each other in the data file, from at on, into the
// holes from page on, as reserved. Where the memory for it is used up, it returns how
// many it has put.
func (t *pageTable) add(fs *FS, page uint64, at, n uint32) uint32 {
	for done := uint32(0); done < n; {
		index := page >> leafShift
		i := t.find(index)
		if i == len(t.leaves) || t.leaves[i].index != index {
			if !fs.charge(leafCost) {
				return done
			}
			t.leaves = slices.Insert(t.leaves, i, leafRef{index, new(leaf)})
		}
		l := t.leaves[i].leaf
		for ; done < n && page>>leafShift == index; done++ {
			l.pages[page&leafMask] = placeOf(at+done) | reserved
			l.used++
			t.pages++
			page++
		}
	}
	return n
}

// mark notes that pages from and up to to, which the file has, are written or zero.
func (t *pageTable) mark(from, to uint64, written bool) {
	i := t.find(from >> leafShift)
	for page := from; page < to; i++ {
		l := t.leaves[i]
		for ; page < to && page>>leafShift == l.index; page++ {
			p := &l.pages[page&leafMask]
			if *p &^= reserved; !written {
				*p |= reserved
			}
		}
	}
}

// drop gives the pages from and up to to back to the store. With dirty, those that
// are reserved may have been written all the same.
func (t *pageTable) drop(fs *FS, from, to uint64, dirty bool) {
	first := t.find(from >> leafShift)
	keep := first
	r := releaser{store: &fs.store}
	i := first
	for ; i < len(t.leaves) && t.leaves[i].index<<leafShift < to; i++ {
		l := t.leaves[i]
		base := l.index << leafShift
		lo, hi := uint64(0), uint64(leafPages)
		if from > base {
			lo = from - base
		}
		if to-base < leafPages {
			hi = to - base
		}
		for j := lo; j < hi; j++ {
			if p := l.pages[j]; p != 0 {
				r.add(p.page(), dirty || p.written())
				l.pages[j] = 0
				l.used--
				t.pages--
			}
		}
		if l.used == 0 {
			fs.refund(leafCost)
			continue
		}
		t.leaves[keep] = l
		keep++
	}
	r.flush()
	t.leaves = slices.Delete(t.leaves, keep, i)
	if len(t.leaves) < cap(t.leaves)/4 {
		t.leaves = slices.Clone(t.leaves)
	}
}

// releaser gives pages back, those that lie together in one go.
type releaser struct {
	store   *store
	at, n   uint32
	written bool
}

func (r *releaser) add(page uint32, written bool) {
	if r.n != 0 && page == r.at+r.n && written == r.written {
		r.n++
		return
	}
	r.flush()
	r.at, r.n, r.written = page, 1, written
}

func (r *releaser) flush() {
	r.store.release(r.at, r.n, r.written)
	r.n = 0
}
