package archive

import (
	"archive/tar"
	"bytes"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/isthmus-fs/isthmus/vfs"
)

// model is a random tree and the archive of it.
type model struct {
	t        *rapid.T
	tb       testing.TB
	want     map[string]*found
	first    map[string]string // the first name of what is no directory, by any
	explicit map[string]bool   // directories that have had their entry
	image    []byte
}

func (m *model) int(lo, hi int, what string) int { return rapid.IntRange(lo, hi).Draw(m.t, what) }

// path makes a path that is not there yet, in directories or what may become
// directories; ok is false if it hit on something else.
func (m *model) path() (string, bool) {
	parts := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d\xff", "e e", strings.Repeat("n", 200)}), 1, 4).Draw(m.t, "path")
	p := path.Join(parts...)
	for at := path.Dir(p); at != "."; at = path.Dir(at) {
		if f := m.want[at]; f != nil && f.attr.Mode&unix.S_IFMT != unix.S_IFDIR {
			return "", false
		}
	}
	return p, true
}

// parents adds the directories that p needs.
func (m *model) parents(p string) {
	at := path.Dir(p)
	if at == "." {
		at = ""
	}
	if m.want[at] == nil {
		m.parents(at)
		m.want[at] = &found{attr: vfs.Attr{Mode: unix.S_IFDIR | 0o755, Nlink: 2}}
		m.count(at)
	}
}

// count counts a directory among the links of its parent.
func (m *model) count(p string) {
	at := path.Dir(p)
	if at == "." {
		at = ""
	}
	m.want[at].attr.Nlink++
}

// add writes an entry, in a format that can hold it.
func (m *model) add(h tar.Header, data string) {
	h.Format = rapid.SampledFrom([]tar.Format{tar.FormatGNU, tar.FormatPAX}).Draw(m.t, "format")
	if h.PAXRecords != nil || h.ModTime.Nanosecond() != 0 {
		h.Format = tar.FormatPAX
	}
	if strings.Contains(h.Name+h.Linkname, "\xff") && h.PAXRecords == nil {
		h.Format = tar.FormatGNU
	}
	h.Name = "./" + strings.TrimPrefix(h.Name, "./")
	if len(h.Name) > 2 && m.int(0, 1, "prefix") == 0 {
		h.Name = h.Name[2:]
	}
	b := makeTar(m.tb, item{h, data})
	m.image = append(m.image, b[:len(b)-2*blockSize]...)
}

func (m *model) attrs(typ uint32, size int) *found {
	f := &found{attr: vfs.Attr{
		Mode: typ | uint32(m.int(0, 0o7777, "mode")), Nlink: 1, Size: uint64(size),
		UID: uint32(m.int(0, 1<<21-1, "uid")), GID: uint32(m.int(0, 1<<21-1, "gid")),
		Mtime: vfs.Timespec{Sec: int64(m.int(0, 1<<32, "time"))},
	}}
	if typ == unix.S_IFLNK {
		f.attr.Mode |= 0o777
		f.attr.Mode &^= 0o7000
	}
	return f
}

func (m *model) header(p string, typ byte, f *found) tar.Header {
	return tar.Header{
		Name: p, Typeflag: typ, Mode: int64(f.attr.Mode & 0o7777), Uid: int(f.attr.UID), Gid: int(f.attr.GID),
		ModTime: time.Unix(f.attr.Mtime.Sec, int64(f.attr.Mtime.Nsec)),
	}
}

// place puts a new object, that is no directory, at a path.
func (m *model) place(p string, f *found) {
	m.parents(p)
	m.want[p] = f
	m.first[p] = p
}

// step adds one entry, if it hits on one that is possible.
func (m *model) step() {
	p, ok := m.path()
	if !ok {
		return
	}
	if m.want[p] != nil {
		return
	}
	switch kind := rapid.SampledFrom([]string{"file", "dir", "symlink", "hard", "fifo", "device", "sparse"}).Draw(m.t, "kind"); kind {
	case "dir":
		d := m.attrs(unix.S_IFDIR, 0)
		d.attr.Nlink = 2
		m.parents(p)
		m.want[p] = d
		m.count(p)
		m.explicit[p] = true
		m.add(m.header(p+"/", tar.TypeDir, d), "")
	case "file":
		size := rapid.OneOf(rapid.IntRange(0, 100), rapid.IntRange(4000, 4200), rapid.IntRange(0, 300<<10)).Draw(m.t, "size")
		b := bytes.Repeat([]byte(fmt.Sprint(size, p)), size/2+1)[:size]
		if m.int(0, 1, "zeros") == 1 {
			from := m.int(0, size, "from")
			clear(b[from:m.int(from, size, "to")])
		}
		f := m.attrs(unix.S_IFREG, size)
		f.data = string(b)
		h := m.header(p, tar.TypeReg, f)
		if m.int(0, 3, "xattr") == 0 && !strings.Contains(p, "\xff") {
			f.xattrs = map[string]string{"user.x": string(b[:min(size, 50)])}
			h.PAXRecords = map[string]string{paxXattr + "user.x": f.xattrs["user.x"]}
		}
		m.place(p, f)
		m.add(h, f.data)
	case "symlink":
		target, _ := m.path()
		if target == "" {
			return
		}
		f := m.attrs(unix.S_IFLNK, len(target))
		f.data = target
		m.place(p, f)
		h := m.header(p, tar.TypeSymlink, f)
		h.Linkname = target
		m.add(h, "")
	case "hard":
		target, ok := m.path()
		if first := m.first[target]; ok && first != "" {
			f := m.want[first]
			m.parents(p)
			m.want[p], m.first[p] = f, first
			f.attr.Nlink++
			m.add(tar.Header{Name: p, Typeflag: tar.TypeLink, Linkname: target}, "")
		}
	case "fifo":
		f := m.attrs(unix.S_IFIFO, 0)
		m.place(p, f)
		m.add(m.header(p, tar.TypeFifo, f), "")
	case "device":
		f := m.attrs(unix.S_IFCHR, 0)
		major, minor := uint32(m.int(0, 4095, "major")), uint32(m.int(0, 1<<20-1, "minor"))
		f.attr.Rdev = vfs.MakeDev(major, minor)
		m.place(p, f)
		h := m.header(p, tar.TypeChar, f)
		h.Devmajor, h.Devminor = int64(major), int64(minor)
		m.add(h, "")
	case "sparse":
		m.sparse(p)
	}
}

// sparse adds a file with holes.
func (m *model) sparse(p string) {
	var list, data strings.Builder
	var whole []byte
	for i := range m.int(1, 6, "parts") {
		whole = append(whole, make([]byte, m.int(0, 3*pageSize, "hole"))...)
		n := m.int(0, 2*pageSize, "part")
		fmt.Fprintf(&list, ",%d,%d", len(whole), n)
		part := strings.Repeat(string(rune('A'+i)), n)
		data.WriteString(part)
		whole = append(whole, part...)
	}
	whole = append(whole, make([]byte, m.int(0, 3*pageSize, "tail"))...)
	f := &found{attr: vfs.Attr{Mode: unix.S_IFREG | 0o644, Nlink: 1, Size: uint64(len(whole))}, data: string(whole)}
	m.place(p, f)
	m.image = append(m.image, pax("path", p, "GNU.sparse.size", fmt.Sprint(len(whole)), "GNU.sparse.map", list.String()[1:])...)
	m.image = append(m.image, raw("x", '0', "", data.String())...)
}

// dirs has some of the directories follow that so far were only needed. They get
// attributes of their own then.
func (m *model) dirs() {
	for _, p := range slices.Sorted(maps.Keys(m.want)) {
		f := m.want[p]
		if f.attr.Mode&unix.S_IFMT != unix.S_IFDIR || m.explicit[p] || m.int(0, 1, "named") == 0 {
			continue
		}
		d := m.attrs(unix.S_IFDIR, 0)
		d.attr.Nlink = f.attr.Nlink
		m.want[p] = d
		m.add(m.header("./"+p, tar.TypeDir, d), "")
	}
}

// TestRandomTrees compares random archives with what went into them.
func TestRandomTrees(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{
			t: rt, tb: t, first: map[string]string{}, explicit: map[string]bool{},
			want: map[string]*found{"": {attr: vfs.Attr{Mode: unix.S_IFDIR | 0o755, Nlink: 2}}},
		}
		for range m.int(0, 40, "entries") {
			m.step()
		}
		m.dirs()
		image := append(m.image, make([]byte, 2*blockSize)...)
		switch m.int(0, 2, "packing") {
		case 1:
			image = gzipped(t, image)
		case 2:
			image = zstded(t, image)
		}
		fs, err := Read(t.Context(), bytes.NewReader(image), "test.tar", Options{})
		if err != nil {
			rt.Fatal(err)
		}
		defer closeFS(t, fs)
		got := walkAll(t, fs)
		for p, w := range m.want {
			g, ok := got[p]
			if !ok {
				rt.Errorf("%q is missing", p)
				continue
			}
			a := g.attr
			if a.Mode != w.attr.Mode || a.Nlink != w.attr.Nlink || a.UID != w.attr.UID || a.GID != w.attr.GID || a.Rdev != w.attr.Rdev ||
				a.Mtime != w.attr.Mtime || a.Mode&unix.S_IFMT != unix.S_IFDIR && a.Size != w.attr.Size {
				rt.Errorf("%q is %+v, want %+v", p, a, w.attr)
			}
			if g.data != w.data || fmt.Sprint(g.xattrs) != fmt.Sprint(w.xattrs) {
				rt.Errorf("%q has other data or attributes", p)
			}
			if first := m.first[p]; first != "" && got[first].attr.Ino != a.Ino {
				rt.Errorf("%q is not the same as %q", p, first)
			}
		}
		if len(got) != len(m.want) {
			rt.Errorf("there are %d objects, want %d", len(got), len(m.want))
		}
	})
}
