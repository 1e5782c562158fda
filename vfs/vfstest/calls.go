package vfstest

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// handleKind says what a call does with its handle.
type handleKind uint8

const (
	noHandle       handleKind = iota
	optionalHandle            // may go by the node alone
	fileHandle
	dirHandle
)

// call is a method of vfs.FileSystem with arguments that would do, given a
// node, and a handle on it.
type call struct {
	name   string
	handle handleKind
	// changes says that the call changes the file system.
	changes bool
	lacks   Lack // not there in a file system that lacks this
	// onDir says that the node is to be a directory.
	onDir bool
	make  func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno
}

// calls are all methods that take a node.
var calls = []call{
	{name: "Lookup", onDir: true, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
		var e vfs.Entry
		errno := fs.Lookup(r, node, name("some"), &e)
		if errno == 0 && e.Node != 0 {
			fs.Forget(e.Node, 1)
		}
		return errno
	}},
	{name: "Getattr", handle: optionalHandle, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		return fs.Getattr(r, node, h, &vfs.AttrOut{})
	}},
	{name: "Setattr mode", handle: optionalHandle, changes: true, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		return fs.Setattr(r, node, h, &vfs.SetAttr{Valid: vfs.SetMode, Mode: 0o700}, &vfs.AttrOut{})
	}},
	{name: "Setattr owner", handle: optionalHandle, changes: true, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		return fs.Setattr(r, node, h, &vfs.SetAttr{Valid: vfs.SetUID | vfs.SetGID, UID: 1, GID: 1}, &vfs.AttrOut{})
	}},
	{name: "Setattr size", handle: fileHandle, changes: true, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		return fs.Setattr(r, node, h, &vfs.SetAttr{Valid: vfs.SetSize}, &vfs.AttrOut{})
	}},
	{name: "Setattr times", handle: optionalHandle, changes: true, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		return fs.Setattr(r, node, h, &vfs.SetAttr{Valid: vfs.SetAtimeNow | vfs.SetMtimeNow}, &vfs.AttrOut{})
	}},
	{name: "Statx", handle: optionalHandle, lacks: NoStatx, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		return fs.Statx(r, node, h, 0, unix.STATX_BASIC_STATS, &vfs.Statx{})
	}},
	{name: "Access", make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return fs.Access(r, node, unix.R_OK)
	}},
	{name: "Readlink", make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
		_, errno := fs.Readlink(r, node, make([]byte, unix.PathMax))
		return errno
	}},
	{name: "Symlink", onDir: true, changes: true, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
		var e vfs.Entry
		return forgetting(fs, fs.Symlink(r, node, name("new-symlink"), []byte("t\x00"), &e), &e)
	}},
	{name: "Mknod", onDir: true, changes: true, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
		var e vfs.Entry
		return forgetting(fs, fs.Mknod(r, node, name("new-mknod"), unix.S_IFREG|0o644, 0, &e), &e)
	}},
	{name: "Mkdir", onDir: true, changes: true, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
		var e vfs.Entry
		return forgetting(fs, fs.Mkdir(r, node, name("new-mkdir"), 0o755, &e), &e)
	}},
	{name: "Link of", changes: true, lacks: NoHardLinks, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
		var e vfs.Entry
		return forgetting(fs, fs.Link(r, node, vfs.Root, name("new-link"), &e), &e)
	}},
	{name: "Unlink", onDir: true, changes: true, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return fs.Unlink(r, node, name("some"))
	}},
	{name: "Rmdir", onDir: true, changes: true, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return fs.Rmdir(r, node, name("some-dir"))
	}},
	{name: "Rename from", onDir: true, changes: true, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return fs.Rename(r, node, name("some"), vfs.Root, name("new-name"), 0)
	}},
	{name: "Rename to", onDir: true, changes: true, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return fs.Rename(r, vfs.Root, name("some"), node, name("new-name"), 0)
	}},
	{name: "Open for reading", make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return opening(fs, r, node, rdonly)
	}},
	{name: "Open for writing", changes: true, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return opening(fs, r, node, rdwr)
	}},
	{name: "Create", onDir: true, changes: true, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
		var e vfs.Entry
		var o vfs.Opened
		return releasing(fs, fs.Create(r, node, name("new-create"), creat|excl|rdwr, 0o644, &e, &o), &e, &o)
	}},
	{name: "Tmpfile", onDir: true, changes: true, lacks: NoTmpfile, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
		var e vfs.Entry
		var o vfs.Opened
		return releasing(fs, fs.Tmpfile(r, node, unix.O_TMPFILE|rdwr, 0o644, &e, &o), &e, &o)
	}},
	{name: "Read", handle: fileHandle, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		_, errno := fs.Read(r, node, h, []unix.Iovec{oslib.Iov(make([]byte, 16))}, 0, rdonly)
		return errno
	}},
	{name: "Write", handle: fileHandle, changes: true, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		_, errno := fs.Write(r, node, h, []unix.Iovec{oslib.Iov([]byte("intruder"))}, 0, rdwr, 0)
		return errno
	}},
	{name: "Flush", handle: fileHandle, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		return fs.Flush(r, node, h, 1)
	}},
	{name: "Release", handle: fileHandle, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		return fs.Release(r, node, h, &vfs.ReleaseIn{})
	}},
	{name: "Fsync", handle: fileHandle, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		return fs.Fsync(r, node, h, false)
	}},
	{name: "Fallocate", handle: fileHandle, changes: true, lacks: NoFallocate, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		return fs.Fallocate(r, node, h, 0, 4096, 0)
	}},
	{name: "Lseek", handle: fileHandle, lacks: NoFallocate, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		_, errno := fs.Lseek(r, node, h, 0, unix.SEEK_DATA)
		return errno
	}},
	{name: "CopyFileRange", handle: fileHandle, changes: true, lacks: NoCopyRange, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		_, errno := fs.CopyFileRange(r, &vfs.CopyRange{SrcNode: node, SrcHandle: h, DstNode: node, DstHandle: h, DstOff: 1 << 20, Len: 1})
		return errno
	}},
	{name: "Opendir", onDir: true, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
		var o vfs.Opened
		errno := fs.Opendir(r, node, 0, &o)
		if errno == 0 {
			fs.Releasedir(r, node, o.Handle)
		}
		return errno
	}},
	{name: "Readdir", handle: dirHandle, onDir: true, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		return fs.Readdir(r, node, h, 0, &sink{room: 1000})
	}},
	{name: "Fsyncdir", handle: dirHandle, onDir: true, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		return fs.Fsyncdir(r, node, h, false)
	}},
	{name: "Releasedir", handle: dirHandle, onDir: true, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		return fs.Releasedir(r, node, h)
	}},
	{name: "Statfs", make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return fs.Statfs(r, node, &vfs.Statfs{})
	}},
	{name: "Getxattr", lacks: NoXattr, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
		_, errno := fs.Getxattr(r, node, []byte("user.some\x00"), make([]byte, 64))
		return errno
	}},
	{name: "Listxattr", lacks: NoXattr, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
		_, errno := fs.Listxattr(r, node, make([]byte, 1024))
		return errno
	}},
	{name: "Setxattr", lacks: NoXattr, changes: true, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return fs.Setxattr(r, node, []byte("user.new\x00"), []byte("v"), 0, false)
	}},
	{name: "Removexattr", lacks: NoXattr, changes: true, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return fs.Removexattr(r, node, []byte("user.some\x00"))
	}},
	{name: "Getlk", handle: fileHandle, lacks: NoLocks, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		return fs.Getlk(r, node, h, &vfs.Lock{Owner: 1, Type: unix.F_WRLCK, End: 1})
	}},
	{name: "Setlk", handle: fileHandle, lacks: NoLocks, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		return fs.Setlk(r, node, h, &vfs.Lock{Owner: 1, Type: unix.F_UNLCK, End: 1})
	}},
	{name: "Ioctl", handle: fileHandle, lacks: NoIoctl, make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, h vfs.Handle) syscall.Errno {
		_, _, errno := fs.Ioctl(r, node, h, fsGetFlags, 0, nil, make([]byte, 4))
		return errno
	}},
	{name: "Syncfs", make: func(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, _ vfs.Handle) syscall.Errno {
		return fs.Syncfs(r, node)
	}},
}

// forgetting gives back the reference of an entry that was made.
func forgetting(fs vfs.FileSystem, errno syscall.Errno, e *vfs.Entry) syscall.Errno {
	if errno == 0 {
		fs.Forget(e.Node, 1)
	}
	return errno
}

// releasing closes what was made and opened.
func releasing(fs vfs.FileSystem, errno syscall.Errno, e *vfs.Entry, o *vfs.Opened) syscall.Errno {
	if errno == 0 {
		fs.Release(&vfs.Request{}, e.Node, o.Handle, &vfs.ReleaseIn{})
		fs.Forget(e.Node, 1)
	}
	return errno
}

func opening(fs vfs.FileSystem, r *vfs.Request, node vfs.NodeID, flags uint32) syscall.Errno {
	var o vfs.Opened
	errno := fs.Open(r, node, flags, false, &o)
	if errno == 0 {
		fs.Release(&vfs.Request{}, node, o.Handle, &vfs.ReleaseIn{})
	}
	return errno
}
