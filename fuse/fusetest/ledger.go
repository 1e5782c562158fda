package fusetest

import (
	"sync"
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Ledger is a file system that passes everything on to another and counts what
// the guest was given and has not given back.
type Ledger struct {
	vfs.FileSystem

	mu    sync.Mutex
	refs  int64
	files int
	dirs  int
}

// NewLedger returns a Ledger over fs.
func NewLedger(fs vfs.FileSystem) *Ledger {
	return &Ledger{FileSystem: fs}
}

// Held is what a guest holds.
type Held struct {
	Refs  int64 // references to nodes: given less forgotten
	Files int   // opened less released
	Dirs  int
}

// Held returns what was given since the Ledger was made and not given back.
func (l *Ledger) Held() Held {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Held{Refs: l.refs, Files: l.files, Dirs: l.dirs}
}

// entry counts an entry that a call filled.
func (l *Ledger) entry(e *vfs.Entry, errno syscall.Errno) syscall.Errno {
	if errno == 0 && e.Node != 0 {
		l.mu.Lock()
		l.refs++
		l.mu.Unlock()
	}
	return errno
}

func (l *Ledger) count(n *int, by int, errno syscall.Errno) syscall.Errno {
	if errno == 0 {
		l.mu.Lock()
		*n += by
		l.mu.Unlock()
	}
	return errno
}

// Lookup counts a reference.
func (l *Ledger) Lookup(r *vfs.Request, parent vfs.NodeID, name vfs.Name, out *vfs.Entry) syscall.Errno {
	return l.entry(out, l.FileSystem.Lookup(r, parent, name, out))
}

// Forget counts references given back.
func (l *Ledger) Forget(node vfs.NodeID, n uint64) {
	l.mu.Lock()
	l.refs -= int64(n)
	l.mu.Unlock()
	l.FileSystem.Forget(node, n)
}

// Symlink counts a reference.
func (l *Ledger) Symlink(r *vfs.Request, parent vfs.NodeID, name vfs.Name, target []byte, out *vfs.Entry) syscall.Errno {
	return l.entry(out, l.FileSystem.Symlink(r, parent, name, target, out))
}

// Mknod counts a reference.
func (l *Ledger) Mknod(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode, rdev uint32, out *vfs.Entry) syscall.Errno {
	return l.entry(out, l.FileSystem.Mknod(r, parent, name, mode, rdev, out))
}

// Mkdir counts a reference.
func (l *Ledger) Mkdir(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode uint32, out *vfs.Entry) syscall.Errno {
	return l.entry(out, l.FileSystem.Mkdir(r, parent, name, mode, out))
}

// Link counts a reference.
func (l *Ledger) Link(r *vfs.Request, node, newParent vfs.NodeID, name vfs.Name, out *vfs.Entry) syscall.Errno {
	return l.entry(out, l.FileSystem.Link(r, node, newParent, name, out))
}

// Open counts a file.
func (l *Ledger) Open(r *vfs.Request, node vfs.NodeID, flags uint32, kill bool, out *vfs.Opened) syscall.Errno {
	return l.count(&l.files, 1, l.FileSystem.Open(r, node, flags, kill, out))
}

// Create counts a reference and a file.
func (l *Ledger) Create(r *vfs.Request, parent vfs.NodeID, name vfs.Name, flags, mode uint32, e *vfs.Entry, o *vfs.Opened) syscall.Errno {
	return l.count(&l.files, 1, l.entry(e, l.FileSystem.Create(r, parent, name, flags, mode, e, o)))
}

// Tmpfile counts a reference and a file.
func (l *Ledger) Tmpfile(r *vfs.Request, parent vfs.NodeID, flags, mode uint32, e *vfs.Entry, o *vfs.Opened) syscall.Errno {
	return l.count(&l.files, 1, l.entry(e, l.FileSystem.Tmpfile(r, parent, flags, mode, e, o)))
}

// Release counts a file given back.
func (l *Ledger) Release(r *vfs.Request, node vfs.NodeID, h vfs.Handle, in *vfs.ReleaseIn) syscall.Errno {
	return l.count(&l.files, -1, l.FileSystem.Release(r, node, h, in))
}

// Opendir counts a directory.
func (l *Ledger) Opendir(r *vfs.Request, node vfs.NodeID, flags uint32, out *vfs.Opened) syscall.Errno {
	return l.count(&l.dirs, 1, l.FileSystem.Opendir(r, node, flags, out))
}

// Releasedir counts a directory given back.
func (l *Ledger) Releasedir(r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
	return l.count(&l.dirs, -1, l.FileSystem.Releasedir(r, node, h))
}

// Readdir counts a reference for each entry of a listing that has one.
func (l *Ledger) Readdir(r *vfs.Request, node vfs.NodeID, h vfs.Handle, off uint64, sink vfs.DirSink) syscall.Errno {
	return l.FileSystem.Readdir(r, node, h, off, &ledgerSink{sink, l})
}

type ledgerSink struct {
	vfs.DirSink
	l *Ledger
}

func (s *ledgerSink) Add(name []byte, ino, next uint64, typ uint32, e *vfs.Entry) {
	if e != nil {
		s.l.entry(e, 0)
	}
	s.DirSink.Add(name, ino, next, typ, e)
}
