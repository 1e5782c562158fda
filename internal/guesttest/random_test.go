package guesttest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// limit is the largest size a file under random operations grows to.
const limit = 256 << 10

// randomFile is a file next to what should be in it.
type randomFile struct {
	t     *testing.T
	rng   *rand.Rand
	files [2]*os.File // of the same file
	model []byte
	log   []string
	n     uint64 // of the operation, seeds its data
}

// span returns a random piece that ends at most at end; every fourth one is
// aligned to pages.
func (r *randomFile) span(end int) (off, n int) {
	if end == 0 {
		return 0, 0
	}
	off = r.rng.IntN(end)
	n = 1 + r.rng.IntN(min(end-off, 64<<10))
	if r.rng.IntN(4) == 0 {
		off &^= page - 1
		n = min((n+page-1)&^(page-1), end-off)
	}
	return off, n
}

func (r *randomFile) note(format string, args ...any) {
	r.log = append(r.log, fmt.Sprintf(format, args...))
}

func (r *randomFile) file() *os.File { return r.files[r.rng.IntN(2)] }

// grow makes the model reach to end.
func (r *randomFile) grow(end int) {
	if end > len(r.model) {
		r.model = append(r.model, make([]byte, end-len(r.model))...)
	}
}

// randomOps are the operations and how often each one comes.
var randomOps = []struct {
	weight int
	usable func() bool // nil: always
	do     func(*randomFile)
}{
	{6, nil, (*randomFile).write},
	{6, nil, (*randomFile).read},
	{2, nil, (*randomFile).truncate},
	{4, sharedMaps, (*randomFile).mapWrite},
	{4, sharedMaps, (*randomFile).mapRead},
	{2, nil, (*randomFile).punch},
	{1, zeroRange, (*randomFile).zero},
	{2, nil, (*randomFile).copy},
	{1, nil, (*randomFile).allocate},
	{1, nil, (*randomFile).sync},
	{1, nil, (*randomFile).reopen},
}

func sharedMaps() bool { return !expected[featNoMmap] }
func zeroRange() bool  { return expected[featZeroRange] }

func (r *randomFile) write() {
	off, n := r.span(limit)
	r.note("write %d at %d", n, off)
	b := pattern(r.n, int64(off), n)
	writeAt(r.t, r.file(), int64(off), b)
	r.grow(off + n)
	copy(r.model[off:], b)
}

func (r *randomFile) read() {
	off, n := r.span(len(r.model))
	r.note("read %d at %d", n, off)
	same(r.t, readAt(r.t, r.file(), int64(off), n), r.model[off:off+n], int64(off), "read")
}

func (r *randomFile) truncate() {
	size := r.rng.IntN(limit)
	r.note("truncate to %d", size)
	check(r.t, unix.Ftruncate(fd(r.file()), int64(size)), "truncate")
	r.model = r.model[:min(size, len(r.model))]
	r.grow(size)
}

func (r *randomFile) mapped(prot int, f func(m []byte)) {
	if len(r.model) == 0 {
		return
	}
	m, err := unix.Mmap(fd(r.file()), 0, len(r.model), prot, unix.MAP_SHARED)
	check(r.t, err, "mmap")
	f(m)
	check(r.t, unix.Munmap(m), "munmap")
}

func (r *randomFile) mapWrite() {
	off, n := r.span(len(r.model))
	r.note("store %d at %d", n, off)
	r.mapped(unix.PROT_READ|unix.PROT_WRITE, func(m []byte) {
		b := pattern(r.n, int64(off), n)
		copy(m[off:], b)
		copy(r.model[off:], b)
	})
}

func (r *randomFile) mapRead() {
	off, n := r.span(len(r.model))
	r.note("load %d at %d", n, off)
	r.mapped(unix.PROT_READ, func(m []byte) {
		same(r.t, m[off:off+n], r.model[off:off+n], int64(off), "load")
	})
}

func (r *randomFile) punch() {
	off, n := r.span(len(r.model))
	if n == 0 {
		return
	}
	r.note("punch %d at %d", n, off)
	check(r.t, unix.Fallocate(fd(r.file()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(off), int64(n)), "punch")
	clear(r.model[off : off+n])
}

func (r *randomFile) zero() {
	off, n := r.span(limit)
	r.note("zero %d at %d", n, off)
	check(r.t, unix.Fallocate(fd(r.file()), unix.FALLOC_FL_ZERO_RANGE, int64(off), int64(n)), "zero range")
	r.grow(off + n)
	clear(r.model[off : off+n])
}

func (r *randomFile) allocate() {
	off, n := r.span(limit)
	r.note("allocate %d at %d", n, off)
	check(r.t, unix.Fallocate(fd(r.file()), 0, int64(off), int64(n)), "fallocate")
	r.grow(off + n)
}

func (r *randomFile) copy() {
	from, n := r.span(len(r.model))
	to := r.rng.IntN(limit)
	n = min(n, limit-to)
	if n == 0 || from < to+n && to < from+n { // overlapping pieces are refused
		return
	}
	r.note("copy %d from %d to %d", n, from, to)
	copyRange(r.t, r.file(), int64(from), r.file(), int64(to), n)
	r.grow(to + n)
	copy(r.model[to:to+n], r.model[from:])
}

func (r *randomFile) sync() {
	r.note("sync and drop the cache")
	check(r.t, r.files[0].Sync(), "fsync")
	check(r.t, unix.Fadvise(fd(r.files[0]), 0, 0, unix.FADV_DONTNEED), "fadvise")
}

func (r *randomFile) reopen() {
	i := r.rng.IntN(2)
	r.note("reopen descriptor %d", i)
	path := r.files[i].Name()
	check(r.t, r.files[i].Close(), "close")
	r.files[i] = open(r.t, path, unix.O_RDWR, 0)
}

func TestRandomOperationsAgreeWithAModel(t *testing.T) {
	var deck []func(*randomFile)
	for _, op := range randomOps {
		if op.usable != nil && !op.usable() {
			continue
		}
		for range op.weight {
			deck = append(deck, op.do)
		}
	}
	for _, seed := range []uint64{1, 42, 20250607} {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			path := filepath.Join(scratch(t), "f")
			r := &randomFile{t: t, rng: rand.New(rand.NewPCG(seed, seed))}
			for i := range r.files {
				r.files[i] = open(t, path, unix.O_RDWR|unix.O_CREAT, 0o644)
			}
			defer func() {
				if t.Failed() {
					for _, line := range r.log[max(0, len(r.log)-30):] {
						t.Log(line)
					}
				}
			}()
			for range scaled(700) {
				r.n++
				deck[r.rng.IntN(len(deck))](r)
				if t.Failed() {
					return
				}
			}
			if st := fstat(t, r.files[0]); st.Size != int64(len(r.model)) {
				t.Errorf("size %d, want %d", st.Size, len(r.model))
			}
			same(t, read(t, path), r.model, 0, "at the end")
		})
	}
}
