package runspec

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isthmus-fs/isthmus/internal/spec"
	"github.com/isthmus-fs/isthmus/vmm"
)

// parsed is one line of a table: what a text is read as, or what the error holds.
type parsed[V any] struct {
	in   string
	want V
	err  string
}

func checkParser[V any](t *testing.T, parse func(string) (V, error), tests []parsed[V]) {
	t.Helper()
	for _, test := range tests {
		got, err := parse(test.in)
		switch {
		case test.err == "" && err != nil:
			t.Errorf("%q: %v", test.in, err)
		case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
			t.Errorf("%q: error %v, want one with %q", test.in, err, test.err)
		case test.err != "" && strings.Contains(err.Error(), "\n"):
			t.Errorf("%q: the error has several lines: %v", test.in, err)
		case test.err == "" && !cmp.Equal(got, test.want):
			t.Errorf("%q: %s", test.in, cmp.Diff(got, test.want))
		}
	}
}

func TestParseMemory(t *testing.T) {
	checkParser(t, parseMemory, []parsed[uint64]{
		{"16MiB", 16 << 20, ""},
		{"64MiB", 64 << 20, ""},
		{"4GiB", 4 << 30, ""},
		{"18874368", 18 << 20, ""},
		{"14MiB", 0, "14680064 bytes: want at least 16MiB"},
		{"17MiB", 0, `"17MiB" is 17825792 bytes: want at least 16MiB, and a multiple of 2MiB`},
		{"100MB", 0, `"100MB" is 100000000 bytes`},
		{"16777217", 0, "16777217 bytes"},
		{"0", 0, "want"},
		{"", 0, "want at least 16MiB"},
		{"lots", 0, `"lots" is not a size: `},
		{"-64MiB", 0, "is not a size"},
		{"18446744073709551616", 0, "too large"},
	})
}

func TestParseCPUCount(t *testing.T) {
	const want = "want a number from 1 to 254"
	checkParser(t, parseCPUCount, []parsed[int]{
		{"1", 1, ""}, {"254", 254, ""},
		{"0", 0, want}, {"255", 0, want}, {"4294967297", 0, want}, {"", 0, want}, {"-1", 0, want}, {"1.5", 0, want}, {"two", 0, `"two": ` + want},
	})
}

func TestParseCPUs(t *testing.T) {
	checkParser(t, parseCPUs, []parsed[[]int]{
		{"0", []int{0}, ""},
		{"0-1,2", []int{0, 1, 2}, ""},
		{"0-1 2", []int{0, 1, 2}, ""},
		{" 3 , 1-1  0", []int{3, 1, 0}, ""},
		{"1,1", []int{1, 1}, ""},
		{"none", nil, ""},
		{"", nil, "want CPUs of the host"},
		{"0,,1", nil, "want CPUs of the host"},
		{"0,", nil, "want CPUs of the host"},
		{"2-1", nil, `"2-1": the range ends before it begins`},
		{"1-", nil, `"1-": want the number of a CPU`},
		{"-1", nil, "want the number of a CPU"},
		{"0-1-2", nil, "want the number of a CPU"},
		{"all", nil, `"all": want the number of a CPU`},
		{"65536", nil, "want the number of a CPU"},
		{"18446744073709551616", nil, "want the number of a CPU"},
		{"0-254", nil, "want at most 254"},
		{"0-200,0-200", nil, "want at most 254"},
	})
}

func TestFormatCPUs(t *testing.T) {
	for _, test := range []struct {
		cpus []int
		want string
	}{
		{nil, ""}, {[]int{5}, "5"}, {[]int{0, 1, 2, 4, 6, 7}, "0-2,4,6-7"},
	} {
		if got := formatCPUs(test.cpus); got != test.want {
			t.Errorf("%v: %q, want %q", test.cpus, got, test.want)
		}
	}
}

func TestParsePort(t *testing.T) {
	const want = "want a TCP port"
	checkParser(t, parsePort, []parsed[*uint16]{
		{"0", new(uint16(0)), ""}, {"6677", new(uint16(6677)), ""}, {"65535", new(uint16(65535)), ""}, {"none", nil, ""},
		{"65536", nil, want}, {"-1", nil, want}, {"", nil, want}, {"gdb", nil, `"gdb": ` + want},
	})
}

func TestParseNet(t *testing.T) {
	const name = "is no name of a network device"
	checkParser(t, parseNet, []parsed[*string]{
		{"tap", new("tap10"), ""},
		{"tap:t", new("t"), ""},
		{"tap:fifteen-letters", new("fifteen-letters"), ""},
		{"tap:é", new("é"), ""},
		{"none", nil, ""},
		{"tap:sixteen--letters", nil, name},
		{"tap:", nil, `"" ` + name},
		{"tap:.", nil, name},
		{"tap:..", nil, name},
		{"tap:a/b", nil, name},
		{"tap:a b", nil, name},
		{"tap:a\tb", nil, name},
		{"tap:a\x00", nil, name},
		{"tap:à", nil, name}, // its last byte is a space for the kernel
		{"tap:a:b", nil, name},
		{"tap:tap%d", nil, name},
		{"", nil, "want tap, which is tap:tap10, or tap:NAME"},
		{"TAP", nil, "want tap"},
		{"user", nil, `"user": want tap`},
	})
}

func TestParseIO(t *testing.T) {
	const want = "want host=direct, host=sync or host=direct,sync"
	checkParser(t, parseIO, []parsed[spec.IO]{
		{"host=direct", spec.IO{Direct: true}, ""},
		{"host=sync", spec.IO{Sync: true}, ""},
		{"host=direct,sync", spec.IO{Direct: true, Sync: true}, ""},
		{"Host=Sync,DIRECT", spec.IO{Direct: true, Sync: true}, ""},
		{"none", spec.IO{}, ""},
		{"direct", spec.IO{}, want},
		{"default", spec.IO{}, want},
		{"guest=direct", spec.IO{}, want},
		{"host=", spec.IO{}, want},
		{"host=direct,fast", spec.IO{}, `"host=direct,fast": ` + want},
		{"host=direct,", spec.IO{}, want},
		{"", spec.IO{}, want},
	})
}

func TestParseEnv(t *testing.T) {
	checkParser(t, parseEnv, []parsed[string]{
		{"A=b", "A=b", ""}, {"A=", "A=", ""}, {"A=b=c", "A=b=c", ""}, {"host", "host", ""}, {"host=1", "host=1", ""},
		{"A", "", `"A": want KEY=VALUE, or host`},
		{"Host", "", "want KEY=VALUE"},
		{"", "", "want KEY=VALUE"},
		{"=b", "", "the key is empty"},
		{"A=b\x00c", "", "NUL"},
	})
}

func TestParseOutput(t *testing.T) {
	checkParser(t, parseOutput, []parsed[Output]{
		{"-", Output{}, ""},
		{"none", Output{Kind: ToNone}, ""},
		{"None", Output{Kind: ToNone}, ""},
		{"NONE", Output{ToFile, "NONE"}, ""},
		{"./none", Output{ToFile, "./none"}, ""},
		{"a b", Output{ToFile, "a b"}, ""},
		{"", Output{}, "want a path"},
		{"~/x", Output{}, "~ is not replaced"},
		{"a\x00", Output{}, "NUL"},
	})
}

func TestParseWords(t *testing.T) {
	checkParser(t, isolations.parse, []parsed[Isolation]{
		{"none", None, ""}, {"Normal", Normal, ""}, {"STRICT", Strict, ""},
		{"", 0, "want none, normal or strict"}, {"hard", 0, `"hard": want none, normal or strict`},
	})
	checkParser(t, imageModes.parse, []parsed[ImageMode]{
		{"external", External, ""}, {"Internal", Internal, ""}, {"tar", 0, "want external or internal"},
	})
	checkParser(t, statsModes.parse, []parsed[StatsMode]{
		{"true", StatsText, ""}, {"text", StatsText, ""}, {"json", StatsJSON, ""}, {"false", StatsOff, ""},
		{"yes", 0, "want text, json, true or false"},
	})
	checkParser(t, seccomps.parse, []parsed[string]{
		{"kill", "kill", ""}, {"log", "log", ""}, {"trap", "trap", ""}, {"none", "none", ""}, {"errno", "", "want kill, log, trap or none"},
	})
	checkParser(t, not, []parsed[bool]{
		{"true", false, ""}, {"false", true, ""}, {"1", false, "want true or false"},
	})
}

func TestErrorsRepeatABoundedText(t *testing.T) {
	long := strings.Repeat("x", 1<<16)
	for i := range options {
		b := build{at: map[string]spec.Pos{}}
		if err := b.said(&options[i], spec.Pos{}, "", long); err != nil && len(err.Error()) > 1000 {
			t.Errorf("%s: an error of %d bytes", options[i].Name(), len(err.Error()))
		}
	}
}

// TestBounds are those of the package that has the machine.
func TestBounds(t *testing.T) {
	if MaxCPUs != vmm.MaxCPUs {
		t.Errorf("MaxCPUs is %d, and that of vmm %d", MaxCPUs, vmm.MaxCPUs)
	}
}
