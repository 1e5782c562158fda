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
	// paused says that a session ends or begins: what is covered is not known.
	paused bool
}

var pausedTable = &table{paused: true}

// dir is a directory that mounts or synthetic directories are attached to.
type dir struct {
	names map[string]*attachment
	order []*attachment // by number
	pin   *pin          // nil for roots and synthetic directories, which need none
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
// directory.
type attachment struct {
	dir    vfs.NodeID
	name   string
	bytes  []byte     // name
	number uint64     // of those in dir; its place in listings
	node   vfs.NodeID // what the name stands for
	m      *mount     // nil if it is a synthetic directory
	ino    uint64
	typ    uint32 // S_IFMT bits
}

// with returns a copy of d that has a too, under the lowest free number.
func (d *dir) with(a *attachment) *dir {
	c := &dir{names: make(map[string]*attachment, len(d.names)+1), pin: d.pin}
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
	return t.dirs[node], 0
}

// attached returns what is attached to a name, or nil for nothing. It is ESTALE
// if the guest does not have the directory.
func (fs *FS) attached(parent vfs.NodeID, name vfs.Name) (*attachment, syscall.Errno) {
	d, errno := fs.dirAt(parent)
	if d == nil {
		return nil, errno
	}
	a := d.names[string(name.Bytes())]
	if a != nil && parent > vfs.MaxNodeID {
		m, id := fs.enter(parent)
		if m == nil {
			return nil, syscall.ESTALE
		}
		m.leave(id)
	}
	return a, 0
}
