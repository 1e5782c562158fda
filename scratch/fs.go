package scratch

import (
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/isthmus-fs/isthmus/vfs"
)

// ttl is how long guests may remember what they were told. Nobody else changes it.
const ttl = 24 * time.Hour

// wishes are the features that this file system uses where a guest has them.
const wishes = vfs.FeatReaddirplus | vfs.FeatReaddirplusAuto | vfs.FeatParallelDirops | vfs.FeatCacheSymlinks |
	vfs.FeatAtomicTrunc | vfs.FeatDontMask | vfs.FeatKillPriv | vfs.FeatSetxattrExt | vfs.FeatSecurityContext |
	vfs.FeatSuppGroups | vfs.FeatAsyncDIO | vfs.FeatIDMap

// tolerated is what a space can do with and does not want. A guest that collects writes
// finds out that there is no room when it is too late for the program that wrote; and
// how files are mapped that are not to be cached does not matter where all are.
const tolerated = vfs.FeatWriteback | vfs.FeatDirectIOMmap

// FS is a scratch space as a [vfs.FileSystem].
type FS struct {
	store store
	root  *node

	tree sync.RWMutex // see the package text

	nodes   nodeTable
	handles handleTable
	live    atomic.Int64 // nodes with references, without the root

	features atomic.Uint64
	// writeback says that the guest may be collecting writes. It was offered; what
	// is tolerated is not told apart from what is on.
	writeback atomic.Bool

	maxMeta uint64
	meta    atomic.Uint64 // bytes of metadata

	bufs chan *listBuf // that no listing uses
}

var (
	_ vfs.FileSystem = (*FS)(nil)
	_ vfs.Counter    = (*FS)(nil)
	_ vfs.Tolerant   = (*FS)(nil)
)

// Close ends the session and gives back all memory. No call may be under way, nor
// come later.
func (fs *FS) Close() error {
	fs.Destroy()
	return fs.store.close()
}

// Stats says what is in a space at the moment.
type Stats struct {
	Files    int    // nodes that exist, with or without references and names
	Pages    uint64 // pages of 4 KiB that files have, written or only reserved
	Bytes    uint64 // the same in bytes
	Metadata uint64 // bytes of what [Options.MaxMetadata] limits
}

// Stats may be called at any time before Close.
func (fs *FS) Stats() Stats {
	pages := uint64(fs.store.inUse())
	return Stats{
		Files:    int(fs.nodes.inUse()),
		Pages:    pages,
		Bytes:    pages * pageSize,
		Metadata: fs.meta.Load(),
	}
}

// Counts implements [vfs.Counter]. The bytes are those that [Options] limits: of data,
// also where they are only reserved, and of metadata. The descriptor is that of the
// data file.
func (fs *FS) Counts() vfs.Counts {
	s := fs.Stats()
	return vfs.Counts{
		Nodes:       uint64(fs.live.Load()) + 1,
		Handles:     uint64(fs.handles.count.Load()),
		Descriptors: 1,
		Bytes:       s.Bytes + s.Metadata,
	}
}

// charge counts n bytes of metadata, unless there would be too many.
func (fs *FS) charge(n uint64) bool {
	for {
		used := fs.meta.Load()
		if n > fs.maxMeta-used {
			return false
		}
		if fs.meta.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

func (fs *FS) refund(n uint64) { fs.meta.Add(-n) }

// Init implements [vfs.FileSystem].
func (fs *FS) Init(offered vfs.Features) (vfs.Features, syscall.Errno) {
	fs.Destroy()
	agreed := offered & wishes
	fs.features.Store(uint64(agreed))
	fs.writeback.Store(offered.Has(vfs.FeatWriteback))
	return agreed, 0
}

// Tolerates implements [vfs.Tolerant].
func (fs *FS) Tolerates() vfs.Features { return tolerated }

// Destroy implements [vfs.FileSystem]. Files that have names stay.
func (fs *FS) Destroy() {
	fs.handles.clear(fs)
	fs.forgetAll()
	fs.features.Store(0)
	fs.writeback.Store(false)
}

// agreed tells whether a feature was agreed with the guest.
func (fs *FS) agreed(f vfs.Features) bool { return vfs.Features(fs.features.Load()).Has(f) }

// Statfs implements [vfs.FileSystem].
func (fs *FS) Statfs(_ *vfs.Request, id vfs.NodeID, out *vfs.Statfs) syscall.Errno {
	if _, errno := fs.node(id); errno != 0 {
		return errno
	}
	free := uint64(fs.store.limit - fs.store.inUse())
	files := uint64(fs.nodes.limit)
	// The metadata may be used up before the nodes are.
	left := min(files-uint64(fs.nodes.inUse()), (fs.maxMeta-fs.meta.Load())/(nodeCost+entryCost))
	*out = vfs.Statfs{
		Blocks:  uint64(fs.store.limit),
		Bfree:   free,
		Bavail:  free,
		Files:   files,
		Ffree:   left,
		Bsize:   pageSize,
		Frsize:  pageSize,
		Namelen: vfs.MaxName,
	}
	return 0
}

// Syncfs implements [vfs.FileSystem]. There is nothing to outlive a crash.
func (fs *FS) Syncfs(_ *vfs.Request, id vfs.NodeID) syscall.Errno {
	_, errno := fs.node(id)
	return errno
}

// Getlk implements [vfs.FileSystem]: locks are the guest's.
func (fs *FS) Getlk(*vfs.Request, vfs.NodeID, vfs.Handle, *vfs.Lock) syscall.Errno {
	return syscall.ENOSYS
}

// Setlk implements [vfs.FileSystem]: locks are the guest's.
func (fs *FS) Setlk(*vfs.Request, vfs.NodeID, vfs.Handle, *vfs.Lock) syscall.Errno {
	return syscall.ENOSYS
}

// Ioctl implements [vfs.FileSystem]. There are none.
func (fs *FS) Ioctl(_ *vfs.Request, id vfs.NodeID, h vfs.Handle, _ uint32, _ uint64, _, _ []byte) (int, int32, syscall.Errno) {
	if _, errno := fs.object(id, h); errno != 0 {
		return 0, 0, errno
	}
	return 0, 0, syscall.ENOTTY
}
