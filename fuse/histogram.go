package fuse

import (
	"math"
	"math/bits"
	"time"
)

// The buckets of a Histogram: one for what is shorter than 256 ns, four of equal
// width for each power of two from there to 2³⁶ ns (68.7 s), and one for the rest.
const (
	firstBits  = 8
	subBits    = 2
	doublings  = 28
	NumBuckets = 1 + doublings<<subBits + 1
)

// Histogram says how long requests took. The zero value is one of nothing.
type Histogram struct {
	// Counts has the number of requests in each bucket; [BucketBound] says
	// where a bucket ends.
	Counts [NumBuckets]uint64
	// Sum is the time of all of them together.
	Sum time.Duration
	// Longest is the time of the slowest, exactly; after [Histogram.Sub] it
	// may be too long by up to a quarter.
	Longest time.Duration
}

// BucketBound returns the shortest time that is too long for bucket i, which
// begins where the one before it ends. The last bucket has no end: its bound is
// the longest Duration.
func BucketBound(i int) time.Duration {
	if i >= NumBuckets-1 {
		return math.MaxInt64
	}
	return time.Duration((1<<subBits + i&(1<<subBits-1)) << (i>>subBits + firstBits - subBits))
}

// bucketOf returns the bucket for d.
func bucketOf(d time.Duration) int {
	n := uint64(max(d, 0))
	e := bits.Len64(n) - 1
	switch {
	case e < firstBits:
		return 0
	case e >= firstBits+doublings:
		return NumBuckets - 1
	}
	return 1 + (e-firstBits)<<subBits + int(n>>(e-subBits)&(1<<subBits-1))
}

// Count returns the number of requests.
func (h *Histogram) Count() uint64 {
	n := uint64(0)
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// Quantile returns the time that a share q of the requests, 0 to 1, did not
// exceed: for 0.99 the time of the request that is at the ⌈0.99·Count⌉th place
// from the fastest. It is the middle of that request's bucket, so it is off by at
// most 12.5 %, or 128 ns where the time is below 256 ns; from 68.7 s on it is
// Longest. Of nothing it is 0.
func (h *Histogram) Quantile(q float64) time.Duration {
	n := h.Count()
	if n == 0 {
		return 0
	}
	place := uint64(1)
	if q > 0 {
		place = uint64(max(math.Ceil(min(q, 1)*float64(n)), 1))
	}
	i := 0
	for i < NumBuckets-1 && place > h.Counts[i] {
		place -= h.Counts[i]
		i++
	}
	if i == NumBuckets-1 {
		return h.Longest
	}
	begin := time.Duration(0)
	if i > 0 {
		begin = BucketBound(i - 1)
	}
	return min(begin+(BucketBound(i)-begin)/2, h.Longest)
}

// Add adds the requests of o.
func (h *Histogram) Add(o *Histogram) {
	for i := range h.Counts {
		h.Counts[i] += o.Counts[i]
	}
	h.Sum += o.Sum
	h.Longest = max(h.Longest, o.Longest)
}

// Sub takes away the requests of o, an earlier state of h, so that those in
// between are left.
func (h *Histogram) Sub(o *Histogram) {
	last := -1
	for i := range h.Counts {
		h.Counts[i] = less(h.Counts[i], o.Counts[i])
		if h.Counts[i] != 0 {
			last = i
		}
	}
	h.Sum = max(h.Sum-o.Sum, 0)
	switch {
	case last < 0:
		h.Longest = 0
	case h.Longest == o.Longest:
		// The slowest of all came earlier. Of those that are left it is only
		// known which bucket they are in.
		h.Longest = min(h.Longest, BucketBound(last)-1)
	}
}

// less returns a−b, or 0 where o was no earlier state after all.
func less(a, b uint64) uint64 { return a - min(a, b) }
