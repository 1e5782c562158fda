package tree

import (
	"cmp"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// table says which names in which directories are mounts or lead to them. It and
// all that it points to but for the pins is immutable. A tree without mounts but
// "/" has none.
type table struct {
	dirs map[vfs.NodeID]*dir
	// sieve has the bit of each directory set; see nodeBit.
	sieve uint64
	// paused says that a session ends or begins: what is covered is not known.
	paused bool
}

var pausedTable = &table{paused: true}

// Most directories have no mount in them, and most names in those that have are
// of files. A bit for each of a few values of a cheap hash tells that without a
// look into a map.

func nodeBit(node vfs.NodeID) uint64 { return 1 << ((node ^ node>>indexShift) & 63) }

// nameBit is for a name, which is not empty.
func nameBit(name []byte) uint64 {
	return 1 << ((uint(name[0]) ^ uint(name[len(name)-1])<<1 ^ uint(len(name))<<3) & 63)
}

func newTable(dirs map[vfs.NodeID]*dir) *table {
	t := &table{dirs: dirs}
	for node := range dirs {
		t.sieve |= nodeBit(node)
	}
	return t
}

// dir returns what is attached to a directory, or nil for nothing. There may be no
// table.
func (t *table) dir(node vfs.NodeID) *dir {
	if t == nil || t.sieve&nodeBit(node) == 0 {
		return nil
	}
	return t.dirs[node]
}

// pinned returns what is attached to a directory that has a pin, or nil.
func (t *table) pinned(node vfs.NodeID) *dir {
	if d := t.dir(node); d != nil && d.pin != nil {
		return d
	}
	return nil
}

// dir is a directory that mounts or synthetic directories are attached to.
type dir struct {
	names map[string]*attachment
	order []*attachment // by number
	pin   *pin          // nil for roots and synthetic directories, which need none
	sieve uint64        // the bits of the names
}

// named returns what a name stands for, or nil.
func (d *dir) named(name []byte) *attachment {
	if d.sieve&nameBit(name) == 0 {
		return nil
	}
	return d.names[string(name)]
}

// pin is the reference that the tree holds to a directory. It must not be lost
// to a guest that gives back too many. So what the guest gives back is noted, and
// passed on together with the tree's own in the end.
type pin struct{ owed atomic.Uint64 }

// add notes n references that the guest gave back. What is more than all stays
// all.
func (p *pin) add(n uint64) {
	for {
		is := p.owed.Load()
		sum := is + n
		if sum < is {
			sum = ^uint64(0)
		}
		if p.owed.CompareAndSwap(is, sum) {
			return
		}
	}
}

// total is what is to be given back when the pin goes.
func (p *pin) total() uint64 {
	if n := p.owed.Load(); n != ^uint64(0) {
		return n + 1
	}
	return ^uint64(0)
}

// attachment is a name in a directory that stands for a mount or a synthetic
// directory, or that is not to be seen.
type attachment struct {
	dir    vfs.NodeID
	name   string
	bytes  []byte     // name
	number uint64     // of those in dir; its place in listings
	node   vfs.NodeID // what the name stands for
	m      *mount     // nil if it is a synthetic directory
	ino    uint64
	typ    uint32 // S_IFMT bits
	// hidden says that the name stands for nothing; see hidden.
	hidden bool
}

// with returns a copy of d that has a too, under the lowest free number.
func (d *dir) with(a *attachment) *dir {
	c := &dir{names: make(map[string]*attachment, len(d.names)+1), pin: d.pin, sieve: d.sieve | nameBit(a.bytes)}
	for name, old := range d.names {
		c.names[name] = old
	}
	at := 0
	for at < len(d.order) && d.order[at].number == uint64(at)+1 {
		at++
	}
	a.number = uint64(at) + 1
	c.names[a.name] = a
	c.order = slices.Insert(slices.Clone(d.order), at, a)
	return c
}

// without returns a copy of d that lacks a.
func (d *dir) without(a *attachment) *dir {
	c := &dir{names: make(map[string]*attachment, len(d.names)), pin: d.pin}
	for name, old := range d.names {
		if old != a {
			c.names[name] = old
			c.order = append(c.order, old)
			c.sieve |= nameBit(old.bytes)
		}
	}
	slices.SortFunc(c.order, byNumber)
	return c
}

func byNumber(a, b *attachment) int { return cmp.Compare(a.number, b.number) }

// behind returns the attachments with a number above n.
func (d *dir) behind(n uint64) []*attachment {
	i, _ := slices.BinarySearchFunc(d.order, n+1, func(a *attachment, n uint64) int { return cmp.Compare(a.number, n) })
	return d.order[i:]
}

// dirAt returns what is attached to a directory, or nil for nothing.
func (fs *FS) dirAt(node vfs.NodeID) (*dir, syscall.Errno) {
	t := fs.table.Load()
	switch {
	case t == nil:
		return nil, 0
	case t.paused:
		return nil, syscall.ESTALE
	}
	return t.dir(node), 0
}

// attached returns what is attached to a name, or nil for nothing. It is ESTALE
// if the guest does not have the directory.
func (fs *FS) attached(parent vfs.NodeID, name vfs.Name) (*attachment, syscall.Errno) {
	d, errno := fs.dirAt(parent)
	if d == nil {
		return nil, errno
	}
	a := d.named(name.Bytes())
	if a != nil && parent > vfs.MaxNodeID {
		m, id := fs.enter(parent)
		if m == nil {
			return nil, syscall.ESTALE
		}
		m.leave(id)
	}
	return a, 0
}
