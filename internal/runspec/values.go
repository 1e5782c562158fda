package runspec

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/isthmus-fs/isthmus/internal/spec"
	"github.com/isthmus-fs/isthmus/vmm/hermit"
)

// words are those of an option, with what they stand for.
type words[V comparable] []struct {
	word  string
	value V
}

// all are the words by themselves.
func (w words[V]) all() []string {
	s := make([]string, len(w))
	for i := range w {
		s[i] = w[i].word
	}
	return s
}

// parse reads a word in letters of any case.
func (w words[V]) parse(s string) (v V, err error) {
	for i := range w {
		if strings.EqualFold(w[i].word, s) {
			return w[i].value, nil
		}
	}
	return v, unwanted(s, list(w.all()))
}

// off is the word by which a later origin takes back what an earlier one said of an
// option that is off by default.
const off = "none"

// quote shows what was found, up to a bound.
func quote(s string) string { return fmt.Sprintf("%.160q", s) }

func unwanted(found, want string) error {
	return errors.New(quote(found) + ": want " + want)
}

// list joins alternatives: "a", "a or b", "a, b or c".
func list(items []string) string {
	if len(items) < 2 {
		return strings.Join(items, "")
	}
	last := len(items) - 1
	return strings.Join(items[:last], ", ") + " or " + items[last]
}

func parseBool(s string) (bool, error) {
	switch s {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, unwanted(s, "true or false")
}

// parsePath checks a path of the host.
func parsePath(s string) (string, error) {
	switch {
	case s == "":
		return "", unwanted(s, "a path of the host")
	case strings.IndexByte(s, 0) >= 0:
		return "", errors.New(quote(s) + ": a path cannot hold a NUL")
	case s == "~" || strings.HasPrefix(s, "~/"):
		return "", errors.New(quote(s) + ": ~ is not replaced here: write the home directory out, or ./~ for a file of that name")
	}
	return s, nil
}

func parseOutput(s string) (Output, error) {
	switch s {
	case "-":
		return Output{Kind: ToStdout}, nil
	case "none", "None":
		return Output{Kind: ToNone}, nil
	}
	path, err := parsePath(s)
	if err != nil {
		return Output{}, err
	}
	return Output{ToFile, path}, nil
}

const wantMemory = "at least 16MiB, and a multiple of 2MiB"

func parseMemory(s string) (uint64, error) {
	n, err := hermit.ParseSize(s)
	switch {
	case err != nil:
		return 0, errors.New(err.Error() + ": want " + wantMemory)
	case n < MinMemory || n%MemoryStep != 0:
		return 0, fmt.Errorf("%s is %d bytes: want %s", quote(s), n, wantMemory)
	}
	return n, nil
}

func parseCPUCount(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 0 || n > MaxCPUs {
		return 0, unwanted(s, fmt.Sprintf("a number from 1 to %d", MaxCPUs))
	}
	return int(n), nil
}

// maxCPU is beyond the highest number of a CPU that Linux can be built for.
const maxCPU = 1 << 16

// parseCPUs reads a list of CPUs: numbers and ranges, which include both ends, with
// commas or spaces between them.
func parseCPUs(s string) ([]int, error) {
	if s == off {
		return nil, nil
	}
	var cpus []int
	for part := range strings.SplitSeq(s, ",") {
		items := strings.Fields(part)
		if len(items) == 0 {
			return nil, unwanted(s, "CPUs of the host and ranges of them, as in 0-1,4")
		}
		for _, item := range items {
			first, last, why := parseRange(item)
			if why == "" && len(cpus)+last-first >= MaxCPUs {
				why = fmt.Sprintf("want at most %d in all", MaxCPUs)
			}
			if why != "" {
				return nil, errors.New(quote(s) + ": " + quote(item) + ": " + why)
			}
			for cpu := first; cpu <= last; cpu++ {
				cpus = append(cpus, cpu)
			}
		}
	}
	return cpus, nil
}

// formatCPUs writes a list of CPUs as [parseCPUs] reads it.
func formatCPUs(cpus []int) string {
	var items []string
	for i := 0; i < len(cpus); i++ {
		first := cpus[i]
		for i+1 < len(cpus) && cpus[i+1] == cpus[i]+1 {
			i++
		}
		item := strconv.Itoa(first)
		if cpus[i] != first {
			item += "-" + strconv.Itoa(cpus[i])
		}
		items = append(items, item)
	}
	return strings.Join(items, ",")
}

// parseRange reads N or FIRST-LAST; why is empty if it is one.
func parseRange(s string) (first, last int, why string) {
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	a, errA := strconv.ParseUint(from, 10, 32)
	b, errB := strconv.ParseUint(to, 10, 32)
	switch {
	case errors.Join(errA, errB) != nil || a >= maxCPU || b >= maxCPU:
		return 0, 0, "want the number of a CPU, or two with - between them"
	case a > b:
		return 0, 0, "the range ends before it begins"
	}
	return int(a), int(b), ""
}

func parsePort(s string) (*uint16, error) {
	if s == off {
		return nil, nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return nil, unwanted(s, "a TCP port, or 0 for any that is free")
	}
	return new(uint16(n)), nil
}

// maxTAP is the longest name of a network device, in bytes (IFNAMSIZ of linux/if.h
// without the NUL).
const maxTAP = 15

func parseNet(s string) (*string, error) {
	mode, name, named := strings.Cut(s, ":")
	switch {
	case s == off:
		return nil, nil
	case mode != "tap":
		return nil, unwanted(s, "tap, which is tap:"+DefaultTAP+", or tap:NAME")
	case !named:
		return new(DefaultTAP), nil
	}
	// What the kernel takes (dev_valid_name), but for %: it would number devices itself.
	odd := func(c byte) bool { return strings.IndexByte("/:% \t\n\v\f\r\xa0\x00", c) >= 0 }
	if name == "" || len(name) > maxTAP || name == "." || name == ".." || slices.ContainsFunc([]byte(name), odd) {
		return nil, errors.New(quote(s) + fmt.Sprintf(": %s is no name of a network device: want 1 to %d bytes without /, :, %% and white space", quote(name), maxTAP))
	}
	return &name, nil
}

// parseIO reads host=FLAG[,FLAG]: how files of the host are opened.
func parseIO(s string) (io spec.IO, err error) {
	lower := strings.ToLower(s)
	if lower == off {
		return io, nil
	}
	flags, ok := strings.CutPrefix(lower, "host=")
	for flag := range strings.SplitSeq(flags, ",") {
		switch flag {
		case "direct":
			io.Direct = true
		case "sync":
			io.Sync = true
		default:
			ok = false
		}
	}
	if !ok {
		return spec.IO{}, unwanted(s, "host=direct, host=sync or host=direct,sync")
	}
	return io, nil
}

// hostEnv is the word that stands for the whole environment of the host.
const hostEnv = "host"

// parseEnv checks a variable of the guest's.
func parseEnv(s string) (string, error) {
	key, _, ok := strings.Cut(s, "=")
	switch {
	case s == hostEnv:
		return s, nil
	case !ok:
		return "", unwanted(s, "KEY=VALUE, or "+hostEnv+" for the whole environment of the host")
	case key == "":
		return "", unwanted(s, "KEY=VALUE: the key is empty")
	case strings.IndexByte(s, 0) >= 0:
		return "", errors.New(quote(s) + ": a variable cannot hold a NUL")
	}
	return s, nil
}

func parseArgument(s string) (string, error) {
	if strings.IndexByte(s, 0) >= 0 {
		return "", errors.New(quote(s) + ": an argument cannot hold a NUL")
	}
	return s, nil
}
