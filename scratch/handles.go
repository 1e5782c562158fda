package scratch

import (
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// handleKind is what a handle was opened as.
type handleKind uint8

const (
	kindAny handleKind = iota // in a search: either
	kindFile
	kindDir
)

// A vfs.Handle is a slot's index in the lower half and the slot's generation, never
// 0, in the upper half.
const (
	handleChunkBits = 8
	handleChunkSize = 1 << handleChunkBits
	// maxHandles bounds the memory that a guest can have us use for handles.
	maxHandles = 1 << 18
)

// openFile is what a handle stands for. But for end it never changes, so a call that
// has found it can go on when the handle is released meanwhile.
type openFile struct {
	handle vfs.Handle
	node   *node
	kind   handleKind
	access uint32        // O_ACCMODE bits: what it is good for
	end    atomic.Uint64 // of a directory: where its listing ends
}

func (o *openFile) reads() bool  { return o.access != unix.O_WRONLY }
func (o *openFile) writes() bool { return o.access != unix.O_RDONLY }

type handleSlot struct {
	open atomic.Pointer[openFile]
	gen  uint32 // guarded by handleTable.mu
	next uint32 // of the free slots, plus one; guarded by handleTable.mu
}

type handleChunk [handleChunkSize]handleSlot

// handleTable finds handles without a lock. Slots live in chunks that never move
// and are reused.
type handleTable struct {
	chunks atomic.Pointer[[]*handleChunk]
	count  atomic.Int64

	mu   sync.Mutex
	free uint32 // a free slot plus one, or 0
}

func (t *handleTable) init() { t.chunks.Store(new([]*handleChunk)) }

func (t *handleTable) at(index uint32) *handleSlot {
	chunks := *t.chunks.Load()
	c := index >> handleChunkBits
	if int(c) >= len(chunks) {
		return nil
	}
	return &chunks[c][index%handleChunkSize]
}

// add makes a handle of o.
func (t *handleTable) add(o *openFile) syscall.Errno {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free == 0 && !t.grow() {
		return syscall.ENFILE
	}
	index := t.free - 1
	s := t.at(index)
	t.free = s.next
	if s.gen++; s.gen == 0 {
		s.gen = 1
	}
	o.handle = vfs.Handle(s.gen)<<32 | vfs.Handle(index)
	s.open.Store(o)
	t.count.Add(1)
	return 0
}

func (t *handleTable) grow() bool {
	chunks := *t.chunks.Load()
	if len(chunks) == maxHandles/handleChunkSize {
		return false
	}
	c := new(handleChunk)
	base := uint32(len(chunks)) << handleChunkBits
	for i := range c {
		c[i].next = t.free
		t.free = base + uint32(i) + 1
	}
	grown := append(chunks[:len(chunks):len(chunks)], c)
	t.chunks.Store(&grown)
	return true
}

// find returns what an open handle stands for, or nil.
func (t *handleTable) find(h vfs.Handle) *openFile {
	s := t.at(uint32(h))
	if s == nil {
		return nil
	}
	if o := s.open.Load(); o != nil && o.handle == h {
		return o
	}
	return nil
}

// drop ends a handle. It tells whether it was this call that did.
func (t *handleTable) drop(o *openFile) bool {
	index := uint32(o.handle)
	s := t.at(index)
	if !s.open.CompareAndSwap(o, nil) {
		return false
	}
	t.mu.Lock()
	s.next, t.free = t.free, index+1
	t.count.Add(-1)
	t.mu.Unlock()
	return true
}

// clear ends all handles.
func (t *handleTable) clear(fs *FS) {
	for _, c := range *t.chunks.Load() {
		for i := range c {
			if o := c[i].open.Load(); o != nil {
				fs.closeFile(o)
			}
		}
	}
}

// handle finds an open handle of a node. One that is unknown, of another kind or of
// another node is EBADF.
func (fs *FS) handle(id vfs.NodeID, h vfs.Handle, kind handleKind) (*openFile, syscall.Errno) {
	o := fs.handles.find(h)
	if o == nil || o.node.id != id || kind != kindAny && o.kind != kind {
		return nil, syscall.EBADF
	}
	return o, 0
}

// openNode makes a handle of a node.
func (fs *FS) openNode(n *node, kind handleKind, flags uint32) (vfs.Handle, syscall.Errno) {
	n.mu.Lock()
	if n.dead.Load() {
		n.mu.Unlock()
		return 0, syscall.ESTALE
	}
	n.opens++
	n.mu.Unlock()
	access := flags & unix.O_ACCMODE
	if access == unix.O_WRONLY && fs.writeback.Load() {
		access = unix.O_RDWR // the guest reads the rest of a page it writes to
	}
	o := &openFile{node: n, kind: kind, access: access}
	if errno := fs.handles.add(o); errno != 0 {
		fs.closed(n)
		return 0, errno
	}
	return o.handle, 0
}

// closeFile ends a handle.
func (fs *FS) closeFile(o *openFile) syscall.Errno {
	if !fs.handles.drop(o) {
		return syscall.EBADF
	}
	fs.closed(o.node)
	return 0
}

// closed takes back what openNode has counted.
func (fs *FS) closed(n *node) {
	n.mu.Lock()
	n.opens--
	gone := n.reap()
	n.mu.Unlock()
	if gone {
		fs.bury(n)
	}
}

// release ends the handle of a call.
func (fs *FS) release(id vfs.NodeID, h vfs.Handle, kind handleKind) syscall.Errno {
	o, errno := fs.handle(id, h, kind)
	if errno != 0 {
		return errno
	}
	return fs.closeFile(o)
}

// check finds out whether a handle is good, and no more.
func (fs *FS) check(id vfs.NodeID, h vfs.Handle, kind handleKind) syscall.Errno {
	_, errno := fs.handle(id, h, kind)
	return errno
}

// Release implements [vfs.FileSystem].
func (fs *FS) Release(_ *vfs.Request, id vfs.NodeID, h vfs.Handle, _ *vfs.ReleaseIn) syscall.Errno {
	return fs.release(id, h, kindFile)
}

// Flush implements [vfs.FileSystem].
func (fs *FS) Flush(_ *vfs.Request, id vfs.NodeID, h vfs.Handle, _ uint64) syscall.Errno {
	return fs.check(id, h, kindFile)
}

// Fsync implements [vfs.FileSystem]. There is nothing to outlive a crash.
func (fs *FS) Fsync(_ *vfs.Request, id vfs.NodeID, h vfs.Handle, _ bool) syscall.Errno {
	return fs.check(id, h, kindFile)
}

// Releasedir implements [vfs.FileSystem].
func (fs *FS) Releasedir(_ *vfs.Request, id vfs.NodeID, h vfs.Handle) syscall.Errno {
	return fs.release(id, h, kindDir)
}

// Fsyncdir implements [vfs.FileSystem].
func (fs *FS) Fsyncdir(_ *vfs.Request, id vfs.NodeID, h vfs.Handle, _ bool) syscall.Errno {
	return fs.check(id, h, kindDir)
}
