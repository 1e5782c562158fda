package passthrough

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// Numbers of linux/fs.h that package unix lacks.
const (
	fsIoc32GetFlags = 0x80046601
	fsIoc32SetFlags = 0x40046602
	fsIocGetXattr   = 0x801c581f
	fsIocSetXattr   = 0x401c5820

	fsxattrSize = 28 // struct fsxattr
)

// ioctl is a command that reaches the host.
type ioctl struct {
	cmd  uint32 // as the guest sends it
	host uint32 // the same for a 64-bit process
	// min is the size of what is passed in or out. The numbers of some
	// commands promise a long, of which the kernel uses an int: a guest may
	// send either, up to max.
	min, max int
	out      bool // the kernel writes, rather than reads, the argument
}

// ioctls are all commands that reach the host: the attributes of chattr(1) and
// of xfs_io(8), project ids among them. What may be set is decided by the host's
// kernel for the caller's ids: guests before Linux 5.13 pass these commands on
// unchecked. For the guest's root that are the rights of the daemon; without
// CAP_LINUX_IMMUTABLE, it cannot make files immutable or append-only.
var ioctls = [...]ioctl{
	{unix.FS_IOC_GETFLAGS, unix.FS_IOC_GETFLAGS, 4, 8, true},
	{unix.FS_IOC_SETFLAGS, unix.FS_IOC_SETFLAGS, 4, 8, false},
	{fsIoc32GetFlags, unix.FS_IOC_GETFLAGS, 4, 4, true},
	{fsIoc32SetFlags, unix.FS_IOC_SETFLAGS, 4, 4, false},
	{fsIocGetXattr, fsIocGetXattr, fsxattrSize, fsxattrSize, true},
	{fsIocSetXattr, fsIocSetXattr, fsxattrSize, fsxattrSize, false},
}

func findIoctl(cmd uint32) *ioctl {
	for i := range ioctls {
		if ioctls[i].cmd == cmd {
			return &ioctls[i]
		}
	}
	return nil
}

// Ioctl implements [vfs.FileSystem] for files and directories.
func (fs *FS) Ioctl(r *vfs.Request, id vfs.NodeID, v vfs.Handle, cmd uint32, _ uint64, in, out []byte) (int, int32, syscall.Errno) {
	c := findIoctl(cmd)
	if c == nil {
		return 0, 0, syscall.ENOTTY
	}
	if v != vfs.NoHandle {
		h, errno := fs.handle(id, v, kindAny)
		if errno != 0 {
			return 0, 0, errno
		}
		n, result, errno := fs.ioctl(r, c, h.fd, in, out)
		h.unpin()
		return n, result, errno
	}
	n, fd, errno := fs.pin(id)
	if errno != 0 {
		return 0, 0, errno
	}
	defer n.unpin()
	if !n.isFile() && !n.isDir() {
		return 0, 0, syscall.ENOTTY
	}
	opened, errno := fs.reopen(n, fd, unix.O_RDONLY|unix.O_NONBLOCK)
	if errno != 0 {
		return 0, 0, errno
	}
	size, result, errno := fs.ioctl(r, c, opened, in, out)
	oslib.Close(opened)
	return size, result, errno
}

// ioctl runs a command on an open file. The host's kernel sees a buffer of our
// own, which is as large as the largest argument.
func (fs *FS) ioctl(r *vfs.Request, c *ioctl, fd int, in, out []byte) (int, int32, syscall.Errno) {
	var arg [fsxattrSize]byte
	if c.out {
		if len(out) < c.min {
			return 0, 0, syscall.EINVAL
		}
		result, errno := oslib.Ioctl(fd, c.host, arg[:])
		if errno != 0 {
			return 0, 0, errno
		}
		return copy(out, arg[:c.max]), int32(result), 0
	}
	if len(in) < c.min || len(in) > c.max {
		return 0, 0, syscall.EINVAL
	}
	var as acting
	if r.UID != noID { // a guest that does not tell the caller has checked it
		var errno syscall.Errno
		if as, errno = fs.become(r, keepUmask); errno != 0 {
			return 0, 0, errno
		}
	}
	copy(arg[:], in)
	result, errno := oslib.Ioctl(fd, c.host, arg[:])
	as.restore()
	return 0, int32(result), errno
}
