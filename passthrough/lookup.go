package passthrough

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// lookupMask is what a lookup asks statx(2) for: attributes and identity.
const lookupMask = unix.STATX_BASIC_STATS | unix.STATX_MNT_ID

// statFD is statx(2) of an open object, with all that a lookup needs.
func statFD(fd int, stx *unix.Statx_t) syscall.Errno {
	return oslib.Statx(fd, oslib.Empty, unix.AT_EMPTY_PATH, lookupMask, stx)
}

func stxDev(stx *unix.Statx_t) uint64 { return unix.Mkdev(stx.Dev_major, stx.Dev_minor) }

// keyOf makes the key of an object from its attributes. Kernels before 5.8 do
// not tell the mount id there; then it comes with the file handle, and where
// there is none, all mounts count as one. atFlags are those for
// name_to_handle_at.
func keyOf(dirfd int, name []byte, atFlags int, stx *unix.Statx_t) nodeKey {
	k := nodeKey{dev: stxDev(stx), ino: stx.Ino, mnt: stx.Mnt_id}
	if stx.Mask&unix.STATX_MNT_ID == 0 {
		k.mnt = 0
		var h oslib.FileHandle
		if id, errno := oslib.NameToHandle(dirfd, name, &h, atFlags); errno == 0 {
			k.mnt = uint64(id)
		}
	}
	return k
}

// Lookup implements [vfs.FileSystem].
func (fs *FS) Lookup(r *vfs.Request, parent vfs.NodeID, name vfs.Name, out *vfs.Entry) syscall.Errno {
	p, fd, errno := fs.pin(parent)
	if errno != 0 {
		return errno
	}
	errno = fs.lookupEntry(r, p, fd, name.CString(), out)
	p.unpin()
	if errno == syscall.ENOENT && fs.negativeTTL > 0 {
		*out = vfs.Entry{EntryTTL: fs.negativeTTL}
		return 0
	}
	return errno
}

// lookupEntry finds a name in a pinned directory, takes a reference to its node
// and fills out. name ends in a NUL. A name that is not there is ENOENT.
//
// A known object costs one statx. Any other is opened with O_PATH, which
// follows no link and opens no device, and from then on the descriptor says what
// it is: the name may have changed its meaning since.
func (fs *FS) lookupEntry(_ *vfs.Request, parent *node, parentFD int, name []byte, out *vfs.Entry) syscall.Errno {
	if !parent.isDir() {
		return syscall.ENOTDIR
	}
	since := fs.nodes.births.Load()
	var stx unix.Statx_t
	errno := oslib.Statx(parentFD, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, lookupMask, &stx)
	if errno != 0 {
		return errno
	}
	key := keyOf(parentFD, name, 0, &stx)
	n, unsure := fs.nodes.known(&key, since, nil)
	if unsure {
		var h oslib.FileHandle
		if _, errno := oslib.NameToHandle(parentFD, name, &h, 0); errno == 0 {
			n, _ = fs.nodes.known(&key, since, &h)
		}
	}
	if n == nil {
		fd, errno := openName(parentFD, name)
		if errno != 0 {
			return errno
		}
		if n, errno = fs.adopt(fd, true, &stx); errno != 0 {
			return errno
		}
	}
	fs.fillEntry(parent, n, &stx, out)
	return 0
}

// openName gets an O_PATH descriptor of what a name stands for.
func openName(dirfd int, name []byte) (int, syscall.Errno) {
	const flags = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	if oslib.HaveOpenat2() {
		return oslib.Openat2(dirfd, name, flags, 0, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
	}
	return oslib.Openat(dirfd, name, flags, 0)
}

// adopt finds or makes the node of the object behind an O_PATH descriptor,
// which it owns from then on, takes a reference to it and fills stx. Without
// byHandle, a new node is held by its descriptor even where others have handles.
func (fs *FS) adopt(fd int, byHandle bool, stx *unix.Statx_t) (*node, syscall.Errno) {
	n, errno := fs.makeNode(fd, byHandle, stx)
	if errno != 0 {
		oslib.Close(fd)
		return nil, errno
	}
	// The count of one user keeps the descriptor from being evicted between
	// the insertion and the entry into the cache.
	n.state.word.Store(uint64(fd+1) | stateUser | stateUsed)
	found := fs.nodes.insert(n)
	if found != n {
		n.kill()
	} else if n.mount != nil {
		fs.cache.add(n)
	}
	n.unpin()
	if found == nil {
		return nil, syscall.ENFILE
	}
	return found, 0
}

// makeNode makes a node that is not in the table yet and has no descriptor.
func (fs *FS) makeNode(fd int, byHandle bool, stx *unix.Statx_t) (*node, syscall.Errno) {
	if errno := statFD(fd, stx); errno != 0 {
		return nil, errno
	}
	n := &node{
		fs:   fs,
		key:  keyOf(fd, oslib.Empty, unix.AT_EMPTY_PATH, stx),
		typ:  uint32(stx.Mode) & unix.S_IFMT,
		ring: -1,
	}
	if byHandle && fs.cfg.FileHandles != HandlesNever {
		var errno syscall.Errno
		if n.fh, n.mount, errno = fs.handleOf(fd, &n.key, n.typ); errno != 0 {
			return nil, errno
		}
	}
	if n.mount == nil && !fs.fds.take() {
		return nil, syscall.ENFILE
	}
	return n, 0
}

// fillEntry makes the entry of n, found in parent with the attributes stx.
func (fs *FS) fillEntry(parent, n *node, stx *unix.Statx_t, out *vfs.Entry) {
	out.Node = n.id
	out.Generation = 0
	out.EntryTTL = fs.entryTTL
	out.AttrTTL = fs.attrTTL
	attrOfStatx(&out.Attr, stx)
	if crossing(parent, n) && fs.agreed(vfs.FeatSubmounts) {
		out.Attr.Flags = vfs.AttrSubmount
	}
}
