package overlay

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// readyDir gives a pinned directory an upper part, for a change in it.
func (fs *FS) readyDir(r *vfs.Request, p *node) syscall.Errno {
	if rec := p.rec.Load(); rec != nil && rec.removed.Load() {
		return syscall.ENOENT
	}
	_, errno := fs.copyUp(r, p, all, nil)
	return errno
}

// making runs a call that makes a name in the upper part of a pinned directory.
// A name that the lower layer shows is EEXIST.
func (fs *FS) making(r *vfs.Request, p *node, name vfs.Name, call func(dir vfs.NodeID) syscall.Errno) syscall.Errno {
	if p.lowerID() == 0 {
		return call(p.upperID())
	}
	if p.upperID() == 0 {
		// What fails is not worth a copy-up.
		if errno := fs.showsLower(r, p, p.rec.Load(), name); errno != 0 {
			return errno
		}
	}
	if errno := fs.readyDir(r, p); errno != 0 {
		return errno
	}
	rec := p.rec.Load()
	if errno := rLock(r, rec); errno != 0 {
		return errno
	}
	defer rec.names.RUnlock()
	if errno := fs.showsLower(r, p, rec, name); errno != 0 {
		return errno
	}
	return call(p.upperID())
}

// create makes a name that comes with a new object.
func (fs *FS) create(r *vfs.Request, parent vfs.NodeID, name vfs.Name, out *vfs.Entry, call func(dir vfs.NodeID) syscall.Errno) syscall.Errno {
	p, errno := fs.getDirPinned(parent)
	if errno != 0 {
		return errno
	}
	defer fs.unpin(p)
	if errno := fs.making(r, p, name, call); errno != 0 {
		return errno
	}
	return fs.entered(r, p, out, nil, 0)
}

// Symlink implements [vfs.FileSystem].
func (fs *FS) Symlink(r *vfs.Request, parent vfs.NodeID, name vfs.Name, target []byte, out *vfs.Entry) syscall.Errno {
	return fs.create(r, parent, name, out, func(dir vfs.NodeID) syscall.Errno {
		return fs.upper.Symlink(r, dir, name, target, out)
	})
}

// Mknod implements [vfs.FileSystem].
func (fs *FS) Mknod(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode, rdev uint32, out *vfs.Entry) syscall.Errno {
	return fs.create(r, parent, name, out, func(dir vfs.NodeID) syscall.Errno {
		return fs.upper.Mknod(r, dir, name, mode, rdev, out)
	})
}

// Mkdir implements [vfs.FileSystem].
func (fs *FS) Mkdir(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode uint32, out *vfs.Entry) syscall.Errno {
	return fs.create(r, parent, name, out, func(dir vfs.NodeID) syscall.Errno {
		return fs.upper.Mkdir(r, dir, name, mode, out)
	})
}

// Link implements [vfs.FileSystem].
func (fs *FS) Link(r *vfs.Request, id, newParent vfs.NodeID, newName vfs.Name, out *vfs.Entry) syscall.Errno {
	n := fs.getPinned(id)
	if n == nil {
		return syscall.ESTALE
	}
	defer fs.unpin(n)
	p, errno := fs.getDirPinned(newParent)
	if errno != 0 {
		return errno
	}
	defer fs.unpin(p)
	taken, _, errno := fs.findLocking(r, p, newName, out)
	switch {
	case taken != nil:
		fs.unpin(taken)
		return syscall.EEXIST
	case errno != 0 && errno != syscall.ENOENT:
		return errno
	case n.isDir():
		return syscall.EPERM
	}
	if _, errno := fs.copyUp(r, n, all, nil); errno != 0 {
		return errno
	}
	errno = fs.making(r, p, newName, func(dir vfs.NodeID) syscall.Errno {
		n.copying.Lock()
		defer n.copying.Unlock()
		if fs.isOrphan(n) {
			return syscall.ENOENT
		}
		return fs.upper.Link(r, n.upperID(), dir, newName, out)
	})
	if errno != 0 {
		return errno
	}
	return fs.entered(r, p, out, nil, 0)
}

// findLocking is find for a call, with the lock of the names taken and given
// up. A name of which the absence may be remembered is ENOENT too.
func (fs *FS) findLocking(r *vfs.Request, p *node, name vfs.Name, out *vfs.Entry) (*node, which, syscall.Errno) {
	rec := p.rec.Load()
	if rec != nil {
		if errno := rLock(r, rec); errno != 0 {
			return nil, 0, errno
		}
		defer rec.names.RUnlock()
	}
	return fs.findThere(r, p, rec, name, out)
}

// findThere is find for a call that holds the names. Absence is ENOENT. The
// reference is the caller's, who unpins the node.
func (fs *FS) findThere(r *vfs.Request, p *node, rec *record, name vfs.Name, out *vfs.Entry) (*node, which, syscall.Errno) {
	n, from, errno := fs.find(r, p, rec, name, out, forUs)
	if n == nil {
		errno = firstErrno(errno, syscall.ENOENT)
	}
	return n, from, errno
}

func (fs *FS) isOrphan(n *node) bool {
	fs.nodes.mu.Lock()
	defer fs.nodes.mu.Unlock()
	rec := n.rec.Load()
	return rec != nil && rec.orphan
}

// loseLower notes that one of a file's lower names is hidden. attr are its lower
// attributes.
func (fs *FS) loseLower(n *node, attr *vfs.Attr) {
	t := &fs.nodes
	t.mu.Lock()
	rec := t.recordFor(n, attr)
	rec.lost.Add(1)
	if rec.lowerNames() > 0 {
		t.records.insert(rec) // the other names show one less
	}
	t.mu.Unlock()
}

// lostName looks whether a file whose name was removed has any left. If not,
// its upper part, which the index keeps, goes with the node.
func (fs *FS) lostName(n *node) {
	upper := n.upperID()
	if upper == 0 || n.rec.Load() == nil {
		return
	}
	n.copying.Lock()
	defer n.copying.Unlock()
	var a vfs.AttrOut
	if errno := fs.upper.Getattr(self, upper, vfs.NoHandle, &a); errno != 0 || a.Attr.Nlink > 1 {
		return
	}
	t := &fs.nodes
	t.mu.Lock()
	defer t.mu.Unlock()
	if rec := n.rec.Load(); rec.lowerNames() == 0 && !rec.orphan {
		rec.orphan = true
		t.records.orphans[rec] = struct{}{}
	}
}

// touch updates the times of a directory of which a lower name is hidden, as
// nothing changes in its upper part.
func (fs *FS) touch(p *node) syscall.Errno {
	return fs.upper.Setattr(self, p.upperID(), vfs.NoHandle, &vfs.SetAttr{Valid: vfs.SetMtime | vfs.SetMtimeNow}, &vfs.AttrOut{})
}

// typeErrno is the answer to removing something as what it is not.
func typeErrno(n *node, dir bool) syscall.Errno {
	switch {
	case dir && !n.isDir():
		return syscall.ENOTDIR
	case !dir && n.isDir():
		return syscall.EISDIR
	}
	return 0
}

// Unlink implements [vfs.FileSystem].
func (fs *FS) Unlink(r *vfs.Request, parent vfs.NodeID, name vfs.Name) syscall.Errno {
	return fs.remove(r, parent, name, false)
}

// Rmdir implements [vfs.FileSystem].
func (fs *FS) Rmdir(r *vfs.Request, parent vfs.NodeID, name vfs.Name) syscall.Errno {
	return fs.remove(r, parent, name, true)
}

func (fs *FS) remove(r *vfs.Request, parent vfs.NodeID, name vfs.Name, dir bool) syscall.Errno {
	p, errno := fs.getDirPinned(parent)
	if errno != 0 {
		return errno
	}
	defer fs.unpin(p)
	var e vfs.Entry
	var rec *record
	if p.lowerID() != 0 {
		// What fails is not worth a copy-up.
		n, _, errno := fs.findLocking(r, p, name, &e)
		if n != nil {
			errno = typeErrno(n, dir)
			fs.unpin(n)
		}
		if errno == 0 {
			errno = fs.readyDir(r, p)
		}
		if errno == 0 && r.Nowait {
			errno = vfs.WouldBlock
		}
		if errno != 0 {
			return errno
		}
		rec = p.rec.Load()
	}
	if dir {
		if errno := fs.lockTree(r); errno != 0 {
			return errno
		}
		defer fs.tree.Unlock()
	}
	if rec != nil {
		rec.names.Lock()
		defer rec.names.Unlock()
	}
	n, from, errno := fs.findThere(r, p, rec, name, &e)
	if errno != 0 {
		return errno
	}
	defer fs.unpin(n)
	if errno := typeErrno(n, dir); errno != 0 {
		return errno
	}
	if dir {
		return fs.removeDir(r, p, rec, name, n, from, &e.Attr)
	}
	return fs.removeFile(r, p, rec, name, n, from, &e.Attr)
}

// lockTree takes the lock of the tree; with Nowait it does not wait for it.
func (fs *FS) lockTree(r *vfs.Request) syscall.Errno {
	if !r.Nowait {
		fs.tree.Lock()
	} else if !fs.tree.TryLock() {
		return vfs.WouldBlock
	}
	return 0
}

// removeFile removes a name that was found in a layer of p, with attributes
// attr there.
func (fs *FS) removeFile(r *vfs.Request, p *node, rec *record, name vfs.Name, n *node, from which, attr *vfs.Attr) syscall.Errno {
	if from == inUpper {
		if errno := fs.upper.Unlink(r, p.upperID(), name); errno != 0 {
			return errno
		}
	} else {
		if errno := fs.touch(p); errno != 0 {
			return errno
		}
		rec.hide(name, n.typ)
		fs.loseLower(n, attr)
	}
	fs.lostName(n)
	return 0
}

// removeDir is removeFile for a directory. The caller holds the tree.
func (fs *FS) removeDir(r *vfs.Request, p *node, rec *record, name vfs.Name, n *node, from which, attr *vfs.Attr) syscall.Errno {
	v := removal{fs: fs, n: n, from: from}
	errno := v.begin(attr)
	if errno != 0 {
		return errno
	}
	if from == inUpper {
		errno = fs.upper.Rmdir(r, p.upperID(), name)
	} else {
		errno = fs.touch(p)
	}
	if errno == 0 && from == inLower {
		rec.hide(name, unix.S_IFDIR)
	}
	return v.end(errno)
}
