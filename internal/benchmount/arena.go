package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

// sizes says how much there is to work on, and how often.
type sizes struct {
	names int // files in each directory that is walked
	calls int // calls on one file or directory
	made  int // files and directories that are made and removed
	syncs int // writes that are waited for
	megs  int // MiB in the file that is read and written
	pages int // pages of it that are read and written in random order
}

var full = sizes{names: 10_000, calls: 10_000, made: 2_000, syncs: 50, megs: 256, pages: 16_384}

func (s sizes) twentieth() sizes {
	return sizes{s.names / 20, s.calls / 20, s.made / 20, max(s.syncs/20, 1), max(s.megs/20, 1), s.pages / 20}
}

const (
	page = 4 << 10
	meg  = 1 << 20
)

// Names in the directory. Those that are walked hold files of one page each.
const (
	bigFile  = "big"
	oneFile  = "one"
	walkDir  = "walk"
	listDir  = "list"
	namesDir = "names"
	newDir   = "new" // and a number, one for each thread
)

// arena is the place of a run: a directory of files, the point to mount it on, and
// what the calls need at hand.
type arena struct {
	top, data, mnt string
	size           sizes
	names          [][]byte // of the files in a walked directory, as the kernel takes them
	order          []int64  // offsets of pages of the big file, each once
	bufs           [maxThreads][]byte
	generation     uint32 // of data written
}

func newArena(below string, size sizes) (*arena, error) {
	top, err := os.MkdirTemp(below, "benchmount-")
	if err != nil {
		return nil, err
	}
	a := &arena{top: top, data: filepath.Join(top, "data"), mnt: filepath.Join(top, "mnt"), size: size}
	if err := a.build(); err != nil {
		return nil, errors.Join(err, a.remove())
	}
	return a, nil
}

func (a *arena) build() error {
	for i := range a.size.names {
		a.names = append(a.names, fmt.Appendf(nil, "file-%05d\x00", i))
	}
	for i := range a.bufs {
		a.bufs[i] = make([]byte, meg)
	}
	for _, p := range rand.Perm(a.size.megs * (meg / page))[:min(a.size.pages, a.size.megs*(meg/page))] {
		a.order = append(a.order, int64(p)*page)
	}
	a.size.pages = len(a.order)
	errs := []error{os.Mkdir(a.data, 0o755), os.Mkdir(a.mnt, 0o755)}
	for i := range maxThreads {
		errs = append(errs, os.Mkdir(a.path(fmt.Sprint(newDir, i)), 0o755))
	}
	content := make([]byte, page)
	errs = append(errs, os.WriteFile(a.path(oneFile), content, 0o644))
	for _, dir := range []string{walkDir, listDir, namesDir} {
		errs = append(errs, os.Mkdir(a.path(dir), 0o755))
		for _, name := range a.names {
			errs = append(errs, os.WriteFile(filepath.Join(a.path(dir), string(name[:len(name)-1])), content, 0o644))
		}
	}
	return errors.Join(append(errs, a.writeBig())...)
}

func (a *arena) path(name string) string { return filepath.Join(a.data, name) }

func (a *arena) writeBig() error {
	f, err := os.Create(a.path(bigFile))
	if err != nil {
		return err
	}
	for i := range a.size.megs {
		off := int64(i) * meg
		stampAll(a.bufs[0], off, 0)
		if _, err := f.WriteAt(a.bufs[0], off); err != nil {
			f.Close()
			return err
		}
	}
	return errors.Join(f.Sync(), f.Close())
}

func (a *arena) remove() error { return os.RemoveAll(a.top) }

// Each page of the big file begins with its number and the generation of what was
// written there.
func stamp(p []byte, off int64, generation uint32) {
	binary.LittleEndian.PutUint32(p, uint32(off/page))
	binary.LittleEndian.PutUint32(p[4:], generation)
}

func stampAll(b []byte, off int64, generation uint32) {
	for i := 0; i < len(b); i += page {
		stamp(b[i:], off+int64(i), generation)
	}
}

func stamped(p []byte, off int64) bool { return binary.LittleEndian.Uint32(p) == uint32(off/page) }

func generationOf(p []byte) uint32 { return binary.LittleEndian.Uint32(p[4:]) }

// turn mounts the directory as who does it, does all workloads there, tells add
// of each, and unmounts.
func (a *arena) turn(ctx context.Context, who contender, workloads []*workload, add func(*workload, contender, sample)) (err error) {
	t := &turn{arena: a, root: -1, bare: -1}
	seen := a.data
	if who.Command != "" {
		if t.server, err = who.start(ctx, a.data, a.mnt); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, t.server.stop()) }()
		seen = t.server.seen
	}
	defer func() { err = errors.Join(err, t.close()) }()
	if t.bare, err = openRoot(a.data); err != nil {
		return err
	}
	if t.root, err = openRoot(seen); err != nil {
		return err
	}
	for _, w := range workloads {
		if err := ctx.Err(); err != nil {
			return err
		}
		s, err := t.do(w)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		add(w, who, s)
	}
	return nil
}

func openRoot(dir string) (int, error) {
	fd, errno := oslib.Openat(unix.AT_FDCWD, append([]byte(dir), 0), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return fd, failed("open "+dir, errno)
}

// failed is the error of a call, nil for none.
func failed(what string, errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w", what, errno)
}
