package archive

import (
	"sync/atomic"
	"syscall"
	"time"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// ttl is how long guests may remember what they were told. None of it changes.
const ttl = 24 * time.Hour

// wishes are the features that this file system uses where a guest has them.
const wishes = vfs.FeatReaddirplus | vfs.FeatReaddirplusAuto | vfs.FeatParallelDirops | vfs.FeatCacheSymlinks |
	vfs.FeatAsyncDIO | vfs.FeatIDMap

// tolerated are features that make no difference here. As there are no changes, an open
// that truncates is EROFS as any that is for writing, no changed file keeps its set-ID
// bits, there are no writes to collect, and the sizes and times that a guest then
// remembers are right for ever. Files are cached, so how those are mapped that are not
// to be does not matter.
const tolerated = vfs.FeatAtomicTrunc | vfs.FeatKillPriv | vfs.FeatWriteback | vfs.FeatDirectIOMmap

// idleEntries is how many buffers for listings are kept.
const idleEntries = 16

// FS is an archive as a read-only [vfs.FileSystem]. All calls that would change
// something are EROFS. No call ever waits, so Nowait makes no difference.
type FS struct {
	x     index
	fd    int // of the memfd, sealed
	stats Stats

	// refs counts the references that the guest has to each node. Nothing is
	// freed when there are none left, but the node's id is ESTALE until the
	// next lookup, as vfs has it.
	refs []atomic.Uint64
	live atomic.Int64 // nodes with references

	handles handleTable
	entries chan *vfs.Entry // for listings, which would otherwise make one each
}

var (
	_ vfs.FileSystem = (*FS)(nil)
	_ vfs.Counter    = (*FS)(nil)
	_ vfs.Tolerant   = (*FS)(nil)
)

// newFS takes over what a builder has made.
func newFS(b *builder) *FS {
	fs := &FS{
		x:       b.x,
		fd:      b.store.fd,
		refs:    make([]atomic.Uint64, len(b.x.nodes)),
		entries: make(chan *vfs.Entry, idleEntries),
		stats: Stats{
			Files:   len(b.x.nodes),
			Names:   len(b.x.dents),
			Logical: b.logical,
			Data:    b.store.pages * pageSize,
		},
	}
	fs.stats.Index = fs.x.bytes() + uint64(len(fs.refs))*8
	fs.handles.init()
	return fs
}

// Close ends the session and gives back the memory of the data. No call may be
// under way, nor come later.
func (fs *FS) Close() error {
	fs.Destroy()
	if errno := oslib.Close(fs.fd); errno != 0 {
		return errno
	}
	return nil
}

// Stats says what is in an archive. It does not change.
type Stats struct {
	Files   int    // objects in the archive, with the root and implied directories
	Names   int    // of them; hard links have several
	Logical uint64 // bytes: the sizes of all files
	Data    uint64 // bytes of memory for file data
	Index   uint64 // bytes of memory for all else
}

// Stats may be called at any time.
func (fs *FS) Stats() Stats { return fs.stats }

// Counts implements [vfs.Counter]. The bytes are those of all memory, the descriptor
// is that of the data.
func (fs *FS) Counts() vfs.Counts {
	return vfs.Counts{
		Nodes:       uint64(fs.live.Load()) + 1,
		Handles:     uint64(fs.handles.count.Load()),
		Descriptors: 1,
		Bytes:       fs.stats.Data + fs.stats.Index,
	}
}

// Init implements [vfs.FileSystem].
func (fs *FS) Init(offered vfs.Features) (vfs.Features, syscall.Errno) {
	fs.Destroy()
	return offered & wishes, 0
}

// Tolerates implements [vfs.Tolerant].
func (fs *FS) Tolerates() vfs.Features { return tolerated }

// Destroy implements [vfs.FileSystem].
func (fs *FS) Destroy() {
	fs.handles.clear()
	for i := range fs.refs {
		if fs.refs[i].Load() != 0 && fs.refs[i].Swap(0) != 0 {
			fs.live.Add(-1)
		}
	}
}

// node returns the node of an id that the guest has a reference to, and its
// place. A node id is that place plus one, so that the root is vfs.Root.
func (fs *FS) node(id vfs.NodeID) (*node, uint32, syscall.Errno) {
	i := uint64(id) - uint64(vfs.Root)
	if i >= uint64(len(fs.refs)) || i != 0 && fs.refs[i].Load() == 0 {
		return nil, 0, syscall.ESTALE
	}
	return &fs.x.nodes[i], uint32(i), 0
}

func nodeID(i uint32) vfs.NodeID { return vfs.NodeID(i) + vfs.Root }

// Lookup implements [vfs.FileSystem].
func (fs *FS) Lookup(_ *vfs.Request, parent vfs.NodeID, name vfs.Name, out *vfs.Entry) syscall.Errno {
	n, p, errno := fs.node(parent)
	if errno != 0 {
		return errno
	}
	if !n.isDir() {
		return syscall.ENOTDIR
	}
	i := fs.x.find(p, name.Bytes())
	if i == none {
		*out = vfs.Entry{EntryTTL: ttl}
		return 0
	}
	fs.enter(i, out)
	return 0
}

// enter takes a reference to a node and fills in its entry.
func (fs *FS) enter(i uint32, out *vfs.Entry) {
	// The root is in no directory.
	if fs.refs[i].Add(1) == 1 {
		fs.live.Add(1)
	}
	out.Node, out.Generation = nodeID(i), 0
	out.EntryTTL, out.AttrTTL = ttl, ttl
	fs.x.attr(i, &out.Attr)
}

// Forget implements [vfs.FileSystem].
func (fs *FS) Forget(id vfs.NodeID, n uint64) {
	i := uint64(id) - uint64(vfs.Root)
	if i >= uint64(len(fs.refs)) {
		return
	}
	for refs := &fs.refs[i]; ; {
		old := refs.Load()
		left := old - min(old, n)
		if left == old {
			return
		}
		if refs.CompareAndSwap(old, left) {
			if left == 0 {
				fs.live.Add(-1)
			}
			return
		}
	}
}

// Statfs implements [vfs.FileSystem]: a full disk of the size of the data.
func (fs *FS) Statfs(_ *vfs.Request, id vfs.NodeID, out *vfs.Statfs) syscall.Errno {
	if _, _, errno := fs.node(id); errno != 0 {
		return errno
	}
	*out = vfs.Statfs{
		Blocks:  fs.stats.Data / pageSize,
		Files:   uint64(fs.stats.Files),
		Bsize:   pageSize,
		Frsize:  pageSize,
		Namelen: vfs.MaxName,
	}
	return 0
}

// Syncfs implements [vfs.FileSystem]. There is never anything to write back.
func (fs *FS) Syncfs(_ *vfs.Request, id vfs.NodeID) syscall.Errno {
	_, _, errno := fs.node(id)
	return errno
}
