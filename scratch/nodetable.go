package scratch

import (
	"sync"
	"sync/atomic"

	"github.com/isthmus-fs/isthmus/vfs"
)

// A node id is a slot index in the low 32 bits and 16 bits of the slot's generation
// above. The generation goes up each time a slot is given away, so an id of a node
// that is gone does not name the slot's next owner. All of the generation is in
// [vfs.Entry], and makes node and generation together unique for ever.
const (
	genShift      = 32
	genMask       = 1<<16 - 1
	nodeChunkBits = 10
	nodeChunkSize = 1 << nodeChunkBits
)

// nodeSlot is one place of the id space. node is read without a lock; all changes
// are made under nodeTable.mu.
type nodeSlot struct {
	node atomic.Pointer[node]
	gen  uint64
	next uint32 // of the free slots
}

type nodeChunk [nodeChunkSize]nodeSlot

// nodeTable finds nodes by id.
type nodeTable struct {
	chunks atomic.Pointer[[]*nodeChunk] // replaced when it grows; chunks never move
	limit  uint32

	mu   sync.Mutex
	used uint32
	free uint32 // 0: none; slot 0 is never used
	next uint32 // first slot never used so far
}

func (t *nodeTable) init(limit uint32) {
	t.limit, t.next = limit, uint32(vfs.Root)
	t.chunks.Store(&[]*nodeChunk{new(nodeChunk)})
}

func (t *nodeTable) slot(index uint32) *nodeSlot {
	chunks := *t.chunks.Load()
	c := index >> nodeChunkBits
	if int(c) >= len(chunks) {
		return nil
	}
	return &chunks[c][index%nodeChunkSize]
}

// get returns the node with an id, or nil if there is none.
func (t *nodeTable) get(id vfs.NodeID) *node {
	s := t.slot(uint32(id))
	if s == nil {
		return nil
	}
	if n := s.node.Load(); n != nil && n.id == id {
		return n
	}
	return nil
}

func (t *nodeTable) inUse() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.used
}

// place gives n an id. It fails when there are as many nodes as there may be.
func (t *nodeTable) place(n *node) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.used == t.limit {
		return false
	}
	t.used++
	index := t.free
	if index != 0 {
		t.free = t.slot(index).next
	} else {
		index = t.next
		t.next++
		if chunks := *t.chunks.Load(); int(index>>nodeChunkBits) == len(chunks) {
			grown := append(chunks[:len(chunks):len(chunks)], new(nodeChunk))
			t.chunks.Store(&grown)
		}
	}
	s := t.slot(index)
	n.gen = s.gen
	n.id = vfs.NodeID(s.gen&genMask)<<genShift | vfs.NodeID(index)
	s.node.Store(n)
	return true
}

// displace takes the id back from n.
func (t *nodeTable) displace(n *node) {
	t.mu.Lock()
	index := uint32(n.id)
	s := t.slot(index)
	s.node.Store(nil)
	s.gen++
	s.next = t.free
	t.free = index
	t.used--
	t.mu.Unlock()
}
