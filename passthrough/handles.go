package passthrough

import (
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// handleKind is what a handle was opened as.
type handleKind uint8

const (
	kindAny  handleKind = iota // in a search: either
	kindFile                   // Open, Create, Tmpfile
	kindDir                    // Opendir
)

// A vfs.Handle is a slot index in the low half and the slot's generation,
// never 0, in the upper half.
const (
	handleChunkBits = 8
	handleChunkSize = 1 << handleChunkBits
	handleGenShift  = 32

	handleLive  = 1 << 31 // in a handle's state: may be found
	handleUsers = handleLive - 1
)

// handle is an open file or directory. Between [FS.handle] and unpin, or
// [FS.dropHandle] and unpin, everything in it is valid and, but for inline and
// dir, immutable.
type handle struct {
	// state is generation << 32 | live << 31 | users. One user is the table
	// itself, until the handle is dropped. Whoever brings users to zero
	// closes the descriptor and gives the slot back.
	state atomic.Uint64

	fs    *FS
	index uint32
	kind  handleKind
	flags uint32 // as opened: the guest's flags after the policy was applied
	fd    int
	node  *node // whose file this is; perhaps forgotten since

	direct direct    // iomode.go
	inline inline    // data.go
	dir    dirStream // dirs.go

	nextFree *handle // guarded by handleTable.mu
}

type handleChunk [handleChunkSize]handle

// handleTable finds handles without a lock. Handles live in chunks that never
// move and are reused, so opening and closing files makes no garbage.
type handleTable struct {
	chunks atomic.Pointer[[]*handleChunk]
	count  atomic.Int64

	mu   sync.Mutex
	free *handle
}

func (t *handleTable) init() { t.chunks.Store(new([]*handleChunk)) }

func (t *handleTable) at(index uint32) *handle {
	chunks := *t.chunks.Load()
	c := index >> handleChunkBits
	if int(c) >= len(chunks) {
		return nil
	}
	return &chunks[c][index%handleChunkSize]
}

// take returns a free handle for its caller to fill and publish.
func (t *handleTable) take(fs *FS) *handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free == nil {
		chunks := *t.chunks.Load()
		c := new(handleChunk)
		base := uint32(len(chunks)) << handleChunkBits
		for i := range c {
			h := &c[i]
			h.fs, h.index, h.nextFree = fs, base+uint32(i), t.free
			h.state.Store(1 << handleGenShift)
			t.free = h
		}
		grown := append(chunks[:len(chunks):len(chunks)], c)
		t.chunks.Store(&grown)
	}
	h := t.free
	t.free = h.nextFree
	t.count.Add(1)
	return h
}

// pin counts its caller as a user if the handle is live and of generation gen.
// With drop, it ends the handle's life instead, and its caller takes over the
// table's place among the users.
func (h *handle) pin(gen uint64, drop bool) bool {
	for {
		w := h.state.Load()
		if w>>handleGenShift != gen || w&handleLive == 0 {
			return false
		}
		next := w + 1
		if drop {
			next = w &^ handleLive
		}
		if h.state.CompareAndSwap(w, next) {
			return true
		}
	}
}

// unpin ends a use. The last user closes the descriptor.
func (h *handle) unpin() {
	if w := h.state.Add(^uint64(0)); w&handleUsers != 0 {
		return
	}
	fs := h.fs
	h.dir.release(&fs.dirBufs)
	h.direct.close(fs)
	oslib.Close(h.fd)
	fs.fds.put()
	h.fd, h.node = -1, nil
	gen := h.state.Load()>>handleGenShift + 1
	if gen>>32 != 0 {
		gen = 1
	}
	h.state.Store(gen << handleGenShift)
	t := &fs.handles
	t.mu.Lock()
	h.nextFree = t.free
	t.free = h
	t.count.Add(-1)
	t.mu.Unlock()
}

func (fs *FS) findHandle(id vfs.NodeID, v vfs.Handle, kind handleKind, drop bool) (*handle, syscall.Errno) {
	h := fs.handles.at(uint32(v))
	gen := uint64(v) >> handleGenShift
	if h == nil || !h.pin(gen, false) {
		return nil, syscall.EBADF
	}
	if h.node.id != id || kind != kindAny && h.kind != kind {
		h.unpin()
		return nil, syscall.EBADF
	}
	if drop {
		ok := h.pin(gen, true)
		h.unpin()
		if !ok {
			return nil, syscall.EBADF
		}
	}
	return h, 0
}

// handle finds an open handle of a node. The caller unpins it. A handle that
// is unknown, of another kind or of another node is EBADF.
func (fs *FS) handle(id vfs.NodeID, v vfs.Handle, kind handleKind) (*handle, syscall.Errno) {
	return fs.findHandle(id, v, kind, false)
}

// dropHandle takes a handle out of the table. The caller unpins it; the
// descriptor is closed when the last call that uses it ends.
func (fs *FS) dropHandle(id vfs.NodeID, v vfs.Handle, kind handleKind) (*handle, syscall.Errno) {
	return fs.findHandle(id, v, kind, true)
}

// addHandle makes a handle of an open descriptor, which it owns from then on,
// also when it fails: then it is closed. ENFILE says that the quota is used up.
func (fs *FS) addHandle(n *node, fd int, flags uint32, kind handleKind) (vfs.Handle, syscall.Errno) {
	if !fs.fds.take() {
		oslib.Close(fd)
		return 0, syscall.ENFILE
	}
	h := fs.handles.take(fs)
	h.fd, h.node, h.flags, h.kind = fd, n, flags, kind
	if kind == kindFile && fs.cfg.IO&IODirect != 0 {
		h.direct = fs.openDirect(fd)
	}
	h.inline.reset()
	gen := h.state.Load() >> handleGenShift
	h.state.Store(gen<<handleGenShift | handleLive | 1)
	return vfs.Handle(gen<<handleGenShift | uint64(h.index)), 0
}

// clear drops all handles.
func (t *handleTable) clear() {
	for _, c := range *t.chunks.Load() {
		for i := range c {
			h := &c[i]
			if h.pin(h.state.Load()>>handleGenShift, true) {
				h.unpin()
			}
		}
	}
}
