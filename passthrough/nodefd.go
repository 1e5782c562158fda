package passthrough

import (
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// nodeState is one word: who uses a node's descriptor, and what it is.
//
//	bits  0–30  the descriptor plus one; 0 is none
//	bits 32–61  users: calls between pin and unpin
//	bit  62     used since the clock hand last passed
//	bit  63     dead: removed from the table, no new users
//
// A descriptor is taken out of the word, to be closed, only by whoever
// changes the word at a moment when there are no users.
type nodeState struct{ word atomic.Uint64 }

const (
	stateFD   = 1<<31 - 1
	stateUser = 1 << 32
	stateUsed = 1 << 62
	stateDead = 1 << 63

	stateUsers = stateUsed - stateUser
)

func stateGetFD(w uint64) int { return int(w&stateFD) - 1 }

func (s *nodeState) hasFD() bool { return s.word.Load()&stateFD != 0 }

// pin returns the node with an id and a descriptor of its object that stays
// valid until the node's unpin. It is an O_PATH descriptor, fit as the
// directory of *at calls, for fstat and with AT_EMPTY_PATH. A node that is not
// there is ESTALE, and so is one whose object is gone.
func (fs *FS) pin(id vfs.NodeID) (*node, int, syscall.Errno) {
	n := fs.nodes.get(id)
	if n == nil {
		return nil, -1, syscall.ESTALE
	}
	fd, errno := n.acquire()
	if errno != 0 {
		return nil, -1, errno
	}
	return n, fd, 0
}

func (n *node) acquire() (int, syscall.Errno) {
	for {
		w := n.state.word.Load()
		if w&stateDead != 0 {
			return -1, syscall.ESTALE
		}
		if n.state.word.CompareAndSwap(w, (w+stateUser)|stateUsed) {
			if fd := stateGetFD(w); fd >= 0 {
				return fd, 0
			}
			return n.fill()
		}
	}
}

// fill makes the descriptor of a node that has only its handle. The caller is
// already counted as a user; on failure it is no longer.
func (n *node) fill() (int, syscall.Errno) {
	fd, errno := n.fh.open(n.mount, unix.O_PATH|unix.O_NOFOLLOW)
	if errno != 0 {
		n.unpin()
		return -1, errno
	}
	for {
		w := n.state.word.Load()
		if other := stateGetFD(w); other >= 0 {
			oslib.Close(fd)
			return other, 0
		}
		if n.state.word.CompareAndSwap(w, w|uint64(fd+1)) {
			n.fs.cache.add(n)
			return fd, 0
		}
	}
}

// unpin ends what pin began.
func (n *node) unpin() {
	for {
		w := n.state.word.Load()
		next := w - stateUser
		last := next&stateUsers == 0 && w&stateDead != 0
		if last {
			next &^= stateFD
		}
		if n.state.word.CompareAndSwap(w, next) {
			if last {
				n.release(stateGetFD(w))
			}
			return
		}
	}
}

// kill ends a node that has left the table. What it holds is released now or
// by its last user.
func (n *node) kill() {
	for {
		w := n.state.word.Load()
		next := w | stateDead
		idle := w&stateUsers == 0
		if idle {
			next &^= stateFD
		}
		if n.state.word.CompareAndSwap(w, next) {
			if idle {
				n.release(stateGetFD(w))
			}
			return
		}
	}
}

// release lets go of the descriptor and the mount of a dead node. It happens
// once, when the last user has left.
func (n *node) release(fd int) {
	if n.mount == nil {
		oslib.Close(fd)
		n.fs.fds.put()
		return
	}
	if fd >= 0 {
		n.fs.cache.remove(n)
		oslib.Close(fd)
	}
	n.fs.mounts.put(n.mount)
}

// reopen opens the object of a pinned node anew, for reading, writing or both.
// Only regular files and directories are ever opened: opening a device or a
// pipe acts on the host. The caller closes the result.
func (fs *FS) reopen(n *node, fd int, flags int) (int, syscall.Errno) {
	return fs.reopenAs(n.typ, fd, flags)
}

// reopenAs is reopen for an object that has no node yet, of the given type.
func (fs *FS) reopenAs(typ uint32, fd int, flags int) (int, syscall.Errno) {
	if errno := openErrno(typ); errno != 0 {
		return -1, errno
	}
	const never = unix.O_CREAT | unix.O_EXCL | unix.O_NOCTTY | unix.O_NOFOLLOW | unix.O_PATH |
		(unix.O_TMPFILE &^ unix.O_DIRECTORY)
	var buf [12]byte
	return oslib.Openat(fs.procSelfFD, oslib.ProcFDName(&buf, fd), flags&^never|unix.O_CLOEXEC, 0)
}

// openErrno is the answer to opening an object of a type: zero for those that
// may be opened, otherwise what open(2) with O_NOFOLLOW says where it says
// anything, and EBADF for what it would really open.
func openErrno(typ uint32) syscall.Errno {
	switch typ {
	case unix.S_IFREG, unix.S_IFDIR:
		return 0
	case unix.S_IFLNK:
		return syscall.ELOOP
	case unix.S_IFSOCK:
		return syscall.ENXIO
	}
	return syscall.EBADF
}

// fdCache bounds the descriptors of nodes that could do without one. Which one
// goes is found by the clock algorithm: a hand passes over the nodes, spares
// each that was used since it last came by, and takes the first that was not.
type fdCache struct {
	max int

	mu   sync.Mutex
	ring []*node
	hand int
}

// add takes in a pinned node that has just got a descriptor and closes those
// that are too many. While all are in use, there may be more than max.
func (c *fdCache) add(n *node) {
	c.mu.Lock()
	n.ring = len(c.ring)
	c.ring = append(c.ring, n)
	for len(c.ring) > c.max {
		fd := c.evict()
		if fd < 0 {
			break
		}
		c.mu.Unlock()
		oslib.Close(fd)
		c.mu.Lock()
	}
	c.mu.Unlock()
}

// evict drops one idle node from the ring and returns its descriptor, or −1 if
// none is idle. Two rounds suffice: the first takes away the marks of use.
func (c *fdCache) evict() int {
	for range 2 * len(c.ring) {
		if c.hand >= len(c.ring) {
			c.hand = 0
		}
		n := c.ring[c.hand]
		w := n.state.word.Load()
		switch {
		case w&stateUsers != 0 || w&stateFD == 0:
		case w&stateUsed != 0:
			n.state.word.CompareAndSwap(w, w&^stateUsed)
		case n.state.word.CompareAndSwap(w, w&^stateFD):
			c.drop(n)
			return stateGetFD(w)
		}
		c.hand++
	}
	return -1
}

func (c *fdCache) remove(n *node) {
	c.mu.Lock()
	c.drop(n)
	c.mu.Unlock()
}

// drop takes n out of the ring, if it was there. The last one moves into its
// place.
func (c *fdCache) drop(n *node) {
	if n.ring < 0 {
		return
	}
	last := len(c.ring) - 1
	c.ring[n.ring] = c.ring[last]
	c.ring[n.ring].ring = n.ring
	c.ring[last] = nil
	c.ring = c.ring[:last]
	n.ring = -1
}

func (c *fdCache) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.ring)
}

// fdQuota counts the descriptors that a guest makes the daemon keep: those of
// open files and of nodes without a handle.
type fdQuota struct {
	max  int64
	used atomic.Int64
}

// take accounts for one descriptor, or refuses.
func (q *fdQuota) take() bool {
	if q.used.Add(1) > q.max {
		q.used.Add(-1)
		return false
	}
	return true
}

func (q *fdQuota) put() { q.used.Add(-1) }

// room tells whether n more would be granted now. Calls that change something
// ask before they do it.
func (q *fdQuota) room(n int64) bool { return q.used.Load()+n <= q.max }
