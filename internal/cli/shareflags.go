package cli

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/isthmus-fs/isthmus/internal/compose"
	"github.com/isthmus-fs/isthmus/internal/spec"
)

// shareFlags are the flags that say what is shared and how.
type shareFlags struct {
	shares []string // values of --share, or arguments in their place
	config string
	// all is what is said for all mounts.
	all spec.Mount
}

// ofOneMount are the options that make no sense for all mounts together.
var ofOneMount = []string{"type", "source", "target", "lower", "unlink"}

// bind adds a flag for each option that can be said for all mounts.
func (f *shareFlags) bind(fl *pflag.FlagSet) {
	fl.StringVar(&f.config, "config", "", "a TOML file with mounts and settings; flags prevail over its settings")
	for _, o := range spec.Options() {
		if !slices.Contains(o.Types, spec.Dir) || slices.Contains(ofOneMount, o.Word) {
			continue
		}
		flag := fl.VarPF(&optionFlag{mount: &f.all, help: o}, o.Word, "", usageOf(&o))
		if o.Arg == "" {
			flag.NoOptDefVal = "true"
		}
		if len(o.Values) == 0 && isWord(o.Default) {
			flag.DefValue = o.Default
		}
	}
}

// bindShares adds --share too.
func (f *shareFlags) bindShares(fl *pflag.FlagSet) {
	fl.StringArrayVar(&f.shares, "share", nil, "what to share: HOST[:GUEST[:OPTION,…]], or OPTION,… with source=HOST and target=GUEST; may be repeated")
	f.bind(fl)
}

// usageOf is the help text of an option.
func usageOf(o *spec.OptionHelp) string {
	var b strings.Builder
	b.WriteString(o.Help)
	if o.Default != "" && (len(o.Values) != 0 || !isWord(o.Default)) {
		b.WriteString(" (default " + o.Default + ")")
	}
	if o.Repeat {
		b.WriteString("; may be repeated")
	}
	for i, v := range o.Values {
		if i == 0 {
			b.WriteByte(':')
		}
		fmt.Fprintf(&b, "\n%-9s %s", v.Word, v.Help)
	}
	return b.String()
}

// isWord tells a default that is a value from one that is described.
func isWord(s string) bool { return !strings.ContainsAny(s, " ;") }

// optionFlag is one option of all mounts.
type optionFlag struct {
	mount *spec.Mount
	help  spec.OptionHelp
	given []string
}

// Set implements [pflag.Value].
func (f *optionFlag) Set(v string) error {
	if err := f.mount.Set(f.help.Word, v); err != nil {
		return err
	}
	if !f.help.Repeat {
		f.given = f.given[:0]
	}
	f.given = append(f.given, v)
	return nil
}

func (f *optionFlag) String() string { return strings.Join(f.given, ",") }

// Type is what stands for the value in the usage.
func (f *optionFlag) Type() string {
	if f.help.Arg == "" {
		return "bool"
	}
	return f.help.Arg
}

// GetSlice returns the values, for a flag that may be repeated.
func (f *optionFlag) GetSlice() []string { return f.given }

// read reads the mounts, and the settings of the configuration file if there is one.
// base stands before relative paths of shares.
func (f *shareFlags) read() ([]spec.Mount, *spec.Settings, error) {
	settings := &spec.Settings{}
	var mounts []spec.Mount
	if f.config != "" {
		c, err := spec.ParseFile(f.config)
		if err != nil {
			return nil, nil, &usageError{err}
		}
		mounts, settings = c.Mounts, &c.Settings
	}
	for _, s := range f.shares {
		m, err := spec.ParseFlag(s)
		if err != nil {
			return nil, nil, &usageError{err}
		}
		mounts = append(mounts, m)
	}
	if len(mounts) == 0 {
		return nil, nil, usagef("nothing is shared: name a directory")
	}
	return mounts, settings, nil
}

// resolve looks at the sources and decides what was left open.
func (f *shareFlags) resolve(list []spec.Mount, log *slog.Logger) ([]compose.Mount, error) {
	var err error
	for i := range list {
		if list[i], err = compose.Settle(list[i]); err != nil {
			return nil, err
		}
		if err := list[i].Fill(&f.all); err != nil {
			return nil, &usageError{err}
		}
	}
	if err := spec.Check(list); err != nil {
		return nil, &usageError{err}
	}
	mounts := make([]compose.Mount, len(list))
	for i := range list {
		mounts[i] = compose.Decide(&list[i], log)
	}
	return mounts, nil
}

// saysHandles tells whether the owner said how files are held.
func saysHandles(list []spec.Mount, all *spec.Mount) bool {
	return all.FileHandles != nil || slices.ContainsFunc(list, func(m spec.Mount) bool { return m.FileHandles != nil })
}

// tempDir is where private data on a disk are kept.
func tempDir(said string) string {
	if said != "" {
		return said
	}
	return os.TempDir()
}

// choice is a flag's words and what they stand for.
type choice[T any] []struct {
	word  string
	value T
}

func (c choice[T]) words() string {
	w := make([]string, len(c))
	for i := range c {
		w[i] = c[i].word
	}
	return strings.Join(w, ", ")
}

func (c choice[T]) pick(flag, word string) (v T, err error) {
	for i := range c {
		if c[i].word == word {
			return c[i].value, nil
		}
	}
	return v, usagef("--%s %q: want one of %s", flag, word, c.words())
}
