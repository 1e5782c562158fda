package overlay

import (
	"bytes"
	"math/bits"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// place is where in the lower file system an object was found. Places never
// change, and those of one directory's entries share its own. The root's is nil.
type place struct {
	up   *place
	name vfs.Name
}

// newPlace copies the name.
func newPlace(up *place, name vfs.Name) *place {
	own, _, _ := vfs.ParseName(bytes.Clone(name.CString()))
	return &place{up, own}
}

// samePlace compares paths.
func samePlace(a, b *place) bool {
	for a != b {
		if a == nil || b == nil || !bytes.Equal(a.name.Bytes(), b.name.Bytes()) {
			return false
		}
		a, b = a.up, b.up
	}
	return true
}

// record is what the overlay knows of a lower object that is not, or not only, as
// the lower file system shows it.
type record struct {
	place      *place
	typ        uint32
	lowerIno   uint64
	lowerNlink uint32

	// lost counts lower names that are no longer seen: of a file its own, of a
	// directory those of directories in it, which counted as links to it.
	lost atomic.Uint32
	// removed says that a directory has lost its name.
	removed atomic.Bool

	// names guards hidden, and that each name of a directory is in one layer
	// only.
	names  sync.RWMutex
	hidden map[string]struct{}

	// The following are guarded by nodeTable.mu.

	// index is the upper part's name in the upper's root. It is empty where
	// there is no upper part, and for a directory that has moved out of there.
	index    string
	upperIno uint64 // of the upper part; 0 if there is none
	orphan   bool   // no name is left: the upper part goes with the node
}

// lowerNames is how many names a file has in the lower file system that are
// still seen.
func (rec *record) lowerNames() uint32 {
	return rec.lowerNlink - min(rec.lost.Load(), rec.lowerNlink)
}

// isHidden tells whether a lower name is not to be seen. The caller holds
// names.
func (rec *record) isHidden(name []byte) bool {
	_, ok := rec.hidden[string(name)]
	return ok
}

// hide takes a lower name out of sight. The caller holds names for writing.
func (rec *record) hide(name vfs.Name, typ uint32) {
	if rec.isHidden(name.Bytes()) {
		return
	}
	if rec.hidden == nil {
		rec.hidden = map[string]struct{}{}
	}
	rec.hidden[name.String()] = struct{}{}
	if typ == unix.S_IFDIR {
		rec.lost.Add(1)
	}
}

// recordTable finds records by the inode numbers of both parts. It is guarded by
// nodeTable.mu.
type recordTable struct {
	// byLower may have several for one number, as a lower file system may have
	// several devices.
	byLower map[uint64][]*record
	byUpper map[uint64]*record
	orphans map[*record]struct{}
	count   int
	changes uint64 // counts insertions
}

func (t *recordTable) init() {
	t.byLower = map[uint64][]*record{}
	t.byUpper = map[uint64]*record{}
	t.orphans = map[*record]struct{}{}
}

// insert makes a record known, or known again with its upper part.
func (t *recordTable) insert(rec *record) {
	t.changes++
	if rec.upperIno != 0 {
		t.byUpper[rec.upperIno] = rec
	}
	list := t.byLower[rec.lowerIno]
	for _, r := range list {
		if r == rec {
			return
		}
	}
	t.byLower[rec.lowerIno] = append(list, rec)
	t.count++
}

// remove forgets a record, of which nothing is seen any more.
func (t *recordTable) remove(rec *record) {
	if t.byUpper[rec.upperIno] == rec {
		delete(t.byUpper, rec.upperIno)
	}
	delete(t.orphans, rec)
	list := t.byLower[rec.lowerIno]
	for i, r := range list {
		if r != rec {
			continue
		}
		t.count--
		if len(list) == 1 {
			delete(t.byLower, rec.lowerIno)
			return
		}
		list[i] = list[len(list)-1]
		t.byLower[rec.lowerIno] = list[:len(list)-1]
		return
	}
}

// The inode numbers of the two layers are told apart by the lowest bit.
func lowerIno(ino uint64) uint64 { return bits.RotateLeft64(ino, 1) }
func upperIno(ino uint64) uint64 { return bits.RotateLeft64(ino, 1) ^ 1 }

// indexName is a record's name in the upper's root.
func indexName(s string) vfs.Name {
	n, _ := vfs.MakeName(s)
	return n
}

// nextIndex returns a name for a new upper part.
func (fs *FS) nextIndex() string { return strconv.FormatUint(fs.serial.Add(1), 10) }

// lookupIndex finds the upper part of a record in the index, and takes a
// reference to it. Without an upper part, out.Node is 0. One that has moved is
// ENOENT: the lower name is no longer one of the object's.
func (fs *FS) lookupIndex(rec *record, out *vfs.Entry) syscall.Errno {
	t := &fs.nodes
	t.mu.Lock()
	index, made := rec.index, rec.upperIno != 0
	t.mu.Unlock()
	out.Node = 0
	switch {
	case !made:
		return 0
	case index == "":
		return syscall.ENOENT
	}
	errno := fs.upper.Lookup(self, vfs.Root, indexName(index), out)
	if errno == syscall.ENOENT || errno == 0 && out.Node == 0 {
		return syscall.ESTALE // somebody has been at the upper
	}
	return errno
}

// resolve finds a lower object by its place, and takes a reference to it.
func (fs *FS) resolve(r *vfs.Request, at *place, out *vfs.Entry) syscall.Errno {
	var path []*place
	for ; at != nil; at = at.up {
		path = append(path, at)
	}
	node := vfs.Root
	for i := len(path) - 1; i >= 0; i-- {
		errno := fs.lower.Lookup(r, node, path[i].name, out)
		if node != vfs.Root {
			fs.lower.Forget(node, 1)
		}
		if errno != 0 {
			return errno
		}
		if out.Node == 0 {
			return syscall.ENOENT
		}
		node = out.Node
	}
	return 0
}

// recordOf returns which of some records is that of the lower object found at a
// place, or nil.
func (fs *FS) recordOf(r *vfs.Request, candidates []*record, at *place, e *vfs.Entry) (*record, syscall.Errno) {
	typ := e.Attr.Mode & unix.S_IFMT
	for _, rec := range candidates {
		if rec.typ == typ && samePlace(rec.place, at) {
			return rec, 0
		}
	}
	if typ == unix.S_IFDIR || e.Attr.Nlink < 2 {
		return nil, 0 // of one name only
	}
	for _, rec := range candidates {
		if rec.typ != typ {
			continue
		}
		var other vfs.Entry
		switch errno := fs.resolve(r, rec.place, &other); errno {
		case 0:
			fs.lower.Forget(other.Node, 1)
			if other.Node == e.Node {
				return rec, 0
			}
		case syscall.ENOENT, syscall.ENOTDIR: // the lower file system has changed
		default:
			return nil, errno
		}
	}
	return nil, 0
}

// removeOrphan removes the upper part of what has no name any more. The record
// is no longer in the table.
func (fs *FS) removeOrphan(rec *record) {
	if rec.index == "" {
		return
	}
	if errno := fs.upper.Unlink(self, vfs.Root, indexName(rec.index)); errno != 0 {
		fs.log.Error("cannot remove a copy that is no longer needed", "name", rec.index, "err", errno)
	}
}
