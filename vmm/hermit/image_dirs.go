package hermit

import (
	"archive/tar"
	"errors"
	"io"
	"path"
	"slices"
)

// maxDirs bounds the paths that a guest is told to mount, in bytes; a device tree has no
// room for more.
const maxDirs = 1 << 20

// imageDirs lists the directories of an image that have files in them.
func imageDirs(r io.ReaderAt, size int64, o ImageOptions) ([]string, error) {
	in, err := unpack(r, size, o.MaxUnpacked)
	if err != nil {
		return nil, err
	}
	var list []string
	seen := map[string]bool{}
	bytes := 0
	for t := tar.NewReader(in); ; {
		h, err := t.Next()
		if err == io.EOF {
			slices.Sort(list)
			return list, nil
		}
		if err != nil {
			return nil, imageError(err)
		}
		dir := path.Dir(path.Clean("/" + h.Name))
		if h.Typeflag == tar.TypeDir || seen[dir] {
			continue
		}
		if bytes += len(dir) + 1; bytes > maxDirs {
			return nil, errors.New("the image has too many directories: pass its files in internal mode")
		}
		seen[dir] = true
		list = append(list, dir)
	}
}
