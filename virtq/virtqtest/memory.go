package virtqtest

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
)

const (
	pageSize = 4096
	// firstUVA is the front-end address of the beginning of the memfd. It is
	// no address of this process: nobody has to reach it.
	firstUVA = 0x7000_0000_0000
)

// Segment is a range of guest-physical memory. Segments become regions of the
// device; two that touch are one range to the driver.
type Segment struct {
	GPA  uint64
	Size int
}

// Buf is a buffer in guest memory.
type Buf struct {
	GPA uint64
	Len uint32
}

// Memory is the memory of a guest, zeroed.
type Memory struct {
	fd   int
	mem  []byte
	segs []segment
}

type segment struct {
	Segment
	off  int // in the memfd
	used int // allocated bytes
}

// NewMemory makes guest memory of segments. The caller closes it.
func NewMemory(segments ...Segment) (*Memory, error) {
	m := &Memory{}
	end := 0
	for i, s := range segments {
		if i == 0 || segments[i-1].GPA+uint64(segments[i-1].Size) != s.GPA {
			// A gap in addresses is one in the file. Addresses keep
			// their alignment.
			end = (end+pageSize-1)/pageSize*pageSize + int(s.GPA%pageSize)
		}
		m.segs = append(m.segs, segment{Segment: s, off: end})
		end += s.Size
	}
	fd, err := unix.MemfdCreate("virtqtest", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	if err := unix.Ftruncate(fd, int64(end)); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("ftruncate of guest memory to %d bytes: %w", end, err)
	}
	mem, err := unix.Mmap(fd, 0, end, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("mmap of %d bytes of guest memory: %w", end, err)
	}
	m.fd, m.mem = fd, mem
	return m, nil
}

// Close unmaps the driver's side. Views of the device stay valid.
func (m *Memory) Close() {
	// Both fail only for what is closed already.
	_ = unix.Munmap(m.mem)
	_ = unix.Close(m.fd)
}

// FD returns the memfd. It stays the Memory's.
func (m *Memory) FD() int { return m.fd }

// Regions describes the memory to a device. Each region has a file descriptor of
// its own, which is the receiver's to close; guestmem.Space does.
func (m *Memory) Regions() ([]guestmem.Region, error) {
	regions := make([]guestmem.Region, 0, len(m.segs))
	for _, s := range m.segs {
		fd, err := unix.FcntlInt(uintptr(m.fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			for _, r := range regions {
				unix.Close(r.FD)
			}
			return nil, fmt.Errorf("duplicate of the memfd: %w", err)
		}
		regions = append(regions, guestmem.Region{
			GPA:    s.GPA,
			Size:   uint64(s.Size),
			UVA:    firstUVA + uint64(s.off),
			FD:     fd,
			Offset: uint64(s.off),
		})
	}
	return regions, nil
}

// View maps the memory as a device does. The caller releases the View.
func (m *Memory) View() (*guestmem.View, error) {
	regions, err := m.Regions()
	if err != nil {
		return nil, err
	}
	var s guestmem.Space
	if err := s.Replace(regions); err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Acquire(), nil
}

// Alloc returns n zeroed bytes at a multiple of align, a power of two, that lie
// within one segment. They cannot be given back.
func (m *Memory) Alloc(n, align int) (Buf, error) {
	for i := range m.segs {
		s := &m.segs[i]
		gpa := (s.GPA + uint64(s.used) + uint64(align) - 1) &^ (uint64(align) - 1)
		used := int(gpa-s.GPA) + n
		if used > s.Size {
			continue
		}
		s.used = used
		return Buf{GPA: gpa, Len: uint32(n)}, nil
	}
	return Buf{}, fmt.Errorf("no segment has %d bytes left", n)
}

// Bytes returns the driver's mapping of a buffer, which may reach over segments
// that touch. It is valid until Close.
func (m *Memory) Bytes(b Buf) []byte {
	off := m.offset(b.GPA)
	return m.mem[off : off+int(b.Len) : off+int(b.Len)]
}

// UVA returns the front-end address of a guest-physical one.
func (m *Memory) UVA(gpa uint64) uint64 { return firstUVA + uint64(m.offset(gpa)) }

func (m *Memory) offset(gpa uint64) int {
	for i := range m.segs {
		if s := &m.segs[i]; gpa-s.GPA < uint64(s.Size) {
			return s.off + int(gpa-s.GPA)
		}
	}
	panic(fmt.Sprintf("virtqtest: no guest memory at %#x", gpa))
}
