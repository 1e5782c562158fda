package hypercall

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// openFlags are those that open knows.
const openFlags = unix.O_ACCMODE | unix.O_CREAT | unix.O_EXCL | unix.O_TRUNC | unix.O_APPEND | unix.O_DIRECTORY

// openTries bounds how often open begins again because what it found was made or
// removed by others before it could open it.
const openTries = 16

// permissions are the bits of a mode that a guest may give to what it makes.
const permissions = 0o777

// callOpen serves V1FileOpen and FileOpen.
func (g *Guest) callOpen(c *call) syscall.Errno {
	var p OpenParams
	if errno := g.params(c, Bytes(&p)); errno != 0 {
		return errno
	}
	fd, errno := g.open(c, p.Name.Get(), uint32(p.Flags.Get()), uint32(p.Mode.Get()))
	if errno != 0 {
		fd = -int32(errno)
	}
	p.Ret.Set(fd)
	return g.answer(c, openRet, p.Ret[:], errno)
}

func (g *Guest) open(c *call, name uint64, flags, mode uint32) (int32, syscall.Errno) {
	flags &= openFlags
	if flags&unix.O_ACCMODE == unix.O_ACCMODE ||
		flags&(unix.O_CREAT|unix.O_DIRECTORY) == unix.O_CREAT|unix.O_DIRECTORY {
		return 0, syscall.EINVAL
	}
	if errno := g.loadPath(c, name); errno != 0 {
		return 0, errno
	}
	fd, errno := g.files.reserve()
	if errno != 0 {
		return 0, errno
	}
	f, errno := g.openPath(c, flags, mode)
	if errno != 0 {
		g.files.free(fd)
		return 0, errno
	}
	f.refs.Store(1)
	g.files.install(fd, f)
	return fd, 0
}

// openPath opens or makes what the loaded path leads to.
func (g *Guest) openPath(c *call, flags, mode uint32) (f *file, errno syscall.Errno) {
	creating, exclusive := flags&unix.O_CREAT != 0, flags&unix.O_EXCL != 0
	to := toTarget
	if creating && exclusive {
		to = toLink
	}
	for range openTries {
		errno = g.follow(c, to, creating)
		p := &c.path
		switch {
		case errno != 0:
		case p.exists() && creating && exclusive:
			errno = syscall.EEXIST
		case p.exists():
			f, errno = g.openNode(c, flags)
		case creating:
			f, errno = g.create(c, flags, mode)
			if errno == syscall.EEXIST && !exclusive {
				g.leave(c)
				continue
			}
		default:
			errno = syscall.ENOENT
		}
		g.leave(c)
		return f, errno
	}
	return nil, errno
}

// create makes the file that the path is the name of. Others may make it first; what is
// opened here is never what they made.
func (g *Guest) create(c *call, flags, mode uint32) (*file, syscall.Errno) {
	p := &c.path
	mode &= permissions
	if !g.agreed.Has(vfs.FeatDontMask) {
		mode &^= g.umask
	}
	flags &^= unix.O_TRUNC
	errno := g.fs.Create(&c.req, p.dir(), p.name, flags|unix.O_EXCL, mode, &p.found, &c.opened)
	if errno != 0 {
		p.found = vfs.Entry{}
		return nil, errno
	}
	p.held = true
	return g.newFile(c, flags, false), 0
}

// openNode opens what the path leads to.
func (g *Guest) openNode(c *call, flags uint32) (*file, syscall.Errno) {
	p := &c.path
	if p.isDir() {
		if flags&unix.O_ACCMODE != unix.O_RDONLY || flags&(unix.O_CREAT|unix.O_TRUNC) != 0 {
			return nil, syscall.EISDIR
		}
		if errno := g.fs.Opendir(&c.req, p.node(), flags, &c.opened); errno != 0 {
			return nil, errno
		}
		return g.newFile(c, flags, true), 0
	}
	if flags&unix.O_DIRECTORY != 0 {
		return nil, syscall.ENOTDIR
	}
	truncating := flags&unix.O_TRUNC != 0
	flags &^= unix.O_CREAT
	ask := flags
	if !g.agreed.Has(vfs.FeatAtomicTrunc) {
		ask &^= unix.O_TRUNC
	}
	if errno := g.fs.Open(&c.req, p.node(), ask, g.uid != 0, &c.opened); errno != 0 {
		return nil, errno
	}
	f := g.newFile(c, flags, false)
	if truncating && ask&unix.O_TRUNC == 0 {
		set := vfs.SetAttr{Valid: vfs.SetSize}
		if g.uid != 0 {
			set.Valid |= vfs.SetKillSUIDGID
		}
		// Without the handle, as O_TRUNC empties files that are opened for reading, too.
		if errno := g.fs.Setattr(&c.req, f.node, vfs.NoHandle, &set, &c.attr); errno != 0 {
			f.refs.Store(1)
			g.put(c, f)
			return nil, errno
		}
	}
	return f, 0
}

// newFile makes a file of what was opened, with the path's reference.
func (g *Guest) newFile(c *call, flags uint32, dir bool) *file {
	return &file{
		node:   c.path.take(),
		handle: c.opened.Handle,
		flags:  flags & (unix.O_ACCMODE | unix.O_APPEND),
		dir:    dir,
		quiet:  c.opened.Flags&vfs.OpenNoFlush != 0,
	}
}

// callUnlink serves V1FileUnlink and FileUnlink.
func (g *Guest) callUnlink(c *call) syscall.Errno {
	var p UnlinkParams
	if errno := g.params(c, Bytes(&p)); errno != 0 {
		return errno
	}
	errno := g.unlink(c, p.Name.Get())
	p.Ret.Set(-int32(errno))
	return g.answer(c, unlinkRet, p.Ret[:], errno)
}

func (g *Guest) unlink(c *call, name uint64) syscall.Errno {
	if errno := g.loadPath(c, name); errno != 0 {
		return errno
	}
	defer g.leave(c)
	if errno := g.follow(c, toParent, false); errno != 0 {
		return errno
	}
	if !c.path.named {
		return syscall.EISDIR
	}
	return g.fs.Unlink(&c.req, c.path.dir(), c.path.name)
}

// dirMode is that of new directories, before the umask.
const dirMode = 0o777

// callMkdir serves Mkdir.
func (g *Guest) callMkdir(c *call) syscall.Errno {
	var p MkdirParams
	if errno := g.params(c, Bytes(&p)); errno != 0 {
		return errno
	}
	errno := g.mkdir(c, p.Path.Get())
	tag(&p.Tag, &p.Errno, errno)
	return g.answer(c, mkdirRet, Bytes(&p)[mkdirRet:], errno)
}

func (g *Guest) mkdir(c *call, name uint64) syscall.Errno {
	if errno := g.loadPath(c, name); errno != 0 {
		return errno
	}
	defer g.leave(c)
	if errno := g.follow(c, toParent, true); errno != 0 {
		return errno
	}
	p := &c.path
	if !p.named {
		return syscall.EEXIST
	}
	errno := g.mkdirAt(c, p.dir(), p.name, &p.found)
	p.held = errno == 0
	return errno
}

// mkdirAt makes a directory. On success out has a reference.
func (g *Guest) mkdirAt(c *call, dir vfs.NodeID, name vfs.Name, out *vfs.Entry) syscall.Errno {
	mode := uint32(dirMode)
	if !g.agreed.Has(vfs.FeatDontMask) {
		mode &^= g.umask
	}
	return g.fs.Mkdir(&c.req, dir, name, mode, out)
}

// tag is the answer of calls of version 3 that tell success or an error.
func tag(t *U32, e *I32, errno syscall.Errno) {
	if errno == 0 {
		t.Set(Success)
		return
	}
	t.Set(Error)
	e.Set(int32(errno))
}
