package tree

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// TestProperty compares random trees of mounts with the same trees made of mounts of
// the host, in a mount namespace of its own: random operations give the same errors,
// and then all names, types and contents are the same, and so is which directories
// share a device number.
func TestProperty(t *testing.T) {
	// What failed is printed in full, and with the seed that finds it again.
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		t.Fatal(err)
	}
	ref := newReference(t)
	rapid.Check(t, func(rt *rapid.T) {
		p := &propertyRun{t: t, rt: rt, ref: ref, fs: newTree(t), mounts: map[string]*refMount{}}
		defer p.end()
		p.makeMounts()
		for range rapid.IntRange(1, 40).Draw(rt, "operations") {
			p.operation()
		}
		p.compare()
	})
}

// refMount is one mount on both sides.
type refMount struct {
	path string
	file bool
	got  vfs.FileSystem
}

type propertyRun struct {
	t      *testing.T
	rt     *rapid.T
	ref    *reference
	fs     *FS
	top    string // the root of the reference
	mounts map[string]*refMount
	closes []func()
}

// must runs a step of the reference that has to succeed.
func (p *propertyRun) must(what string, f func() error) {
	if errno := p.ref.do(f); errno != 0 {
		p.rt.Fatalf("%s: %v", what, errno)
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

// makeMounts mounts up to 5 file systems, the tree's in the order in which they are
// drawn and the reference's from the top down.
func (p *propertyRun) makeMounts() {
	p.ref.made++
	p.top = filepath.Join(p.ref.dir, fmt.Sprintf("top-%d", p.ref.made))
	if err := os.Mkdir(p.top, 0o755); err != nil {
		p.rt.Fatal(err)
	}
	files := map[string][]string{}
	var order []string
	if rapid.Bool().Draw(p.rt, "mount at /") {
		order = append(order, "/")
	}
	for range rapid.IntRange(1, 5).Draw(p.rt, "mounts") {
		if m := p.drawPath("mount"); !slices.Contains(order, m) {
			order = append(order, m)
		}
	}
	for _, m := range order {
		c := rapid.SampledFrom(contents).Draw(p.rt, "content")
		dir := tempDir(p.t, "/dev/shm", c...)
		p.closes = append(p.closes, func() { os.RemoveAll(dir) })
		rm := &refMount{path: m}
		if m != "/" && !p.hasInside(order, m) && rapid.IntRange(0, 4).Draw(p.rt, "file") == 0 {
			rm.file = true
			dir = filepath.Join(dir, "one")
			if err := os.WriteFile(dir, []byte("one"), 0o644); err != nil {
				p.rt.Fatal(err)
			}
		}
		child := plain(p.t, dir)
		p.closes = append(p.closes, func() { child.Close() })
		rm.got = child
		if err := p.fs.Mount(m, child); err != nil {
			// Something is in the way, which it is on the host too.
			continue
		}
		p.mounts[m], files[m] = rm, c
	}
	if _, errno := p.fs.Init(everything); errno != 0 {
		p.rt.Fatal(errno)
	}
	if p.mounts["/"] == nil {
		p.must("root", func() error { return p.makeIsland(p.top) })
	}
	for _, m := range slices.Sorted(maps.Keys(p.mounts)) {
		p.must("mount "+m, func() error { return p.refMount(p.mounts[m], files[m]) })
	}
	p.must("close the islands", func() error { return p.islands(unix.MS_RDONLY) })
	for m := range p.mounts {
		if p.mounts[m].file != p.isFile(m) {
			p.rt.Fatalf("%s is not what was mounted", m)
		}
	}
}

func (p *propertyRun) hasInside(list []string, m string) bool {
	return slices.ContainsFunc(list, func(o string) bool { return strings.HasPrefix(o, m+"/") })
}

func (p *propertyRun) isFile(m string) bool {
	if m == "/" {
		return false
	}
	e, errno := find(p.fs, m)
	if errno == 0 {
		p.fs.Forget(e.Node, 1)
	}
	return errno == 0 && e.Attr.Mode&unix.S_IFMT == unix.S_IFREG
}

func (p *propertyRun) end() {
	p.ref.do(func() error {
		for unix.Unmount(p.top, unix.MNT_DETACH) == nil {
		}
		return nil
	})
	os.RemoveAll(p.top)
	os.RemoveAll(p.top + "-files")
	for _, c := range slices.Backward(p.closes) {
		c()
	}
}

// operation makes a random operation on both sides.
func (p *propertyRun) operation() {
	a := p.drawPath("path")
	op := rapid.SampledFrom(propertyOps).Draw(p.rt, "operation")
	var b string
	if op.two {
		b = p.drawPath("other path")
	}
	got := op.got(p.fs, a, b)
	want := p.ref.do(func() error { return op.want(p.top+a, p.top+b) })
	// Of names one of which is above the other, a guest's kernel says so itself.
	above := op.two && (strings.HasPrefix(a, b+"/") || strings.HasPrefix(b, a+"/"))
	if above && got != 0 && (want == syscall.EINVAL || want == syscall.ENOTEMPTY) {
		return
	}
	if got != want {
		p.rt.Fatalf("%s %s %s: %v, on the host %v\nmounts: %v", op.name, a, b, got, want, slices.Sorted(maps.Keys(p.mounts)))
	}
}

// onName runs a call with a directory and a name in it.
func onName(fs *FS, p string, call func(dir vfs.NodeID, n vfs.Name) syscall.Errno) syscall.Errno {
	dir := vfs.Root
	if up := path.Dir(p); up != "/" {
		e, errno := find(fs, up)
		if errno != 0 {
			return errno
		}
		defer fs.Forget(e.Node, 1)
		if e.Attr.Mode&unix.S_IFMT != unix.S_IFDIR {
			return syscall.ENOTDIR
		}
		dir = e.Node
	}
	return call(dir, name(path.Base(p)))
}

// making gives the reference of what was made back.
func making(fs *FS, errno syscall.Errno, e *vfs.Entry) syscall.Errno {
	if errno == 0 {
		fs.Forget(e.Node, 1)
	}
	return errno
}

func (o propertyOp) String() string { return o.name }

type propertyOp struct {
	name string
	two  bool
	got  func(fs *FS, a, b string) syscall.Errno
	want func(a, b string) error
}

func renameOp(name string, flags uint32) propertyOp {
	return propertyOp{name, true, func(fs *FS, a, b string) syscall.Errno {
		return onName(fs, a, func(od vfs.NodeID, on vfs.Name) syscall.Errno {
			return onName(fs, b, func(nd vfs.NodeID, nn vfs.Name) syscall.Errno {
				return fs.Rename(&root, od, on, nd, nn, flags)
			})
		})
	}, func(a, b string) error {
		return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, uint(flags))
	}}
}

var propertyOps = []propertyOp{
	{"mkdir", false, func(fs *FS, a, _ string) syscall.Errno {
		var e vfs.Entry
		return onName(fs, a, func(d vfs.NodeID, n vfs.Name) syscall.Errno {
			return making(fs, fs.Mkdir(&root, d, n, 0o755, &e), &e)
		})
	}, func(a, _ string) error { return unix.Mkdir(a, 0o755) }},
	{"mknod", false, func(fs *FS, a, _ string) syscall.Errno {
		var e vfs.Entry
		return onName(fs, a, func(d vfs.NodeID, n vfs.Name) syscall.Errno {
			return making(fs, fs.Mknod(&root, d, n, unix.S_IFREG|0o644, 0, &e), &e)
		})
	}, func(a, _ string) error { return unix.Mknod(a, unix.S_IFREG|0o644, 0) }},
	{"rmdir", false, func(fs *FS, a, _ string) syscall.Errno {
		return onName(fs, a, func(d vfs.NodeID, n vfs.Name) syscall.Errno { return fs.Rmdir(&root, d, n) })
	}, func(a, _ string) error { return unix.Rmdir(a) }},
	{"unlink", false, func(fs *FS, a, _ string) syscall.Errno {
		return onName(fs, a, func(d vfs.NodeID, n vfs.Name) syscall.Errno { return fs.Unlink(&root, d, n) })
	}, func(a, _ string) error { return unix.Unlink(a) }},
	{"link", true, func(fs *FS, a, b string) syscall.Errno {
		e, errno := find(fs, a)
		if errno != 0 {
			return errno
		}
		defer fs.Forget(e.Node, 1)
		return onName(fs, b, func(d vfs.NodeID, n vfs.Name) syscall.Errno {
			var made vfs.Entry
			return making(fs, fs.Link(&root, e.Node, d, n, &made), &made)
		})
	}, func(a, b string) error { return unix.Link(a, b) }},
	renameOp("rename", 0),
	renameOp("rename without replacing", unix.RENAME_NOREPLACE),
	renameOp("exchange", unix.RENAME_EXCHANGE),
	{"chmod", false, func(fs *FS, a, _ string) syscall.Errno {
		e, errno := find(fs, a)
		if errno != 0 {
			return errno
		}
		defer fs.Forget(e.Node, 1)
		return fs.Setattr(&root, e.Node, vfs.NoHandle, &vfs.SetAttr{Valid: vfs.SetMode, Mode: 0o700}, &vfs.AttrOut{})
	}, func(a, _ string) error { return unix.Chmod(a, 0o700) }},
}

// seen is what one side shows of a path.
type seen struct {
	typ     uint32
	content string // of a file, or the names in a directory
}

// compare walks both sides and compares what is there, and which directories are
// on one device.
func (p *propertyRun) compare() {
	got, want := map[string]seen{}, map[string]seen{}
	gotDev, wantDev := map[string]uint64{}, map[string]uint64{}
	p.walkGot("/", vfs.Root, uint64(vfs.Root), got, gotDev)
	p.must("walk", func() error { return p.walkWant("/", want, wantDev) })
	if !maps.Equal(got, want) {
		p.rt.Fatalf("the tree has\n%v\nand the host\n%v", got, want)
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
func (p *propertyRun) walkGot(at string, node vfs.NodeID, dev uint64, all map[string]seen, devs map[string]uint64) {
	var list []string
	for _, x := range readdir(p.t, p.fs, node, 0, 3, len(at)%2 == 0) {
		list = append(list, x.name)
		e, errno := vfs.Entry{}, syscall.Errno(0)
		if errno = p.fs.Lookup(&root, node, name(x.name), &e); errno != 0 || e.Attr.Mode&unix.S_IFMT != x.typ {
			p.rt.Fatalf("%s in %s is listed with type %#o, and is %#o, %v", x.name, at, x.typ, e.Attr.Mode, errno)
		}
		full := path.Join(at, x.name)
		if x.typ == unix.S_IFDIR {
			d := dev
			if e.Attr.Flags&vfs.AttrSubmount != 0 {
				d = uint64(e.Node)
			}
			p.walkGot(full, e.Node, d, all, devs)
		} else {
			all[full] = seen{x.typ, p.read(e.Node)}
		}
		p.fs.Forget(e.Node, 1)
	}
	slices.Sort(list)
	all[at], devs[at] = seen{unix.S_IFDIR, strings.Join(list, " ")}, dev
}

func (p *propertyRun) read(node vfs.NodeID) string {
	var o vfs.Opened
	if errno := p.fs.Open(&root, node, unix.O_RDONLY, false, &o); errno != 0 {
		p.rt.Fatal(errno)
	}
	defer p.fs.Release(&root, node, o.Handle, &vfs.ReleaseIn{})
	buf := make([]byte, 100)
	n, errno := p.fs.Read(&root, node, o.Handle, []unix.Iovec{oslib.Iov(buf)}, 0, 0)
	if errno != 0 {
		p.rt.Fatal(errno)
	}
	return string(buf[:n])
}

func (p *propertyRun) walkWant(at string, all map[string]seen, devs map[string]uint64) error {
	full := p.top + at
	entries, err := os.ReadDir(full)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(full, &st); err != nil {
		return err
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
		sub := path.Join(at, e.Name())
		if e.IsDir() {
			err = p.walkWant(sub, all, devs)
		} else {
			var data []byte
			data, err = os.ReadFile(p.top + sub)
			all[sub] = seen{unix.S_IFREG, string(data)}
		}
		if err != nil {
			return err
		}
	}
	all[at], devs[at] = seen{unix.S_IFDIR, strings.Join(list, " ")}, st.Dev
	return nil
}
