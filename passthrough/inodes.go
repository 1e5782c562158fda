package passthrough

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// A node id is a slot index in the low 32 bits and the generation of the slot
// in the 16 bits above. The generation goes up each time a slot is given away,
// so an id that the guest has forgotten does not name the slot's next owner.
const (
	genShift  = 32
	chunkBits = 12
	chunkSize = 1 << chunkBits
	shardBits = 6
	maxSlot   = 1<<32 - 1
)

// nodeKey identifies a host object for as long as something keeps its inode
// number from being given to another object: a descriptor does.
type nodeKey struct {
	dev, ino, mnt uint64
}

// node is a host object that the guest knows. Everything above state is
// immutable once the node is in the table.
type node struct {
	fs   *FS
	id   vfs.NodeID
	key  nodeKey
	typ  uint32 // S_IFMT bits
	born uint64 // nodeTable.births at insertion

	// With a file handle the descriptor is a cache that may be dropped and
	// made again. Without one (mount is nil), the descriptor stays for the
	// node's life.
	mount *mount
	fh    fileHandle

	state nodeState // nodefd.go

	refs uint64 // guarded by the mutex of the key's shard; 0 when removed
	ring int    // position in the descriptor cache, or −1; guarded by fdCache.mu
}

// slot is one place of the id space. node changes under nodeTable.mu and is
// read without it; the other fields are guarded by it.
type slot struct {
	node     atomic.Pointer[node]
	gen      uint16
	nextFree uint32
}

type slotChunk [chunkSize]slot

// shard is a part of the map from key to node.
type shard struct {
	mu sync.Mutex
	m  map[nodeKey]*node
	_  [48]byte // a cache line of its own
}

// nodeTable finds nodes by id, without a lock, and by key, with the lock of
// one shard.
//
// Lock order: shard.mu, then nodeTable.mu.
type nodeTable struct {
	chunks atomic.Pointer[[]*slotChunk] // replaced when it grows; chunks never move
	shards [1 << shardBits]shard

	// births counts insertions. A lookup that reads it first can tell
	// whether a node was in the table before the lookup began.
	births atomic.Uint64
	count  atomic.Int64

	mu       sync.Mutex
	freeHead uint32 // 0: none; slot 0 is never used
	next     uint32 // first slot never used so far
}

func (t *nodeTable) init() {
	chunks := []*slotChunk{new(slotChunk)}
	t.chunks.Store(&chunks)
	t.next = uint32(vfs.Root)
	for i := range t.shards {
		t.shards[i].m = make(map[nodeKey]*node)
	}
}

func (t *nodeTable) shard(k *nodeKey) *shard {
	h := (k.ino ^ k.dev<<7 ^ k.mnt<<13) * 0x9e3779b97f4a7c15
	return &t.shards[h>>(64-shardBits)]
}

// slot returns the place of an index, or nil for one that was never made.
func (t *nodeTable) slot(index uint32) *slot {
	chunks := *t.chunks.Load()
	c := index >> chunkBits
	if int(c) >= len(chunks) {
		return nil
	}
	return &chunks[c][index%chunkSize]
}

// get returns the node with an id, or nil if there is none.
func (t *nodeTable) get(id vfs.NodeID) *node {
	s := t.slot(uint32(id))
	if s == nil {
		return nil
	}
	n := s.node.Load()
	if n == nil || n.id != id {
		return nil
	}
	return n
}

// place gives n an id. It fails when all ids are in use.
func (t *nodeTable) place(n *node) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	index := t.freeHead
	if index != 0 {
		t.freeHead = t.slot(index).nextFree
	} else {
		if t.next == maxSlot {
			return false
		}
		index = t.next
		t.next++
		if chunks := *t.chunks.Load(); int(index>>chunkBits) == len(chunks) {
			grown := append(chunks[:len(chunks):len(chunks)], new(slotChunk))
			t.chunks.Store(&grown)
		}
	}
	s := t.slot(index)
	n.id = vfs.NodeID(s.gen)<<genShift | vfs.NodeID(index)
	s.node.Store(n)
	t.count.Add(1)
	return true
}

// displace takes the id back from n.
func (t *nodeTable) displace(n *node) {
	t.mu.Lock()
	index := uint32(n.id)
	s := t.slot(index)
	s.node.Store(nil)
	s.gen++
	s.nextFree = t.freeHead
	t.freeHead = index
	t.count.Add(-1)
	t.mu.Unlock()
}

// known takes a reference to the node with the given key if it is certain
// that it is the object whose key was read by a call that began after births
// stood at since. fh is the object's handle if the caller has it, and nil
// otherwise. unsure says that there is a node that fh could decide about.
//
// A node with a descriptor keeps its inode number in use, so if it was there
// before the key was read, the key was its own. A node of which only the handle
// is left proves nothing: the number may have a new owner.
func (t *nodeTable) known(k *nodeKey, since uint64, fh *oslib.FileHandle) (n *node, unsure bool) {
	sh := t.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	n = sh.m[*k]
	if n == nil || n.born > since {
		return nil, false
	}
	if !n.state.hasFD() && (fh == nil || !n.fh.is(fh)) {
		return nil, fh == nil
	}
	n.refs++
	return n, false
}

// again takes one more reference to n, unless the guest has given back the last one
// meanwhile.
func (t *nodeTable) again(n *node) bool {
	sh := t.shard(&n.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if n.refs == 0 {
		return false
	}
	n.refs++
	return true
}

// insert puts n, which is not in the table yet, there with one reference. The
// caller holds a descriptor of n's object, so n.key is in use by this object
// and no other.
//
// If the table already has the object, that node is returned, with one more
// reference, and n is not used. A node of an object that is gone, whose number
// n's object has been given, loses its key to n and keeps its id. The result is
// nil when there is no free id.
func (t *nodeTable) insert(n *node) *node {
	sh := t.shard(&n.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if old := sh.m[n.key]; old != nil && old.isObjectOf(n) {
		old.refs++
		return old
	}
	n.refs = 1
	n.born = t.births.Add(1)
	if !t.place(n) {
		return nil
	}
	sh.m[n.key] = n
	return n
}

// isObjectOf tells whether n, found in the table, stands for the same object
// as fresh, which has the same key.
func (n *node) isObjectOf(fresh *node) bool {
	if n.fh.data != "" && fresh.fh.data != "" {
		return n.fh == fresh.fh
	}
	return n.state.hasFD()
}

// forget gives back references; see [vfs.FileSystem.Forget].
func (t *nodeTable) forget(id vfs.NodeID, count uint64) {
	n := t.get(id)
	if n == nil || id == vfs.Root {
		return
	}
	sh := t.shard(&n.key)
	sh.mu.Lock()
	if n.refs == 0 {
		sh.mu.Unlock()
		return
	}
	n.refs -= min(n.refs, count)
	gone := n.refs == 0
	if gone && sh.m[n.key] == n {
		delete(sh.m, n.key)
	}
	sh.mu.Unlock()
	if gone {
		t.displace(n)
		if n.fs.cfg.Locks.POSIX {
			n.fs.locks.forget(n.fs, id)
		}
		n.kill()
	}
}

// clear forgets all nodes but the root.
func (t *nodeTable) clear() {
	t.mu.Lock()
	next := t.next
	t.mu.Unlock()
	for i := uint32(vfs.Root) + 1; i < next; i++ {
		if n := t.slot(i).node.Load(); n != nil {
			t.forget(n.id, ^uint64(0))
		}
	}
}

// Forget gives back references that lookups took.
func (fs *FS) Forget(id vfs.NodeID, n uint64) { fs.nodes.forget(id, n) }

// putEntry gives back the reference of an entry that cannot be delivered.
func (fs *FS) putEntry(id vfs.NodeID) { fs.nodes.forget(id, 1) }

func (n *node) isDir() bool  { return n.typ == unix.S_IFDIR }
func (n *node) isFile() bool { return n.typ == unix.S_IFREG }
