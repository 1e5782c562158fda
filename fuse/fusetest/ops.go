package fusetest

import (
	"syscall"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/vfs"
)

// InitIn is what a guest says in INIT.
type InitIn struct {
	Major, Minor, MaxReadahead uint32
	Flags                      uint64 // of both words
	Short                      bool   // 16 bytes even with INIT_EXT in Flags
}

// InitOut is struct fuse_init_out.
type InitOut struct {
	Major, Minor, MaxReadahead uint32
	Flags                      uint64 // of both words
	MaxBackground, Congestion  uint16
	MaxWrite, TimeGran         uint32
	MaxPages, MapAlignment     uint16
	MaxStackDepth              uint32
	RequestTimeout             uint16
}

// InitExt is FUSE_INIT_EXT, which brings the second word of flags.
const InitExt = 1 << 30

const setxattrExt = 1 << 29

// Linux is what a guest with FUSE 7.45 offers, every flag set.
func Linux() InitIn {
	return InitIn{Major: 7, Minor: 45, MaxReadahead: 128 << 10, Flags: (1<<43 - 1) &^ (1 << 31)}
}

// Init begins a session.
func (c *Client) Init(in InitIn) (InitOut, syscall.Errno) {
	a := c.a().U32(in.Major).U32(in.Minor).U32(in.MaxReadahead).U32(uint32(in.Flags))
	if in.Flags&InitExt != 0 && !in.Short {
		a = a.U32(uint32(in.Flags >> 32)).Zero(44)
	}
	b, errno := c.fixed(fuse.INIT, 0, InitSize, a)
	if errno != 0 {
		return InitOut{}, errno
	}
	o := InitOut{
		Major:          le.Uint32(b),
		Minor:          le.Uint32(b[4:]),
		MaxReadahead:   le.Uint32(b[8:]),
		Flags:          uint64(le.Uint32(b[12:])) | uint64(le.Uint32(b[32:]))<<32,
		MaxBackground:  le.Uint16(b[16:]),
		Congestion:     le.Uint16(b[18:]),
		MaxWrite:       le.Uint32(b[20:]),
		TimeGran:       le.Uint32(b[24:]),
		MaxPages:       le.Uint16(b[28:]),
		MapAlignment:   le.Uint16(b[30:]),
		MaxStackDepth:  le.Uint32(b[36:]),
		RequestTimeout: le.Uint16(b[40:]),
	}
	c.SetxattrExt = o.Flags&setxattrExt != 0
	return o, 0
}

// Destroy ends the session.
func (c *Client) Destroy() syscall.Errno { return c.empty(fuse.DESTROY, 0, nil) }

// Lookup looks a name up.
func (c *Client) Lookup(parent vfs.NodeID, name string) (vfs.Entry, syscall.Errno) {
	return c.entry(fuse.LOOKUP, parent, nil, nil, c.name(name))
}

// Forget gives n references back.
func (c *Client) Forget(node vfs.NodeID, n uint64) { c.Post(fuse.FORGET, node, c.a().U64(n)) }

// BatchForget gives back one reference to each of nodes.
func (c *Client) BatchForget(nodes ...vfs.NodeID) {
	var list Append
	for _, n := range nodes {
		list = list.U64(uint64(n)).U64(1)
	}
	c.Post(fuse.BATCH_FORGET, 0, c.a().U32(uint32(len(nodes))).U32(0), list)
}

// useHandle returns the flag and the field for a handle that need not be.
func useHandle(h vfs.Handle) (flag uint32, fh uint64) {
	if h == vfs.NoHandle {
		return 0, 0
	}
	return 1, uint64(h)
}

// Getattr asks for attributes, of an open file if h is not vfs.NoHandle.
func (c *Client) Getattr(node vfs.NodeID, h vfs.Handle) (vfs.AttrOut, syscall.Errno) {
	flag, fh := useHandle(h)
	b, errno := c.fixed(fuse.GETATTR, node, AttrSize, c.a().U32(flag).U32(0).U64(fh))
	if errno != 0 {
		return vfs.AttrOut{}, errno
	}
	return Attr(b), 0
}

// Setattr changes attributes, of an open file if h is not vfs.NoHandle.
func (c *Client) Setattr(node vfs.NodeID, h vfs.Handle, in vfs.SetAttr) (vfs.AttrOut, syscall.Errno) {
	flag, fh := useHandle(h)
	a := c.a().U32(uint32(in.Valid) | flag<<6).U32(0).U64(fh).U64(in.Size).U64(0).
		U64(uint64(in.Atime.Sec)).U64(uint64(in.Mtime.Sec)).U64(uint64(in.Ctime.Sec)).
		U32(in.Atime.Nsec).U32(in.Mtime.Nsec).U32(in.Ctime.Nsec).
		U32(in.Mode).U32(0).U32(in.UID).U32(in.GID).U32(0)
	b, errno := c.fixed(fuse.SETATTR, node, AttrSize, a)
	if errno != 0 {
		return vfs.AttrOut{}, errno
	}
	return Attr(b), 0
}

// Statx is STATX.
func (c *Client) Statx(node vfs.NodeID, h vfs.Handle, flags, mask uint32) (vfs.Statx, syscall.Errno) {
	flag, fh := useHandle(h)
	b, errno := c.fixed(fuse.STATX, node, StatxSize, c.a().U32(flag).U32(0).U64(fh).U32(flags).U32(mask))
	if errno != 0 {
		return vfs.Statx{}, errno
	}
	return Statx(b), 0
}

// Access is ACCESS.
func (c *Client) Access(node vfs.NodeID, mask uint32) syscall.Errno {
	return c.empty(fuse.ACCESS, node, c.a().U32(mask).U32(0))
}

// Readlink puts a link's target into buf and returns its length.
func (c *Client) Readlink(node vfs.NodeID, buf []byte) (int, syscall.Errno) {
	return c.Do(fuse.READLINK, node, nil, buf)
}

// Symlink makes a symbolic link.
func (c *Client) Symlink(parent vfs.NodeID, name, target string) (vfs.Entry, syscall.Errno) {
	n, t := c.twoNames(name, target)
	return c.entry(fuse.SYMLINK, parent, nil, c.Ext, n, t)
}

// Mknod makes a file of any type.
func (c *Client) Mknod(parent vfs.NodeID, name string, mode, rdev, umask uint32) (vfs.Entry, syscall.Errno) {
	return c.entry(fuse.MKNOD, parent, c.a().U32(mode).U32(rdev).U32(umask).U32(0), c.Ext, c.name(name))
}

// Mkdir makes a directory.
func (c *Client) Mkdir(parent vfs.NodeID, name string, mode, umask uint32) (vfs.Entry, syscall.Errno) {
	return c.entry(fuse.MKDIR, parent, c.a().U32(mode).U32(umask), c.Ext, c.name(name))
}

// Link makes another name for node.
func (c *Client) Link(node, newParent vfs.NodeID, name string) (vfs.Entry, syscall.Errno) {
	return c.entry(fuse.LINK, newParent, c.a().U64(uint64(node)), nil, c.name(name))
}

// Unlink removes a name.
func (c *Client) Unlink(parent vfs.NodeID, name string) syscall.Errno {
	return c.empty(fuse.UNLINK, parent, nil, c.name(name))
}

// Rmdir removes a directory.
func (c *Client) Rmdir(parent vfs.NodeID, name string) syscall.Errno {
	return c.empty(fuse.RMDIR, parent, nil, c.name(name))
}

// Rename is RENAME.
func (c *Client) Rename(parent vfs.NodeID, name string, newParent vfs.NodeID, newName string) syscall.Errno {
	a, b := c.twoNames(name, newName)
	return c.empty(fuse.RENAME, parent, c.a().U64(uint64(newParent)), a, b)
}

// Rename2 is RENAME2, with flags of renameat2(2).
func (c *Client) Rename2(parent vfs.NodeID, name string, newParent vfs.NodeID, newName string, flags uint32) syscall.Errno {
	a, b := c.twoNames(name, newName)
	return c.empty(fuse.RENAME2, parent, c.a().U64(uint64(newParent)).U32(flags).U32(0), a, b)
}

func killFlag(kill bool) uint32 {
	if kill {
		return 1
	}
	return 0
}

func (c *Client) opened(op fuse.Opcode, node vfs.NodeID, flags uint32, kill bool) (vfs.Opened, syscall.Errno) {
	b, errno := c.fixed(op, node, OpenSize, c.a().U32(flags).U32(killFlag(kill)))
	if errno != 0 {
		return vfs.Opened{}, errno
	}
	return Opened(b), 0
}

// Open opens a file.
func (c *Client) Open(node vfs.NodeID, flags uint32, kill bool) (vfs.Opened, syscall.Errno) {
	return c.opened(fuse.OPEN, node, flags, kill)
}

// Opendir opens a directory.
func (c *Client) Opendir(node vfs.NodeID, flags uint32) (vfs.Opened, syscall.Errno) {
	return c.opened(fuse.OPENDIR, node, flags, false)
}

func (c *Client) created(op fuse.Opcode, parent vfs.NodeID, name string, flags, mode, umask uint32) (vfs.Entry, vfs.Opened, syscall.Errno) {
	a := c.a().U32(flags).U32(mode).U32(umask).U32(0)
	b, errno := c.fixedExt(op, parent, EntrySize+OpenSize, a, c.Ext, [][]byte{c.name(name)})
	if errno != 0 {
		return vfs.Entry{}, vfs.Opened{}, errno
	}
	return Entry(b), Opened(b[EntrySize:]), 0
}

// Create makes and opens a file.
func (c *Client) Create(parent vfs.NodeID, name string, flags, mode, umask uint32) (vfs.Entry, vfs.Opened, syscall.Errno) {
	return c.created(fuse.CREATE, parent, name, flags, mode, umask)
}

// Tmpfile makes and opens a file without a name.
func (c *Client) Tmpfile(parent vfs.NodeID, flags, mode, umask uint32) (vfs.Entry, vfs.Opened, syscall.Errno) {
	return c.created(fuse.TMPFILE, parent, "/", flags, mode, umask)
}

// Read reads into buf.
func (c *Client) Read(node vfs.NodeID, h vfs.Handle, buf []byte, off uint64, openFlags uint32) (int, syscall.Errno) {
	return c.Do(fuse.READ, node, c.readArgs(h, off, len(buf), openFlags), buf)
}

func (c *Client) readArgs(h vfs.Handle, off uint64, size int, openFlags uint32) Append {
	return c.a().U64(uint64(h)).U64(off).U32(uint32(size)).U32(0).U64(0).U32(openFlags).U32(0)
}

// Write writes data; flags are FUSE_WRITE_*.
func (c *Client) Write(node vfs.NodeID, h vfs.Handle, data []byte, off uint64, openFlags, flags uint32) (int, syscall.Errno) {
	a := c.a().U64(uint64(h)).U64(off).U32(uint32(len(data))).U32(flags).U64(0).U32(openFlags).U32(0)
	b, errno := c.fixed(fuse.WRITE, node, 8, a, data)
	if errno != 0 {
		return 0, errno
	}
	return int(le.Uint32(b)), 0
}

// Flush is FLUSH.
func (c *Client) Flush(node vfs.NodeID, h vfs.Handle, lockOwner uint64) syscall.Errno {
	return c.empty(fuse.FLUSH, node, c.a().U64(uint64(h)).U64(0).U64(lockOwner))
}

func (c *Client) release(op fuse.Opcode, node vfs.NodeID, h vfs.Handle, in vfs.ReleaseIn) syscall.Errno {
	var flags uint32
	if in.FlockUnlock {
		flags = 2
	}
	return c.empty(op, node, c.a().U64(uint64(h)).U32(in.OpenFlags).U32(flags).U64(in.LockOwner))
}

// Release closes a file.
func (c *Client) Release(node vfs.NodeID, h vfs.Handle, in vfs.ReleaseIn) syscall.Errno {
	return c.release(fuse.RELEASE, node, h, in)
}

// Releasedir closes a directory.
func (c *Client) Releasedir(node vfs.NodeID, h vfs.Handle) syscall.Errno {
	return c.release(fuse.RELEASEDIR, node, h, vfs.ReleaseIn{})
}

func (c *Client) sync(op fuse.Opcode, node vfs.NodeID, h vfs.Handle, datasync bool) syscall.Errno {
	return c.empty(op, node, c.a().U64(uint64(h)).U32(killFlag(datasync)).U32(0))
}

// Fsync is FSYNC.
func (c *Client) Fsync(node vfs.NodeID, h vfs.Handle, datasync bool) syscall.Errno {
	return c.sync(fuse.FSYNC, node, h, datasync)
}

// Fsyncdir is FSYNCDIR.
func (c *Client) Fsyncdir(node vfs.NodeID, h vfs.Handle, datasync bool) syscall.Errno {
	return c.sync(fuse.FSYNCDIR, node, h, datasync)
}

// Readdir puts records from off on into buf; NextDirent decodes them.
func (c *Client) Readdir(node vfs.NodeID, h vfs.Handle, off uint64, buf []byte) (int, syscall.Errno) {
	return c.Do(fuse.READDIR, node, c.readArgs(h, off, len(buf), 0), buf)
}

// Readdirplus is Readdir with an entry in each record.
func (c *Client) Readdirplus(node vfs.NodeID, h vfs.Handle, off uint64, buf []byte) (int, syscall.Errno) {
	return c.Do(fuse.READDIRPLUS, node, c.readArgs(h, off, len(buf), 0), buf)
}

// Statfs is STATFS.
func (c *Client) Statfs(node vfs.NodeID) (vfs.Statfs, syscall.Errno) {
	b, errno := c.fixed(fuse.STATFS, node, StatfsSize, nil)
	if errno != 0 {
		return vfs.Statfs{}, errno
	}
	return Statfs(b), 0
}

// Syncfs is SYNCFS.
func (c *Client) Syncfs(node vfs.NodeID) syscall.Errno {
	return c.empty(fuse.SYNCFS, node, c.a().U64(0))
}
