package scratch

import (
	"bytes"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// The limits are those of Linux (linux/limits.h).
const (
	maxXattrName  = 255
	maxXattrValue = 64 << 10
	maxXattrList  = 64 << 10

	capabilityXattr = "security.capability"
	userXattrs      = "user."
)

// namespaces are the kinds of attributes that there are. ACLs are not among them.
var namespaces = [...]string{userXattrs, "trusted.", "security."}

// xattr is an extended attribute.
type xattr struct {
	name  string
	value []byte // never changed, only replaced
}

func (x *xattr) cost() uint64 { return uint64(xattrCost + len(x.name) + len(x.value)) }

// xattr returns the position of an attribute, or -1. The caller holds mu.
func (n *node) xattr(name string) int {
	for i := range n.xattrs {
		if n.xattrs[i].name == name {
			return i
		}
	}
	return -1
}

// checkXattr takes the NUL from a name and answers what Linux does of one that
// cannot be: refused for one that a node of this type cannot have.
func (n *node) checkXattr(cname []byte, refused syscall.Errno) (name []byte, errno syscall.Errno) {
	end := len(cname) - 1
	switch {
	case end < 0 || bytes.IndexByte(cname, 0) != end:
		return nil, syscall.EINVAL
	case end == 0 || end > maxXattrName:
		return nil, syscall.ERANGE
	}
	name = cname[:end]
	for _, space := range namespaces {
		if len(name) < len(space) || string(name[:len(space)]) != space {
			continue
		}
		switch {
		case len(name) == len(space):
			return nil, syscall.EINVAL
		case space == userXattrs && !n.isFile() && !n.isDir():
			return nil, refused
		}
		return name, 0
	}
	return nil, syscall.EOPNOTSUPP
}

// Getxattr implements [vfs.FileSystem].
func (fs *FS) Getxattr(_ *vfs.Request, id vfs.NodeID, name, buf []byte) (int, syscall.Errno) {
	n, errno := fs.node(id)
	if errno != 0 {
		return 0, errno
	}
	if name, errno = n.checkXattr(name, syscall.ENODATA); errno != 0 {
		return 0, errno
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.xattrs {
		x := &n.xattrs[i]
		switch {
		case x.name != string(name):
			continue
		case len(buf) == 0:
			return len(x.value), 0
		case len(buf) < len(x.value):
			return 0, syscall.ERANGE
		}
		return copy(buf, x.value), 0
	}
	return 0, syscall.ENODATA
}

// Listxattr implements [vfs.FileSystem].
func (fs *FS) Listxattr(_ *vfs.Request, id vfs.NodeID, buf []byte) (int, syscall.Errno) {
	n, errno := fs.node(id)
	if errno != 0 {
		return 0, errno
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(buf) == 0 {
		return n.xattrNames, 0
	}
	if len(buf) < n.xattrNames {
		return 0, syscall.ERANGE
	}
	at := 0
	for i := range n.xattrs {
		at += copy(buf[at:], n.xattrs[i].name)
		buf[at] = 0
		at++
	}
	return at, 0
}

// Setxattr implements [vfs.FileSystem]. There are no ACLs, so there is no setgid to
// be cleared after one.
func (fs *FS) Setxattr(_ *vfs.Request, id vfs.NodeID, name, value []byte, flags uint32, _ bool) syscall.Errno {
	n, errno := fs.node(id)
	if errno != 0 {
		return errno
	}
	return fs.setxattr(n, name, value, flags)
}

func (fs *FS) setxattr(n *node, cname, value []byte, flags uint32) syscall.Errno {
	if flags&^(unix.XATTR_CREATE|unix.XATTR_REPLACE) != 0 {
		return syscall.EINVAL
	}
	name, errno := n.checkXattr(cname, syscall.EPERM)
	if errno != 0 {
		return errno
	}
	if len(value) > maxXattrValue {
		return syscall.E2BIG
	}
	x := xattr{strings.Clone(string(name)), slices.Clone(value)}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.dead.Load() {
		return syscall.ESTALE
	}
	i := n.xattr(x.name)
	switch {
	case i >= 0 && flags&unix.XATTR_CREATE != 0:
		return syscall.EEXIST
	case i < 0 && flags&unix.XATTR_REPLACE != 0:
		return syscall.ENODATA
	case i < 0 && n.xattrNames+len(x.name)+1 > maxXattrList:
		return syscall.ENOSPC
	case !fs.charge(x.cost()):
		return syscall.ENOSPC
	}
	if i >= 0 {
		fs.refund(n.xattrs[i].cost())
		n.xattrs[i] = x
	} else {
		n.xattrs = append(n.xattrs, x)
		n.xattrNames += len(x.name) + 1
	}
	n.ctime = now()
	return 0
}

// Removexattr implements [vfs.FileSystem].
func (fs *FS) Removexattr(_ *vfs.Request, id vfs.NodeID, name []byte) syscall.Errno {
	n, errno := fs.node(id)
	if errno != 0 {
		return errno
	}
	if name, errno = n.checkXattr(name, syscall.EPERM); errno != 0 {
		return errno
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	i := n.xattr(string(name))
	if i < 0 {
		return syscall.ENODATA
	}
	fs.removexattr(n, i)
	n.ctime = now()
	return 0
}

// removexattr takes out an attribute. The caller holds mu.
func (fs *FS) removexattr(n *node, i int) {
	fs.refund(n.xattrs[i].cost())
	n.xattrNames -= len(n.xattrs[i].name) + 1
	n.xattrs = slices.Delete(n.xattrs, i, i+1)
	if len(n.xattrs) == 0 {
		n.xattrs = nil
	}
}

// dropCapabilities removes file capabilities. The caller holds mu.
func (fs *FS) dropCapabilities(n *node) {
	if i := n.xattr(capabilityXattr); i >= 0 {
		fs.removexattr(n, i)
	}
}
