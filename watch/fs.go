package watch

import (
	"sync/atomic"
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Options of an [FS].
type Options struct {
	// Recorder is told of each call from the start; nil for none. See
	// [FS.SetRecorder].
	Recorder Recorder
	// CountBytes keeps [OpenFile.Read] and [OpenFile.Written], for a lookup in a
	// table with each read and write.
	CountBytes bool
}

// FS is a file system that is watched. See the package text.
type FS struct {
	inner      vfs.FileSystem
	counter    vfs.Counter  // inner, or nil
	backer     vfs.Backer   // inner, or nil
	tolerant   vfs.Tolerant // inner, or nil
	countBytes bool
	recorder   atomic.Pointer[recorderBox]
	session    atomic.Pointer[session]
}

var (
	_ vfs.FileSystem = (*FS)(nil)
	_ vfs.Counter    = (*FS)(nil)
	_ vfs.Backer     = (*FS)(nil)
	_ vfs.Tolerant   = (*FS)(nil)
)

// recorderBox makes an interface fit for an atomic pointer.
type recorderBox struct{ Recorder }

// session is what is known in one session. A call works with the session that it
// began in: what it learns after the end of that is forgotten with it.
type session struct {
	nodes nodeTable
	files fileTable
}

// New watches inner. inner must not be used by another way from then on, and stays
// its maker's to close.
func New(inner vfs.FileSystem, o Options) *FS {
	fs := &FS{inner: inner, countBytes: o.CountBytes}
	fs.counter, _ = inner.(vfs.Counter)
	fs.backer, _ = inner.(vfs.Backer)
	fs.tolerant, _ = inner.(vfs.Tolerant)
	fs.session.Store(new(session))
	fs.SetRecorder(o.Recorder)
	return fs
}

// SetRecorder has calls that begin from now on reported to r, or to nobody if it is
// nil. The one before may still get records of calls that began earlier.
func (fs *FS) SetRecorder(r Recorder) {
	if r == nil {
		fs.recorder.Store(nil)
		return
	}
	fs.recorder.Store(&recorderBox{r})
}

// Counts implements [vfs.Counter] with what the file system behind says, or zeros if
// it says nothing.
func (fs *FS) Counts() vfs.Counts {
	if fs.counter == nil {
		return vfs.Counts{}
	}
	return fs.counter.Counts()
}

// Backing implements [vfs.Backer] with what the file system behind says. Data of a
// file that a door uses this for are not seen.
func (fs *FS) Backing(node vfs.NodeID, h vfs.Handle) (fd int, ok bool) {
	if fs.backer == nil {
		return -1, false
	}
	return fs.backer.Backing(node, h)
}

// Tolerates implements [vfs.Tolerant] with what the file system behind says.
func (fs *FS) Tolerates() vfs.Features {
	if fs.tolerant == nil {
		return 0
	}
	return fs.tolerant.Tolerates()
}

// Init implements [vfs.FileSystem].
func (fs *FS) Init(offered vfs.Features) (vfs.Features, syscall.Errno) {
	fs.session.Store(new(session))
	return fs.inner.Init(offered)
}

// Destroy implements [vfs.FileSystem].
func (fs *FS) Destroy() {
	fs.session.Store(new(session))
	fs.inner.Destroy()
}

// Path returns the path of a node in the guest, or false for one that the guest does
// not know. Any bytes but NUL may be in it.
func (fs *FS) Path(node vfs.NodeID) (string, bool) {
	s := fs.session.Load()
	n := s.nodes.find(node)
	if n == nil {
		return "", false
	}
	var b pathBuffer
	return string(b.build(&s.nodes.root, n, nil)), true
}
