package hermit

import (
	"path"
	"slices"
)

// Mapped is a path of the guest at which there is something of the host.
type Mapped struct {
	Path string
	// Dir: it is a directory. Everything else is a file.
	Dir bool
}

// MountList returns the directories that the guest is told to mount: mapped
// directories themselves, and of mapped files the directories that they are in. They
// come sorted, so that parents come before what is in them, and each once.
//
// Kernels from 0.12 on mount each of them and make the directories above. There is
// nothing to mount at the root, which is the kernel's own: a file that is mapped right
// below cannot be reached there. Without any directory kernels mount /root, as those
// before 0.12 always do.
func MountList(mapped []Mapped) []string {
	var list []string
	for _, m := range mapped {
		p := path.Clean("/" + m.Path)
		if !m.Dir {
			p = path.Dir(p)
		}
		if p != "/" {
			list = append(list, p)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
