package tree

import (
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// isACL tells whether an extended attribute, whose name ends in a NUL, is a POSIX
// access control list.
func isACL(name []byte) bool {
	return string(name) == "system.posix_acl_access\x00" || string(name) == "system.posix_acl_default\x00"
}

// Getxattr implements [vfs.FileSystem].
func (fs *FS) Getxattr(r *vfs.Request, node vfs.NodeID, name, buf []byte) (int, syscall.Errno) {
	m, id := fs.call(node)
	if m == nil {
		return 0, syscall.ESTALE
	}
	defer m.leave(id)
	if m.adapt(adaptACL) && isACL(name) {
		return 0, m.refuse(r, id, syscall.EOPNOTSUPP)
	}
	n, errno := m.child.Getxattr(r, id, name, buf)
	return n, fs.instead(m, errno, syscall.EOPNOTSUPP)
}

// Listxattr implements [vfs.FileSystem].
func (fs *FS) Listxattr(r *vfs.Request, node vfs.NodeID, buf []byte) (int, syscall.Errno) {
	m, id := fs.call(node)
	if m == nil {
		return 0, syscall.ESTALE
	}
	defer m.leave(id)
	n, errno := m.child.Listxattr(r, id, buf)
	return n, fs.instead(m, errno, syscall.EOPNOTSUPP)
}

// Setxattr implements [vfs.FileSystem].
func (fs *FS) Setxattr(r *vfs.Request, node vfs.NodeID, name, value []byte, flags uint32, killSGID bool) syscall.Errno {
	m, id := fs.call(node)
	if m == nil {
		return syscall.ESTALE
	}
	defer m.leave(id)
	if m.adapt(adaptACL) && isACL(name) {
		return m.refuse(r, id, syscall.EOPNOTSUPP)
	}
	return fs.instead(m, m.child.Setxattr(r, id, name, value, flags, killSGID), syscall.EOPNOTSUPP)
}

// Removexattr implements [vfs.FileSystem].
func (fs *FS) Removexattr(r *vfs.Request, node vfs.NodeID, name []byte) syscall.Errno {
	m, id := fs.call(node)
	if m == nil {
		return syscall.ESTALE
	}
	defer m.leave(id)
	if m.adapt(adaptACL) && isACL(name) {
		return m.refuse(r, id, syscall.EOPNOTSUPP)
	}
	return fs.instead(m, m.child.Removexattr(r, id, name), syscall.EOPNOTSUPP)
}
