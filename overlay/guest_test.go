package overlay_test

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// system is a tree of files with the operations of a kernel. Paths are relative
// to its root; none goes through a symbolic link.
type system interface {
	mkdir(p string, mode uint32) syscall.Errno
	symlink(target, p string) syscall.Errno
	mkfifo(p string) syscall.Errno
	link(old, p string) syscall.Errno
	unlink(p string) syscall.Errno
	rmdir(p string) syscall.Errno
	rename(old, p string, flags uint32) syscall.Errno
	chmod(p string, mode uint32) syscall.Errno
	chown(p string, uid, gid uint32) syscall.Errno
	truncate(p string, size uint64) syscall.Errno
	setMtime(p string, sec int64) syscall.Errno
	setxattr(p, name, value string) syscall.Errno
	removexattr(p, name string) syscall.Errno
	// write opens with flags, writes at off and closes.
	write(p string, flags int, data string, off int64) syscall.Errno
	// describe is what there is at a path, as text. Each file that has been
	// seen has a number in seen.
	describe(p string, seen map[uint64]int) (string, syscall.Errno)
	list(p string) ([]string, syscall.Errno)
}

// guest is a system on a vfs.FileSystem. It gives all references back at once,
// or keeps them until end.
type guest struct {
	fs   vfs.FileSystem
	r    vfs.Request
	keep bool
	held map[vfs.NodeID]uint64
	plus bool // listings look up
}

func newGuest(fs vfs.FileSystem) *guest { return &guest{fs: fs, held: map[vfs.NodeID]uint64{}} }

func (g *guest) end() {
	for id, n := range g.held {
		g.fs.Forget(id, n)
	}
	clear(g.held)
}

func (g *guest) put(id vfs.NodeID) {
	switch {
	case id == vfs.Root:
	case g.keep:
		g.held[id]++
	default:
		g.fs.Forget(id, 1)
	}
}

// walk finds the node of a path and takes a reference.
func (g *guest) walk(p string) (vfs.Entry, syscall.Errno) {
	e := vfs.Entry{Node: vfs.Root, Attr: vfs.Attr{Mode: unix.S_IFDIR}}
	if p == "" {
		var a vfs.AttrOut
		errno := g.fs.Getattr(&g.r, vfs.Root, vfs.NoHandle, &a)
		e.Attr = a.Attr
		return e, errno
	}
	for _, c := range strings.Split(p, "/") {
		errno := syscall.ENOTDIR
		var next vfs.Entry
		switch e.Attr.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			errno = g.fs.Lookup(&g.r, e.Node, name(c), &next)
			if errno == 0 && next.Node == 0 {
				errno = syscall.ENOENT
			}
		case unix.S_IFLNK:
			errno = syscall.ELOOP
		}
		g.put(e.Node)
		if errno != 0 {
			return vfs.Entry{}, errno
		}
		e = next
	}
	return e, 0
}

func (g *guest) on(p string, call func(e *vfs.Entry) syscall.Errno) syscall.Errno {
	e, errno := g.walk(p)
	if errno != 0 {
		return errno
	}
	defer g.put(e.Node)
	return call(&e)
}

// in runs a call on a name in its directory.
func (g *guest) in(p string, call func(dir vfs.NodeID, last vfs.Name) syscall.Errno) syscall.Errno {
	dir, last := path.Split(p)
	return g.on(strings.TrimSuffix(dir, "/"), func(e *vfs.Entry) syscall.Errno {
		switch e.Attr.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			return call(e.Node, name(last))
		case unix.S_IFLNK:
			return syscall.ELOOP
		}
		return syscall.ENOTDIR
	})
}

// make runs a call that makes a name.
func (g *guest) make(p string, call func(dir vfs.NodeID, last vfs.Name, out *vfs.Entry) syscall.Errno) syscall.Errno {
	return g.in(p, func(dir vfs.NodeID, last vfs.Name) syscall.Errno {
		var e vfs.Entry
		errno := call(dir, last, &e)
		if errno == 0 {
			g.put(e.Node)
		}
		return errno
	})
}

func (g *guest) mkdir(p string, mode uint32) syscall.Errno {
	return g.make(p, func(dir vfs.NodeID, last vfs.Name, out *vfs.Entry) syscall.Errno {
		return g.fs.Mkdir(&g.r, dir, last, mode, out)
	})
}

func (g *guest) mkfifo(p string) syscall.Errno {
	return g.make(p, func(dir vfs.NodeID, last vfs.Name, out *vfs.Entry) syscall.Errno {
		return g.fs.Mknod(&g.r, dir, last, unix.S_IFIFO|0o600, 0, out)
	})
}

func (g *guest) symlink(target, p string) syscall.Errno {
	return g.make(p, func(dir vfs.NodeID, last vfs.Name, out *vfs.Entry) syscall.Errno {
		return g.fs.Symlink(&g.r, dir, last, append([]byte(target), 0), out)
	})
}

func (g *guest) link(old, p string) syscall.Errno {
	return g.on(old, func(e *vfs.Entry) syscall.Errno {
		return g.make(p, func(dir vfs.NodeID, last vfs.Name, out *vfs.Entry) syscall.Errno {
			return g.fs.Link(&g.r, e.Node, dir, last, out)
		})
	})
}

func (g *guest) unlink(p string) syscall.Errno {
	return g.in(p, func(dir vfs.NodeID, last vfs.Name) syscall.Errno { return g.fs.Unlink(&g.r, dir, last) })
}

func (g *guest) rmdir(p string) syscall.Errno {
	return g.in(p, func(dir vfs.NodeID, last vfs.Name) syscall.Errno { return g.fs.Rmdir(&g.r, dir, last) })
}

func (g *guest) rename(old, p string, flags uint32) syscall.Errno {
	return g.in(old, func(oldDir vfs.NodeID, oldLast vfs.Name) syscall.Errno {
		return g.in(p, func(dir vfs.NodeID, last vfs.Name) syscall.Errno {
			return g.fs.Rename(&g.r, oldDir, oldLast, dir, last, flags)
		})
	})
}

func (g *guest) setattr(p string, in vfs.SetAttr) syscall.Errno {
	return g.on(p, func(e *vfs.Entry) syscall.Errno {
		return g.fs.Setattr(&g.r, e.Node, vfs.NoHandle, &in, &vfs.AttrOut{})
	})
}

func (g *guest) chmod(p string, mode uint32) syscall.Errno {
	return g.setattr(p, vfs.SetAttr{Valid: vfs.SetMode, Mode: mode})
}

func (g *guest) chown(p string, uid, gid uint32) syscall.Errno {
	return g.setattr(p, vfs.SetAttr{Valid: vfs.SetUID | vfs.SetGID, UID: uid, GID: gid})
}

func (g *guest) setMtime(p string, sec int64) syscall.Errno {
	return g.setattr(p, vfs.SetAttr{Valid: vfs.SetMtime | vfs.SetAtime, Mtime: vfs.Timespec{Sec: sec}, Atime: vfs.Timespec{Sec: sec}})
}

// openErrno is what a kernel says of opening a file of a type for writing.
func openErrno(mode uint32) syscall.Errno {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return 0
	case unix.S_IFDIR:
		return syscall.EISDIR
	case unix.S_IFLNK:
		return syscall.ELOOP
	}
	return syscall.ENXIO
}

func (g *guest) truncate(p string, size uint64) syscall.Errno {
	return g.on(p, func(e *vfs.Entry) syscall.Errno {
		if errno := openErrno(e.Attr.Mode); errno != 0 {
			return errno
		}
		return g.fs.Setattr(&g.r, e.Node, vfs.NoHandle, &vfs.SetAttr{Valid: vfs.SetSize, Size: size}, &vfs.AttrOut{})
	})
}

// xattrErrno is what a kernel says of changing user attributes of a type.
func xattrErrno(mode uint32) syscall.Errno {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR:
		return 0
	}
	return syscall.EPERM
}

func (g *guest) setxattr(p, attr, value string) syscall.Errno {
	return g.on(p, func(e *vfs.Entry) syscall.Errno {
		if errno := xattrErrno(e.Attr.Mode); errno != 0 {
			return errno
		}
		return g.fs.Setxattr(&g.r, e.Node, append([]byte(attr), 0), []byte(value), 0, false)
	})
}

func (g *guest) removexattr(p, attr string) syscall.Errno {
	return g.on(p, func(e *vfs.Entry) syscall.Errno {
		if errno := xattrErrno(e.Attr.Mode); errno != 0 {
			return errno
		}
		return g.fs.Removexattr(&g.r, e.Node, append([]byte(attr), 0))
	})
}

// open opens a file, or makes it, and takes a reference.
func (g *guest) open(p string, flags int) (vfs.NodeID, vfs.Handle, syscall.Errno) {
	var o vfs.Opened
	e, errno := g.walk(p)
	switch {
	case errno == syscall.ENOENT && flags&unix.O_CREAT != 0:
		dir, last := path.Split(p)
		errno = g.on(strings.TrimSuffix(dir, "/"), func(d *vfs.Entry) syscall.Errno {
			return g.fs.Create(&g.r, d.Node, name(last), uint32(flags), 0o644, &e, &o)
		})
	case errno == 0 && flags&unix.O_EXCL != 0:
		errno = syscall.EEXIST
		g.put(e.Node)
	case errno == 0:
		if errno = openErrno(e.Attr.Mode); errno == 0 {
			errno = g.fs.Open(&g.r, e.Node, uint32(flags&^unix.O_CREAT), false, &o)
		}
		if errno != 0 {
			g.put(e.Node)
		}
	}
	return e.Node, o.Handle, errno
}

func (g *guest) close(node vfs.NodeID, h vfs.Handle) {
	g.fs.Release(&g.r, node, h, &vfs.ReleaseIn{})
	g.put(node)
}

func (g *guest) write(p string, flags int, data string, off int64) syscall.Errno {
	node, h, errno := g.open(p, flags)
	if errno != 0 {
		return errno
	}
	defer g.close(node, h)
	_, errno = g.fs.Write(&g.r, node, h, []unix.Iovec{oslib.Iov([]byte(data))}, uint64(off), uint32(flags), 0)
	return errno
}

func (g *guest) read(p string) (string, syscall.Errno) {
	node, h, errno := g.open(p, unix.O_RDONLY)
	if errno != 0 {
		return "", errno
	}
	defer g.close(node, h)
	return g.pread(node, h, 1<<20)
}

func (g *guest) pread(node vfs.NodeID, h vfs.Handle, n int) (string, syscall.Errno) {
	buf := make([]byte, n)
	n, errno := g.fs.Read(&g.r, node, h, []unix.Iovec{oslib.Iov(buf)}, 0, unix.O_RDONLY)
	return string(buf[:max(n, 0)]), errno
}

func (g *guest) describe(p string, seen map[uint64]int) (text string, errno syscall.Errno) {
	errno = g.on(p, func(e *vfs.Entry) syscall.Errno {
		a := &e.Attr
		number, ok := seen[a.Ino]
		if !ok {
			number = len(seen)
			seen[a.Ino] = number
		}
		var more string
		var errno syscall.Errno
		switch a.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			more, errno = g.read(p)
		case unix.S_IFLNK:
			buf := make([]byte, unix.PathMax)
			var n int
			n, errno = g.fs.Readlink(&g.r, e.Node, buf)
			more = string(buf[:max(n, 0)])
		}
		if errno != 0 {
			return errno
		}
		text = describeAttr(a.Mode, a.Nlink, a.UID, a.GID, a.Size, number) + fmt.Sprintf(" %q", more)
		names := make([]byte, 4096)
		n, errno := g.fs.Listxattr(&g.r, e.Node, names)
		if errno != 0 {
			return errno
		}
		list := strings.Split(string(names[:n]), "\x00")
		slices.Sort(list)
		for _, x := range list {
			if !strings.HasPrefix(x, "user.") {
				continue
			}
			value := make([]byte, 4096)
			n, errno := g.fs.Getxattr(&g.r, e.Node, append([]byte(x), 0), value)
			if errno != 0 {
				return errno
			}
			text += fmt.Sprintf(" %s=%q", x, value[:n])
		}
		return 0
	})
	return text, errno
}

// describeAttr leaves out what differs between directories of the same names.
func describeAttr(mode, nlink, uid, gid uint32, size uint64, number int) string {
	if mode&unix.S_IFMT == unix.S_IFDIR {
		size = 0
	}
	return fmt.Sprintf("file %d: mode %#o nlink %d owner %d:%d size %d", number, mode, nlink, uid, gid, size)
}

// names collects a listing in pieces of a few entries.
type names struct {
	g    *guest
	room int
	next uint64
	got  []string
	inos []uint64
}

func (s *names) Plus() bool    { return s.g.plus }
func (s *names) Fits(int) bool { return s.room > 0 }

func (s *names) Add(name []byte, ino, next uint64, _ uint32, e *vfs.Entry) {
	s.room--
	s.next = next
	s.got = append(s.got, string(name))
	s.inos = append(s.inos, ino)
	if e != nil {
		s.g.put(e.Node)
	}
}

func (g *guest) list(p string) (all []string, errno syscall.Errno) {
	errno = g.on(p, func(e *vfs.Entry) syscall.Errno {
		var o vfs.Opened
		if errno := g.fs.Opendir(&g.r, e.Node, 0, &o); errno != 0 {
			return errno
		}
		defer g.fs.Releasedir(&g.r, e.Node, o.Handle)
		s := names{g: g}
		for {
			before := len(s.got)
			s.room = 3
			if errno := g.fs.Readdir(&g.r, e.Node, o.Handle, s.next, &s); errno != 0 {
				return errno
			}
			if len(s.got) == before {
				break
			}
		}
		all = s.got
		slices.Sort(all)
		return 0
	})
	return all, errno
}
