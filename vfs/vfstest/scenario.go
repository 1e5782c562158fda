package vfstest

import (
	"fmt"
	"path"
	"reflect"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// scenario is a sequence of operations, made on both sides step by step in a
// directory of its own.
type scenario struct {
	name string
	ops  []op
}

// playOne makes the operations of a scenario, and then compares the trees.
func (s *suite) playOne(t *testing.T, ops []op, g guest) {
	st := s.newStage(t, g)
	defer st.done(t)
	r := newPair(t, st.got, st.want, s.Lacks)
	defer r.close()
	for _, o := range ops {
		r.step(o)
	}
	r.compare(st.back)
}

// pair runs two systems side by side.
type pair struct {
	t         reporter
	got, want *actor
	lacks     Lack
	steps     int
}

func newPair(t reporter, got, want system, lacks Lack) *pair {
	return &pair{t: t, got: newActor(got), want: newActor(want), lacks: lacks}
}

// step makes one operation on both sides and compares what comes of it.
func (r *pair) step(o op) {
	r.t.Helper()
	r.steps++
	if len(o.text) > 400 {
		o.text = o.text[:300] + "..." + o.text[len(o.text)-90:]
	}
	wantData, want := o.run(r.want)
	gotData, got := o.run(r.got)
	if !o.free && want != o.want {
		r.t.Fatalf("step %d, %v: the host answers %s, and the scenario is made for %s",
			r.steps, o, errnoName(want), errnoName(o.want))
	}
	if got != want {
		r.t.Errorf("step %d, %v:\n got %s\nwant %s", r.steps, o, errnoName(got), errnoName(want))
		return
	}
	if got == 0 && !reflect.DeepEqual(gotData, wantData) {
		r.t.Errorf("step %d, %v:\n got %+v\nwant %+v", r.steps, o, gotData, wantData)
	}
}

// close closes the files that are still open.
func (r *pair) close() {
	r.got.end()
	r.want.end()
}

// compare compares the trees as they are, with the files still open. back is
// the directory behind the first system, or nil.
func (r *pair) compare(back *host) {
	r.t.Helper()
	want := snapshot(r.t, r.want.system, r.lacks)
	compareTrees(r.t, "through the file system", snapshot(r.t, r.got.system, r.lacks), want)
	if back != nil {
		compareTrees(r.t, "in the directory behind it", snapshot(r.t, back, r.lacks), want)
	}
}

// leaf is what a tree has at one path.
type leaf struct {
	Attr   attr
	SameAs string // the first path that is the same file
	Data   string
	Xattr  map[string]string
}

// maxContent bounds what of a file a snapshot reads.
const maxContent = 16 << 20

// snapshot collects all that a system has.
func snapshot(t reporter, s system, lacks Lack) map[string]leaf {
	t.Helper()
	tree := map[string]leaf{}
	first := map[uint64]string{}
	var walk func(dir string)
	walk = func(dir string) {
		entries, errno := s.list(dir)
		if errno != 0 {
			t.Errorf("listing %q: %s", dir, errnoName(errno))
		}
		for _, e := range entries {
			p := path.Join(dir, e.name)
			l, errno := leafAt(s, p, lacks)
			if errno != 0 {
				t.Errorf("%q is listed, but: %s", p, errnoName(errno))
				continue
			}
			if e.typ != l.Attr.Mode&unix.S_IFMT {
				t.Errorf("%q is listed as type %#o and is %#o", p, e.typ, l.Attr.Mode)
			}
			if was, ok := first[l.Attr.ino]; ok {
				l.SameAs = was
			} else {
				first[l.Attr.ino] = p
			}
			l.Attr = l.Attr.plain()
			tree[p] = l
			if l.Attr.isType(unix.S_IFDIR) {
				walk(p)
			}
		}
	}
	walk("")
	return tree
}

// leafAt collects what there is at a path, the inode number included.
func leafAt(s system, p string, lacks Lack) (leaf, syscall.Errno) {
	var l leaf
	var errno syscall.Errno
	if l.Attr, errno = s.stat(p); errno != 0 {
		return l, errno
	}
	switch {
	case l.Attr.isType(unix.S_IFLNK):
		l.Data, errno = s.readlink(p)
	case l.Attr.isType(unix.S_IFREG) && l.Attr.Size <= maxContent:
		l.Data, errno = contents(s, p)
	}
	l.Data = brief(l.Data)
	if errno != 0 || lacks&NoXattr != 0 {
		return l, errno
	}
	names, _, errno := s.listxattr(p, 1<<16)
	if errno != 0 {
		return l, errno
	}
	l.Xattr = map[string]string{}
	for _, n := range names {
		v, _, errno := s.getxattr(p, n, 1<<16)
		if errno != 0 {
			return l, errno
		}
		l.Xattr[n] = brief(v)
	}
	return l, 0
}

// compareTrees reports the paths at which two snapshots differ.
func compareTrees(t reporter, where string, got, want map[string]leaf) {
	t.Helper()
	for p, w := range want {
		if g, ok := got[p]; !ok {
			t.Errorf("%q is missing %s", p, where)
		} else if !reflect.DeepEqual(g, w) {
			t.Errorf("%q %s:\n got %s\nwant %s", p, where, leafText(g), leafText(w))
		}
	}
	for p := range got {
		if _, ok := want[p]; !ok {
			t.Errorf("%q is %s and should not be", p, where)
		}
	}
}

func leafText(l leaf) string {
	return fmt.Sprintf("mode %#o nlink %d owner %d:%d rdev %#x size %d blksize %d same as %q data %s xattr %q",
		l.Attr.Mode, l.Attr.Nlink, l.Attr.UID, l.Attr.GID, l.Attr.Rdev, l.Attr.Size, l.Attr.Blksize, l.SameAs, l.Data, l.Xattr)
}
