package overlay

import (
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// node is an object that the guest knows, or that something else needs.
type node struct {
	id  vfs.NodeID
	typ uint32 // S_IFMT bits
	ino uint64 // as the guest sees it

	place *place // in the lower file system, if it is from there

	// lower and upper are ids of the children's nodes, 0 for none. lower does not
	// change but from 0, upper only by a copy-up. rec is set before upper is.
	lower, upper atomic.Uint64
	rec          atomic.Pointer[record]

	copying sync.Mutex // held by who makes the upper part
	cookies cookies    // of a directory that is open

	refs atomic.Uint64 // the guest's; changed under nodeTable.mu

	// The following are guarded by nodeTable.mu.

	pins                 int    // handles, calls under way, directories in this one
	lowerRefs, upperRefs uint64 // to the children's nodes
	parent               *node  // of a directory, pinned; nil for the root
	dead                 bool   // not in the table any more
}

func (n *node) lowerID() vfs.NodeID { return vfs.NodeID(n.lower.Load()) }
func (n *node) upperID() vfs.NodeID { return vfs.NodeID(n.upper.Load()) }
func (n *node) isDir() bool         { return n.typ == unix.S_IFDIR }

// layer returns the file system that has the object's attributes and data, and
// its id there.
func (fs *FS) layer(n *node) (vfs.FileSystem, vfs.NodeID) {
	if id := n.upperID(); id != 0 {
		return fs.upper, id
	}
	return fs.lower, n.lowerID()
}

// nodeTable finds nodes: by their own id without a lock, by those of the
// children with it.
type nodeTable struct {
	slots slots[node]

	mu      sync.Mutex
	byLower map[vfs.NodeID]*node
	byUpper map[vfs.NodeID]*node
	records recordTable
	known   int // nodes with references of the guest, without the root
}

func (t *nodeTable) init() {
	t.byLower = map[vfs.NodeID]*node{}
	t.byUpper = map[vfs.NodeID]*node{}
	t.records.init()
}

// get returns the node that the guest calls id, or nil.
func (fs *FS) get(id vfs.NodeID) *node {
	n := fs.nodes.slots.get(uint64(id))
	if n == nil || n.refs.Load() == 0 {
		return nil
	}
	return n
}

// getDir is get for a directory.
func (fs *FS) getDir(id vfs.NodeID) (*node, syscall.Errno) {
	n := fs.get(id)
	switch {
	case n == nil:
		return nil, syscall.ESTALE
	case !n.isDir():
		return nil, syscall.ENOTDIR
	}
	return n, 0
}

// getPinned is get for a call that changes something: the node stays in the
// table, and the only one of its object, until unpin.
func (fs *FS) getPinned(id vfs.NodeID) *node {
	t := &fs.nodes
	t.mu.Lock()
	defer t.mu.Unlock()
	n := fs.get(id)
	if n != nil {
		n.pins++
	}
	return n
}

func (fs *FS) getDirPinned(id vfs.NodeID) (*node, syscall.Errno) {
	n := fs.getPinned(id)
	switch {
	case n == nil:
		return nil, syscall.ESTALE
	case !n.isDir():
		fs.unpin(n)
		return nil, syscall.ENOTDIR
	}
	return n, 0
}

// claim says who gets the reference that finding a node takes.
type claim uint8

const (
	forGuest claim = iota // Forget gives it back
	forUs                 // unpin gives it back
)

// take takes a reference. The caller holds mu.
func (t *nodeTable) take(n *node, c claim) {
	if c == forUs {
		n.pins++
		return
	}
	if n.refs.Add(1) == 1 {
		t.known++
	}
}

// add makes n known, without references. The caller holds mu and has set all of
// n but its id.
func (t *nodeTable) add(n *node, parent *node) {
	if n.isDir() {
		n.parent = parent
		parent.pins++
	}
	if id := n.lowerID(); id != 0 {
		t.byLower[id] = n
	}
	if id := n.upperID(); id != 0 {
		t.byUpper[id] = n
	}
	n.id = vfs.NodeID(t.slots.add(n))
}

// Forget implements [vfs.FileSystem].
func (fs *FS) Forget(id vfs.NodeID, count uint64) {
	t := &fs.nodes
	t.mu.Lock()
	n := fs.get(id)
	if n == nil || n == fs.root || count == 0 {
		t.mu.Unlock()
		return
	}
	left := n.refs.Load()
	left -= min(left, count)
	n.refs.Store(left)
	if left == 0 {
		t.known--
	}
	fs.release(n)
}

func (fs *FS) unpin(n *node) {
	fs.nodes.mu.Lock()
	n.pins--
	fs.release(n)
}

// release drops a node that nobody needs any more, and then its parent if nobody
// else needed that. The caller holds nodeTable.mu; release unlocks it.
func (fs *FS) release(n *node) {
	t := &fs.nodes
	for n != nil && n.refs.Load() == 0 && n.pins == 0 && !n.dead {
		n.dead = true
		t.slots.remove(uint64(n.id))
		lower, upper := n.lowerID(), n.upperID()
		if t.byLower[lower] == n {
			delete(t.byLower, lower)
		}
		if t.byUpper[upper] == n {
			delete(t.byUpper, upper)
		}
		rec := n.rec.Load()
		orphan := rec != nil && rec.orphan
		if orphan {
			t.records.remove(rec)
		}
		parent := n.parent
		t.mu.Unlock()

		if orphan {
			fs.removeOrphan(rec)
		}
		if n.lowerRefs != 0 {
			fs.lower.Forget(lower, n.lowerRefs)
		}
		if n.upperRefs != 0 {
			fs.upper.Forget(upper, n.upperRefs)
		}

		n = parent
		t.mu.Lock()
		if n != nil {
			n.pins--
		}
	}
	t.mu.Unlock()
}

// clear forgets all nodes but the root, and returns the records that go with
// them. The caller holds mu.
func (t *nodeTable) clear() (orphans []*record) {
	root := t.slots.get(uint64(vfs.Root))
	t.slots.mu.Lock()
	last := t.slots.next
	t.slots.mu.Unlock()
	for i := uint32(1); i <= last; i++ {
		if o := t.slots.at(i).owner.Load(); o != nil && o.it != root {
			o.it.dead = true
			o.it.refs.Store(0)
			t.slots.remove(o.id)
		}
	}
	for rec := range t.records.orphans {
		orphans = append(orphans, rec)
	}
	for _, rec := range orphans {
		t.records.remove(rec)
	}
	clear(t.byLower)
	clear(t.byUpper)
	t.known = 0
	return orphans
}
