package spec

import (
	"regexp"
	"slices"
	"testing"
)

// TestOptionsHoldTogether: the table itself is in order.
func TestOptionsHoldTogether(t *testing.T) {
	word := regexp.MustCompile(`^[a-z][a-z-]*$`)
	for _, options := range [][]OptionHelp{Options(), SettingOptions()} {
		seen := map[string]bool{}
		for _, o := range options {
			for _, w := range slices.Concat([]string{o.Word}, o.Aliases, o.Negations) {
				// The long form is told by such a word in front.
				if !word.MatchString(w) {
					t.Errorf("%q is no word", w)
				}
				if seen[w] {
					t.Errorf("%q is there twice", w)
				}
				seen[w] = true
			}
			if o.Help == "" {
				t.Errorf("%s has no help", o.Word)
			}
			for _, v := range o.Values {
				if v.Word == "" || v.Help == "" {
					t.Errorf("%s: a value without a word or without help: %+v", o.Word, v)
				}
			}
		}
	}
	for i := range mountForm.options {
		o := &mountForm.options[i]
		if got := o.get(&Mount{}); len(got) != 0 {
			t.Errorf("%s: %q was said of nothing", o.word, got)
		}
		if len(o.types.types()) == 0 || (o.kind == flagKind) != (o.arg == "") || o.want == "" {
			t.Errorf("%s: types %v, argument %q, want %q", o.word, o.types, o.arg, o.want)
		}
	}
	// Options gives copies.
	Options()[0].Values[0].Word = "x"
	if Options()[0].Values[0].Word != "auto" {
		t.Error("a caller can change the table")
	}
}

func TestNearest(t *testing.T) {
	known := []string{"cache", "io", "ro", "rw", "readonly", "size"}
	for _, c := range []struct{ found, want string }{
		{"cahce", "cache"}, {"cach", "cache"}, {"caches", "cache"}, {"CACHE", ""}, {"rea-donly", "readonly"}, {"read_only", "readonly"},
		{"siez", "size"}, {"sz", ""}, {"x", ""}, {"", ""}, {"oi", "io"}, {"ix", "io"}, {"abcdefghijklmnop", ""},
	} {
		if got := nearest(c.found, known); got != c.want {
			t.Errorf("%q: %q, want %q", c.found, got, c.want)
		}
	}
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"ab", "ba", 1}, {"abc", "ca", 3}, {"kitten", "sitting", 3}, {"flock", "flcok", 1}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%q, %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
