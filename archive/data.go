package archive

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// Open implements [vfs.FileSystem].
func (fs *FS) Open(_ *vfs.Request, id vfs.NodeID, flags uint32, _ bool, out *vfs.Opened) syscall.Errno {
	_, i, errno := fs.node(id)
	if errno != 0 {
		return errno
	}
	return fs.open(i, flags, out)
}

func (fs *FS) open(i uint32, flags uint32, out *vfs.Opened) syscall.Errno {
	if errno := vfs.OpenErrno(fs.x.nodes[i].mode); errno != 0 {
		return errno
	}
	if flags&unix.O_ACCMODE != unix.O_RDONLY || flags&unix.O_TRUNC != 0 {
		return syscall.EROFS
	}
	h, errno := fs.handles.add(i, kindFile)
	*out = vfs.Opened{Handle: h, Flags: vfs.OpenKeepCache | vfs.OpenNoFlush}
	return errno
}

// Create implements [vfs.FileSystem]: it opens what is there.
func (fs *FS) Create(_ *vfs.Request, parent vfs.NodeID, name vfs.Name, flags, _ uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	n, p, errno := fs.node(parent)
	if errno != 0 {
		return errno
	}
	if !n.isDir() {
		return syscall.ENOTDIR
	}
	i := fs.x.find(p, name.Bytes())
	switch {
	case i == none:
		return syscall.EROFS
	case flags&unix.O_EXCL != 0:
		return syscall.EEXIST
	}
	if errno := fs.open(i, flags, opened); errno != 0 {
		return errno
	}
	fs.enter(i, out)
	return 0
}

// Release implements [vfs.FileSystem].
func (fs *FS) Release(_ *vfs.Request, id vfs.NodeID, h vfs.Handle, _ *vfs.ReleaseIn) syscall.Errno {
	return fs.release(id, h, kindFile)
}

func (fs *FS) release(id vfs.NodeID, h vfs.Handle, kind handleKind) syscall.Errno {
	// A guest may have forgotten the node; its handle can be closed still.
	i := uint64(id) - uint64(vfs.Root)
	if i >= uint64(len(fs.refs)) {
		return syscall.ESTALE
	}
	return fs.handles.drop(h, uint32(i), kind)
}

// Flush implements [vfs.FileSystem].
func (fs *FS) Flush(_ *vfs.Request, id vfs.NodeID, h vfs.Handle, _ uint64) syscall.Errno {
	_, _, errno := fs.handle(id, h, kindFile)
	return errno
}

// Fsync implements [vfs.FileSystem].
func (fs *FS) Fsync(_ *vfs.Request, id vfs.NodeID, h vfs.Handle, _ bool) syscall.Errno {
	_, _, errno := fs.handle(id, h, kindFile)
	return errno
}

// Read implements [vfs.FileSystem].
func (fs *FS) Read(_ *vfs.Request, id vfs.NodeID, h vfs.Handle, dst []unix.Iovec, off uint64, _ uint32) (int, syscall.Errno) {
	if off > math.MaxInt64 {
		return 0, syscall.EINVAL
	}
	n, _, errno := fs.handle(id, h, kindFile)
	if errno != 0 || off >= n.size {
		return 0, errno
	}
	return readAll(fs.fd, dst, n.at+off, n.size-off)
}

// clipped is how many iovecs are copied so as to end where a file ends.
const clipped = 16

// readAll reads n bytes of fd at off, or as many as dst takes. A file behind
// this one in fd is never read.
func readAll(fd int, dst []unix.Iovec, off, n uint64) (int, syscall.Errno) {
	total := 0
	var scratch [clipped]unix.Iovec
	c := oslib.IovCursor{Left: dst}
	for c.Advance(0); n > 0 && len(c.Left) > 0; {
		got, errno := oslib.Preadv2(fd, c.Next(scratch[:], n), int64(off), 0)
		if errno != 0 && total == 0 {
			return 0, errno
		}
		if errno != 0 || got == 0 {
			break
		}
		total += got
		off += uint64(got)
		n -= uint64(got)
		c.Advance(uint64(got))
	}
	return total, 0
}

// Lseek implements [vfs.FileSystem]. As handles have no position, SEEK_CUR is
// EINVAL.
func (fs *FS) Lseek(_ *vfs.Request, id vfs.NodeID, h vfs.Handle, off uint64, whence uint32) (uint64, syscall.Errno) {
	n, _, errno := fs.handle(id, h, kindFile)
	if errno != 0 {
		return 0, errno
	}
	switch whence {
	case unix.SEEK_DATA, unix.SEEK_HOLE:
		return fs.seek(n, off, whence)
	case unix.SEEK_SET:
	case unix.SEEK_END:
		off += n.size // a negative offset wraps around to what it should be
	default:
		return 0, syscall.EINVAL
	}
	if off > math.MaxInt64 {
		return 0, syscall.EINVAL
	}
	return off, 0
}

// seek finds data and holes as the memfd has them. Small files are data as a
// whole. The memfd's position, which moves, is of no use to anybody.
func (fs *FS) seek(n *node, off uint64, whence uint32) (uint64, syscall.Errno) {
	if off >= n.size {
		return 0, syscall.ENXIO
	}
	if n.size < pageSize {
		if whence == unix.SEEK_DATA {
			return off, 0
		}
		return n.size, 0
	}
	pos, errno := oslib.Lseek(fs.fd, int64(n.at+off), int(whence))
	if errno != 0 {
		return 0, errno // ENXIO: no data to the end of the memfd
	}
	found := uint64(pos) - n.at
	if found >= n.size {
		if whence == unix.SEEK_DATA {
			return 0, syscall.ENXIO
		}
		found = n.size
	}
	return found, 0
}
