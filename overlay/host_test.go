package overlay_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// host is a system on a directory of the host.
type host struct{ dir string }

func errnoOf(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	if e, ok := err.(*os.PathError); ok {
		err = e.Err
	}
	return err.(syscall.Errno)
}

// at returns the host's path, after a look that no symbolic link is in the
// middle.
func (h *host) at(p string) (string, syscall.Errno) {
	for i := range p {
		if p[i] != '/' {
			continue
		}
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(h.dir, p[:i]), &st); err != nil {
			return "", errnoOf(err)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFLNK {
			return "", syscall.ELOOP
		}
	}
	return filepath.Join(h.dir, p), 0
}

func (h *host) on(p string, call func(p string) error) syscall.Errno {
	full, errno := h.at(p)
	if errno != 0 {
		return errno
	}
	return errnoOf(call(full))
}

func (h *host) mkdir(p string, mode uint32) syscall.Errno {
	return h.on(p, func(p string) error { return unix.Mkdir(p, mode) })
}

func (h *host) mkfifo(p string) syscall.Errno {
	return h.on(p, func(p string) error { return unix.Mkfifo(p, 0o600) })
}

func (h *host) symlink(target, p string) syscall.Errno {
	return h.on(p, func(p string) error { return unix.Symlink(target, p) })
}

// two resolves two paths, the first of which must exist if that is asked for.
func (h *host) two(old, p string, exists bool, call func(old, p string) error) syscall.Errno {
	oldFull, errno := h.at(old)
	if errno != 0 {
		return errno
	}
	var st unix.Stat_t
	if err := unix.Lstat(oldFull, &st); exists && err != nil {
		return errnoOf(err)
	}
	if err := unix.Lstat(filepath.Dir(oldFull), &st); err != nil {
		return errnoOf(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return syscall.ENOTDIR
	}
	return h.on(p, func(p string) error { return call(oldFull, p) })
}

func (h *host) link(old, p string) syscall.Errno {
	return h.two(old, p, true, func(old, p string) error { return unix.Link(old, p) })
}

func (h *host) rename(old, p string, flags uint32) syscall.Errno {
	return h.two(old, p, false, func(old, p string) error {
		return unix.Renameat2(unix.AT_FDCWD, old, unix.AT_FDCWD, p, uint(flags))
	})
}

func (h *host) unlink(p string) syscall.Errno { return h.on(p, unix.Unlink) }
func (h *host) rmdir(p string) syscall.Errno  { return h.on(p, unix.Rmdir) }

func (h *host) chmod(p string, mode uint32) syscall.Errno {
	return h.on(p, func(p string) error { return unix.Fchmodat(unix.AT_FDCWD, p, mode, unix.AT_SYMLINK_NOFOLLOW) })
}

func (h *host) chown(p string, uid, gid uint32) syscall.Errno {
	return h.on(p, func(p string) error { return unix.Lchown(p, int(uid), int(gid)) })
}

func (h *host) setMtime(p string, sec int64) syscall.Errno {
	ts := []unix.Timespec{{Sec: sec}, {Sec: sec}}
	return h.on(p, func(p string) error { return unix.UtimesNanoAt(unix.AT_FDCWD, p, ts, unix.AT_SYMLINK_NOFOLLOW) })
}

func (h *host) opened(p string, flags int, call func(fd int) error) syscall.Errno {
	return h.on(p, func(p string) error {
		var st unix.Stat_t
		if unix.Lstat(p, &st) == nil && flags&unix.O_EXCL == 0 && openErrno(st.Mode) == syscall.ENXIO {
			return syscall.ENXIO
		}
		fd, err := unix.Open(p, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o644)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return call(fd)
	})
}

func (h *host) truncate(p string, size uint64) syscall.Errno {
	return h.opened(p, unix.O_WRONLY, func(fd int) error { return unix.Ftruncate(fd, int64(size)) })
}

func (h *host) write(p string, flags int, data string, off int64) syscall.Errno {
	return h.opened(p, flags, func(fd int) error {
		_, err := unix.Pwrite(fd, []byte(data), off)
		return err
	})
}

func (h *host) setxattr(p, name, value string) syscall.Errno {
	return h.on(p, func(p string) error { return unix.Lsetxattr(p, name, []byte(value), 0) })
}

func (h *host) removexattr(p, name string) syscall.Errno {
	return h.on(p, func(p string) error { return unix.Lremovexattr(p, name) })
}

func (h *host) describe(p string, seen map[uint64]int) (text string, errno syscall.Errno) {
	errno = h.on(p, func(p string) error {
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		number, ok := seen[st.Ino]
		if !ok {
			number = len(seen)
			seen[st.Ino] = number
		}
		var more string
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			more = string(b)
		case unix.S_IFLNK:
			more, _ = os.Readlink(p)
		}
		text = describeAttr(st.Mode, uint32(st.Nlink), st.Uid, st.Gid, uint64(st.Size), number) + fmt.Sprintf(" %q", more)
		names := make([]byte, 4096)
		n, err := unix.Llistxattr(p, names)
		if err != nil {
			return err
		}
		list := strings.Split(string(names[:n]), "\x00")
		slices.Sort(list)
		for _, x := range list {
			if strings.HasPrefix(x, "user.") {
				value := make([]byte, 4096)
				n, err := unix.Lgetxattr(p, x, value)
				if err != nil {
					return err
				}
				text += fmt.Sprintf(" %s=%q", x, value[:n])
			}
		}
		return nil
	})
	return text, errno
}

func (h *host) list(p string) (all []string, errno syscall.Errno) {
	errno = h.on(p, func(p string) error {
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return syscall.ENOTDIR
		}
		entries, err := os.ReadDir(p)
		all = []string{".", ".."}
		for _, e := range entries {
			all = append(all, e.Name())
		}
		slices.Sort(all)
		return err
	})
	return all, errno
}
