package tree

import "github.com/isthmus-fs/isthmus/vfs"

var (
	_ vfs.Counter = (*FS)(nil)
	_ vfs.Backer  = (*FS)(nil)
)

// Counts implements [vfs.Counter]. It is the sum of what the file systems hold that
// are Counters: those of mounts, and of mounts whose name was removed but that the
// guest still has. So the roots of all of them are among the nodes, and the
// directories that the tree itself holds (see [Stats].Pins). To these come the
// synthetic directories that the guest has and, in a tree without a mount at "/",
// the root. Handles of synthetic directories stand for nothing and are not counted.
func (fs *FS) Counts() vfs.Counts {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	sum := vfs.Counts{Nodes: fs.synth.held()}
	if fs.root == fs.synthMount {
		sum.Nodes++
	}
	for _, m := range fs.mounts {
		sum.Add(m.counts())
	}
	for m := range fs.gone {
		if m.lingers() {
			sum.Add(m.counts())
		}
	}
	return sum
}

// counts are none for a file system that does not count.
func (m *mount) counts() (c vfs.Counts) {
	if counter, ok := m.child.(vfs.Counter); ok {
		c = counter.Counts()
	}
	return c
}

// held is the number of directories that the guest has, without the root.
func (s *synth) held() (n uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for id, d := range s.dirs {
		if id != vfs.Root && d.refs.Load() != 0 {
			n++
		}
	}
	return n
}

// Backing implements [vfs.Backer] for mounts that are. In a tree that is changing
// (see [Config]) only the one at "/" is: the descriptor of another could be closed,
// and its number be that of another file, before the door has used it, and what a
// kernel reads past us does not become ESTALE.
func (fs *FS) Backing(node vfs.NodeID, h vfs.Handle) (fd int, ok bool) {
	m, id := fs.call(node)
	if m == nil {
		return 0, false
	}
	if backer, is := m.child.(vfs.Backer); is && (m.base == 0 || !fs.changing) {
		fd, ok = backer.Backing(id, h)
	}
	m.leave(id)
	return fd, ok
}
