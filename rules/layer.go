package rules

import "github.com/isthmus-fs/isthmus/vfs"

// layer is the file system behind a rule. What that may be beside a
// [vfs.FileSystem] passes the rule, unless the rule says otherwise.
type layer struct{ vfs.FileSystem }

var (
	_ vfs.Counter  = layer{}
	_ vfs.Backer   = layer{}
	_ vfs.Tolerant = layer{}
)

// Counts implements [vfs.Counter]. A rule holds nothing itself; a file system
// that cannot say what it holds counts as nothing.
func (l layer) Counts() vfs.Counts {
	if c, ok := l.FileSystem.(vfs.Counter); ok {
		return c.Counts()
	}
	return vfs.Counts{}
}

// Backing implements [vfs.Backer]: the data of a file are the same in front of a
// rule and behind it.
func (l layer) Backing(node vfs.NodeID, h vfs.Handle) (fd int, ok bool) {
	if b, is := l.FileSystem.(vfs.Backer); is {
		return b.Backing(node, h)
	}
	return -1, false
}

// Tolerates implements [vfs.Tolerant].
func (l layer) Tolerates() vfs.Features {
	if t, ok := l.FileSystem.(vfs.Tolerant); ok {
		return t.Tolerates()
	}
	return 0
}
