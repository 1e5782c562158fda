package fsx

import (
	"golang.org/x/sys/unix"
)

// inode is what a file should hold.
type inode struct {
	data []byte
}

func (ino *inode) size() int64 { return int64(len(ino.data)) }

// resize cuts the file, or extends it by zeros.
func (ino *inode) resize(size int64) {
	if size <= ino.size() {
		ino.data = ino.data[:size:size]
		return
	}
	ino.data = append(ino.data, make([]byte, size-ino.size())...)
}

// reach makes the file end at end or later.
func (ino *inode) reach(end int64) {
	if end > ino.size() {
		ino.resize(end)
	}
}

func (ino *inode) write(off int64, data []byte) {
	ino.reach(off + int64(len(data)))
	copy(ino.data[off:], data)
}

// read returns what there is of a range.
func (ino *inode) read(off, n int64) []byte {
	off = min(off, ino.size())
	return ino.data[off:min(off+n, ino.size())]
}

// zero makes zeros of what there is of a range.
func (ino *inode) zero(off, n int64) { clear(ino.read(off, n)) }

// slot is an open file.
type slot struct {
	ino    *inode
	flags  int // of open
	mapped bool
}

func (s *slot) readable() bool { return s.flags&unix.O_ACCMODE != unix.O_WRONLY }
func (s *slot) writable() bool { return s.flags&unix.O_ACCMODE != unix.O_RDONLY }
func (s *slot) appends() bool  { return s.flags&unix.O_APPEND != 0 }
func (s *slot) direct() bool   { return s.flags&unix.O_DIRECT != 0 }

// both reports whether a file may be mapped for stores.
func (s *slot) both() bool { return s.flags&unix.O_ACCMODE == unix.O_RDWR }

// anywhere reports whether the file may be written at any place.
func (s *slot) anywhere() bool { return s.writable() && !s.appends() && !s.direct() }
