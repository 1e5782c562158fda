package scratch

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

const (
	pageSize  = 1 << pageShift
	pageShift = 12
	pageMask  = pageSize - 1

	// zerosLen is how long the part of the data file is that is never written:
	// what a guest reads of a hole is read from there.
	zerosLen = 1 << 20

	// spread is how many places there are for each page that may be in use. With
	// room to spare, files are in fewer pieces; a place that is not in use costs
	// a bit.
	spread = 2

	punch = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
)

// store is the data file and the bitmap of its pages.
type store struct {
	fd     int
	slow   bool   // on a disk: reads may wait
	zeroAt int64  // where the zeros are
	limit  uint32 // how many pages may be in use
	log    *slog.Logger

	mu   sync.Mutex
	used uint32
	bits bitmap
}

// open makes the data file and the bitmap.
func (s *store) open(o *Options) error {
	limit := uint32(o.Size / pageSize)
	places := (limit*spread + wordBits - 1) &^ (wordBits - 1)
	s.limit, s.log = limit, o.Logger
	s.zeroAt = int64(places) << pageShift
	var err error
	switch {
	case o.File != nil:
		s.fd, err = dup(o.File)
		o.File.Close()
	case o.Dir != "":
		s.fd, err = openUnnamed(o.Dir)
	default:
		s.fd, err = openMemory()
	}
	if err != nil {
		return fmt.Errorf("scratch: %w", err)
	}
	s.slow = !inMemory(s.fd)
	// All of it is a hole. A read never meets the end of the file.
	if errno := oslib.Ftruncate(s.fd, s.zeroAt+zerosLen); errno != 0 {
		s.close()
		return fmt.Errorf("scratch: data file of %d bytes: %w", s.zeroAt+zerosLen, errno)
	}
	if errno := oslib.Fallocate(s.fd, punch, 0, pageSize); errno != 0 {
		s.close()
		return fmt.Errorf("scratch: the file system of %q cannot punch holes: %w", o.Dir, errno)
	}
	s.bits.init(places)
	return nil
}

// dup returns a descriptor of f that is our own.
func dup(f *os.File) (int, error) {
	fd, errno := oslib.Dup(int(f.Fd()))
	if errno != 0 {
		return -1, fmt.Errorf("the data file: %w", errno)
	}
	return fd, nil
}

func openMemory() (int, error) {
	name := []byte("isthmus-scratch\x00")
	fd, errno := oslib.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if errno == syscall.EINVAL { // before Linux 6.3
		fd, errno = oslib.MemfdCreate(name, unix.MFD_CLOEXEC)
	}
	if errno != 0 {
		return -1, fmt.Errorf("memfd_create: %w", errno)
	}
	return fd, nil
}

// OpenData makes the data file of a space in a directory of the host, for a process
// that cannot reach that directory itself. It has no name; all that can be left of it, by
// a crash while it is made, is an empty directory.
func OpenData(dir string) (*os.File, error) {
	fd, err := openUnnamed(dir)
	if err != nil {
		return nil, fmt.Errorf("scratch: %w", err)
	}
	return os.NewFile(uintptr(fd), "scratch data"), nil
}

// openUnnamed makes a file in dir that has no name and can be given none. All that
// can be left of it, by a crash while it is made, is an empty directory.
func openUnnamed(dir string) (int, error) {
	private, err := os.MkdirTemp(dir, "isthmus-scratch-") // of mode 0700
	if err != nil {
		return -1, err
	}
	defer os.Remove(private)
	fd, err := unix.Open(private, dataFlags|unix.O_TMPFILE, 0o600)
	if err == unix.EOPNOTSUPP || err == unix.EISDIR {
		fd, err = openRemoved(private + "/data")
	}
	if err != nil {
		return -1, fmt.Errorf("a temporary file in %s: %w", dir, err)
	}
	return fd, nil
}

// dataFlags: with O_TMPFILE, O_EXCL says that the file will never have a name.
const dataFlags = unix.O_RDWR | unix.O_EXCL | unix.O_CLOEXEC

// openRemoved makes a file and removes its name. It is for file systems that have no
// O_TMPFILE.
func openRemoved(path string) (int, error) {
	fd, err := unix.Open(path, dataFlags|unix.O_CREAT, 0o600)
	if err != nil {
		return -1, err
	}
	if err := unix.Unlink(path); err != nil {
		oslib.Close(fd)
		return -1, err
	}
	return fd, nil
}

// inMemory tells whether a file is on a file system that never waits for a disk.
func inMemory(fd int) bool {
	var st unix.Statfs_t
	if oslib.Fstatfs(fd, &st) != 0 {
		return false
	}
	return st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC
}

func (s *store) close() error {
	if errno := oslib.Close(s.fd); errno != 0 {
		return errno
	}
	return nil
}

func (s *store) inUse() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// room tells whether n more pages may be in use at the moment.
func (s *store) room(n uint64) bool { return n <= uint64(s.limit-s.inUse()) }

// alloc takes up to n pages that lie together: those at hint if they are free.
// Otherwise they are somewhere with room behind them if the file is going to grow,
// or in a gap. None is a full store.
func (s *store) alloc(hint, n uint32, grows bool) (at, got uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = min(n, s.limit-s.used)
	if n == 0 {
		return 0, 0
	}
	at = s.bits.choose(hint, grows || n >= wordBits/4)
	got = s.bits.take(at, n)
	s.used += got
	return at, got
}

// release gives n pages back. Those that were written become holes first; if the
// host cannot do that, they are not used again, as the next owner would see what is
// in them.
func (s *store) release(at, n uint32, written bool) {
	if n == 0 || written && !s.zero(uint64(at)<<pageShift, uint64(n)<<pageShift) {
		return
	}
	s.mu.Lock()
	s.bits.give(at, n)
	s.used -= n
	s.mu.Unlock()
}

// zero makes a part of the data file zero, and whole pages of it holes.
func (s *store) zero(off, n uint64) bool {
	if n == 0 {
		return true
	}
	errno := oslib.Fallocate(s.fd, punch, int64(off), int64(n))
	if errno != 0 {
		s.log.Error("scratch: the data file cannot be cleared", "offset", off, "bytes", n, "error", errno)
	}
	return errno == 0
}
