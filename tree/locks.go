package tree

import (
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Getlk implements [vfs.FileSystem]. A file system that keeps no locks is ENOLCK
// where another of the tree does.
func (fs *FS) Getlk(r *vfs.Request, node vfs.NodeID, h vfs.Handle, lk *vfs.Lock) syscall.Errno {
	m, id := fs.call(node)
	if m == nil {
		return syscall.ESTALE
	}
	errno := fs.instead(m, m.child.Getlk(r, id, h, lk), syscall.ENOLCK)
	m.leave(id)
	return errno
}

// Setlk implements [vfs.FileSystem]. A wait ends with ESTALE when the mount goes.
func (fs *FS) Setlk(r *vfs.Request, node vfs.NodeID, h vfs.Handle, lk *vfs.Lock) syscall.Errno {
	m, id := fs.call(node)
	if m == nil {
		return syscall.ESTALE
	}
	var errno syscall.Errno
	if m.base != 0 && lk.Wait && !r.Nowait {
		errno = m.waitLock(r, id, h, lk)
	} else {
		errno = m.child.Setlk(r, id, h, lk)
	}
	errno = fs.instead(m, errno, syscall.ENOLCK)
	m.leave(id)
	return errno
}

// waitLock is Setlk with an interrupt that comes from the guest or from the end
// of the mount.
func (m *mount) waitLock(r *vfs.Request, id vfs.NodeID, h vfs.Handle, lk *vfs.Lock) syscall.Errno {
	guest, ended := r.Interrupt, m.ended
	done, interrupt := make(chan struct{}), make(chan struct{})
	go func() {
		select {
		case <-guest:
		case <-ended:
		case <-done:
			return
		}
		close(interrupt)
	}()
	req := *r
	req.Interrupt = interrupt
	errno := m.child.Setlk(&req, id, h, lk)
	close(done)
	if errno == syscall.EINTR {
		select {
		case <-ended:
			errno = syscall.ESTALE
		default:
		}
	}
	return errno
}
