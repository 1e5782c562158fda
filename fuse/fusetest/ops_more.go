package fusetest

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/vfs"
)

// Setxattr sets an attribute. killSGID is sent only where Init agreed on the
// longer form.
func (c *Client) Setxattr(node vfs.NodeID, name string, value []byte, flags uint32, killSGID bool) syscall.Errno {
	a := c.a().U32(uint32(len(value))).U32(flags)
	if c.SetxattrExt {
		a = a.U32(killFlag(killSGID)).U32(0)
	}
	return c.empty(fuse.SETXATTR, node, a, c.name(name), value)
}

// xattrLength handles the form of GETXATTR and LISTXATTR that asks for a length.
func (c *Client) xattrLength(op fuse.Opcode, node vfs.NodeID, rest ...[]byte) (int, syscall.Errno) {
	b, errno := c.fixed(op, node, 8, c.a().U64(0), rest...)
	if errno != 0 {
		return 0, errno
	}
	return int(le.Uint32(b)), 0
}

// Getxattr puts an attribute's value into buf, or returns the length alone if
// buf is empty.
func (c *Client) Getxattr(node vfs.NodeID, name string, buf []byte) (int, syscall.Errno) {
	if len(buf) == 0 {
		return c.xattrLength(fuse.GETXATTR, node, c.name(name))
	}
	return c.Do(fuse.GETXATTR, node, c.a().U32(uint32(len(buf))).U32(0), buf, c.name(name))
}

// Listxattr puts the names of attributes into buf, or returns the length alone
// if buf is empty.
func (c *Client) Listxattr(node vfs.NodeID, buf []byte) (int, syscall.Errno) {
	if len(buf) == 0 {
		return c.xattrLength(fuse.LISTXATTR, node)
	}
	return c.Do(fuse.LISTXATTR, node, c.a().U32(uint32(len(buf))).U32(0), buf)
}

// Removexattr removes an attribute.
func (c *Client) Removexattr(node vfs.NodeID, name string) syscall.Errno {
	return c.empty(fuse.REMOVEXATTR, node, nil, c.name(name))
}

func (c *Client) lockArgs(h vfs.Handle, lk vfs.Lock) Append {
	return c.a().U64(uint64(h)).U64(lk.Owner).U64(lk.Start).U64(lk.End).U32(lk.Type).U32(lk.PID).
		U32(killFlag(lk.Flock)).U32(0)
}

// Getlk asks which lock stands in the way of lk.
func (c *Client) Getlk(node vfs.NodeID, h vfs.Handle, lk vfs.Lock) (vfs.Lock, syscall.Errno) {
	b, errno := c.fixed(fuse.GETLK, node, 24, c.lockArgs(h, lk))
	if errno != 0 {
		return vfs.Lock{}, errno
	}
	return vfs.Lock{Start: le.Uint64(b), End: le.Uint64(b[8:]), Type: le.Uint32(b[16:]), PID: le.Uint32(b[20:])}, 0
}

// Setlk takes or gives up a lock: SETLKW with lk.Wait, else SETLK.
func (c *Client) Setlk(node vfs.NodeID, h vfs.Handle, lk vfs.Lock) syscall.Errno {
	op := fuse.SETLK
	if lk.Wait {
		op = fuse.SETLKW
	}
	return c.empty(op, node, c.lockArgs(h, lk))
}

// Interrupt asks for the request with this number to end soon.
func (c *Client) Interrupt(unique uint64) { c.Post(fuse.INTERRUPT, 0, c.a().U64(unique)) }

// Ioctl passes in to a command and puts the result into out. flags are
// FUSE_IOCTL_*.
func (c *Client) Ioctl(node vfs.NodeID, h vfs.Handle, flags, cmd uint32, arg uint64, in, out []byte) (n int, result int32, errno syscall.Errno) {
	a := c.a().U64(uint64(h)).U32(flags).U32(cmd).U64(arg).U32(uint32(len(in))).U32(uint32(len(out)))
	c.unique += 2
	c.message(fuse.IOCTL, node, a, nil, [][]byte{in})
	head := c.payload[:16]
	c.out = append(c.out[:0], c.replyHd[:], head, out)
	used, err := c.t.Roundtrip(c.in, c.out)
	if err != nil {
		return 0, 0, c.broken(err)
	}
	n, errno, err = Reply(used, c.replyHd[:], c.unique)
	switch {
	case err == nil && errno == 0 && n < len(head):
		err = errors.New("IOCTL: reply is too short")
	case err == nil && errno == 0:
		return n - len(head), int32(le.Uint32(head)), 0
	}
	if err != nil {
		errno = c.broken(err)
	}
	return 0, 0, errno
}

// Fallocate is FALLOCATE.
func (c *Client) Fallocate(node vfs.NodeID, h vfs.Handle, off, length uint64, mode uint32) syscall.Errno {
	return c.empty(fuse.FALLOCATE, node, c.a().U64(uint64(h)).U64(off).U64(length).U32(mode).U32(0))
}

// Lseek is LSEEK.
func (c *Client) Lseek(node vfs.NodeID, h vfs.Handle, off uint64, whence uint32) (uint64, syscall.Errno) {
	b, errno := c.fixed(fuse.LSEEK, node, 8, c.a().U64(uint64(h)).U64(off).U32(whence).U32(0))
	if errno != 0 {
		return 0, errno
	}
	return le.Uint64(b), 0
}

func (c *Client) copyArgs(in vfs.CopyRange) Append {
	return c.a().U64(uint64(in.SrcHandle)).U64(in.SrcOff).U64(uint64(in.DstNode)).U64(uint64(in.DstHandle)).
		U64(in.DstOff).U64(in.Len).U64(in.Flags)
}

// CopyFileRange is COPY_FILE_RANGE.
func (c *Client) CopyFileRange(in vfs.CopyRange) (uint64, syscall.Errno) {
	b, errno := c.fixed(fuse.COPY_FILE_RANGE, in.SrcNode, 8, c.copyArgs(in))
	if errno != 0 {
		return 0, errno
	}
	return uint64(le.Uint32(b)), 0
}

// CopyFileRange64 is COPY_FILE_RANGE_64.
func (c *Client) CopyFileRange64(in vfs.CopyRange) (uint64, syscall.Errno) {
	b, errno := c.fixed(fuse.COPY_FILE_RANGE_64, in.SrcNode, 8, c.copyArgs(in))
	if errno != 0 {
		return 0, errno
	}
	return le.Uint64(b), 0
}

// WholeFile is a write lock over a whole file.
func WholeFile(owner uint64, wait bool) vfs.Lock {
	return vfs.Lock{Owner: owner, End: vfs.MaxLockEnd, Type: unix.F_WRLCK, PID: 1, Wait: wait}
}
