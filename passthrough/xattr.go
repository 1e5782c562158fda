package passthrough

import (
	"bytes"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

const (
	maxXattrName  = 255
	maxXattrValue = 64 << 10

	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

func isACL(name []byte) bool { return string(name) == aclAccess || string(name) == aclDefault }

// checkXattrName refuses what must not reach the host: names that are none, and
// ACLs where guest and host did not agree on them.
func (fs *FS) checkXattrName(name []byte) syscall.Errno {
	if !fs.cfg.Xattr {
		return syscall.ENOSYS
	}
	n := len(name) - 1
	switch {
	case n < 0 || bytes.IndexByte(name, 0) != n:
		return syscall.EINVAL
	case n == 0 || n > maxXattrName:
		return syscall.ERANGE
	case isACL(name[:n]) && !fs.agreed(vfs.FeatPOSIXACL):
		return syscall.ENOTSUP
	}
	return 0
}

// Getxattr implements [vfs.FileSystem].
func (fs *FS) Getxattr(_ *vfs.Request, id vfs.NodeID, name, buf []byte) (int, syscall.Errno) {
	if errno := fs.checkXattrName(name); errno != 0 {
		return 0, errno
	}
	n, fd, errno := fs.pin(id)
	if errno != 0 {
		return 0, errno
	}
	size, errno := fs.getxattr(fd, name, buf)
	n.unpin()
	return size, errno
}

// Listxattr implements [vfs.FileSystem]. ACLs are not listed where they cannot
// be had; the length that an empty buf asks for still counts them.
func (fs *FS) Listxattr(_ *vfs.Request, id vfs.NodeID, buf []byte) (int, syscall.Errno) {
	if !fs.cfg.Xattr {
		return 0, syscall.ENOSYS
	}
	n, fd, errno := fs.pin(id)
	if errno != 0 {
		return 0, errno
	}
	size, errno := fs.listxattr(fd, buf)
	n.unpin()
	if errno == 0 && len(buf) != 0 && !fs.agreed(vfs.FeatPOSIXACL) {
		size = withoutACLs(buf[:size])
	}
	return size, errno
}

// withoutACLs removes the names of ACLs from a list and returns what is left.
func withoutACLs(list []byte) int {
	kept := 0
	for rest := list; len(rest) > 0; {
		end := bytes.IndexByte(rest, 0)
		if end < 0 {
			break
		}
		if !isACL(rest[:end]) {
			kept += copy(list[kept:], rest[:end+1])
		}
		rest = rest[end+1:]
	}
	return kept
}

// Setxattr implements [vfs.FileSystem].
func (fs *FS) Setxattr(_ *vfs.Request, id vfs.NodeID, name, value []byte, flags uint32, killSGID bool) syscall.Errno {
	if errno := fs.checkXattrName(name); errno != 0 {
		return errno
	}
	switch {
	case len(value) > maxXattrValue:
		return syscall.E2BIG
	case flags&^(unix.XATTR_CREATE|unix.XATTR_REPLACE) != 0:
		return syscall.EINVAL
	}
	n, fd, errno := fs.pin(id)
	if errno != 0 {
		return errno
	}
	errno = fs.setxattr(fd, name, value, int(flags))
	if errno == 0 && killSGID && string(name[:len(name)-1]) == aclAccess {
		errno = fs.killSGID(fd)
	}
	n.unpin()
	return errno
}

// killSGID clears setgid, as the kernel does after an access ACL was set by
// somebody who is not in the file's group. It cannot tell that itself, as it
// sees us and not the guest's caller.
func (fs *FS) killSGID(fd int) syscall.Errno {
	var st unix.Stat_t
	errno := oslib.Fstatat(fd, oslib.Empty, &st, unix.AT_EMPTY_PATH)
	if errno != 0 || st.Mode&unix.S_ISGID == 0 {
		return errno
	}
	var buf [12]byte
	return oslib.Fchmodat(fs.procSelfFD, oslib.ProcFDName(&buf, fd), st.Mode&0o7777&^unix.S_ISGID)
}

// Removexattr implements [vfs.FileSystem].
func (fs *FS) Removexattr(_ *vfs.Request, id vfs.NodeID, name []byte) syscall.Errno {
	if errno := fs.checkXattrName(name); errno != 0 {
		return errno
	}
	n, fd, errno := fs.pin(id)
	if errno != 0 {
		return errno
	}
	errno = fs.removexattr(fd, name)
	n.unpin()
	return errno
}
