package hermit

import (
	"crypto/rand"
	"fmt"
	"io"
	"math/big"
)

// place chooses where guest memory begins. With random it is any of the good places for
// a kernel that can be moved, each as likely as the others; without, the first one.
func (k *Kernel) place(memory, fdt, initrd uint64, random io.Reader) (*Layout, error) {
	a := areas[k.Interface]
	switch {
	case memory == 0 || memory%MemoryStep != 0:
		return nil, fmt.Errorf("guest memory of %d bytes is no multiple of %d MiB", memory, MemoryStep>>20)
	case memory > a.end-a.start:
		return nil, fmt.Errorf("this kernel speaks interface %d, whose guests live %s: at most %s of memory", k.Interface, a.text, mib(a.end-a.start))
	}
	s, err := k.shape(memory, fdt, initrd, a.start)
	if err != nil {
		return nil, err
	}
	slots := uint64(1)
	if k.PIE {
		slots = (a.end-a.start-memory)/largePage + 1
	}
	first, good := uint64(0), uint64(0)
	for i := range slots {
		if k.fits(s, a.start+i*largePage) {
			if good == 0 {
				first = i
			}
			good++
		}
	}
	if good == 0 {
		return nil, fmt.Errorf("there is no place for this kernel of %s: kernels before 0.10 must lie in one GiB", mib(k.size))
	}
	chosen, randomised := first, k.PIE && random != nil
	if randomised {
		n, err := rand.Int(random, new(big.Int).SetUint64(good))
		if err != nil {
			return nil, fmt.Errorf("choose where guest memory begins: %w", err)
		}
		chosen = k.nthGood(s, a.start, n.Uint64())
	}
	l := k.layout(s, a.start+chosen*largePage, memory, initrd)
	l.Randomised = randomised
	return l, nil
}

// nthGood returns the number of the nth slot that fits, counted from 0. There is one.
func (k *Kernel) nthGood(s shape, start, n uint64) uint64 {
	for i := uint64(0); ; i++ {
		if !k.fits(s, start+i*largePage) {
			continue
		}
		if n == 0 {
			return i
		}
		n--
	}
}

// fits says whether guest memory may begin at base. Kernels before 0.10 unmap what is
// between their end, in whole large pages, and the end of that GiB. The next GiB has
// no tables then, and they panic.
func (k *Kernel) fits(s shape, base uint64) bool {
	if !k.Legacy {
		return true
	}
	start := base + s.kernel
	return start/gib == alignUp(start+k.size, largePage)/gib
}
