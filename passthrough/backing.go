package passthrough

import "github.com/isthmus-fs/isthmus/vfs"

var _ vfs.Backer = (*FS)(nil)

// Backing implements [vfs.Backer] for files that are read and written as on the host:
// not in an [IOMode], nor where reads and writes are to come here because the guest is
// not to cache data.
//
// Linux takes only the path of the descriptor, not how it was opened, and opens without
// looking at permissions (fs/backing-file.c). So a handle that was opened for reading
// serves for others that write: each came by [FS.Open] or [FS.Create], which opened the
// file on the host in the same way before.
//
// What [Config] says of O_DIRECT and O_NOATIME does not hold for such a file.
func (fs *FS) Backing(id vfs.NodeID, v vfs.Handle) (fd int, ok bool) {
	if fs.cfg.IO != 0 || policies[fs.cfg.Cache].file&vfs.OpenDirectIO != 0 {
		return -1, false
	}
	h, errno := fs.handle(id, v, kindFile)
	if errno != 0 {
		return -1, false
	}
	fd = h.fd
	h.unpin()
	return fd, true
}
