package rules

import (
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// ReadOnly makes a file system that refuses every change with EROFS. Where two
// errors would do, it gives the one that the Linux kernel gives on a read-only
// mount: making what exists is EEXIST, and special files, which lead elsewhere,
// may be written to.
//
// Reading may still change access times on the host: for these the host's own
// mount, or its noatime option, is the place.
func ReadOnly(fs vfs.FileSystem) vfs.FileSystem { return &readOnly{layer{fs}} }

type readOnly struct{ layer }

// scratch is what the calls behind one call put their arguments and answers in.
type scratch struct {
	entry vfs.Entry
	attr  vfs.AttrOut
	set   vfs.SetAttr
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// Tolerates implements [vfs.Tolerant]. Without changes, two more features make no
// difference: an open that truncates is refused as any that is for writing, and there
// is no changed file that keeps its set-ID bits.
//
// FeatWriteback is not one of them. There are no writes to collect, but with it a guest
// takes its own word for the size and times of files, which the host may change. So it
// is for the file system behind to want.
func (fs *readOnly) Tolerates() vfs.Features {
	return fs.layer.Tolerates() | vfs.FeatAtomicTrunc | vfs.FeatKillPriv
}

func (fs *readOnly) Setattr(*vfs.Request, vfs.NodeID, vfs.Handle, *vfs.SetAttr, *vfs.AttrOut) syscall.Errno {
	return syscall.EROFS
}

// Access lets the file system behind decide first: without the right to write,
// the answer is that.
func (fs *readOnly) Access(r *vfs.Request, node vfs.NodeID, mask uint32) syscall.Errno {
	errno := fs.FileSystem.Access(r, node, mask)
	if errno != 0 || mask&unix.W_OK == 0 {
		return errno
	}
	s := scratches.Get().(*scratch)
	errno = fs.FileSystem.Getattr(r, node, vfs.NoHandle, &s.attr)
	if errno == 0 && !special(s.attr.Attr.Mode) {
		errno = syscall.EROFS
	}
	scratches.Put(s)
	return errno
}

// special reports whether what is written to such a file does not go to the
// file system that it is on.
func special(mode uint32) bool {
	switch mode & unix.S_IFMT {
	case unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK:
		return true
	}
	return false
}

// make answers a call that would make name: EEXIST if it is there.
func (fs *readOnly) make(r *vfs.Request, parent vfs.NodeID, name vfs.Name) syscall.Errno {
	s := scratches.Get().(*scratch)
	errno := fs.lookup(r, parent, name, &s.entry)
	if errno == 0 {
		fs.Forget(s.entry.Node, 1)
		errno = syscall.EEXIST
	}
	scratches.Put(s)
	return errno
}

// lookup finds what would be made if it did not exist: that is EROFS.
func (fs *readOnly) lookup(r *vfs.Request, parent vfs.NodeID, name vfs.Name, out *vfs.Entry) syscall.Errno {
	errno := fs.FileSystem.Lookup(r, parent, name, out)
	if errno == syscall.ENOENT || errno == 0 && out.Node == 0 {
		return syscall.EROFS
	}
	return errno
}

func (fs *readOnly) Symlink(r *vfs.Request, parent vfs.NodeID, name vfs.Name, _ []byte, _ *vfs.Entry) syscall.Errno {
	return fs.make(r, parent, name)
}

func (fs *readOnly) Mknod(r *vfs.Request, parent vfs.NodeID, name vfs.Name, _, _ uint32, _ *vfs.Entry) syscall.Errno {
	return fs.make(r, parent, name)
}

func (fs *readOnly) Mkdir(r *vfs.Request, parent vfs.NodeID, name vfs.Name, _ uint32, _ *vfs.Entry) syscall.Errno {
	return fs.make(r, parent, name)
}

func (fs *readOnly) Link(r *vfs.Request, _, newParent vfs.NodeID, newName vfs.Name, _ *vfs.Entry) syscall.Errno {
	return fs.make(r, newParent, newName)
}

func (fs *readOnly) Unlink(*vfs.Request, vfs.NodeID, vfs.Name) syscall.Errno { return syscall.EROFS }
func (fs *readOnly) Rmdir(*vfs.Request, vfs.NodeID, vfs.Name) syscall.Errno  { return syscall.EROFS }

func (fs *readOnly) Rename(*vfs.Request, vfs.NodeID, vfs.Name, vfs.NodeID, vfs.Name, uint32) syscall.Errno {
	return syscall.EROFS
}

// changes reports whether an open with such flags is for changing the file. The
// fourth access mode is for neither reading nor writing.
func changes(flags uint32) bool {
	access := flags & unix.O_ACCMODE
	return access == unix.O_WRONLY || access == unix.O_RDWR || flags&unix.O_TRUNC != 0
}

func (fs *readOnly) Open(r *vfs.Request, node vfs.NodeID, flags uint32, _ bool, out *vfs.Opened) syscall.Errno {
	if changes(flags) {
		return syscall.EROFS
	}
	return fs.FileSystem.Open(r, node, flags, false, out)
}

// Create opens a file that is there. The guest thought that it is not, and so
// has not checked whether its caller may read it.
func (fs *readOnly) Create(r *vfs.Request, parent vfs.NodeID, name vfs.Name, flags, _ uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	errno := fs.lookup(r, parent, name, out)
	if errno != 0 {
		return errno
	}
	errno = fs.openExisting(r, flags, out, opened)
	if errno != 0 {
		fs.Forget(out.Node, 1)
	}
	return errno
}

func (fs *readOnly) openExisting(r *vfs.Request, flags uint32, e *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	regular := e.Attr.Mode&unix.S_IFMT == unix.S_IFREG
	switch {
	case flags&unix.O_EXCL != 0:
		return syscall.EEXIST
	case regular && changes(flags):
		return syscall.EROFS
	case regular:
		errno := fs.FileSystem.Access(r, e.Node, unix.R_OK)
		if errno == syscall.EACCES || errno == syscall.ENOSYS {
			// The request may not tell all groups of the caller. This
			// answer makes a guest look the name up anew and decide itself.
			return syscall.ESTALE
		}
		if errno != 0 {
			return errno
		}
	default:
		flags &^= unix.O_ACCMODE | unix.O_TRUNC // refused in any case; the inner one knows the error
	}
	return fs.FileSystem.Open(r, e.Node, flags&^unix.O_CREAT, false, opened)
}

func (fs *readOnly) Tmpfile(*vfs.Request, vfs.NodeID, uint32, uint32, *vfs.Entry, *vfs.Opened) syscall.Errno {
	return syscall.EROFS
}

func (fs *readOnly) Write(*vfs.Request, vfs.NodeID, vfs.Handle, []unix.Iovec, uint64, uint32, vfs.WriteFlags) (int, syscall.Errno) {
	return 0, syscall.EROFS
}

func (fs *readOnly) Fallocate(*vfs.Request, vfs.NodeID, vfs.Handle, uint64, uint64, uint32) syscall.Errno {
	return syscall.EROFS
}

func (fs *readOnly) CopyFileRange(*vfs.Request, *vfs.CopyRange) (uint64, syscall.Errno) {
	return 0, syscall.EROFS
}

func (fs *readOnly) Setxattr(*vfs.Request, vfs.NodeID, []byte, []byte, uint32, bool) syscall.Errno {
	return syscall.EROFS
}

func (fs *readOnly) Removexattr(*vfs.Request, vfs.NodeID, []byte) syscall.Errno {
	return syscall.EROFS
}

// Commands of linux/fs.h that package unix lacks.
const (
	fsIoc32GetFlags = 0x80046601
	fsIoc32SetFlags = 0x40046602
	fsIocGetVersion = 0x80087601
	fsIocSetVersion = 0x40087602
	fsIocGetXattr   = 0x801c581f
	fsIocSetXattr   = 0x401c5820
	fsIocGetLabel   = 0x81009431
	fsIocSetLabel   = 0x41009432
)

// ioctls are the commands that a read-only file system knows: those that read
// go to the file system behind, those that change are EROFS.
var ioctls = [...]struct {
	cmd   uint32
	reads bool
}{
	{unix.FS_IOC_GETFLAGS, true},
	{unix.FS_IOC_SETFLAGS, false},
	{fsIoc32GetFlags, true},
	{fsIoc32SetFlags, false},
	{fsIocGetXattr, true},
	{fsIocSetXattr, false},
	{fsIocGetVersion, true},
	{fsIocSetVersion, false},
	{fsIocGetLabel, true},
	{fsIocSetLabel, false},
}

// Ioctl answers ENOTTY to unknown commands, as any file system does, and passes
// none of them on.
func (fs *readOnly) Ioctl(r *vfs.Request, node vfs.NodeID, h vfs.Handle, cmd uint32, arg uint64, in, out []byte) (int, int32, syscall.Errno) {
	for i := range ioctls {
		if ioctls[i].cmd != cmd {
			continue
		}
		if !ioctls[i].reads {
			return 0, 0, syscall.EROFS
		}
		return fs.FileSystem.Ioctl(r, node, h, cmd, arg, in, out)
	}
	return 0, 0, syscall.ENOTTY
}
