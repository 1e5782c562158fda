package tree

import (
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Methods on the way of most requests begin with the case of index 0, which is a
// comparison and the call itself. All others go by call or enter.

// scratch is what calls behind a call put their answers in, which would otherwise
// be made anew for each.
type scratch struct {
	entry vfs.Entry
	attr  vfs.AttrOut
	copy  vfs.CopyRange
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// Lookup implements [vfs.FileSystem].
func (fs *FS) Lookup(r *vfs.Request, parent vfs.NodeID, name vfs.Name, out *vfs.Entry) syscall.Errno {
	for t := fs.table.Load(); t != nil; t = fs.table.Load() {
		a, errno := fs.attached(parent, name)
		if errno != 0 {
			return errno
		}
		if a == nil {
			break
		}
		if a.hidden {
			return syscall.ENOENT
		}
		if errno = fs.enterMount(r, a, out); errno != syscall.ESTALE || t == fs.table.Load() {
			return errno
		}
		// It was unmounted meanwhile: the name means something else now.
	}
	if parent <= vfs.MaxNodeID {
		m := fs.root
		errno := m.child.Lookup(r, parent, name, out)
		out.EntryTTL = min(out.EntryTTL, m.maxTTL)
		return errno
	}
	m, id := fs.enter(parent)
	if m == nil {
		return syscall.ESTALE
	}
	errno := m.made(m.child.Lookup(r, id, name, out), out)
	m.leave(id)
	return errno
}

// enterMount takes a reference to what is attached. ESTALE says that it is gone.
func (fs *FS) enterMount(r *vfs.Request, a *attachment, out *vfs.Entry) syscall.Errno {
	if a.m == nil {
		return fs.synthMount.made(fs.synth.enter(a.node&vfs.MaxNodeID, out), out)
	}
	m := a.m
	if !m.gate.enter(vfs.Root) {
		return syscall.ESTALE
	}
	s := scratches.Get().(*scratch)
	errno := m.child.Getattr(r, vfs.Root, vfs.NoHandle, &s.attr)
	if errno == 0 {
		*out = vfs.Entry{Node: vfs.Root, Attr: s.attr.Attr, EntryTTL: min(s.attr.TTL, nameTTL), AttrTTL: s.attr.TTL}
		fs.mark(m, vfs.Root, &out.Attr)
		m.took(out)
	}
	scratches.Put(s)
	m.gate.leave(vfs.Root)
	return errno
}

// mark says of the root of a mount that it is one.
func (fs *FS) mark(m *mount, id vfs.NodeID, a *vfs.Attr) {
	if id == vfs.Root && m.base != 0 && m.isDir() && fs.submounts.Load() {
		a.Flags |= vfs.AttrSubmount
	}
}

// show makes attributes of a file system those of a node in the tree.
func (fs *FS) show(m *mount, id vfs.NodeID, a *vfs.Attr) {
	fs.mark(m, id, a)
	a.Ino ^= m.inoMix.Load()
}

// Forget implements [vfs.FileSystem].
func (fs *FS) Forget(node vfs.NodeID, n uint64) {
	m, id := fs.root, node
	if node > vfs.MaxNodeID {
		m, id = fs.mountOf(node), node&vfs.MaxNodeID
	}
	if m == nil {
		return
	}
	t := fs.table.Load()
	if t.pinned(node) == nil || !fs.owe(node, n) {
		if m.base == 0 {
			m.child.Forget(id, n)
		} else if m.gate.enter(id) {
			m.child.Forget(id, n)
			m.gate.leave(id)
		}
		if now := fs.table.Load(); now != t && now.pinned(node) != nil {
			// The pin has come meanwhile. If the guest gave back more than it
			// had, it is lost.
			fs.checkPins()
		}
	}
	if m.base != 0 && m.gave(id, n) {
		fs.unused(m)
	}
}

// owe notes references that the guest has given back, if their node has a pin.
func (fs *FS) owe(node vfs.NodeID, n uint64) bool {
	fs.forgets.RLock()
	defer fs.forgets.RUnlock()
	d := fs.table.Load().pinned(node)
	if d != nil {
		d.pin.add(n)
	}
	return d != nil
}

// Getattr implements [vfs.FileSystem].
func (fs *FS) Getattr(r *vfs.Request, node vfs.NodeID, h vfs.Handle, out *vfs.AttrOut) syscall.Errno {
	if node <= vfs.MaxNodeID {
		return fs.root.child.Getattr(r, node, h, out)
	}
	m, id := fs.enter(node)
	if m == nil {
		return syscall.ESTALE
	}
	errno := m.child.Getattr(r, id, h, out)
	fs.show(m, id, &out.Attr)
	m.leave(id)
	return errno
}

// Setattr implements [vfs.FileSystem].
func (fs *FS) Setattr(r *vfs.Request, node vfs.NodeID, h vfs.Handle, in *vfs.SetAttr, out *vfs.AttrOut) syscall.Errno {
	m, id := fs.call(node)
	if m == nil {
		return syscall.ESTALE
	}
	errno := m.child.Setattr(r, id, h, in, out)
	fs.show(m, id, &out.Attr)
	m.leave(id)
	return errno
}

// Statx implements [vfs.FileSystem].
func (fs *FS) Statx(r *vfs.Request, node vfs.NodeID, h vfs.Handle, flags, mask uint32, out *vfs.Statx) syscall.Errno {
	m, id := fs.call(node)
	if m == nil {
		return syscall.ESTALE
	}
	errno := m.child.Statx(r, id, h, flags, mask, out)
	if errno = fs.instead(m, errno, noStatx); errno == noStatx {
		errno = m.statx(r, id, h, out)
	}
	fs.show(m, id, &out.Attr)
	m.leave(id)
	return errno
}

// noStatx is no error that a guest gets to see.
const noStatx syscall.Errno = 1<<16 - 1

// statx is Statx for a file system without: what Getattr tells.
func (m *mount) statx(r *vfs.Request, id vfs.NodeID, h vfs.Handle, out *vfs.Statx) syscall.Errno {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	errno := m.child.Getattr(r, id, h, &s.attr)
	if errno == 0 {
		*out = vfs.Statx{Mask: unix.STATX_BASIC_STATS, Attr: s.attr.Attr, TTL: s.attr.TTL}
	}
	return errno
}

// Access implements [vfs.FileSystem].
func (fs *FS) Access(r *vfs.Request, node vfs.NodeID, mask uint32) syscall.Errno {
	m, id := fs.call(node)
	if m == nil {
		return syscall.ESTALE
	}
	errno := fs.instead(m, m.child.Access(r, id, mask), 0)
	m.leave(id)
	return errno
}

// Readlink implements [vfs.FileSystem].
func (fs *FS) Readlink(r *vfs.Request, node vfs.NodeID, buf []byte) (int, syscall.Errno) {
	m, id := fs.call(node)
	if m == nil {
		return 0, syscall.ESTALE
	}
	n, errno := m.child.Readlink(r, id, buf)
	m.leave(id)
	return n, errno
}

// Statfs implements [vfs.FileSystem].
func (fs *FS) Statfs(r *vfs.Request, node vfs.NodeID, out *vfs.Statfs) syscall.Errno {
	m, id := fs.call(node)
	if m == nil {
		return syscall.ESTALE
	}
	errno := m.child.Statfs(r, id, out)
	m.leave(id)
	return errno
}

// Syncfs implements [vfs.FileSystem]. It is about the mount that the node is on.
func (fs *FS) Syncfs(r *vfs.Request, node vfs.NodeID) syscall.Errno {
	m, id := fs.call(node)
	if m == nil {
		return syscall.ESTALE
	}
	errno := fs.instead(m, m.child.Syncfs(r, id), 0)
	m.leave(id)
	return errno
}

// instead answers for a file system that lacks a call: ENOSYS would have a guest
// never make it again on any mount. Where there are no others, that is right.
func (fs *FS) instead(m *mount, errno, instead syscall.Errno) syscall.Errno {
	if errno == syscall.ENOSYS && (m.base != 0 || fs.table.Load() != nil) {
		return instead
	}
	return errno
}
