package fuse_test

import (
	"bytes"
	"fmt"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse/fusetest"
	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// recordFS notes each call as text, arguments included, and has NullFS answer.
type recordFS struct {
	fusetest.NullFS
	calls []string
	last  vfs.Request // a deep copy
}

func (f *recordFS) note(r *vfs.Request, format string, args ...any) {
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
	if r == nil {
		return
	}
	f.last = *r
	if f.last.Groups = slices.Clone(r.Groups); len(r.Groups) == 0 {
		f.last.Groups = nil
	}
	f.last.Security = nil
	for _, s := range r.Security {
		f.last.Security = append(f.last.Security, vfs.SecurityContext{
			Name: bytes.Clone(s.Name), Value: bytes.Clone(s.Value),
		})
	}
}

// take returns the notes and drops them.
func (f *recordFS) take() []string {
	calls := f.calls
	f.calls = nil
	return calls
}

func (f *recordFS) Init(o vfs.Features) (vfs.Features, syscall.Errno) {
	f.note(nil, "Init")
	return f.NullFS.Init(o)
}

func (f *recordFS) Destroy() { f.note(nil, "Destroy") }

func (f *recordFS) Lookup(r *vfs.Request, p vfs.NodeID, n vfs.Name, out *vfs.Entry) syscall.Errno {
	f.note(r, "Lookup %d %q", p, n.CString())
	return f.NullFS.Lookup(r, p, n, out)
}

func (f *recordFS) Forget(node vfs.NodeID, n uint64) { f.note(nil, "Forget %d %d", node, n) }

func (f *recordFS) Getattr(r *vfs.Request, n vfs.NodeID, h vfs.Handle, out *vfs.AttrOut) syscall.Errno {
	f.note(r, "Getattr %d %d", n, int64(h))
	return f.NullFS.Getattr(r, n, h, out)
}

func (f *recordFS) Setattr(r *vfs.Request, n vfs.NodeID, h vfs.Handle, in *vfs.SetAttr, out *vfs.AttrOut) syscall.Errno {
	f.note(r, "Setattr %d %d %+v", n, int64(h), *in)
	return f.NullFS.Setattr(r, n, h, in, out)
}

func (f *recordFS) Statx(r *vfs.Request, n vfs.NodeID, h vfs.Handle, flags, mask uint32, out *vfs.Statx) syscall.Errno {
	f.note(r, "Statx %d %d %#x %#x", n, int64(h), flags, mask)
	return f.NullFS.Statx(r, n, h, flags, mask, out)
}

func (f *recordFS) Access(r *vfs.Request, n vfs.NodeID, mask uint32) syscall.Errno {
	f.note(r, "Access %d %d", n, mask)
	return 0
}

func (f *recordFS) Readlink(r *vfs.Request, n vfs.NodeID, buf []byte) (int, syscall.Errno) {
	f.note(r, "Readlink %d %d", n, len(buf))
	return f.NullFS.Readlink(r, n, buf)
}

func (f *recordFS) Symlink(r *vfs.Request, p vfs.NodeID, n vfs.Name, target []byte, out *vfs.Entry) syscall.Errno {
	f.note(r, "Symlink %d %q %q", p, n.CString(), target)
	return f.NullFS.Symlink(r, p, n, target, out)
}

func (f *recordFS) Mknod(r *vfs.Request, p vfs.NodeID, n vfs.Name, mode, rdev uint32, out *vfs.Entry) syscall.Errno {
	f.note(r, "Mknod %d %q %#o %#x", p, n.CString(), mode, rdev)
	return f.NullFS.Mknod(r, p, n, mode, rdev, out)
}

func (f *recordFS) Mkdir(r *vfs.Request, p vfs.NodeID, n vfs.Name, mode uint32, out *vfs.Entry) syscall.Errno {
	f.note(r, "Mkdir %d %q %#o", p, n.CString(), mode)
	return f.NullFS.Mkdir(r, p, n, mode, out)
}

func (f *recordFS) Link(r *vfs.Request, n, p vfs.NodeID, name vfs.Name, out *vfs.Entry) syscall.Errno {
	f.note(r, "Link %d %d %q", n, p, name.CString())
	return f.NullFS.Link(r, n, p, name, out)
}

func (f *recordFS) Unlink(r *vfs.Request, p vfs.NodeID, n vfs.Name) syscall.Errno {
	f.note(r, "Unlink %d %q", p, n.CString())
	return 0
}

func (f *recordFS) Rmdir(r *vfs.Request, p vfs.NodeID, n vfs.Name) syscall.Errno {
	f.note(r, "Rmdir %d %q", p, n.CString())
	return 0
}

func (f *recordFS) Rename(r *vfs.Request, p vfs.NodeID, n vfs.Name, p2 vfs.NodeID, n2 vfs.Name, flags uint32) syscall.Errno {
	f.note(r, "Rename %d %q %d %q %d", p, n.CString(), p2, n2.CString(), flags)
	return 0
}

func (f *recordFS) Open(r *vfs.Request, n vfs.NodeID, flags uint32, kill bool, out *vfs.Opened) syscall.Errno {
	f.note(r, "Open %d %#x %v", n, flags, kill)
	return f.NullFS.Open(r, n, flags, kill, out)
}

func (f *recordFS) Create(r *vfs.Request, p vfs.NodeID, n vfs.Name, flags, mode uint32, e *vfs.Entry, o *vfs.Opened) syscall.Errno {
	f.note(r, "Create %d %q %#x %#o", p, n.CString(), flags, mode)
	return f.NullFS.Create(r, p, n, flags, mode, e, o)
}

func (f *recordFS) Tmpfile(r *vfs.Request, p vfs.NodeID, flags, mode uint32, e *vfs.Entry, o *vfs.Opened) syscall.Errno {
	f.note(r, "Tmpfile %d %#x %#o", p, flags, mode)
	return f.NullFS.Tmpfile(r, p, flags, mode, e, o)
}

func (f *recordFS) Read(r *vfs.Request, n vfs.NodeID, h vfs.Handle, dst []unix.Iovec, off uint64, flags uint32) (int, syscall.Errno) {
	f.note(r, "Read %d %d %d@%d %#x", n, h, oslib.IovLen(dst), off, flags)
	for i := range int(oslib.IovLen(dst)) {
		oslib.IovWrite(oslib.IovSlice(nil, dst, uint64(i), 1), []byte{byte(i + 1)})
	}
	return max(int(oslib.IovLen(dst))-2, 0), 0
}

func (f *recordFS) Write(r *vfs.Request, n vfs.NodeID, h vfs.Handle, src []unix.Iovec, off uint64, flags uint32, wf vfs.WriteFlags) (int, syscall.Errno) {
	data := make([]byte, oslib.IovLen(src))
	oslib.IovRead(data, src)
	f.note(r, "Write %d %d %q@%d %#x %d", n, h, data, off, flags, wf)
	return len(data), 0
}

func (f *recordFS) Flush(r *vfs.Request, n vfs.NodeID, h vfs.Handle, owner uint64) syscall.Errno {
	f.note(r, "Flush %d %d %d", n, h, owner)
	return 0
}

func (f *recordFS) Release(r *vfs.Request, n vfs.NodeID, h vfs.Handle, in *vfs.ReleaseIn) syscall.Errno {
	f.note(r, "Release %d %d %+v", n, h, *in)
	return 0
}

func (f *recordFS) Fsync(r *vfs.Request, n vfs.NodeID, h vfs.Handle, data bool) syscall.Errno {
	f.note(r, "Fsync %d %d %v", n, h, data)
	return 0
}

func (f *recordFS) Fallocate(r *vfs.Request, n vfs.NodeID, h vfs.Handle, off, length uint64, mode uint32) syscall.Errno {
	f.note(r, "Fallocate %d %d %d %d %d", n, h, off, length, mode)
	return 0
}

func (f *recordFS) Lseek(r *vfs.Request, n vfs.NodeID, h vfs.Handle, off uint64, whence uint32) (uint64, syscall.Errno) {
	f.note(r, "Lseek %d %d %d %d", n, h, off, whence)
	return off + 1, 0
}

func (f *recordFS) CopyFileRange(r *vfs.Request, in *vfs.CopyRange) (uint64, syscall.Errno) {
	f.note(r, "CopyFileRange %+v", *in)
	return in.Len, 0
}

func (f *recordFS) Opendir(r *vfs.Request, n vfs.NodeID, flags uint32, out *vfs.Opened) syscall.Errno {
	f.note(r, "Opendir %d %#x", n, flags)
	return f.NullFS.Opendir(r, n, flags, out)
}

func (f *recordFS) Readdir(r *vfs.Request, n vfs.NodeID, h vfs.Handle, off uint64, sink vfs.DirSink) syscall.Errno {
	f.note(r, "Readdir %d %d %d %v", n, h, off, sink.Plus())
	return f.NullFS.Readdir(r, n, h, off, sink)
}

func (f *recordFS) Releasedir(r *vfs.Request, n vfs.NodeID, h vfs.Handle) syscall.Errno {
	f.note(r, "Releasedir %d %d", n, h)
	return 0
}

func (f *recordFS) Fsyncdir(r *vfs.Request, n vfs.NodeID, h vfs.Handle, data bool) syscall.Errno {
	f.note(r, "Fsyncdir %d %d %v", n, h, data)
	return 0
}

func (f *recordFS) Statfs(r *vfs.Request, n vfs.NodeID, out *vfs.Statfs) syscall.Errno {
	f.note(r, "Statfs %d", n)
	return f.NullFS.Statfs(r, n, out)
}

func (f *recordFS) Syncfs(r *vfs.Request, n vfs.NodeID) syscall.Errno {
	f.note(r, "Syncfs %d", n)
	return 0
}

func (f *recordFS) Getxattr(r *vfs.Request, n vfs.NodeID, name, buf []byte) (int, syscall.Errno) {
	f.note(r, "Getxattr %d %q %d", n, name, len(buf))
	return f.NullFS.Getxattr(r, n, name, buf)
}

func (f *recordFS) Listxattr(r *vfs.Request, n vfs.NodeID, buf []byte) (int, syscall.Errno) {
	f.note(r, "Listxattr %d %d", n, len(buf))
	return f.NullFS.Listxattr(r, n, buf)
}

func (f *recordFS) Setxattr(r *vfs.Request, n vfs.NodeID, name, value []byte, flags uint32, kill bool) syscall.Errno {
	if len(value) > 64 {
		f.note(r, "Setxattr %d %q %d bytes %d %v", n, name, len(value), flags, kill)
	} else {
		f.note(r, "Setxattr %d %q %q %d %v", n, name, value, flags, kill)
	}
	return 0
}

func (f *recordFS) Removexattr(r *vfs.Request, n vfs.NodeID, name []byte) syscall.Errno {
	f.note(r, "Removexattr %d %q", n, name)
	return 0
}

func (f *recordFS) Getlk(r *vfs.Request, n vfs.NodeID, h vfs.Handle, lk *vfs.Lock) syscall.Errno {
	f.note(r, "Getlk %d %d %+v", n, h, *lk)
	return f.NullFS.Getlk(r, n, h, lk)
}

func (f *recordFS) Setlk(r *vfs.Request, n vfs.NodeID, h vfs.Handle, lk *vfs.Lock) syscall.Errno {
	f.note(r, "Setlk %d %d %+v", n, h, *lk)
	return 0
}

func (f *recordFS) Ioctl(r *vfs.Request, n vfs.NodeID, h vfs.Handle, cmd uint32, arg uint64, in, out []byte) (int, int32, syscall.Errno) {
	f.note(r, "Ioctl %d %d %#x %d %q %d", n, h, cmd, arg, in, len(out))
	return f.NullFS.Ioctl(r, n, h, cmd, arg, in, out)
}
