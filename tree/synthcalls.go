package tree

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

func (s *synth) Lookup(_ *vfs.Request, parent vfs.NodeID, _ vfs.Name, _ *vfs.Entry) syscall.Errno {
	return s.refuse(parent, syscall.ENOENT)
}

func (s *synth) Getattr(_ *vfs.Request, id vfs.NodeID, _ vfs.Handle, out *vfs.AttrOut) syscall.Errno {
	d, errno := s.known(id)
	if errno != 0 {
		return errno
	}
	*out = vfs.AttrOut{TTL: nameTTL}
	s.attr(d, id, &out.Attr)
	return 0
}

func (s *synth) Statx(_ *vfs.Request, id vfs.NodeID, _ vfs.Handle, _, _ uint32, out *vfs.Statx) syscall.Errno {
	d, errno := s.known(id)
	if errno != 0 {
		return errno
	}
	*out = vfs.Statx{Mask: unix.STATX_BASIC_STATS | unix.STATX_BTIME, Btime: d.made, TTL: nameTTL}
	s.attr(d, id, &out.Attr)
	return 0
}

func (s *synth) Access(r *vfs.Request, id vfs.NodeID, mask uint32) syscall.Errno {
	errno := s.refuse(id, 0)
	switch {
	case errno != 0 || mask&unix.W_OK == 0:
		return errno
	case r.UID != 0:
		return syscall.EACCES
	}
	return syscall.EROFS
}

func (s *synth) Setattr(_ *vfs.Request, id vfs.NodeID, _ vfs.Handle, _ *vfs.SetAttr, _ *vfs.AttrOut) syscall.Errno {
	return s.refuse(id, syscall.EROFS)
}

func (s *synth) Readlink(_ *vfs.Request, id vfs.NodeID, _ []byte) (int, syscall.Errno) {
	return 0, s.refuse(id, syscall.EINVAL)
}

func (s *synth) Symlink(_ *vfs.Request, id vfs.NodeID, _ vfs.Name, _ []byte, _ *vfs.Entry) syscall.Errno {
	return s.refuse(id, syscall.EROFS)
}

func (s *synth) Mknod(_ *vfs.Request, id vfs.NodeID, _ vfs.Name, _, _ uint32, _ *vfs.Entry) syscall.Errno {
	return s.refuse(id, syscall.EROFS)
}

func (s *synth) Mkdir(_ *vfs.Request, id vfs.NodeID, _ vfs.Name, _ uint32, _ *vfs.Entry) syscall.Errno {
	return s.refuse(id, syscall.EROFS)
}

func (s *synth) Link(_ *vfs.Request, id, parent vfs.NodeID, _ vfs.Name, _ *vfs.Entry) syscall.Errno {
	if errno := s.refuse(id, 0); errno != 0 {
		return errno
	}
	return s.refuse(parent, syscall.EROFS)
}

func (s *synth) Unlink(_ *vfs.Request, id vfs.NodeID, _ vfs.Name) syscall.Errno {
	return s.refuse(id, syscall.EROFS)
}

func (s *synth) Rmdir(_ *vfs.Request, id vfs.NodeID, _ vfs.Name) syscall.Errno {
	return s.refuse(id, syscall.EROFS)
}

func (s *synth) Rename(_ *vfs.Request, id vfs.NodeID, _ vfs.Name, parent vfs.NodeID, _ vfs.Name, _ uint32) syscall.Errno {
	from, errno := s.known(id)
	if errno != 0 {
		return errno
	}
	to, errno := s.known(parent)
	switch {
	case errno != 0:
		return errno
	case from.top != to.top:
		return syscall.EXDEV
	}
	return syscall.EROFS
}

func (s *synth) Open(_ *vfs.Request, id vfs.NodeID, _ uint32, _ bool, _ *vfs.Opened) syscall.Errno {
	return s.refuse(id, syscall.EISDIR)
}

func (s *synth) Create(_ *vfs.Request, id vfs.NodeID, _ vfs.Name, _, _ uint32, _ *vfs.Entry, _ *vfs.Opened) syscall.Errno {
	return s.refuse(id, syscall.EROFS)
}

func (s *synth) Tmpfile(_ *vfs.Request, id vfs.NodeID, _, _ uint32, _ *vfs.Entry, _ *vfs.Opened) syscall.Errno {
	return s.refuse(id, syscall.EROFS)
}

// Of files, there are none, so there is no handle of one.

func (s *synth) Read(_ *vfs.Request, id vfs.NodeID, _ vfs.Handle, _ []unix.Iovec, _ uint64, _ uint32) (int, syscall.Errno) {
	return 0, s.refuse(id, syscall.EBADF)
}

func (s *synth) Write(_ *vfs.Request, id vfs.NodeID, _ vfs.Handle, _ []unix.Iovec, _ uint64, _ uint32, _ vfs.WriteFlags) (int, syscall.Errno) {
	return 0, s.refuse(id, syscall.EBADF)
}

func (s *synth) Flush(_ *vfs.Request, id vfs.NodeID, _ vfs.Handle, _ uint64) syscall.Errno {
	return s.refuse(id, syscall.EBADF)
}

func (s *synth) Release(_ *vfs.Request, id vfs.NodeID, _ vfs.Handle, _ *vfs.ReleaseIn) syscall.Errno {
	return s.refuse(id, syscall.EBADF)
}

func (s *synth) Fsync(_ *vfs.Request, id vfs.NodeID, _ vfs.Handle, _ bool) syscall.Errno {
	return s.refuse(id, syscall.EBADF)
}

func (s *synth) Fallocate(_ *vfs.Request, id vfs.NodeID, _ vfs.Handle, _, _ uint64, _ uint32) syscall.Errno {
	return s.refuse(id, syscall.EBADF)
}

func (s *synth) Lseek(_ *vfs.Request, id vfs.NodeID, _ vfs.Handle, _ uint64, _ uint32) (uint64, syscall.Errno) {
	return 0, s.refuse(id, syscall.EBADF)
}

func (s *synth) CopyFileRange(_ *vfs.Request, in *vfs.CopyRange) (uint64, syscall.Errno) {
	return 0, s.refuse(in.SrcNode, syscall.EBADF)
}

func (s *synth) Getlk(_ *vfs.Request, id vfs.NodeID, _ vfs.Handle, _ *vfs.Lock) syscall.Errno {
	return s.refuse(id, syscall.EBADF)
}

func (s *synth) Setlk(_ *vfs.Request, id vfs.NodeID, _ vfs.Handle, _ *vfs.Lock) syscall.Errno {
	return s.refuse(id, syscall.EBADF)
}

func (s *synth) Ioctl(_ *vfs.Request, id vfs.NodeID, _ vfs.Handle, _ uint32, _ uint64, _, _ []byte) (int, int32, syscall.Errno) {
	return 0, 0, s.refuse(id, syscall.ENOTTY)
}

func (s *synth) Opendir(_ *vfs.Request, id vfs.NodeID, _ uint32, out *vfs.Opened) syscall.Errno {
	*out = vfs.Opened{Handle: vfs.Handle(id)}
	return s.refuse(id, 0)
}

// opened checks a handle.
func (s *synth) opened(id vfs.NodeID, h vfs.Handle) syscall.Errno {
	errno := s.refuse(id, 0)
	if errno == 0 && h != vfs.Handle(id) {
		errno = syscall.EBADF
	}
	return errno
}

// Readdir lists "." and "..". What the latter is, guests know better.
func (s *synth) Readdir(_ *vfs.Request, id vfs.NodeID, h vfs.Handle, off uint64, sink vfs.DirSink) syscall.Errno {
	if errno := s.opened(id, h); errno != 0 {
		return errno
	}
	for ; off < uint64(len(dots)) && sink.Fits(len(dots[off])); off++ {
		sink.Add(dots[off], uint64(id), off+1, unix.S_IFDIR, nil)
	}
	return 0
}

var dots = [...][]byte{[]byte("."), []byte("..")}

func (s *synth) Releasedir(_ *vfs.Request, id vfs.NodeID, h vfs.Handle) syscall.Errno {
	return s.opened(id, h)
}

func (s *synth) Fsyncdir(_ *vfs.Request, id vfs.NodeID, h vfs.Handle, _ bool) syscall.Errno {
	return s.opened(id, h)
}

func (s *synth) Statfs(_ *vfs.Request, id vfs.NodeID, out *vfs.Statfs) syscall.Errno {
	*out = vfs.Statfs{Bsize: 4096, Frsize: 4096, Namelen: vfs.MaxName}
	return s.refuse(id, 0)
}

func (s *synth) Syncfs(_ *vfs.Request, id vfs.NodeID) syscall.Errno { return s.refuse(id, 0) }

// Synthetic directories have no extended attributes.

func (s *synth) Getxattr(_ *vfs.Request, id vfs.NodeID, _, _ []byte) (int, syscall.Errno) {
	return 0, s.refuse(id, syscall.ENODATA)
}

func (s *synth) Listxattr(_ *vfs.Request, id vfs.NodeID, _ []byte) (int, syscall.Errno) {
	return 0, s.refuse(id, 0)
}

func (s *synth) Setxattr(_ *vfs.Request, id vfs.NodeID, _, _ []byte, _ uint32, _ bool) syscall.Errno {
	return s.refuse(id, syscall.EROFS)
}

func (s *synth) Removexattr(_ *vfs.Request, id vfs.NodeID, _ []byte) syscall.Errno {
	return s.refuse(id, syscall.EROFS)
}
