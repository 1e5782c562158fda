package overlay

import (
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// handleTable has the open files and directories.
type handleTable struct {
	slots slots[handle]
}

// handleKind is what a handle was opened as.
type handleKind uint8

const (
	kindAny handleKind = iota // in a search: either
	kindFile
	kindDir
)

const noHandle = uint64(vfs.NoHandle)

// handle is an open file or directory. It pins its node, so the children's
// nodes of its own handles stay.
type handle struct {
	node  *node
	kind  handleKind
	flags uint32 // as opened, without O_TRUNC

	// lower and upper are handles of the children, or noHandle. A file has the
	// one of the layer that it was opened in, and the upper one once it has
	// followed a copy-up. A directory opens each when it is first listed.
	lower, upper atomic.Uint64

	mu     sync.Mutex // held to open one, and to close all
	closed bool       // guarded by mu
}

// newHandle makes a handle for a node that the caller has pinned; the pin becomes
// the handle's.
func newHandle(n *node, kind handleKind, flags uint32) *handle {
	h := &handle{node: n, kind: kind, flags: flags &^ unix.O_TRUNC}
	h.lower.Store(noHandle)
	h.upper.Store(noHandle)
	return h
}

// handle finds an open handle of a node. One that is unknown, of another kind or
// of another node is EBADF.
func (fs *FS) handle(id vfs.NodeID, v vfs.Handle, kind handleKind) (*handle, syscall.Errno) {
	h := fs.handles.slots.get(uint64(v))
	if h == nil || h.node.id != id || kind != kindAny && h.kind != kind {
		return nil, syscall.EBADF
	}
	return h, 0
}

// file finds an open file and what it is open as in the layer that has its data.
func (fs *FS) file(id vfs.NodeID, v vfs.Handle) (child vfs.FileSystem, node vfs.NodeID, ch vfs.Handle, errno syscall.Errno) {
	h, errno := fs.handle(id, v, kindFile)
	if errno != 0 {
		return nil, 0, 0, errno
	}
	return fs.current(h)
}

// current returns what a handle is open as in the layer that has the node's
// data. A file that was opened before the copy-up is opened in the copy. For a
// directory, the child's handle is NoHandle if it is not open there.
func (fs *FS) current(h *handle) (child vfs.FileSystem, node vfs.NodeID, ch vfs.Handle, errno syscall.Errno) {
	n := h.node
	id := n.upperID()
	if id == 0 {
		return fs.lower, n.lowerID(), vfs.Handle(h.lower.Load()), 0
	}
	up := h.upper.Load()
	if up == noHandle && h.kind == kindFile {
		if up, errno = fs.follow(h, id); errno != 0 {
			return nil, 0, 0, errno
		}
	}
	return fs.upper, id, vfs.Handle(up), 0
}

// follow opens the copy for a handle that was opened in the lower layer, which
// is then one for reading.
func (fs *FS) follow(h *handle, id vfs.NodeID) (uint64, syscall.Errno) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if up := h.upper.Load(); up != noHandle {
		return up, 0
	}
	if h.closed {
		return noHandle, syscall.EBADF
	}
	var o vfs.Opened
	var errno syscall.Errno
	if h.kind == kindDir {
		errno = fs.upper.Opendir(self, id, h.flags, &o)
	} else {
		errno = fs.upper.Open(self, id, h.flags, false, &o)
	}
	if errno != 0 {
		return noHandle, errno
	}
	h.upper.Store(uint64(o.Handle))
	return uint64(o.Handle), 0
}

// close ends a handle that is no longer in the table.
func (fs *FS) close(r *vfs.Request, h *handle, in *vfs.ReleaseIn) syscall.Errno {
	h.mu.Lock()
	h.closed = true
	errno := closeIn(fs.lower, r, h, h.node.lowerID(), h.lower.Swap(noHandle), in)
	errno = firstErrno(errno, closeIn(fs.upper, r, h, h.node.upperID(), h.upper.Swap(noHandle), in))
	h.mu.Unlock()
	if h.kind == kindDir {
		h.node.cookies.close()
	}
	fs.unpin(h.node)
	return errno
}

func closeIn(child vfs.FileSystem, r *vfs.Request, h *handle, node vfs.NodeID, ch uint64, in *vfs.ReleaseIn) syscall.Errno {
	switch {
	case ch == noHandle:
		return 0
	case h.kind == kindDir:
		return child.Releasedir(r, node, vfs.Handle(ch))
	}
	return child.Release(r, node, vfs.Handle(ch), in)
}
