package fuse

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestBuckets checks that the buckets follow one another without a gap, up to a
// last one, and that none but the first and the last is wider than a quarter of
// where it begins.
func TestBuckets(t *testing.T) {
	for i := range NumBuckets - 1 {
		end := BucketBound(i)
		if got := bucketOf(end - 1); got != i {
			t.Errorf("%v is in bucket %d, want %d", end-1, got, i)
		}
		if got := bucketOf(end); got != i+1 {
			t.Errorf("%v is in bucket %d, want %d", end, got, i+1)
		}
		if i > 0 {
			if begin := BucketBound(i - 1); end <= begin || (end-begin)*4 > begin {
				t.Errorf("bucket %d is from %v to %v", i, begin, end)
			}
		}
	}
	for d, want := range map[time.Duration]int{
		math.MinInt64: 0, -1: 0, 0: 0, 255: 0, 256: 1,
		1<<36 - 1: NumBuckets - 2, 1 << 36: NumBuckets - 1, math.MaxInt64: NumBuckets - 1,
	} {
		if got := bucketOf(d); got != want {
			t.Errorf("%d ns is in bucket %d, want %d", int64(d), got, want)
		}
	}
	if got := BucketBound(NumBuckets - 1); got != math.MaxInt64 {
		t.Errorf("the last bucket ends at %v", got)
	}
}

// histogramOf counts times.
func histogramOf(times []time.Duration) (h Histogram) {
	for _, d := range times {
		h.Counts[bucketOf(d)]++
		h.Sum += d
		h.Longest = max(h.Longest, d)
	}
	return h
}

// someTimes draws times of every order of magnitude, the last bucket included.
func someTimes(least int) *rapid.Generator[[]time.Duration] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) time.Duration {
		bits := rapid.IntRange(0, 38).Draw(t, "bits")
		return time.Duration(rapid.Int64Range(0, 1<<bits).Draw(t, "ns"))
	}), least, 200)
}

// TestQuantile compares quantiles with those of the sorted times, within the
// error that is promised.
func TestQuantile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		times := someTimes(1).Draw(t, "times")
		q := rapid.OneOf(rapid.SampledFrom([]float64{0, 0.5, 0.9, 0.99, 0.999, 1}), rapid.Float64Range(0, 1)).Draw(t, "q")
		h := histogramOf(times)
		slices.Sort(times)
		place := max(int(math.Ceil(q*float64(len(times)))), 1)
		exact := times[place-1]
		most := max(float64(exact)/8, 128)
		if exact >= 1<<36 {
			exact, most = times[len(times)-1], 0
		}
		if got := h.Quantile(q); math.Abs(float64(got-exact)) > most {
			t.Errorf("quantile %v is %v, exactly %v", q, got, exact)
		}
		if got := h.Count(); got != uint64(len(times)) {
			t.Errorf("%d times, want %d", got, len(times))
		}
	})
}

func TestQuantileOfOddArguments(t *testing.T) {
	var none Histogram
	some := histogramOf([]time.Duration{1000, 2000, 3000})
	for _, tc := range []struct {
		h    *Histogram
		q    float64
		want int // bucket
	}{
		{&none, 0.5, 0}, {&none, 1, 0},
		{&some, -1, bucketOf(1000)}, {&some, math.NaN(), bucketOf(1000)}, {&some, math.Inf(-1), bucketOf(1000)},
		{&some, 2, bucketOf(3000)}, {&some, math.Inf(1), bucketOf(3000)},
	} {
		if got := tc.h.Quantile(tc.q); bucketOf(got) != tc.want {
			t.Errorf("quantile %v is %v", tc.q, got)
		}
	}
}

// TestHistogramsAddAndSubtract: what is left of a histogram without an earlier
// one is that of the times in between.
func TestHistogramsAddAndSubtract(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, after := someTimes(0).Draw(t, "before"), someTimes(0).Draw(t, "after")
		older, want := histogramOf(before), histogramOf(after)
		all := older
		all.Add(&want)
		if sum := histogramOf(append(slices.Clone(before), after...)); all != sum {
			t.Fatalf("added: %+v, want %+v", all, sum)
		}
		all.Sub(&older)
		if all.Counts != want.Counts || all.Sum != want.Sum {
			t.Errorf("left: %+v, want %+v", all, want)
		}
		if all.Longest < want.Longest || bucketOf(all.Longest) != bucketOf(want.Longest) {
			t.Errorf("the longest is %v, want %v", all.Longest, want.Longest)
		}
		// The wrong way round nothing goes below zero.
		older.Sub(&want)
		for i, n := range older.Counts {
			if n > uint64(len(before)) {
				t.Errorf("bucket %d: %d", i, n)
			}
		}
	})
}
