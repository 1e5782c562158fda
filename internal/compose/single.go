package compose

import (
	"log/slog"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/overlay"
	"github.com/isthmus-fs/isthmus/tree"
	"github.com/isthmus-fs/isthmus/vfs"
)

// overFile makes an overlay over a single file: an overlay over a directory that holds
// nothing but this file, of which nothing but this file is shown.
func overFile(lower, upper vfs.FileSystem, opt overlay.Options, log *slog.Logger) (vfs.FileSystem, error) {
	dir := tree.New(tree.Config{Logger: log})
	if err := dir.Mount("/"+only, lower); err != nil {
		return nil, err
	}
	over, err := overlay.New(dir, upper, opt)
	if err != nil {
		return nil, err
	}
	return newSingle(over)
}

// only is what the file is called where nobody sees it.
const only = "file"

// single shows one file of a directory as the root of a file system. A file has no names
// in it, so what is about names is answered as for any file, by what is below.
//
// It holds one reference to the file for each session.
type single struct {
	vfs.FileSystem
	name vfs.Name
	node vfs.NodeID // of the file in this session
}

func newSingle(fs vfs.FileSystem) (*single, error) {
	name, _ := vfs.MakeName(only)
	s := &single{FileSystem: fs, name: name}
	if errno := s.find(); errno != 0 {
		return nil, errno
	}
	return s, nil
}

func (s *single) find() syscall.Errno {
	var e vfs.Entry
	errno := s.FileSystem.Lookup(&vfs.Request{}, vfs.Root, s.name, &e)
	if errno == 0 && e.Node == 0 {
		errno = syscall.ENOENT
	}
	s.node = e.Node
	return errno
}

// at is the node below of a node that the guest names: of the root, which is all that
// there is. Others are what they are below, where a guest never got them: ESTALE.
func (s *single) at(n vfs.NodeID) vfs.NodeID {
	if n == vfs.Root {
		return s.node
	}
	return vfs.MaxNodeID
}

func (s *single) Init(offered vfs.Features) (vfs.Features, syscall.Errno) {
	f, errno := s.FileSystem.Init(offered)
	if errno == 0 {
		errno = s.find()
	}
	return f, errno
}

func (s *single) Destroy() {
	s.FileSystem.Destroy()
	// Until the next session the root is there to be looked at.
	s.find()
}

// Forget ignores what guests give back: they were given nothing but the root.
func (s *single) Forget(vfs.NodeID, uint64) {}

func (s *single) Lookup(r *vfs.Request, parent vfs.NodeID, name vfs.Name, out *vfs.Entry) syscall.Errno {
	return s.FileSystem.Lookup(r, s.at(parent), name, out)
}

func (s *single) Getattr(r *vfs.Request, n vfs.NodeID, h vfs.Handle, out *vfs.AttrOut) syscall.Errno {
	return s.FileSystem.Getattr(r, s.at(n), h, out)
}

func (s *single) Setattr(r *vfs.Request, n vfs.NodeID, h vfs.Handle, in *vfs.SetAttr, out *vfs.AttrOut) syscall.Errno {
	return s.FileSystem.Setattr(r, s.at(n), h, in, out)
}

func (s *single) Statx(r *vfs.Request, n vfs.NodeID, h vfs.Handle, flags, mask uint32, out *vfs.Statx) syscall.Errno {
	return s.FileSystem.Statx(r, s.at(n), h, flags, mask, out)
}

func (s *single) Access(r *vfs.Request, n vfs.NodeID, mask uint32) syscall.Errno {
	return s.FileSystem.Access(r, s.at(n), mask)
}

func (s *single) Readlink(r *vfs.Request, n vfs.NodeID, buf []byte) (int, syscall.Errno) {
	return s.FileSystem.Readlink(r, s.at(n), buf)
}

func (s *single) Symlink(r *vfs.Request, parent vfs.NodeID, name vfs.Name, target []byte, out *vfs.Entry) syscall.Errno {
	return s.FileSystem.Symlink(r, s.at(parent), name, target, out)
}

func (s *single) Mknod(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode, rdev uint32, out *vfs.Entry) syscall.Errno {
	return s.FileSystem.Mknod(r, s.at(parent), name, mode, rdev, out)
}

func (s *single) Mkdir(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode uint32, out *vfs.Entry) syscall.Errno {
	return s.FileSystem.Mkdir(r, s.at(parent), name, mode, out)
}

func (s *single) Link(r *vfs.Request, n, parent vfs.NodeID, name vfs.Name, out *vfs.Entry) syscall.Errno {
	return s.FileSystem.Link(r, s.at(n), s.at(parent), name, out)
}

func (s *single) Unlink(r *vfs.Request, parent vfs.NodeID, name vfs.Name) syscall.Errno {
	return s.FileSystem.Unlink(r, s.at(parent), name)
}

func (s *single) Rmdir(r *vfs.Request, parent vfs.NodeID, name vfs.Name) syscall.Errno {
	return s.FileSystem.Rmdir(r, s.at(parent), name)
}

func (s *single) Rename(r *vfs.Request, from vfs.NodeID, old vfs.Name, to vfs.NodeID, name vfs.Name, flags uint32) syscall.Errno {
	return s.FileSystem.Rename(r, s.at(from), old, s.at(to), name, flags)
}

func (s *single) Open(r *vfs.Request, n vfs.NodeID, flags uint32, kill bool, out *vfs.Opened) syscall.Errno {
	return s.FileSystem.Open(r, s.at(n), flags, kill, out)
}

func (s *single) Create(r *vfs.Request, parent vfs.NodeID, name vfs.Name, flags, mode uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	return s.FileSystem.Create(r, s.at(parent), name, flags, mode, out, opened)
}

func (s *single) Tmpfile(r *vfs.Request, parent vfs.NodeID, flags, mode uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	return s.FileSystem.Tmpfile(r, s.at(parent), flags, mode, out, opened)
}

func (s *single) Read(r *vfs.Request, n vfs.NodeID, h vfs.Handle, dst []unix.Iovec, off uint64, flags uint32) (int, syscall.Errno) {
	return s.FileSystem.Read(r, s.at(n), h, dst, off, flags)
}

func (s *single) Write(r *vfs.Request, n vfs.NodeID, h vfs.Handle, src []unix.Iovec, off uint64, open uint32, flags vfs.WriteFlags) (int, syscall.Errno) {
	return s.FileSystem.Write(r, s.at(n), h, src, off, open, flags)
}

func (s *single) Flush(r *vfs.Request, n vfs.NodeID, h vfs.Handle, owner uint64) syscall.Errno {
	return s.FileSystem.Flush(r, s.at(n), h, owner)
}

func (s *single) Release(r *vfs.Request, n vfs.NodeID, h vfs.Handle, in *vfs.ReleaseIn) syscall.Errno {
	return s.FileSystem.Release(r, s.at(n), h, in)
}

func (s *single) Fsync(r *vfs.Request, n vfs.NodeID, h vfs.Handle, datasync bool) syscall.Errno {
	return s.FileSystem.Fsync(r, s.at(n), h, datasync)
}

func (s *single) Fallocate(r *vfs.Request, n vfs.NodeID, h vfs.Handle, off, length uint64, mode uint32) syscall.Errno {
	return s.FileSystem.Fallocate(r, s.at(n), h, off, length, mode)
}

func (s *single) Lseek(r *vfs.Request, n vfs.NodeID, h vfs.Handle, off uint64, whence uint32) (uint64, syscall.Errno) {
	return s.FileSystem.Lseek(r, s.at(n), h, off, whence)
}

func (s *single) CopyFileRange(r *vfs.Request, in *vfs.CopyRange) (uint64, syscall.Errno) {
	c := *in
	c.SrcNode, c.DstNode = s.at(in.SrcNode), s.at(in.DstNode)
	return s.FileSystem.CopyFileRange(r, &c)
}

func (s *single) Opendir(r *vfs.Request, n vfs.NodeID, flags uint32, out *vfs.Opened) syscall.Errno {
	return s.FileSystem.Opendir(r, s.at(n), flags, out)
}

func (s *single) Readdir(r *vfs.Request, n vfs.NodeID, h vfs.Handle, off uint64, sink vfs.DirSink) syscall.Errno {
	return s.FileSystem.Readdir(r, s.at(n), h, off, sink)
}

func (s *single) Releasedir(r *vfs.Request, n vfs.NodeID, h vfs.Handle) syscall.Errno {
	return s.FileSystem.Releasedir(r, s.at(n), h)
}

func (s *single) Fsyncdir(r *vfs.Request, n vfs.NodeID, h vfs.Handle, datasync bool) syscall.Errno {
	return s.FileSystem.Fsyncdir(r, s.at(n), h, datasync)
}

func (s *single) Statfs(r *vfs.Request, n vfs.NodeID, out *vfs.Statfs) syscall.Errno {
	return s.FileSystem.Statfs(r, s.at(n), out)
}

func (s *single) Syncfs(r *vfs.Request, n vfs.NodeID) syscall.Errno {
	return s.FileSystem.Syncfs(r, s.at(n))
}

func (s *single) Getxattr(r *vfs.Request, n vfs.NodeID, name, buf []byte) (int, syscall.Errno) {
	return s.FileSystem.Getxattr(r, s.at(n), name, buf)
}

func (s *single) Listxattr(r *vfs.Request, n vfs.NodeID, buf []byte) (int, syscall.Errno) {
	return s.FileSystem.Listxattr(r, s.at(n), buf)
}

func (s *single) Setxattr(r *vfs.Request, n vfs.NodeID, name, value []byte, flags uint32, kill bool) syscall.Errno {
	return s.FileSystem.Setxattr(r, s.at(n), name, value, flags, kill)
}

func (s *single) Removexattr(r *vfs.Request, n vfs.NodeID, name []byte) syscall.Errno {
	return s.FileSystem.Removexattr(r, s.at(n), name)
}

func (s *single) Getlk(r *vfs.Request, n vfs.NodeID, h vfs.Handle, lk *vfs.Lock) syscall.Errno {
	return s.FileSystem.Getlk(r, s.at(n), h, lk)
}

func (s *single) Setlk(r *vfs.Request, n vfs.NodeID, h vfs.Handle, lk *vfs.Lock) syscall.Errno {
	return s.FileSystem.Setlk(r, s.at(n), h, lk)
}

func (s *single) Ioctl(r *vfs.Request, n vfs.NodeID, h vfs.Handle, cmd uint32, arg uint64, in, out []byte) (int, int32, syscall.Errno) {
	return s.FileSystem.Ioctl(r, s.at(n), h, cmd, arg, in, out)
}

// Counts implements [vfs.Counter].
func (s *single) Counts() (c vfs.Counts) {
	if counter, ok := s.FileSystem.(vfs.Counter); ok {
		c = counter.Counts()
	}
	return c
}

// Tolerates implements [vfs.Tolerant].
func (s *single) Tolerates() (f vfs.Features) {
	if t, ok := s.FileSystem.(vfs.Tolerant); ok {
		f = t.Tolerates()
	}
	return f
}
