package tree

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isthmus-fs/isthmus/vfs"
)

// nameTTL is how long a guest may keep the names of mounts and synthetic
// directories, which come and go.
const nameTTL = time.Second

// Config is what [New] needs. Its zero value will do.
type Config struct {
	// Logger is told of what cannot be where it was mounted, and of features
	// that file systems lose by being together; nil is slog.Default().
	Logger *slog.Logger
	// Changing says that there will be calls of Mount and Unmount while guests use
	// the tree. Guests then do not keep any name or listing for longer than a
	// second, or whether a name is absent, whatever its file system says; so they see
	// a mount at once where they know what it covers. Without, they see it when
	// that has expired. Nor are files other than those of the mount at "/" read past
	// the tree; see [FS.Backing].
	Changing bool
}

// FS is a tree of file systems as one [vfs.FileSystem].
type FS struct {
	log      *slog.Logger
	changing bool

	// root is the mount at index 0. It changes only before the first session.
	root  *mount
	synth *synth
	// synthMount is what synth is mounted as: root, or at synthIndex.
	synthMount *mount

	slots atomic.Pointer[[]slot]
	table atomic.Pointer[table]
	// submounts says that the guest knows what they are.
	submounts atomic.Bool

	// forgets is held for writing while pins come and go, so that what is noted
	// with a pin is passed on. Forget takes it for nodes with a pin only.
	//
	// Lock order: mount.unlinking, mu, gates of mounts, forgets.
	forgets sync.RWMutex

	mu     sync.Mutex
	mounts map[string]*mount
	// begun says that there was a session, inSession that there is one, with
	// these features.
	begun, inSession bool
	agreed           vfs.Features
	// gone are the mounts that were unmounted: those that calls are still under
	// way on and the dead ones that the guest has references to. And those whose
	// name was removed.
	gone map[*mount]struct{}
	// hidden are names that guests have removed, by path.
	hidden map[string]*hidden
	// free are the indices that were in use, in the order in which they came
	// back; next is the first that never was.
	free  []int
	next  int
	limit int // of indices
}

var _ vfs.FileSystem = (*FS)(nil)

const (
	// synthIndex is the index of the synthetic directories in a tree with a
	// mount at "/".
	synthIndex = 1
	// MaxMounts is how many mounts there can be, with those removed that a
	// guest still has references to.
	MaxMounts = 1<<16 - 1 - synthIndex
)

// New makes a tree without mounts: an empty directory that cannot be written to.
func New(cfg Config) *FS {
	fs := &FS{
		log:      cfg.Logger,
		changing: cfg.Changing,
		synth:    newSynth(),
		mounts:   make(map[string]*mount),
		gone:     make(map[*mount]struct{}),
		hidden:   make(map[string]*hidden),
		next:     synthIndex + 1,
		limit:    1 << 16,
	}
	if fs.log == nil {
		fs.log = slog.Default()
	}
	slots := make([]slot, 16)
	fs.slots.Store(&slots)
	fs.synthMount = fs.newMount("", fs.synth, 0)
	fs.root = fs.synthMount
	return fs
}

// Info describes a mount.
type Info struct {
	Path string
	// FS is what was mounted.
	FS vfs.FileSystem
	// Root is the node id of the mount's root.
	Root vfs.NodeID
	// References is how many references the guest has to nodes of the mount.
	// They are not counted at "/".
	References uint64
	// Counts is what the file system holds, or nil if it is no [vfs.Counter].
	Counts *vfs.Counts
}

// Mounts returns what is mounted, sorted by path. It may be called at any time.
func (fs *FS) Mounts() []Info {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	list := make([]Info, 0, len(fs.mounts))
	for path, m := range fs.mounts {
		in := Info{Path: path, FS: m.child, Root: m.root(), References: m.refs.Load()}
		if c, ok := m.child.(vfs.Counter); ok {
			counts := c.Counts()
			in.Counts = &counts
		}
		list = append(list, in)
	}
	slices.SortFunc(list, func(a, b Info) int { return cmp.Compare(a.Path, b.Path) })
	return list
}

// Stats says what a tree holds beside its mounts.
type Stats struct {
	Mounts int
	// Removed are the mounts that are gone but that calls are still under way
	// on or that the guest has references to. Their indices are not free yet.
	Removed int
	// Hidden are the names that guests have removed and that still cover something.
	Hidden int
	// Synthetic is the number of synthetic directories, without the root.
	Synthetic int
	// Pins are the references that the tree itself holds in its mounts.
	Pins int
}

// Stats may be called at any time.
func (fs *FS) Stats() Stats {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	s := Stats{Mounts: len(fs.mounts), Removed: len(fs.gone), Hidden: len(fs.hidden), Synthetic: fs.synth.len()}
	if t := fs.table.Load(); t != nil {
		for _, d := range t.dirs {
			if d.pin != nil {
				s.Pins++
			}
		}
	}
	return s
}
