package overlay

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

const (
	batchNames = 32
	batchBytes = 8 << 10
)

// sink stands between a child's listing and the guest's. It leaves out what is
// hidden and translates the rest. Entries that are to be looked up are collected
// first, as a child is not called while it lists.
type sink struct {
	fs   *FS
	r    *vfs.Request
	dir  *node
	rec  *record // of dir, with its names held; or nil
	out  vfs.DirSink
	plus bool

	merged  bool   // positions are translated
	at      cookie // behind what was handed on, in the layer that is listed
	refused bool   // the child was told that no more fits
	full    bool   // out takes no more
	added   bool   // out took something
	errno   syscall.Errno

	names [batchBytes]byte // what is collected, each with a NUL
	used  int
	batch [batchNames]collected
	count int

	entry vfs.Entry
}

// collected is an entry that waits to be looked up.
type collected struct {
	start, end int // the name and its NUL; empty for what is left out
	ino, next  uint64
	typ        uint32
}

func (s *sink) begin(fs *FS, r *vfs.Request, dir *node, rec *record, out vfs.DirSink) {
	s.fs, s.r, s.dir, s.rec, s.out = fs, r, dir, rec, out
	s.plus = out.Plus()
	s.full, s.added, s.errno = false, false, 0
}

// end lets go of what the sink points to.
func (s *sink) end() { s.fs, s.r, s.dir, s.rec, s.out = nil, nil, nil, nil, nil }

// list hands on what one child has, from a position on. Unless full is set or
// there is an error, that is all of it.
func (s *sink) list(child vfs.FileSystem, dir vfs.NodeID, h vfs.Handle, from cookie, merged bool) syscall.Errno {
	s.at, s.merged = from, merged
	for {
		s.used, s.count, s.refused = 0, 0, false
		errno := child.Readdir(s.r, dir, h, s.at.pos, s)
		s.lookUp()
		if errno = firstErrno(s.errno, errno); errno != 0 || s.full || !s.refused {
			return errno
		}
	}
}

// Plus implements [vfs.DirSink].
func (s *sink) Plus() bool { return false }

// Fits implements [vfs.DirSink].
func (s *sink) Fits(n int) bool {
	fits := s.errno == 0 && s.out.Fits(n)
	if !fits && s.count == 0 {
		s.full = true
	}
	if s.plus && (s.count == batchNames || s.used+n+1 > batchBytes) {
		fits = false
	}
	s.refused = s.refused || !fits
	return fits
}

// Add implements [vfs.DirSink].
func (s *sink) Add(name []byte, ino, next uint64, typ uint32, _ *vfs.Entry) {
	skip := s.merged && s.skips(name)
	if !s.plus {
		if !skip {
			s.pass(name, ino, next, typ, nil)
		}
		s.at.pos = next
		return
	}
	l := &s.batch[s.count]
	*l = collected{s.used, s.used, ino, next, typ}
	if !skip {
		l.end += copy(s.names[l.start:], name) + 1
		s.names[l.end-1] = 0
	}
	s.used = l.end
	s.count++
}

// skips tells whether an entry of a merged directory is left out: what is hidden,
// and the upper "." and "..", as the lower ones were listed before.
func (s *sink) skips(name []byte) bool {
	if s.at.in == inUpper {
		return isDots(name)
	}
	return s.rec != nil && s.rec.isHidden(name)
}

// lookUp looks up what was collected and hands it on.
func (s *sink) lookUp() {
	for i := range s.batch[:s.count] {
		l := &s.batch[i]
		if l.start != l.end {
			name := s.names[l.start:l.end]
			if !s.out.Fits(len(name) - 1) {
				s.full = true
				return
			}
			e, errno := s.find(name)
			switch errno {
			case 0:
				s.pass(name[:len(name)-1], l.ino, l.next, l.typ, e)
			case syscall.ENOENT: // gone in between
			default:
				s.errno = errno
			}
			if s.errno != 0 {
				return
			}
		}
		s.at.pos = l.next
	}
}

// find looks up an entry in the layer that is listed; name ends in a NUL. The
// result is nil for those that are listed without: "." and "..", and what could
// not be looked up. The errors are ENOENT and [vfs.WouldBlock].
func (s *sink) find(name []byte) (*vfs.Entry, syscall.Errno) {
	parsed, _, errno := vfs.ParseName(name)
	if errno != 0 {
		return nil, 0 // "." or ".."
	}
	var n *node
	if s.at.in == inUpper {
		errno = s.fs.upper.Lookup(s.r, s.dir.upperID(), parsed, &s.entry)
		if errno == 0 && s.entry.Node != 0 {
			n, errno = s.fs.attachUpper(s.r, s.dir, &s.entry, forGuest)
		}
	} else {
		errno = s.fs.lower.Lookup(s.r, s.dir.lowerID(), parsed, &s.entry)
		if errno == 0 && s.entry.Node != 0 {
			n, errno = s.fs.attachLower(s.r, s.dir, parsed, &s.entry, forGuest)
		}
	}
	if n != nil {
		errno = s.fs.deliver(s.r, n, s.at.in, &s.entry)
	} else if errno == 0 {
		errno = syscall.ENOENT
	}
	switch errno {
	case 0:
		return &s.entry, 0
	case syscall.ENOENT, vfs.WouldBlock:
		return nil, errno
	}
	return nil, 0
}

// pass hands an entry on. If there is no position for it, its reference is
// given back.
func (s *sink) pass(name []byte, ino, next uint64, typ uint32, e *vfs.Entry) {
	if s.merged {
		if next, s.errno = s.dir.cookies.encode(cookie{s.at.in, next}); s.errno != 0 {
			if e != nil {
				s.fs.Forget(e.Node, 1)
			}
			return
		}
	}
	switch {
	case e != nil:
		ino, typ = e.Attr.Ino, e.Attr.Mode&unix.S_IFMT
	case isDots(name):
		ino = s.fs.dotIno(s.dir, len(name))
	case s.at.in == inLower:
		ino = lowerIno(ino)
	default:
		ino = s.fs.upperEntryIno(ino)
	}
	s.out.Add(name, ino, next, typ, e)
	s.added = true
}

// dotIno is the inode number of "." and "..", told apart by their lengths.
func (fs *FS) dotIno(n *node, length int) uint64 {
	if length == 1 || n == fs.root {
		return n.ino
	}
	fs.nodes.mu.Lock()
	defer fs.nodes.mu.Unlock()
	return n.parent.ino
}

// upperEntryIno is the inode number of an upper entry, which may have been copied
// up.
func (fs *FS) upperEntryIno(ino uint64) uint64 {
	fs.nodes.mu.Lock()
	defer fs.nodes.mu.Unlock()
	if rec := fs.nodes.records.byUpper[ino]; rec != nil {
		return lowerIno(rec.lowerIno)
	}
	return upperIno(ino)
}
