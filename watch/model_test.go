package watch_test

import (
	"flag"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/isthmus-fs/isthmus/scratch"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/watch"
)

// TestModel makes random calls as the kernel of a guest would, which looks names up
// before it changes them and forgets no directory that it knows a name in, and after
// each compares all paths with those of a model.
func TestModel(t *testing.T) {
	// What failed is printed in full, and with the seed that finds it again.
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		inner, err := scratch.New(scratch.Options{})
		if err != nil {
			rt.Fatal(err)
		}
		defer inner.Close()
		m := newModel(rt, watch.New(inner, watch.Options{}))
		for range rapid.IntRange(1, 80).Draw(rt, "calls") {
			m.step()
			m.compare()
		}
	})
}

// place is a name in a directory.
type place struct {
	parent *object
	name   string
}

// object is a file of the model.
type object struct {
	id       vfs.NodeID
	refs     uint64 // that the guest has
	children map[string]*object
	known    []place // the last used first
	last     place   // the one of known that was removed last
}

type model struct {
	t    *rapid.T
	fs   *watch.FS
	r    vfs.Request
	root *object
	all  []*object // that exist or are known
}

func newModel(t *rapid.T, fs *watch.FS) *model {
	m := &model{t: t, fs: fs, root: &object{id: vfs.Root, refs: 1, children: map[string]*object{}}}
	m.all = append(m.all, m.root)
	if _, errno := fs.Init(everything); errno != 0 {
		t.Fatal(errno)
	}
	return m
}

// use makes a name the one that o was last called.
func (o *object) use(p place) {
	o.known = slices.DeleteFunc(o.known, func(k place) bool { return k == p })
	o.known = slices.Insert(o.known, 0, p)
	most := 8
	if o.children != nil {
		most = 1
	}
	o.known = o.known[:min(len(o.known), most)]
}

func (o *object) lose(p place) {
	if i := slices.Index(o.known, p); i >= 0 {
		o.known = slices.Delete(o.known, i, i+1)
		o.last = p
	}
}

func (m *model) path(o *object) string {
	path, suffix := "", ""
	for o != m.root {
		p := o.last
		if len(o.known) != 0 {
			p = o.known[0]
		} else {
			suffix = " (deleted)"
		}
		path = "/" + p.name + path
		o = p.parent
	}
	if path == "" {
		path = "/"
	}
	return path + suffix
}

func (m *model) compare() {
	known, names := 0, 0
	for _, o := range m.all {
		if o.refs == 0 {
			continue
		}
		known++
		names += len(o.known)
		if got, _ := m.fs.Path(o.id); got != m.path(o) {
			m.t.Fatalf("node %d is %q, want %q", o.id, got, m.path(o))
		}
	}
	if n, nn := m.fs.Known(); n != known || nn != names {
		m.t.Fatalf("%d nodes and %d names are known, want %d and %d", n, nn, known, names)
	}
}

// got notes that the guest got a reference to o by a name.
func (m *model) got(o *object, p place, e *vfs.Entry) {
	if o.refs == 0 {
		o.id = e.Node
	} else if o.id != e.Node {
		m.t.Fatalf("%s is node %d and was %d", p.name, e.Node, o.id)
	}
	o.refs++
	o.use(p)
}

// look looks a name up, and returns nil if it does not exist.
func (m *model) look(p place) *object {
	var e vfs.Entry
	errno := m.fs.Lookup(&m.r, p.parent.id, name(p.name), &e)
	o := p.parent.children[p.name]
	if (o != nil) != (errno == 0 && e.Node != 0) {
		m.t.Fatalf("lookup of %s: %v, node %d", p.name, errno, e.Node)
	}
	if o != nil {
		m.got(o, p, &e)
	}
	return o
}

// draw chooses one that the guest knows and that is good.
func (m *model) draw(what string, good func(*object) bool) *object {
	var list []*object
	for _, o := range m.all {
		if o.refs != 0 && good(o) {
			list = append(list, o)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return rapid.SampledFrom(list).Draw(m.t, what)
}

func (m *model) drawPlace(what string) place {
	dir := m.draw(what+" in", func(o *object) bool { return o.children != nil })
	return place{dir, rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(m.t, what)}
}

var modelSteps = []struct {
	what string
	step func(*model)
}{
	{"lookup", func(m *model) { m.look(m.drawPlace("name")) }},
	{"mkdir", func(m *model) { m.make(true) }},
	{"mkdir", func(m *model) { m.make(true) }},
	{"mknod", func(m *model) { m.make(false) }},
	{"mknod", func(m *model) { m.make(false) }},
	{"link", (*model).link},
	{"unlink", func(m *model) { m.remove(m.fs.Unlink) }},
	{"rmdir", func(m *model) { m.remove(m.fs.Rmdir) }},
	{"rename", func(m *model) { m.rename(0) }},
	{"rename", func(m *model) { m.rename(0) }},
	{"rename, no replace", func(m *model) { m.rename(unix.RENAME_NOREPLACE) }},
	{"exchange", func(m *model) { m.rename(unix.RENAME_EXCHANGE) }},
	{"list", (*model).list},
	{"forget", (*model).forget},
	{"forget", (*model).forget},
}

func (m *model) step() {
	i := rapid.IntRange(0, len(modelSteps)-1).Draw(m.t, "step")
	modelSteps[i].step(m)
}

func (m *model) make(dir bool) {
	p := m.drawPlace("new")
	m.look(p)
	var e vfs.Entry
	var errno syscall.Errno
	o := &object{}
	if dir {
		o.children = map[string]*object{}
		errno = m.fs.Mkdir(&m.r, p.parent.id, name(p.name), 0o755, &e)
	} else {
		errno = m.fs.Mknod(&m.r, p.parent.id, name(p.name), unix.S_IFREG, 0, &e)
	}
	if errno == 0 {
		p.parent.children[p.name] = o
		m.all = append(m.all, o)
		m.got(o, p, &e)
	}
}

func (m *model) link() {
	o := m.draw("file", func(o *object) bool { return o.children == nil })
	p := m.drawPlace("new")
	m.look(p)
	if o == nil {
		return
	}
	var e vfs.Entry
	if m.fs.Link(&m.r, o.id, p.parent.id, name(p.name), &e) == 0 {
		p.parent.children[p.name] = o
		m.got(o, p, &e)
	}
}

func (m *model) remove(call func(*vfs.Request, vfs.NodeID, vfs.Name) syscall.Errno) {
	p := m.drawPlace("old")
	o := m.look(p)
	if call(&m.r, p.parent.id, name(p.name)) == 0 {
		delete(p.parent.children, p.name)
		o.lose(p)
	}
}

func (m *model) rename(flags uint32) {
	p, q := m.drawPlace("old"), m.drawPlace("new")
	from, to := m.look(p), m.look(q)
	if m.fs.Rename(&m.r, p.parent.id, name(p.name), q.parent.id, name(q.name), flags) != 0 || from == to {
		return
	}
	q.parent.children[q.name] = from
	from.use(q)
	from.lose(p)
	switch {
	case flags == unix.RENAME_EXCHANGE:
		p.parent.children[p.name] = to
		to.use(p)
		to.lose(q)
	default:
		delete(p.parent.children, p.name)
		if to != nil {
			to.lose(q)
		}
	}
}

func (m *model) list() {
	dir := m.draw("list", func(o *object) bool { return o.children != nil })
	var o vfs.Opened
	if m.fs.Opendir(&m.r, dir.id, 0, &o) != 0 {
		return
	}
	l := list{most: rapid.IntRange(1, 6).Draw(m.t, "room")}
	m.fs.Readdir(&m.r, dir.id, o.Handle, 0, &l)
	for i, e := range l.entries {
		if e.Node != 0 {
			m.got(dir.children[l.names[i]], place{dir, l.names[i]}, &e)
		}
	}
	if errno := m.fs.Releasedir(&m.r, dir.id, o.Handle); errno != 0 {
		m.t.Fatalf("releasedir: %v", errno)
	}
}

// forget forgets one that no known name is in, some of its references or all.
func (m *model) forget() {
	o := m.draw("forget", func(o *object) bool {
		return o != m.root && !slices.ContainsFunc(m.all, func(child *object) bool {
			inside := func(p place) bool { return p.parent == o }
			return child.refs != 0 && (slices.ContainsFunc(child.known, inside) || len(child.known) == 0 && inside(child.last))
		})
	})
	if o == nil {
		return
	}
	n := rapid.SampledFrom([]uint64{1, o.refs, o.refs + 5}).Draw(m.t, "references")
	m.fs.Forget(o.id, n)
	o.refs -= min(n, o.refs)
	if o.refs == 0 {
		o.known = nil
	}
}
