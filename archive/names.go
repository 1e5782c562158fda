package archive

import (
	"bytes"
	"iter"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// cleanPath checks the path of an entry, or of what a hard link leads to, and
// returns it without the "./" in front and the slash behind that tar(1) writes,
// the latter of directories only. The root directory is the empty path.
func cleanPath(name []byte, dir, needUTF8 bool) ([]byte, error) {
	path := bytes.TrimPrefix(name, []byte("./"))
	if dir {
		if string(name) == "." || string(name) == "./" {
			return nil, nil
		}
		path = bytes.TrimSuffix(path, []byte{'/'})
	}
	if len(path) >= unix.PathMax {
		return nil, refuse(ErrName, "it is %d bytes long", len(path))
	}
	for rest, more := path, true; more; {
		var part []byte
		part, rest, more = bytes.Cut(rest, []byte{'/'})
		switch {
		case len(part) == 0, string(part) == ".", string(part) == "..", bytes.IndexByte(part, 0) >= 0:
			return nil, refuse(ErrName, "it has the component %q", brief(part))
		case len(part) > vfs.MaxName:
			return nil, refuse(ErrName, "a component is %d bytes long", len(part))
		}
	}
	if needUTF8 && !utf8.Valid(path) {
		return nil, &Error{Kind: ErrNotUTF8}
	}
	return path, nil
}

// components returns the components of a clean path: none of the root's.
func components(path []byte) iter.Seq[[]byte] {
	if len(path) == 0 {
		return func(func([]byte) bool) {}
	}
	return bytes.SplitSeq(path, []byte{'/'})
}

// splitPath cuts a clean path before its last component.
func splitPath(path []byte) (dir, last []byte) {
	i := bytes.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}
