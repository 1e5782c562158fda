package archive

import (
	"encoding/binary"
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// xattrs walks over a list of attributes that [appendXattrs] wrote.
type xattrs struct {
	text []byte
	left int
}

func (x *index) xattrsOf(n *node) xattrs {
	if n.xattrs == 0 {
		return xattrs{}
	}
	text := x.text[n.xattrs:]
	return xattrs{text[2:], int(binary.LittleEndian.Uint16(text))}
}

// next returns the next attribute, its name with the NUL.
func (l *xattrs) next() (cname, value []byte, ok bool) {
	if l.left == 0 {
		return nil, nil, false
	}
	l.left--
	end := 1 + int(l.text[0]) + 1
	cname = l.text[1:end]
	size := int(binary.LittleEndian.Uint32(l.text[end:]))
	value = l.text[end+4 : end+4+size]
	l.text = l.text[end+4+size:]
	return cname, value, true
}

// Getxattr implements [vfs.FileSystem].
func (fs *FS) Getxattr(_ *vfs.Request, id vfs.NodeID, name, buf []byte) (int, syscall.Errno) {
	n, _, errno := fs.node(id)
	if errno != 0 {
		return 0, errno
	}
	list := fs.x.xattrsOf(n)
	for cname, value, ok := list.next(); ok; cname, value, ok = list.next() {
		switch {
		case string(cname) != string(name):
			continue
		case len(buf) == 0:
			return len(value), 0
		case len(buf) < len(value):
			return 0, syscall.ERANGE
		}
		return copy(buf, value), 0
	}
	return 0, syscall.ENODATA
}

// Listxattr implements [vfs.FileSystem].
func (fs *FS) Listxattr(_ *vfs.Request, id vfs.NodeID, buf []byte) (int, syscall.Errno) {
	n, _, errno := fs.node(id)
	if errno != 0 {
		return 0, errno
	}
	list := fs.x.xattrsOf(n)
	total := 0
	for cname, _, ok := list.next(); ok; cname, _, ok = list.next() {
		if len(buf) != 0 {
			if len(buf)-total < len(cname) {
				return 0, syscall.ERANGE
			}
			copy(buf[total:], cname)
		}
		total += len(cname)
	}
	return total, 0
}
