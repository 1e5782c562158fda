package scratch

import "math/bits"

const wordBits = 64

// bitmap says which places of the data file are in use, one bit for each. Two
// summaries have a bit for each word of it, so that a search looks at 4,096 places
// at a time. It has more places than may be in use, so there is always a free one.
type bitmap struct {
	words []uint64
	full  []uint64 // no place in the word is free
	busy  []uint64 // some place in the word is in use
	empty uint32   // words that are not busy

	// Where the next search begins: behind what the last one found.
	gaps, words64 uint32
}

// init is for a multiple of wordBits places.
func (b *bitmap) init(places uint32) {
	words := places / wordBits
	b.words = make([]uint64, words)
	b.full = make([]uint64, (words+wordBits-1)/wordBits)
	b.busy = make([]uint64, len(b.full))
	b.empty = words
	// What a summary has beyond the last word is never found.
	if rest := words % wordBits; rest != 0 {
		b.full[len(b.full)-1] = ^uint64(0) << rest
		b.busy[len(b.busy)-1] = ^uint64(0) << rest
	}
}

// choose returns a free place: hint if it is one, the first of an empty word if
// wide asks for it and there is one, or any.
func (b *bitmap) choose(hint uint32, wide bool) uint32 {
	if w := hint / wordBits; int(w) < len(b.words) && b.words[w]&(1<<(hint%wordBits)) == 0 {
		return hint
	}
	if wide && b.empty > 0 {
		w := nextZero(b.busy, b.words64)
		b.words64 = w + 1
		return w * wordBits
	}
	w := nextZero(b.full, b.gaps)
	b.gaps = w
	return w*wordBits + uint32(bits.TrailingZeros64(^b.words[w]))
}

// nextZero finds a zero bit at from or behind it or, if there is none, from the
// start. There must be one.
func nextZero(set []uint64, from uint32) uint32 {
	i := int(from / wordBits)
	if i >= len(set) {
		i, from = 0, 0
	}
	if free := ^set[i] & (^uint64(0) << (from % wordBits)); free != 0 {
		return uint32(i*wordBits + bits.TrailingZeros64(free))
	}
	for range set {
		if i++; i == len(set) {
			i = 0
		}
		if free := ^set[i]; free != 0 {
			return uint32(i*wordBits + bits.TrailingZeros64(free))
		}
	}
	panic("scratch: a bitmap without a free bit")
}

// take marks up to n places from at on, as far as they are free, and returns how
// many.
func (b *bitmap) take(at, n uint32) uint32 {
	got := uint32(0)
	for got < n {
		w, i := (at+got)/wordBits, (at+got)%wordBits
		if int(w) == len(b.words) {
			break
		}
		free := min(uint32(bits.TrailingZeros64(b.words[w]>>i)), wordBits-i)
		k := min(free, n-got)
		if k == 0 {
			break
		}
		b.set(w, b.words[w]|mask(i, k))
		got += k
		if free < wordBits-i {
			break
		}
	}
	return got
}

// give frees n places from at on.
func (b *bitmap) give(at, n uint32) {
	for n > 0 {
		w, i := at/wordBits, at%wordBits
		k := min(wordBits-i, n)
		b.set(w, b.words[w]&^mask(i, k))
		at += k
		n -= k
	}
}

// mask has the k bits from i on.
func mask(i, k uint32) uint64 { return ^uint64(0) >> (wordBits - k) << i }

// set changes a word and what the summaries say of it.
func (b *bitmap) set(w uint32, v uint64) {
	was := b.words[w]
	b.words[w] = v
	i, bit := w/wordBits, uint64(1)<<(w%wordBits)
	b.full[i] &^= bit
	if v == ^uint64(0) {
		b.full[i] |= bit
	}
	switch {
	case was == 0 && v != 0:
		b.busy[i] |= bit
		b.empty--
	case was != 0 && v == 0:
		b.busy[i] &^= bit
		b.empty++
	}
}
