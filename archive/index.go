package archive

import (
	"bytes"
	"hash/maphash"
	"math/bits"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// index is all of an archive but the data of its files, in flat arrays without
// pointers: a few large objects that the garbage collector need not look into,
// whatever the number of entries.
//
// A node is named by its place in nodes; the root is the first.
type index struct {
	nodes []node
	dents []dent
	// table finds dents by parent and name: open addressing, linear probing.
	// It holds places in dents plus one, and 0 where it is free.
	table []uint32
	seed  maphash.Seed
	// text holds names (a byte with the length, then the name), link targets,
	// and lists of attributes (see xattr.go).
	text []byte
}

// node is a file system object. What some fields mean depends on its type.
type node struct {
	size uint64 // of a file, or of a link's target
	// at is where in the memfd the data of a file begin, where in text the
	// target of a link does, or which is the first of a directory's dents.
	at  uint64
	sec [3]int64 // atime, mtime, ctime

	nsec   [3]uint32
	mode   uint32 // type and permission bits
	nlink  uint32
	uid    uint32
	gid    uint32
	xattrs uint32 // where in text the attributes are; 0 for none
	// count is how many pages of a file are stored, or how many dents a
	// directory has.
	count uint32
	// other is the device number of a device, or the parent of a directory.
	other uint32
}

// dent is a name in a directory.
type dent struct {
	name   uint32 // place in text
	parent uint32
	node   uint32
}

// none stands where there is no node.
const none = ^uint32(0)

// implied marks, while an archive is read, a directory that no entry has
// mentioned yet.
const implied = 1 << 31

func (n *node) typ() uint32 { return n.mode & unix.S_IFMT }
func (n *node) isDir() bool { return n.typ() == unix.S_IFDIR }

func (n *node) setTimes(atime, mtime, ctime vfs.Timespec) {
	for i, t := range [...]vfs.Timespec{atime, mtime, ctime} {
		n.sec[i], n.nsec[i] = t.Sec, t.Nsec
	}
}

func (n *node) time(i int) vfs.Timespec { return vfs.Timespec{Sec: n.sec[i], Nsec: n.nsec[i]} }

// name returns the name at a place in text.
func (x *index) name(at uint32) []byte {
	first := at + 1
	return x.text[first : first+uint32(x.text[at])]
}

// slot is where the search for a name begins. The seed, of this index alone,
// keeps an archive from having all its names meet in one place.
func (x *index) slot(parent uint32, name []byte) uint64 {
	h := maphash.Bytes(x.seed, name) + uint64(parent)*0x9e3779b97f4a7c15
	return h ^ h>>32
}

// find returns the node of a name in a directory, or none.
func (x *index) find(parent uint32, name []byte) uint32 {
	mask := uint64(len(x.table) - 1)
	for i := x.slot(parent, name); ; i++ {
		at := x.table[i&mask]
		if at == 0 {
			return none
		}
		d := &x.dents[at-1]
		if d.parent == parent && bytes.Equal(x.name(d.name), name) {
			return d.node
		}
	}
}

// init makes an index with nothing in it.
func (x *index) init() {
	x.seed = maphash.MakeSeed()
	x.table = make([]uint32, 1<<10)
	x.text = make([]byte, 1, 1<<12) // place 0 means "none" to nodes
}

// addDent adds a name, of at most vfs.MaxName bytes, that is not there.
func (x *index) addDent(parent uint32, name []byte, n uint32) {
	x.dents = append(x.dents, dent{uint32(len(x.text)), parent, n})
	x.text = append(x.text, byte(len(name)))
	x.text = append(x.text, name...)
	x.nodes[parent].count++
	if len(x.dents) > len(x.table)/4*3 {
		x.rehash()
		return
	}
	x.insert(uint32(len(x.dents)))
}

func (x *index) insert(at uint32) {
	d := &x.dents[at-1]
	mask := uint64(len(x.table) - 1)
	i := x.slot(d.parent, x.name(d.name))
	for x.table[i&mask] != 0 {
		i++
	}
	x.table[i&mask] = at
}

// rehash makes the table anew, as large as the dents need and no less than half
// as large again.
func (x *index) rehash() {
	x.table = make([]uint32, 1<<max(bits.Len(uint(len(x.dents)/2*3)), 4))
	for i := range x.dents {
		x.insert(uint32(i + 1))
	}
}

// pack groups the dents by directory, in the order in which the archive has
// them, and gives back memory that was meant to grow into.
func (x *index) pack() {
	x.nodes = exact(x.nodes)
	x.text = exact(x.text)
	first := uint64(0)
	for i := range x.nodes {
		if n := &x.nodes[i]; n.isDir() {
			n.mode &^= implied
			n.at = first
			first += uint64(n.count)
		}
	}
	grouped := make([]dent, len(x.dents))
	for _, d := range x.dents {
		p := &x.nodes[d.parent]
		grouped[p.at] = d
		p.at++
	}
	for i := range x.nodes {
		if n := &x.nodes[i]; n.isDir() {
			n.at -= uint64(n.count)
		}
	}
	x.dents = grouped
	x.rehash()
}

// exact copies s into an array of just its length.
func exact[T any](s []T) []T {
	c := make([]T, len(s))
	copy(c, s)
	return c
}

const (
	nodeBytes = 2*8 + 3*8 + 3*4 + 7*4
	dentBytes = 3 * 4
)

// bytes is the memory that the index takes.
func (x *index) bytes() uint64 {
	return uint64(len(x.nodes))*nodeBytes + uint64(len(x.dents))*dentBytes + uint64(len(x.table))*4 + uint64(len(x.text))
}
