package rules

import (
	"sync"
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// TranslateIDs makes a file system whose owners are seen through maps: what a
// guest sees and sets are its own ids, what the file system behind gets are the
// host's. A nil or empty map changes nothing; the maps must not change any more.
//
// Translated are the caller's ids in every call that creates, changes or checks
// something, and the owners in SETATTR and in all attributes that are returned.
// Calls that only read, and those on what was opened for writing, are not made
// as anybody and pass as they are. A forbidden id is EPERM.
//
// A squashed id does not come back: a guest may see another owner than it has
// set. Access control lists hold ids that are not translated, so they are not
// agreed on. Neither are ids translated inside other attributes, such as the
// root id of a file capability.
func TranslateIDs(fs vfs.FileSystem, uids, gids *IDMap) vfs.FileSystem {
	if uids.Empty() && gids.Empty() {
		return fs
	}
	return &idFS{layer: layer{fs}, uids: uids, gids: gids}
}

type idFS struct {
	layer
	uids, gids *IDMap
}

// caller is a request, and what belongs to it, with ids of the host.
type caller struct {
	req    vfs.Request
	groups []uint32
	set    vfs.SetAttr
}

// usualGroups is for how many groups a caller has room from the start. A door
// bounds how many there are.
const usualGroups = 32

var callers = sync.Pool{New: func() any { return &caller{groups: make([]uint32, 0, usualGroups)} }}

// caller translates the ids of a request. It is given back by [caller.end].
func (fs *idFS) caller(r *vfs.Request) (*caller, syscall.Errno) {
	uid, ok1 := fs.uids.ToHost(r.UID)
	gid, ok2 := fs.gids.ToHost(r.GID)
	if !ok1 || !ok2 {
		return nil, syscall.EPERM
	}
	c := callers.Get().(*caller)
	c.req = *r
	c.req.UID, c.req.GID = uid, gid
	if len(r.Groups) != 0 {
		c.groups = c.groups[:0]
		for _, g := range r.Groups {
			if g, ok1 = fs.gids.ToHost(g); !ok1 {
				c.end()
				return nil, syscall.EPERM
			}
			c.groups = append(c.groups, g)
		}
		c.req.Groups = c.groups
	}
	return c, 0
}

func (c *caller) end() {
	c.req = vfs.Request{}
	callers.Put(c)
}

// toGuest translates the owner of what is returned.
func (fs *idFS) toGuest(a *vfs.Attr) {
	a.UID = fs.uids.ToGuest(a.UID)
	a.GID = fs.gids.ToGuest(a.GID)
}

// made ends a call that returns an entry.
func (fs *idFS) made(errno syscall.Errno, e *vfs.Entry) syscall.Errno {
	if errno == 0 {
		fs.toGuest(&e.Attr)
	}
	return errno
}

func (fs *idFS) Init(offered vfs.Features) (vfs.Features, syscall.Errno) {
	return fs.FileSystem.Init(offered &^ vfs.FeatPOSIXACL)
}

func (fs *idFS) Lookup(r *vfs.Request, parent vfs.NodeID, name vfs.Name, out *vfs.Entry) syscall.Errno {
	return fs.made(fs.FileSystem.Lookup(r, parent, name, out), out)
}

func (fs *idFS) Getattr(r *vfs.Request, node vfs.NodeID, h vfs.Handle, out *vfs.AttrOut) syscall.Errno {
	errno := fs.FileSystem.Getattr(r, node, h, out)
	if errno == 0 {
		fs.toGuest(&out.Attr)
	}
	return errno
}

func (fs *idFS) Setattr(r *vfs.Request, node vfs.NodeID, h vfs.Handle, in *vfs.SetAttr, out *vfs.AttrOut) syscall.Errno {
	c, errno := fs.caller(r)
	if errno != 0 {
		return errno
	}
	if errno = fs.owner(&c.set, in); errno == 0 {
		errno = fs.FileSystem.Setattr(&c.req, node, h, &c.set, out)
	}
	c.end()
	if errno == 0 {
		fs.toGuest(&out.Attr)
	}
	return errno
}

// owner copies a change of attributes and translates the owner in it.
func (fs *idFS) owner(set, in *vfs.SetAttr) syscall.Errno {
	*set = *in
	ok := true
	if in.Valid&vfs.SetUID != 0 {
		set.UID, ok = fs.uids.ToHost(in.UID)
	}
	if ok && in.Valid&vfs.SetGID != 0 {
		set.GID, ok = fs.gids.ToHost(in.GID)
	}
	if !ok {
		return syscall.EPERM
	}
	return 0
}

func (fs *idFS) Statx(r *vfs.Request, node vfs.NodeID, h vfs.Handle, flags, mask uint32, out *vfs.Statx) syscall.Errno {
	errno := fs.FileSystem.Statx(r, node, h, flags, mask, out)
	if errno == 0 {
		fs.toGuest(&out.Attr)
	}
	return errno
}

func (fs *idFS) Access(r *vfs.Request, node vfs.NodeID, mask uint32) syscall.Errno {
	c, errno := fs.caller(r)
	if errno != 0 {
		return errno
	}
	errno = fs.FileSystem.Access(&c.req, node, mask)
	c.end()
	return errno
}

func (fs *idFS) Symlink(r *vfs.Request, parent vfs.NodeID, name vfs.Name, target []byte, out *vfs.Entry) syscall.Errno {
	c, errno := fs.caller(r)
	if errno != 0 {
		return errno
	}
	errno = fs.FileSystem.Symlink(&c.req, parent, name, target, out)
	c.end()
	return fs.made(errno, out)
}

func (fs *idFS) Mknod(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode, rdev uint32, out *vfs.Entry) syscall.Errno {
	c, errno := fs.caller(r)
	if errno != 0 {
		return errno
	}
	errno = fs.FileSystem.Mknod(&c.req, parent, name, mode, rdev, out)
	c.end()
	return fs.made(errno, out)
}

func (fs *idFS) Mkdir(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode uint32, out *vfs.Entry) syscall.Errno {
	c, errno := fs.caller(r)
	if errno != 0 {
		return errno
	}
	errno = fs.FileSystem.Mkdir(&c.req, parent, name, mode, out)
	c.end()
	return fs.made(errno, out)
}

func (fs *idFS) Link(r *vfs.Request, node, newParent vfs.NodeID, newName vfs.Name, out *vfs.Entry) syscall.Errno {
	c, errno := fs.caller(r)
	if errno != 0 {
		return errno
	}
	errno = fs.FileSystem.Link(&c.req, node, newParent, newName, out)
	c.end()
	return fs.made(errno, out)
}

func (fs *idFS) Unlink(r *vfs.Request, parent vfs.NodeID, name vfs.Name) syscall.Errno {
	c, errno := fs.caller(r)
	if errno != 0 {
		return errno
	}
	errno = fs.FileSystem.Unlink(&c.req, parent, name)
	c.end()
	return errno
}

func (fs *idFS) Rmdir(r *vfs.Request, parent vfs.NodeID, name vfs.Name) syscall.Errno {
	c, errno := fs.caller(r)
	if errno != 0 {
		return errno
	}
	errno = fs.FileSystem.Rmdir(&c.req, parent, name)
	c.end()
	return errno
}

func (fs *idFS) Rename(r *vfs.Request, oldParent vfs.NodeID, oldName vfs.Name, newParent vfs.NodeID, newName vfs.Name, flags uint32) syscall.Errno {
	c, errno := fs.caller(r)
	if errno != 0 {
		return errno
	}
	errno = fs.FileSystem.Rename(&c.req, oldParent, oldName, newParent, newName, flags)
	c.end()
	return errno
}

func (fs *idFS) Open(r *vfs.Request, node vfs.NodeID, flags uint32, kill bool, out *vfs.Opened) syscall.Errno {
	if !changes(flags) {
		return fs.FileSystem.Open(r, node, flags, kill, out)
	}
	c, errno := fs.caller(r)
	if errno != 0 {
		return errno
	}
	errno = fs.FileSystem.Open(&c.req, node, flags, kill, out)
	c.end()
	return errno
}

func (fs *idFS) Create(r *vfs.Request, parent vfs.NodeID, name vfs.Name, flags, mode uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	c, errno := fs.caller(r)
	if errno != 0 {
		return errno
	}
	errno = fs.FileSystem.Create(&c.req, parent, name, flags, mode, out, opened)
	c.end()
	return fs.made(errno, out)
}

func (fs *idFS) Tmpfile(r *vfs.Request, parent vfs.NodeID, flags, mode uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	c, errno := fs.caller(r)
	if errno != 0 {
		return errno
	}
	errno = fs.FileSystem.Tmpfile(&c.req, parent, flags, mode, out, opened)
	c.end()
	return fs.made(errno, out)
}

func (fs *idFS) Fallocate(r *vfs.Request, node vfs.NodeID, h vfs.Handle, off, length uint64, mode uint32) syscall.Errno {
	c, errno := fs.caller(r)
	if errno != 0 {
		return errno
	}
	errno = fs.FileSystem.Fallocate(&c.req, node, h, off, length, mode)
	c.end()
	return errno
}

func (fs *idFS) CopyFileRange(r *vfs.Request, in *vfs.CopyRange) (uint64, syscall.Errno) {
	c, errno := fs.caller(r)
	if errno != 0 {
		return 0, errno
	}
	n, errno := fs.FileSystem.CopyFileRange(&c.req, in)
	c.end()
	return n, errno
}

func (fs *idFS) Setxattr(r *vfs.Request, node vfs.NodeID, name, value []byte, flags uint32, killSGID bool) syscall.Errno {
	c, errno := fs.caller(r)
	if errno != 0 {
		return errno
	}
	errno = fs.FileSystem.Setxattr(&c.req, node, name, value, flags, killSGID)
	c.end()
	return errno
}

func (fs *idFS) Removexattr(r *vfs.Request, node vfs.NodeID, name []byte) syscall.Errno {
	c, errno := fs.caller(r)
	if errno != 0 {
		return errno
	}
	errno = fs.FileSystem.Removexattr(&c.req, node, name)
	c.end()
	return errno
}

func (fs *idFS) Ioctl(r *vfs.Request, node vfs.NodeID, h vfs.Handle, cmd uint32, arg uint64, in, out []byte) (int, int32, syscall.Errno) {
	c, errno := fs.caller(r)
	if errno != 0 {
		return 0, 0, errno
	}
	n, result, errno := fs.FileSystem.Ioctl(&c.req, node, h, cmd, arg, in, out)
	c.end()
	return n, result, errno
}

// idSink translates the entries of a listing on their way to a door.
type idSink struct {
	vfs.DirSink
	fs    *idFS
	entry vfs.Entry
}

var idSinks = sync.Pool{New: func() any { return new(idSink) }}

// Add passes a copy on: the entry belongs to the file system behind.
func (s *idSink) Add(name []byte, ino, next uint64, typ uint32, e *vfs.Entry) {
	if e != nil {
		s.entry = *e
		s.fs.toGuest(&s.entry.Attr)
		e = &s.entry
	}
	s.DirSink.Add(name, ino, next, typ, e)
}

func (fs *idFS) Readdir(r *vfs.Request, node vfs.NodeID, h vfs.Handle, off uint64, sink vfs.DirSink) syscall.Errno {
	if !sink.Plus() {
		return fs.FileSystem.Readdir(r, node, h, off, sink)
	}
	s := idSinks.Get().(*idSink)
	s.DirSink, s.fs = sink, fs
	errno := fs.FileSystem.Readdir(r, node, h, off, s)
	s.DirSink, s.fs = nil, nil
	idSinks.Put(s)
	return errno
}
