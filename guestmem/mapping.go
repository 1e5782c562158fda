package guestmem

import (
	"fmt"
	"math"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// mapping is one mmap of a guest memory file. It is unmapped with its last
// reference; each View that contains it has one.
type mapping struct {
	refs atomic.Int64
	mem  []byte // all of it, from the beginning of the file
}

func (m *mapping) retain() {
	if m != nil {
		m.refs.Add(1)
	}
}

// release is without effect on a nil mapping: memory that is not ours to unmap.
func (m *mapping) release() {
	if m != nil && m.refs.Add(-1) == 0 {
		// It fails only for a range that is not a mapping.
		_ = unix.Munmap(m.mem)
	}
}

// mapRegion maps r. The caller has one reference to the mapping, and still owns
// r.FD.
func mapRegion(r *Region) (span, error) {
	m, err := mapFile(r)
	if err != nil {
		return span{}, err
	}
	return span{
		gpa:    r.GPA,
		uva:    r.UVA,
		hasUVA: true,
		mem:    m.mem[r.Offset : r.Offset+r.Size : r.Offset+r.Size],
		from:   m,
	}, nil
}

func mapFile(r *Region) (*mapping, error) {
	if err := checkRange("guest-physical", r.GPA, r.Size); err != nil {
		return nil, err
	}
	if err := checkRange("front-end", r.UVA, r.Size); err != nil {
		return nil, err
	}
	end := r.Offset + r.Size
	if end < r.Offset || end > math.MaxInt {
		return nil, fmt.Errorf("memory region at GPA %#x: %#x bytes at file offset %#x are beyond the end of any file", r.GPA, r.Size, r.Offset)
	}
	if r.FD < 0 {
		return nil, fmt.Errorf("memory region at GPA %#x comes without a file: the memory of the guest has to be shared (QEMU: share=on)", r.GPA)
	}
	length, err := mappedLength(r.FD, end)
	if err != nil {
		return nil, fmt.Errorf("memory region at GPA %#x: %w", r.GPA, err)
	}
	mem, err := unix.Mmap(r.FD, 0, int(length), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	switch err {
	case nil:
	case unix.EACCES:
		return nil, fmt.Errorf("memory region at GPA %#x: its file is not open for reading and writing: %w", r.GPA, err)
	default:
		return nil, fmt.Errorf("memory region at GPA %#x: mmap of %#x bytes: %w", r.GPA, length, err)
	}
	// Only keeps a core dump small and without the guest's secrets; kernels
	// may lack it.
	_ = unix.Madvise(mem, unix.MADV_DONTDUMP)
	m := &mapping{mem: mem}
	m.refs.Store(1)
	return m, nil
}

// mappedLength returns how much of a file to map for its first end bytes. A
// region beyond the end of the file is refused: to touch it is SIGBUS. Files
// without a size (device-dax, dma-buf) check their own ends in mmap.
func mappedLength(fd int, end uint64) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, fmt.Errorf("fstat of its file: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return end, nil
	}
	if end > uint64(st.Size) {
		return 0, fmt.Errorf("it ends at offset %#x of a file of %#x bytes", end, st.Size)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return 0, fmt.Errorf("fstatfs of its file: %w", err)
	}
	if fs.Type == unix.HUGETLBFS_MAGIC {
		// mmap rounds up to huge pages by itself, munmap does not.
		page := uint64(fs.Bsize)
		end = (end + page - 1) / page * page
	}
	return end, nil
}
