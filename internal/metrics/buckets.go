package metrics

import (
	"strconv"
	"unicode/utf8"
)

// Buckets for Prometheus, which keeps a series for each of every operation: from firstBound
// each twice as long as the one before, as far as the daemon's own allow it, and none
// beyond lastBound, in nanoseconds.
const (
	firstBound = 1_000
	lastBound  = 20_000_000_000
)

// coarsen chooses from ascending bounds: it returns their indices.
func coarsen(bounds []uint64) []int {
	var chosen []int
	next := uint64(firstBound)
	for i, b := range bounds {
		if b >= next && b <= lastBound {
			chosen = append(chosen, i)
			next = 2 * b
		}
	}
	return chosen
}

// cumulate counts the requests up to each chosen bound, in seconds, and all of them.
func cumulate(counts, bounds []uint64, chosen []int) (total uint64, buckets map[float64]uint64) {
	buckets = make(map[float64]uint64, len(chosen))
	for i := 0; i < len(counts) || len(chosen) > 0; i++ {
		if i < len(counts) {
			total += counts[i]
		}
		if len(chosen) > 0 && chosen[0] == i {
			buckets[float64(bounds[i])/1e9] = total
			chosen = chosen[1:]
		}
	}
	return total, buckets
}

// printable makes text, which may be a path of any bytes, one that a label can hold:
// UTF-8. What is not becomes as in Go's quoted strings, \xff.
func printable(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b []byte
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			b = append(b, `\x`...)
			if s[0] < 16 {
				b = append(b, '0')
			}
			b = strconv.AppendUint(b, uint64(s[0]), 16)
		} else {
			b = append(b, s[:n]...)
		}
		s = s[n:]
	}
	return string(b)
}
