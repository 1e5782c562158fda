package spec

import (
	"errors"
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// words are those of an option, with what they stand for.
type words[V comparable] []struct {
	word  string
	value V
	help  string
}

// all are the words by themselves.
func (w words[V]) all() []string {
	s := make([]string, len(w))
	for i := range w {
		s[i] = w[i].word
	}
	return s
}

func (w words[V]) word(v V) string {
	for i := range w {
		if w[i].value == v {
			return w[i].word
		}
	}
	return "unknown"
}

func (w words[V]) parse(s string) (v V, err error) {
	for i := range w {
		if w[i].word == s {
			return w[i].value, nil
		}
	}
	return v, errUnwanted
}

func (w words[V]) describe() []ValueHelp {
	h := make([]ValueHelp, len(w))
	for i := range w {
		h[i] = ValueHelp{w[i].word, w[i].help}
	}
	return h
}

// errUnwanted is a value that the option does not take. What it takes, the
// option knows.
var errUnwanted = errors.New("unwanted")

// units are those of sizes, largest first. Powers of 1000 have none, as people
// mean either by KB.
var units = []struct {
	short, long string
	bytes       uint64
}{
	{"T", "TiB", 1 << 40},
	{"G", "GiB", 1 << 30},
	{"M", "MiB", 1 << 20},
	{"K", "KiB", 1 << 10},
	{"", "B", 1},
}

// What the values of options are, for errors.
const (
	wantFlag   = "true or false"
	wantTime   = "a time with its unit, such as 500ms, 1s, 2m or 24h, or 0"
	wantPath   = "a path of the host"
	wantSize   = "a number of bytes, or one with K, M, G or T (or KiB, MiB, GiB, TiB) behind it, above 0 and below 8388608T"
	wantTarget = "an absolute path of the guest, / for the root"
)

const maxSize = math.MaxInt64

// parseSize reads bytes with a unit.
func parseSize(s string) (uint64, error) {
	digits := strings.TrimLeft(s, "0123456789")
	number, unit := s[:len(s)-len(digits)], digits
	for _, u := range units {
		if unit != u.short && unit != u.long {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil || n == 0 || n > maxSize/u.bytes {
			break
		}
		return n * u.bytes, nil
	}
	return 0, errUnwanted
}

// formatSize writes a size with the largest unit that keeps it whole.
func formatSize(n uint64) string {
	i := 0
	for n%units[i].bytes != 0 {
		i++
	}
	return strconv.FormatUint(n/units[i].bytes, 10) + units[i].short
}

// octal reads permissions of at most most.
func octal(most uint64) func(string) (uint32, error) {
	return func(s string) (uint32, error) {
		m, err := strconv.ParseUint(s, 8, 32)
		if err != nil || m > most {
			return 0, errUnwanted
		}
		return uint32(m), nil
	}
}

func formatOctal(m uint32) string { return fmt.Sprintf("%04o", m) }

func parseTime(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, errUnwanted
	}
	return d, nil
}

func parseFlagValue(s string) (bool, error) {
	switch s {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, errUnwanted
}

// checkPath checks a path of the host.
func checkPath(s string) error {
	switch {
	case s == "":
		return errUnwanted
	case strings.IndexByte(s, 0) >= 0:
		return errors.New("a path cannot hold a NUL")
	case s == "~" || strings.HasPrefix(s, "~/"):
		return errors.New("~ is not replaced here: write the home directory out, or ./~ for a file of that name")
	}
	return nil
}

// maxComponent is the longest name that Linux file systems take, in bytes
// (NAME_MAX of linux/limits.h).
const maxComponent = 255

// cleanTarget checks a path of the guest's and takes away what does not matter:
// double slashes, the one at the end, and ".".
func cleanTarget(s string) (string, error) {
	switch {
	case !strings.HasPrefix(s, "/"):
		return "", errUnwanted
	case strings.IndexByte(s, 0) >= 0:
		return "", errors.New("a path cannot hold a NUL")
	case len(s) >= unix.PathMax:
		return "", fmt.Errorf("it has %d bytes: at most %d fit", len(s), unix.PathMax-1)
	}
	for part := range strings.SplitSeq(s, "/") {
		switch {
		case part == "..":
			return "", errors.New("a path of the guest cannot hold ..: write where it leads")
		case len(part) > maxComponent:
			return "", fmt.Errorf("the name %s has %d bytes: at most %d fit", quote(part), len(part), maxComponent)
		}
	}
	return path.Clean(s), nil
}
