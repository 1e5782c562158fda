package vfstest

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// host is a system made of plain system calls on a directory.
type host struct {
	dir int // descriptor of the directory; paths are resolved from it
	who caller
}

// newHost opens dir. end closes it.
func newHost(t reporter, dir string) *host {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open %s: %v", dir, err)
	}
	return &host{dir: fd}
}

func (h *host) end() { unix.Close(h.dir) }

func (h *host) as(who caller) system { return &host{dir: h.dir, who: who} }

// errnoOf turns what x/sys/unix returns into an errno.
func errnoOf(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	return err.(syscall.Errno)
}

// procPath names a descriptor, or a file in the directory it stands for, to
// calls that take nothing but paths.
func procPath(fd int, last string) string {
	return path.Join(fmt.Sprintf("/proc/self/fd/%d", fd), last)
}

// in runs f with a descriptor of the directory that the last component of a
// path is in, and as the caller. For "" the component is ".".
func (h *host) in(p string, f func(dir int, last string) error) syscall.Errno {
	i := strings.LastIndexByte(p, '/')
	last := p[i+1:]
	if p == "" {
		last = "."
	}
	if len(last) > vfs.MaxName {
		return syscall.ENAMETOOLONG
	}
	if i < 0 {
		var err error
		h.who.do(func() { err = f(h.dir, last) })
		return errnoOf(err)
	}
	fd, err := unix.Openat2(h.dir, p[:i], &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH,
	})
	if err != nil {
		return errnoOf(err)
	}
	defer unix.Close(fd)
	h.who.do(func() { err = f(fd, last) })
	return errnoOf(err)
}

// make runs a call that makes a name and returns what came of it.
func (h *host) make(p string, f func(dir int, last string) error) (attr, syscall.Errno) {
	if errno := h.in(p, f); errno != 0 {
		return attr{}, errno
	}
	return h.stat(p)
}

func (h *host) stat(p string) (attr, syscall.Errno) {
	var st unix.Stat_t
	errno := h.in(p, func(dir int, last string) error {
		return unix.Fstatat(dir, last, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	if errno != 0 {
		return attr{}, errno
	}
	return attrOfStat(&st), 0
}

func (h *host) statx(p string) (statx, syscall.Errno) {
	var out unix.Statx_t
	errno := h.in(p, func(dir int, last string) error {
		return unix.Statx(dir, last, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &out)
	})
	if errno != 0 {
		return statx{}, errno
	}
	a, errno := h.stat(p)
	return statx{
		attr:     a,
		hasBtime: out.Mask&unix.STATX_BTIME != 0,
		flags:    out.Attributes & out.Attributes_mask & statxFlags,
		btime:    vfs.Timespec{Sec: out.Btime.Sec, Nsec: out.Btime.Nsec},
	}, errno
}

func (h *host) statfs(p string) (vfs.Statfs, syscall.Errno) {
	var st unix.Statfs_t
	errno := h.in(p, func(dir int, last string) error { return unix.Statfs(procPath(dir, last), &st) })
	return vfs.Statfs{
		Blocks: st.Blocks, Bfree: st.Bfree, Bavail: st.Bavail, Files: st.Files, Ffree: st.Ffree,
		Bsize: uint32(st.Bsize), Frsize: uint32(st.Frsize), Namelen: uint32(st.Namelen),
	}, errno
}

func (h *host) readlink(p string) (string, syscall.Errno) {
	buf, n := make([]byte, unix.PathMax), 0
	errno := h.in(p, func(dir int, last string) (err error) {
		n, err = unix.Readlinkat(dir, last, buf)
		return err
	})
	if errno != 0 {
		return "", errno
	}
	return string(buf[:n]), 0
}

func (h *host) list(p string) ([]dirent, syscall.Errno) {
	f, errno := h.open(p, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if errno != 0 {
		return nil, errno
	}
	defer f.close()
	fd := f.(*hostFile).fd
	var names []string
	buf := make([]byte, 1<<16)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if err != nil {
			return nil, errnoOf(err)
		}
		if n == 0 {
			break
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
	slices.Sort(names)
	var entries []dirent
	for _, n := range names {
		var st unix.Stat_t
		if err := unix.Fstatat(fd, n, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return nil, errnoOf(err)
		}
		entries = append(entries, dirent{n, st.Mode & unix.S_IFMT})
	}
	return entries, 0
}

func (h *host) mkdir(p string, mode uint32) (attr, syscall.Errno) {
	return h.make(p, func(dir int, last string) error { return unix.Mkdirat(dir, last, mode) })
}

func (h *host) mknod(p string, mode, rdev uint32) (attr, syscall.Errno) {
	return h.make(p, func(dir int, last string) error {
		major, minor := vfs.SplitDev(rdev)
		return unix.Mknodat(dir, last, mode, int(unix.Mkdev(major, minor)))
	})
}

func (h *host) symlink(target, p string) (attr, syscall.Errno) {
	return h.make(p, func(dir int, last string) error { return unix.Symlinkat(target, dir, last) })
}

func (h *host) link(old, p string) (attr, syscall.Errno) {
	return h.make(old, func(oldDir int, oldLast string) error {
		// As linkat(2), which finds the old name before the new one's parent.
		var st unix.Stat_t
		if err := unix.Fstatat(oldDir, oldLast, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		return errOrNil(h.in(p, func(dir int, last string) error {
			return unix.Linkat(oldDir, oldLast, dir, last, 0)
		}))
	})
}

// errOrNil is the inverse of errnoOf.
func errOrNil(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

func (h *host) unlink(p string) syscall.Errno {
	return h.in(p, func(dir int, last string) error { return unix.Unlinkat(dir, last, 0) })
}

func (h *host) rmdir(p string) syscall.Errno {
	return h.in(p, func(dir int, last string) error { return unix.Unlinkat(dir, last, unix.AT_REMOVEDIR) })
}

func (h *host) rename(old, p string, flags uint32) syscall.Errno {
	return h.in(old, func(oldDir int, oldLast string) error {
		return errOrNil(h.in(p, func(dir int, last string) error {
			return unix.Renameat2(oldDir, oldLast, dir, last, uint(flags))
		}))
	})
}

// setattr applies the parts of a change in the order of the guest's kernel,
// each by the call that a program would make.
func (h *host) setattr(p string, change vfs.SetAttr) (attr, syscall.Errno) {
	return h.make(p, func(dir int, last string) error {
		if change.Valid&vfs.SetMode != 0 {
			if err := unix.Fchmodat(dir, last, change.Mode, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return err
			}
		}
		if uid, gid, ok := owner(&change); ok {
			if err := unix.Fchownat(dir, last, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return err
			}
		}
		if change.Valid&vfs.SetSize != 0 {
			if err := refuseSpecial(dir, last); err != nil {
				return err
			}
			fd, err := unix.Openat(dir, last, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if err := unix.Ftruncate(fd, int64(change.Size)); err != nil {
				return err
			}
		}
		if ts, ok := stamps(&change); ok {
			return unix.UtimesNanoAt(dir, last, ts[:], unix.AT_SYMLINK_NOFOLLOW)
		}
		return nil
	})
}

// owner returns the arguments of chown(2), -1 for what stays.
func owner(change *vfs.SetAttr) (uid, gid int, ok bool) {
	uid, gid = -1, -1
	if change.Valid&vfs.SetUID != 0 {
		uid = int(change.UID)
	}
	if change.Valid&vfs.SetGID != 0 {
		gid = int(change.GID)
	}
	return uid, gid, change.Valid&(vfs.SetUID|vfs.SetGID) != 0
}

// stamps returns the arguments of utimensat(2).
func stamps(change *vfs.SetAttr) (ts [2]unix.Timespec, ok bool) {
	one := func(set, now vfs.SetAttrMask, t vfs.Timespec) unix.Timespec {
		switch {
		case change.Valid&now != 0:
			return unix.Timespec{Nsec: unix.UTIME_NOW}
		case change.Valid&set != 0:
			return unix.Timespec{Sec: t.Sec, Nsec: int64(t.Nsec)}
		}
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	ts[0] = one(vfs.SetAtime, vfs.SetAtimeNow, change.Atime)
	ts[1] = one(vfs.SetMtime, vfs.SetMtimeNow, change.Mtime)
	return ts, change.Valid&(vfs.SetAtime|vfs.SetAtimeNow|vfs.SetMtime|vfs.SetMtimeNow) != 0
}

func (h *host) getxattr(p, attrName string, size int) (string, int, syscall.Errno) {
	buf, n := make([]byte, size), 0
	errno := h.in(p, func(dir int, last string) (err error) {
		n, err = unix.Lgetxattr(procPath(dir, last), attrName, buf)
		return err
	})
	if errno != 0 {
		return "", 0, errno
	}
	return string(buf[:min(n, size)]), n, 0
}

func (h *host) listxattr(p string, size int) ([]string, int, syscall.Errno) {
	buf, n := make([]byte, size), 0
	errno := h.in(p, func(dir int, last string) (err error) {
		n, err = unix.Llistxattr(procPath(dir, last), buf)
		return err
	})
	if errno != 0 {
		return nil, 0, errno
	}
	return splitNames(buf[:min(n, size)]), n, 0
}

func (h *host) setxattr(p, attrName, value string, flags uint32) syscall.Errno {
	return h.in(p, func(dir int, last string) error {
		return unix.Lsetxattr(procPath(dir, last), attrName, []byte(value), int(flags))
	})
}

func (h *host) removexattr(p, attrName string) syscall.Errno {
	return h.in(p, func(dir int, last string) error {
		return unix.Lremovexattr(procPath(dir, last), attrName)
	})
}

// refuseSpecial is ENXIO for pipes, sockets and device nodes. The suite makes
// such with any number, and to open one could do harm to the host.
func refuseSpecial(dir int, last string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, last, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK:
		return nil
	}
	return unix.ENXIO
}

func (h *host) open(p string, flags int, mode uint32) (file, syscall.Errno) {
	f := &hostFile{h: h}
	errno := h.in(p, func(dir int, last string) (err error) {
		if flags&unix.O_DIRECTORY == 0 && flags&(unix.O_CREAT|unix.O_EXCL) != unix.O_CREAT|unix.O_EXCL {
			if err := refuseSpecial(dir, last); err != nil {
				return err
			}
		}
		f.fd, err = unix.Openat(dir, last, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, mode)
		return err
	})
	if errno != 0 {
		return nil, errno
	}
	return f, 0
}
