package scratch

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

const renameFlags = unix.RENAME_NOREPLACE | unix.RENAME_EXCHANGE | unix.RENAME_WHITEOUT

// Rename implements [vfs.FileSystem].
func (fs *FS) Rename(r *vfs.Request, oldParent vfs.NodeID, oldName vfs.Name, newParent vfs.NodeID, newName vfs.Name, flags uint32) syscall.Errno {
	if flags&^renameFlags != 0 || flags&unix.RENAME_EXCHANGE != 0 && flags != unix.RENAME_EXCHANGE {
		return syscall.EINVAL
	}
	from, errno := fs.dirNode(oldParent)
	if errno != 0 {
		return errno
	}
	to, errno := fs.dirNode(newParent)
	if errno != 0 {
		return errno
	}
	m := move{fs: fs, from: from, to: to, newName: newName}
	fs.tree.Lock()
	m.old, m.new = from.dir.find(oldName.Bytes()), to.dir.find(newName.Bytes())
	if errno = m.refuse(flags); errno == 0 && (m.new == nil || m.new.node != m.old.node) {
		if flags&unix.RENAME_EXCHANGE != 0 {
			m.exchange()
		} else {
			errno = m.replace(r, flags&unix.RENAME_WHITEOUT != 0)
		}
	}
	fs.tree.Unlock()
	if m.dead != nil {
		fs.bury(m.dead)
	}
	return errno
}

// move is a rename under way, with FS.tree held.
type move struct {
	fs       *FS
	from, to *node
	old, new *dirent // new is nil if the name is free
	newName  vfs.Name
	dead     *node // is to be buried afterwards
}

// refuse says why a rename cannot be, or 0, in the kernel's order. Two names of one
// file pass.
func (m *move) refuse(flags uint32) syscall.Errno {
	switch {
	case m.old == nil, m.to.dir.removed:
		return syscall.ENOENT
	case m.new != nil && flags&unix.RENAME_NOREPLACE != 0:
		return syscall.EEXIST
	case m.new == nil && flags&unix.RENAME_EXCHANGE != 0:
		return syscall.ENOENT
	}
	n := m.old.node
	if n.isDir() && m.to.below(n) {
		return syscall.EINVAL
	}
	if m.new == nil {
		return 0
	}
	v := m.new.node
	if v.isDir() && m.from.below(v) {
		if flags&unix.RENAME_EXCHANGE != 0 {
			return syscall.EINVAL
		}
		return syscall.ENOTEMPTY
	}
	switch {
	case v == n, flags&unix.RENAME_EXCHANGE != 0:
	case n.isDir():
		return refuseRmdir(v)
	default:
		return refuseUnlink(v)
	}
	return 0
}

// below tells whether a directory, which has not been removed, is dir or lies below
// it. The caller holds FS.tree.
func (n *node) below(dir *node) bool {
	for n != dir {
		parent := n.dir.parent
		if parent == n {
			return false
		}
		n = parent
	}
	return true
}

// dirCount is 1 for a directory: by how much it changes its parent's link count.
func (n *node) dirCount() int {
	if n.isDir() {
		return 1
	}
	return 0
}

// moved notes that a node has a new place.
func (n *node) moved(parent *node, t vfs.Timespec) {
	if n.isDir() {
		n.dir.parent = parent
	}
	n.mu.Lock()
	n.ctime = t
	n.mu.Unlock()
}

func (m *move) exchange() {
	t := now()
	a, b := m.old.node, m.new.node
	m.old.node, m.new.node = b, a
	a.moved(m.to, t)
	b.moved(m.from, t)
	dirs := a.dirCount() - b.dirCount()
	m.from.named(0, -dirs, t)
	m.to.named(0, dirs, t)
}

// replace moves the node to its new name, whose old node loses it.
func (m *move) replace(r *vfs.Request, whiteout bool) syscall.Errno {
	fs, n := m.fs, m.old.node
	added := uint64(0)
	if m.new == nil {
		added = uint64(entryCost + m.newName.Len())
	}
	dropped := uint64(entryCost + len(m.old.name))
	if whiteout {
		dropped = 0
	}
	// What stays the same must not fail because there is no room for both.
	if added > dropped && !fs.charge(added-dropped) {
		return syscall.ENOSPC
	}
	var w *node
	if whiteout {
		w = &node{typ: unix.S_IFCHR}
		if errno := fs.newIn(r, m.from, w); errno != 0 {
			fs.refund(added)
			return errno
		}
		w.nlink = 1
	}
	if added < dropped {
		fs.refund(dropped - added)
	}
	t := now()
	names, dirs := 0, n.dirCount()
	if m.new == nil {
		m.to.dir.add(m.newName.String(), n)
		names = 1
	} else {
		v := m.new.node
		m.new.node = n
		dirs -= v.dirCount()
		if v.lost(t) {
			m.dead = v
		}
	}
	m.to.named(names, dirs, t)
	if w != nil {
		m.old.node = w
		names = 0
	} else {
		m.from.dir.remove(m.old)
		names = -1
	}
	m.from.named(names, -n.dirCount(), t)
	n.moved(m.to, t)
	return 0
}
