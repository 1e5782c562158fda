package watch

import (
	"sync"
	"sync/atomic"

	"github.com/isthmus-fs/isthmus/vfs"
)

const (
	shardBits = 6
	shards    = 1 << shardBits
)

// shardOf spreads ids, which are counted up or made of an index and a count.
func shardOf(id uint64) uint64 { return id * 0x9e3779b97f4a7c15 >> (64 - shardBits) }

// nodeTable holds the nodes that the guest has references to, and the root.
type nodeTable struct {
	root   node
	shards [shards]nodeShard
}

type nodeShard struct {
	mu    sync.Mutex
	nodes map[vfs.NodeID]*node // nil while there are none
	_     [48]byte             // a cache line each
}

// node is a file that the guest knows.
type node struct {
	dir  bool
	refs uint64 // guarded by nodeShard.mu

	// current is the name that paths are made of; nil if there has been none. If
	// it is gone, so is the file.
	current atomic.Pointer[name]

	mu     sync.Mutex  // guards what follows
	newest *name       // the names that the node has, by when they were used
	dead   atomic.Bool // the guest has no reference any more; read without the lock too

	children children // of a directory
}

func (t *nodeTable) shard(id vfs.NodeID) *nodeShard { return &t.shards[shardOf(uint64(id))] }

// find returns nil for a node that the guest does not know.
func (t *nodeTable) find(id vfs.NodeID) *node {
	if id == vfs.Root {
		return &t.root
	}
	s := t.shard(id)
	s.mu.Lock()
	n := s.nodes[id]
	s.mu.Unlock()
	return n
}

// took notes a reference that the guest got, to another node than the root.
func (t *nodeTable) took(id vfs.NodeID, dir bool) *node {
	s := t.shard(id)
	s.mu.Lock()
	n := s.nodes[id]
	if n == nil {
		n = &node{dir: dir}
		if s.nodes == nil {
			s.nodes = make(map[vfs.NodeID]*node)
		}
		s.nodes[id] = n
	}
	n.refs++
	s.mu.Unlock()
	return n
}

// gave notes up to count references that the guest gives back, and returns how many
// it had of them.
func (t *nodeTable) gave(id vfs.NodeID, count uint64) uint64 {
	s := t.shard(id)
	s.mu.Lock()
	n := s.nodes[id]
	if n == nil {
		s.mu.Unlock()
		return 0
	}
	count = min(count, n.refs)
	n.refs -= count
	last := n.refs == 0
	if last {
		delete(s.nodes, id)
		if len(s.nodes) == 0 {
			s.nodes = nil // a map does not shrink
		}
	}
	s.mu.Unlock()
	if last {
		n.bury()
	}
	return count
}

// bury takes away the names of a node that is in the table no more. Names in it, if
// it is a directory whose children the guest still knows, become unreachable.
func (n *node) bury() {
	n.mu.Lock()
	n.dead.Store(true)
	names := n.newest
	n.newest = nil
	n.current.Store(nil)
	n.mu.Unlock()
	for m := names; m != nil; m = m.older {
		m.parent.children.remove(m)
	}
	n.children.close()
}

// got notes an entry that the guest got for a name.
func (s *session) got(parent vfs.NodeID, name []byte, e *vfs.Entry) {
	if e.Node == vfs.Root {
		return
	}
	s.nodes.took(e.Node, isDir(e.Attr.Mode)).attach(s.nodes.find(parent), name)
}

// absent notes that a name does not exist.
func (s *session) absent(parent vfs.NodeID, name []byte) {
	if p := s.nodes.find(parent); p != nil {
		if m := p.children.take(name); m != nil {
			m.lost()
		}
	}
}
