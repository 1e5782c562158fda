package overlay

import (
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Lookup implements [vfs.FileSystem].
func (fs *FS) Lookup(r *vfs.Request, parent vfs.NodeID, name vfs.Name, out *vfs.Entry) syscall.Errno {
	p, errno := fs.getDir(parent)
	if errno != 0 {
		return errno
	}
	rec := p.rec.Load()
	if rec != nil {
		if errno := rLock(r, rec); errno != 0 {
			return errno
		}
	}
	n, from, errno := fs.find(r, p, rec, name, out, forGuest)
	if rec != nil {
		rec.names.RUnlock()
	}
	if n == nil {
		return errno
	}
	return fs.deliver(r, n, from, out)
}

// rLock and lock take the lock of a directory's names. With Nowait they do not
// wait for it.
func rLock(r *vfs.Request, rec *record) syscall.Errno {
	if !r.Nowait {
		rec.names.RLock()
	} else if !rec.names.TryRLock() {
		return vfs.WouldBlock
	}
	return 0
}

// which is the layer that a name was found in.
type which uint8

const (
	inLower which = iota
	inUpper
)

// find looks a name up in both layers of a directory and takes a reference to
// its node. out is then the entry in the child, and otherwise undefined. Without a
// node the result is an error, or zero for a name of which the children say that
// its absence may be remembered; then out says so.
//
// rec is p's record; if there is one, the caller holds its names.
func (fs *FS) find(r *vfs.Request, p *node, rec *record, name vfs.Name, out *vfs.Entry, c claim) (*node, which, syscall.Errno) {
	upper, lower := p.upperID(), p.lowerID()
	if upper != 0 {
		errno := fs.upper.Lookup(r, upper, name, out)
		switch {
		case errno == 0 && out.Node != 0:
			n, errno := fs.attachUpper(r, p, out, c)
			return n, inUpper, errno
		case errno != 0 && errno != syscall.ENOENT:
			return nil, 0, errno
		case lower == 0:
			return nil, 0, errno
		}
	}
	if errno := fs.findLower(r, lower, rec, name, out); errno != 0 || out.Node == 0 {
		if upper != 0 {
			errno = firstErrno(errno, syscall.ENOENT)
		}
		return nil, 0, errno
	}
	n, errno := fs.attachLower(r, p, name, out, c)
	return n, inLower, errno
}

// firstErrno returns a, or b if a is zero.
func firstErrno(a, b syscall.Errno) syscall.Errno {
	if a != 0 {
		return a
	}
	return b
}

// findLower looks a name up in the lower layer of a directory. The reference is
// to the child's node. A name that is not there is an error or an entry with
// node 0.
func (fs *FS) findLower(r *vfs.Request, lower vfs.NodeID, rec *record, name vfs.Name, out *vfs.Entry) syscall.Errno {
	if lower == 0 || rec != nil && (rec.removed.Load() || rec.isHidden(name.Bytes())) {
		return syscall.ENOENT
	}
	return fs.lower.Lookup(r, lower, name, out)
}

// showsLower tells whether a directory shows a name of the lower layer. The
// errors are EEXIST if it does, and what went wrong.
func (fs *FS) showsLower(r *vfs.Request, p *node, rec *record, name vfs.Name) syscall.Errno {
	var e vfs.Entry
	switch errno := fs.findLower(r, p.lowerID(), rec, name, &e); {
	case errno == syscall.ENOENT, errno == 0 && e.Node == 0:
		return 0
	case errno != 0:
		return errno
	}
	fs.lower.Forget(e.Node, 1)
	return syscall.EEXIST
}

// attachLower finds or makes the node of a lower entry, which brings a
// reference to the child's node. If it fails, that is given back.
func (fs *FS) attachLower(r *vfs.Request, p *node, name vfs.Name, e *vfs.Entry, c claim) (*node, syscall.Errno) {
	t := &fs.nodes
	t.mu.Lock()
	if n := t.byLower[e.Node]; n != nil {
		n.lowerRefs++
		t.take(n, c)
		t.mu.Unlock()
		return n, 0
	}
	if t.records.byLower[e.Attr.Ino] == nil {
		n := newLowerNode(newPlace(p.place, name), e)
		t.add(n, p)
		t.take(n, c)
		t.mu.Unlock()
		return n, 0
	}
	t.mu.Unlock()
	return fs.attachRecorded(r, p, newPlace(p.place, name), e, c)
}

func newLowerNode(at *place, e *vfs.Entry) *node {
	n := &node{typ: e.Attr.Mode & unix.S_IFMT, ino: lowerIno(e.Attr.Ino), place: at, lowerRefs: 1}
	n.lower.Store(uint64(e.Node))
	return n
}

// attachRecorded is attachLower for what may have a record. That takes calls of
// the children, between which the tables may change.
func (fs *FS) attachRecorded(r *vfs.Request, p *node, at *place, e *vfs.Entry, c claim) (*node, syscall.Errno) {
	t := &fs.nodes
	for {
		t.mu.Lock()
		changes := t.records.changes
		candidates := slices.Clone(t.records.byLower[e.Attr.Ino])
		t.mu.Unlock()

		var up vfs.Entry
		rec, errno := fs.recordOf(r, candidates, at, e)
		if errno == 0 && rec != nil {
			errno = fs.lookupIndex(rec, &up)
		}
		if errno != 0 {
			fs.lower.Forget(e.Node, 1)
			return nil, errno
		}

		t.mu.Lock()
		n := t.byLower[e.Node]
		switch {
		case n != nil:
			n.lowerRefs++
		case t.records.changes != changes:
		case up.Node != 0 && t.byUpper[up.Node] != nil:
			// Known by a name in the upper layer.
			n = t.byUpper[up.Node]
			n.upperRefs++
			up.Node = 0
			n.lower.Store(uint64(e.Node))
			n.lowerRefs = 1
			t.byLower[e.Node] = n
		default:
			n = newLowerNode(at, e)
			n.rec.Store(rec)
			n.upper.Store(uint64(up.Node))
			if up.Node != 0 {
				n.upperRefs = 1
				up.Node = 0
			}
			t.add(n, p)
		}
		if n != nil {
			t.take(n, c)
		}
		t.mu.Unlock()
		if up.Node != 0 {
			fs.upper.Forget(up.Node, 1)
		}
		if n != nil {
			return n, 0
		}
	}
}

// attachUpper finds or makes the node of an upper entry, which brings a
// reference to the child's node. If it fails, that is given back.
func (fs *FS) attachUpper(r *vfs.Request, p *node, e *vfs.Entry, c claim) (*node, syscall.Errno) {
	t := &fs.nodes
	typ := e.Attr.Mode & unix.S_IFMT
	t.mu.Lock()
	n := t.byUpper[e.Node]
	rec := t.records.byUpper[e.Attr.Ino]
	if rec != nil && rec.typ != typ {
		rec = nil
	}
	if n == nil && rec != nil && typ == unix.S_IFDIR {
		t.mu.Unlock()
		return fs.attachMerged(r, p, rec, e, c)
	}
	if n == nil {
		n = newUpperNode(rec, e)
		t.add(n, p)
	} else {
		n.upperRefs++
	}
	t.take(n, c)
	t.mu.Unlock()
	return n, 0
}

func newUpperNode(rec *record, e *vfs.Entry) *node {
	n := &node{typ: e.Attr.Mode & unix.S_IFMT, ino: upperIno(e.Attr.Ino), upperRefs: 1}
	if rec != nil {
		n.ino, n.place = lowerIno(rec.lowerIno), rec.place
		n.rec.Store(rec)
	}
	n.upper.Store(uint64(e.Node))
	return n
}

// attachMerged is attachUpper for a directory that has a lower part and has
// been moved: that is found by its place.
func (fs *FS) attachMerged(r *vfs.Request, p *node, rec *record, e *vfs.Entry, c claim) (*node, syscall.Errno) {
	var low vfs.Entry
	errno := fs.resolve(r, rec.place, &low)
	if errno == 0 && low.Attr.Mode&unix.S_IFMT != unix.S_IFDIR {
		fs.lower.Forget(low.Node, 1)
		errno = syscall.ENOTDIR
	}
	switch errno {
	case 0:
	case syscall.ENOENT, syscall.ENOTDIR: // the lower file system has changed
		low.Node = 0
	default:
		fs.upper.Forget(e.Node, 1)
		return nil, errno
	}
	t := &fs.nodes
	t.mu.Lock()
	n := t.byUpper[e.Node]
	if n != nil {
		n.upperRefs++
	} else {
		n = newUpperNode(rec, e)
		n.lower.Store(uint64(low.Node))
		if low.Node != 0 {
			n.lowerRefs = 1
			low.Node = 0
		}
		t.add(n, p)
	}
	t.take(n, c)
	t.mu.Unlock()
	if low.Node != 0 {
		fs.lower.Forget(low.Node, 1)
	}
	return n, 0
}

// deliver turns the entry of a child into that of n, to which the guest has a
// reference. If it fails, it gives that back.
func (fs *FS) deliver(r *vfs.Request, n *node, from which, out *vfs.Entry) syscall.Errno {
	if upper := n.upperID(); from == inLower && upper != 0 {
		var a vfs.AttrOut
		if errno := fs.upper.Getattr(r, upper, vfs.NoHandle, &a); errno != 0 {
			fs.Forget(n.id, 1)
			return errno
		}
		out.Attr, out.AttrTTL, from = a.Attr, a.TTL, inUpper
	}
	out.Node, out.Generation = n.id, 0
	n.present(&out.Attr, from)
	return 0
}

// present turns attributes in a layer into those that the guest sees.
func (n *node) present(a *vfs.Attr, from which) {
	a.Ino = n.ino
	rec := n.rec.Load()
	if rec == nil {
		return
	}
	switch {
	case n.isDir() && rec.removed.Load():
		a.Nlink = 0
	case n.isDir() && from == inUpper:
		// Each has itself, its name and its directories.
		if sum := a.Nlink + rec.lowerNlink; a.Nlink >= 2 && rec.lowerNlink >= 2 {
			a.Nlink = max(2, sum-2-min(rec.lost.Load(), sum-2))
		} else {
			a.Nlink = 1 // a layer does not count them
		}
	case n.isDir():
	case from == inUpper:
		// One of the upper's is the index.
		a.Nlink = a.Nlink - min(a.Nlink, 1) + rec.lowerNames()
	default:
		a.Nlink = rec.lowerNames()
	}
}
