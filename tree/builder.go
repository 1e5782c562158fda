package tree

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// builder makes a new table out of the present one, which guests go on to use
// until commit. FS.mu and FS.forgets are held from the beginning to commit or
// abort.
type builder struct {
	fs   *FS
	dirs map[vfs.NodeID]*dir
	// fresh and stale are the pins that came and went, with their nodes.
	fresh, stale map[*pin]vfs.NodeID
	// made and unmade are the synthetic directories that came and went.
	made, unmade []vfs.NodeID
}

// newBuilder begins with what is attached now or, after the nodes of all file
// systems were dropped, with nothing.
func (fs *FS) newBuilder(fromScratch bool) *builder {
	b := &builder{fs: fs, fresh: make(map[*pin]vfs.NodeID), stale: make(map[*pin]vfs.NodeID)}
	if t := fs.table.Load(); t != nil && !fromScratch {
		b.dirs = maps.Clone(t.dirs)
	}
	if b.dirs == nil {
		b.dirs = make(map[vfs.NodeID]*dir)
	}
	return b
}

// commit lets guests see the new table.
func (b *builder) commit() {
	var t *table
	if len(b.dirs) != 0 {
		t = newTable(b.dirs)
	}
	b.fs.table.Store(t)
	b.drop(b.stale, b.unmade)
	for _, node := range b.fresh {
		if b.fs.lost(node) {
			b.fs.attachAll()
			return
		}
	}
}

// lost tells whether a directory is there no more that was to be pinned: a guest has
// given back too many references to it before the pin was in the table. From then
// on it cannot.
func (fs *FS) lost(node vfs.NodeID) bool {
	var a vfs.AttrOut
	return fs.childOf(node).Getattr(&vfs.Request{}, node&vfs.MaxNodeID, vfs.NoHandle, &a) == syscall.ESTALE
}

// abort gives back what the builder took.
func (b *builder) abort() { b.drop(b.fresh, b.made) }

func (b *builder) drop(pins map[*pin]vfs.NodeID, synthetic []vfs.NodeID) {
	for p, node := range pins {
		b.forget(node, p.total())
	}
	for _, node := range synthetic {
		b.fs.synth.remove(node & vfs.MaxNodeID)
	}
}

func (b *builder) forget(node vfs.NodeID, n uint64) {
	b.fs.childOf(node).Forget(node&vfs.MaxNodeID, n)
}

// childOf returns the file system of a node on a mount that is there.
func (fs *FS) childOf(node vfs.NodeID) vfs.FileSystem {
	if node <= vfs.MaxNodeID {
		return fs.root.child
	}
	return fs.mountOf(node).child
}

// checkPins attaches mounts anew whose directory was lost in a race with the making of
// its pin.
func (fs *FS) checkPins() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.forgets.Lock()
	defer fs.forgets.Unlock()
	t := fs.table.Load()
	if t == nil {
		return
	}
	for node, d := range t.dirs {
		if d.pin != nil && fs.lost(node) {
			fs.attachAll()
			return
		}
	}
}

// attachAll attaches all mounts anew. Their directories may be others by that.
func (fs *FS) attachAll() {
	b := fs.newBuilder(false)
	b.reveal(func(*hidden) bool { return true })
	list := fs.inside("/")
	for _, m := range slices.Backward(list) {
		b.detach(m.at)
	}
	for _, m := range list {
		b.mustAttach(m)
	}
	b.hideAgain()
	b.commit()
}

// mustAttach attaches a mount that was attached before. That it lies in a mount that
// is no directory was ruled out then, and what is in the way is covered.
func (b *builder) mustAttach(m *mount) {
	if err := b.attach(m, walkOver); err != nil {
		panic(err)
	}
}

// place is where a walk has come to. held says that it has a reference of the
// walk's.
type place struct {
	node vfs.NodeID
	held bool
}

func (b *builder) leave(p place) {
	if p.held {
		b.forget(p.node, 1)
	}
}

// synthetic returns the synthetic directory of a node, or nil if it is none.
func (b *builder) synthetic(node vfs.NodeID) *synthDir {
	if node&^vfs.MaxNodeID != b.fs.synthMount.base {
		return nil
	}
	return b.fs.synth.get(node & vfs.MaxNodeID)
}

// above returns the path of the mount that a path lies in, or "" for the
// synthetic root.
func (fs *FS) above(p string) string {
	for p != "/" {
		p = path.Dir(p)
		if fs.mounts[p] != nil {
			return p
		}
	}
	return ""
}

// inside returns the mounts below a path, in the order in which they can be
// attached.
func (fs *FS) inside(p string) []*mount {
	prefix := strings.TrimSuffix(p, "/") + "/"
	var list []*mount
	for _, m := range fs.mounts {
		if m.path != p && strings.HasPrefix(m.path, prefix) {
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(x, y *mount) int { return strings.Compare(x.path, y.path) })
	return list
}

// walking says what becomes of directories on a way that are not there.
type walking uint8

const (
	walkStrict walking = iota // they are made, unless something is in the way
	walkOver                  // they are made, and cover what is in the way
	walkThere                 // they are an error
)

// attach walks to the place of a mount and attaches it there; the mounts that it
// lies in are attached already.
func (b *builder) attach(m *mount, how walking) error {
	at, name, err := b.walk(m.path, how)
	if err != nil {
		return err
	}
	m.at = &attachment{name: name, node: m.root(), m: m, ino: m.ino, typ: m.typ}
	if d := b.dirs[at.node]; d != nil && d.names[name] != nil && !d.names[name].hidden {
		// Mounts go with a directory that is renamed, so this one may be known by
		// the path of another.
		b.leave(at)
		if how == walkOver {
			b.fs.log.Warn("a mount cannot be seen, as another is in its place", "mount", m.path)
			return nil
		}
		return &PathError{Op: "mount", Path: m.path, Err: syscall.EBUSY, Why: "another mount was moved there"}
	}
	b.add(at, m.at)
	return nil
}

// walk goes to the directory that a path is in, and returns its last name too.
func (b *builder) walk(p string, how walking) (place, string, error) {
	above := b.fs.above(p)
	at := place{node: vfs.Root}
	if above != "" {
		up := b.fs.mounts[above]
		if !up.isDir() {
			return place{}, "", &PathError{Op: "mount", Path: p, Err: syscall.ENOTDIR, Why: "what is mounted at " + above + " is not a directory"}
		}
		at.node = up.root()
	}
	names := strings.Split(strings.TrimPrefix(strings.TrimPrefix(p, above), "/"), "/")
	last := len(names) - 1
	for i, name := range names[:last] {
		next, errno := b.step(at, name)
		if errno != 0 && (errno != syscall.ENOENT || how == walkThere) {
			covered := strings.TrimSuffix(p, "/"+strings.Join(names[i+1:], "/"))
			if how != walkOver {
				b.leave(at)
				return place{}, "", &PathError{Op: "mount", Path: p, Err: errno, Why: fmt.Sprintf("%s cannot be gone through", covered)}
			}
			b.fs.log.Warn("a mount needs a directory where there is none; one takes the place of what is there",
				"mount", p, "place", covered, "error", errno)
		}
		if errno != 0 {
			next = b.makeSynth(at, name)
		}
		at = next
	}
	return at, names[last], nil
}

// step goes to a directory. It gives back what at holds, unless it fails.
func (b *builder) step(at place, name string) (place, syscall.Errno) {
	if d := b.dirs[at.node]; d != nil {
		if a := d.names[name]; a != nil && a.hidden {
			return place{}, syscall.ENOENT
		} else if a != nil {
			b.leave(at)
			return place{node: a.node}, 0
		}
	}
	if b.synthetic(at.node) != nil {
		return place{}, syscall.ENOENT
	}
	n, errno := vfs.MakeName(name)
	if errno != 0 {
		return place{}, errno
	}
	var e vfs.Entry
	child := b.fs.childOf(at.node)
	if errno := child.Lookup(&vfs.Request{}, at.node&vfs.MaxNodeID, n, &e); errno != 0 {
		return place{}, errno
	}
	switch {
	case e.Node == 0:
		return place{}, syscall.ENOENT
	case e.Node > vfs.MaxNodeID || e.Attr.Mode&unix.S_IFMT != unix.S_IFDIR:
		child.Forget(e.Node, 1)
		return place{}, syscall.ENOTDIR
	}
	next := place{node: at.node&^vfs.MaxNodeID | e.Node, held: e.Node != vfs.Root}
	b.leave(at)
	return next, 0
}

// makeSynth attaches a new synthetic directory, and takes over what at holds.
func (b *builder) makeSynth(at place, name string) place {
	id, d := b.fs.synth.add(b.synthetic(at.node))
	node := b.fs.synthMount.base | id
	b.made = append(b.made, node)
	d.at = &attachment{name: name, node: node, ino: uint64(id), typ: unix.S_IFDIR}
	b.add(at, d.at)
	return place{node: node}
}

// add attaches a in a directory, where it may take the place of a hidden name, and
// takes over what at holds.
func (b *builder) add(at place, a *attachment) {
	a.dir, a.bytes = at.node, []byte(a.name)
	d := b.dirs[at.node]
	switch {
	case d != nil:
		b.leave(at)
		if h := d.names[a.name]; h != nil && h.hidden {
			d = d.without(h)
		}
	case at.held:
		d = &dir{pin: new(pin)}
		b.fresh[d.pin] = at.node
	default:
		d = &dir{}
	}
	b.dirs[at.node] = d.with(a)
}

// detach undoes attach, and removes the synthetic directories that are empty by
// that.
func (b *builder) detach(a *attachment) {
	for b.isAttached(a) {
		d := b.dirs[a.dir].without(a)
		if len(d.names) != 0 {
			b.dirs[a.dir] = d
			return
		}
		delete(b.dirs, a.dir)
		if d.pin != nil {
			b.stale[d.pin] = a.dir
		}
		node := a.dir
		a = nil
		if d := b.synthetic(node); d != nil && d.at != nil {
			b.unmade = append(b.unmade, node)
			a = d.at
		}
	}
}
