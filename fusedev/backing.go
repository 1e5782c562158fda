package fusedev

import (
	"sync"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// backings says which nodes' open files the kernel reads and writes by itself.
// The kernel wants all that are open at the same time to be of one kind, with one
// backing file, so the first open decides for those that join it.
type backings struct {
	source vfs.Backer
	dev    int

	mu    sync.Mutex
	nodes map[vfs.NodeID]backing
}

type backing struct {
	id    int32 // 0: reads and writes come to the server
	opens int
}

// opened counts an open of node and returns the id of its backing file, or 0.
// direct says that the file system wants all reads and writes for itself.
func (b *backings) opened(node vfs.NodeID, h vfs.Handle, direct bool) int32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.nodes[node]
	if e.opens == 0 && !direct {
		if fd, ok := b.source.Backing(node, h); ok {
			// A file that cannot back another (it lies on an overlay) is
			// served like any other.
			if id, errno := openBackingFile(b.dev, fd); errno == 0 {
				e.id = id
			}
		}
	}
	e.opens++
	b.nodes[node] = e
	return e.id
}

// released counts the end of an open file of node. The kernel had done with the
// file before it sent RELEASE.
func (b *backings) released(node vfs.NodeID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.nodes[node]
	if !ok {
		return
	}
	if e.opens--; e.opens > 0 {
		b.nodes[node] = e
		return
	}
	delete(b.nodes, node)
	if e.id != 0 {
		closeBackingFile(b.dev, e.id)
	}
}

// amend adds to a reply what is between the kernel and the door alone: that files
// may have backing files, and which. msg is empty where there is no reply.
func (m *Mounted) amend(w *worker, c *call, msg []byte) {
	if m.opt.Backing == nil {
		return
	}
	good := len(msg) >= outHeaderSize && get32(msg, outErrno) == 0
	switch c.opcode {
	case fuse.INIT:
		if good {
			m.agreeBacking(w, msg)
		}
	case fuse.OPEN:
		if good {
			m.amendOpen(c.node, msg, openOut)
		}
	case fuse.CREATE, fuse.TMPFILE:
		if good && len(msg) >= createOut {
			m.amendOpen(vfs.NodeID(get64(msg, createEntryNode)), msg, createOut)
		}
	case fuse.RELEASE:
		if b := m.backings.Load(); b != nil {
			b.released(c.node)
		}
	}
}

// amendOffer looks at what the kernel offers in INIT. Where files are to have
// backing files, it takes out what does not go with them: writes that the kernel
// collects, which it does not combine with backing files, and setuid bits that the
// server clears, as it sees no writes.
func (m *Mounted) amendOffer(req []byte) {
	if m.opt.Backing == nil || len(req) < initInExtEnd || !oslib.ThreadHasCap(unix.CAP_SYS_ADMIN) {
		return
	}
	flags := get32(req, initInFlags)
	if flags&flagInitExt == 0 || get32(req, initInFlags2)&flag2Passthru == 0 {
		return
	}
	put32(req, initInFlags, flags&^(flagWriteback|flagKillPrivV2))
	m.offered = true
}

// agreeBacking accepts backing files in the reply to INIT if they were offered.
func (m *Mounted) agreeBacking(w *worker, msg []byte) {
	if !m.offered || len(msg) < initOutLength || get32(msg, initFlags)&flagInitExt == 0 {
		return
	}
	put32(msg, initFlags2, get32(msg, initFlags2)|flag2Passthru)
	put32(msg, initStack, stackDepth)
	m.backings.Store(&backings{source: m.opt.Backing, dev: w.dev, nodes: make(map[vfs.NodeID]backing)})
}

// amendOpen adds the backing file of an opened node to the structure at off.
func (m *Mounted) amendOpen(node vfs.NodeID, msg []byte, off int) {
	b := m.backings.Load()
	if b == nil || len(msg) < off+openOutSize {
		return
	}
	open := msg[off : off+openOutSize]
	flags := get32(open, openFlags)
	id := b.opened(node, vfs.Handle(get64(open, openHandle)), flags&openDirectIO != 0)
	if id != 0 {
		// What may stay in the kernel's cache is no question: it keeps none of such a file.
		put32(open, openFlags, flags&openBackedFlags|openPassthrough)
		put32(open, openBacking, uint32(id))
	}
}
