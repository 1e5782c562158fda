package passthrough

import (
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// A fcntl lock of a guest is a lock of the host, held by an open file
// description that is made for this one lock owner and node: so locks of
// different owners, guests and host processes stand in each other's way as they
// should. A flock lock is one of the guest's open file, and so of its handle's
// descriptor.
//
// Who waits for a lock is woken when one on the same node is given up in this
// FS. Locks that others hold are asked for again after a while, as a wait in the
// kernel could not be ended without a thread for each. Circles of waiters are not
// detected (EDEADLK): a guest's signals end its waits.

const (
	lockRetryMin = time.Millisecond
	lockRetryMax = 100 * time.Millisecond
)

// lockOwner is what one owner has locked of one node.
type lockOwner struct {
	users int        // calls under way; guarded by lockTable.mu
	gone  bool       // no longer in the table; guarded by lockTable.mu
	via   vfs.Handle // what it locked through first

	mu sync.Mutex
	fd int // −1 before the first lock
	// Everything that is locked lies in first..last; nothing is if first is
	// the larger. There may be gaps.
	first, last uint64
}

// lockNode is what is locked and waited for on one node.
type lockNode struct {
	owners  map[uint64]*lockOwner
	waiters int
	freed   chan struct{} // closed and replaced when something is given up
}

// lockTable holds the locks of an [FS]. Its zero value is empty. The end of a
// node ends its locks (forget), that of a session all of them (clear).
//
// Lock order: lockOwner.mu and lockTable.mu are never held together.
type lockTable struct {
	mu      sync.Mutex
	nodes   map[vfs.NodeID]*lockNode
	session uint64 // counts clear
}

// node returns the state of a node and makes it if there is none.
func (t *lockTable) node(id vfs.NodeID) *lockNode {
	n := t.nodes[id]
	if n == nil {
		if t.nodes == nil {
			t.nodes = make(map[vfs.NodeID]*lockNode)
		}
		n = &lockNode{freed: make(chan struct{})}
		t.nodes[id] = n
	}
	return n
}

// tidy forgets a node that nobody locks or waits for.
func (t *lockTable) tidy(id vfs.NodeID, n *lockNode) {
	if len(n.owners) == 0 && n.waiters == 0 && t.nodes[id] == n {
		delete(t.nodes, id)
	}
}

// owner returns an owner's state, to be given back with done, or nil if there
// is none.
func (t *lockTable) owner(id vfs.NodeID, owner uint64) *lockOwner {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.nodes[id]
	if n == nil {
		return nil
	}
	o := n.owners[owner]
	if o != nil {
		o.users++
	}
	return o
}

// newOwner is owner for one that is about to lock through a handle: it makes
// the state if there is none.
func (t *lockTable) newOwner(id vfs.NodeID, owner uint64, via vfs.Handle) *lockOwner {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.node(id)
	o := n.owners[owner]
	if o == nil {
		o = &lockOwner{fd: -1, first: 1, via: via}
		if n.owners == nil {
			n.owners = make(map[uint64]*lockOwner)
		}
		n.owners[owner] = o
	}
	o.users++
	return o
}

// through returns the owners that locked a node through a handle.
func (t *lockTable) through(id vfs.NodeID, via vfs.Handle) (owners []uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.nodes[id]; n != nil {
		for owner, o := range n.owners {
			if o.via == via {
				owners = append(owners, owner)
			}
		}
	}
	return owners
}

// done ends a use of o. If nothing is locked any more, its descriptor goes.
func (t *lockTable) done(fs *FS, id vfs.NodeID, owner uint64, o *lockOwner) {
	t.mu.Lock()
	o.users--
	idle := o.users == 0
	if idle && !o.gone && o.first > o.last {
		n := t.nodes[id]
		delete(n.owners, owner)
		t.tidy(id, n)
		o.gone = true
	}
	shut := idle && o.gone
	t.mu.Unlock()
	if shut {
		o.shut(fs)
	}
}

// shut closes the description of an owner that has left the table and is not
// in use, which ends its locks.
func (o *lockOwner) shut(fs *FS) {
	if o.fd >= 0 {
		oslib.Close(o.fd)
		fs.fds.put()
		o.fd = -1
	}
}

// wake lets those try again who wait for something on a node.
func (t *lockTable) wake(id vfs.NodeID) {
	t.mu.Lock()
	if n := t.nodes[id]; n != nil && n.waiters != 0 {
		close(n.freed)
		n.freed = make(chan struct{})
	}
	t.mu.Unlock()
}

// forget ends all locks of a node that the guest has forgotten.
func (t *lockTable) forget(fs *FS, id vfs.NodeID) {
	t.mu.Lock()
	n := t.nodes[id]
	if n == nil {
		t.mu.Unlock()
		return
	}
	idle := t.drop(n)
	t.tidy(id, n)
	t.mu.Unlock()
	for _, o := range idle {
		o.shut(fs)
	}
	t.wake(id)
}

// drop takes the owners of n out of the table and returns those not in use.
// The others are shut by their last user.
func (t *lockTable) drop(n *lockNode) (idle []*lockOwner) {
	for _, o := range n.owners {
		o.gone = true
		if o.users == 0 {
			idle = append(idle, o)
		}
	}
	n.owners = nil
	return idle
}

// clear ends all locks and all waits for them.
func (t *lockTable) clear(fs *FS) {
	t.mu.Lock()
	t.session++
	var idle []*lockOwner
	for id, n := range t.nodes {
		idle = append(idle, t.drop(n)...)
		close(n.freed)
		n.freed = make(chan struct{})
		t.tidy(id, n)
	}
	t.mu.Unlock()
	for _, o := range idle {
		o.shut(fs)
	}
}

// unlockAll ends the fcntl locks of an owner on a node.
func (fs *FS) unlockAll(id vfs.NodeID, owner uint64) {
	t := &fs.locks
	o := t.owner(id, owner)
	if o == nil {
		return
	}
	o.mu.Lock()
	if o.fd >= 0 {
		all := unix.Flock_t{Type: unix.F_UNLCK}
		oslib.OFDSetlk(o.fd, &all)
	}
	o.first, o.last = 1, 0
	o.mu.Unlock()
	t.done(fs, id, owner, o)
	t.wake(id)
}

// endLocks ends the locks that end with a handle, which is being released. The
// flock lock would end with the descriptor too, but that tells nobody who waits.
// Of fcntl locks, a process has given up its own with the Flush before; what is
// left belongs to the guest's open file (F_OFD_SETLK), for which no Flush speaks.
func (fs *FS) endLocks(id vfs.NodeID, v vfs.Handle, h *handle, in *vfs.ReleaseIn) {
	if fs.cfg.Locks.Flock && in.FlockUnlock {
		oslib.Flock(h.fd, unix.LOCK_UN|unix.LOCK_NB)
		fs.locks.wake(id)
	}
	if fs.cfg.Locks.POSIX {
		for _, owner := range fs.locks.through(id, v) {
			fs.unlockAll(id, owner)
		}
	}
}

// live tells whether a pinned handle has not been dropped meanwhile.
func (h *handle) live() bool { return h.state.Load()&handleLive != 0 }

// flockOf turns a lock into the kernel's form.
func flockOf(lk *vfs.Lock) (unix.Flock_t, syscall.Errno) {
	switch {
	case lk.Type != unix.F_RDLCK && lk.Type != unix.F_WRLCK && lk.Type != unix.F_UNLCK,
		lk.Start > lk.End, lk.End > vfs.MaxLockEnd:
		return unix.Flock_t{}, syscall.EINVAL
	}
	k := unix.Flock_t{Type: int16(lk.Type), Start: int64(lk.Start)}
	if lk.End < vfs.MaxLockEnd {
		k.Len = int64(lk.End-lk.Start) + 1
	}
	return k, 0
}

// Getlk implements [vfs.FileSystem]. The holder's process is told if it is a
// process of the host; others are 0.
func (fs *FS) Getlk(_ *vfs.Request, id vfs.NodeID, v vfs.Handle, lk *vfs.Lock) syscall.Errno {
	if !fs.cfg.Locks.POSIX {
		return syscall.ENOSYS
	}
	k, errno := flockOf(lk)
	if errno != 0 {
		return errno
	}
	if lk.Flock || lk.Type == unix.F_UNLCK {
		return syscall.EINVAL
	}
	h, errno := fs.handle(id, v, kindFile)
	if errno != 0 {
		return errno
	}
	defer h.unpin()
	// An owner's own locks are not in its way; the handle's descriptor has no
	// fcntl locks of its own.
	fd := h.fd
	if o := fs.locks.owner(id, lk.Owner); o != nil {
		o.mu.Lock()
		if o.fd >= 0 {
			fd = o.fd
		}
		errno = oslib.OFDGetlk(fd, &k)
		o.mu.Unlock()
		fs.locks.done(fs, id, lk.Owner, o)
	} else {
		errno = oslib.OFDGetlk(fd, &k)
	}
	if errno != 0 {
		return errno
	}
	lk.Type = uint32(k.Type)
	if k.Type == unix.F_UNLCK {
		return 0
	}
	lk.Start, lk.End = uint64(k.Start), vfs.MaxLockEnd
	if k.Len != 0 {
		lk.End = uint64(k.Start + k.Len - 1)
	}
	lk.PID = uint32(max(k.Pid, 0))
	return 0
}

// Setlk implements [vfs.FileSystem]. A wait holds no thread.
func (fs *FS) Setlk(r *vfs.Request, id vfs.NodeID, v vfs.Handle, lk *vfs.Lock) syscall.Errno {
	if lk.Flock && !fs.cfg.Locks.Flock || !lk.Flock && !fs.cfg.Locks.POSIX {
		return syscall.ENOSYS
	}
	k, errno := flockOf(lk)
	if errno != 0 {
		return errno
	}
	h, errno := fs.handle(id, v, kindFile)
	if errno != 0 {
		return errno
	}
	defer h.unpin()
	switch errno = fs.tryLock(id, v, h, lk, k); {
	case errno != syscall.EAGAIN || !lk.Wait:
		return errno
	case r.Nowait:
		return vfs.WouldBlock
	}
	return fs.waitLock(r, id, v, h, lk, k)
}

// tryLock takes or gives up a lock, or is EAGAIN if somebody else has it.
func (fs *FS) tryLock(id vfs.NodeID, v vfs.Handle, h *handle, lk *vfs.Lock, k unix.Flock_t) syscall.Errno {
	var errno syscall.Errno
	if lk.Flock {
		errno = oslib.Flock(h.fd, flockHow[lk.Type]|unix.LOCK_NB)
	} else {
		errno = fs.tryPOSIX(id, v, h, lk, k)
	}
	if lk.Type != unix.F_WRLCK && errno == 0 {
		fs.locks.wake(id)
	}
	return errno
}

// flockHow is how a type of fcntl lock is called in flock(2).
var flockHow = [...]int{unix.F_RDLCK: unix.LOCK_SH, unix.F_WRLCK: unix.LOCK_EX, unix.F_UNLCK: unix.LOCK_UN}

func (fs *FS) tryPOSIX(id vfs.NodeID, v vfs.Handle, h *handle, lk *vfs.Lock, k unix.Flock_t) syscall.Errno {
	// The owner's description may be open for more than this handle is.
	access := h.flags & unix.O_ACCMODE
	if lk.Type == unix.F_WRLCK && access == unix.O_RDONLY || lk.Type == unix.F_RDLCK && access == unix.O_WRONLY {
		return syscall.EBADF
	}
	t := &fs.locks
	var o *lockOwner
	if lk.Type != unix.F_UNLCK {
		o = t.newOwner(id, lk.Owner, v)
	} else if o = t.owner(id, lk.Owner); o == nil {
		return 0 // it has nothing to give up
	}
	o.mu.Lock()
	errno := o.open(fs, h)
	if errno == 0 {
		if errno = oslib.OFDSetlk(o.fd, &k); errno == 0 {
			o.note(lk)
		}
	}
	o.mu.Unlock()
	t.done(fs, id, lk.Owner, o)
	// A session drops its handles before it ends the locks of its nodes. A lock
	// that comes too late for that must not stay.
	if errno == 0 && lk.Type != unix.F_UNLCK && !h.live() {
		fs.unlockAll(id, lk.Owner)
		errno = syscall.EBADF
	}
	return errno
}

// open makes the owner's open file description. Read and write locks need the
// matching access, and a later lock may be of the other kind, so it is opened for
// both where that is possible. ENOLCK says that the quota is used up.
func (o *lockOwner) open(fs *FS, h *handle) syscall.Errno {
	if o.fd >= 0 {
		return 0
	}
	if !fs.fds.take() {
		return syscall.ENOLCK
	}
	fd, errno := fs.reopen(h.node, h.fd, unix.O_RDWR|unix.O_NONBLOCK)
	if errno != 0 {
		access := int(h.flags) & unix.O_ACCMODE
		fd, errno = fs.reopen(h.node, h.fd, access|unix.O_NONBLOCK)
	}
	if errno != 0 {
		fs.fds.put()
		return errno
	}
	o.fd = fd
	return 0
}

// note keeps first and last up to date after lk was done.
func (o *lockOwner) note(lk *vfs.Lock) {
	end := lk.End
	empty := o.first > o.last
	switch {
	case lk.Type != unix.F_UNLCK && empty:
		o.first, o.last = lk.Start, end
	case lk.Type != unix.F_UNLCK:
		o.first, o.last = min(o.first, lk.Start), max(o.last, end)
	case empty || lk.Start > o.last || end < o.first:
	case lk.Start <= o.first && end >= o.last:
		o.first, o.last = 1, 0
	case lk.Start <= o.first:
		o.first = end + 1
	case end >= o.last:
		o.last = lk.Start - 1
	}
}

// waitLock tries for a lock until it has it, the request is interrupted, the
// session ends or the handle is released.
func (fs *FS) waitLock(r *vfs.Request, id vfs.NodeID, v vfs.Handle, h *handle, lk *vfs.Lock, k unix.Flock_t) syscall.Errno {
	t := &fs.locks
	t.mu.Lock()
	session := t.session
	n := t.node(id)
	n.waiters++
	t.mu.Unlock()

	errno := fs.waitFor(r, session, n, id, v, h, lk, k)

	t.mu.Lock()
	n.waiters--
	t.tidy(id, n)
	t.mu.Unlock()
	return errno
}

func (fs *FS) waitFor(r *vfs.Request, session uint64, n *lockNode, id vfs.NodeID, v vfs.Handle, h *handle, lk *vfs.Lock, k unix.Flock_t) syscall.Errno {
	t := &fs.locks
	delay := lockRetryMin
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for {
		// What is freed after this point wakes us, also before we wait.
		t.mu.Lock()
		freed, ended := n.freed, t.session != session
		t.mu.Unlock()
		if ended || !h.live() {
			return syscall.EINTR
		}
		if errno := fs.tryLock(id, v, h, lk, k); errno != syscall.EAGAIN {
			return errno
		}
		select {
		case <-r.Interrupt:
			return syscall.EINTR
		case <-freed:
			delay = lockRetryMin
		case <-timer.C:
			delay = min(2*delay, lockRetryMax)
		}
		timer.Reset(delay)
	}
}
