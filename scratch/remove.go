package scratch

import (
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Link implements [vfs.FileSystem]. Directories have one name, and a file that lost
// its last gets no other.
func (fs *FS) Link(_ *vfs.Request, id, newParent vfs.NodeID, newName vfs.Name, out *vfs.Entry) syscall.Errno {
	n, errno := fs.node(id)
	if errno != 0 {
		return errno
	}
	p, errno := fs.dirNode(newParent)
	if errno != 0 {
		return errno
	}
	fs.tree.Lock()
	errno = fs.link(n, p, newName, out)
	fs.tree.Unlock()
	return errno
}

func (fs *FS) link(n, p *node, name vfs.Name, out *vfs.Entry) syscall.Errno {
	if errno := vacant(p, name); errno != 0 {
		return errno
	}
	if n.isDir() {
		return syscall.EPERM
	}
	cost := uint64(entryCost + name.Len())
	if !fs.charge(cost) {
		return syscall.ENOSPC
	}
	t := now()
	n.mu.Lock()
	if n.dead.Load() || n.nlink == 0 && !n.nameless {
		n.mu.Unlock()
		fs.refund(cost)
		return syscall.ENOENT
	}
	n.nlink++
	n.nameless = false
	n.ctime = t
	fs.take(n)
	fs.fill(n, out)
	n.mu.Unlock()
	p.dir.add(name.String(), n)
	p.named(1, 0, t)
	return 0
}

// unlink takes the name of an entry away and tells whether its node is to be buried,
// once FS.tree, which the caller holds, is given back.
func (fs *FS) unlink(p *node, e *dirent, t vfs.Timespec) (n *node, gone bool) {
	n = e.node
	fs.refund(uint64(entryCost + len(e.name)))
	p.dir.remove(e)
	dirs := 0
	if n.isDir() {
		dirs = -1
	}
	p.named(-1, dirs, t)
	return n, n.lost(t)
}

// lost notes that a node has lost a name; see unlink.
func (n *node) lost(t vfs.Timespec) bool {
	n.mu.Lock()
	n.nlink--
	n.ctime = t
	if n.isDir() {
		n.nlink = 0
		n.dir.removed, n.dir.parent = true, nil
	}
	gone := n.reap()
	n.mu.Unlock()
	return gone
}

// remove is Unlink and Rmdir. refuse says why a node is not to be removed.
func (fs *FS) remove(parent vfs.NodeID, name vfs.Name, refuse func(*node) syscall.Errno) syscall.Errno {
	p, errno := fs.dirNode(parent)
	if errno != 0 {
		return errno
	}
	fs.tree.Lock()
	e := p.dir.find(name.Bytes())
	if e == nil {
		fs.tree.Unlock()
		return syscall.ENOENT
	}
	if errno = refuse(e.node); errno != 0 {
		fs.tree.Unlock()
		return errno
	}
	n, gone := fs.unlink(p, e, now())
	fs.tree.Unlock()
	if gone {
		fs.bury(n)
	}
	return 0
}

// Unlink implements [vfs.FileSystem].
func (fs *FS) Unlink(_ *vfs.Request, parent vfs.NodeID, name vfs.Name) syscall.Errno {
	return fs.remove(parent, name, refuseUnlink)
}

func refuseUnlink(n *node) syscall.Errno {
	if n.isDir() {
		return syscall.EISDIR
	}
	return 0
}

// Rmdir implements [vfs.FileSystem].
func (fs *FS) Rmdir(_ *vfs.Request, parent vfs.NodeID, name vfs.Name) syscall.Errno {
	return fs.remove(parent, name, refuseRmdir)
}

func refuseRmdir(n *node) syscall.Errno {
	switch {
	case !n.isDir():
		return syscall.ENOTDIR
	case !n.dir.empty():
		return syscall.ENOTEMPTY
	}
	return 0
}
