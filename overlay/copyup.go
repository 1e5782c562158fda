package overlay

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// all is the limit of a copy-up that takes all data along.
const all = math.MaxUint64

// copyUp gives a pinned node an upper part, if it has none.
//
// Of the data of a file, those up to limit are copied. finish, if not nil, is
// called on the finished copy before anybody else can see it; what it returns
// decides whether the copy is used. made tells whether it was called: if not,
// somebody else made the copy, of all data.
func (fs *FS) copyUp(r *vfs.Request, n *node, limit uint64, finish func(vfs.NodeID) syscall.Errno) (made bool, errno syscall.Errno) {
	if n.upperID() != 0 {
		return false, 0
	}
	if r.Nowait {
		return false, vfs.WouldBlock
	}
	n.copying.Lock()
	defer n.copying.Unlock()
	if n.upperID() != 0 {
		return false, 0
	}
	if n == fs.root {
		// Between two sessions it has no upper id, but may have an upper part.
		if errno := fs.enterRoot(); errno != 0 || n.upperID() != 0 {
			return false, errno
		}
	}
	var a vfs.AttrOut
	if errno := fs.lower.Getattr(self, n.lowerID(), vfs.NoHandle, &a); errno != 0 {
		return false, errno
	}
	c := copier{fs: fs, n: n, attr: &a.Attr, limit: min(limit, a.Attr.Size)}
	if errno := c.make(); errno != 0 {
		return false, errno
	}
	errno = c.fill()
	if errno == 0 && finish != nil {
		made, errno = true, finish(c.to.Node)
	}
	if errno != 0 {
		c.discard()
		return made, errno
	}
	c.publish()
	return made, 0
}

// copier makes one upper part.
type copier struct {
	fs    *FS
	n     *node
	attr  *vfs.Attr // of the lower object
	limit uint64    // of data

	index string    // the copy's name
	to    vfs.Entry // the copy
}

// make makes an object of the same type in the index.
func (c *copier) make() syscall.Errno {
	for {
		c.index = c.fs.nextIndex()
		if errno := c.makeAs(indexName(c.index)); errno != syscall.EEXIST {
			return errno
		}
	}
}

func (c *copier) makeAs(name vfs.Name) syscall.Errno {
	upper := c.fs.upper
	switch c.n.typ {
	case unix.S_IFDIR:
		return upper.Mkdir(self, vfs.Root, name, 0o700, &c.to)
	case unix.S_IFLNK:
		target := make([]byte, unix.PathMax+1)
		n, errno := c.fs.lower.Readlink(self, c.n.lowerID(), target[:unix.PathMax])
		if errno != 0 {
			return errno
		}
		return upper.Symlink(self, vfs.Root, name, target[:n+1], &c.to)
	case unix.S_IFREG:
		return upper.Mknod(self, vfs.Root, name, unix.S_IFREG|0o600, 0, &c.to)
	}
	return upper.Mknod(self, vfs.Root, name, c.n.typ|0o600, c.attr.Rdev, &c.to)
}

// fill copies all there is to copy. The owner goes first, as a change of it
// takes setuid bits and capabilities away, and the times last.
func (c *copier) fill() syscall.Errno {
	if c.n.typ == unix.S_IFREG && c.limit > 0 {
		if errno := c.copyData(); errno != 0 {
			return errno
		}
	}
	steps := []struct {
		run bool
		set vfs.SetAttr
	}{
		{true, vfs.SetAttr{Valid: vfs.SetUID | vfs.SetGID, UID: c.attr.UID, GID: c.attr.GID}},
		{c.n.typ != unix.S_IFLNK, vfs.SetAttr{Valid: vfs.SetMode, Mode: c.attr.Mode &^ unix.S_IFMT}},
		{true, vfs.SetAttr{Valid: vfs.SetAtime | vfs.SetMtime, Atime: c.attr.Atime, Mtime: c.attr.Mtime}},
	}
	for i := range steps {
		s := &steps[i]
		if i == 1 {
			if errno := c.copyXattrs(); errno != 0 {
				return errno
			}
		}
		if !s.run {
			continue
		}
		if errno := c.fs.upper.Setattr(self, c.to.Node, vfs.NoHandle, &s.set, &vfs.AttrOut{}); errno != 0 {
			return errno
		}
	}
	return 0
}

// discard removes a copy that is not used.
func (c *copier) discard() {
	c.remove()
	c.fs.upper.Forget(c.to.Node, 1)
}

// remove takes the copy out of the index.
func (c *copier) remove() {
	var errno syscall.Errno
	if c.n.isDir() {
		errno = c.fs.upper.Rmdir(self, vfs.Root, indexName(c.index))
	} else {
		errno = c.fs.upper.Unlink(self, vfs.Root, indexName(c.index))
	}
	if errno != 0 {
		c.fs.log.Error("cannot remove a copy that was not finished", "name", c.index, "err", errno)
	}
}

// publish makes the copy the upper part of the node.
func (c *copier) publish() {
	n, t := c.n, &c.fs.nodes
	t.mu.Lock()
	rec := t.recordFor(n, c.attr)
	rec.index, rec.upperIno = c.index, c.to.Attr.Ino
	gone := n.isDir() && rec.removed.Load()
	switch {
	case gone:
		rec.index, rec.upperIno = "", 0
	case !n.isDir() && rec.lowerNames() == 0:
		rec.orphan = true
		t.records.insert(rec)
		t.records.orphans[rec] = struct{}{}
	default:
		t.records.insert(rec)
	}
	n.upperRefs++
	if !n.dead { // the session may have ended
		t.byUpper[c.to.Node] = n
	}
	n.upper.Store(uint64(c.to.Node))
	t.mu.Unlock()
	if gone {
		c.remove() // it lives on in the node only
	}
}

// recordFor returns the record of a node with a lower part, of which attr are
// the attributes. The caller holds mu.
func (t *nodeTable) recordFor(n *node, attr *vfs.Attr) *record {
	rec := n.rec.Load()
	if rec == nil {
		rec = &record{place: n.place, typ: n.typ, lowerIno: attr.Ino, lowerNlink: attr.Nlink}
		n.rec.Store(rec)
	}
	return rec
}
