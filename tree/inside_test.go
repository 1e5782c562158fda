package tree

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

func (in *inside) Forget(node vfs.NodeID, n uint64) {
	if node != vfs.Root { // the suite has no reference to the root
		in.FS.Forget(in.in(node), n)
	}
}

func (in *inside) CopyFileRange(r *vfs.Request, c *vfs.CopyRange) (uint64, syscall.Errno) {
	d := *c
	d.SrcNode, d.DstNode = in.in(c.SrcNode), in.in(c.DstNode)
	return in.FS.CopyFileRange(r, &d)
}

func (in *inside) Readdir(r *vfs.Request, node vfs.NodeID, h vfs.Handle, off uint64, sink vfs.DirSink) syscall.Errno {
	return in.FS.Readdir(r, in.in(node), h, off, &insideSink{sink, in})
}

type insideSink struct {
	vfs.DirSink
	in *inside
}

func (s *insideSink) Add(name []byte, ino, next uint64, typ uint32, e *vfs.Entry) {
	if e != nil {
		c := *e
		s.in.out(0, &c)
		e = &c
	}
	s.DirSink.Add(name, ino, next, typ, e)
}

func (in *inside) Lookup(r *vfs.Request, parent vfs.NodeID, name vfs.Name, out *vfs.Entry) syscall.Errno {
	return in.out(in.FS.Lookup(r, in.in(parent), name, out), out)
}

func (in *inside) Getattr(r *vfs.Request, node vfs.NodeID, h vfs.Handle, out *vfs.AttrOut) syscall.Errno {
	return in.FS.Getattr(r, in.in(node), h, out)
}

func (in *inside) Setattr(r *vfs.Request, node vfs.NodeID, h vfs.Handle, arg *vfs.SetAttr, out *vfs.AttrOut) syscall.Errno {
	return in.FS.Setattr(r, in.in(node), h, arg, out)
}

func (in *inside) Statx(r *vfs.Request, node vfs.NodeID, h vfs.Handle, flags uint32, mask uint32, out *vfs.Statx) syscall.Errno {
	return in.FS.Statx(r, in.in(node), h, flags, mask, out)
}

func (in *inside) Access(r *vfs.Request, node vfs.NodeID, mask uint32) syscall.Errno {
	return in.FS.Access(r, in.in(node), mask)
}

func (in *inside) Readlink(r *vfs.Request, node vfs.NodeID, buf []byte) (int, syscall.Errno) {
	return in.FS.Readlink(r, in.in(node), buf)
}

func (in *inside) Symlink(r *vfs.Request, parent vfs.NodeID, name vfs.Name, target []byte, out *vfs.Entry) syscall.Errno {
	return in.out(in.FS.Symlink(r, in.in(parent), name, target, out), out)
}

func (in *inside) Mknod(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode uint32, rdev uint32, out *vfs.Entry) syscall.Errno {
	return in.out(in.FS.Mknod(r, in.in(parent), name, mode, rdev, out), out)
}

func (in *inside) Mkdir(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode uint32, out *vfs.Entry) syscall.Errno {
	return in.out(in.FS.Mkdir(r, in.in(parent), name, mode, out), out)
}

func (in *inside) Link(r *vfs.Request, node vfs.NodeID, newParent vfs.NodeID, newName vfs.Name, out *vfs.Entry) syscall.Errno {
	return in.out(in.FS.Link(r, in.in(node), in.in(newParent), newName, out), out)
}

func (in *inside) Unlink(r *vfs.Request, parent vfs.NodeID, name vfs.Name) syscall.Errno {
	return in.FS.Unlink(r, in.in(parent), name)
}

func (in *inside) Rmdir(r *vfs.Request, parent vfs.NodeID, name vfs.Name) syscall.Errno {
	return in.FS.Rmdir(r, in.in(parent), name)
}

func (in *inside) Rename(r *vfs.Request, oldParent vfs.NodeID, oldName vfs.Name, newParent vfs.NodeID, newName vfs.Name, flags uint32) syscall.Errno {
	return in.FS.Rename(r, in.in(oldParent), oldName, in.in(newParent), newName, flags)
}

func (in *inside) Open(r *vfs.Request, node vfs.NodeID, flags uint32, kill bool, out *vfs.Opened) syscall.Errno {
	return in.FS.Open(r, in.in(node), flags, kill, out)
}

func (in *inside) Create(r *vfs.Request, parent vfs.NodeID, name vfs.Name, flags uint32, mode uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	return in.out(in.FS.Create(r, in.in(parent), name, flags, mode, out, opened), out)
}

func (in *inside) Tmpfile(r *vfs.Request, parent vfs.NodeID, flags uint32, mode uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	return in.out(in.FS.Tmpfile(r, in.in(parent), flags, mode, out, opened), out)
}

func (in *inside) Read(r *vfs.Request, node vfs.NodeID, h vfs.Handle, dst []unix.Iovec, off uint64, openFlags uint32) (int, syscall.Errno) {
	return in.FS.Read(r, in.in(node), h, dst, off, openFlags)
}

func (in *inside) Write(r *vfs.Request, node vfs.NodeID, h vfs.Handle, src []unix.Iovec, off uint64, openFlags uint32, flags vfs.WriteFlags) (int, syscall.Errno) {
	return in.FS.Write(r, in.in(node), h, src, off, openFlags, flags)
}

func (in *inside) Flush(r *vfs.Request, node vfs.NodeID, h vfs.Handle, lockOwner uint64) syscall.Errno {
	return in.FS.Flush(r, in.in(node), h, lockOwner)
}

func (in *inside) Release(r *vfs.Request, node vfs.NodeID, h vfs.Handle, arg *vfs.ReleaseIn) syscall.Errno {
	return in.FS.Release(r, in.in(node), h, arg)
}

func (in *inside) Fsync(r *vfs.Request, node vfs.NodeID, h vfs.Handle, datasync bool) syscall.Errno {
	return in.FS.Fsync(r, in.in(node), h, datasync)
}

func (in *inside) Fallocate(r *vfs.Request, node vfs.NodeID, h vfs.Handle, off uint64, length uint64, mode uint32) syscall.Errno {
	return in.FS.Fallocate(r, in.in(node), h, off, length, mode)
}

func (in *inside) Lseek(r *vfs.Request, node vfs.NodeID, h vfs.Handle, off uint64, whence uint32) (uint64, syscall.Errno) {
	return in.FS.Lseek(r, in.in(node), h, off, whence)
}

func (in *inside) Opendir(r *vfs.Request, node vfs.NodeID, flags uint32, out *vfs.Opened) syscall.Errno {
	return in.FS.Opendir(r, in.in(node), flags, out)
}

func (in *inside) Releasedir(r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
	return in.FS.Releasedir(r, in.in(node), h)
}

func (in *inside) Fsyncdir(r *vfs.Request, node vfs.NodeID, h vfs.Handle, datasync bool) syscall.Errno {
	return in.FS.Fsyncdir(r, in.in(node), h, datasync)
}

func (in *inside) Statfs(r *vfs.Request, node vfs.NodeID, out *vfs.Statfs) syscall.Errno {
	return in.FS.Statfs(r, in.in(node), out)
}

func (in *inside) Syncfs(r *vfs.Request, node vfs.NodeID) syscall.Errno {
	return in.FS.Syncfs(r, in.in(node))
}

func (in *inside) Getxattr(r *vfs.Request, node vfs.NodeID, name []byte, buf []byte) (int, syscall.Errno) {
	return in.FS.Getxattr(r, in.in(node), name, buf)
}

func (in *inside) Listxattr(r *vfs.Request, node vfs.NodeID, buf []byte) (int, syscall.Errno) {
	return in.FS.Listxattr(r, in.in(node), buf)
}

func (in *inside) Setxattr(r *vfs.Request, node vfs.NodeID, name []byte, value []byte, flags uint32, killSGID bool) syscall.Errno {
	return in.FS.Setxattr(r, in.in(node), name, value, flags, killSGID)
}

func (in *inside) Removexattr(r *vfs.Request, node vfs.NodeID, name []byte) syscall.Errno {
	return in.FS.Removexattr(r, in.in(node), name)
}

func (in *inside) Getlk(r *vfs.Request, node vfs.NodeID, h vfs.Handle, lk *vfs.Lock) syscall.Errno {
	return in.FS.Getlk(r, in.in(node), h, lk)
}

func (in *inside) Setlk(r *vfs.Request, node vfs.NodeID, h vfs.Handle, lk *vfs.Lock) syscall.Errno {
	return in.FS.Setlk(r, in.in(node), h, lk)
}

func (in *inside) Ioctl(r *vfs.Request, node vfs.NodeID, h vfs.Handle, cmd uint32, arg uint64, src []byte, out []byte) (int, int32, syscall.Errno) {
	return in.FS.Ioctl(r, in.in(node), h, cmd, arg, src, out)
}
