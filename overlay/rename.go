package overlay

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// side is one of the two names of a rename.
type side struct {
	dir  *node   // pinned
	rec  *record // of dir, if it has a lower part
	name vfs.Name

	n    *node     // what has the name, pinned; nil if there is nothing
	from which     // the layer that has the name
	e    vfs.Entry // of n in that layer
}

// rename is one call of [FS.Rename].
type rename struct {
	fs       *FS
	r        *vfs.Request
	old, new side
	flags    uint32
}

// Rename implements [vfs.FileSystem]. Lower objects are copied up, of
// directories themselves only.
func (fs *FS) Rename(r *vfs.Request, oldParent vfs.NodeID, oldName vfs.Name, newParent vfs.NodeID, newName vfs.Name, flags uint32) syscall.Errno {
	const known = unix.RENAME_NOREPLACE | unix.RENAME_EXCHANGE | unix.RENAME_WHITEOUT
	if flags&^known != 0 || flags&unix.RENAME_EXCHANGE != 0 && flags != unix.RENAME_EXCHANGE {
		return syscall.EINVAL
	}
	p, errno := fs.getDirPinned(oldParent)
	if errno != 0 {
		return errno
	}
	defer fs.unpin(p)
	q, errno := fs.getDirPinned(newParent)
	if errno != 0 {
		return errno
	}
	defer fs.unpin(q)
	c := rename{fs: fs, r: r, flags: flags}
	c.old.dir, c.old.name = p, oldName
	c.new.dir, c.new.name = q, newName
	for {
		if errno := c.prepare(); errno != 0 {
			return errno
		}
		done, errno := c.attempt()
		if done {
			return errno
		}
	}
}

func (c *rename) exchange() bool { return c.flags&unix.RENAME_EXCHANGE != 0 }

// prepare makes the copies that the rename needs. That may take long, so no lock
// is held. What will fail is not worth a copy.
func (c *rename) prepare() syscall.Errno {
	fs := c.fs
	defer c.drop()
	for _, s := range [...]*side{&c.old, &c.new} {
		var errno syscall.Errno
		if s.n, s.from, errno = fs.findLocking(c.r, s.dir, s.name, &s.e); errno != 0 && errno != syscall.ENOENT {
			return errno
		}
	}
	if errno := c.check(); errno != 0 {
		return errno
	}
	if c.r.Nowait && c.old.dir.lowerID()|c.new.dir.lowerID() != 0 {
		return vfs.WouldBlock
	}
	for _, s := range [...]*side{&c.old, &c.new} {
		if errno := fs.readyDir(c.r, s.dir); errno != 0 {
			return errno
		}
		if c.needsCopy(s) {
			if _, errno := fs.copyUp(c.r, s.n, all, nil); errno != 0 {
				return errno
			}
		}
		if s.dir.lowerID() != 0 {
			s.rec = s.dir.rec.Load()
		}
	}
	return 0
}

// needsCopy tells whether what has a name must have an upper part and has
// none.
func (c *rename) needsCopy(s *side) bool {
	return (s == &c.old || c.exchange()) && s.n != nil && s.from == inLower && s.n.upperID() == 0
}

// drop unpins what was found.
func (c *rename) drop() {
	for _, s := range [...]*side{&c.old, &c.new} {
		if s.n != nil {
			c.fs.unpin(s.n)
			s.n = nil
		}
	}
}

// check applies the rules of rename(2) in the kernel's order, but for empty
// directories.
func (c *rename) check() syscall.Errno {
	src, dst := c.old.n, c.new.n
	switch {
	case src == nil:
		return syscall.ENOENT
	case dst == nil && c.exchange():
		return syscall.ENOENT
	case dst != nil && c.flags&unix.RENAME_NOREPLACE != 0:
		return syscall.EEXIST
	}
	t := &c.fs.nodes
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case c.new.dir.isBelow(src):
		return syscall.EINVAL
	case dst != nil && c.old.dir.isBelow(dst) && c.exchange():
		return syscall.EINVAL
	case dst != nil && c.old.dir.isBelow(dst):
		return syscall.ENOTEMPTY
	case dst == nil || dst == src || c.exchange() || src.isDir() == dst.isDir():
		return 0
	case src.isDir():
		return syscall.ENOTDIR
	}
	return syscall.EISDIR
}

// isBelow tells whether a directory is another or below it. The caller holds
// nodeTable.mu.
func (n *node) isBelow(other *node) bool {
	for ; n != nil; n = n.parent {
		if n == other {
			return true
		}
	}
	return false
}

// attempt makes the rename, with the names locked. It is not done if, meanwhile,
// one of them has come to stand for something that needs a copy.
func (c *rename) attempt() (done bool, errno syscall.Errno) {
	fs := c.fs
	if errno := fs.lockTree(c.r); errno != 0 {
		return true, errno
	}
	defer fs.tree.Unlock()
	if rec := c.old.rec; rec != nil {
		rec.names.Lock()
		defer rec.names.Unlock()
	}
	if rec := c.new.rec; rec != nil && rec != c.old.rec {
		rec.names.Lock()
		defer rec.names.Unlock()
	}
	defer c.drop()
	for _, s := range [...]*side{&c.old, &c.new} {
		if s.n, s.from, errno = fs.findThere(c.r, s.dir, s.rec, s.name, &s.e); errno != 0 && errno != syscall.ENOENT {
			return true, errno
		}
		if c.needsCopy(s) {
			return false, 0
		}
	}
	if errno := c.check(); errno != 0 || c.old.n == c.new.n {
		return true, errno
	}
	return true, c.run()
}

// run makes the rename of two names that are checked.
func (c *rename) run() syscall.Errno {
	fs, dst := c.fs, c.new.n
	replaces := dst != nil && !c.exchange()
	v := removal{fs: fs, n: dst, from: c.new.from}
	if replaces && dst.isDir() {
		if errno := v.begin(&c.new.e.Attr); errno != 0 {
			return errno
		}
	}
	errno := fs.lift(&c.old)
	if errno == 0 && c.exchange() {
		errno = fs.lift(&c.new)
	}
	if errno == 0 {
		errno = fs.upper.Rename(c.r, c.old.dir.upperID(), c.old.name, c.new.dir.upperID(), c.new.name, c.flags)
	}
	if replaces && dst.isDir() {
		v.end(errno)
	}
	if errno != 0 {
		return errno
	}
	if replaces {
		if c.new.from == inLower {
			c.new.rec.hide(c.new.name, dst.typ)
			if !dst.isDir() {
				fs.loseLower(dst, &c.new.e.Attr)
			}
		}
		if !dst.isDir() {
			fs.lostName(dst)
		}
	}
	fs.reparent(c.old.n, c.new.dir)
	if c.exchange() {
		fs.reparent(dst, c.old.dir)
	}
	return 0
}

// lift gives what has a lower name the same name in the upper layer, in its
// place. The guest sees no difference. The caller holds the names; there is an
// upper part.
func (fs *FS) lift(s *side) syscall.Errno {
	if s.from == inUpper {
		return 0
	}
	dir, t := s.dir.upperID(), &fs.nodes
	if s.n.isDir() {
		rec := s.n.rec.Load()
		t.mu.Lock()
		index := rec.index
		t.mu.Unlock()
		if errno := fs.upper.Rename(self, vfs.Root, indexName(index), dir, s.name, unix.RENAME_NOREPLACE); errno != 0 {
			return errno
		}
		t.mu.Lock()
		rec.index = ""
		t.mu.Unlock()
	} else {
		var e vfs.Entry
		if errno := fs.upper.Link(self, s.n.upperID(), dir, s.name, &e); errno != 0 {
			return errno
		}
		fs.upper.Forget(e.Node, 1)
		fs.loseLower(s.n, &s.e.Attr)
	}
	s.rec.hide(s.name, s.n.typ)
	s.from = inUpper
	return 0
}

// reparent notes where a directory is now. The caller holds the tree.
func (fs *FS) reparent(n, dir *node) {
	if !n.isDir() || n.parent == dir {
		return
	}
	t := &fs.nodes
	t.mu.Lock()
	was := n.parent
	n.parent = dir
	dir.pins++
	was.pins--
	fs.release(was)
}
