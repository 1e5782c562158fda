package hermit

import "fmt"

// Loaded is where a kernel is, in guest-physical addresses.
type Loaded struct {
	// Start and End are the kernel's image.
	Start, End uint64
	// Offset is what addresses in the file are to be moved by, as debuggers want to
	// know: Start for a PIE kernel, 0 for others.
	Offset uint64
	// Entry is the first instruction.
	Entry uint64
	// TLS is the template of thread-local storage.
	TLS TLS
}

// at returns where the kernel is if it starts at an address.
func (k *Kernel) at(start uint64) Loaded {
	offset := start - k.first
	l := Loaded{Start: start, End: start + k.size, Offset: offset, Entry: k.Entry + offset, TLS: k.tls}
	if l.TLS != (TLS{}) {
		l.TLS.Start += offset
	}
	return l
}

// Load puts the kernel into mem, which is guest memory from the address base on, so
// that it starts at the address start, and applies its relocations. A kernel that is
// not PIE starts where it was linked to.
func (k *Kernel) Load(mem []byte, base, start uint64) (Loaded, error) {
	if !k.PIE && start != k.first {
		return Loaded{}, fmt.Errorf("the kernel starts at %#x and cannot be moved to %#x", k.first, start)
	}
	if start < base {
		return Loaded{}, fmt.Errorf("the kernel starts at %#x, below guest memory at %#x", start, base)
	}
	image, ok := sub(mem, start-base, k.size)
	if !ok {
		return Loaded{}, fmt.Errorf("the kernel takes %#x bytes from %#x on, which is more than guest memory has: give it more", k.size, start)
	}
	for _, s := range k.segments {
		// addSegment and measure have put every segment inside of size.
		to := image[s.addr-k.first:][:s.memSize]
		clear(to[copy(to, s.data):])
	}
	if k.PIE {
		if err := k.relocate(image, start); err != nil {
			return Loaded{}, err
		}
	}
	return k.at(start), nil
}
