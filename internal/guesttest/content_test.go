package guesttest

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAFileReadsBackWhatWasWritten(t *testing.T) {
	dir := scratch(t)
	for i, size := range []int{0, 1, 511, 4095, 4096, 4097, 65536, 131071, 1<<20 + 13} {
		path := filepath.Join(dir, "f")
		data := pattern(uint64(i), 0, size)
		f := open(t, path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o640)
		_, err := f.Write(data)
		check(t, err, "write %d bytes", size)
		check(t, f.Close(), "close")

		same(t, read(t, path), data, 0, "contents")
		st := lstat(t, path)
		if st.Size != int64(size) || st.Mode != unix.S_IFREG|0o640 || st.Nlink != 1 {
			t.Errorf("size %d: stat has size %d, mode %#o, %d links", size, st.Size, st.Mode, st.Nlink)
		}
		check(t, os.Remove(path), "remove")
		absent(t, path)
	}
}

func TestBigTransfersAtOddOffsetsAreExact(t *testing.T) {
	const (
		size = 8 << 20
		base = 1234567
	)
	f := open(t, filepath.Join(scratch(t), "f"), unix.O_RDWR|unix.O_CREAT, 0o644)
	// An odd address makes every page of the file straddle two of memory.
	data := append(make([]byte, 3, size+3), pattern(1, base, size)...)[3:]
	n, err := unix.Pwrite(fd(f), data, base)
	if n != size || err != nil {
		t.Fatalf("one write of 8 MiB: %d, %v", n, err)
	}
	if st := fstat(t, f); st.Size != base+size {
		t.Errorf("size %d, want %d", st.Size, base+size)
	}

	got := make([]byte, size+1)[1:]
	n, err = unix.Pread(fd(f), got, base)
	if n != size || err != nil {
		t.Fatalf("one read of 8 MiB: %d, %v", n, err)
	}
	same(t, got, data, base, "one read")
	same(t, readAt(t, f, 0, base), make([]byte, base), 0, "the hole in front")

	// Again with nothing cached, in pieces that never meet a page's edge twice.
	check(t, f.Sync(), "fsync")
	check(t, unix.Fadvise(fd(f), 0, 0, unix.FADV_DONTNEED), "fadvise")
	for off, piece := int64(base), 100_003; off < base+size; off += int64(piece) {
		piece = min(piece, int(base+size-off))
		same(t, readAt(t, f, off, piece), data[off-base:][:piece], off, "reads of 100,003 bytes")
	}
}

func TestSmallOverwritesLeaveTheirSurroundings(t *testing.T) {
	dir := scratch(t)
	path := filepath.Join(dir, "f")
	model := pattern(1, 0, 20000)
	write(t, path, model)
	// A file open for writing only: a page that is changed in part must be
	// completed from a file that this descriptor cannot read.
	f := open(t, path, unix.O_WRONLY, 0)
	for i, off := range []int64{0, 100, 4095, 4096, 8000, 12287, 19990} {
		piece := pattern(uint64(100+i), off, 10)
		writeAt(t, f, off, piece)
		copy(model[off:], piece)
	}
	same(t, read(t, path), model, 0, "after overwriting")
	_, err := f.ReadAt(make([]byte, 1), 0)
	want(t, err, unix.EBADF, "read of a file open for writing")

	// The same for a file that was created so and is not yet on disk.
	fresh := open(t, filepath.Join(dir, "fresh"), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	model = make([]byte, 9000)
	for i, off := range []int64{8990, 10, 5000, 15} {
		piece := pattern(uint64(200+i), off, 10)
		writeAt(t, fresh, off, piece)
		copy(model[off:], piece)
	}
	same(t, read(t, fresh.Name()), model, 0, "a new file")

	r := open(t, path, unix.O_RDONLY, 0)
	_, err = r.WriteAt([]byte("x"), 0)
	want(t, err, unix.EBADF, "write to a file open for reading")
}

func TestReadsEndAtTheEndOfTheFile(t *testing.T) {
	path := filepath.Join(scratch(t), "f")
	write(t, path, pattern(1, 0, 5000))
	f := open(t, path, unix.O_RDONLY, 0)
	for _, c := range []struct {
		off int64
		ask int
		n   int
	}{
		{0, 5000, 5000}, {0, 10000, 5000}, {4999, 10, 1}, {5000, 1, 0}, {5001, 1, 0},
		{4096, 4096, 904}, {8192, 4096, 0}, {1 << 40, 100, 0}, {100, 0, 0},
	} {
		n, err := unix.Pread(fd(f), make([]byte, c.ask), c.off)
		if n != c.n || err != nil {
			t.Errorf("read of %d bytes at %d: %d, %v; want %d", c.ask, c.off, n, err, c.n)
		}
	}
	_, err := unix.Pread(fd(f), make([]byte, 1), -1)
	want(t, err, unix.EINVAL, "read at a negative offset")
}

func TestAppendsFromTwoDescriptorsNeverOverwrite(t *testing.T) {
	path := filepath.Join(scratch(t), "f")
	a := open(t, path, unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND, 0o644)
	b := open(t, path, unix.O_RDWR|unix.O_APPEND, 0)
	c := open(t, path, unix.O_RDWR, 0)
	var model []byte
	for i := range 50 {
		for _, f := range []*os.File{a, b} {
			piece := pattern(uint64(i), int64(len(model)), 1+i*37%700)
			_, err := f.Write(piece)
			check(t, err, "append")
			model = append(model, piece...)
		}
		if i%10 == 0 { // growth by somebody else moves the end as well
			piece := pattern(99, int64(len(model)), 333)
			writeAt(t, c, int64(len(model)), piece)
			model = append(model, piece...)
		}
	}
	// Linux appends even where the call names an offset (pwrite(2), BUGS).
	_, err := unix.Pwrite(fd(a), []byte("tail"), 0)
	check(t, err, "pwrite to an appending descriptor")
	model = append(model, "tail"...)
	same(t, read(t, path), model, 0, "appended")

	if pos, err := b.Seek(0, io.SeekCurrent); err != nil || pos <= 0 || pos > int64(len(model)) {
		t.Errorf("position after appending: %d, %v", pos, err)
	}
	check(t, unix.Ftruncate(fd(c), 7), "truncate")
	_, err = a.Write([]byte("after"))
	check(t, err, "append after a truncation")
	same(t, read(t, path), append(model[:7:7], "after"...), 0, "appended after a truncation")
}

func TestTruncationCutsAndExtendsWithZeros(t *testing.T) {
	dir := scratch(t)
	path := filepath.Join(dir, "f")
	model := pattern(1, 0, 20000)
	write(t, path, model)
	f := open(t, path, unix.O_RDWR, 0)
	for i, size := range []int{10000, 30000, 8192, 8193, 100000, 1, 0, 4096, 5} {
		var err error
		if i%2 == 0 {
			err = unix.Ftruncate(fd(f), int64(size))
		} else {
			err = unix.Truncate(path, int64(size))
		}
		check(t, err, "truncate to %d", size)
		if size <= len(model) {
			model = model[:size]
		} else {
			model = append(model, make([]byte, size-len(model))...)
		}
		if st := fstat(t, f); st.Size != int64(size) {
			t.Errorf("size after truncation to %d: %d", size, st.Size)
		}
		same(t, read(t, path), model, 0, "after truncation")
	}

	write(t, path, pattern(2, 0, 5000))
	check(t, tryOpen(path, unix.O_WRONLY|unix.O_TRUNC, 0), "open with O_TRUNC")
	if st := fstat(t, f); st.Size != 0 {
		t.Errorf("size after O_TRUNC: %d", st.Size)
	}

	r := open(t, path, unix.O_RDONLY, 0)
	want(t, unix.Ftruncate(fd(r), 0), unix.EINVAL, "ftruncate of a file open for reading")
	want(t, unix.Truncate(path, -1), unix.EINVAL, "truncate to a negative size")
	want(t, unix.Truncate(dir, 0), unix.EISDIR, "truncate of a directory")
	want(t, unix.Truncate(path+"-", 0), unix.ENOENT, "truncate of nothing")
}

func TestManyIovecsAreReadAndWrittenInOrder(t *testing.T) {
	const most = 1024 // UIO_MAXIOV
	f := open(t, filepath.Join(scratch(t), "f"), unix.O_RDWR|unix.O_CREAT, 0o644)
	var out, in [][]byte
	var all []byte
	for i := range most {
		piece := pattern(7, int64(len(all)), (i*61)%997)
		out = append(out, piece)
		all = append(all, piece...)
	}
	for i := range most {
		in = append(in, make([]byte, (i*89)%1013))
	}
	n, err := unix.Writev(fd(f), out)
	if n != len(all) || err != nil {
		t.Fatalf("writev: %d, %v; want %d", n, err, len(all))
	}
	n, err = unix.Preadv(fd(f), in, 0)
	got := bytes.Join(in, nil)
	if wanted := min(len(got), len(all)); n != wanted || err != nil {
		t.Fatalf("preadv: %d, %v; want %d", n, err, wanted)
	}
	same(t, got[:n], all[:n], 0, "preadv")

	_, err = unix.Pwritev(fd(f), out[:500], 1<<20+1)
	check(t, err, "pwritev")
	head := bytes.Join(out[:500], nil)
	same(t, readAt(t, f, 1<<20+1, len(head)), head, 1<<20+1, "pwritev at an offset")
	_, err = unix.Writev(fd(f), append(out, []byte("x")))
	want(t, err, unix.EINVAL, "writev with 1025 pieces")
}

func TestDuplicatedDescriptorsShareOnePosition(t *testing.T) {
	f := open(t, filepath.Join(scratch(t), "f"), unix.O_RDWR|unix.O_CREAT, 0o644)
	n, err := unix.Dup(fd(f))
	check(t, err, "dup")
	g := os.NewFile(uintptr(n), "dup")
	defer g.Close()
	for i, h := range []*os.File{f, g, f, g} {
		_, err := h.Write([]byte{'a' + byte(i)})
		check(t, err, "write")
	}
	if got := readAt(t, f, 0, 4); string(got) != "abcd" {
		t.Errorf("contents %q", got)
	}
	for _, c := range []struct {
		off    int64
		whence int
		pos    int64
		err    error
	}{
		{-1, io.SeekEnd, 3, nil},
		{100, io.SeekCurrent, 103, nil},
		{-104, io.SeekCurrent, 0, unix.EINVAL},
		{1 << 40, io.SeekStart, 1 << 40, nil},
		{0, 99, 0, unix.EINVAL},
	} {
		pos, err := unix.Seek(fd(g), c.off, c.whence)
		want(t, err, c.err, "seek by %d, %d", c.off, c.whence)
		if err == nil && pos != c.pos {
			t.Errorf("seek by %d, %d: %d, want %d", c.off, c.whence, pos, c.pos)
		}
	}
}

func TestSyncCallsSucceed(t *testing.T) {
	dir := scratch(t)
	path := filepath.Join(dir, "f")
	f := open(t, path, unix.O_RDWR|unix.O_CREAT, 0o644)
	d := open(t, dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	writeAt(t, f, 0, pattern(1, 0, 10000))
	check(t, unix.Fdatasync(fd(f)), "fdatasync")
	check(t, unix.Fsync(fd(f)), "fsync")
	check(t, unix.Fsync(fd(d)), "fsync of a directory")
	check(t, unix.Fdatasync(fd(d)), "fdatasync of a directory")
	check(t, unix.Syncfs(fd(f)), "syncfs")
	r := open(t, path, unix.O_RDONLY, 0)
	check(t, unix.Fsync(fd(r)), "fsync of a file open for reading")
	for _, flag := range []int{unix.O_SYNC, unix.O_DSYNC} {
		s := open(t, path, unix.O_RDWR|flag, 0)
		piece := pattern(uint64(flag), 5000, 3000)
		writeAt(t, s, 5000, piece)
		same(t, readAt(t, f, 5000, 3000), piece, 5000, "synchronous write")
	}
}

func TestDirectIOMovesTheSameBytes(t *testing.T) {
	path := filepath.Join(scratch(t), "f")
	const size = 256 << 10
	data := aligned(size)
	copy(data, pattern(1, 0, size))
	write(t, path, nil)
	f := open(t, path, unix.O_RDWR|unix.O_DIRECT, 0)
	n, err := unix.Pwrite(fd(f), data, 0)
	if n != size || err != nil {
		t.Fatalf("aligned direct write: %d, %v", n, err)
	}
	same(t, read(t, path), data, 0, "buffered read after a direct write")

	buffered := open(t, path, unix.O_RDWR, 0)
	patch := pattern(2, 65536, 8192)
	writeAt(t, buffered, 65536, patch)
	copy(data[65536:], patch)
	got := aligned(size)
	n, err = unix.Pread(fd(f), got, 0)
	if n != size || err != nil {
		t.Fatalf("aligned direct read: %d, %v", n, err)
	}
	same(t, got, data, 0, "direct read after a buffered write")
	n, err = unix.Pread(fd(f), got[:8192], size)
	if n != 0 || err != nil {
		t.Errorf("direct read at the end: %d, %v", n, err)
	}

	// Whether odd offsets are taken is the file system's choice, but what
	// is taken must be done right.
	odd := pattern(3, 1001, 999)
	n, err = unix.Pwrite(fd(f), odd, 1001)
	switch {
	case errors.Is(err, unix.EINVAL):
		t.Log("unaligned direct writes are refused with EINVAL")
	case err != nil || n != len(odd):
		t.Errorf("unaligned direct write: %d, %v", n, err)
	default:
		t.Log("unaligned direct writes are taken")
		copy(data[1001:], odd)
	}
	same(t, read(t, path), data, 0, "after an unaligned direct write")
}

func TestReplacingAFileByRenameShowsOldOrNewButNeverBoth(t *testing.T) {
	dir := scratch(t)
	path := filepath.Join(dir, "config")
	write(t, path, bytes.Repeat([]byte{0}, 10000))
	old := open(t, path, unix.O_RDONLY, 0)
	for i := 1; i <= 20; i++ {
		tmp := filepath.Join(dir, ".config.tmp")
		f := open(t, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
		_, err := f.Write(bytes.Repeat([]byte{byte(i)}, 10000-i))
		check(t, err, "write")
		check(t, f.Sync(), "fsync")
		check(t, f.Close(), "close")
		check(t, os.Rename(tmp, path), "rename")
		d := open(t, dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		check(t, d.Sync(), "fsync of the directory")
		d.Close()
		same(t, read(t, path), bytes.Repeat([]byte{byte(i)}, 10000-i), 0, "after replacing")
		absent(t, tmp)
	}
	same(t, readAt(t, old, 0, 10000), make([]byte, 10000), 0, "the replaced file, still open")
}
