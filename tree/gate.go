package tree

import (
	"sync/atomic"

	"github.com/isthmus-fs/isthmus/vfs"
)

const (
	gateShards = 8
	// gateClosed is added to the users of a closed shard. No number of users
	// makes up for it.
	gateClosed = -1 << 62
)

// gate counts the calls that are under way in a mount, and can be closed, which
// waits for them. The count is split by node, so that queues that work on
// different files do not share a cache line.
type gate struct {
	shards [gateShards]gateShard
	// idle is poked when a shard of a closed gate has become empty.
	idle chan struct{}
}

// gateShard has a cache line of its own.
type gateShard struct {
	users atomic.Int64
	_     [56]byte
}

func newGate() gate { return gate{idle: make(chan struct{}, 1)} }

func (g *gate) shard(id vfs.NodeID) *gateShard { return &g.shards[id%gateShards] }

// enter counts a call in, unless the gate is closed. Then leave must follow.
func (g *gate) enter(id vfs.NodeID) bool {
	if g.shard(id).users.Add(1) > 0 {
		return true
	}
	g.leave(id)
	return false
}

func (g *gate) leave(id vfs.NodeID) {
	if n := g.shard(id).users.Add(-1); n < 0 {
		g.left(n)
	}
}

// left is told of what is left in a shard of a closed gate.
func (g *gate) left(n int64) {
	if n == gateClosed {
		select {
		case g.idle <- struct{}{}:
		default:
		}
	}
}

// close lets no calls in from now on and waits until none is under way. A gate
// is not closed by two at once, nor twice.
func (g *gate) close() {
	for i := range g.shards {
		g.shards[i].users.Add(gateClosed)
	}
	for i := range g.shards {
		for g.shards[i].users.Load() != gateClosed {
			<-g.idle
		}
	}
}

// open undoes close.
func (g *gate) open() {
	for i := range g.shards {
		g.shards[i].users.Add(-gateClosed)
	}
}
