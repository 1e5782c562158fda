package fuse

import (
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// maxIoctl bounds the data of an ioctl each way, in bytes. The size in an ioctl
// command has 14 bits, and only such commands come in restricted mode.
const maxIoctl = 16 << 10

// ioctl serves commands in restricted mode, where the guest's kernel knows from
// the command what to copy. The other mode (FUSE_IOCTL_UNRESTRICTED), in which
// a server names the guest's memory to copy, is refused.
func (s *Server) ioctl(c *Call) (int, syscall.Errno) {
	in := args[ioctlIn](c)
	data := c.tail()
	switch {
	case in.flags&ioctlUnrestricted != 0:
		return 0, syscall.ENOSYS
	case in.inSize > maxIoctl, in.outSize > maxIoctl:
		return 0, syscall.E2BIG
	case uint64(in.inSize) != uint64(len(data)),
		c.outLen < uint64(outHeaderSize+ioctlOutSize)+uint64(in.outSize):
		return 0, syscall.EINVAL
	}
	room := c.room(ioctlOutSize + int(in.outSize))
	result := room[ioctlOutSize:]
	n, ret, errno := s.fs.Ioctl(&c.req, c.node(), vfs.Handle(in.fh), in.cmd, in.arg, data, result)
	if errno != 0 {
		return 0, errno
	}
	if uint(n) > uint(len(result)) {
		return 0, syscall.EIO
	}
	*view[ioctlOut](room) = ioctlOut{result: ret}
	return ioctlOutSize + n, 0
}
