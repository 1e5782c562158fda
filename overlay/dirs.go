package overlay

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Opendir implements [vfs.FileSystem].
func (fs *FS) Opendir(r *vfs.Request, id vfs.NodeID, flags uint32, out *vfs.Opened) syscall.Errno {
	n, errno := fs.getDirPinned(id)
	if errno != 0 {
		return errno
	}
	// Both are opened at once, for a change of the upper to be found here.
	h := newHandle(n, kindDir, flags&unix.O_NOATIME)
	n.cookies.opened()
	var both vfs.OpenFlags = ^vfs.OpenFlags(0)
	if lower := n.lowerID(); lower != 0 {
		if errno = fs.lower.Opendir(r, lower, h.flags, out); errno == 0 {
			h.lower.Store(uint64(out.Handle))
			both &= out.Flags
		}
	}
	if upper := n.upperID(); upper != 0 && errno == 0 {
		if errno = fs.upper.Opendir(r, upper, h.flags, out); errno == 0 {
			h.upper.Store(uint64(out.Handle))
			both &= out.Flags
		}
	}
	if errno != 0 {
		fs.close(self, h, nil)
		return errno
	}
	*out = vfs.Opened{Handle: vfs.Handle(fs.handles.slots.add(h)), Flags: both}
	return 0
}

// Releasedir implements [vfs.FileSystem].
func (fs *FS) Releasedir(r *vfs.Request, id vfs.NodeID, v vfs.Handle) syscall.Errno {
	h, errno := fs.handle(id, v, kindDir)
	if errno != 0 {
		return errno
	}
	if !fs.handles.slots.remove(uint64(v)) {
		return syscall.EBADF
	}
	return fs.close(r, h, nil)
}

// Fsyncdir implements [vfs.FileSystem].
func (fs *FS) Fsyncdir(r *vfs.Request, id vfs.NodeID, v vfs.Handle, datasync bool) syscall.Errno {
	h, errno := fs.handle(id, v, kindDir)
	if errno != 0 {
		return errno
	}
	upper, errno := fs.upperDir(h)
	if errno != 0 || upper == vfs.NoHandle {
		return errno
	}
	return fs.upper.Fsyncdir(r, h.node.upperID(), upper, datasync)
}

// upperDir returns the upper handle of an open directory, which it opens if
// there is an upper part by now; NoHandle if there is none.
func (fs *FS) upperDir(h *handle) (vfs.Handle, syscall.Errno) {
	up := h.upper.Load()
	if id := h.node.upperID(); up == noHandle && id != 0 {
		var errno syscall.Errno
		if up, errno = fs.follow(h, id); errno != 0 {
			return vfs.NoHandle, errno
		}
	}
	return vfs.Handle(up), 0
}

// Readdir implements [vfs.FileSystem]: the lower names that are not hidden, and
// then the upper ones.
func (fs *FS) Readdir(r *vfs.Request, id vfs.NodeID, v vfs.Handle, off uint64, out vfs.DirSink) syscall.Errno {
	h, errno := fs.handle(id, v, kindDir)
	if errno != 0 {
		return errno
	}
	n := h.node
	rec := n.rec.Load()
	if rec != nil {
		if errno := rLock(r, rec); errno != 0 {
			return errno
		}
		defer rec.names.RUnlock()
		if rec.removed.Load() {
			return 0
		}
	}
	s := fs.sinks.Get().(*sink)
	s.begin(fs, r, n, rec, out)
	errno = fs.readdir(r, h, off, s)
	added := s.added
	s.end()
	fs.sinks.Put(s)
	if added {
		return 0 // an error comes again in the next call
	}
	return errno
}

func (fs *FS) readdir(r *vfs.Request, h *handle, off uint64, s *sink) syscall.Errno {
	n := h.node
	if n.lowerID() == 0 {
		upper := vfs.Handle(h.upper.Load())
		return s.list(fs.upper, n.upperID(), upper, cookie{inUpper, off}, false)
	}
	if off == 0 {
		n.cookies.rewind()
	}
	from := n.cookies.decode(off)
	upper, errno := fs.upperDir(h)
	if errno != 0 {
		return errno
	}
	if from.in == inLower {
		if errno := s.list(fs.lower, n.lowerID(), vfs.Handle(h.lower.Load()), from, true); errno != 0 || s.full {
			return errno
		}
		from = cookie{inUpper, 0}
	}
	if upper == vfs.NoHandle {
		return 0
	}
	return s.list(fs.upper, n.upperID(), upper, from, true)
}
