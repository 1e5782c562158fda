package tree

import (
	"math"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// indexShift is where in a node id the index of its mount begins.
const indexShift = 48

// mount is a file system in the tree: one that was mounted, or the synthetic
// directories.
type mount struct {
	path  string
	child vfs.FileSystem
	base  vfs.NodeID // its index << indexShift
	// maxTTL is how long the guest may keep names at most.
	maxTTL  time.Duration
	options MountOptions
	// ino and typ (S_IFMT bits) are those of the root, which stays the same.
	ino uint64
	typ uint32

	// inoMix keeps inode numbers apart where the guest is not told of submounts, and so
	// sees one device: it is added (xor) to all of this mount. 0 where it is not needed.
	inoMix atomic.Uint64

	// at is where it is attached; nil for "/". Guarded by FS.mu.
	at *attachment

	// adapts says what the tree does in place of child.
	adapts atomic.Uint32

	// The rest is not used at index 0, which never goes away.

	gate gate
	// ended is closed to end the waits for locks. It is replaced only while
	// the gate is closed and read only by calls that are inside.
	ended chan struct{}
	// dead says that it was unmounted and no call is under way any more.
	dead atomic.Bool
	// unlinked says that a guest has removed its name. It goes on as long as the
	// guest has references.
	unlinked atomic.Bool
	// expired says that it has none left, or had none.
	expired atomic.Bool
	// ending says that somebody ends it. Guarded by FS.mu.
	ending bool
	// unlinking is held while a guest removes its name. Lock order: before FS.mu.
	unlinking sync.Mutex

	// refs are the references that the guest has to all nodes; rootRefs those
	// of them to the root, whose id is ESTALE without.
	_        [64]byte
	refs     atomic.Uint64
	rootRefs atomic.Uint64
	_        [48]byte
}

// What the tree does for a file system that did not want a feature which others
// made it agree to.
const (
	adaptUmask uint32 = 1 << iota // apply the umask
	adaptACL                      // keep access control lists away from it
	adaptPlain                    // have it make listings without entries
)

func (fs *FS) newMount(path string, child vfs.FileSystem, index int) *mount {
	m := &mount{
		path:   path,
		child:  child,
		base:   vfs.NodeID(index) << indexShift,
		maxTTL: math.MaxInt64,
		gate:   newGate(),
		ended:  make(chan struct{}),
	}
	if fs.changing {
		m.maxTTL = nameTTL
	}
	return m
}

func (m *mount) index() int { return int(m.base >> indexShift) }

// root is the id of the root in the tree.
func (m *mount) root() vfs.NodeID { return m.base | vfs.Root }

func (m *mount) isDir() bool { return m.typ == unix.S_IFDIR }

func (m *mount) adapt(what uint32) bool { return m.adapts.Load()&what != 0 }

// end ends all calls that are under way and lets no more in. It waits for them.
func (m *mount) end() {
	close(m.ended)
	m.gate.close()
}

// begin lets calls in again after end, in a new session.
func (m *mount) begin() {
	m.refs.Store(0)
	m.rootRefs.Store(0)
	m.ended = make(chan struct{})
	m.gate.open()
}

// leave ends a call on node id that enter or call began.
func (m *mount) leave(id vfs.NodeID) {
	if m.base != 0 {
		m.gate.leave(id)
	}
}

// took turns an entry of the file system into one of the tree, and counts its
// reference.
func (m *mount) took(e *vfs.Entry) syscall.Errno {
	e.EntryTTL = min(e.EntryTTL, m.maxTTL)
	if m.base == 0 || e.Node == 0 {
		return 0
	}
	if e.Node > vfs.MaxNodeID {
		m.child.Forget(e.Node, 1)
		return syscall.EIO // it breaks its contract
	}
	if e.Node == vfs.Root {
		m.rootRefs.Add(1)
	}
	m.refs.Add(1)
	e.Node |= m.base
	e.Attr.Ino ^= m.inoMix.Load()
	return 0
}

// setDevice says whether guests see a device number of its own for the mount.
func (m *mount) setDevice(own bool) {
	mix := uint64(m.base)
	if own {
		mix = 0
	}
	m.inoMix.Store(mix)
}

// made is took for a call that may have failed.
func (m *mount) made(errno syscall.Errno, e *vfs.Entry) syscall.Errno {
	if errno != 0 {
		return errno
	}
	return m.took(e)
}

// refuse is errno if the node is there: one that is not has another.
func (m *mount) refuse(r *vfs.Request, id vfs.NodeID, errno syscall.Errno) syscall.Errno {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	if stale := m.child.Getattr(r, id, vfs.NoHandle, &s.attr); stale != 0 {
		return stale
	}
	return errno
}

// gave counts references down that the guest has given back, and reports
// whether none is left.
func (m *mount) gave(id vfs.NodeID, n uint64) bool {
	if id == vfs.Root {
		n, _ = subtract(&m.rootRefs, n)
	}
	_, left := subtract(&m.refs, n)
	return left == 0
}

// subtract takes n, or as much as there is, off a count.
func subtract(count *atomic.Uint64, n uint64) (taken, left uint64) {
	for {
		is := count.Load()
		taken = min(is, n)
		if taken == 0 || count.CompareAndSwap(is, is-taken) {
			return taken, is - taken
		}
	}
}

// enter finds the mount of a node that is not at index 0, and the node's id in
// it, and begins a call: leave ends it. The mount is nil if the node is ESTALE.
func (fs *FS) enter(node vfs.NodeID) (*mount, vfs.NodeID) {
	m := fs.mountOf(node)
	id := node & vfs.MaxNodeID
	if m == nil || !m.gate.enter(id) {
		return nil, 0
	}
	if id == vfs.Root && m.rootRefs.Load() == 0 {
		m.leave(id)
		return nil, 0
	}
	return m, id
}

// call is enter for a node on any mount.
func (fs *FS) call(node vfs.NodeID) (*mount, vfs.NodeID) {
	if node <= vfs.MaxNodeID {
		return fs.root, node
	}
	return fs.enter(node)
}

// slot holds the mount of an index.
type slot = atomic.Pointer[mount]

// mountOf returns the mount of a node's index, which may be dead, or nil.
func (fs *FS) mountOf(node vfs.NodeID) *mount {
	slots := *fs.slots.Load()
	if i := uint64(node >> indexShift); i < uint64(len(slots)) {
		return slots[i].Load()
	}
	return nil
}
