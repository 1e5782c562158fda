package overlay

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Options are what [New] may be told. The zero value will do.
type Options struct {
	// Name is what messages call the overlay.
	Name string
	// Logger is for what goes wrong on our side; nil is slog.Default().
	Logger *slog.Logger
}

// FS is a writable layer over a file system that is only read. Its methods may
// be called from any number of goroutines at once.
type FS struct {
	lower, upper vfs.FileSystem
	log          *slog.Logger

	features atomic.Uint64 // agreed in Init; vfs.Features
	serial   atomic.Uint64 // numbers the entries of the upper's root

	// tree is held while directories are renamed or removed, so that only
	// its holder has the names of more than one directory locked.
	tree sync.Mutex

	root    *node
	nodes   nodeTable
	handles handleTable
	sinks   sync.Pool // *sink
}

var (
	_ vfs.FileSystem = (*FS)(nil)
	_ vfs.Counter    = (*FS)(nil)
	_ vfs.Tolerant   = (*FS)(nil)
)

// New makes an overlay of lower and upper. Both stay the caller's, who closes
// them after the last call. The overlay alone may use them meanwhile: it begins
// and ends their sessions. upper must be writable, have hard links, and be empty
// but for what may be ignored.
func New(lower, upper vfs.FileSystem, opts Options) (*FS, error) {
	if lower == nil || upper == nil {
		return nil, errors.New("overlay: a lower and an upper file system are needed")
	}
	fs := &FS{lower: lower, upper: upper, log: opts.Logger}
	if fs.log == nil {
		fs.log = slog.Default()
	}
	if opts.Name != "" {
		fs.log = fs.log.With("overlay", opts.Name)
	}
	fs.sinks.New = func() any { return new(sink) }
	fs.nodes.init()
	fs.root = &node{typ: unix.S_IFDIR}
	var a vfs.AttrOut
	if errno := lower.Getattr(self, vfs.Root, vfs.NoHandle, &a); errno != 0 {
		return nil, fmt.Errorf("overlay: the lower file system's root: %w", errno)
	}
	fs.root.ino = lowerIno(a.Attr.Ino)
	fs.root.lower.Store(uint64(vfs.Root))
	fs.root.refs.Store(1)
	fs.root.id = vfs.NodeID(fs.nodes.slots.add(fs.root))
	return fs, nil
}

// self is who makes the overlay's own calls: nobody changes it.
var self = &vfs.Request{}

// Stats says what has changed.
type Stats struct {
	// Records is how many lower objects are changed or partly removed. They
	// outlive sessions.
	Records int
}

// Stats may be called at any time.
func (fs *FS) Stats() Stats {
	t := &fs.nodes
	t.mu.Lock()
	defer t.mu.Unlock()
	return Stats{Records: t.records.count}
}

// Counts implements [vfs.Counter]. Nodes and handles are those of the guest, not the
// ones of the children that stand for them; descriptors and bytes are those of the
// children that can say.
func (fs *FS) Counts() vfs.Counts {
	t := &fs.nodes
	t.mu.Lock()
	c := vfs.Counts{Nodes: uint64(t.known) + 1, Handles: uint64(fs.handles.slots.count.Load())}
	t.mu.Unlock()
	for _, child := range [...]vfs.FileSystem{fs.lower, fs.upper} {
		if counter, ok := child.(vfs.Counter); ok {
			held := counter.Counts()
			c.Descriptors += held.Descriptors
			c.Bytes += held.Bytes
		}
	}
	return c
}

// Destroy implements [vfs.FileSystem]. What the guest has changed stays.
func (fs *FS) Destroy() {
	fs.handles.slots.clear()
	fs.endNodes()
	fs.lower.Destroy()
	fs.upper.Destroy()
	fs.features.Store(0)
}

// endNodes forgets all nodes but the root, of which only the upper id ends with
// a session. The children's references end with theirs.
func (fs *FS) endNodes() {
	t := &fs.nodes
	t.mu.Lock()
	orphans := t.clear()
	fs.root.upper.Store(0)
	t.mu.Unlock()
	for _, rec := range orphans {
		fs.removeOrphan(rec)
	}
}

// enterRoot gives the root of a new session the upper part that it has had
// before.
func (fs *FS) enterRoot() syscall.Errno {
	rec := fs.root.rec.Load()
	if rec == nil || rec.index == "" {
		return 0
	}
	var e vfs.Entry
	if errno := fs.lookupIndex(rec, &e); errno != 0 {
		return errno
	}
	t := &fs.nodes
	t.mu.Lock()
	defer t.mu.Unlock()
	fs.root.upper.Store(uint64(e.Node))
	fs.root.upperRefs = 1
	t.byUpper[e.Node] = fs.root
	return 0
}
