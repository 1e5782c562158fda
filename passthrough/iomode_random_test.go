package passthrough

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// TestIOModes does at random what a guest may do to a file, at all offsets, lengths and
// places in memory, in turn through a share in the mode and an ordinary one.
func TestIOModes(t *testing.T) {
	eachIO(t, func(t *testing.T, dir string, mode IOMode) { testIOMode(t, dir, mode, nil) })
}

// TestDirectMisled: file systems that tell no alignment, or a wrong one.
func TestDirectMisled(t *testing.T) {
	for name, align := range map[string]oslib.Alignment{
		"none": {}, "too little": {Mem: 1, Block: 1}, "safe": {Mem: safeAlignment, Block: safeAlignment}, "too much": {Mem: 512, Block: 1 << 16},
	} {
		t.Run(name, func(t *testing.T) {
			testIOMode(t, tempDir(t, ""), IODirect, func(h *handle) {
				if align.Block == 0 {
					h.direct.close(h.fs)
					h.direct.on = true
				}
				h.direct.align = align
			})
		})
	}
}

func testIOMode(t *testing.T, dir string, mode IOMode, mislead func(*handle)) {
	const most = 300_000
	write(t, join(dir, "f"), "")
	mem := pageAligned(t, most+4*pageSize)
	data := make([]byte, most)
	rand.NewChaCha8([32]byte{1}).Read(data)
	type file struct {
		fs *FS
		id vfs.NodeID
		h  vfs.Handle
	}
	var files [2]file
	for i, io := range []IOMode{mode, 0} {
		fs := share(t, Config{Path: dir, IO: io})
		id, v, h := openHandle(t, fs, "f", unix.O_RDWR)
		if mislead != nil && i == 0 {
			mislead(h)
		}
		files[i] = file{fs, id, v}
	}
	rapid.Check(t, func(t *rapid.T) {
		var model []byte
		if err := os.Truncate(join(dir, "f"), 0); err != nil {
			t.Fatal(err)
		}
		near := func(what string, most int) int { // often a multiple of a block
			n := rapid.IntRange(0, most).Draw(t, what)
			return n &^ (rapid.SampledFrom([]int{1, 1, 512, pageSize}).Draw(t, what+" of") - 1)
		}
		// buffer is n bytes of memory, and the same as iovecs.
		buffer := func(n int) ([]byte, []unix.Iovec) {
			at := near("address", 3*pageSize)
			b := mem[at : at+n]
			first := near("first iovec", n)
			v := iovs(b[:first], first|1)
			return b, append(v, iovs(b[first:], near("iovecs", most)+100)...)
		}
		grow := func(size int) {
			if size > len(model) {
				model = append(model, make([]byte, size-len(model))...)
			}
		}
		use := func() file { return files[rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "share")] }
		put := func(f file, off, n int, flags uint32) {
			from := rapid.IntRange(0, most-n).Draw(t, "data")
			b, v := buffer(n)
			copy(b, data[from:])
			got, errno := f.fs.Write(&root, f.id, f.h, v, uint64(off), flags, 0)
			if got != n || errno != 0 {
				t.Fatalf("write %d bytes at %d: %d, %v", n, off, got, errno)
			}
			grow(off + n)
			copy(model[off:], data[from:from+n])
		}
		calls := map[string]func(){
			"write": func() {
				off, n := near("offset", most), near("length", most)
				put(use(), off, max(1, n), unix.O_RDWR)
			},
			"append": func() {
				if len(model) < 2*most {
					put(use(), len(model), max(1, near("length", most)), unix.O_RDWR|unix.O_APPEND)
				}
			},
			"read": func() {
				f, off, n := use(), near("offset", most), near("length", most)
				b, v := buffer(n)
				clear(b)
				got, errno := f.fs.Read(&root, f.id, f.h, v, uint64(off), 0)
				want := model[min(off, len(model)):min(off+n, len(model))]
				if errno != 0 || got != len(want) || !bytes.Equal(b[:got], want) {
					t.Fatalf("read %d bytes at %d of %d: %d, %v", n, off, len(model), got, errno)
				}
			},
			"truncate": func() {
				f, size := use(), near("size", most)
				by := rapid.SampledFrom([]vfs.Handle{f.h, vfs.NoHandle}).Draw(t, "by")
				errno := f.fs.Setattr(&root, f.id, by, &vfs.SetAttr{Valid: vfs.SetSize, Size: uint64(size)}, new(vfs.AttrOut))
				if errno != 0 {
					t.Fatal(errno)
				}
				grow(size)
				model = model[:size]
			},
			"punch a hole": func() {
				f, off, n := use(), near("offset", most), max(1, near("length", most))
				if errno := f.fs.Fallocate(&root, f.id, f.h, uint64(off), uint64(n), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE); errno != 0 {
					t.Fatal(errno)
				}
				clear(model[min(off, len(model)):min(off+n, len(model))])
			},
			"allocate": func() {
				f, off, n := use(), near("offset", most), max(1, near("length", most))
				if errno := f.fs.Fallocate(&root, f.id, f.h, uint64(off), uint64(n), 0); errno != 0 {
					t.Fatal(errno)
				}
				grow(off + n)
			},
			"copy": func() {
				f, from, n := use(), near("source", most), near("length", most)
				to := from + n + near("distance", most)
				n = min(n, max(0, len(model)-from))
				got, errno := f.fs.CopyFileRange(&root, &vfs.CopyRange{SrcNode: f.id, DstNode: f.id, SrcHandle: f.h, DstHandle: f.h,
					SrcOff: uint64(from), DstOff: uint64(to), Len: uint64(n)})
				if int(got) > n || errno != 0 {
					t.Fatalf("copy %d bytes from %d to %d: %d, %v", n, from, to, got, errno)
				}
				if got > 0 {
					grow(to + int(got))
					copy(model[to:], model[from:from+int(got)])
				}
			},
		}
		names := slices.Sorted(maps.Keys(calls))
		for range 6 { // a call may wait for the disk several times
			calls[rapid.SampledFrom(names).Draw(t, "call")]()
			if got, err := os.ReadFile(join(dir, "f")); err != nil || !bytes.Equal(got, model) {
				t.Fatalf("the file has %d bytes and not the %d that it should have: %v", len(got), len(model), err)
			}
		}
	})
}
