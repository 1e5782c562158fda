package overlay

import (
	"bytes"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// copySize is how much data is copied at a time.
const copySize = 1 << 20

var copyBufs = sync.Pool{New: func() any { return new([copySize]byte) }}

// copyData copies the file's data up to the limit and sets the size.
func (c *copier) copyData() syscall.Errno {
	lower, from := c.fs.lower, c.n.lowerID()
	upper, to := c.fs.upper, c.to.Node
	var src, dst vfs.Opened
	if errno := lower.Open(self, from, unix.O_RDONLY, false, &src); errno != 0 {
		return errno
	}
	defer lower.Release(self, from, src.Handle, &vfs.ReleaseIn{})
	if errno := upper.Open(self, to, unix.O_WRONLY, false, &dst); errno != 0 {
		return errno
	}
	defer upper.Release(self, to, dst.Handle, &vfs.ReleaseIn{OpenFlags: unix.O_WRONLY})

	buf := copyBufs.Get().(*[copySize]byte)
	defer copyBufs.Put(buf)
	for off := uint64(0); off < c.limit; {
		start, end := extent(lower, from, src.Handle, off, c.limit)
		for off = start; off < end; {
			n, errno := pump(lower, from, src.Handle, off, upper, to, dst.Handle, off, buf[:min(copySize, end-off)])
			if errno != 0 {
				return errno
			}
			if n == 0 {
				end = c.limit // it has become shorter
				break
			}
			off += n
		}
		off = end
	}
	return upper.Setattr(self, to, dst.Handle, &vfs.SetAttr{Valid: vfs.SetSize, Size: c.limit}, &vfs.AttrOut{})
}

// extent returns where the next data of a file are, at off or behind it. Where
// the file system does not know, all is data.
func extent(fs vfs.FileSystem, node vfs.NodeID, h vfs.Handle, off, limit uint64) (start, end uint64) {
	start, errno := fs.Lseek(self, node, h, off, unix.SEEK_DATA)
	switch {
	case errno == syscall.ENXIO:
		return limit, limit
	case errno != 0 || start < off:
		return off, limit
	case start >= limit:
		return limit, limit
	}
	end, errno = fs.Lseek(self, node, h, start, unix.SEEK_HOLE)
	if errno != 0 || end <= start || end > limit {
		end = limit
	}
	return start, end
}

// pump copies what fits into buf from one open file to another and returns how
// much; 0 is the end of the first.
func pump(src vfs.FileSystem, from vfs.NodeID, sh vfs.Handle, srcOff uint64, dst vfs.FileSystem, to vfs.NodeID, dh vfs.Handle, dstOff uint64, buf []byte) (uint64, syscall.Errno) {
	n, errno := src.Read(self, from, sh, []unix.Iovec{oslib.Iov(buf)}, srcOff, unix.O_RDONLY)
	if errno != 0 {
		return 0, errno
	}
	for done := 0; done < n; {
		w, errno := dst.Write(self, to, dh, []unix.Iovec{oslib.Iov(buf[done:n])}, dstOff+uint64(done), unix.O_WRONLY, 0)
		if errno == 0 && w == 0 {
			errno = syscall.EIO
		}
		if errno != 0 {
			return uint64(done), errno
		}
		done += w
	}
	return uint64(n), 0
}

// xattrMax is XATTR_LIST_MAX and XATTR_SIZE_MAX.
const xattrMax = 1 << 16

// copyXattrs copies the extended attributes.
func (c *copier) copyXattrs() syscall.Errno {
	names := make([]byte, xattrMax)
	size, errno := c.fs.lower.Listxattr(self, c.n.lowerID(), names)
	switch errno {
	case 0:
	case syscall.EOPNOTSUPP, syscall.ENOSYS:
		return 0 // it has none
	default:
		return errno
	}
	var value []byte
	for rest := names[:size]; len(rest) > 0; {
		i := bytes.IndexByte(rest, 0)
		if i < 0 {
			break
		}
		var name []byte
		name, rest = rest[:i+1], rest[i+1:]
		if value == nil {
			value = make([]byte, xattrMax)
		}
		n, errno := c.fs.lower.Getxattr(self, c.n.lowerID(), name, value)
		if errno == syscall.ENODATA || errno == syscall.EOPNOTSUPP {
			continue // listed, but not for us
		}
		if errno == 0 {
			errno = c.fs.upper.Setxattr(self, c.to.Node, name, value[:n], 0, false)
		}
		if errno == syscall.EOPNOTSUPP && !bytes.HasPrefix(name, []byte("system.posix_acl_")) {
			continue
		}
		if errno != 0 {
			return errno
		}
	}
	return 0
}
