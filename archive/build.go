package archive

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

const (
	// chunk is how much of a file is read at a time; whole pages.
	chunk = 256 << 10
	// progressEntries and progressBytes are how far apart reports are.
	progressEntries = 1024
	progressBytes   = 16 << 20
)

// builder makes an index and a store of an archive.
type builder struct {
	t     tarReader
	x     index
	store *store
	made  vfs.Timespec // mtime of directories that no entry mentions
	buf   []byte       // of a chunk

	entries      int
	bytes        uint64 // of file data in the archive
	logical      uint64 // sum of the sizes of files
	toldEntries  int
	toldBytes    uint64
	lastDir      []byte // path of the directory found last
	lastDirIndex uint32
}

// build reads an archive. at is how far it came.
func build(ctx context.Context, r io.Reader, made vfs.Timespec, o Options) (fs *FS, at place, err error) {
	s, err := newStream(ctx, r)
	if err != nil {
		return nil, place{}, err
	}
	defer s.close()
	b := &builder{t: tarReader{s: s, o: o}, made: made, buf: make([]byte, chunk)}
	if b.store, err = newStore(o.MaxBytes); err != nil {
		return nil, place{}, err
	}
	if err = b.run(); err != nil {
		b.store.close()
		return nil, b.t.at, err
	}
	b.x.pack()
	return newFS(b), b.t.at, nil
}

func (b *builder) run() error {
	b.x.init()
	b.newDir(0)
	var e entry
	for {
		ok, err := b.t.next(&e, b.buf)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		b.entries++
		if err := b.add(&e); err != nil {
			return err
		}
		if err := b.t.pad(e.packed); err != nil {
			return err
		}
		b.tell(false)
	}
	b.tell(true)
	if b.t.acls > 0 {
		b.t.o.Logger.Warn("the archive has access control lists, which are not shown", "entries", b.t.acls)
	}
	return b.store.seal()
}

// tell reports how far the reading has come, if there is enough to tell.
func (b *builder) tell(end bool) {
	if b.t.o.Progress == nil || !end && b.entries-b.toldEntries < progressEntries && b.bytes-b.toldBytes < progressBytes {
		return
	}
	b.toldEntries, b.toldBytes = b.entries, b.bytes
	b.t.o.Progress(b.entries, b.bytes)
}

// add takes in an entry, with its data.
func (b *builder) add(e *entry) error {
	path, err := cleanPath(e.name, e.typ == typeDir, b.t.o.RequireUTF8)
	if err != nil {
		return err
	}
	if e.typ == typeDir {
		return b.addDir(e, path)
	}
	dir, last := splitPath(path)
	parent, err := b.dir(dir)
	if err != nil {
		return err
	}
	if b.x.find(parent, last) != none {
		return &Error{Kind: ErrDuplicate}
	}
	if e.typ == typeHardLink {
		return b.addLink(e, parent, last)
	}
	n := uint32(len(b.x.nodes))
	b.x.nodes = append(b.x.nodes, node{nlink: 1})
	if err := b.addName(parent, last, n); err != nil {
		return err
	}
	if err := b.setAttrs(n, e); err != nil {
		return err
	}
	switch e.typ {
	case typeFile, typeSparse:
		return b.addData(n, e)
	case typeSymlink:
		return b.addTarget(n, e.link)
	case typeChar, typeBlock:
		b.x.nodes[n].other = e.rdev
	}
	return nil
}

// addName adds a name and counts it.
func (b *builder) addName(parent uint32, name []byte, n uint32) error {
	if len(b.x.dents) >= b.t.o.MaxEntries {
		return refuse(ErrLimit, "more than %d names", b.t.o.MaxEntries)
	}
	if err := b.t.addMetadata(len(name) + 1); err != nil {
		return err
	}
	b.x.addDent(parent, name, n)
	return nil
}

// newDir makes the node of a directory that no entry has mentioned yet.
func (b *builder) newDir(parent uint32) uint32 {
	n := node{mode: implied | unix.S_IFDIR | 0o755, nlink: 2, other: parent}
	n.setTimes(b.made, b.made, b.made)
	b.x.nodes = append(b.x.nodes, n)
	return uint32(len(b.x.nodes) - 1)
}

// dir finds a directory by its clean path, and makes what is missing of it.
func (b *builder) dir(path []byte) (uint32, error) {
	if string(path) == string(b.lastDir) {
		return b.lastDirIndex, nil
	}
	at := uint32(0)
	for part := range components(path) {
		next := b.x.find(at, part)
		if next == none {
			next = b.newDir(at)
			if err := b.addName(at, part, next); err != nil {
				return 0, err
			}
			b.x.nodes[at].nlink++
		} else if !b.x.nodes[next].isDir() {
			return 0, refuse(ErrParent, "%q is none", part)
		}
		at = next
	}
	b.lastDir, b.lastDirIndex = append(b.lastDir[:0], path...), at
	return at, nil
}

// addDir takes in a directory, which may be there already for the sake of what
// lies in it.
func (b *builder) addDir(e *entry, path []byte) error {
	dir, last := splitPath(path)
	if len(path) > 0 {
		parent, err := b.dir(dir)
		if err != nil {
			return err
		}
		if n := b.x.find(parent, last); n != none && !b.x.nodes[n].isDir() {
			return &Error{Kind: ErrDuplicate}
		}
	}
	n, err := b.dir(path)
	if err != nil {
		return err
	}
	if b.x.nodes[n].mode&implied == 0 {
		return &Error{Kind: ErrDuplicate}
	}
	return b.setAttrs(n, e)
}

func (b *builder) addLink(e *entry, parent uint32, name []byte) error {
	path, err := cleanPath(e.link, false, b.t.o.RequireUTF8)
	if err != nil {
		return err
	}
	n := uint32(0)
	for part := range components(path) {
		if n = b.x.find(n, part); n == none {
			return refuse(ErrLink, "%q", path)
		}
	}
	if b.x.nodes[n].isDir() {
		return refuse(ErrLink, "%q is a directory", path)
	}
	b.x.nodes[n].nlink++
	return b.addName(parent, name, n)
}

// setAttrs gives a node the attributes of an entry.
func (b *builder) setAttrs(n uint32, e *entry) error {
	at := &b.x.nodes[n]
	at.mode = fileTypes[e.typ] | e.mode
	if e.typ == typeSymlink {
		at.mode = unix.S_IFLNK | 0o777 // as Linux has them all
	}
	at.uid, at.gid = e.uid, e.gid
	at.setTimes(e.atime, e.mtime, e.ctime)
	if len(e.xattrs) == 0 {
		return nil
	}
	at.xattrs = uint32(len(b.x.text))
	size := 2
	for _, a := range e.xattrs {
		size += 1 + len(a.name) + 1 + 4 + len(a.value)
	}
	if err := b.t.addMetadata(size); err != nil {
		return err
	}
	b.x.text = appendXattrs(b.x.text, e.xattrs)
	return nil
}

// addTarget gives a symbolic link its target.
func (b *builder) addTarget(n uint32, target []byte) error {
	if len(target) == 0 || len(target) >= unix.PathMax || bytes.IndexByte(target, 0) >= 0 {
		return refuse(ErrCorrupt, "a symbolic link to %q, of %d bytes", brief(target), len(target))
	}
	if err := b.t.addMetadata(len(target)); err != nil {
		return err
	}
	at := &b.x.nodes[n]
	at.at, at.size = uint64(len(b.x.text)), uint64(len(target))
	b.x.text = append(b.x.text, target...)
	return nil
}

// addData reads the data of a file into the store.
func (b *builder) addData(n uint32, e *entry) error {
	o := &b.t.o
	if e.packed > o.MaxBytes-b.bytes {
		return refuse(ErrLimit, "its files hold more than %d bytes of data", o.MaxBytes)
	}
	if e.size > o.MaxLogical-b.logical {
		return refuse(ErrLimit, "its files are longer than %d bytes together", o.MaxLogical)
	}
	b.logical += e.size
	at := &b.x.nodes[n]
	at.size = e.size
	if e.size == 0 {
		return nil
	}
	if !e.sparse {
		e.segments = []segment{{0, e.size}}
	}
	if e.size < pageSize {
		room, where, err := b.store.addSmall(e.size)
		if err != nil {
			return err
		}
		at.at = where
		for _, s := range e.segments {
			if err := b.t.s.read(room[s.off : s.off+s.length]); err != nil {
				return err
			}
			b.bytes += s.length
		}
		return nil
	}
	at.at = b.store.reserve(e.size)
	w := fileWriter{store: b.store, at: at.at, last: noPage}
	for _, s := range e.segments {
		if err := b.copySegment(&w, s); err != nil {
			return err
		}
	}
	at.count = uint32(w.pages)
	return nil
}

// copySegment reads a part of a file in chunks that end with a page.
func (b *builder) copySegment(w *fileWriter, s segment) error {
	for s.length > 0 {
		p := b.buf[:min(chunk-s.off%pageSize, s.length)]
		if err := b.t.s.read(p); err != nil {
			return err
		}
		if err := w.write(s.off, p); err != nil {
			return err
		}
		s.off += uint64(len(p))
		s.length -= uint64(len(p))
		b.bytes += uint64(len(p))
		b.tell(false)
	}
	return nil
}

// appendXattrs appends a list of attributes: how many there are in 2 bytes, and
// for each the length of the name in 1, the name with a NUL, the length of the
// value in 4, and the value.
func appendXattrs(text []byte, list []xattr) []byte {
	text = binary.LittleEndian.AppendUint16(text, uint16(len(list)))
	for _, a := range list {
		text = append(text, byte(len(a.name)))
		text = append(append(text, a.name...), 0)
		text = binary.LittleEndian.AppendUint32(text, uint32(len(a.value)))
		text = append(text, a.value...)
	}
	return text
}
