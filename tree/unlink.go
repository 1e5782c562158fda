package tree

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Unlink implements [vfs.FileSystem]. Of the name of a mount, the mount's options
// decide.
func (fs *FS) Unlink(r *vfs.Request, parent vfs.NodeID, name vfs.Name) syscall.Errno {
	a, errno := fs.attached(parent, name)
	if errno != 0 {
		return errno
	}
	m, id := fs.call(parent)
	if m == nil {
		return syscall.ESTALE
	}
	if a != nil && a.m != nil && a.m.removable() {
		// Whoever waits for FS.mu must not be in a gate.
		m.leave(id)
		return fs.unlinkMount(r, a.m)
	}
	defer m.leave(id)
	switch {
	case a == nil, m.child == fs.synth:
		return m.child.Unlink(r, id, name)
	case a.hidden:
		return syscall.ENOENT
	case a.typ == unix.S_IFDIR:
		return syscall.EISDIR
	}
	return syscall.EBUSY
}

// removable tells whether guests may remove the name of a mount.
func (m *mount) removable() bool { return !m.isDir() && m.options.Unlink != nil }

// unlinkMount takes the name of a mount away for a guest. The mount itself goes on
// until nobody can reach it.
func (fs *FS) unlinkMount(r *vfs.Request, m *mount) syscall.Errno {
	if r.Nowait {
		return vfs.WouldBlock
	}
	m.unlinking.Lock()
	defer m.unlinking.Unlock()
	fs.mu.Lock()
	there := fs.mounts[m.path] == m
	fs.mu.Unlock()
	if !there {
		return syscall.ENOENT
	}
	if errno := m.options.Unlink(); errno != 0 {
		return errno
	}
	fs.mu.Lock()
	if fs.mounts[m.path] == m { // and not unmounted meanwhile
		fs.forgets.Lock()
		b := fs.newBuilder(false)
		if h := b.hide(m); h != nil {
			fs.hidden[m.path] = h
		}
		delete(fs.mounts, m.path)
		b.hideAgain()
		b.commit()
		fs.forgets.Unlock()
		fs.gone[m] = struct{}{}
		m.unlinked.Store(true)
	}
	fs.mu.Unlock()
	if m.refs.Load() == 0 {
		fs.unused(m)
	}
	return 0
}

// unused is told that the guest has given back its last reference to a mount that
// is gone. Without one, all calls on its root are ESTALE, which is its only node: so
// one whose name was removed is over.
func (fs *FS) unused(m *mount) {
	switch {
	case m.dead.Load():
		fs.reap(m)
	case m.unlinked.Load() && m.expired.CompareAndSwap(false, true):
		go fs.expire(m) // as the caller may be in a call that is waited for
	}
}

// expire ends a mount whose name was removed, unless somebody else does. A lookup
// that began before the name was gone may come late: what it found is ESTALE.
func (fs *FS) expire(m *mount) {
	fs.mu.Lock()
	over := m.lingers()
	m.ending = true
	fs.mu.Unlock()
	if over {
		fs.finish(m)
	}
}

// lingers tells whether the name of a mount was removed and it is not over.
func (m *mount) lingers() bool { return m.unlinked.Load() && !m.ending }

// finish ends a mount that no new calls come to. It holds no locks.
func (fs *FS) finish(m *mount) {
	m.end()
	m.child.Destroy()
	fs.mu.Lock()
	m.dead.Store(true)
	fs.reapLocked(m)
	fs.mu.Unlock()
	m.over()
}

// over tells the owner that a mount is.
func (m *mount) over() {
	m.unlinking.Lock() // an Unlink may be under way
	m.unlinking.Unlock()
	if m.options.Ended != nil {
		m.options.Ended()
	}
}
