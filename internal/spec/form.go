package spec

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// kind says in which forms an option's value comes.
type kind uint8

const (
	flagKind   kind = iota // the word alone, or true or false; in TOML a boolean
	textKind               // in TOML a string
	pathKind               // a path of the host, in TOML a string
	sizeKind               // in TOML a string or a number
	numberKind             // in TOML a number
	listKind               // may be repeated; in TOML an array of strings or a string
	pathsKind              // listKind of paths of the host
)

// tomlKinds are what a value of a kind is called in TOML.
var tomlKinds = [...]string{
	flagKind:   "true or false",
	textKind:   "a string",
	pathKind:   "a string",
	sizeKind:   "a string or a number",
	numberKind: "a number",
	listKind:   "an array of strings",
	pathsKind:  "an array of strings",
}

// repeats tells whether values of an option add up.
func (k kind) repeats() bool { return k == listKind || k == pathsKind }

// tomlWant says what o takes in TOML.
func (o *option[T]) tomlWant() string {
	if o.kind == flagKind || o.kind == numberKind {
		return o.want
	}
	return tomlKinds[o.kind] + ": " + o.want
}

// access reads and writes what an option says in a T.
type access[T any] struct {
	set func(*T, string) error
	// get returns the values in their canonical form: none of what was not
	// said.
	get func(*T) []string
	// want is what set takes, in words. Where that is a choice of words, values
	// are these.
	want   string
	values []ValueHelp
}

// option is a word that can be said about a T: of a mount or of the daemon.
type option[T any] struct {
	word    string
	aliases []alias
	kind    kind
	arg     string // what stands for a value in help; unused for a flag
	types   typeSet
	initial string // what holds if it is not said, for people
	help    string
	access[T]
}

// alias is another word for an option. A negated one is a flag that says the
// opposite.
type alias struct {
	word    string
	negated bool
}

// form is all the options that there are for a T.
type form[T any] struct {
	noun    string // what an option is called
	options []option[T]
	words   map[string]meaning[T]
	others  []string // what else may stand in the place of an option's word
}

type meaning[T any] struct {
	option  *option[T]
	negated bool
}

func newForm[T any](noun string, options []option[T], others ...string) *form[T] {
	f := &form[T]{noun, options, map[string]meaning[T]{}, others}
	for i := range options {
		o := &options[i]
		f.words[o.word] = meaning[T]{o, false}
		for _, a := range o.aliases {
			f.words[a.word] = meaning[T]{o, a.negated}
		}
	}
	return f
}

// find looks a word up; why says what is wrong with one that there is not.
func (f *form[T]) find(word string) (m meaning[T], why string) {
	if m, ok := f.words[word]; ok {
		return m, ""
	}
	why = fmt.Sprintf("unknown %s %s: ", f.noun, quote(word))
	known := make([]string, 0, len(f.words))
	for w := range f.words {
		known = append(known, w)
	}
	known = append(known, f.others...)
	slices.Sort(known) // of words that are equally near, always the same
	if w := nearest(word, known); w != "" {
		return m, why + "did you mean " + w + "?"
	}
	known = known[:0]
	for i := range f.options {
		known = append(known, f.options[i].word)
	}
	return m, why + "want one of " + strings.Join(append(known, f.others...), ", ")
}

// reader collects what is said about one T.
type reader[T any] struct {
	form *form[T]
	to   *T
	base string // what relative paths of the host are relative to; "" leaves them
	at   map[string]Pos
}

func newReader[T any](f *form[T], to *T) reader[T] {
	return reader[T]{form: f, to: to, at: map[string]Pos{}}
}

// say takes a value of the option that word stands for, at pos. why says what is
// wrong with it.
func (r *reader[T]) say(word string, m meaning[T], pos Pos, v string) (why string) {
	o := m.option
	if _, twice := r.at[o.word]; twice && !o.kind.repeats() {
		return word + ": " + o.word + " was said before"
	}
	r.at[o.word] = pos
	if o.kind == pathKind || o.kind == pathsKind {
		v = r.rebase(v)
	}
	given := v
	if b, err := parseFlagValue(v); m.negated && err == nil {
		v = strconv.FormatBool(!b)
	}
	switch err := o.set(r.to, v); {
	case err == nil:
		return ""
	case err == errUnwanted:
		return word + " " + quote(given) + ": " + o.guess(given) + "want " + o.want
	default:
		return word + " " + quote(given) + ": " + err.Error()
	}
}

func (r *reader[T]) rebase(path string) string {
	if r.base == "" || path == "" || path[0] == '/' || path[0] == '~' {
		return path
	}
	return strings.TrimSuffix(r.base, "/") + "/" + path
}

// guess is "" or a sentence with the value that was probably meant.
func (o *option[T]) guess(found string) string {
	var known []string
	for _, v := range o.values {
		known = append(known, v.Word)
	}
	if w := nearest(found, known); w != "" {
		return "did you mean " + w + "? "
	}
	return ""
}

// The constructors below make the access to one field. A field that is a
// pointer is nil until it is said.

func boolean[T any](field func(*T) *bool) access[T] {
	return access[T]{
		set: func(t *T, s string) (err error) {
			*field(t), err = parseFlagValue(s)
			return err
		},
		get: func(t *T) []string {
			if !*field(t) {
				return nil
			}
			return []string{"true"}
		},
		want: wantFlag,
	}
}

func value[T, V any](field func(*T) **V, parse func(string) (V, error), format func(V) string, want string) access[T] {
	return access[T]{
		set: func(t *T, s string) error {
			v, err := parse(s)
			if err != nil {
				return err
			}
			*field(t) = &v
			return nil
		},
		get: func(t *T) []string {
			p := *field(t)
			if p == nil {
				return nil
			}
			return []string{format(*p)}
		},
		want: want,
	}
}

func optional[T any](field func(*T) **bool) access[T] {
	return value(field, parseFlagValue, strconv.FormatBool, wantFlag)
}

func duration[T any](field func(*T) **time.Duration) access[T] {
	return value(field, parseTime, time.Duration.String, wantTime)
}

func oneOf[T any, V comparable](field func(*T) **V, w words[V]) access[T] {
	a := value(field, w.parse, w.word, list(w.all(), "or"))
	a.values = w.describe()
	return a
}

// typed is one of the words of a field whose zero value was not said.
func typed[T any](field func(*T) *Type, w words[Type]) access[T] {
	return access[T]{
		set: func(t *T, s string) (err error) {
			*field(t), err = w.parse(s)
			return err
		},
		get: func(t *T) []string {
			if *field(t) == 0 {
				return nil
			}
			return []string{field(t).String()}
		},
		want:   list(w.all(), "or"),
		values: w.describe(),
	}
}

func text[T any](field func(*T) **string, check func(string) error, want string) access[T] {
	return value(field,
		func(s string) (string, error) { return s, check(s) },
		func(s string) string { return s }, want)
}

func number[T any, N int | uint32 | uint64](field func(*T) **N, least, most uint64) access[T] {
	return value(field,
		func(s string) (N, error) {
			n, err := strconv.ParseUint(s, 10, 64)
			if err != nil || n < least || n > most {
				return 0, errUnwanted
			}
			return N(n), nil
		},
		func(n N) string { return strconv.FormatUint(uint64(n), 10) },
		fmt.Sprintf("a number from %d to %d", least, most))
}

func ids[T any](field func(*T) *IDMap) access[T] {
	return access[T]{
		set: func(t *T, s string) error {
			err := field(t).Add(s)
			if inner := errors.Unwrap(err); inner != nil {
				return inner // what was found stands before it already
			}
			return err
		},
		get:  func(t *T) []string { return field(t).Rules },
		want: "rules such as map:0:1000:1",
	}
}
