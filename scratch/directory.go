package scratch

import (
	"sort"
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// dirent is a name in a directory.
type dirent struct {
	name string
	node *node  // nil when the name was removed
	seq  uint64 // its position in listings
}

// dots is how many positions "." and ".." take.
const dots = 2

// directory is what a directory holds. All of it is guarded by FS.tree.
//
// Names are found by a map and listed in the order in which they were made. A name's
// position is a number that is never used again, so a listing that goes on finds its
// place however the directory has changed. A removed name leaves its entry behind in
// the order, for the search by position; when there are more of those than names,
// order and map are made anew.
type directory struct {
	parent  *node // the root's is itself; nil once removed
	byName  map[string]*dirent
	order   []*dirent // seq goes up
	next    uint64    // the seq of the next name
	holes   int       // removed names in order
	removed bool
}

func newDirectory(self *node) *directory { return &directory{parent: self, next: dots} }

// find returns the entry of a name, or nil.
func (d *directory) find(name []byte) *dirent { return d.byName[string(name)] }

func (d *directory) empty() bool { return len(d.byName) == 0 }

// add makes a name that is not there.
func (d *directory) add(name string, n *node) {
	if d.byName == nil {
		d.byName = make(map[string]*dirent)
	}
	e := &dirent{name, n, d.next}
	d.next++
	d.byName[name] = e
	d.order = append(d.order, e)
}

// remove takes out an entry.
func (d *directory) remove(e *dirent) {
	delete(d.byName, e.name)
	e.name, e.node = "", nil
	d.holes++
	const few = 4
	if live := len(d.byName); d.holes > live+few || live == 0 {
		d.compact(live)
	}
}

// compact gives back the memory of names that are gone.
func (d *directory) compact(live int) {
	var order []*dirent
	var byName map[string]*dirent
	if live > 0 {
		order = make([]*dirent, 0, live)
		byName = make(map[string]*dirent, live)
		for _, e := range d.order {
			if e.node != nil {
				order = append(order, e)
				byName[e.name] = e
			}
		}
	}
	d.order, d.byName, d.holes = order, byName, 0
}

// from returns the entries from a position on, removed ones among them.
func (d *directory) from(pos uint64) []*dirent {
	i := sort.Search(len(d.order), func(i int) bool { return d.order[i].seq >= pos })
	return d.order[i:]
}

// Lookup implements [vfs.FileSystem].
func (fs *FS) Lookup(_ *vfs.Request, parent vfs.NodeID, name vfs.Name, out *vfs.Entry) syscall.Errno {
	p, errno := fs.dirNode(parent)
	if errno != 0 {
		return errno
	}
	fs.tree.RLock()
	if e := p.dir.find(name.Bytes()); e != nil {
		fs.enter(e.node, out)
	} else {
		*out = vfs.Entry{EntryTTL: ttl}
	}
	fs.tree.RUnlock()
	return 0
}

// enter takes a reference to a node that has a name, and fills in its entry. The
// caller holds FS.tree, so that the name stays.
func (fs *FS) enter(n *node, out *vfs.Entry) {
	n.mu.Lock()
	fs.take(n)
	fs.fill(n, out)
	n.mu.Unlock()
}

// fill fills in the entry of a node. The caller holds its mu.
func (fs *FS) fill(n *node, out *vfs.Entry) {
	out.Node, out.Generation = n.id, n.gen
	out.EntryTTL, out.AttrTTL = ttl, ttl
	n.attr(&out.Attr)
}

// named changes what a directory's attributes say after a name was made (+1),
// removed (-1) or changed (0). dirs is by how many directories there are more in it.
func (n *node) named(names, dirs int, t vfs.Timespec) {
	n.mu.Lock()
	n.size += uint64(int64(names) * direntSize)
	n.nlink += uint32(int32(dirs))
	n.mtime, n.ctime = t, t
	n.mu.Unlock()
}

// direntSize is what a name adds to the size that a directory shows.
const direntSize = 20
