package scratch

import (
	"io"
	"log/slog"
	"math/bits"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// reporter is the part of testing.TB that checks need; *rapid.T has it too.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// checkSound looks at all that a space is made of while nobody uses it: whatever
// guests did, each page has one owner, what is counted is what there is, and what no
// file has takes no memory.
func checkSound(t reporter, fs *FS) {
	t.Helper()
	c := checker{t: t, fs: fs, owner: map[uint32]place{}, names: map[*node]uint32{}, dirs: map[*node]uint32{}}
	c.walk(fs.root)
	for _, chunk := range *fs.nodes.chunks.Load() {
		for i := range chunk {
			if n := chunk[i].node.Load(); n != nil {
				c.node(n)
			}
		}
	}
	if got := fs.nodes.inUse(); got != c.nodes {
		t.Errorf("%d nodes are counted, and there are %d", got, c.nodes)
	}
	if got := fs.live.Load(); got != c.live {
		t.Errorf("%d nodes are counted as known to the guest, and there are %d", got, c.live)
	}
	if got := fs.meta.Load(); got != c.meta {
		t.Errorf("%d bytes of metadata are counted, and there are %d", got, c.meta)
	}
	c.store()
}

type checker struct {
	t     reporter
	fs    *FS
	owner map[uint32]place
	names map[*node]uint32 // how many names a node has
	dirs  map[*node]uint32 // how many directories are in one
	nodes uint32
	live  int64
	meta  uint64
}

func (c *checker) walk(n *node) {
	d := n.dir
	holes := 0
	last := uint64(0)
	for _, e := range d.order {
		if e.seq <= last || e.seq >= d.next {
			c.t.Errorf("position %d follows %d, and the next is %d", e.seq, last, d.next)
		}
		last = e.seq
		if e.node == nil {
			holes++
			continue
		}
		if d.byName[e.name] != e {
			c.t.Errorf("%q is listed and not found", e.name)
		}
		c.names[e.node]++
		c.meta += uint64(entryCost + len(e.name))
		if e.node.isDir() {
			c.dirs[n]++
			if e.node.dir.parent != n {
				c.t.Errorf("%q has another parent", e.name)
			}
			c.walk(e.node)
		}
	}
	if holes != d.holes || len(d.order)-holes != len(d.byName) {
		c.t.Errorf("a directory of %d names has %d positions, %d of them holes, and counts %d", len(d.byName), len(d.order), holes, d.holes)
	}
	if n.size != uint64(len(d.byName))*direntSize {
		c.t.Errorf("a directory of %d names has size %d", len(d.byName), n.size)
	}
}

func (c *checker) node(n *node) {
	c.nodes++
	c.meta += n.cost()
	names := 0
	for i := range n.xattrs {
		c.meta += n.xattrs[i].cost()
		names += len(n.xattrs[i].name) + 1
	}
	if names != n.xattrNames {
		c.t.Errorf("the names of attributes have %d bytes, %d are counted", names, n.xattrNames)
	}
	want := c.names[n]
	if n == c.fs.root {
		want = 1
	}
	if n.isDir() && want != 0 {
		want += 1 + c.dirs[n]
	}
	if n.nlink != want {
		c.t.Errorf("node %d has nlink %d, want %d", n.id, n.nlink, want)
	}
	if n.refs.Load() != 0 {
		c.live++
	}
	if n.nlink == 0 && n.opens == 0 && n.refs.Load() == 0 || n.dead.Load() {
		c.t.Errorf("node %d is still there, and nothing leads to it", n.id)
	}
	pages := uint64(0)
	for i, l := range n.table.leaves {
		if i > 0 && l.index <= n.table.leaves[i-1].index {
			c.t.Errorf("leaves out of order")
		}
		c.meta += leafCost
		used := 0
		for j, p := range l.pages {
			if p == 0 {
				continue
			}
			used++
			if _, taken := c.owner[p.page()]; taken {
				c.t.Errorf("page %d has two owners", p.page())
			}
			c.owner[p.page()] = p
			if page := l.index<<leafShift + uint64(j); p.written() && page >= pagesOf(n.size) {
				c.t.Errorf("page %d of a file of %d bytes is written", page, n.size)
			}
		}
		if used != l.used || used == 0 {
			c.t.Errorf("a leaf of %d pages counts %d", used, l.used)
		}
		pages += uint64(used)
	}
	if pages != n.table.pages || pages != n.pages {
		c.t.Errorf("a file of %d pages counts %d and shows %d", pages, n.table.pages, n.pages)
	}
	if p := n.table.get(n.size >> pageShift); n.size&pageMask != 0 && p.written() {
		tail := make([]byte, pageSize-n.size&pageMask)
		unix.Pread(c.fs.store.fd, tail, int64(uint64(p.page())<<pageShift+n.size&pageMask))
		for i, b := range tail {
			if b != 0 {
				c.t.Errorf("byte %d behind the end of a file is %#x", i, b)
				break
			}
		}
	}
}

func (c *checker) store() {
	s := &c.fs.store
	if s.used != uint32(len(c.owner)) || s.used > s.limit {
		c.t.Errorf("%d pages of %d are counted, and files have %d", s.used, s.limit, len(c.owner))
	}
	set, empty := 0, uint32(0)
	for w, v := range s.bits.words {
		set += bits.OnesCount64(v)
		full, busy := s.bits.full[w/64]>>(w%64)&1 != 0, s.bits.busy[w/64]>>(w%64)&1 != 0
		if full != (v == ^uint64(0)) || busy != (v != 0) {
			c.t.Errorf("word %d is %#x, and the summaries say full %v, busy %v", w, v, full, busy)
		}
		if v == 0 {
			empty++
		}
	}
	if set != len(c.owner) || empty != s.bits.empty {
		c.t.Errorf("the bitmap has %d pages, want %d; %d words are empty, it says %d", set, len(c.owner), empty, s.bits.empty)
	}
	for p := range c.owner {
		if s.bits.words[p/64]>>(p%64)&1 == 0 {
			c.t.Errorf("page %d has an owner and is free", p)
		}
	}
	// What has memory is what was written.
	for off := int64(0); ; {
		from, errno := oslib.Lseek(s.fd, off, unix.SEEK_DATA)
		if errno == syscall.ENXIO {
			break
		}
		off, _ = oslib.Lseek(s.fd, from, unix.SEEK_HOLE)
		for at := from; at < off; at += pageSize {
			if p := c.owner[uint32(at>>pageShift)]; !p.written() {
				c.t.Errorf("page %d of the data file has data, and its owner says %#x", at>>pageShift, p)
				return
			}
		}
	}
}

// newSpace makes a space that is checked at the end of the test.
func newSpace(t testing.TB, o Options) *FS {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	fs, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			checkSound(t, fs)
		}
		if err := fs.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, errno := fs.Init(^vfs.Features(0)); errno != 0 {
		t.Fatal(errno)
	}
	return fs
}

var root = &vfs.Request{}

func name(s string) vfs.Name {
	n, errno := vfs.MakeName(s)
	if errno != 0 {
		panic(errno)
	}
	return n
}

// open is an open file of a test.
type open struct {
	t  reporter
	fs *FS
	id vfs.NodeID
	h  vfs.Handle
}

func create(t reporter, fs *FS, s string) *open {
	t.Helper()
	var e vfs.Entry
	var o vfs.Opened
	if errno := fs.Create(root, vfs.Root, name(s), unix.O_RDWR, 0o644, &e, &o); errno != 0 {
		t.Fatalf("Create %s: %v", s, errno)
	}
	return &open{t, fs, e.Node, o.Handle}
}

// close closes the file and forgets the node.
func (f *open) close() {
	f.t.Helper()
	if errno := f.fs.Release(root, f.id, f.h, nil); errno != 0 {
		f.t.Errorf("Release: %v", errno)
	}
	f.fs.Forget(f.id, 1)
}

func (f *open) pwrite(b []byte, off uint64) (int, syscall.Errno) {
	return f.fs.Write(root, f.id, f.h, []unix.Iovec{oslib.Iov(b)}, off, unix.O_RDWR, 0)
}

func (f *open) pread(b []byte, off uint64) (int, syscall.Errno) {
	return f.fs.Read(root, f.id, f.h, []unix.Iovec{oslib.Iov(b)}, off, unix.O_RDWR)
}

func (f *open) attr() vfs.Attr {
	f.t.Helper()
	var a vfs.AttrOut
	if errno := f.fs.Getattr(root, f.id, f.h, &a); errno != 0 {
		f.t.Fatalf("Getattr: %v", errno)
	}
	return a.Attr
}

func (f *open) setattr(s vfs.SetAttr) syscall.Errno {
	return f.fs.Setattr(root, f.id, f.h, &s, &vfs.AttrOut{})
}

func (f *open) truncate(size uint64) syscall.Errno {
	return f.setattr(vfs.SetAttr{Valid: vfs.SetSize, Size: size})
}

func (f *open) fallocate(mode uint32, off, n uint64) syscall.Errno {
	return f.fs.Fallocate(root, f.id, f.h, off, n, mode)
}

// contents reads all of the file.
func (f *open) contents() []byte {
	f.t.Helper()
	b := make([]byte, f.attr().Size+1)
	n, errno := f.pread(b, 0)
	if errno != 0 {
		f.t.Fatalf("Read: %v", errno)
	}
	return b[:n]
}

// onHost is how much memory the host has given to the data file, in pages.
func (fs *FS) onHost(t reporter) uint64 {
	t.Helper()
	var st unix.Stat_t
	if errno := oslib.Fstat(fs.store.fd, &st); errno != 0 {
		t.Fatalf("fstat: %v", errno)
	}
	return uint64(st.Blocks) / sectors
}
