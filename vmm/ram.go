package vmm

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// pageSize is the smallest piece of memory that KVM knows; hugePage is the next.
const (
	pageSize = 4 << 10
	hugePage = 2 << 20
)

// RAMConfig says what memory [NewRAM] makes.
type RAMConfig struct {
	Size uint64 // bytes, a multiple of 4 KiB
	GPA  uint64 // where the guest finds it, a multiple of 4 KiB

	// HugePages asks for transparent huge pages (MADV_HUGEPAGE), which cost fewer
	// faults and more memory.
	HugePages bool
	// Mergeable lets the host merge pages that are equal to those of other guests
	// (MADV_MERGEABLE), which saves memory and lets a guest learn by timing what others
	// have.
	Mergeable bool
	// Shared makes it a file in memory, which other processes can be given.
	Shared bool
}

// RAM is a block of guest memory, zero at first and taking memory of the host's as it is
// used.
type RAM struct {
	gpa     uint64
	mem     []byte // begins as far behind a huge page as gpa does
	mapping []byte
	fd      int // of a shared one, or -1
}

// NewRAM maps memory for a guest.
func NewRAM(cfg RAMConfig) (*RAM, error) {
	if cfg.Size == 0 || cfg.Size%pageSize != 0 || cfg.GPA%pageSize != 0 || cfg.GPA+cfg.Size < cfg.GPA || cfg.Size > 1<<46 {
		return nil, fmt.Errorf("guest memory of %#x bytes at %#x: want pages of 4 KiB", cfg.Size, cfg.GPA)
	}
	r := &RAM{gpa: cfg.GPA, fd: -1}
	flags := unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE
	if cfg.Shared {
		fd, err := unix.MemfdCreate("guest-memory", unix.MFD_CLOEXEC)
		if err != nil {
			return nil, fmt.Errorf("guest memory: memfd_create: %w", err)
		}
		r.fd = fd
		flags = unix.MAP_SHARED | unix.MAP_NORESERVE
		if err := unix.Ftruncate(fd, int64(cfg.Size)); err != nil {
			r.Close()
			return nil, fmt.Errorf("guest memory of %d bytes: %w", cfg.Size, err)
		}
	}
	if err := r.mapAligned(int(cfg.Size), flags); err != nil {
		r.Close()
		return nil, fmt.Errorf("guest memory of %d MiB: %w", cfg.Size>>20, err)
	}
	for _, a := range []struct {
		wanted bool
		advice int
		what   string
	}{
		{cfg.HugePages, unix.MADV_HUGEPAGE, "transparent huge pages"},
		{cfg.Mergeable, unix.MADV_MERGEABLE, "merging of equal pages (KSM)"},
		// A core dump of ours is not to hold all of a guest.
		{true, unix.MADV_DONTDUMP, "exclusion from core dumps"},
	} {
		if !a.wanted {
			continue
		}
		if err := unix.Madvise(r.mem, a.advice); err != nil {
			r.Close()
			return nil, fmt.Errorf("this host's kernel does not offer %s for guest memory: %w", a.what, err)
		}
	}
	return r, nil
}

// mapAligned maps the memory so that where the guest has a huge page this process has
// one too: otherwise KVM can map only small ones.
func (r *RAM) mapAligned(size, flags int) error {
	m, err := unix.Mmap(-1, 0, size+hugePage, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return err
	}
	r.mapping = m
	skip := (r.gpa - addressOf(m)) % hugePage
	r.mem = m[skip : skip+uint64(size) : skip+uint64(size)]
	return mapOver(r.mem, flags, r.fd)
}

// GPA is the guest-physical address of the first byte.
func (r *RAM) GPA() uint64 { return r.gpa }

// Bytes is the memory, valid until Close. While a guest runs it changes at any time.
func (r *RAM) Bytes() []byte { return r.mem }

// FD is the file of shared memory, which stays the RAM's, and -1 for other memory.
func (r *RAM) FD() int { return r.fd }

// Close gives the memory back. No machine has it any more.
func (r *RAM) Close() error {
	var err error
	if r.mapping != nil {
		err = unix.Munmap(r.mapping)
		r.mapping, r.mem = nil, nil
	}
	if r.fd >= 0 {
		unix.Close(r.fd)
		r.fd = -1
	}
	return err
}
