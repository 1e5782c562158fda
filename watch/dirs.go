package watch

import (
	"sync"
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Opendir implements [vfs.FileSystem].
func (fs *FS) Opendir(r *vfs.Request, node vfs.NodeID, flags uint32, out *vfs.Opened) syscall.Errno {
	c, s := fs.begin(OpOpendir, r, node), fs.session.Load()
	errno := fs.inner.Opendir(r, node, flags, out)
	if errno == 0 {
		s.opened(r, node, out.Handle, flags, true)
	}
	if c != nil {
		c.rec.Flags = flags
		c.opened(errno, out)
		c.end(errno)
	}
	return errno
}

// listing passes entries on and learns of them.
type listing struct {
	vfs.DirSink
	s      *session
	parent vfs.NodeID
	count  uint64
}

var listings = sync.Pool{New: func() any { return new(listing) }}

// Add implements [vfs.DirSink]. The guest has the reference from here on, so this one
// is noted first.
func (l *listing) Add(name []byte, ino, next uint64, typ uint32, e *vfs.Entry) {
	l.count++
	if e != nil && e.Node != 0 {
		l.s.got(l.parent, name, e)
	}
	l.DirSink.Add(name, ino, next, typ, e)
}

// Readdir implements [vfs.FileSystem].
func (fs *FS) Readdir(r *vfs.Request, node vfs.NodeID, h vfs.Handle, off uint64, sink vfs.DirSink) syscall.Errno {
	c := fs.beginOpen(OpReaddir, r, node, h)
	if c == nil && !sink.Plus() {
		return fs.inner.Readdir(r, node, h, off, sink)
	}
	l := listings.Get().(*listing)
	*l = listing{sink, fs.session.Load(), node, 0}
	errno := fs.inner.Readdir(r, node, h, off, l)
	if c != nil {
		c.rec.Offset, c.rec.Count = off, l.count
		c.end(errno)
	}
	*l = listing{}
	listings.Put(l)
	return errno
}

// Releasedir implements [vfs.FileSystem].
func (fs *FS) Releasedir(r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
	c, s := fs.beginOpen(OpReleasedir, r, node, h), fs.session.Load()
	f, errno := s.closing(node, h)
	if errno == 0 {
		errno = fs.inner.Releasedir(r, node, h)
		s.closed(f, node, true, errno)
	}
	if c != nil {
		c.end(errno)
	}
	return errno
}

// Fsyncdir implements [vfs.FileSystem].
func (fs *FS) Fsyncdir(r *vfs.Request, node vfs.NodeID, h vfs.Handle, datasync bool) syscall.Errno {
	c := fs.beginOpen(OpFsyncdir, r, node, h)
	errno := fs.inner.Fsyncdir(r, node, h, datasync)
	if c != nil {
		c.rec.Flags = flag(datasync)
		c.end(errno)
	}
	return errno
}
