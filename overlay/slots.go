package overlay

import (
	"sync"
	"sync/atomic"
)

// An id is the index of a slot in the low 32 bits and the slot's generation in
// the 16 bits above. The generation goes up each time the slot is vacated, so an
// id of what is gone does not name the slot's next owner.
const (
	genShift  = 32
	genMask   = 1<<16 - 1
	chunkBits = 10
	chunkSize = 1 << chunkBits
)

type slot[T any] struct {
	// owner is changed under slots.mu and read without it.
	owner atomic.Pointer[owned[T]]

	gen      uint64 // guarded by slots.mu
	nextFree uint32 // guarded by slots.mu
}

// owned is a thing with its id.
type owned[T any] struct {
	id uint64
	it *T
}

// slots finds things by id without a lock. The zero value has none. Ids begin
// at 1.
type slots[T any] struct {
	chunks atomic.Pointer[[]*[chunkSize]slot[T]] // replaced when it grows; chunks never move
	count  atomic.Int64

	mu   sync.Mutex
	free uint32 // 0: none
	next uint32 // the highest slot used so far
}

func (s *slots[T]) at(index uint32) *slot[T] {
	chunks := s.chunks.Load()
	if c := index >> chunkBits; chunks != nil && int(c) < len(*chunks) {
		return &(*chunks)[c][index%chunkSize]
	}
	return nil
}

// get returns what has the id, or nil.
func (s *slots[T]) get(id uint64) *T {
	if sl := s.at(uint32(id)); sl != nil {
		if o := sl.owner.Load(); o != nil && o.id == id {
			return o.it
		}
	}
	return nil
}

// add returns the new id of it.
func (s *slots[T]) add(it *T) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	index := s.free
	if index != 0 {
		s.free = s.at(index).nextFree
	} else {
		s.next++
		index = s.next
		if s.at(index) == nil {
			var grown []*[chunkSize]slot[T]
			if old := s.chunks.Load(); old != nil {
				grown = append(grown, *old...)
			}
			grown = append(grown, new([chunkSize]slot[T]))
			s.chunks.Store(&grown)
		}
	}
	sl := s.at(index)
	id := sl.gen<<genShift | uint64(index)
	sl.owner.Store(&owned[T]{id, it})
	s.count.Add(1)
	return id
}

// remove takes an id back. It reports whether it was in use.
func (s *slots[T]) remove(id uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	sl := s.at(uint32(id))
	if sl == nil {
		return false
	}
	o := sl.owner.Load()
	if o == nil || o.id != id {
		return false
	}
	sl.owner.Store(nil)
	sl.gen = (sl.gen + 1) & genMask
	sl.nextFree = s.free
	s.free = uint32(id)
	s.count.Add(-1)
	return true
}

// clear takes back all ids.
func (s *slots[T]) clear() {
	s.mu.Lock()
	last := s.next
	s.mu.Unlock()
	for i := uint32(1); i <= last; i++ {
		if o := s.at(i).owner.Load(); o != nil {
			s.remove(o.id)
		}
	}
}
