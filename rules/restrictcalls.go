package rules

import (
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// made changes the mode of what a call is to make.
func (m modes) made(mode uint32) uint32 {
	if typ := mode & unix.S_IFMT; typ == 0 || typ == unix.S_IFREG {
		mode &^= m.hidden
	}
	return mode
}

// Mknod is also how a guest makes regular files, of type 0 if it likes.
func (fs *restricted) Mknod(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode, rdev uint32, out *vfs.Entry) syscall.Errno {
	whiteout := mode&unix.S_IFMT == unix.S_IFCHR && rdev == 0
	if fs.noDev && isDevice(mode) && !whiteout {
		return syscall.EPERM
	}
	return fs.shown(fs.FileSystem.Mknod(r, parent, name, fs.made(mode), rdev, out), out)
}

func (fs *restricted) Link(r *vfs.Request, node, newParent vfs.NodeID, newName vfs.Name, out *vfs.Entry) syscall.Errno {
	return fs.shown(fs.FileSystem.Link(r, node, newParent, newName, out), out)
}

// Open refuses what the guest's kernel says it is going to execute: it may have been
// told of a file's mode elsewhere.
func (fs *restricted) Open(r *vfs.Request, node vfs.NodeID, flags uint32, kill bool, out *vfs.Opened) syscall.Errno {
	if fs.noExec() && flags&openToExecute != 0 {
		return syscall.EACCES
	}
	if flags&unix.O_TRUNC != 0 {
		if errno := fs.dropSetID(r, node, vfs.NoHandle); errno != 0 {
			return errno
		}
	}
	return fs.FileSystem.Open(r, node, flags, kill, out)
}

// Create may truncate a file that is there. One with set-ID bits is such a file, as
// none is made with them here. So if they cannot be cleared, now or without waiting,
// the call can be made again.
func (fs *restricted) Create(r *vfs.Request, parent vfs.NodeID, name vfs.Name, flags, mode uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	errno := fs.FileSystem.Create(r, parent, name, flags, fs.made(mode), out, opened)
	if errno != 0 {
		return errno
	}
	if fs.hidden != 0 && flags&unix.O_TRUNC != 0 {
		errno = fs.clearSetID(r, out.Node, opened.Handle, out.Attr.Mode)
	}
	if errno != 0 {
		fs.Release(r, out.Node, opened.Handle, &vfs.ReleaseIn{})
		fs.Forget(out.Node, 1)
		return errno
	}
	fs.show(&out.Attr)
	return 0
}

func (fs *restricted) Tmpfile(r *vfs.Request, parent vfs.NodeID, flags, mode uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	return fs.shown(fs.FileSystem.Tmpfile(r, parent, flags, fs.made(mode), out, opened), out)
}

func (fs *restricted) Write(r *vfs.Request, node vfs.NodeID, h vfs.Handle, src []unix.Iovec, off uint64, openFlags uint32, flags vfs.WriteFlags) (int, syscall.Errno) {
	if errno := fs.dropSetID(r, node, h); errno != 0 {
		return 0, errno
	}
	return fs.FileSystem.Write(r, node, h, src, off, openFlags, flags)
}

func (fs *restricted) Fallocate(r *vfs.Request, node vfs.NodeID, h vfs.Handle, off, length uint64, mode uint32) syscall.Errno {
	if errno := fs.dropSetID(r, node, h); errno != 0 {
		return errno
	}
	return fs.FileSystem.Fallocate(r, node, h, off, length, mode)
}

func (fs *restricted) CopyFileRange(r *vfs.Request, in *vfs.CopyRange) (uint64, syscall.Errno) {
	if errno := fs.dropSetID(r, in.DstNode, in.DstHandle); errno != 0 {
		return 0, errno
	}
	return fs.FileSystem.CopyFileRange(r, in)
}

// restrictedSink changes the entries of a listing on their way to a door.
type restrictedSink struct {
	vfs.DirSink
	modes
	entry vfs.Entry
}

var restrictedSinks = sync.Pool{New: func() any { return new(restrictedSink) }}

// Add passes a copy on: the entry belongs to the file system behind.
func (s *restrictedSink) Add(name []byte, ino, next uint64, typ uint32, e *vfs.Entry) {
	if e != nil {
		s.entry = *e
		s.show(&s.entry.Attr)
		e = &s.entry
	}
	s.DirSink.Add(name, ino, next, typ, e)
}

func (fs *restricted) Readdir(r *vfs.Request, node vfs.NodeID, h vfs.Handle, off uint64, sink vfs.DirSink) syscall.Errno {
	if !sink.Plus() {
		return fs.FileSystem.Readdir(r, node, h, off, sink)
	}
	s := restrictedSinks.Get().(*restrictedSink)
	s.DirSink, s.modes = sink, fs.modes
	errno := fs.FileSystem.Readdir(r, node, h, off, s)
	s.DirSink = nil
	restrictedSinks.Put(s)
	return errno
}

// nobody makes the calls that no request asks for.
var nobody = &vfs.Request{}

// Backing implements [vfs.Backer]. What is written to a backing file is not seen here,
// so a file with set-ID bits to be cleared has none. One that gets them on the host
// while it has a backing file keeps them.
func (fs *restricted) Backing(node vfs.NodeID, h vfs.Handle) (fd int, ok bool) {
	if fs.hidden != 0 {
		if mode, errno := fs.mode(nobody, node, h); errno != 0 || mode&setIDBits != 0 {
			return -1, false
		}
	}
	return fs.layer.Backing(node, h)
}
