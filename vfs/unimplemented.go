package vfs

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Unimplemented answers ENOSYS to everything; embed it in a FileSystem that
// does not need all methods. Init agrees to nothing.
type Unimplemented struct{}

var _ FileSystem = Unimplemented{}

func (Unimplemented) Init(Features) (Features, syscall.Errno) { return 0, 0 }
func (Unimplemented) Destroy()                                {}
func (Unimplemented) Forget(NodeID, uint64)                   {}

func (Unimplemented) Lookup(*Request, NodeID, Name, *Entry) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Getattr(*Request, NodeID, Handle, *AttrOut) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Setattr(*Request, NodeID, Handle, *SetAttr, *AttrOut) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Statx(*Request, NodeID, Handle, uint32, uint32, *Statx) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Access(*Request, NodeID, uint32) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Readlink(*Request, NodeID, []byte) (int, syscall.Errno) {
	return 0, syscall.ENOSYS
}

func (Unimplemented) Symlink(*Request, NodeID, Name, []byte, *Entry) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Mknod(*Request, NodeID, Name, uint32, uint32, *Entry) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Mkdir(*Request, NodeID, Name, uint32, *Entry) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Link(*Request, NodeID, NodeID, Name, *Entry) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Unlink(*Request, NodeID, Name) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Rmdir(*Request, NodeID, Name) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Rename(*Request, NodeID, Name, NodeID, Name, uint32) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Open(*Request, NodeID, uint32, bool, *Opened) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Create(*Request, NodeID, Name, uint32, uint32, *Entry, *Opened) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Tmpfile(*Request, NodeID, uint32, uint32, *Entry, *Opened) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Read(*Request, NodeID, Handle, []unix.Iovec, uint64, uint32) (int, syscall.Errno) {
	return 0, syscall.ENOSYS
}

func (Unimplemented) Write(*Request, NodeID, Handle, []unix.Iovec, uint64, uint32, WriteFlags) (int, syscall.Errno) {
	return 0, syscall.ENOSYS
}

func (Unimplemented) Flush(*Request, NodeID, Handle, uint64) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Release(*Request, NodeID, Handle, *ReleaseIn) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Fsync(*Request, NodeID, Handle, bool) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Fallocate(*Request, NodeID, Handle, uint64, uint64, uint32) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Lseek(*Request, NodeID, Handle, uint64, uint32) (uint64, syscall.Errno) {
	return 0, syscall.ENOSYS
}

func (Unimplemented) CopyFileRange(*Request, *CopyRange) (uint64, syscall.Errno) {
	return 0, syscall.ENOSYS
}

func (Unimplemented) Opendir(*Request, NodeID, uint32, *Opened) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Readdir(*Request, NodeID, Handle, uint64, DirSink) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Releasedir(*Request, NodeID, Handle) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Fsyncdir(*Request, NodeID, Handle, bool) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Statfs(*Request, NodeID, *Statfs) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Syncfs(*Request, NodeID) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Getxattr(*Request, NodeID, []byte, []byte) (int, syscall.Errno) {
	return 0, syscall.ENOSYS
}

func (Unimplemented) Listxattr(*Request, NodeID, []byte) (int, syscall.Errno) {
	return 0, syscall.ENOSYS
}

func (Unimplemented) Setxattr(*Request, NodeID, []byte, []byte, uint32, bool) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Removexattr(*Request, NodeID, []byte) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Getlk(*Request, NodeID, Handle, *Lock) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Setlk(*Request, NodeID, Handle, *Lock) syscall.Errno {
	return syscall.ENOSYS
}

func (Unimplemented) Ioctl(*Request, NodeID, Handle, uint32, uint64, []byte, []byte) (int, int32, syscall.Errno) {
	return 0, 0, syscall.ENOSYS
}
