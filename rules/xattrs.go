package rules

import (
	"bytes"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// MapXattrs makes a file system whose extended attributes go by the names that m
// gives them. A nil map changes nothing.
//
// A name that the map refuses is EPERM or ENOTSUP to set and remove, ENODATA or
// ENOTSUP to read, and is not listed. One that gets longer than XATTR_NAME_MAX is
// ERANGE. The names of security contexts in calls that create are mapped too.
// Access control lists are ENOTSUP, by whatever name, where they were not agreed
// on with the guest; where they were, only a map that leaves their names alone
// has the host honour them.
//
// If the map gives security.capability another name, the host's kernel no longer
// takes the capabilities of a file away when it is changed. Then this file system
// does, before every write, truncation, allocation, copy into the file and
// change of its owner.
func MapXattrs(fs vfs.FileSystem, m *XattrMap) vfs.FileSystem {
	if m == nil {
		return fs
	}
	x := &xattrFS{layer: layer{fs}, m: m}
	if m.capability != nil {
		return &capabilityFS{x}
	}
	return x
}

type xattrFS struct {
	layer
	m    *XattrMap
	acls atomic.Bool // were agreed on in Init
}

func (fs *xattrFS) Init(offered vfs.Features) (vfs.Features, syscall.Errno) {
	agreed, errno := fs.FileSystem.Init(offered)
	fs.acls.Store(agreed.Has(vfs.FeatPOSIXACL))
	return agreed, errno
}

// hostName is the name of an attribute on the host, with its NUL. Where it is
// not the guest's own, it stands in memory that is given back by done.
type hostName struct {
	name []byte
	buf  *nameBuf
}

type nameBuf [maxXattrName + 1]byte

var nameBufs = sync.Pool{New: func() any { return new(nameBuf) }}

func (h *hostName) done() {
	if h.buf != nil {
		nameBufs.Put(h.buf)
	}
}

// checkName decides about a name, with its NUL, that the guest sends. It checks
// the length itself: a prefix would make a name of one that is none.
func (fs *xattrFS) checkName(name []byte) (add string, errno syscall.Errno) {
	n := len(name) - 1
	switch {
	case n < 0 || bytes.IndexByte(name, 0) != n:
		return "", syscall.EINVAL
	case n == 0 || n > maxXattrName:
		return "", syscall.ERANGE
	}
	add, errno = fs.m.client(name[:n])
	switch {
	case errno != 0:
		return "", errno
	case isACL(name[:n]) && !fs.acls.Load():
		return "", syscall.ENOTSUP
	case len(add)+n > maxXattrName:
		return "", syscall.ERANGE
	}
	return add, 0
}

func (fs *xattrFS) hostName(name []byte) (hostName, syscall.Errno) {
	add, errno := fs.checkName(name)
	if errno != 0 || add == "" {
		return hostName{name: name}, errno
	}
	b := nameBufs.Get().(*nameBuf)
	n := copy(b[:], add)
	n += copy(b[n:], name)
	return hostName{name: b[:n], buf: b}, 0
}

func (fs *xattrFS) Getxattr(r *vfs.Request, node vfs.NodeID, name, buf []byte) (int, syscall.Errno) {
	h, errno := fs.hostName(name)
	if errno == syscall.EPERM {
		errno = syscall.ENODATA // to read, it just is not there
	}
	if errno != 0 {
		return 0, errno
	}
	n, errno := fs.FileSystem.Getxattr(r, node, h.name, buf)
	h.done()
	return n, errno
}

func (fs *xattrFS) Setxattr(r *vfs.Request, node vfs.NodeID, name, value []byte, flags uint32, killSGID bool) syscall.Errno {
	h, errno := fs.hostName(name)
	if errno != 0 {
		return errno
	}
	errno = fs.FileSystem.Setxattr(r, node, h.name, value, flags, killSGID)
	h.done()
	return errno
}

func (fs *xattrFS) Removexattr(r *vfs.Request, node vfs.NodeID, name []byte) syscall.Errno {
	h, errno := fs.hostName(name)
	if errno != 0 {
		return errno
	}
	errno = fs.FileSystem.Removexattr(r, node, h.name)
	h.done()
	return errno
}

// listBuf holds the longest list that Linux makes (XATTR_LIST_MAX).
type listBuf [64 << 10]byte

var listBufs = sync.Pool{New: func() any { return new(listBuf) }}

// Listxattr answers for the list that the guest sees: a buffer suffices for that
// which would be too small for the host's.
func (fs *xattrFS) Listxattr(r *vfs.Request, node vfs.NodeID, buf []byte) (int, syscall.Errno) {
	acls := fs.acls.Load()
	if len(buf) != 0 {
		n, errno := fs.FileSystem.Listxattr(r, node, buf)
		if errno == 0 {
			n = fs.m.toClient(buf[:n], acls)
		}
		if errno != syscall.ERANGE {
			return n, errno
		}
	}
	b := listBufs.Get().(*listBuf)
	defer listBufs.Put(b)
	n, errno := fs.FileSystem.Listxattr(r, node, b[:])
	if errno != 0 {
		return 0, errno
	}
	n = fs.m.toClient(b[:n], acls)
	switch {
	case len(buf) == 0:
		return n, 0
	case n > len(buf):
		return 0, syscall.ERANGE
	}
	return copy(buf, b[:n]), 0
}

// labelled is a request whose security contexts go by the host's names.
type labelled struct {
	req      vfs.Request
	contexts []vfs.SecurityContext
	names    []byte // what the names of contexts point into
}

// Linux sends one context; the FUSE protocol has room for 31.
const maxContexts = 31

var labelledPool = sync.Pool{New: func() any {
	return &labelled{
		contexts: make([]vfs.SecurityContext, 0, maxContexts),
		names:    make([]byte, 0, maxContexts*(maxXattrName+1)),
	}
}}

// labels maps the security contexts of a request that creates something, and
// returns the request to make instead of it. The first result is to be ended
// with done, also if it is nil.
func (fs *xattrFS) labels(r *vfs.Request) (*labelled, *vfs.Request, syscall.Errno) {
	if len(r.Security) == 0 {
		return nil, r, 0
	}
	l := labelledPool.Get().(*labelled)
	l.req, l.contexts, l.names = *r, l.contexts[:0], l.names[:0]
	for i := range r.Security {
		s := &r.Security[i]
		add, errno := fs.checkName(s.Name)
		if errno != 0 {
			l.done()
			return nil, nil, errno
		}
		// If this grows, names made before stay in the old memory.
		start := len(l.names)
		l.names = append(append(l.names, add...), s.Name...)
		l.contexts = append(l.contexts, vfs.SecurityContext{Name: l.names[start:], Value: s.Value})
	}
	l.req.Security = l.contexts
	return l, &l.req, 0
}

func (l *labelled) done() {
	if l != nil {
		l.req = vfs.Request{}
		clear(l.contexts)
		labelledPool.Put(l)
	}
}

func (fs *xattrFS) Symlink(r *vfs.Request, parent vfs.NodeID, name vfs.Name, target []byte, out *vfs.Entry) syscall.Errno {
	l, r, errno := fs.labels(r)
	if errno != 0 {
		return errno
	}
	errno = fs.FileSystem.Symlink(r, parent, name, target, out)
	l.done()
	return errno
}

func (fs *xattrFS) Mknod(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode, rdev uint32, out *vfs.Entry) syscall.Errno {
	l, r, errno := fs.labels(r)
	if errno != 0 {
		return errno
	}
	errno = fs.FileSystem.Mknod(r, parent, name, mode, rdev, out)
	l.done()
	return errno
}

func (fs *xattrFS) Mkdir(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode uint32, out *vfs.Entry) syscall.Errno {
	l, r, errno := fs.labels(r)
	if errno != 0 {
		return errno
	}
	errno = fs.FileSystem.Mkdir(r, parent, name, mode, out)
	l.done()
	return errno
}

func (fs *xattrFS) Create(r *vfs.Request, parent vfs.NodeID, name vfs.Name, flags, mode uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	l, r, errno := fs.labels(r)
	if errno != 0 {
		return errno
	}
	errno = fs.FileSystem.Create(r, parent, name, flags, mode, out, opened)
	l.done()
	return errno
}

func (fs *xattrFS) Tmpfile(r *vfs.Request, parent vfs.NodeID, flags, mode uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	l, r, errno := fs.labels(r)
	if errno != 0 {
		return errno
	}
	errno = fs.FileSystem.Tmpfile(r, parent, flags, mode, out, opened)
	l.done()
	return errno
}
