package scratch

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

var (
	dot    = []byte(".")
	dotDot = []byte("..")
)

// Opendir implements [vfs.FileSystem].
func (fs *FS) Opendir(_ *vfs.Request, id vfs.NodeID, _ uint32, out *vfs.Opened) syscall.Errno {
	n, errno := fs.dirNode(id)
	if errno != 0 {
		return errno
	}
	h, errno := fs.openNode(n, kindDir, unix.O_RDONLY)
	if errno != 0 {
		return errno
	}
	*out = vfs.Opened{Handle: h, Flags: vfs.OpenKeepCache | vfs.OpenCacheDir}
	return 0
}

// Readdir implements [vfs.FileSystem]. Entries come in the order in which their
// names were made. Those made after the listing began are not in it: one that makes
// a name for each that it sees would never end. A removed directory has none, not
// even "." and "..".
func (fs *FS) Readdir(_ *vfs.Request, id vfs.NodeID, h vfs.Handle, off uint64, sink vfs.DirSink) syscall.Errno {
	o, errno := fs.handle(id, h, kindDir)
	if errno != 0 {
		return errno
	}
	b := fs.takeBuf()
	defer fs.putBuf(b)
	var entry *vfs.Entry
	if sink.Plus() {
		entry = &b.entry
	}
	fs.tree.RLock()
	defer fs.tree.RUnlock() // also when a sink fails
	d := o.node.dir
	if d.removed {
		return 0
	}
	if off == 0 || off > o.end.Load() { // from another handle's listing
		o.end.Store(d.next)
	}
	end := o.end.Load()
	for ; off < dots; off++ {
		name, ino := dot, o.node.id
		if off == 1 {
			name, ino = dotDot, d.parent.id
		}
		if !sink.Fits(len(name)) {
			return 0
		}
		sink.Add(name, uint64(ino), off+1, unix.S_IFDIR, nil)
	}
	for _, e := range d.from(off) {
		if e.seq >= end {
			break
		}
		if e.node == nil {
			continue
		}
		if !sink.Fits(len(e.name)) {
			break
		}
		if entry != nil {
			fs.enter(e.node, entry)
		}
		sink.Add(b.name[:copy(b.name[:], e.name)], uint64(e.node.id), e.seq+1, e.node.typ, entry)
	}
	return 0
}

// listBuf is what a listing passes to its sink, and would otherwise make anew.
type listBuf struct {
	entry vfs.Entry
	name  [vfs.MaxName]byte
}

// idleBufs is how many buffers for listings are kept.
const idleBufs = 16

func (fs *FS) takeBuf() *listBuf {
	select {
	case b := <-fs.bufs:
		return b
	default:
		return new(listBuf)
	}
}

func (fs *FS) putBuf(b *listBuf) {
	select {
	case fs.bufs <- b:
	default:
	}
}
