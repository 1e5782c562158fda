package vfstest

import (
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// session is a system on a vfs.FileSystem: it does what a guest's kernel does
// between a system call and the file system. It is used by one goroutine; any
// number of sessions may share a file system.
type session struct {
	t     reporter
	fs    vfs.FileSystem
	feat  vfs.Features
	lacks Lack
	base  vfs.NodeID // where paths begin
	who   caller

	// nowait makes each call with Nowait first, and again without if the
	// file system would have to wait.
	nowait bool
	// keep puts off giving references back until the end, as a guest with
	// much memory does.
	keep bool
	// racing says that others change the same files meanwhile, so that two
	// looks at a file need not agree.
	racing bool

	held map[vfs.NodeID]uint64 // references this session owns
	plus bool                  // the next listing uses readdirplus
}

// end gives back all references that are still held. Files that were left
// open keep theirs until they are closed, so they are closed before.
func (c *session) end() {
	for node, n := range c.held {
		c.fs.Forget(node, n)
	}
	clear(c.held)
}

// took notes a reference that the file system has given out.
func (c *session) took(node vfs.NodeID) { c.held[node]++ }

// put gives one reference back, unless it is to be kept for the end.
func (c *session) put(node vfs.NodeID) {
	if c.keep || node == c.base || node == vfs.Root {
		return
	}
	if c.held[node]--; c.held[node] == 0 {
		delete(c.held, node)
	}
	c.fs.Forget(node, 1)
}

func (c *session) as(who caller) system {
	d := *c
	d.who = who
	return &d
}

// try makes a call, first without waiting where the session does so.
func (c *session) try(call func(*vfs.Request) syscall.Errno) syscall.Errno {
	r := vfs.Request{UID: c.who.uid, GID: c.who.gid, Groups: c.who.groups, PID: 4711, Umask: c.who.umask}
	if c.nowait {
		r.Nowait = true
		if errno := call(&r); errno != vfs.WouldBlock {
			return errno
		}
		r.Nowait = false
	}
	errno := call(&r)
	if errno == vfs.WouldBlock {
		c.t.Errorf("WouldBlock from a call without Nowait")
	}
	return errno
}

// mode applies the umask where the file system leaves that to the guest.
func (c *session) mode(mode uint32) uint32 {
	if c.feat.Has(vfs.FeatDontMask) {
		return mode
	}
	return mode &^ c.who.umask
}

// kills reports whether the guest's kernel asks for setuid and setgid to be
// cleared: the caller may not keep them.
func (c *session) kills() bool { return c.who.uid != 0 && c.feat.Has(vfs.FeatKillPriv) }

// lookup finds a name and takes a reference to it.
func (c *session) lookup(parent vfs.NodeID, s string) (vfs.Entry, syscall.Errno) {
	n, errno := vfs.MakeName(s)
	if errno != 0 {
		return vfs.Entry{}, errno
	}
	var e vfs.Entry
	errno = c.try(func(r *vfs.Request) syscall.Errno { return c.fs.Lookup(r, parent, n, &e) })
	if errno != 0 {
		return vfs.Entry{}, errno
	}
	if e.Node == 0 {
		return vfs.Entry{}, syscall.ENOENT
	}
	c.took(e.Node)
	return e, 0
}

// walk finds the node of a path and takes a reference to it.
func (c *session) walk(path string) (vfs.NodeID, attr, syscall.Errno) {
	if path == "" {
		return c.base, attr{Mode: unix.S_IFDIR}, 0
	}
	parent, last, errno := c.parent(path)
	if errno != 0 {
		return 0, attr{}, errno
	}
	e, errno := c.lookup(parent, last)
	c.put(parent)
	return e.Node, attrOf(&e.Attr), errno
}

// parent finds the directory that a path's last component is in, and takes a
// reference to it.
func (c *session) parent(path string) (vfs.NodeID, string, syscall.Errno) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return c.base, path, 0
	}
	node, a, errno := c.walk(path[:i])
	if errno != 0 {
		return 0, "", errno
	}
	switch {
	case a.isType(unix.S_IFDIR):
		return node, path[i+1:], 0
	case a.isType(unix.S_IFLNK):
		errno = syscall.ELOOP
	default:
		errno = syscall.ENOTDIR
	}
	c.put(node)
	return 0, "", errno
}

// onNode runs a call on the node of a path.
func (c *session) onNode(path string, call func(*vfs.Request, vfs.NodeID) syscall.Errno) syscall.Errno {
	node, _, errno := c.walk(path)
	if errno != 0 {
		return errno
	}
	defer c.put(node)
	return c.try(func(r *vfs.Request) syscall.Errno { return call(r, node) })
}

// onName runs a call on a name in a directory.
func (c *session) onName(path string, call func(*vfs.Request, vfs.NodeID, vfs.Name) syscall.Errno) syscall.Errno {
	parent, last, errno := c.parent(path)
	if errno != 0 {
		return errno
	}
	defer c.put(parent)
	n, errno := vfs.MakeName(last)
	if errno != 0 {
		return errno
	}
	return c.try(func(r *vfs.Request) syscall.Errno { return call(r, parent, n) })
}

// makeName runs a call that makes a name, and takes in its entry.
func (c *session) makeName(path string, call func(*vfs.Request, vfs.NodeID, vfs.Name, *vfs.Entry) syscall.Errno) (attr, syscall.Errno) {
	var e vfs.Entry
	errno := c.onName(path, func(r *vfs.Request, parent vfs.NodeID, n vfs.Name) syscall.Errno {
		return call(r, parent, n, &e)
	})
	if errno != 0 {
		return attr{}, errno
	}
	return c.made(&e), 0
}

// made takes in the entry of a new name and gives its reference back.
func (c *session) made(e *vfs.Entry) attr {
	a := c.checked(e)
	c.took(e.Node)
	c.put(e.Node)
	return a
}

// checked returns the attributes of an entry. The guest uses them without
// asking again, so they must be right.
func (c *session) checked(e *vfs.Entry) attr {
	a := attrOf(&e.Attr)
	if e.Node == 0 || e.Node > vfs.MaxNodeID {
		c.t.Errorf("an entry has node id %#x", e.Node)
		return a
	}
	if c.racing {
		return a
	}
	if b, errno := c.getattr(e.Node, vfs.NoHandle); errno != 0 || b.plain() != a.plain() || b.ino != a.ino {
		c.t.Errorf("an entry said %+v, Getattr of the same node says %+v, %s", a, b, errnoName(errno))
	}
	return a
}

func (c *session) getattr(node vfs.NodeID, h vfs.Handle) (attr, syscall.Errno) {
	var out vfs.AttrOut
	errno := c.try(func(r *vfs.Request) syscall.Errno { return c.fs.Getattr(r, node, h, &out) })
	return attrOf(&out.Attr), errno
}

func (c *session) stat(path string) (attr, syscall.Errno) {
	var out vfs.AttrOut
	errno := c.onNode(path, func(r *vfs.Request, node vfs.NodeID) syscall.Errno {
		return c.fs.Getattr(r, node, vfs.NoHandle, &out)
	})
	if errno != 0 {
		return attr{}, errno
	}
	return attrOf(&out.Attr), 0
}

func (c *session) statx(path string) (statx, syscall.Errno) {
	var out vfs.Statx
	errno := c.onNode(path, func(r *vfs.Request, node vfs.NodeID) syscall.Errno {
		return c.fs.Statx(r, node, vfs.NoHandle, 0, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &out)
	})
	if errno != 0 {
		return statx{}, errno
	}
	if out.Mask&unix.STATX_BASIC_STATS != unix.STATX_BASIC_STATS {
		c.t.Errorf("Statx of %s gives only %#x of the basic attributes", path, out.Mask)
	}
	return statx{
		attr:     attrOf(&out.Attr),
		hasBtime: out.Mask&unix.STATX_BTIME != 0,
		flags:    out.Attributes & out.AttributesMask & statxFlags,
		btime:    out.Btime,
	}, 0
}

func (c *session) statfs(path string) (vfs.Statfs, syscall.Errno) {
	var out vfs.Statfs
	errno := c.onNode(path, func(r *vfs.Request, node vfs.NodeID) syscall.Errno {
		return c.fs.Statfs(r, node, &out)
	})
	return out, errno
}

func (c *session) readlink(path string) (string, syscall.Errno) {
	buf := make([]byte, unix.PathMax)
	n := 0
	errno := c.onNode(path, func(r *vfs.Request, node vfs.NodeID) (errno syscall.Errno) {
		n, errno = c.fs.Readlink(r, node, buf)
		return errno
	})
	if errno != 0 {
		return "", errno
	}
	return string(buf[:n]), 0
}

func (c *session) mkdir(path string, mode uint32) (attr, syscall.Errno) {
	return c.makeName(path, func(r *vfs.Request, parent vfs.NodeID, n vfs.Name, e *vfs.Entry) syscall.Errno {
		return c.fs.Mkdir(r, parent, n, c.mode(mode), e)
	})
}

func (c *session) mknod(path string, mode, rdev uint32) (attr, syscall.Errno) {
	return c.makeName(path, func(r *vfs.Request, parent vfs.NodeID, n vfs.Name, e *vfs.Entry) syscall.Errno {
		return c.fs.Mknod(r, parent, n, c.mode(mode), rdev, e)
	})
}

func (c *session) symlink(target, path string) (attr, syscall.Errno) {
	return c.makeName(path, func(r *vfs.Request, parent vfs.NodeID, n vfs.Name, e *vfs.Entry) syscall.Errno {
		return c.fs.Symlink(r, parent, n, append([]byte(target), 0), e)
	})
}

func (c *session) link(old, path string) (attr, syscall.Errno) {
	node, _, errno := c.walk(old)
	if errno != 0 {
		return attr{}, errno
	}
	defer c.put(node)
	return c.linkNode(node, path)
}

func (c *session) linkNode(node vfs.NodeID, path string) (attr, syscall.Errno) {
	return c.makeName(path, func(r *vfs.Request, parent vfs.NodeID, n vfs.Name, e *vfs.Entry) syscall.Errno {
		errno := c.fs.Link(r, node, parent, n, e)
		if errno == 0 && e.Node != node {
			c.t.Errorf("Link of node %d made a name of node %d", node, e.Node)
		}
		return errno
	})
}

func (c *session) unlink(path string) syscall.Errno {
	return c.onName(path, c.fs.Unlink)
}

func (c *session) rmdir(path string) syscall.Errno {
	return c.onName(path, c.fs.Rmdir)
}

func (c *session) rename(old, path string, flags uint32) syscall.Errno {
	return c.onName(old, func(r *vfs.Request, oldParent vfs.NodeID, oldName vfs.Name) syscall.Errno {
		parent, last, errno := c.parent(path)
		if errno != 0 {
			return errno
		}
		defer c.put(parent)
		newName, errno := vfs.MakeName(last)
		if errno != 0 {
			return errno
		}
		return c.fs.Rename(r, oldParent, oldName, parent, newName, flags)
	})
}

func (c *session) setattr(path string, change vfs.SetAttr) (attr, syscall.Errno) {
	node, _, errno := c.walk(path)
	if errno != 0 {
		return attr{}, errno
	}
	defer c.put(node)
	return c.setattrOf(node, vfs.NoHandle, change)
}

func (c *session) setattrOf(node vfs.NodeID, h vfs.Handle, change vfs.SetAttr) (attr, syscall.Errno) {
	if change.Valid&vfs.SetSize != 0 && c.kills() {
		change.Valid |= vfs.SetKillSUIDGID
	}
	var out vfs.AttrOut
	errno := c.try(func(r *vfs.Request) syscall.Errno { return c.fs.Setattr(r, node, h, &change, &out) })
	if errno != 0 {
		return attr{}, errno
	}
	return attrOf(&out.Attr), 0
}

func (c *session) getxattr(path, attrName string, size int) (string, int, syscall.Errno) {
	buf, n := make([]byte, size), 0
	errno := c.onNode(path, func(r *vfs.Request, node vfs.NodeID) (errno syscall.Errno) {
		n, errno = c.fs.Getxattr(r, node, append([]byte(attrName), 0), buf)
		return errno
	})
	if errno != 0 {
		return "", 0, errno
	}
	return string(buf[:min(n, size)]), n, 0
}

func (c *session) listxattr(path string, size int) ([]string, int, syscall.Errno) {
	buf, n := make([]byte, size), 0
	errno := c.onNode(path, func(r *vfs.Request, node vfs.NodeID) (errno syscall.Errno) {
		n, errno = c.fs.Listxattr(r, node, buf)
		return errno
	})
	if errno != 0 {
		return nil, 0, errno
	}
	return splitNames(buf[:min(n, size)]), n, 0
}

func (c *session) setxattr(path, attrName, value string, flags uint32) syscall.Errno {
	return c.onNode(path, func(r *vfs.Request, node vfs.NodeID) syscall.Errno {
		return c.fs.Setxattr(r, node, append([]byte(attrName), 0), []byte(value), flags, false)
	})
}

func (c *session) removexattr(path, attrName string) syscall.Errno {
	return c.onNode(path, func(r *vfs.Request, node vfs.NodeID) syscall.Errno {
		return c.fs.Removexattr(r, node, append([]byte(attrName), 0))
	})
}

// list uses plain listings and those with entries in turns.
func (c *session) list(path string) ([]dirent, syscall.Errno) {
	f, errno := c.open(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if errno != 0 {
		return nil, errno
	}
	defer f.close()
	c.plus = !c.plus && c.feat.Has(vfs.FeatReaddirplus)
	var entries []dirent
	for off, more := uint64(0), true; more; {
		s := &sink{room: 64, plus: c.plus}
		errno = c.try(func(r *vfs.Request) syscall.Errno {
			return c.fs.Readdir(r, f.(*openFile).node, f.(*openFile).h, off, s)
		})
		if errno != 0 {
			return nil, errno
		}
		more = len(s.got) > 0
		for _, e := range s.got {
			off = e.next
			if e.node != 0 {
				c.took(e.node)
				c.put(e.node)
			}
			if e.name != "." && e.name != ".." {
				entries = append(entries, dirent{e.name, e.typ})
			}
		}
	}
	slices.SortFunc(entries, func(a, b dirent) int { return strings.Compare(a.name, b.name) })
	return entries, 0
}

// sink takes up to room entries.
type sink struct {
	room int
	plus bool
	got  []listed
}

// listed is an entry as a sink got it.
type listed struct {
	name      string
	ino, next uint64
	typ       uint32
	node      vfs.NodeID // 0 if the entry was not looked up
	attr      attr
}

func (s *sink) Plus() bool    { return s.plus }
func (s *sink) Fits(int) bool { return len(s.got) < s.room }
func (s *sink) Add(name []byte, ino, next uint64, typ uint32, e *vfs.Entry) {
	l := listed{name: string(name), ino: ino, next: next, typ: typ}
	if e != nil {
		l.node, l.attr = e.Node, attrOf(&e.Attr)
	}
	s.got = append(s.got, l)
}
