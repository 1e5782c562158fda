package archive

import (
	"fmt"
	"math"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

const (
	pageSize = 4096
	// smallChunk is what is set aside for small files at a time.
	smallChunk = 64 << 10
)

// store is the memfd with the data of all files, while it is written.
//
// A file of a page or more begins at a page of its own, and lies there as it is,
// holes included: the memfd has holes in the same places, as pages of zeros are
// never written. So a read at an offset is one read of the memfd, lseek(2) of
// the memfd knows data from holes, and a file can be mapped whole, with nothing
// of another in its pages. Smaller files are packed one after the other: a tree
// of source code would otherwise take twice the memory.
type store struct {
	fd       int
	end      uint64 // where the next file may begin; page aligned
	pages    uint64 // that have been written
	maxPages uint64

	// small collects small files for smallAt. It is nil before the first of them;
	// then its capacity is smallChunk.
	small   []byte
	smallAt uint64
}

func newStore(maxBytes uint64) (*store, error) {
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	name := []byte("isthmus-archive\x00")
	fd, errno := oslib.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL)
	if errno == syscall.EINVAL { // before Linux 6.3
		fd, errno = oslib.MemfdCreate(name, flags)
	}
	if errno != 0 {
		return nil, fmt.Errorf("memfd_create: %w", errno)
	}
	return &store{
		fd: fd,
		// A file a byte longer than a page takes two. What wastes more than
		// that has little to say in many pages.
		maxPages: 2*(maxBytes/pageSize) + smallChunk/pageSize,
	}, nil
}

func (s *store) close() { oslib.Close(s.fd) }

// reserve returns where a file of size bytes, a page or more, will lie.
func (s *store) reserve(size uint64) (at uint64) {
	at = s.end
	s.end += (size + pageSize - 1) &^ (pageSize - 1)
	return at
}

// addSmall returns room for a file of size bytes, less than a page, and where it
// will lie. The room is zero and is written to before the next call.
func (s *store) addSmall(size uint64) (room []byte, at uint64, err error) {
	if s.small == nil || len(s.small)+int(size) > smallChunk {
		if err := s.flushSmall(); err != nil {
			return nil, 0, err
		}
		s.small = slices.Grow(s.small, smallChunk)
		s.smallAt = s.reserve(smallChunk)
	}
	used := len(s.small)
	s.small = s.small[:used+int(size)]
	room = s.small[used:]
	clear(room)
	return room, s.smallAt + uint64(used), nil
}

func (s *store) flushSmall() error {
	f := fileWriter{store: s, at: s.smallAt, last: noPage}
	err := f.write(0, s.small)
	s.small = s.small[:0]
	return err
}

// noPage is the number of no page.
const noPage = math.MaxUint64

// fileWriter writes one file. Parts come in order and do not overlap.
type fileWriter struct {
	store *store
	at    uint64
	pages uint64 // of this file, that have been written
	last  uint64 // the page written last, or noPage
}

// write puts data at an offset, but for what of them is zeros up to the end of a
// page.
func (f *fileWriter) write(off uint64, data []byte) error {
	for len(data) > 0 {
		skip := f.run(off, data, true)
		off += uint64(skip)
		data = data[skip:]
		n := f.run(off, data, false)
		if n == 0 {
			continue
		}
		first, last := off/pageSize, (off+uint64(n)-1)/pageSize
		pages := last - first + 1
		if first == f.last {
			pages--
		}
		f.last = last
		f.pages += pages
		if f.store.pages += pages; f.store.pages > f.store.maxPages {
			return refuse(ErrLimit, "its files take more than %d pages of memory", f.store.maxPages)
		}
		if err := f.store.pwrite(data[:n], f.at+off); err != nil {
			return err
		}
		off += uint64(n)
		data = data[n:]
	}
	return nil
}

// run returns how much of data, at off in the file, is in pages that are zero as
// far as data go, or in pages that are not.
func (f *fileWriter) run(off uint64, data []byte, zero bool) int {
	n := 0
	for n < len(data) {
		piece := min(pageSize-int((off+uint64(n))%pageSize), len(data)-n)
		if isZero(data[n:n+piece]) != zero {
			break
		}
		n += piece
	}
	return n
}

func (s *store) pwrite(p []byte, at uint64) error {
	for len(p) > 0 {
		n, errno := oslib.Pwritev2(s.fd, []unix.Iovec{oslib.Iov(p)}, int64(at), 0)
		if errno != 0 {
			return fmt.Errorf("write to memory: %w", errno)
		}
		p = p[n:]
		at += uint64(n)
	}
	return nil
}

// seal ends the writing: from now on nobody changes the data or their length,
// also not through a mapping.
func (s *store) seal() error {
	if err := s.flushSmall(); err != nil {
		return err
	}
	if errno := oslib.Ftruncate(s.fd, int64(s.end)); errno != 0 {
		return fmt.Errorf("set the length of memory: %w", errno)
	}
	seals := unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(s.fd), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("seal memory: %w", err)
	}
	return nil
}
