package spec

import (
	"fmt"
	"strings"
)

// Pos says where something was written.
type Pos struct {
	// Name is the file, or the kind of argument and its text.
	Name string
	// Line and Column count from 1, the latter in characters. Zero is the whole of
	// what Name says.
	Line, Column int
}

// String is the place as it stands before an error: file:line:column.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.Name
	}
	return fmt.Sprintf("%s:%d:%d", p.Name, p.Line, p.Column)
}

// Error is a mistake of the owner's, with its place. Its text says what was
// found and what is allowed.
type Error struct {
	Pos  Pos
	Text string
}

func (e *Error) Error() string {
	if e.Pos == (Pos{}) {
		return e.Text
	}
	return e.Pos.String() + ": " + e.Text
}

// maxQuoted is how much of what was found an error repeats, in bytes.
const maxQuoted = 160

// quote shows what was found.
func quote(s string) string {
	if len(s) > maxQuoted {
		return fmt.Sprintf("%q…", s[:maxQuoted])
	}
	return fmt.Sprintf("%q", s)
}

// list joins alternatives: "a", "a or b", "a, b or c".
func list(items []string, conjunction string) string {
	if len(items) < 2 {
		return strings.Join(items, "")
	}
	last := len(items) - 1
	return strings.Join(items[:last], ", ") + " " + conjunction + " " + items[last]
}

// maxGuess bounds how different a word may be from the one that is suggested.
const maxGuess = 2

// nearest returns the word that was probably meant, or "".
func nearest(found string, words []string) string {
	best, at := "", maxGuess+1
	for _, w := range words {
		// A short word is not to be guessed out of nothing.
		if d := distance(found, w); d < at && d <= (len(w)+1)/3 {
			best, at = w, d
		}
	}
	return best
}

// distance counts the insertions, deletions, replacements and swaps of neighbours
// that make b of a, up to maxGuess+1.
func distance(a, b string) int {
	if abs(len(a)-len(b)) > maxGuess {
		return maxGuess + 1
	}
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := range len(a) {
		cur[0] = i + 1
		for j := range len(b) {
			same := 1
			if a[i] == b[j] {
				same = 0
			}
			cur[j+1] = min(prev[j]+same, prev[j+1]+1, cur[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				cur[j+1] = min(cur[j+1], before[j-1]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return min(prev[len(b)], maxGuess+1)
}

func abs(n int) int { return max(n, -n) }
