package overlay

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// writes tells whether a file opened with the flags may change.
func writes(flags uint32) bool {
	return flags&unix.O_ACCMODE != unix.O_RDONLY || flags&unix.O_TRUNC != 0
}

// Open implements [vfs.FileSystem]. Opening for writing makes the copy.
func (fs *FS) Open(r *vfs.Request, id vfs.NodeID, flags uint32, kill bool, out *vfs.Opened) syscall.Errno {
	n := fs.getPinned(id)
	if n == nil {
		return syscall.ESTALE
	}
	errno := fs.openNode(r, n, flags, kill, out)
	if errno != 0 {
		fs.unpin(n)
	}
	return errno
}

// openNode opens a pinned node. If it succeeds, the pin is the handle's.
func (fs *FS) openNode(r *vfs.Request, n *node, flags uint32, kill bool, out *vfs.Opened) syscall.Errno {
	h := newHandle(n, kindFile, flags)
	if n.upperID() == 0 && (!writes(flags) || n.typ != unix.S_IFREG) {
		// What is not a regular file is refused, and below it does no harm.
		const change = unix.O_ACCMODE | unix.O_TRUNC | unix.O_APPEND | unix.O_CREAT | unix.O_EXCL
		errno := fs.lower.Open(r, n.lowerID(), flags&^change, false, out)
		if errno == 0 {
			h.lower.Store(uint64(out.Handle))
			out.Handle = vfs.Handle(fs.handles.slots.add(h))
		}
		return errno
	}
	open := func(upper vfs.NodeID) syscall.Errno { return fs.upper.Open(r, upper, flags, kill, out) }
	limit, finish := uint64(all), open
	if flags&unix.O_TRUNC != 0 {
		limit = 0 // the copy without data is seen only if it is opened, too
	} else {
		finish = nil
	}
	made, errno := fs.copyUp(r, n, limit, finish)
	if errno == 0 && !made {
		errno = open(n.upperID())
	}
	if errno != 0 {
		return errno
	}
	h.upper.Store(uint64(out.Handle))
	out.Handle = vfs.Handle(fs.handles.slots.add(h))
	return 0
}

// Release implements [vfs.FileSystem].
func (fs *FS) Release(r *vfs.Request, id vfs.NodeID, v vfs.Handle, in *vfs.ReleaseIn) syscall.Errno {
	h, errno := fs.handle(id, v, kindFile)
	if errno != 0 {
		return errno
	}
	if !fs.handles.slots.remove(uint64(v)) {
		return syscall.EBADF
	}
	return fs.close(r, h, in)
}

// Create implements [vfs.FileSystem].
func (fs *FS) Create(r *vfs.Request, parent vfs.NodeID, name vfs.Name, flags, mode uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	p, errno := fs.getDirPinned(parent)
	if errno != 0 {
		return errno
	}
	defer fs.unpin(p)
	errno = fs.making(r, p, name, func(dir vfs.NodeID) syscall.Errno {
		return fs.upper.Create(r, dir, name, flags, mode, out, opened)
	})
	switch {
	case errno == syscall.EEXIST && flags&unix.O_EXCL == 0:
		return fs.createExisting(r, p, name, flags, out, opened)
	case errno != 0:
		return errno
	}
	return fs.entered(r, p, out, opened, flags)
}

// createExisting opens the lower file that Create found in its place. The guest
// believed that there is none, so it has not checked whether its caller may open
// it. A refusal is ESTALE, which makes a guest look the name up anew and check for
// itself.
func (fs *FS) createExisting(r *vfs.Request, p *node, name vfs.Name, flags uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	errno := fs.Lookup(r, p.id, name, out)
	if errno == 0 && out.Node == 0 {
		errno = syscall.ESTALE
	}
	if errno != 0 {
		return errno
	}
	found := out.Node
	want := [...]uint32{unix.O_RDONLY: unix.R_OK, unix.O_WRONLY: unix.W_OK, unix.O_RDWR: unix.R_OK | unix.W_OK, unix.O_ACCMODE: 0}[flags&unix.O_ACCMODE]
	if r.UID != 0 {
		if errno = fs.Access(r, found, want); errno == syscall.EACCES {
			errno = syscall.ESTALE
		}
	}
	if errno == 0 {
		kill := r.UID != 0 && fs.agreed(vfs.FeatKillPriv)
		errno = fs.Open(r, found, flags&^(unix.O_CREAT|unix.O_EXCL), kill, opened)
	}
	if errno == 0 {
		// Again, as O_TRUNC may have changed them.
		var a vfs.AttrOut
		if errno = fs.Getattr(r, found, opened.Handle, &a); errno == 0 {
			out.Attr, out.AttrTTL = a.Attr, a.TTL
			return 0
		}
		fs.Release(self, found, opened.Handle, &vfs.ReleaseIn{})
	}
	fs.Forget(found, 1)
	return errno
}

// Tmpfile implements [vfs.FileSystem].
func (fs *FS) Tmpfile(r *vfs.Request, parent vfs.NodeID, flags, mode uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	p, errno := fs.getDirPinned(parent)
	if errno != 0 {
		return errno
	}
	defer fs.unpin(p)
	if errno = fs.readyDir(r, p); errno == 0 {
		errno = fs.upper.Tmpfile(r, p.upperID(), flags, mode, out, opened)
	}
	if errno != 0 {
		return errno
	}
	return fs.entered(r, p, out, opened, flags)
}

// entered makes a node and, unless opened is nil, a handle of what was just made,
// or opened, in the upper layer.
func (fs *FS) entered(r *vfs.Request, p *node, out *vfs.Entry, opened *vfs.Opened, flags uint32) syscall.Errno {
	id := out.Node
	n, errno := fs.attachUpper(r, p, out, forGuest)
	if errno != 0 {
		if opened != nil {
			fs.upper.Release(self, id, opened.Handle, &vfs.ReleaseIn{})
		}
		return errno
	}
	if opened != nil {
		t := &fs.nodes
		t.mu.Lock()
		n.pins++
		t.mu.Unlock()
		h := newHandle(n, kindFile, flags)
		h.upper.Store(uint64(opened.Handle))
		opened.Handle = vfs.Handle(fs.handles.slots.add(h))
	}
	return fs.deliver(r, n, inUpper, out)
}
