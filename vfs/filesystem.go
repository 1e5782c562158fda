package vfs

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// FileSystem is what a door serves. See the package text for the rules that
// hold for all methods: references, forged ids, errors, concurrency, waiting.
//
// Pointer arguments named out are filled on success and undefined otherwise.
// Open flags, modes, seek and rename flags are Linux's, of the x86-64 ABI.
type FileSystem interface {
	// Init begins a session: every node but the root and every handle of an
	// earlier session is dropped. offered is what the door can do; the
	// result is the part of it that the file system wants to use.
	Init(offered Features) (Features, syscall.Errno)
	// Destroy ends a session and drops what it held, as Init does.
	Destroy()

	// Lookup finds a name in a directory and takes a reference to it. A name
	// that does not exist is ENOENT or, where absence may be cached, an
	// Entry with Node 0.
	Lookup(r *Request, parent NodeID, name Name, out *Entry) syscall.Errno
	// Forget gives n references back. Giving back more than there are gives
	// back all; an unknown node is ignored.
	Forget(node NodeID, n uint64)

	Getattr(r *Request, node NodeID, h Handle, out *AttrOut) syscall.Errno
	Setattr(r *Request, node NodeID, h Handle, in *SetAttr, out *AttrOut) syscall.Errno
	// Statx is statx(2): flags are AT_STATX_*, mask is STATX_*.
	Statx(r *Request, node NodeID, h Handle, flags, mask uint32, out *Statx) syscall.Errno
	// Access is access(2) for the caller; only asked for by guests that do
	// not check permissions themselves.
	Access(r *Request, node NodeID, mask uint32) syscall.Errno
	// Readlink puts the target of a symbolic link into buf (PATH_MAX bytes),
	// without a NUL, and returns its length.
	Readlink(r *Request, node NodeID, buf []byte) (int, syscall.Errno)

	// Symlink's target ends in a NUL and is kept as it is, never resolved.
	Symlink(r *Request, parent NodeID, name Name, target []byte, out *Entry) syscall.Errno
	Mknod(r *Request, parent NodeID, name Name, mode, rdev uint32, out *Entry) syscall.Errno
	Mkdir(r *Request, parent NodeID, name Name, mode uint32, out *Entry) syscall.Errno
	Link(r *Request, node, newParent NodeID, newName Name, out *Entry) syscall.Errno
	Unlink(r *Request, parent NodeID, name Name) syscall.Errno
	Rmdir(r *Request, parent NodeID, name Name) syscall.Errno
	// Rename is renameat2(2) with RENAME_NOREPLACE, _EXCHANGE, _WHITEOUT.
	Rename(r *Request, oldParent NodeID, oldName Name, newParent NodeID, newName Name, flags uint32) syscall.Errno

	// Open opens a regular file; any other type is refused. kill asks for
	// setuid and setgid to be cleared if O_TRUNC is among the flags.
	Open(r *Request, node NodeID, flags uint32, kill bool, out *Opened) syscall.Errno
	// Create makes and opens a regular file, or opens the one that is there
	// unless flags has O_EXCL. The entry is that of the opened file itself.
	Create(r *Request, parent NodeID, name Name, flags, mode uint32, out *Entry, opened *Opened) syscall.Errno
	// Tmpfile makes and opens a file without a name (O_TMPFILE).
	Tmpfile(r *Request, parent NodeID, flags, mode uint32, out *Entry, opened *Opened) syscall.Errno
	// Read fills dst, in order, from the file at off and returns how much of
	// it; less than asked for only at the end of the file.
	Read(r *Request, node NodeID, h Handle, dst []unix.Iovec, off uint64, openFlags uint32) (int, syscall.Errno)
	// Write writes src at off, or at the end of the file when openFlags has
	// O_APPEND and flags lacks WriteCache. After a partial write it returns
	// what was written, without an error.
	Write(r *Request, node NodeID, h Handle, src []unix.Iovec, off uint64, openFlags uint32, flags WriteFlags) (int, syscall.Errno)
	// Flush is sent at each close(2) of a descriptor of the handle. The
	// fcntl locks of lockOwner end with it.
	Flush(r *Request, node NodeID, h Handle, lockOwner uint64) syscall.Errno
	Release(r *Request, node NodeID, h Handle, in *ReleaseIn) syscall.Errno
	Fsync(r *Request, node NodeID, h Handle, datasync bool) syscall.Errno
	Fallocate(r *Request, node NodeID, h Handle, off, length uint64, mode uint32) syscall.Errno
	Lseek(r *Request, node NodeID, h Handle, off uint64, whence uint32) (uint64, syscall.Errno)
	CopyFileRange(r *Request, in *CopyRange) (uint64, syscall.Errno)

	Opendir(r *Request, node NodeID, flags uint32, out *Opened) syscall.Errno
	// Readdir hands the entries from position off on to sink until it is
	// full or the directory ends. Position 0 is the start; the others are
	// those given to [DirSink.Add] before.
	Readdir(r *Request, node NodeID, h Handle, off uint64, sink DirSink) syscall.Errno
	Releasedir(r *Request, node NodeID, h Handle) syscall.Errno
	Fsyncdir(r *Request, node NodeID, h Handle, datasync bool) syscall.Errno

	Statfs(r *Request, node NodeID, out *Statfs) syscall.Errno
	// Syncfs writes back the whole file system that the node is on.
	Syncfs(r *Request, node NodeID) syscall.Errno

	// Getxattr and Listxattr put the value, or the names each with a NUL,
	// into buf and return the length; with an empty buf they return only
	// the length. A buf that is too small is ERANGE. Attribute names end in
	// a NUL.
	Getxattr(r *Request, node NodeID, name, buf []byte) (int, syscall.Errno)
	Listxattr(r *Request, node NodeID, buf []byte) (int, syscall.Errno)
	// Setxattr's flags are XATTR_CREATE and XATTR_REPLACE; killSGID asks for
	// setgid to be cleared after an access ACL was set.
	Setxattr(r *Request, node NodeID, name, value []byte, flags uint32, killSGID bool) syscall.Errno
	Removexattr(r *Request, node NodeID, name []byte) syscall.Errno

	// Getlk looks for a lock that stands in the way of lk and replaces lk by
	// it, or sets lk.Type to F_UNLCK.
	Getlk(r *Request, node NodeID, h Handle, lk *Lock) syscall.Errno
	// Setlk takes or gives up a lock. With lk.Wait it waits for it, until
	// the request is interrupted (EINTR); without, EAGAIN.
	Setlk(r *Request, node NodeID, h Handle, lk *Lock) syscall.Errno

	// Ioctl passes in to the command cmd and puts its result into out,
	// returning how much of it and the ioctl's own result. Unknown commands
	// are ENOTTY: none reaches the host that the file system does not know.
	Ioctl(r *Request, node NodeID, h Handle, cmd uint32, arg uint64, in, out []byte) (n int, result int32, errno syscall.Errno)
}

// DirSink takes the entries of a directory listing.
type DirSink interface {
	// Plus reports whether entries are to be looked up. "." and ".." never
	// are.
	Plus() bool
	// Fits reports whether an entry with a name of n bytes still fits.
	Fits(n int) bool
	// Add appends an entry; only after Fits said yes. next is the position
	// behind it, typ its S_IFMT bits. With Plus, e is the looked-up entry,
	// to which the guest then holds a reference, or nil for one that could
	// not be looked up.
	Add(name []byte, ino, next uint64, typ uint32, e *Entry)
}
