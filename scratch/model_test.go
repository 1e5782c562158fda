package scratch

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/isthmus-fs/isthmus/vfs"
)

// twins are files that go through the same as files of a host's tmpfs.
type twins struct {
	t     *rapid.T
	fs    *FS
	files [2]*open
	hosts [2]*os.File
	// zeroed says that a file had FALLOC_FL_ZERO_RANGE, which tmpfs lacks, so that
	// data and holes differ from there on.
	zeroed [2]bool
	// reserved says that a file may have reserved pages. A read makes them data on
	// a tmpfs.
	reserved [2]bool
}

func errnoOf(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	return err.(syscall.Errno)
}

// offset draws an offset that is often at an edge of something.
func offset(t *rapid.T, what string) uint64 {
	page := uint64(rapid.SampledFrom([]int{0, 1, 2, 3, 5, 9, 62, 63, 64, 65, 127, 128, 200, 5000}).Draw(t, what+" page"))
	byt := uint64(rapid.SampledFrom([]int{0, 0, 0, 1, 100, 2048, pageSize - 1}).Draw(t, what+" byte"))
	return page*pageSize + byt
}

func count(t *rapid.T) uint64 {
	return rapid.SampledFrom([]uint64{1, 2, 100, pageSize - 1, pageSize, pageSize + 1, 3 * pageSize, 10_000, 70 * pageSize, 300_000}).Draw(t, "count")
}

func (w *twins) step(serial int) {
	t := w.t
	i := rapid.IntRange(0, 1).Draw(t, "file")
	f, host := w.files[i], int(w.hosts[i].Fd())
	off := offset(t, "offset")
	compare := func(what string, n uint64, got syscall.Errno, wantN uint64, want syscall.Errno) {
		if got != want || got == 0 && n != wantN {
			t.Fatalf("%s on file %d: %d, %v; want %d, %v", what, i, n, got, wantN, want)
		}
	}
	switch kind := rapid.IntRange(0, 9).Draw(t, "kind"); kind {
	case 0, 1, 2:
		data := bytes.Repeat([]byte{byte(serial%255) + 1}, int(count(t)))
		n, errno := f.pwrite(data, off)
		m, err := unix.Pwrite(host, data, int64(off))
		compare("write", uint64(n), errno, uint64(m), errnoOf(err))
	case 3:
		w.zeroed[i] = w.zeroed[i] || w.reserved[i]
		got, want := make([]byte, count(t)), make([]byte, 0)
		want = append(want, got...)
		n, errno := f.pread(got, off)
		m, err := unix.Pread(host, want, int64(off))
		compare("read", uint64(n), errno, uint64(max(m, 0)), errnoOf(err))
		if !bytes.Equal(got, want) {
			t.Fatalf("a read at %d differs", off)
		}
	case 4:
		compare("truncate", 0, f.truncate(off), 0, errnoOf(unix.Ftruncate(host, int64(off))))
	case 5, 6:
		mode := rapid.SampledFrom([]uint32{0, keepSize, punchHole, punchHole, punchHole}).Draw(t, "mode")
		n := count(t)
		w.reserved[i] = true
		compare(fmt.Sprintf("fallocate %#x %d+%d", mode, off, n), 0, f.fallocate(mode, off, n), 0, errnoOf(unix.Fallocate(host, mode, int64(off), int64(n))))
	case 7:
		n := count(t)
		compare("zero", 0, f.fallocate(zeroRange, off, n), 0, 0)
		if _, err := unix.Pwrite(host, make([]byte, n), int64(off)); err != nil {
			t.Fatalf("zeroing on the host: %v", err)
		}
		w.zeroed[i] = true
	case 8:
		j := rapid.IntRange(0, 1).Draw(t, "to")
		to, n := offset(t, "to"), count(t)
		from, dst := int64(off), int64(to)
		got, errno := w.fs.CopyFileRange(root, &vfs.CopyRange{SrcNode: f.id, SrcHandle: f.h, SrcOff: off, DstNode: w.files[j].id, DstHandle: w.files[j].h, DstOff: to, Len: n})
		m, err := unix.CopyFileRange(host, &from, int(w.hosts[j].Fd()), &dst, int(n), 0)
		compare(fmt.Sprintf("copy %d+%d to file %d at %d", off, n, j, to), got, errno, uint64(max(m, 0)), errnoOf(err))
		w.zeroed[j] = true // tmpfs writes the zeros of a hole
		w.zeroed[i] = w.zeroed[i] || w.reserved[i]
	case 9:
		if w.zeroed[i] {
			return
		}
		whence := rapid.SampledFrom([]int{unix.SEEK_DATA, unix.SEEK_HOLE}).Draw(t, "whence")
		got, errno := w.fs.Lseek(root, f.id, f.h, off, uint32(whence))
		want, err := unix.Seek(host, int64(off), whence)
		compare(fmt.Sprintf("seek %d from %d", whence, off), got, errno, uint64(max(want, 0)), errnoOf(err))
	}
}

// compareAll compares size, room and all data.
func (w *twins) compareAll() {
	for i, f := range w.files {
		var st unix.Stat_t
		if err := unix.Fstat(int(w.hosts[i].Fd()), &st); err != nil {
			w.t.Fatal(err)
		}
		a := f.attr()
		if a.Size != uint64(st.Size) || !w.zeroed[i] && a.Blocks != uint64(st.Blocks) {
			w.t.Fatalf("file %d has %d bytes in %d blocks, want %d in %d", i, a.Size, a.Blocks, st.Size, st.Blocks)
		}
		want, err := io.ReadAll(io.NewSectionReader(w.hosts[i], 0, st.Size))
		if err != nil {
			w.t.Fatal(err)
		}
		if got := f.contents(); !bytes.Equal(got, want) {
			at := 0
			for at < min(len(got), len(want)) && got[at] == want[at] {
				at++
			}
			w.t.Fatalf("file %d differs from byte %d on", i, at)
		}
	}
}

// TestModel makes random changes of data to two files and to two files of a tmpfs,
// and wants the same of both: results, data, holes, room taken.
func TestModel(t *testing.T) {
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/dev/shm", "scratch-model-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	fs := newSpace(t, Options{})
	rapid.Check(t, func(t *rapid.T) {
		w := &twins{t: t, fs: fs}
		for i, s := range []string{"a", "b"} {
			h, err := os.Create(dir + "/" + s)
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			f := create(t, fs, s)
			defer fs.Unlink(root, vfs.Root, name(s))
			defer f.close()
			w.files[i], w.hosts[i] = f, h
		}
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			w.step(i)
		}
		w.compareAll()
		checkSound(t, fs)
	})
}

// TestBitmap takes and gives back places at random, beside a plain list of them.
func TestBitmap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		places := uint32(rapid.SampledFrom([]int{1, 2, 64, 65, 70}).Draw(t, "words")) * wordBits
		var b bitmap
		b.init(places)
		used := make([]bool, places)
		left := places
		type run struct{ at, n uint32 }
		var runs []run
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if len(runs) > 0 && (left <= 1 || rapid.IntRange(0, 2).Draw(t, "give") == 0) {
				i := rapid.IntRange(0, len(runs)-1).Draw(t, "run")
				r := runs[i]
				runs[i] = runs[len(runs)-1]
				runs = runs[:len(runs)-1]
				b.give(r.at, r.n)
				for j := r.at; j < r.at+r.n; j++ {
					used[j] = false
				}
				left += r.n
				continue
			}
			hint := rapid.Uint32Range(0, places+wordBits).Draw(t, "hint")
			n := rapid.Uint32Range(1, left).Draw(t, "n")
			at := b.choose(hint, rapid.Bool().Draw(t, "wide"))
			got := b.take(at, n)
			if hint < places && !used[hint] && at != hint || got == 0 || got > n {
				t.Fatalf("at %d, which is free, or elsewhere, %d of %d places are taken from %d on", hint, got, n, at)
			}
			for j := at; j < at+got; j++ {
				if used[j] {
					t.Fatalf("place %d is taken twice", j)
				}
				used[j] = true
			}
			if end := at + got; got < n && end < places && !used[end] {
				t.Fatalf("only %d of %d places are taken, and the next is free", got, n)
			}
			left -= got
			runs = append(runs, run{at, got})
		}
		for i, u := range used {
			if u != (b.words[i/wordBits]>>(i%wordBits)&1 != 0) {
				t.Fatalf("place %d: taken %v", i, u)
			}
		}
	})
}
