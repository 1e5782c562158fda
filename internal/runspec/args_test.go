package runspec

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// given divides a command line without flags as pflag does: the first -- is taken away,
// and dash is how many words were before it.
func given(line string) (args []string, dash int) {
	dash = -1
	for i, word := range strings.Fields(line) {
		if word == "--" && dash < 0 {
			dash = i
			continue
		}
		args = append(args, word)
	}
	return args, dash
}

func TestSplit(t *testing.T) {
	words := strings.Fields
	for _, test := range []struct {
		line       string
		uhyve, run Arguments
	}{
		{"", Arguments{}, Arguments{}},
		{"app", Arguments{Kernel: "app"}, Arguments{Kernel: "app"}},
		{"app --", Arguments{Kernel: "app"}, Arguments{Kernel: "app"}},
		{"app x y", Arguments{"app", words("x y"), nil, true}, Arguments{"app", words("x y"), nil, true}},
		{"app -- -freq 3000 -- a b", Arguments{"app", words("-freq 3000"), words("a b"), true}, Arguments{"app", words("-freq 3000"), words("a b"), true}},
		{"app -- -- a b", Arguments{"app", nil, words("a b"), true}, Arguments{"app", nil, words("a b"), true}},
		{"app x -- y -- a -- b", Arguments{"app", words("x y"), words("a -- b"), true}, Arguments{"app", words("x y"), words("a -- b"), true}},
		{"app -- --", Arguments{"app", nil, nil, true}, Arguments{"app", nil, nil, true}},
		{"-- app x", Arguments{"app", words("x"), nil, true}, Arguments{"", nil, words("app x"), true}},
		{"-- app -- x", Arguments{"app", nil, words("x"), true}, Arguments{"app", nil, words("x"), true}},
		// Where the two differ.
		{"app -- a b", Arguments{"app", words("a b"), nil, true}, Arguments{"app", nil, words("a b"), true}},
		{"app x y -- a -b", Arguments{"app", words("x y a -b"), nil, true}, Arguments{"app", words("x y"), words("a -b"), true}},
		{"app x --", Arguments{"app", words("x"), nil, true}, Arguments{"app", words("x"), nil, true}},
	} {
		args, dash := given(test.line)
		if d := cmp.Diff(SplitUhyve(args), test.uhyve, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("uhyve %s (-got +want):\n%s", test.line, d)
		}
		if d := cmp.Diff(SplitRun(args, dash), test.run, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("run %s (-got +want):\n%s", test.line, d)
		}
	}
}
