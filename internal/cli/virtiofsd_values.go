package cli

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/sandbox"
	"github.com/isthmus-fs/isthmus/virtiofs"
)

// bare is what a flag that was given without a value is set to. No argument can
// hold it, as a NUL ends arguments, so a value cannot be taken for it.
const bare = "\x00"

// checked is a flag's value that is read and checked when it is set; the last
// one holds.
type checked[T any] struct {
	to    *T
	parse func(string) (T, error)
	text  string   // as it was given, or the default
	words []string // to offer for completion
}

func (v *checked[T]) Set(s string) (err error) {
	t, err := v.parse(s)
	if err != nil {
		return err
	}
	*v.to, v.text = t, s
	return nil
}

func (v *checked[T]) String() string        { return v.text }
func (v *checked[T]) Type() string          { return "value" }
func (v *checked[T]) completions() []string { return v.words }

// gathered is a flag that may be repeated.
type gathered[T any] struct {
	to    *[]T
	parse func(string) (T, error)
}

func (v *gathered[T]) Set(s string) error {
	t, err := v.parse(s)
	if err != nil {
		return err
	}
	*v.to = append(*v.to, t)
	return nil
}

func (v *gathered[T]) String() string { return "" }
func (v *gathered[T]) Type() string   { return "value" }

// given is a flag without a value, which does something when it is met.
type given struct{ do func() error }

func (v *given) Set(s string) error {
	if s != bare {
		return errors.New("it takes no value")
	}
	return v.do()
}

func (v *given) String() string { return "false" }
func (v *given) Type() string   { return "bool" }

// sets is a flag without a value that sets *to.
func sets[T any](to *T, v T) *given {
	return &given{func() error { *to = v; return nil }}
}

func text(to *string) *checked[string] {
	return &checked[string]{to: to, parse: func(s string) (string, error) { return s, nil }}
}

// word is one of the words of c; with fold in letters of any case.
func word[T any](to *T, c choice[T], def string, fold bool) *checked[T] {
	v := &checked[T]{to: to, text: def, parse: func(s string) (T, error) { return c.find(s, fold) }}
	for i := range c {
		v.words = append(v.words, c[i].word)
	}
	return v
}

// find is pick for a value whose flag the caller knows.
func (c choice[T]) find(s string, fold bool) (v T, err error) {
	for i := range c {
		if c[i].word == s || fold && strings.EqualFold(c[i].word, s) {
			return c[i].value, nil
		}
	}
	return v, fmt.Errorf("want one of %s", c.words())
}

// number is a decimal number of at most bits bits.
func number(to *uint64, bits int, def string) *checked[uint64] {
	return &checked[uint64]{to: to, text: def, parse: func(s string) (uint64, error) {
		n, err := strconv.ParseUint(strings.TrimPrefix(s, "+"), 10, bits)
		if err != nil {
			return 0, fmt.Errorf("want a number from 0 to %d", uint64(math.MaxUint64)>>(64-bits))
		}
		return n, nil
	}}
}

func parseFD(s string) (int, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return 0, errors.New("want the number of an inherited file descriptor")
	}
	return int(n), nil
}

func parseTag(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", errors.New("want UTF-8")
	}
	return s, virtiofs.CheckTag(s)
}

// The words of virtiofsd's options, where they are not those of serve.
var (
	virtiofsdSandboxes = choice[sandbox.Mode]{
		{"namespace", sandbox.ModeNamespace},
		{"chroot", sandbox.ModeChroot},
		{"none", sandbox.ModeNone},
	}
	// In -o lists, the policy never is called none.
	legacyCaches = choice[passthrough.CachePolicy]{
		{"auto", passthrough.CacheAuto},
		{"none", passthrough.CacheNever},
		{"metadata", passthrough.CacheMetadata},
		{"always", passthrough.CacheAlways},
	}
	legacySandboxes = choice[sandbox.Mode]{
		{"namespace", sandbox.ModeNamespace},
		{"chroot", sandbox.ModeChroot},
	}
	migrationModes = choice[migrationMode]{
		{"find-paths", findPaths},
		{"file-handles", passHandles},
	}
	migrationAnswers = choice[bool]{
		{"abort", false},
		{"guest-error", true},
	}
)

// migrationMode says how files are named to the destination of a migration.
type migrationMode uint8

const (
	findPaths migrationMode = iota
	passHandles
)

var cachePolicies = choice[passthrough.CachePolicy]{
	{"auto", passthrough.CacheAuto},
	{"never", passthrough.CacheNever},
	{"metadata", passthrough.CacheMetadata},
	{"always", passthrough.CacheAlways},
}

var handleUses = choice[passthrough.HandleUse]{
	{"prefer", passthrough.HandlesPrefer},
	{"mandatory", passthrough.HandlesMandatory},
	{"never", passthrough.HandlesNever},
}

var negotiations = choice[passthrough.Negotiate]{
	{"never", passthrough.NegotiateNever},
	{"auto", passthrough.NegotiateAuto},
	{"always", passthrough.NegotiateAlways},
}
