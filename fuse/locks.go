package fuse

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// lockArgs decodes the arguments of the three lock requests into c.lock.
func (c *Call) lockArgs() (vfs.Handle, syscall.Errno) {
	in := args[lkIn](c)
	if in.lk.typ > unix.F_UNLCK || in.lk.start > in.lk.end || in.lk.end > vfs.MaxLockEnd {
		return 0, syscall.EINVAL
	}
	c.lock = vfs.Lock{
		Owner: in.owner,
		Start: in.lk.start,
		End:   in.lk.end,
		Type:  in.lk.typ,
		PID:   in.lk.pid,
		Flock: in.flags&lkFlock != 0,
	}
	return vfs.Handle(in.fh), 0
}

func (s *Server) getlk(c *Call) (int, syscall.Errno) {
	h, errno := c.lockArgs()
	if errno == 0 {
		errno = s.fs.Getlk(&c.req, c.node(), h, &c.lock)
	}
	if errno != 0 {
		return 0, errno
	}
	out[lkOut](c).lk = fileLock{start: c.lock.Start, end: c.lock.End, typ: c.lock.Type, pid: c.lock.PID}
	return sizeof[lkOut](), 0
}

func (s *Server) setlk(c *Call) (int, syscall.Errno) { return s.setLock(c, false) }

// setlkw waits, unless it gives up a lock, which never takes a wait and so must
// not be refused for want of room among those that do.
func (s *Server) setlkw(c *Call) (int, syscall.Errno) { return s.setLock(c, true) }

func (s *Server) setLock(c *Call, wait bool) (int, syscall.Errno) {
	h, errno := c.lockArgs()
	if errno != 0 {
		return 0, errno
	}
	if c.lock.Type == unix.F_UNLCK {
		c.class = ordinary
	} else {
		c.lock.Wait = wait
	}
	return 0, s.fs.Setlk(&c.req, c.node(), h, &c.lock)
}

// interrupt hurries on a request that waits. If it is not there, because it has
// been answered or has yet to arrive, nothing happens.
func (s *Server) interrupt(c *Call) (int, syscall.Errno) {
	s.pending.cancelUnique(args[interruptIn](c).unique)
	return 0, 0
}
