package watch

const (
	pathMax     = 4096 // PATH_MAX
	unreachable = "(unreachable)"
	deleted     = " (deleted)"
)

// pathBuffer is room for a path and what may be said of it.
type pathBuffer [len(unreachable) + pathMax + len(deleted)]byte

// build puts the path of n into b, or that of last in the directory n. It walks up
// to root without a lock. It ends, as each step uses up room, however the parents lie.
func (b *pathBuffer) build(root, n *node, last []byte) []byte {
	const front, end = len(unreachable), len(unreachable) + pathMax
	from, to := end, end
	if last != nil {
		from -= copy(b[from-len(last):], last) + 1
		b[from] = '/'
	}
	removed := false
	for n != root {
		var m *name
		if n != nil {
			m = n.current.Load()
		}
		if m == nil || n.dead.Load() || from-len(m.text)-1 < front {
			from -= copy(b[from-len(unreachable):], unreachable)
			break
		}
		from -= copy(b[from-len(m.text):], m.text) + 1
		b[from] = '/'
		removed = removed || m.gone.Load()
		n = m.parent
	}
	if from == to {
		from--
		b[from] = '/'
	}
	if removed {
		to += copy(b[to:], deleted)
	}
	return b[from:to]
}
