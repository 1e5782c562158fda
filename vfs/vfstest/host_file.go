package vfstest

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// hostFile is an open file of a host.
type hostFile struct {
	h  *host
	fd int
}

// do makes a call as the file's opener.
func (f *hostFile) do(call func() error) syscall.Errno {
	var err error
	f.h.who.do(func() { err = call() })
	return errnoOf(err)
}

func (f *hostFile) close() syscall.Errno { return errnoOf(unix.Close(f.fd)) }

func (f *hostFile) pread(n int, off uint64) (string, syscall.Errno) {
	buf, got := make([]byte, n), 0
	errno := f.do(func() (err error) {
		got, err = unix.Pread(f.fd, buf, int64(off))
		return err
	})
	if errno != 0 {
		return "", errno
	}
	return string(buf[:got]), 0
}

func (f *hostFile) pwrite(data string, off uint64) (int, syscall.Errno) {
	n := 0
	errno := f.do(func() (err error) {
		n, err = unix.Pwrite(f.fd, []byte(data), int64(off))
		return err
	})
	return max(n, 0), errno
}

func (f *hostFile) stat() (attr, syscall.Errno) {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return attr{}, errnoOf(err)
	}
	return attrOfStat(&st), 0
}

func (f *hostFile) setattr(change vfs.SetAttr) (attr, syscall.Errno) {
	errno := f.do(func() error {
		if change.Valid&vfs.SetMode != 0 {
			if err := unix.Fchmod(f.fd, change.Mode); err != nil {
				return err
			}
		}
		if uid, gid, ok := owner(&change); ok {
			if err := unix.Fchown(f.fd, uid, gid); err != nil {
				return err
			}
		}
		if change.Valid&vfs.SetSize != 0 {
			if err := unix.Ftruncate(f.fd, int64(change.Size)); err != nil {
				return err
			}
		}
		if ts, ok := stamps(&change); ok {
			return unix.UtimesNanoAt(unix.AT_FDCWD, procPath(f.fd, ""), ts[:], 0)
		}
		return nil
	})
	if errno != 0 {
		return attr{}, errno
	}
	return f.stat()
}

func (f *hostFile) fsync(datasync bool) syscall.Errno {
	if datasync {
		return errnoOf(unix.Fdatasync(f.fd))
	}
	return errnoOf(unix.Fsync(f.fd))
}

func (f *hostFile) fallocate(mode uint32, off, length uint64) syscall.Errno {
	return f.do(func() error { return unix.Fallocate(f.fd, mode, int64(off), int64(length)) })
}

func (f *hostFile) seek(off uint64, whence uint32) (uint64, syscall.Errno) {
	pos, err := unix.Seek(f.fd, int64(off), int(whence))
	if err != nil {
		return 0, errnoOf(err)
	}
	return uint64(pos), 0
}

func (f *hostFile) copyTo(dst file, srcOff, dstOff, n, flags uint64) (uint64, syscall.Errno) {
	so, do, done := int64(srcOff), int64(dstOff), 0
	errno := f.do(func() (err error) {
		done, err = unix.CopyFileRange(f.fd, &so, dst.(*hostFile).fd, &do, int(n), int(flags))
		return err
	})
	return uint64(max(done, 0)), errno
}

func (f *hostFile) link(p string) (attr, syscall.Errno) {
	return f.h.make(p, func(dir int, last string) error {
		return unix.Linkat(unix.AT_FDCWD, procPath(f.fd, ""), dir, last, unix.AT_SYMLINK_FOLLOW)
	})
}

func (f *hostFile) ioctl(cmd uint32, in []byte, out int) ([]byte, syscall.Errno) {
	buf := make([]byte, max(len(in), out))
	copy(buf, in)
	if errno := ioctlBuf(f.fd, cmd, buf); errno != 0 {
		return nil, errno
	}
	return buf[:out], 0
}
