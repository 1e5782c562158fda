package watch

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// beginNamed begins a record of a call on a name in a directory.
func (fs *FS) beginNamed(op Op, r *vfs.Request, parent vfs.NodeID, name vfs.Name) *call {
	c := fs.begin(op, r, parent)
	if c != nil {
		c.name = name.Bytes()
	}
	return c
}

// Lookup implements [vfs.FileSystem].
func (fs *FS) Lookup(r *vfs.Request, parent vfs.NodeID, name vfs.Name, out *vfs.Entry) syscall.Errno {
	c, s := fs.beginNamed(OpLookup, r, parent, name), fs.session.Load()
	errno := fs.inner.Lookup(r, parent, name, out)
	result := errno
	if errno == 0 && out.Node == 0 {
		result = syscall.ENOENT
	}
	switch result {
	case 0:
		s.got(parent, name.Bytes(), out)
	case syscall.ENOENT:
		s.absent(parent, name.Bytes())
	}
	if c != nil {
		c.made(result, out)
		c.end(result)
	}
	return errno
}

// Forget implements [vfs.FileSystem]. It passes on no more references than the guest
// has got: the file system behind never has fewer than are known here, even if a
// guest gives back what a call that is under way has not yet returned.
func (fs *FS) Forget(node vfs.NodeID, n uint64) {
	if node == vfs.Root {
		fs.inner.Forget(node, n)
		return
	}
	if had := fs.session.Load().nodes.gave(node, n); had != 0 {
		fs.inner.Forget(node, had)
	}
}

// Symlink implements [vfs.FileSystem].
func (fs *FS) Symlink(r *vfs.Request, parent vfs.NodeID, name vfs.Name, target []byte, out *vfs.Entry) syscall.Errno {
	c, s := fs.beginNamed(OpSymlink, r, parent, name), fs.session.Load()
	errno := fs.inner.Symlink(r, parent, name, target, out)
	if errno == 0 {
		s.got(parent, name.Bytes(), out)
	}
	if c != nil {
		c.rec.Path2 = text(target)
		c.made(errno, out)
		c.end(errno)
	}
	return errno
}

// Mknod implements [vfs.FileSystem].
func (fs *FS) Mknod(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode, rdev uint32, out *vfs.Entry) syscall.Errno {
	c, s := fs.beginNamed(OpMknod, r, parent, name), fs.session.Load()
	errno := fs.inner.Mknod(r, parent, name, mode, rdev, out)
	if errno == 0 {
		s.got(parent, name.Bytes(), out)
	}
	if c != nil {
		c.rec.Mode = mode
		c.made(errno, out)
		c.end(errno)
	}
	return errno
}

// Mkdir implements [vfs.FileSystem].
func (fs *FS) Mkdir(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode uint32, out *vfs.Entry) syscall.Errno {
	c, s := fs.beginNamed(OpMkdir, r, parent, name), fs.session.Load()
	errno := fs.inner.Mkdir(r, parent, name, mode, out)
	if errno == 0 {
		s.got(parent, name.Bytes(), out)
	}
	if c != nil {
		c.rec.Mode = mode
		c.made(errno, out)
		c.end(errno)
	}
	return errno
}

// Link implements [vfs.FileSystem].
func (fs *FS) Link(r *vfs.Request, node, newParent vfs.NodeID, newName vfs.Name, out *vfs.Entry) syscall.Errno {
	c, s := fs.begin(OpLink, r, node), fs.session.Load()
	if c != nil {
		// The path that the node had, before it gets another.
		c.rec.Path = c.build(&c.path, node, nil)
		c.node2, c.name2 = newParent, newName.Bytes()
	}
	errno := fs.inner.Link(r, node, newParent, newName, out)
	if errno == 0 {
		s.got(newParent, newName.Bytes(), out)
	}
	if c != nil {
		c.made(errno, out)
		c.end(errno)
	}
	return errno
}

// Unlink implements [vfs.FileSystem].
func (fs *FS) Unlink(r *vfs.Request, parent vfs.NodeID, name vfs.Name) syscall.Errno {
	c, s := fs.beginNamed(OpUnlink, r, parent, name), fs.session.Load()
	errno := fs.inner.Unlink(r, parent, name)
	if errno == 0 {
		s.absent(parent, name.Bytes())
	}
	if c != nil {
		c.end(errno)
	}
	return errno
}

// Rmdir implements [vfs.FileSystem].
func (fs *FS) Rmdir(r *vfs.Request, parent vfs.NodeID, name vfs.Name) syscall.Errno {
	c, s := fs.beginNamed(OpRmdir, r, parent, name), fs.session.Load()
	errno := fs.inner.Rmdir(r, parent, name)
	if errno == 0 {
		s.absent(parent, name.Bytes())
	}
	if c != nil {
		c.end(errno)
	}
	return errno
}

// Rename implements [vfs.FileSystem].
func (fs *FS) Rename(r *vfs.Request, oldParent vfs.NodeID, oldName vfs.Name, newParent vfs.NodeID, newName vfs.Name, flags uint32) syscall.Errno {
	c, s := fs.beginNamed(OpRename, r, oldParent, oldName), fs.session.Load()
	errno := fs.inner.Rename(r, oldParent, oldName, newParent, newName, flags)
	if errno == 0 {
		rename(s.nodes.find(oldParent), oldName.Bytes(), s.nodes.find(newParent), newName.Bytes(), flags&unix.RENAME_EXCHANGE != 0)
	}
	if c != nil {
		c.node2, c.name2 = newParent, newName.Bytes()
		c.rec.Flags = flags
		c.end(errno)
	}
	return errno
}

// Create implements [vfs.FileSystem].
func (fs *FS) Create(r *vfs.Request, parent vfs.NodeID, name vfs.Name, flags, mode uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	c, s := fs.beginNamed(OpCreate, r, parent, name), fs.session.Load()
	errno := fs.inner.Create(r, parent, name, flags, mode, out, opened)
	if errno == 0 {
		s.got(parent, name.Bytes(), out)
		s.opened(r, out.Node, opened.Handle, flags, false)
	}
	if c != nil {
		c.rec.Flags, c.rec.Mode = flags, mode
		c.made(errno, out)
		c.opened(errno, opened)
		c.end(errno)
	}
	return errno
}

// Tmpfile implements [vfs.FileSystem].
func (fs *FS) Tmpfile(r *vfs.Request, parent vfs.NodeID, flags, mode uint32, out *vfs.Entry, opened *vfs.Opened) syscall.Errno {
	c, s := fs.begin(OpTmpfile, r, parent), fs.session.Load()
	errno := fs.inner.Tmpfile(r, parent, flags, mode, out, opened)
	if errno == 0 {
		s.nodes.took(out.Node, false).unnamed(s.nodes.find(parent), out.Attr.Ino)
		s.opened(r, out.Node, opened.Handle, flags, false)
	}
	if c != nil {
		if errno == 0 {
			c.node = out.Node
		}
		c.rec.Flags, c.rec.Mode = flags, mode
		c.made(errno, out)
		c.opened(errno, opened)
		c.end(errno)
	}
	return errno
}
