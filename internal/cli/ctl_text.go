package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// table is text in columns, as wide as they need to be.
type table struct {
	right []bool // columns of numbers
	rows  [][]string
}

// newTable makes one of headings. Those that begin with > are of columns of numbers.
func newTable(headings ...string) *table {
	t := &table{right: make([]bool, len(headings))}
	for i, h := range headings {
		headings[i], t.right[i] = strings.CutPrefix(h, ">")
	}
	t.rows = append(t.rows, headings)
	return t
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// String has two spaces between columns, and none at the ends of lines.
func (t *table) String() string {
	width := make([]int, len(t.right))
	for _, row := range t.rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			if i > 0 {
				line.WriteString("  ")
			}
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if t.right[i] {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " "))
		b.WriteByte('\n')
	}
	return b.String()
}

// printable is text from a guest or a daemon that a terminal can be given: what would
// not be seen as it is, or could be taken for something else, is quoted as in Go.
func printable(s string) string {
	if strings.HasPrefix(s, `"`) || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// three writes a number with three digits that count, or more if it has more before the
// point.
func three(x float64) string {
	decimals := 2
	switch {
	case x >= 99.95:
		decimals = 0
	case x >= 9.995:
		decimals = 1
	}
	return strconv.FormatFloat(x, 'f', decimals, 64)
}

// scaled writes x in the greatest of units, each of which is step of the one before, that it is
// at least one of.
func scaled(x, step float64, units ...string) string {
	i := 0
	for ; i < len(units)-1 && x >= step-0.5; i++ {
		x /= step
	}
	if i == 0 && x == math.Trunc(x) {
		return strconv.FormatFloat(x, 'f', 0, 64) + units[0]
	}
	return three(x) + units[i]
}

// latency writes nanoseconds, as in 12.3µs.
func latency(ns uint64) string {
	if ns == math.MaxUint64 {
		return "?" // longer than the daemon can tell
	}
	return scaled(float64(ns), 1000, "ns", "µs", "ms", "s")
}

// size writes bytes, as in 12.3 MiB.
func size(n float64) string {
	return scaled(n, 1024, " B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB")
}

// rate writes how often something happens in a second, as in 12.3k.
func rate(perSecond float64) string {
	return scaled(perSecond, 1000, "", "k", "M", "G")
}

func whole(n uint64) string { return strconv.FormatUint(n, 10) }

// age writes a time in its two greatest units, as in 3h12m.
func age(d time.Duration) string {
	s := int64(max(d, 0) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 60*60:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 24*60*60:
		return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd%02dh", s/86400, s/3600%24)
}
