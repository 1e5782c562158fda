package vfstest

import (
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// caller is who makes an operation. The zero caller is root.
type caller struct {
	uid, gid uint32
	groups   []uint32
	umask    uint32
}

// system is one side of the comparison: a tree of files with the operations
// of a kernel. Paths are relative to the directory of the scenario; "" is that
// directory. No symbolic link is followed: one in the middle of a path is ELOOP.
type system interface {
	// as returns the same tree for another caller.
	as(caller) system

	stat(path string) (attr, syscall.Errno)
	statx(path string) (statx, syscall.Errno)
	statfs(path string) (vfs.Statfs, syscall.Errno)
	readlink(path string) (string, syscall.Errno)
	list(path string) ([]dirent, syscall.Errno)

	mkdir(path string, mode uint32) (attr, syscall.Errno)
	mknod(path string, mode, rdev uint32) (attr, syscall.Errno)
	symlink(target, path string) (attr, syscall.Errno)
	link(old, path string) (attr, syscall.Errno)
	unlink(path string) syscall.Errno
	rmdir(path string) syscall.Errno
	rename(old, path string, flags uint32) syscall.Errno
	setattr(path string, change vfs.SetAttr) (attr, syscall.Errno)

	getxattr(path, name string, size int) (string, int, syscall.Errno)
	listxattr(path string, size int) ([]string, int, syscall.Errno)
	setxattr(path, name, value string, flags uint32) syscall.Errno
	removexattr(path, name string) syscall.Errno

	// open takes the flags of open(2), O_CREAT, O_TMPFILE and O_DIRECTORY
	// among them; O_NOFOLLOW is understood.
	open(path string, flags int, mode uint32) (file, syscall.Errno)
}

// file is an open file or directory of a system.
type file interface {
	pread(n int, off uint64) (string, syscall.Errno)
	pwrite(data string, off uint64) (int, syscall.Errno)
	stat() (attr, syscall.Errno)
	setattr(change vfs.SetAttr) (attr, syscall.Errno)
	fsync(datasync bool) syscall.Errno
	fallocate(mode uint32, off, length uint64) syscall.Errno
	seek(off uint64, whence uint32) (uint64, syscall.Errno)
	copyTo(dst file, srcOff, dstOff, n, flags uint64) (uint64, syscall.Errno)
	// link gives the open file a name.
	link(path string) (attr, syscall.Errno)
	ioctl(cmd uint32, in []byte, out int) ([]byte, syscall.Errno)
	close() syscall.Errno
}

// attr are the attributes of a file.
type attr struct {
	Mode, Nlink, UID, GID, Rdev uint32
	Size                        uint64
	Blksize                     uint32

	ino, blocks  uint64
	atime, mtime vfs.Timespec
	ctime        vfs.Timespec
}

// plain returns a without what differs between two files that went through the
// same: identity, times, and for directories the size, which depends on the
// order in which a file system arranged the entries.
func (a attr) plain() attr {
	a.ino, a.blocks = 0, 0
	a.atime, a.mtime, a.ctime = vfs.Timespec{}, vfs.Timespec{}, vfs.Timespec{}
	if a.Mode&unix.S_IFMT == unix.S_IFDIR {
		a.Size = 0
	}
	return a
}

// isType reports whether the file is of type typ, one of S_IFMT.
func (a attr) isType(typ uint32) bool { return a.Mode&unix.S_IFMT == typ }

// attrOf takes over what a file system said.
func attrOf(a *vfs.Attr) attr {
	return attr{
		Mode: a.Mode, Nlink: a.Nlink, UID: a.UID, GID: a.GID, Rdev: a.Rdev,
		Size: a.Size, Blksize: a.Blksize,
		ino: a.Ino, blocks: a.Blocks,
		atime: a.Atime, mtime: a.Mtime, ctime: a.Ctime,
	}
}

// attrOfStat takes over what the host's kernel said.
func attrOfStat(st *unix.Stat_t) attr {
	return attr{
		Mode: st.Mode, Nlink: uint32(st.Nlink), UID: st.Uid, GID: st.Gid,
		Rdev: vfs.MakeDev(unix.Major(st.Rdev), unix.Minor(st.Rdev)),
		Size: uint64(st.Size), Blksize: uint32(st.Blksize),
		ino: st.Ino, blocks: uint64(st.Blocks),
		atime: vfs.Timespec{Sec: st.Atim.Sec, Nsec: uint32(st.Atim.Nsec)},
		mtime: vfs.Timespec{Sec: st.Mtim.Sec, Nsec: uint32(st.Mtim.Nsec)},
		ctime: vfs.Timespec{Sec: st.Ctim.Sec, Nsec: uint32(st.Ctim.Nsec)},
	}
}

// statx is the part of statx(2) that two files of the same history share.
type statx struct {
	attr     attr
	hasBtime bool
	flags    uint64 // the STATX_ATTR_* that describe the file itself

	btime vfs.Timespec
}

// statxFlags are the attributes that chattr(1) sets.
const statxFlags = unix.STATX_ATTR_COMPRESSED | unix.STATX_ATTR_IMMUTABLE | unix.STATX_ATTR_APPEND |
	unix.STATX_ATTR_NODUMP | unix.STATX_ATTR_ENCRYPTED | unix.STATX_ATTR_VERITY

// dirent is an entry of a directory: its name and S_IFMT bits.
type dirent struct {
	name string
	typ  uint32
}

// splitNames takes a list of names, each ending in a NUL, apart and sorts it.
func splitNames(b []byte) []string {
	var names []string
	for len(b) > 0 {
		i := slices.Index(b, 0)
		if i < 0 {
			return append(names, "no NUL at the end: "+string(b))
		}
		names = append(names, string(b[:i]))
		b = b[i+1:]
	}
	slices.Sort(names)
	return names
}
