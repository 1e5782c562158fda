package guestmem

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// MaxRegions is the most regions that a [Space] holds: what KVM can back, and
// what vhost-user back ends answer to GET_MAX_MEM_SLOTS.
const MaxRegions = 509

// Region is a range of guest memory in a file, as the vhost-user messages
// SET_MEM_TABLE and ADD_MEM_REG describe it. Nothing in it needs to be aligned.
type Region struct {
	GPA    uint64 // guest-physical address
	Size   uint64 // length in bytes
	UVA    uint64 // address of the range in the front end
	FD     int    // the file, open for reading and writing
	Offset uint64 // where the range begins in the file
}

// Space is the memory of one guest. The zero value is a guest without memory.
// A Space must not be copied.
type Space struct {
	change sync.Mutex // held while the table is rebuilt
	view   atomic.Pointer[View]
}

// noMemory is the View of a Space without regions. Its first reference is never
// given back.
var noMemory = func() *View {
	v := &View{}
	v.refs.Store(1)
	return v
}()

// Replace makes regions the whole memory of the guest (SET_MEM_TABLE). On error
// the Space is as it was. Replace takes the files: each is closed on return,
// success or not, once even if it stands in several regions.
func (s *Space) Replace(regions []Region) error {
	defer closeFiles(regions)
	s.change.Lock()
	defer s.change.Unlock()
	if len(regions) > MaxRegions {
		return errTooMany(len(regions))
	}
	spans := make([]span, 0, len(regions))
	defer func() {
		for i := range spans {
			spans[i].from.release()
		}
	}()
	for i := range regions {
		sp, err := mapRegion(&regions[i])
		if err != nil {
			return err
		}
		spans = append(spans, sp)
	}
	return s.install(slices.Clone(spans))
}

// Add adds a region (ADD_MEM_REG). It takes the file as [Space.Replace] does.
func (s *Space) Add(r Region) error {
	defer closeFiles([]Region{r})
	s.change.Lock()
	defer s.change.Unlock()
	sp, err := mapRegion(&r)
	if err != nil {
		return err
	}
	defer sp.from.release()
	return s.install(append(s.spans(), sp))
}

// AddMapped adds memory that this process has mapped already, such as that of a
// machine of our own. Such a region has no front-end address: HostUVA never
// finds it. The caller keeps mem mapped until the last View with the region has
// been released, and unmaps it.
func (s *Space) AddMapped(gpa uint64, mem []byte) error {
	s.change.Lock()
	defer s.change.Unlock()
	if err := checkRange("guest-physical", gpa, uint64(len(mem))); err != nil {
		return err
	}
	return s.install(append(s.spans(), span{gpa: gpa, mem: mem}))
}

// Remove takes the region with exactly these values out (REM_MEM_REG). The uva
// of a region from [Space.AddMapped] is 0.
func (s *Space) Remove(gpa, size, uva uint64) error {
	s.change.Lock()
	defer s.change.Unlock()
	spans := s.spans()
	i := slices.IndexFunc(spans, func(sp span) bool {
		return sp.gpa == gpa && sp.size() == size && sp.uva == uva
	})
	if i < 0 {
		return fmt.Errorf("no memory region with GPA %#x, size %#x and front-end address %#x", gpa, size, uva)
	}
	return s.install(slices.Delete(spans, i, i+1))
}

// Acquire returns the present table. The caller releases it.
func (s *Space) Acquire() *View {
	for {
		v := s.view.Load()
		if v == nil {
			v = noMemory
		}
		if v.tryRetain() {
			return v
		}
		// The View was replaced and released since the load: take its
		// successor.
	}
}

// Close takes all regions out. Their memory is unmapped when the last View that
// contains it is released.
func (s *Space) Close() {
	s.change.Lock()
	defer s.change.Unlock()
	if v := s.view.Swap(nil); v != nil {
		v.Release()
	}
}

// spans returns a copy of the present regions.
func (s *Space) spans() []span {
	v := s.view.Load()
	if v == nil {
		return nil
	}
	return slices.Clone(v.byGPA)
}

// install makes spans, which it keeps, the present table.
func (s *Space) install(spans []span) error {
	v, err := newView(spans)
	if err != nil {
		return err
	}
	if old := s.view.Swap(v); old != nil {
		old.Release()
	}
	return nil
}

func errTooMany(n int) error {
	return fmt.Errorf("%d memory regions: at most %d are supported", n, MaxRegions)
}

// checkRange refuses ranges that are empty or wrap around.
func checkRange(kind string, addr, size uint64) error {
	switch {
	case size == 0:
		return errors.New("a memory region is empty")
	case addr+size-1 < addr:
		return fmt.Errorf("a memory region of %#x bytes at %s address %#x reaches beyond the end of the address space", size, kind, addr)
	}
	return nil
}

func closeFiles(regions []Region) {
	for i, r := range regions {
		first := slices.IndexFunc(regions[:i], func(o Region) bool { return o.FD == r.FD }) < 0
		if r.FD >= 0 && first {
			unix.Close(r.FD)
		}
	}
}
