package fusetest

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// NullFS is a file system without content that does nothing and says that it
// was done: every name exists, every read is full, no data are looked at. What
// a request costs on it is what the layers above cost.
type NullFS struct{}

var _ vfs.FileSystem = NullFS{}

const (
	nullNode    vfs.NodeID = 2
	nullHandle  vfs.Handle = 3
	nullTarget             = "some/where/else"
	nullXattr              = "a value of some length"
	nullEntries            = 32
	nullTTL                = 1500 * time.Millisecond
)

// NullAttr are the attributes of every node of [NullFS].
var NullAttr = vfs.Attr{
	Ino: 77, Size: 4096, Blocks: 8,
	Atime: vfs.Timespec{Sec: 1, Nsec: 2}, Mtime: vfs.Timespec{Sec: -3, Nsec: 4}, Ctime: vfs.Timespec{Sec: 5, Nsec: 6},
	Mode: unix.S_IFREG | 0o644, Nlink: 1, UID: 8, GID: 9, Rdev: vfs.MakeDev(10, 300), Blksize: 4096,
}

// Init accepts every feature.
func (NullFS) Init(offered vfs.Features) (vfs.Features, syscall.Errno) { return offered, 0 }

// Destroy does nothing.
func (NullFS) Destroy() {}

func nullEntry(out *vfs.Entry) syscall.Errno {
	*out = vfs.Entry{Node: nullNode, Generation: 1, Attr: NullAttr, EntryTTL: nullTTL, AttrTTL: 2 * nullTTL}
	return 0
}

func nullOpen(out *vfs.Opened) syscall.Errno {
	*out = vfs.Opened{Handle: nullHandle, Flags: vfs.OpenKeepCache}
	return 0
}

// Lookup finds every name.
func (NullFS) Lookup(_ *vfs.Request, _ vfs.NodeID, _ vfs.Name, out *vfs.Entry) syscall.Errno {
	return nullEntry(out)
}

// Forget does nothing.
func (NullFS) Forget(vfs.NodeID, uint64) {}

// Getattr returns NullAttr.
func (NullFS) Getattr(_ *vfs.Request, _ vfs.NodeID, _ vfs.Handle, out *vfs.AttrOut) syscall.Errno {
	*out = vfs.AttrOut{Attr: NullAttr, TTL: nullTTL}
	return 0
}

// Setattr returns NullAttr.
func (NullFS) Setattr(_ *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _ *vfs.SetAttr, out *vfs.AttrOut) syscall.Errno {
	*out = vfs.AttrOut{Attr: NullAttr, TTL: nullTTL}
	return 0
}

// Statx returns NullAttr.
func (NullFS) Statx(_ *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _, mask uint32, out *vfs.Statx) syscall.Errno {
	*out = vfs.Statx{
		Mask: mask, Attributes: 1 << 40, AttributesMask: 3 << 40, Attr: NullAttr,
		Btime: vfs.Timespec{Sec: 11, Nsec: 12}, DevMajor: 13, DevMinor: 14, TTL: nullTTL,
	}
	return 0
}

// Access allows everything.
func (NullFS) Access(*vfs.Request, vfs.NodeID, uint32) syscall.Errno { return 0 }

// Readlink returns the same target for every node.
func (NullFS) Readlink(_ *vfs.Request, _ vfs.NodeID, buf []byte) (int, syscall.Errno) {
	return copy(buf, nullTarget), 0
}

// Symlink makes nothing.
func (NullFS) Symlink(_ *vfs.Request, _ vfs.NodeID, _ vfs.Name, _ []byte, out *vfs.Entry) syscall.Errno {
	return nullEntry(out)
}

// Mknod makes nothing.
func (NullFS) Mknod(_ *vfs.Request, _ vfs.NodeID, _ vfs.Name, _, _ uint32, out *vfs.Entry) syscall.Errno {
	return nullEntry(out)
}

// Mkdir makes nothing.
func (NullFS) Mkdir(_ *vfs.Request, _ vfs.NodeID, _ vfs.Name, _ uint32, out *vfs.Entry) syscall.Errno {
	return nullEntry(out)
}

// Link makes nothing.
func (NullFS) Link(_ *vfs.Request, _, _ vfs.NodeID, _ vfs.Name, out *vfs.Entry) syscall.Errno {
	return nullEntry(out)
}

// Unlink removes nothing.
func (NullFS) Unlink(*vfs.Request, vfs.NodeID, vfs.Name) syscall.Errno { return 0 }

// Rmdir removes nothing.
func (NullFS) Rmdir(*vfs.Request, vfs.NodeID, vfs.Name) syscall.Errno { return 0 }

// Rename does nothing.
func (NullFS) Rename(*vfs.Request, vfs.NodeID, vfs.Name, vfs.NodeID, vfs.Name, uint32) syscall.Errno {
	return 0
}

// Open opens every node.
func (NullFS) Open(_ *vfs.Request, _ vfs.NodeID, _ uint32, _ bool, out *vfs.Opened) syscall.Errno {
	return nullOpen(out)
}

// Create makes nothing.
func (NullFS) Create(_ *vfs.Request, _ vfs.NodeID, _ vfs.Name, _, _ uint32, e *vfs.Entry, o *vfs.Opened) syscall.Errno {
	nullOpen(o)
	return nullEntry(e)
}

// Tmpfile makes nothing.
func (NullFS) Tmpfile(_ *vfs.Request, _ vfs.NodeID, _, _ uint32, e *vfs.Entry, o *vfs.Opened) syscall.Errno {
	nullOpen(o)
	return nullEntry(e)
}

// Read claims to have filled dst.
func (NullFS) Read(_ *vfs.Request, _ vfs.NodeID, _ vfs.Handle, dst []unix.Iovec, _ uint64, _ uint32) (int, syscall.Errno) {
	return int(oslib.IovLen(dst)), 0
}

// Write claims to have written src.
func (NullFS) Write(_ *vfs.Request, _ vfs.NodeID, _ vfs.Handle, src []unix.Iovec, _ uint64, _ uint32, _ vfs.WriteFlags) (int, syscall.Errno) {
	return int(oslib.IovLen(src)), 0
}

// Flush does nothing.
func (NullFS) Flush(*vfs.Request, vfs.NodeID, vfs.Handle, uint64) syscall.Errno { return 0 }

// Release does nothing.
func (NullFS) Release(*vfs.Request, vfs.NodeID, vfs.Handle, *vfs.ReleaseIn) syscall.Errno { return 0 }

// Fsync does nothing.
func (NullFS) Fsync(*vfs.Request, vfs.NodeID, vfs.Handle, bool) syscall.Errno { return 0 }

// Fallocate does nothing.
func (NullFS) Fallocate(*vfs.Request, vfs.NodeID, vfs.Handle, uint64, uint64, uint32) syscall.Errno {
	return 0
}

// Lseek returns the offset that it was given.
func (NullFS) Lseek(_ *vfs.Request, _ vfs.NodeID, _ vfs.Handle, off uint64, _ uint32) (uint64, syscall.Errno) {
	return off, 0
}

// CopyFileRange claims to have copied everything.
func (NullFS) CopyFileRange(_ *vfs.Request, in *vfs.CopyRange) (uint64, syscall.Errno) {
	return in.Len, 0
}

// Opendir opens every node.
func (NullFS) Opendir(_ *vfs.Request, _ vfs.NodeID, _ uint32, out *vfs.Opened) syscall.Errno {
	return nullOpen(out)
}

// Readdir lists ".", ".." and 32 files "file00" to "file31", each a reference to
// the same node.
func (NullFS) Readdir(_ *vfs.Request, _ vfs.NodeID, _ vfs.Handle, off uint64, sink vfs.DirSink) syscall.Errno {
	for i := off; i < uint64(len(nullListing)); i++ {
		l := &nullListing[i]
		if !sink.Fits(len(l.name)) {
			break
		}
		e := l.entry
		if !sink.Plus() {
			e = nil
		}
		sink.Add(l.name, 100+i, i+1, l.typ, e)
	}
	return 0
}

type nullDirent struct {
	name  []byte
	typ   uint32
	entry *vfs.Entry
}

var nullListing = func() (list []nullDirent) {
	for _, name := range []string{".", ".."} {
		list = append(list, nullDirent{[]byte(name), unix.S_IFDIR, nil})
	}
	for i := range nullEntries {
		var e vfs.Entry
		nullEntry(&e)
		list = append(list, nullDirent{fmt.Appendf(nil, "file%02d", i), unix.S_IFREG, &e})
	}
	return list
}()

// Releasedir does nothing.
func (NullFS) Releasedir(*vfs.Request, vfs.NodeID, vfs.Handle) syscall.Errno { return 0 }

// Fsyncdir does nothing.
func (NullFS) Fsyncdir(*vfs.Request, vfs.NodeID, vfs.Handle, bool) syscall.Errno { return 0 }

// Statfs returns fixed numbers.
func (NullFS) Statfs(_ *vfs.Request, _ vfs.NodeID, out *vfs.Statfs) syscall.Errno {
	*out = vfs.Statfs{Blocks: 1, Bfree: 2, Bavail: 3, Files: 4, Ffree: 5, Bsize: 6, Frsize: 7, Namelen: 8}
	return 0
}

// Syncfs does nothing.
func (NullFS) Syncfs(*vfs.Request, vfs.NodeID) syscall.Errno { return 0 }

func nullValue(buf []byte) (int, syscall.Errno) {
	if len(buf) != 0 && len(buf) < len(nullXattr) {
		return 0, syscall.ERANGE
	}
	copy(buf, nullXattr)
	return len(nullXattr), 0
}

// Getxattr returns the same value for every name.
func (NullFS) Getxattr(_ *vfs.Request, _ vfs.NodeID, _, buf []byte) (int, syscall.Errno) {
	return nullValue(buf)
}

// Listxattr returns bytes that stand for names.
func (NullFS) Listxattr(_ *vfs.Request, _ vfs.NodeID, buf []byte) (int, syscall.Errno) {
	return nullValue(buf)
}

// Setxattr does nothing.
func (NullFS) Setxattr(*vfs.Request, vfs.NodeID, []byte, []byte, uint32, bool) syscall.Errno {
	return 0
}

// Removexattr does nothing.
func (NullFS) Removexattr(*vfs.Request, vfs.NodeID, []byte) syscall.Errno { return 0 }

// Getlk finds a read lock in the way.
func (NullFS) Getlk(_ *vfs.Request, _ vfs.NodeID, _ vfs.Handle, lk *vfs.Lock) syscall.Errno {
	*lk = vfs.Lock{Start: 1, End: 2, Type: unix.F_RDLCK, PID: 4}
	return 0
}

// Setlk grants every lock.
func (NullFS) Setlk(*vfs.Request, vfs.NodeID, vfs.Handle, *vfs.Lock) syscall.Errno { return 0 }

// Ioctl returns its input, as far as it fits, and the result 5.
func (NullFS) Ioctl(_ *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _ uint32, _ uint64, in, out []byte) (int, int32, syscall.Errno) {
	return copy(out, in), 5, 0
}
