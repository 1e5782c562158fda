package tree

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/isthmus-fs/isthmus/vfs"
)

// TestProperty compares random trees of mounts with the same trees made of mounts of
// the host, in a mount namespace of its own: tmpfs for directories, bind mounts for
// files, read-only mounts, overlayfs for overlays. Mounts come and go among random
// operations, which give the same errors and show the same. In the end all names,
// types, modes and contents are the same, and so is which directories share a device
// number.
func TestProperty(t *testing.T) {
	// What failed is printed in full, and with the seed that finds it again.
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		t.Fatal(err)
	}
	ref := newReference(t)
	rapid.Check(t, func(rt *rapid.T) {
		p := &propertyRun{t: t, rt: rt, ref: ref, fs: newTree(t), mounts: map[string]*refMount{}, readOnly: map[int]bool{}}
		defer p.end()
		p.makeMounts()
		for range rapid.IntRange(1, 40).Draw(rt, "operations") {
			p.step()
		}
		p.readOpen()
		p.compare()
	})
}

// refMount is one mount on both sides.
type refMount struct {
	kind
	path    string
	content []string
	id      int  // of the host's mount
	made    bool // its mount point was made for it
	stays   bool // it is not to be unmounted
	gone    bool
}

type propertyRun struct {
	t        *testing.T
	rt       *rapid.T
	ref      *reference
	fs       *FS
	top      string // the root of the reference
	mounts   map[string]*refMount
	readOnly map[int]bool // host mounts by id
	opened   []*openFile
	closes   []func()
}

// must runs a step of the reference that has to succeed.
func (p *propertyRun) must(what string, f func() error) {
	var err error
	if p.ref.do(func() error { err = f(); return nil }); err != nil {
		p.rt.Fatalf("%s: %v", what, err)
	}
}

// contents are what mounts hold at first.
var contents = [][]string{
	{},
	{"a/f", "b/", "c"},
	{"a/a/f", "a/b/", "b/c/f", "f"},
	{"b/a/", "b/b", "c/a/f", "c/b/c/"},
}

var propertyNames = []string{"a", "b", "c"}

func (p *propertyRun) drawPath(what string) string {
	depth := rapid.IntRange(1, 4).Draw(p.rt, what+" depth")
	s := ""
	for range depth {
		s += "/" + rapid.SampledFrom(propertyNames).Draw(p.rt, what)
	}
	return s
}

// drawNear draws a path, of a mount or next to it as often as not.
func (p *propertyRun) drawNear(what string) string {
	at := p.drawPath(what)
	if len(p.mounts) == 0 || rapid.Bool().Draw(p.rt, what+" anywhere") {
		return at
	}
	m := rapid.SampledFrom(slices.Sorted(maps.Keys(p.mounts))).Draw(p.rt, what+" near")
	switch near := rapid.IntRange(0, 3).Draw(p.rt, what+" is"); {
	case near == 0:
		return path.Join(m, path.Base(at))
	case near == 1 && path.Dir(m) != "/":
		return path.Dir(m)
	case m != "/":
		return m
	}
	return at
}

// drawMount makes a mount for a path on the tree's side.
func (p *propertyRun) drawMount(at string, files bool) *refMount {
	from := kinds
	if !files {
		from = kinds[:dirKinds]
	}
	return &refMount{
		kind:    rapid.SampledFrom(from).Draw(p.rt, "kind"),
		path:    at,
		content: rapid.SampledFrom(contents).Draw(p.rt, "content"),
	}
}

// makeMounts mounts up to 5 file systems, the tree's in the order in which they are
// drawn and the reference's from the top down.
func (p *propertyRun) makeMounts() {
	p.top = p.ref.fresh("top")
	if err := os.Mkdir(p.top, 0o755); err != nil {
		p.rt.Fatal(err)
	}
	var order []string
	if rapid.Bool().Draw(p.rt, "mount at /") {
		order = append(order, "/")
	}
	for range rapid.IntRange(1, 5).Draw(p.rt, "mounts") {
		if at := p.drawPath("mount"); !slices.Contains(order, at) {
			order = append(order, at)
		}
	}
	for _, at := range order {
		inside := slices.ContainsFunc(order, func(o string) bool { return strings.HasPrefix(o, at+"/") })
		m := p.drawMount(at, at != "/" && !inside)
		// Something may be in the way, which it is on the host too.
		if p.fs.Mount(at, m.make(p, m.content)) == nil {
			p.mounts[at] = m
		}
	}
	if _, errno := p.fs.Init(everything); errno != 0 {
		p.rt.Fatal(errno)
	}
	p.must("mounts", func() error {
		if p.mounts["/"] == nil {
			if err := makeIsland(p.top); err != nil {
				return err
			}
		}
		return p.writable(func() error {
			for _, at := range slices.Sorted(maps.Keys(p.mounts)) {
				if err := p.settle(p.mounts[at]); err != nil {
					return fmt.Errorf("%s: %w", at, err)
				}
			}
			return nil
		})
	})
}

// above returns the mount that a path lies in, or nil.
func (p *propertyRun) above(at string) (best *refMount) {
	for _, m := range p.mounts {
		if lies(at, m.path) && (best == nil || len(m.path) > len(best.path)) {
			best = m
		}
	}
	return best
}

func (p *propertyRun) end() {
	p.closeAll()
	p.ref.do(func() error {
		for {
			list, err := p.hostMounts()
			if err != nil || len(list) == 0 {
				return err
			}
			for _, h := range slices.Backward(list) {
				if err := unix.Unmount(h.at, unix.MNT_DETACH); err != nil {
					return err
				}
			}
		}
	})
	os.RemoveAll(p.top)
	for _, c := range slices.Backward(p.closes) {
		c()
	}
}

// step does something random on both sides.
func (p *propertyRun) step() {
	switch rapid.IntRange(0, 19).Draw(p.rt, "step") {
	case 0, 1:
		p.mount()
	case 2, 3:
		p.unmount()
	case 4:
		p.open()
	case 5:
		p.readOpen()
	default:
		p.operation()
	}
}

// mount adds a mount while the tree is in use. Those that its path is above are in it
// from then on.
func (p *propertyRun) mount() {
	at := p.drawPath("mount")
	if p.mounts[at] != nil || len(p.mounts) > 7 {
		return
	}
	var inside []*refMount
	for _, o := range p.mounts {
		// Those in mounts that are inside stay in these.
		if up := p.above(o.path); lies(o.path, at) && (up == nil || !lies(up.path, at)) {
			inside = append(inside, o)
		}
	}
	if p.tangled(at) {
		return
	}
	m := p.drawMount(at, len(inside) == 0)
	if len(inside) != 0 {
		m.content = nil // nothing of another type is in their place
	}
	if there := p.typeOf(at); there != 0 && (there == unix.S_IFDIR) == m.file || there == unix.S_IFLNK {
		return // a mount of the host does not cover what is of another type
	}
	if err := p.fs.Mount(at, m.make(p, m.content)); err != nil {
		// Something is in the way, or another mount was moved there.
		if !errors.Is(err, syscall.ENOTDIR) && !errors.Is(err, syscall.EBUSY) {
			p.rt.Fatal(err)
		}
		return
	}
	p.must("mount "+at, func() error {
		return p.writable(func() error {
			var back []func() error
			for _, in := range inside {
				b, err := p.shift(in)
				if err != nil {
					return err
				}
				back = append(back, b)
			}
			if err := p.settle(m); err != nil {
				return err
			}
			p.mounts[at] = m
			for _, b := range back {
				if err := b(); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// ownersPath returns the host's path of what the owner of mounts means by a path. It
// goes on from the mount above, wherever a guest has moved that.
func (p *propertyRun) ownersPath(at string) (string, error) {
	up := p.above(at)
	if up == nil {
		return p.top + at, nil
	}
	is, err := p.where(up)
	return is + "/" + strings.TrimPrefix(strings.TrimPrefix(at, up.path), "/"), err
}

// tangled tells whether a guest has moved mounts so that the host cannot do what the
// tree does with a new mount: move those into it that are inside by their paths, and
// no others, and still reach all.
func (p *propertyRun) tangled(at string) (is bool) {
	p.must("look for mounts in "+at, func() error {
		target, err := p.ownersPath(at)
		if err != nil {
			return err
		}
		for _, o := range p.mounts {
			was, err := p.where(o)
			if err != nil {
				return err
			}
			if lies(was, target) != lies(o.path, at) || lies(o.path, at) && was != target+strings.TrimPrefix(o.path, at) {
				is = true
			}
		}
		return nil
	})
	return is
}

// typeOf returns the type of what is at an owner's path, or 0 for nothing.
func (p *propertyRun) typeOf(at string) (typ uint32) {
	p.must("look at "+at, func() error {
		is, err := p.ownersPath(at)
		var st unix.Stat_t
		if err == nil && unix.Lstat(is, &st) == nil {
			typ = st.Mode & unix.S_IFMT
		}
		return err
	})
	return typ
}

// unmount takes a random mount away.
func (p *propertyRun) unmount() {
	at := rapid.SampledFrom(append(slices.Sorted(maps.Keys(p.mounts)), "/a")).Draw(p.rt, "unmount")
	m := p.mounts[at]
	if m != nil && m.stays {
		return
	}
	full := at == "/" || slices.ContainsFunc(slices.Collect(maps.Keys(p.mounts)), func(o string) bool { return lies(o, at) })
	err := p.fs.Unmount(at)
	if (err == nil) != (m != nil && !full) {
		p.rt.Fatalf("unmount %s: %v", at, err)
	}
	if err != nil {
		return
	}
	p.must("unmount "+at, func() error {
		return p.writable(func() error {
			was, err := p.where(m)
			if err != nil {
				return err
			}
			if err := unix.Unmount(was, unix.MNT_DETACH); err != nil {
				return err
			}
			delete(p.readOnly, m.id) // which another mount gets
			return p.clear(m, was)
		})
	})
	m.gone = true
	delete(p.mounts, at)
}

// operation makes a random operation on both sides.
func (p *propertyRun) operation() {
	a := p.drawNear("path")
	op := rapid.SampledFrom(propertyOps).Draw(p.rt, "operation")
	var b string
	if op.two {
		b = p.drawNear("other path")
	}
	got, errno := op.got(p.fs, a, b)
	var want string
	wantErrno := p.ref.do(func() (err error) {
		want, err = op.want(p.top+a, p.top+b)
		return err
	})
	// Of names one of which is above the other, a guest's kernel says so itself.
	if op.two && related(a, b) && errno != 0 && (wantErrno == syscall.EINVAL || wantErrno == syscall.ENOTEMPTY) {
		return
	}
	// The host refuses changes before it looks at names. Then any error will do, and
	// that a rename to the same name changes nothing.
	if wantErrno == syscall.EROFS && (errno != 0 || op.two && a == b) {
		return
	}
	if errno != wantErrno || errno == 0 && got != want {
		p.rt.Fatalf("%s %s %s: %q %v, on the host %q %v\nmounts: %v", op.name, a, b, got, errno, want, wantErrno, p.describe())
	}
}

func (p *propertyRun) describe() (s string) {
	for _, at := range slices.Sorted(maps.Keys(p.mounts)) {
		s += fmt.Sprintf("\n%s: %s %v", at, p.mounts[at].name, p.mounts[at].content)
	}
	return s
}

// seen is what one side shows of a path.
type seen struct {
	mode    uint32
	content string // of a file, the target of a link, or the names in a directory
}

// compare walks both sides and compares what is there, and which directories are
// on one device.
func (p *propertyRun) compare() {
	got, want := map[string]seen{}, map[string]seen{}
	gotDev, wantDev := map[string]uint64{}, map[string]uint64{}
	var top vfs.AttrOut
	if errno := p.fs.Getattr(&root, vfs.Root, vfs.NoHandle, &top); errno != 0 {
		p.rt.Fatal(errno)
	}
	p.walkGot("/", vfs.Root, top.Attr.Mode, uint64(vfs.Root), got, gotDev)
	p.must("walk", func() error { return p.walkWant("/", want, wantDev) })
	if !maps.Equal(got, want) {
		p.rt.Fatalf("the tree has\n%v\nand the host\n%v\nmounts: %s", got, want, p.describe())
	}
	there, back := map[uint64]uint64{}, map[uint64]uint64{}
	for path, g := range gotDev {
		w := wantDev[path]
		if there[g] == 0 && back[w] == 0 {
			there[g], back[w] = w, g
		}
		if there[g] != w || back[w] != g {
			p.rt.Fatalf("%s is on device %#x, on the host %#x: %v, %v", path, g, w, gotDev, wantDev)
		}
	}
}

// walkGot walks the tree as a guest does, which gives each submount a device.
func (p *propertyRun) walkGot(at string, node vfs.NodeID, mode uint32, dev uint64, all map[string]seen, devs map[string]uint64) {
	var list []string
	for _, x := range readdir(p.t, p.fs, node, 0, 1+len(at)%3, len(at)%2 == 0) {
		list = append(list, x.name)
		e, errno := vfs.Entry{}, syscall.Errno(0)
		if errno = p.fs.Lookup(&root, node, name(x.name), &e); errno != 0 || e.Attr.Mode&unix.S_IFMT != x.typ {
			p.rt.Fatalf("%s in %s is listed with type %#o, and is %#o, %v", x.name, at, x.typ, e.Attr.Mode, errno)
		}
		full := path.Join(at, x.name)
		switch x.typ {
		case unix.S_IFDIR:
			d := dev
			if e.Attr.Flags&vfs.AttrSubmount != 0 {
				d = uint64(e.Node)
			}
			p.walkGot(full, e.Node, e.Attr.Mode, d, all, devs)
		case unix.S_IFLNK:
			all[full] = seen{e.Attr.Mode, p.see("readlink", full)}
		default:
			all[full] = seen{e.Attr.Mode, p.see("read", full)}
		}
		p.fs.Forget(e.Node, 1)
	}
	slices.Sort(list)
	all[at], devs[at] = seen{mode, strings.Join(list, " ")}, dev
}

// see makes an operation on the tree that has to succeed.
func (p *propertyRun) see(op, at string) string {
	i := slices.IndexFunc(propertyOps, func(o propertyOp) bool { return o.name == op })
	s, errno := propertyOps[i].got(p.fs, at, "")
	if errno != 0 {
		p.rt.Fatalf("%s %s: %v", op, at, errno)
	}
	return s
}

func (p *propertyRun) walkWant(at string, all map[string]seen, devs map[string]uint64) error {
	full := p.top + at
	entries, err := os.ReadDir(full)
	if err != nil {
		return err
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
		sub := path.Join(at, e.Name())
		var st unix.Stat_t
		if err := unix.Lstat(p.top+sub, &st); err != nil {
			return err
		}
		var data []byte
		var target string
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			err = p.walkWant(sub, all, devs)
		case unix.S_IFLNK:
			target, err = os.Readlink(p.top + sub)
			all[sub] = seen{st.Mode, target}
		default:
			data, err = os.ReadFile(p.top + sub)
			all[sub] = seen{st.Mode, string(data)}
		}
		if err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(full, &st); err != nil {
		return err
	}
	all[at], devs[at] = seen{st.Mode, strings.Join(list, " ")}, st.Dev
	return nil
}
