package guesttest

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// copyRange copies n bytes with copy_file_range, which may do it in pieces.
func copyRange(t *testing.T, src *os.File, srcOff int64, dst *os.File, dstOff int64, n int) {
	t.Helper()
	for n > 0 {
		m, err := unix.CopyFileRange(fd(src), &srcOff, fd(dst), &dstOff, n, 0)
		check(t, err, "copy_file_range of %d bytes from %d to %d", n, srcOff, dstOff)
		if m == 0 {
			t.Fatalf("copy_file_range stopped %d bytes early", n)
		}
		n -= m
	}
}

func TestCopyFileRangeCopiesExactlyTheRange(t *testing.T) {
	dir := scratch(t)
	const size = 3<<20 + 77
	data := pattern(1, 0, size)
	write(t, filepath.Join(dir, "src"), data)
	src := open(t, filepath.Join(dir, "src"), unix.O_RDWR, 0)
	dst := open(t, filepath.Join(dir, "dst"), unix.O_RDWR|unix.O_CREAT, 0o644)

	copyRange(t, src, 0, dst, 0, size)
	same(t, read(t, dst.Name()), data, 0, "whole file")

	model := bytes.Clone(data)
	copyRange(t, src, 1001, dst, 2<<20+3, 70001)
	copy(model[2<<20+3:], data[1001:][:70001])
	same(t, read(t, dst.Name()), model, 0, "odd range")

	// What has been written but not synced is copied too.
	patch := pattern(2, 50000, 5000)
	writeAt(t, src, 50000, patch)
	copyRange(t, src, 50000, dst, size+10, 5000)
	model = append(append(model, make([]byte, 10)...), patch...)
	same(t, read(t, dst.Name()), model, 0, "behind the end")

	copyRange(t, src, 0, src, 1<<20, 100000)
	copy(data[50000:], patch)
	copy(data[1<<20:], bytes.Clone(data[:100000]))
	same(t, read(t, src.Name()), data, 0, "within one file")

	for _, c := range []struct {
		name     string
		src, dst *os.File
		from, to int64
		flags    int
		err      error
	}{
		{"from the end", src, dst, size, 0, 0, nil},
		{"onto itself", src, src, 0, 100, 0, unix.EINVAL},
		{"with flags", src, dst, 0, 0, 1 << 10, unix.EINVAL},
		{"to a file open for reading", src, open(t, src.Name(), unix.O_RDONLY, 0), 0, 0, 0, unix.EBADF},
		{"to an appending file", src, open(t, dst.Name(), unix.O_WRONLY|unix.O_APPEND, 0), 0, 0, 0, unix.EBADF},
		{"from a directory", open(t, dir, unix.O_RDONLY, 0), dst, 0, 0, 0, unix.EISDIR},
	} {
		n, err := unix.CopyFileRange(fd(c.src), &c.from, fd(c.dst), &c.to, 1000, c.flags)
		want(t, err, c.err, "copy_file_range %s", c.name)
		if err == nil && n != 0 {
			t.Errorf("copy_file_range %s copied %d bytes", c.name, n)
		}
	}
}

func TestSendfileAndSpliceMoveTheBytesUnchanged(t *testing.T) {
	dir := scratch(t)
	const size = 500_001
	data := pattern(1, 0, size)
	write(t, filepath.Join(dir, "src"), data)
	src := open(t, filepath.Join(dir, "src"), unix.O_RDONLY, 0)

	sent := open(t, filepath.Join(dir, "sent"), unix.O_RDWR|unix.O_CREAT, 0o644)
	off := int64(1000)
	for off < size {
		n, err := unix.Sendfile(fd(sent), fd(src), &off, size)
		check(t, err, "sendfile")
		if n == 0 {
			t.Fatalf("sendfile stopped at %d", off)
		}
	}
	same(t, read(t, sent.Name()), data[1000:], 0, "sendfile from file to file")

	spliced := open(t, filepath.Join(dir, "spliced"), unix.O_RDWR|unix.O_CREAT, 0o644)
	r, w, err := os.Pipe()
	check(t, err, "pipe")
	defer r.Close()
	defer w.Close()
	var in, out int64
	for in < size {
		n, err := unix.Splice(fd(src), &in, fd(w), nil, 30000, 0)
		check(t, err, "splice to a pipe")
		if n == 0 {
			t.Fatalf("splice stopped at %d", in)
		}
		for n > 0 {
			m, err := unix.Splice(fd(r), nil, fd(spliced), &out, int(n), 0)
			check(t, err, "splice from a pipe")
			n -= m
		}
	}
	same(t, read(t, spliced.Name()), data, 0, "spliced through a pipe")

	got := make([]byte, 4000)
	off = 12345
	n, err := unix.Sendfile(fd(w), fd(src), &off, len(got))
	if n != len(got) || err != nil {
		t.Fatalf("sendfile to a pipe: %d, %v", n, err)
	}
	_, err = io.ReadFull(r, got)
	check(t, err, "read from the pipe")
	same(t, got, data[12345:][:4000], 12345, "sendfile to a pipe")
}
