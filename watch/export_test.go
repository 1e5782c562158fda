package watch

import "github.com/isthmus-fs/isthmus/vfs"

// Nodes returns the nodes that are known, without the root.
func (fs *FS) Nodes() (ids []vfs.NodeID) {
	s := fs.session.Load()
	for i := range s.nodes.shards {
		sh := &s.nodes.shards[i]
		sh.mu.Lock()
		for id := range sh.nodes {
			ids = append(ids, id)
		}
		sh.mu.Unlock()
	}
	return ids
}

// Known returns how many nodes are known, with the root, and how many names.
func (fs *FS) Known() (nodes, names int) {
	s := fs.session.Load()
	nodes, names = 1, s.nodes.root.children.len()
	for i := range s.nodes.shards {
		sh := &s.nodes.shards[i]
		sh.mu.Lock()
		for _, n := range sh.nodes {
			nodes++
			names += n.children.len()
		}
		sh.mu.Unlock()
	}
	return nodes, names
}

func (c *children) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.names)
}
