package fsx

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Lack is something that a file system need not have.
type Lack uint

const (
	NoMmap      Lack = 1 << iota // shared mappings answer ENODEV
	NoDirect                     // O_DIRECT is not tried
	NoZeroRange                  // FALLOC_FL_ZERO_RANGE answers EOPNOTSUPP
	NoCollapse                   // so do FALLOC_FL_COLLAPSE_RANGE and FALLOC_FL_INSERT_RANGE
	NoMixture                    // no file is both mapped and opened with O_DIRECT
)

// lackWords are what [ParseLacks] takes.
var lackWords = []struct {
	lack Lack
	word string
}{{NoMmap, "mmap"}, {NoDirect, "direct"}, {NoZeroRange, "zerorange"}, {NoCollapse, "collapse"}, {NoMixture, "mixture"}}

// ParseLacks reads words separated by commas.
func ParseLacks(list string) (Lack, error) {
	var all Lack
words:
	for word := range strings.SplitSeq(list, ",") {
		for _, l := range lackWords {
			if l.word == word {
				all |= l.lack
				continue words
			}
		}
		if word != "" {
			return 0, fmt.Errorf("fsx: unknown word %q", word)
		}
	}
	return all, nil
}

// Config says what is tested.
type Config struct {
	// Dir is the directory under test. Files are made in directories of their
	// own in it.
	Dir string
	// Behind, if not "", is where the same directory can be seen without what
	// is under test. At the end of each sequence its files are compared too.
	Behind string
	Lacks  Lack
}

// Check runs random sequences in a directory. How many, how long and from which
// seed is up to rapid's flags.
func Check(t *testing.T, cfg Config) {
	t.Helper()
	// What failed is printed in full, with the seed that finds it again.
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		t.Fatal(err)
	}
	other := startProcess(t)
	local := &here{}
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(cfg.Dir, "fsx-")
		if err != nil {
			t.Fatalf("make a directory: %v", err)
		}
		m := &machine{t: t, cfg: &cfg, dir: dir, actors: [...]doer{local, other}, names: map[string]*inode{}}
		// A check that fails ends by a panic.
		defer func() {
			m.reset("/")
			if err := os.RemoveAll(dir); err != nil {
				panic(fmt.Sprintf("remove %s: %v", dir, err))
			}
		}()
		m.reset(dir)
		t.Repeat(m.actions())
		m.compareAll()
		if cfg.Behind != "" {
			m.compareBehind(filepath.Join(cfg.Behind, filepath.Base(dir)))
		}
	})
}
