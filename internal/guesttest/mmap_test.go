package guesttest

import (
	"path/filepath"
	"runtime/debug"
	"testing"

	"golang.org/x/sys/unix"
)

const page = 4096

// mmap maps the first n bytes of a file and unmaps them at the end of the test.
func mmap(t *testing.T, fd, n, prot, flags int) []byte {
	t.Helper()
	m, err := unix.Mmap(fd, 0, n, prot, flags)
	check(t, err, "mmap of %d bytes", n)
	t.Cleanup(func() { unix.Munmap(m) })
	return m
}

// faults reports whether an access to m[i] raises SIGBUS, which the runtime
// turns into a panic.
func faults(m []byte, i int, store bool) (fault bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { fault = recover() != nil }()
	if store {
		m[i] = 1
	} else {
		sink = m[i]
	}
	return false
}

// sink keeps the compiler from leaving out a load.
var sink byte

// sharedMapsOr reports whether files may be mapped shared. Where they may not,
// it checks that the refusal is the one it should be.
func sharedMapsOr(t *testing.T) bool {
	t.Helper()
	if !expected[featNoMmap] {
		return true
	}
	f := open(t, filepath.Join(scratch(t), "f"), unix.O_RDWR|unix.O_CREAT, 0o644)
	writeAt(t, f, 0, make([]byte, page))
	_, err := unix.Mmap(fd(f), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	want(t, err, unix.ENODEV, "shared mapping with nommap")
	t.Log("nommap: only the refusal APPLIES, and was checked")
	return false
}

func TestSharedMappingsAndReadsSeeEachOther(t *testing.T) {
	if !sharedMapsOr(t) {
		return
	}
	path := filepath.Join(scratch(t), "f")
	model := pattern(1, 0, 10*page+100)
	write(t, path, model)
	f := open(t, path, unix.O_RDWR, 0)
	other := open(t, path, unix.O_RDWR, 0)
	m := mmap(t, fd(f), len(model), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	view := mmap(t, fd(other), len(model), unix.PROT_READ, unix.MAP_SHARED)
	same(t, m, model, 0, "fresh mapping")

	for i, off := range []int{0, page - 5, 5 * page, len(model) - 20} {
		piece := pattern(uint64(10+i), int64(off), 20)
		copy(m[off:], piece)
		copy(model[off:], piece)
		same(t, readAt(t, other, int64(off), 20), piece, int64(off), "read after a store")
		same(t, view[off:off+20], piece, int64(off), "second mapping after a store")

		off += page / 2
		if off+20 > len(model) {
			continue
		}
		piece = pattern(uint64(20+i), int64(off), 20)
		writeAt(t, other, int64(off), piece)
		copy(model[off:], piece)
		same(t, m[off:off+20], piece, int64(off), "mapping after a write")
	}
	check(t, unix.Msync(m, unix.MS_SYNC), "msync")
	check(t, unix.Fadvise(fd(other), 0, 0, unix.FADV_DONTNEED), "fadvise")
	same(t, read(t, path), model, 0, "file after msync")
}

func TestStoresInASharedMappingOutliveIt(t *testing.T) {
	if !sharedMapsOr(t) {
		return
	}
	path := filepath.Join(scratch(t), "f")
	write(t, path, make([]byte, 3*page))
	model := pattern(1, 0, 3*page)
	for i := range 3 { // a descriptor of its own for each page, closed before the store
		f := open(t, path, unix.O_RDWR, 0)
		m, err := unix.Mmap(fd(f), 0, 3*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		check(t, err, "mmap")
		check(t, f.Close(), "close")
		copy(m[i*page:(i+1)*page], model[i*page:])
		check(t, unix.Munmap(m), "munmap")
	}
	same(t, read(t, path), model, 0, "contents")
	f := open(t, path, unix.O_RDONLY, 0)
	check(t, f.Sync(), "fsync")
	check(t, unix.Fadvise(fd(f), 0, 0, unix.FADV_DONTNEED), "fadvise")
	same(t, readAt(t, f, 0, 3*page), model, 0, "contents, uncached")

	// An unlinked file lives as long as a mapping of it.
	f = open(t, path, unix.O_RDWR, 0)
	m := mmap(t, fd(f), 3*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	check(t, f.Close(), "close")
	check(t, unix.Unlink(path), "unlink")
	same(t, m, model, 0, "mapping of an unlinked file")
	copy(m, pattern(2, 0, page))
	check(t, unix.Msync(m, unix.MS_SYNC), "msync of an unlinked file")
	same(t, m[:page], pattern(2, 0, page), 0, "store to an unlinked file")
}

func TestPrivateMappingsKeepTheirStoresToThemselves(t *testing.T) {
	path := filepath.Join(scratch(t), "f")
	model := pattern(1, 0, 4*page)
	write(t, path, model)
	// A private mapping may be written though its file is open for reading.
	f := open(t, path, unix.O_RDONLY, 0)
	m := mmap(t, fd(f), 4*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	same(t, m, model, 0, "private mapping")
	copy(m[page:], pattern(2, 0, page))
	check(t, unix.Msync(m, unix.MS_SYNC), "msync")
	same(t, read(t, path), model, 0, "file behind a private mapping")

	w := open(t, path, unix.O_WRONLY, 0)
	writeAt(t, w, page, pattern(3, 0, page))
	same(t, m[page:2*page], pattern(2, 0, page), page, "page of its own after a write to the file")
}

func TestMappingsFaultBehindTheEndOfTheFile(t *testing.T) {
	if !sharedMapsOr(t) {
		return
	}
	f := open(t, filepath.Join(scratch(t), "f"), unix.O_RDWR|unix.O_CREAT, 0o644)
	writeAt(t, f, 0, pattern(1, 0, page+100))
	m := mmap(t, fd(f), 4*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	same(t, m[:page+100], pattern(1, 0, page+100), 0, "mapped contents")
	same(t, m[page+100:2*page], make([]byte, page-100), page+100, "rest of the last page")

	for _, c := range []struct {
		size    int64
		pages   int // that may be touched
		message string
	}{
		{page + 100, 2, "as written"},
		{3 * page, 3, "extended"},
		{100, 1, "cut"},
		{0, 0, "empty"},
		{4 * page, 4, "extended again"},
	} {
		check(t, unix.Ftruncate(fd(f), c.size), "truncate to %d", c.size)
		for i := range 4 {
			for _, store := range []bool{false, true} {
				if got, wanted := faults(m, i*page+50, store), i >= c.pages; got != wanted {
					t.Errorf("%s: access to page %d (store %v) faults: %v, want %v", c.message, i, store, got, wanted)
				}
			}
		}
	}
	// What was cut off is gone; the stores of the last round are there.
	model := make([]byte, 4*page)
	for i := range 4 {
		model[i*page+50] = 1
	}
	same(t, readAt(t, f, 0, 4*page), model, 0, "after all")
}

func TestMappingsNeedTheRightsOfTheirDescriptor(t *testing.T) {
	path := filepath.Join(scratch(t), "f")
	write(t, path, make([]byte, page))
	for _, c := range []struct {
		open, prot, flags int
		err               error
	}{
		{unix.O_RDONLY, unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED, unix.EACCES},
		{unix.O_WRONLY, unix.PROT_READ, unix.MAP_SHARED, unix.EACCES},
		{unix.O_WRONLY, unix.PROT_READ, unix.MAP_PRIVATE, unix.EACCES},
		{unix.O_PATH, unix.PROT_READ, unix.MAP_PRIVATE, unix.EBADF},
		{unix.O_RDONLY, unix.PROT_READ | unix.PROT_EXEC, unix.MAP_PRIVATE, nil},
		{unix.O_RDONLY, unix.PROT_READ | unix.PROT_WRITE, unix.MAP_PRIVATE, nil},
	} {
		f := open(t, path, c.open, 0)
		m, err := unix.Mmap(fd(f), 0, page, c.prot, c.flags)
		want(t, err, c.err, "mmap with protection %d, flags %d of a file opened with %#o", c.prot, c.flags, c.open)
		if err == nil {
			unix.Munmap(m)
		}
	}
}
