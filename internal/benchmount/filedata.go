package main

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

// The workloads on the data of the big file.

// openDropped opens the file and, in a mount, drops what it has cached.
func openDropped(t *turn) error {
	if err := t.open(bigFile, unix.O_RDONLY); err != nil || t.server == nil {
		return err
	}
	return unix.Fadvise(t.fds[0], 0, 0, unix.FADV_DONTNEED)
}

// openUncached is openDropped, for reading page by page.
func openUncached(t *turn) error {
	if err := openDropped(t); err != nil {
		return err
	}
	return unix.Fadvise(t.fds[0], 0, 0, unix.FADV_RANDOM)
}

// openCached opens the file and has all of it read.
func openCached(t *turn) error {
	if err := t.open(bigFile, unix.O_RDONLY); err != nil {
		return err
	}
	for i := range t.size.megs {
		if err := readMeg(t, op{i: i, buf: t.bufs[0]}); err != nil {
			return err
		}
	}
	return nil
}

// openWrite opens the file for a generation of writes.
func openWrite(t *turn) error {
	t.generation++
	return t.open(bigFile, unix.O_WRONLY)
}

func closeAll(t *turn) error { return t.closeFiles() }

func read(fd int, b []byte, off int64) error {
	n, err := unix.Pread(fd, b, off)
	switch {
	case err != nil:
		return fmt.Errorf("read: %w", err)
	case n != len(b) || !stamped(b, off) || !stamped(b[len(b)-page:], off+int64(len(b))-page):
		return fmt.Errorf("read %d bytes at %d: %d, or others", len(b), off, n)
	}
	return nil
}

func write(fd int, b []byte, off int64) error {
	n, err := unix.Pwrite(fd, b, off)
	switch {
	case err != nil:
		return fmt.Errorf("write: %w", err)
	case n != len(b):
		return fmt.Errorf("wrote %d bytes instead of %d", n, len(b))
	}
	return nil
}

func readPage(t *turn, o op) error { return read(t.fds[0], o.buf[:page], t.order[o.i]) }
func readMeg(t *turn, o op) error  { return read(t.fds[0], o.buf, int64(o.i)*meg) }

func writePage(t *turn, o op) error {
	stamp(o.buf, t.order[o.i], t.generation)
	return write(t.fds[0], o.buf[:page], t.order[o.i])
}

func writeSync(t *turn, o op) error {
	if err := writePage(t, o); err != nil {
		return err
	}
	return failed("fsync", oslib.Fsync(t.fds[0]))
}

func writeMeg(t *turn, o op) error {
	off := int64(o.i) * meg
	stampAll(o.buf, off, t.generation)
	return write(t.fds[0], o.buf, off)
}

// written checks that pages of the bare file are of the present generation.
func (t *turn) written(buf []byte, count int, offset func(i int) int64) error {
	fd, errno := oslib.Openat(t.bare, []byte(bigFile+"\x00"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errno != 0 {
		return failed("open", errno)
	}
	defer oslib.Close(fd)
	for i := range count {
		off := offset(i)
		if err := read(fd, buf[:page], off); err != nil {
			return err
		}
		if g := generationOf(buf); g != t.generation {
			return fmt.Errorf("the page at %d was written in generation %d, and is of %d", off, t.generation, g)
		}
	}
	return nil
}

func seePages(t *turn, buf []byte) error {
	return t.written(buf, len(t.order), func(i int) int64 { return t.order[i] })
}

func seeSynced(t *turn, buf []byte) error {
	return t.written(buf, t.size.syncs, func(i int) int64 { return t.order[i] })
}

func seeMegs(t *turn, buf []byte) error {
	return t.written(buf, t.size.megs*(meg/page), func(i int) int64 { return int64(i) * page })
}
