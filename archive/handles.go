package archive

import (
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// handleKind is what a handle was opened as.
type handleKind uint64

const (
	kindNone handleKind = iota // the slot is free
	kindFile
	kindDir
	kindAny // in a search: either
)

// A vfs.Handle is a slot's place in the lower half and the slot's generation in
// the upper one. What a slot holds is one word, so that looking at it takes no
// lock: generation << 34 | kind << 32 | node. There is nothing to free behind
// a handle, so nobody need hold on to one while it is used.
const (
	kindShift = 32
	genShift  = 34
	genMask   = 1<<(64-genShift) - 1

	handleChunkBits = 8
	handleChunkSize = 1 << handleChunkBits
	// maxHandles bounds the memory that a guest can have us use for handles.
	maxHandles = 1 << 20
)

type handleSlot struct {
	word atomic.Uint64
	next uint32 // of the free slots, plus one; guarded by handleTable.mu
}

type handleChunk [handleChunkSize]handleSlot

// handleTable finds handles without a lock. Slots live in chunks that never move
// and are reused.
type handleTable struct {
	chunks atomic.Pointer[[]*handleChunk]
	count  atomic.Int64

	mu   sync.Mutex
	free uint32 // a free slot plus one, or 0
}

func (t *handleTable) init() { t.chunks.Store(new([]*handleChunk)) }

func (t *handleTable) at(slot uint32) *handleSlot {
	chunks := *t.chunks.Load()
	c := slot >> handleChunkBits
	if int(c) >= len(chunks) {
		return nil
	}
	return &chunks[c][slot%handleChunkSize]
}

// add makes a handle of a node.
func (t *handleTable) add(node uint32, kind handleKind) (vfs.Handle, syscall.Errno) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free == 0 && !t.grow() {
		return 0, syscall.ENFILE
	}
	slot := t.free - 1
	s := t.at(slot)
	t.free = s.next
	gen := s.word.Load() >> genShift
	s.word.Store(gen<<genShift | uint64(kind)<<kindShift | uint64(node))
	t.count.Add(1)
	return vfs.Handle(gen<<32 | uint64(slot)), 0
}

func (t *handleTable) grow() bool {
	chunks := *t.chunks.Load()
	if len(chunks) == maxHandles/handleChunkSize {
		return false
	}
	c := new(handleChunk)
	base := uint32(len(chunks)) << handleChunkBits
	for i := range c {
		c[i].next = t.free
		c[i].word.Store(1 << genShift)
		t.free = base + uint32(i) + 1
	}
	grown := append(chunks[:len(chunks):len(chunks)], c)
	t.chunks.Store(&grown)
	return true
}

// find returns the slot of a handle of a node, and its word; nil if there is no
// such handle.
func (t *handleTable) find(h vfs.Handle, node uint32, kind handleKind) (*handleSlot, uint64) {
	s := t.at(uint32(h))
	if s == nil {
		return nil, 0
	}
	w := s.word.Load()
	k := handleKind(w >> kindShift & 3)
	if w>>genShift != uint64(h)>>32 || k == kindNone || uint32(w) != node || kind != kindAny && k != kind {
		return nil, 0
	}
	return s, w
}

// check answers EBADF to a handle that is not open, or of another node or kind.
func (t *handleTable) check(h vfs.Handle, node uint32, kind handleKind) syscall.Errno {
	if s, _ := t.find(h, node, kind); s == nil {
		return syscall.EBADF
	}
	return 0
}

// drop closes a handle, once.
func (t *handleTable) drop(h vfs.Handle, node uint32, kind handleKind) syscall.Errno {
	s, w := t.find(h, node, kind)
	if s == nil || !t.release(s, w, uint32(h)) {
		return syscall.EBADF
	}
	return 0
}

func (t *handleTable) release(s *handleSlot, w uint64, slot uint32) bool {
	gen := (w>>genShift + 1) & genMask
	if !s.word.CompareAndSwap(w, gen<<genShift) {
		return false
	}
	t.mu.Lock()
	s.next, t.free = t.free, slot+1
	t.count.Add(-1)
	t.mu.Unlock()
	return true
}

// clear closes all handles.
func (t *handleTable) clear() {
	for c, chunk := range *t.chunks.Load() {
		for i := range chunk {
			s := &chunk[i]
			if w := s.word.Load(); w>>kindShift&3 != uint64(kindNone) {
				t.release(s, w, uint32(c<<handleChunkBits|i))
			}
		}
	}
}

// handle checks the node and the handle of a call that needs both.
func (fs *FS) handle(id vfs.NodeID, h vfs.Handle, kind handleKind) (*node, uint32, syscall.Errno) {
	n, i, errno := fs.node(id)
	if errno == 0 {
		errno = fs.handles.check(h, i, kind)
	}
	return n, i, errno
}
