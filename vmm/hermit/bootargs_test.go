package hermit

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// splitShell splits text into words as a POSIX shell does, without expansions: an
// unquoted byte that would begin one is an error.
func splitShell(text string) ([]string, error) {
	var words []string
	var word []byte
	started := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == ' ' || c == '\t' || c == '\n':
			if started {
				words, word, started = append(words, string(word)), nil, false
			}
		case c == '\'':
			end := strings.IndexByte(text[i+1:], '\'')
			if end < 0 {
				return nil, errors.New("a quote is not closed")
			}
			word, started = append(word, text[i+1:i+1+end]...), true
			i += end + 1
		case c == '\\':
			i++
			word, started = append(word, text[i]), true
		case strings.IndexByte("\"$`|&;<>()*?[]#~{}!", c) >= 0:
			return nil, errors.New("an unquoted " + string(c))
		default:
			word, started = append(word, c), true
		}
	}
	if started {
		words = append(words, string(word))
	}
	return words, nil
}

func TestBootargs(t *testing.T) {
	for _, tt := range []struct {
		kernel, app, env []string
		want             string
	}{
		{nil, nil, nil, ""},
		{nil, []string{"a", "b"}, nil, "-- a b"},
		{[]string{"-freq", "3000"}, nil, nil, "-freq 3000"},
		{[]string{"-ip", "10.0.5.3"}, []string{"--", ""}, []string{"A=1", "B="}, "-ip 10.0.5.3 env=A=1 env=B= -- -- ''"},
		{nil, []string{"it's", `a"b\c`, "$HOME;*"}, []string{"PS1=> "}, `env='PS1=> ' -- 'it'\''s' 'a"b\c' '$HOME;*'`},
		{nil, []string{"grüße", "🙂"}, nil, "-- 'grüße' '🙂'"},
	} {
		got, err := bootargs(tt.kernel, tt.app, tt.env)
		if err != nil || got != tt.want {
			t.Errorf("%q, %q, %q: %q, %v, want %q", tt.kernel, tt.app, tt.env, got, err, tt.want)
		}
	}
	for _, tt := range []struct {
		kernel, app, env []string
		want             string
	}{
		{[]string{"a\x00"}, nil, nil, "zero byte"},
		{[]string{"--"}, nil, nil, "cannot be a kernel argument"},
		{nil, []string{"\xff"}, nil, `application argument "\xff" is not UTF-8`},
		{nil, nil, []string{"A=\xff"}, `environment variable "A=\xff" is not UTF-8`},
		{nil, nil, []string{"A"}, "NAME=VALUE"},
		{nil, nil, []string{"=A"}, "NAME=VALUE"},
	} {
		_, err := bootargs(tt.kernel, tt.app, tt.env)
		checkError(t, tt.want, err, tt.want)
	}
}

// TestBootargsReadBack: a shell reads the same words.
func TestBootargsReadBack(t *testing.T) {
	word := rapid.OneOf(rapid.StringMatching(`[ -~]{0,6}`), rapid.String()).
		Filter(func(s string) bool { return s != "--" && !strings.Contains(s, "\x00") })
	rapid.Check(t, func(rt *rapid.T) {
		kernel := rapid.SliceOfN(word, 0, 4).Draw(rt, "kernel")
		app := rapid.SliceOfN(word, 0, 4).Draw(rt, "app")
		var env []string
		for _, v := range rapid.SliceOfN(word, 0, 4).Draw(rt, "env") {
			env = append(env, "NAME="+v)
		}
		text, err := bootargs(kernel, app, env)
		if err != nil {
			rt.Fatal(err)
		}
		want := slices.Clone(kernel)
		for _, e := range env {
			want = append(want, "env="+e)
		}
		if len(app) > 0 {
			want = append(append(want, "--"), app...)
		}
		got, err := splitShell(text)
		if err != nil || !slices.Equal(got, want) {
			rt.Fatalf("%q is read as %q, %v, want %q", text, got, err, want)
		}
	})
}

func TestSplitArguments(t *testing.T) {
	for _, tt := range []struct{ words, kernel, app string }{
		{"", "", ""},
		{"a b", "a b", ""},
		{"-- a b", "", "a b"},
		{"-freq 3000 -- a -- b", "-freq 3000", "a -- b"},
		{"a --", "a", ""},
	} {
		kernel, app := SplitArguments(strings.Fields(tt.words))
		if strings.Join(kernel, " ") != tt.kernel || strings.Join(app, " ") != tt.app {
			t.Errorf("%q is split into %q and %q", tt.words, kernel, app)
		}
	}
}

func TestMergeEnv(t *testing.T) {
	got := MergeEnv([]string{"A=1", "B=2", "C=3"}, []string{"B=x=y", "D=4", "D=5"})
	if want := []string{"A=1", "B=x=y", "C=3", "D=5"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
