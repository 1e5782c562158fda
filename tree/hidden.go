package tree

import (
	"strings"
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// hidden is the name of a mount that a guest has removed. It is kept where it
// covers something, which must not take the place of what was removed, and in a
// synthetic directory, which would go with its last name.
type hidden struct {
	path  string
	above string // the path of the mount that it is in
	synth bool   // it was removed from a synthetic directory
	// at is where it was last attached. Whether it still is, the table knows.
	at *attachment
}

// taken is the error of making a name that is attached. One that is hidden is
// neither there nor free: what is made would be what it covers.
func (fs *FS) taken(a *attachment) syscall.Errno {
	switch {
	case !a.hidden:
		return syscall.EEXIST
	case a.dir&^vfs.MaxNodeID == fs.synthMount.base:
		return syscall.EROFS
	}
	return syscall.EBUSY
}

// hide takes a mount away as a guest does that removes its name, and returns what
// is left of it, or nil.
func (b *builder) hide(m *mount) *hidden {
	was := m.at
	h := &hidden{path: m.path, above: b.fs.above(m.path), synth: b.synthetic(was.dir) != nil}
	if !h.synth && !b.covers(was.dir, was.name) {
		b.detach(was)
		return nil
	}
	h.at = &attachment{dir: was.dir, name: was.name, bytes: was.bytes, hidden: true}
	b.dirs[was.dir] = b.dirs[was.dir].without(was).with(h.at)
	return h
}

// covers tells whether the file system of a directory has a name. If that cannot be
// found out, it has.
func (b *builder) covers(dir vfs.NodeID, name string) bool {
	n, errno := vfs.MakeName(name)
	if errno != 0 {
		return false
	}
	var e vfs.Entry
	child := b.fs.childOf(dir)
	switch errno = child.Lookup(&vfs.Request{}, dir&vfs.MaxNodeID, n, &e); {
	case errno == syscall.ENOENT, errno == 0 && e.Node == 0:
		return false
	case errno == 0:
		child.Forget(e.Node, 1)
	}
	return true
}

// isAttached tells whether a is in the new table.
func (b *builder) isAttached(a *attachment) bool {
	if a == nil {
		return false
	}
	d := b.dirs[a.dir]
	return d != nil && d.names[a.name] == a
}

// reveal detaches the hidden names that a condition holds for.
func (b *builder) reveal(which func(*hidden) bool) {
	for _, h := range b.fs.hidden {
		if b.isAttached(h.at) && which(h) {
			b.detach(h.at)
		}
	}
}

// hideAgain attaches the hidden names that are not, but for those that lie in
// another mount at the moment. Where there is nothing left to hide, it forgets
// them. It comes last: nothing may fail after it.
func (b *builder) hideAgain() {
	for p, h := range b.fs.hidden {
		if !b.isAttached(h.at) && b.fs.above(p) == h.above && !b.attachHidden(h) {
			delete(b.fs.hidden, p)
		}
	}
}

// attachHidden walks to the place of a hidden name and attaches it there, unless
// something else is. It reports whether it has to be kept.
func (b *builder) attachHidden(h *hidden) bool {
	how := walkThere
	if h.synth {
		how = walkStrict
	}
	at, name, err := b.walk(h.path, how)
	if err != nil {
		return false
	}
	if d := b.dirs[at.node]; d != nil && d.names[name] != nil {
		b.leave(at)
		return true
	}
	if b.synthetic(at.node) == nil && !b.covers(at.node, name) {
		b.leave(at)
		return false
	}
	h.at = &attachment{name: name, hidden: true}
	b.add(at, h.at)
	return true
}

// lies tells whether a path is below another.
func lies(p, below string) bool {
	return p != below && strings.HasPrefix(p, strings.TrimSuffix(below, "/")+"/")
}
