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
	NoNames                      // there is one file, named a, and there can be no other
	// NoSharing: at the same time only different files are written. Linux's
	// FUSE client, where it neither collects writes nor is without a cache,
	// copies what is written into the cache and then sends it, without a lock
	// on the page: if that is dropped in between and somebody reads what is
	// beside, the cache has the old page from then on.
	NoSharing
)

// lackWords are what [ParseLacks] takes.
var lackWords = []struct {
	lack Lack
	word string
}{{NoMmap, "mmap"}, {NoDirect, "direct"}, {NoZeroRange, "zerorange"}, {NoCollapse, "collapse"}, {NoNames, "names"}, {NoSharing, "sharing"}}

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
	// Found says that there are directories made by [Prepare] in Dir. Each
	// sequence takes one of them, with what is in it, as long as there are any.
	Found bool
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
	taken := 0
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{t: t, cfg: &cfg, actors: [...]doer{local, other}, names: map[string]*inode{}, some: someNames}
		found := filepath.Join(cfg.Dir, foundName(taken))
		_, err := os.Lstat(found)
		switch {
		case cfg.Lacks&NoNames != 0:
			m.dir, m.some, err = cfg.Dir, someNames[:1], nil
		case cfg.Found && err == nil:
			m.dir, m.found = found, true
			taken++
		default:
			m.dir, err = os.MkdirTemp(cfg.Dir, "fsx-")
		}
		if err != nil {
			t.Fatalf("make a directory: %v", err)
		}
		// A check that fails ends by a panic.
		defer func() {
			m.reset("/")
			if cfg.Lacks&NoNames != 0 {
				return
			}
			if err := os.RemoveAll(m.dir); err != nil {
				panic(fmt.Sprintf("remove %s: %v", m.dir, err))
			}
		}()
		m.reset(m.dir)
		m.begin()
		t.Repeat(m.actions())
		m.compareAll()
		switch {
		case cfg.Behind == "":
		case cfg.Lacks&NoNames != 0:
			m.compareBehind(cfg.Behind)
		default:
			m.compareBehind(filepath.Join(cfg.Behind, filepath.Base(m.dir)))
		}
	})
}

// Prepare makes n directories for [Config.Found], each with the same two files.
func Prepare(dir string, n int) error {
	for i := range n {
		sub := filepath.Join(dir, foundName(i))
		if err := os.Mkdir(sub, 0o755); err != nil {
			return err
		}
		for j, name := range someNames[:2] {
			if err := os.WriteFile(filepath.Join(sub, name), found((j+1)*limit/3), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

func foundName(i int) string { return fmt.Sprint("found-", i) }

// found is what a file of a size holds that Prepare makes.
func found(size int) []byte { return pattern(uint64(size), size) }
