package guesttest

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Positions in these tests are multiples of 64 KiB, the largest block that a
// file system of the host is likely to have.
const unit = 64 << 10

// blocks returns how many blocks of 512 bytes a file takes at this moment, not
// at the time until which attributes may be remembered.
func blocks(t *testing.T, f *os.File) int64 {
	t.Helper()
	var sx unix.Statx_t
	check(t, unix.Statx(fd(f), "", unix.AT_EMPTY_PATH|unix.AT_STATX_FORCE_SYNC, unix.STATX_BLOCKS, &sx), "statx")
	return int64(sx.Blocks)
}

func TestFallocateReservesSpaceAndReadsAsZeros(t *testing.T) {
	dir := scratch(t)
	f := open(t, filepath.Join(dir, "f"), unix.O_RDWR|unix.O_CREAT, 0o644)
	head := pattern(1, 0, 1000)
	writeAt(t, f, 0, head)

	check(t, unix.Fallocate(fd(f), 0, 0, 4*unit), "fallocate")
	st := fstat(t, f)
	if n := blocks(t, f); st.Size != 4*unit || n*512 < 4*unit {
		t.Errorf("after fallocate of %d: size %d, %d blocks", 4*unit, st.Size, n)
	}
	model := append(head, make([]byte, 4*unit-1000)...)
	same(t, read(t, f.Name()), model, 0, "after fallocate")

	check(t, unix.Fallocate(fd(f), unix.FALLOC_FL_KEEP_SIZE, 4*unit, 4*unit), "fallocate behind the end")
	st = fstat(t, f)
	if n := blocks(t, f); st.Size != 4*unit || n*512 < 8*unit {
		t.Errorf("after fallocate that keeps the size: size %d, %d blocks", st.Size, n)
	}
	same(t, read(t, f.Name()), model, 0, "after fallocate behind the end")

	r := open(t, f.Name(), unix.O_RDONLY, 0)
	for _, c := range []struct {
		name     string
		f        *os.File
		mode     uint32
		off, len int64
		err      error
	}{
		{"of nothing", f, 0, 0, 0, unix.EINVAL},
		{"at a negative offset", f, 0, -1, 10, unix.EINVAL},
		{"of a negative length", f, 0, 0, -1, unix.EINVAL},
		{"beyond the largest offset", f, 0, 1<<63 - 10, 100, unix.EFBIG},
		{"punching without keeping the size", f, unix.FALLOC_FL_PUNCH_HOLE, 0, unit, unix.EOPNOTSUPP},
		{"of a file open for reading", r, 0, 0, 10, unix.EBADF},
		{"of a directory", open(t, dir, unix.O_RDONLY, 0), 0, 0, 10, unix.EBADF},
	} {
		want(t, unix.Fallocate(fd(c.f), c.mode, c.off, c.len), c.err, "fallocate %s", c.name)
	}
}

func TestPunchedHolesReadAsZerosAndFreeSpace(t *testing.T) {
	f := open(t, filepath.Join(scratch(t), "f"), unix.O_RDWR|unix.O_CREAT, 0o644)
	model := pattern(1, 0, 8*unit)
	writeAt(t, f, 0, model)
	check(t, f.Sync(), "fsync")
	before := blocks(t, f)

	const mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	for _, hole := range [][2]int64{{2 * unit, 3 * unit}, {6*unit + 100, 1000}, {8*unit - 10, 10 * unit}} {
		check(t, unix.Fallocate(fd(f), mode, hole[0], hole[1]), "punch %d bytes at %d", hole[1], hole[0])
		clear(model[hole[0]:min(hole[0]+hole[1], 8*unit)])
		same(t, read(t, f.Name()), model, 0, "after punching")
	}
	if st := fstat(t, f); st.Size != 8*unit {
		t.Errorf("size after punching: %d", st.Size)
	}
	if freed := (before - blocks(t, f)) * 512; freed < 3*unit {
		t.Errorf("punching %d bytes freed %d", 3*unit, freed)
	}
}

// TestRangeOperationsWorkOrSaySo is about the modes that not every file system
// has: one that has them must do them right, one that has not must change
// nothing.
func TestRangeOperationsWorkOrSaySo(t *testing.T) {
	for _, c := range []struct {
		name    string
		mode    uint32
		needs   feature
		off     int64
		len     int64
		outcome func(model []byte) []byte
	}{
		{"zero range", unix.FALLOC_FL_ZERO_RANGE, featZeroRange, 7 * unit, 2 * unit,
			func(b []byte) []byte {
				return append(b[:7*unit], make([]byte, 2*unit)...)
			}},
		{"zero range, size kept", unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE, featZeroRange, 1000, unit,
			func(b []byte) []byte {
				clear(b[1000 : 1000+unit])
				return b
			}},
		{"collapse", unix.FALLOC_FL_COLLAPSE_RANGE, featCollapse, 2 * unit, unit,
			func(b []byte) []byte {
				return append(b[:2*unit], b[3*unit:]...)
			}},
		{"insert", unix.FALLOC_FL_INSERT_RANGE, featCollapse, 2 * unit, unit,
			func(b []byte) []byte {
				return bytes.Join([][]byte{b[:2*unit], make([]byte, unit), b[2*unit:]}, nil)
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := open(t, filepath.Join(scratch(t), "f"), unix.O_RDWR|unix.O_CREAT, 0o644)
			model := pattern(1, 0, 8*unit)
			writeAt(t, f, 0, model)
			check(t, f.Sync(), "fsync")
			err := unix.Fallocate(fd(f), c.mode, c.off, c.len)
			if expected[c.needs] {
				want(t, err, nil, "fallocate")
				model = c.outcome(model)
			} else {
				want(t, err, unix.EOPNOTSUPP, "fallocate without %s", c.needs)
			}
			same(t, read(t, f.Name()), model, 0, "contents")
			if st := fstat(t, f); st.Size != int64(len(model)) {
				t.Errorf("size %d, want %d", st.Size, len(model))
			}
		})
	}
}

func TestSeekFindsHolesAndData(t *testing.T) {
	f := open(t, filepath.Join(scratch(t), "f"), unix.O_RDWR|unix.O_CREAT, 0o644)
	const end = 40 * unit
	writeAt(t, f, 0, pattern(1, 0, unit))
	writeAt(t, f, 16*unit, pattern(1, 0, unit))
	check(t, unix.Ftruncate(fd(f), end), "truncate")
	check(t, f.Sync(), "fsync")
	for _, c := range []struct {
		off    int64
		whence int
		pos    int64
		err    error
	}{
		{0, unix.SEEK_DATA, 0, nil},
		{0, unix.SEEK_HOLE, unit, nil},
		{100, unix.SEEK_DATA, 100, nil},
		{unit, unix.SEEK_DATA, 16 * unit, nil},
		{5 * unit, unix.SEEK_HOLE, 5 * unit, nil},
		{16 * unit, unix.SEEK_HOLE, 17 * unit, nil},
		{17 * unit, unix.SEEK_DATA, 0, unix.ENXIO},
		{end - 1, unix.SEEK_HOLE, end - 1, nil},
		{end, unix.SEEK_HOLE, 0, unix.ENXIO},
		{end, unix.SEEK_DATA, 0, unix.ENXIO},
		{-1, unix.SEEK_DATA, 0, unix.ENXIO},
	} {
		pos, err := unix.Seek(fd(f), c.off, c.whence)
		want(t, err, c.err, "seek %d from %d", c.whence, c.off)
		if err == nil && pos != c.pos {
			t.Errorf("seek %d from %d: %d, want %d", c.whence, c.off, pos, c.pos)
		}
	}
	full := open(t, filepath.Join(scratch(t), "full"), unix.O_RDWR|unix.O_CREAT, 0o644)
	writeAt(t, full, 0, pattern(1, 0, 2*unit))
	check(t, full.Sync(), "fsync") // what a guest still collects is not yet anywhere
	if pos, err := unix.Seek(fd(full), 0, unix.SEEK_HOLE); pos != 2*unit || err != nil {
		t.Errorf("hole in a file without holes: %d, %v; want its end", pos, err)
	}
}

func TestFilesOfFiveGigabytesMayBeSparse(t *testing.T) {
	f := open(t, filepath.Join(scratch(t), "f"), unix.O_RDWR|unix.O_CREAT, 0o644)
	const five = 5 << 30
	pieces := map[int64][]byte{}
	// The first crosses the position where 32 bits end.
	for i, off := range []int64{4<<30 - 2048, 2<<30 - 1, five} {
		pieces[off] = pattern(uint64(i), off, 4096)
		writeAt(t, f, off, pieces[off])
	}
	check(t, f.Sync(), "fsync")
	st := fstat(t, f)
	if st.Size != five+4096 {
		t.Errorf("size %d, want %d", st.Size, int64(five+4096))
	}
	if n := blocks(t, f); n*512 > 1<<20 {
		t.Errorf("%d bytes in use for three pieces of 4 KiB", n*512)
	}
	for off, piece := range pieces {
		same(t, readAt(t, f, off, len(piece)), piece, off, "piece")
	}
	for _, off := range []int64{0, 1 << 30, 3<<30 + 17, 4<<30 + 4096, five - 100_000} {
		same(t, readAt(t, f, off, 100_000), make([]byte, 100_000), off, "hole")
	}
	pos, err := unix.Seek(fd(f), 4<<30+unit, unix.SEEK_DATA)
	if err != nil || pos > five || pos <= five-unit {
		t.Errorf("data behind 4 GiB found at %d, %v; want %d", pos, err, int64(five))
	}

	check(t, unix.Ftruncate(fd(f), 4<<30), "truncate to 4 GiB")
	check(t, unix.Ftruncate(fd(f), five+4096), "extend again")
	same(t, readAt(t, f, 4<<30-2048, 4096), append(pieces[4<<30-2048][:2048:2048], make([]byte, 2048)...), 4<<30-2048, "across the cut")
	same(t, readAt(t, f, five, 4096), make([]byte, 4096), five, "behind the cut")
}
