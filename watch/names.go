package watch

import (
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// maxNames is how many names of a file are kept. A directory has one.
const maxNames = 8

// name is a place where a node is or was. But for older and gone it does not change.
type name struct {
	node   *node
	parent *node
	text   string
	older  *name       // guarded by node.mu
	gone   atomic.Bool // it is not the node's name any more
}

func isDir(mode uint32) bool { return mode&unix.S_IFMT == unix.S_IFDIR }

// is reports whether m is text in the directory p.
func (m *name) is(p *node, text []byte) bool { return m.parent == p && m.text == string(text) }

// attach makes text in p the current name of n. Another node that had that name
// loses it. Nothing happens if p is not known, which no honest guest brings about.
func (n *node) attach(p *node, text []byte) {
	if m := n.current.Load(); m != nil && !m.gone.Load() && m.is(p, text) {
		return
	}
	if p == nil || p == n {
		return
	}
	n.mu.Lock()
	if n.dead.Load() || n.promote(p, text) {
		n.mu.Unlock()
		return
	}
	m := &name{node: n, parent: p, text: string(text), older: n.newest}
	before, ok := p.children.put(m)
	if !ok {
		n.mu.Unlock()
		return
	}
	n.newest = m
	n.current.Store(m)
	n.prune()
	n.mu.Unlock()
	if before != nil {
		before.lost()
	}
}

// promote makes a name that n has its current one. n.mu is held.
func (n *node) promote(p *node, text []byte) bool {
	for at := &n.newest; *at != nil; at = &(*at).older {
		if m := *at; m.is(p, text) {
			*at = m.older
			m.older = n.newest
			n.newest = m
			n.current.Store(m)
			return true
		}
	}
	return false
}

// prune drops names that are too many, and those in directories that are not known
// any more. n.mu is held.
func (n *node) prune() {
	room := maxNames
	if n.dir {
		room = 1
	}
	for at := &n.newest; *at != nil; {
		m := *at
		if room > 0 && !m.parent.dead.Load() {
			room--
			at = &m.older
			continue
		}
		*at, m.older = m.older, nil
		m.gone.Store(true)
		m.parent.children.remove(m)
	}
}

// lost takes a name from its node, which was taken from its directory before.
func (m *name) lost() {
	n := m.node
	n.mu.Lock()
	defer n.mu.Unlock()
	m.gone.Store(true)
	for at := &n.newest; *at != nil; at = &(*at).older {
		if *at == m {
			*at, m.older = m.older, nil
			break
		}
	}
	if n.newest != nil {
		n.current.Store(n.newest)
	}
}

// unnamed gives a node that was made without a name, in the directory p, the one that
// Linux would show of it.
func (n *node) unnamed(p *node, ino uint64) {
	m := &name{node: n, parent: p, text: "#" + strconv.FormatUint(ino, 10)}
	m.gone.Store(true)
	n.mu.Lock()
	if n.newest == nil && !n.dead.Load() {
		n.current.Store(m)
	}
	n.mu.Unlock()
}

// rename moves what is oldName in p to newName in q, or exchanges the two.
func rename(p *node, oldName []byte, q *node, newName []byte, exchange bool) {
	if p == nil || q == nil {
		return
	}
	from, to := p.children.find(oldName), q.children.find(newName)
	if from != nil && to != nil && from.node == to.node {
		return // rename(2) leaves two names of one file as they are
	}
	if from != nil {
		from.node.attach(q, newName)
	} else if to != nil && q.children.remove(to) {
		to.lost() // to what is not known by the name that it had
	}
	if exchange && to != nil {
		to.node.attach(p, oldName)
	} else if from != nil && p.children.remove(from) {
		from.lost()
	}
}

// children are the current names in a directory, as far as they are known.
type children struct {
	mu     sync.Mutex
	names  map[string]*name // nil while there are none
	closed bool             // the directory is not known any more
}

// put adds a name and returns the one that it replaces.
func (c *children) put(m *name) (before *name, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, false
	}
	if c.names == nil {
		c.names = make(map[string]*name)
	}
	before = c.names[m.text]
	c.names[m.text] = m
	return before, true
}

func (c *children) find(text []byte) *name {
	c.mu.Lock()
	m := c.names[string(text)]
	c.mu.Unlock()
	return m
}

// take removes a name and returns it, or nil if there is none.
func (c *children) take(text []byte) *name {
	c.mu.Lock()
	m := c.names[string(text)]
	if m != nil {
		c.drop(m)
	}
	c.mu.Unlock()
	return m
}

// remove removes a name unless another has taken its place.
func (c *children) remove(m *name) bool {
	c.mu.Lock()
	ok := c.names[m.text] == m
	if ok {
		c.drop(m)
	}
	c.mu.Unlock()
	return ok
}

func (c *children) drop(m *name) {
	delete(c.names, m.text)
	if len(c.names) == 0 {
		c.names = nil // a map does not shrink
	}
}

func (c *children) close() {
	c.mu.Lock()
	c.names, c.closed = nil, true
	c.mu.Unlock()
}
