package scratch

import (
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// What things cost in bytes of metadata; with what Go's allocator rounds up.
const (
	nodeCost  = 400
	dirCost   = 512 // of a directory, in addition
	entryCost = 160 // of a name, without its bytes
	xattrCost = 64  // of an extended attribute, without name and value

	rootCost = nodeCost + dirCost
)

// node is a file, a directory or any other object.
type node struct {
	id     vfs.NodeID
	gen    uint64 // how many nodes had this slot before
	typ    uint32 // S_IFMT bits
	rdev   uint32
	target string     // of a symbolic link
	dir    *directory // of a directory; what is in it is guarded by FS.tree

	refs atomic.Uint64 // that the guest has; changes under mu
	dead atomic.Bool   // changes under mu

	data  sync.RWMutex
	table pageTable // guarded by data

	mu    sync.Mutex
	attrs // guarded by mu
}

// attrs are what node.mu guards.
type attrs struct {
	mode     uint32 // permission bits
	nlink    uint32
	uid, gid uint32
	opens    uint32 // open handles
	nameless bool   // has no name and may be given one

	size  uint64 // changes under data as well
	pages uint64 // as the table has it

	atime, mtime, ctime, btime vfs.Timespec

	xattrs     []xattr
	xattrNames int // bytes that the list of names takes
}

func (n *node) isDir() bool  { return n.typ == unix.S_IFDIR }
func (n *node) isFile() bool { return n.typ == unix.S_IFREG }

func now() vfs.Timespec {
	t := time.Now()
	return vfs.Timespec{Sec: t.Unix(), Nsec: uint32(t.Nanosecond())}
}

// cost is what a node without names, pages and attributes takes.
func (n *node) cost() uint64 {
	c := uint64(nodeCost + len(n.target))
	if n.isDir() {
		c += dirCost
	}
	return c
}

// addNode completes and counts a new node. Until it has a name, a handle or a
// reference, whoever made it gets rid of it by discard.
func (fs *FS) addNode(n *node) syscall.Errno {
	if !fs.charge(n.cost()) {
		return syscall.ENOSPC
	}
	if n.isDir() {
		n.dir = newDirectory(n)
	}
	t := now()
	n.atime, n.mtime, n.ctime, n.btime = t, t, t, t
	if !fs.nodes.place(n) {
		fs.refund(n.cost())
		return syscall.ENOSPC
	}
	return 0
}

// discard ends a new node that nothing leads to.
func (fs *FS) discard(n *node) {
	n.mu.Lock()
	gone := n.reap()
	n.mu.Unlock()
	if gone {
		fs.bury(n)
	}
}

// reap tells, once, that nothing leads to the node any more. The caller holds mu,
// and buries the node without it.
func (n *node) reap() bool {
	if n.nlink != 0 || n.opens != 0 || n.refs.Load() != 0 || n.dead.Load() {
		return false
	}
	n.dead.Store(true)
	return true
}

// bury gives back all that a dead node has.
func (fs *FS) bury(n *node) {
	n.data.Lock()
	n.table.drop(fs, 0, allPages, false)
	n.data.Unlock()
	n.mu.Lock()
	back := n.cost()
	for i := range n.xattrs {
		back += n.xattrs[i].cost()
	}
	n.xattrs = nil
	n.mu.Unlock()
	fs.refund(back)
	fs.nodes.displace(n)
}

// take counts a reference. The caller holds mu and knows that the node lives.
func (fs *FS) take(n *node) {
	if n.refs.Add(1) == 1 {
		fs.live.Add(1)
	}
}

// Forget implements [vfs.FileSystem].
func (fs *FS) Forget(id vfs.NodeID, count uint64) {
	if n := fs.nodes.get(id); n != nil && n != fs.root {
		fs.forget(n, count)
	}
}

func (fs *FS) forget(n *node, count uint64) {
	n.mu.Lock()
	refs := n.refs.Load()
	if refs == 0 || count == 0 {
		n.mu.Unlock()
		return
	}
	left := refs - min(refs, count)
	n.refs.Store(left)
	gone := false
	if left == 0 {
		fs.live.Add(-1)
		gone = n.reap()
	}
	n.mu.Unlock()
	if gone {
		fs.bury(n)
	}
}

// forgetAll drops the references to all nodes but the root.
func (fs *FS) forgetAll() {
	for _, c := range *fs.nodes.chunks.Load() {
		for i := range c {
			if n := c[i].node.Load(); n != nil && n != fs.root {
				fs.forget(n, ^uint64(0))
			}
		}
	}
}

// node finds a node that the guest has a reference to.
func (fs *FS) node(id vfs.NodeID) (*node, syscall.Errno) {
	n := fs.nodes.get(id)
	if n == nil || n.refs.Load() == 0 && n != fs.root {
		return nil, syscall.ESTALE
	}
	return n, 0
}

// dirNode finds a node that must be a directory.
func (fs *FS) dirNode(id vfs.NodeID) (*node, syscall.Errno) {
	n, errno := fs.node(id)
	if errno == 0 && !n.isDir() {
		errno = syscall.ENOTDIR
	}
	return n, errno
}

// object finds the node of a call that may be made on a handle.
func (fs *FS) object(id vfs.NodeID, h vfs.Handle) (*node, syscall.Errno) {
	if h == vfs.NoHandle {
		return fs.node(id)
	}
	o, errno := fs.handle(id, h, kindAny)
	if errno != 0 {
		return nil, errno
	}
	return o.node, 0
}
