package tree

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Rename implements [vfs.FileSystem]. Where several errors would do, it gives that
// of Linux (do_renameat2, vfs_rename).
func (fs *FS) Rename(r *vfs.Request, oldParent vfs.NodeID, oldName vfs.Name, newParent vfs.NodeID, newName vfs.Name, flags uint32) syscall.Errno {
	m, from := fs.call(oldParent)
	if m == nil {
		return syscall.ESTALE
	}
	defer m.leave(from)
	p, to := fs.call(newParent)
	if p == nil {
		return syscall.ESTALE
	}
	defer p.leave(to)
	if m != p {
		return m.refuse(r, from, p.refuse(r, to, syscall.EXDEV))
	}
	if t := fs.table.Load(); t != nil && m.child != fs.synth {
		rn := renaming{fs: fs, m: m, t: t, r: r, same: from == to && string(oldName.Bytes()) == string(newName.Bytes()), flags: flags}
		if errno, decided := rn.check(from, oldName, to, newName); decided {
			return errno
		}
	}
	errno := m.child.Rename(r, from, oldName, to, newName, flags)
	if flags != 0 {
		errno = fs.instead(m, errno, syscall.EINVAL)
	}
	return errno
}

// renaming is a rename in a tree with mounts.
type renaming struct {
	fs    *FS
	m     *mount
	t     *table
	r     *vfs.Request
	same  bool // both names are one
	flags uint32
}

// end is one of the two names of a rename.
type end struct {
	mount bool // it is that of a mount or a synthetic directory, or hidden
	id    vfs.NodeID
	typ   uint32
	errno syscall.Errno // of looking for it
}

func (rn *renaming) end(parent vfs.NodeID, name vfs.Name) (e end) {
	a, errno := rn.fs.attached(rn.m.base|parent, name)
	switch {
	case errno != 0:
		e.errno = errno
	case a != nil && a.hidden:
		e.mount, e.errno = true, syscall.ENOENT
	case a != nil:
		e.mount, e.typ = true, a.typ
	default:
		e.id, e.typ, e.errno = rn.fs.find(rn.r, rn.m, parent, name)
	}
	return e
}

// check decides about a rename of mounts or over directories with mounts in them.
// All others are left to the file system.
func (rn *renaming) check(from vfs.NodeID, oldName vfs.Name, to vfs.NodeID, newName vfs.Name) (errno syscall.Errno, decided bool) {
	src, dst := rn.end(from, oldName), rn.end(to, newName)
	for _, e := range [...]end{src, dst} {
		if e.errno != 0 && e.errno != syscall.ENOENT {
			return e.errno, true
		}
	}
	replaces := dst.errno == 0 && rn.flags&unix.RENAME_EXCHANGE == 0
	// The mounts in a directory that another replaces would be gone. A file does
	// not replace a directory: of that, the file system knows the error.
	full := replaces && !rn.same && !dst.mount && rn.t.dir(rn.m.base|dst.id) != nil && src.errno == 0 && src.typ == unix.S_IFDIR
	if !src.mount && !dst.mount && !full {
		return 0, false
	}
	switch {
	case src.errno != 0:
		return src.errno, true
	case dst.errno == 0 && rn.flags&unix.RENAME_NOREPLACE != 0:
		return syscall.EEXIST, true
	case dst.errno != 0 && rn.flags&unix.RENAME_EXCHANGE != 0:
		return dst.errno, true
	case rn.same:
		return 0, true
	case replaces && src.typ == unix.S_IFDIR && dst.typ != unix.S_IFDIR:
		return syscall.ENOTDIR, true
	case replaces && src.typ != unix.S_IFDIR && dst.typ == unix.S_IFDIR:
		return syscall.EISDIR, true
	case src.mount || dst.mount:
		return syscall.EBUSY, true
	}
	return syscall.ENOTEMPTY, true
}
