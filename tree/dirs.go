package tree

import (
	"sync"
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Positions in a listing are those of the file system, until its end; behind that
// come the names of mounts. Their positions must not be among the file system's,
// which may have any 64 bits, nor have the top bit, as a guest's seekdir(3) takes
// no negative ones. tailBase | number is free on ext4, whose hashes end below
// 0x7fffffff_00000000 but for its end of a directory, 0x7fffffff_ffffffff, on
// file systems that count (tmpfs, XFS, btrfs), and in package overlay, which has
// its own from 0x7fffffff_00000000 to 0x7fffffff_81000000. Should one have a position
// there after all, which chance makes of one in 2⁴³ at most, it gets the top bit, and
// only a seekdir to it fails; in a directory without mounts the listing ends there.
const (
	tailBase = 0x7fffffff<<32 | 0xc0<<24
	tailMask = 1<<20 - 1 // of the numbers of attachments
	topBit   = 1 << 63
)

func isTail(off uint64) bool { return off&^tailMask == tailBase }

// listing is a [vfs.DirSink] between a file system and the door.
type listing struct {
	fs  *FS
	m   *mount
	out vfs.DirSink
	dir *dir // what is attached to the directory, or nil

	plus  bool
	full  bool   // out has no room
	added bool   // out got something
	seen  bool   // the file system came up with something
	last  uint64 // the position behind it

	entry   vfs.Entry
	covered []vfs.NodeID // entries that the guest must not see
}

var listings = sync.Pool{New: func() any { return new(listing) }}

func (l *listing) Plus() bool { return l.plus }

func (l *listing) Fits(n int) bool {
	fits := l.out.Fits(n)
	l.full = l.full || !fits
	return fits
}

func (l *listing) Add(name []byte, ino, next uint64, typ uint32, e *vfs.Entry) {
	l.seen, l.last = true, next
	if l.dir != nil && l.dir.named(name) != nil {
		if e != nil && e.Node != 0 {
			l.covered = append(l.covered, e.Node)
		}
		return
	}
	if e != nil && (l.m.base != 0 || l.fs.changing) {
		l.entry = *e
		e = &l.entry
		if l.m.took(e) != 0 {
			e = nil
		}
	}
	if isTail(next) {
		next |= topBit
	}
	l.out.Add(name, ino^l.m.inoMix.Load(), next, typ, e)
	l.added = true
}

// noRoom is a sink for calls that are to check their arguments only.
type noRoom struct{}

func (noRoom) Plus() bool                                     { return false }
func (noRoom) Fits(int) bool                                  { return false }
func (noRoom) Add([]byte, uint64, uint64, uint32, *vfs.Entry) {}

// Readdir implements [vfs.FileSystem].
func (fs *FS) Readdir(r *vfs.Request, node vfs.NodeID, h vfs.Handle, off uint64, sink vfs.DirSink) syscall.Errno {
	d, errno := fs.dirAt(node)
	if errno != 0 {
		return errno
	}
	m, id := fs.call(node)
	if m == nil {
		return syscall.ESTALE
	}
	plus := sink.Plus()
	plain := plus && m.adapt(adaptPlain)
	if d == nil && !isTail(off) && !plain && (m.base == 0 && !fs.changing || !plus) && m.inoMix.Load() == 0 {
		errno = m.child.Readdir(r, id, h, off, sink)
	} else {
		l := listings.Get().(*listing)
		*l = listing{fs: fs, m: m, out: sink, dir: d, plus: plus && !plain, covered: l.covered[:0]}
		errno = l.list(r, id, h, off)
		*l = listing{covered: l.covered}
		listings.Put(l)
	}
	m.leave(id)
	return errno
}

// list lists from a position on.
func (l *listing) list(r *vfs.Request, id vfs.NodeID, h vfs.Handle, off uint64) syscall.Errno {
	if isTail(off) {
		// The mounts may be gone since the position was given. The file system
		// knows whether the handle is good.
		if errno := l.m.child.Readdir(r, id, h, 0, noRoom{}); errno != 0 && errno != syscall.EINVAL {
			return errno
		}
		return l.tail(r, off&tailMask)
	}
	if isTail(off &^ topBit) {
		off &^= topBit
	}
	for {
		l.seen = false
		errno := l.m.child.Readdir(r, id, h, off, l)
		for _, node := range l.covered {
			l.m.child.Forget(node, 1)
		}
		l.covered = l.covered[:0]
		switch {
		case errno != 0 && l.added:
			return 0 // it comes again in the next call
		case errno != 0:
			return errno
		case l.full || l.dir == nil:
			return 0
		case !l.seen:
			return l.tail(r, 0)
		}
		// It may have stopped before the end: that is where nothing comes.
		off = l.last
	}
}

// inoOf is the inode number that guests see of what is attached.
func (fs *FS) inoOf(a *attachment) uint64 {
	m := a.m
	if m == nil {
		m = fs.synthMount
	}
	return a.ino ^ m.inoMix.Load()
}

// tail adds the names of mounts with numbers above n.
func (l *listing) tail(r *vfs.Request, n uint64) syscall.Errno {
	if l.dir == nil {
		return 0
	}
	plus := l.out.Plus()
	for _, a := range l.dir.behind(n) {
		if a.hidden {
			continue
		}
		if !l.out.Fits(len(a.name)) {
			return 0
		}
		var e *vfs.Entry
		ino, typ := l.fs.inoOf(a), a.typ
		if plus {
			switch errno := l.fs.enterMount(r, a, &l.entry); {
			case errno == 0:
				e, ino = &l.entry, l.entry.Attr.Ino
			case errno == syscall.ESTALE:
				continue // unmounted meanwhile
			case errno == vfs.WouldBlock && l.added:
				return 0
			case errno == vfs.WouldBlock:
				return errno
			}
		}
		l.out.Add(a.bytes, ino, tailBase|a.number, typ, e)
		l.added = true
	}
	return 0
}
