package oslib

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// count makes the result of a call that moves bytes.
func count(r uintptr, errno syscall.Errno) (int, syscall.Errno) {
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}

// Preadv2 is preadv2(2) into at most [MaxIov] iovecs. off -1 reads at the file
// position and moves it. flags are RWF_HIPRI, RWF_NOWAIT and RWF_DONTCACHE of
// package unix. Memory that is not there is EFAULT, or a short count.
func Preadv2(fd int, iov []unix.Iovec, off int64, flags int) (int, syscall.Errno) {
	return count(fdPtrCall(unix.SYS_PREADV2, fd, unsafe.Pointer(unsafe.SliceData(iov)), uintptr(len(iov)), uintptr(off), 0, uintptr(flags)))
}

// Pwritev2 is pwritev2(2) from at most [MaxIov] iovecs. off -1 writes at the
// file position and moves it. flags are RWF_HIPRI, _DSYNC, _SYNC, _NOWAIT,
// _APPEND, _NOAPPEND, _ATOMIC and _DONTCACHE of package unix.
func Pwritev2(fd int, iov []unix.Iovec, off int64, flags int) (int, syscall.Errno) {
	return count(fdPtrCall(unix.SYS_PWRITEV2, fd, unsafe.Pointer(unsafe.SliceData(iov)), uintptr(len(iov)), uintptr(off), 0, uintptr(flags)))
}

// Lseek is lseek(2).
func Lseek(fd int, off int64, whence int) (int64, syscall.Errno) {
	r, errno := fdCall(unix.SYS_LSEEK, fd, uintptr(off), uintptr(whence), 0)
	if errno != 0 {
		return 0, errno
	}
	return int64(r), 0
}

// CopyFileRange is copy_file_range(2). The offsets are moved on by what was
// copied; a nil one stands for the file position.
func CopyFileRange(in int, inOff *int64, out int, outOff *int64, n int, flags uint) (int, syscall.Errno) {
	for {
		r, _, errno := syscall.Syscall6(unix.SYS_COPY_FILE_RANGE, uintptr(in), uintptr(unsafe.Pointer(inOff)),
			uintptr(out), uintptr(unsafe.Pointer(outOff)), uintptr(n), uintptr(flags))
		if errno != syscall.EINTR {
			return count(r, errno)
		}
	}
}

// Ftruncate is ftruncate(2).
func Ftruncate(fd int, size int64) syscall.Errno {
	_, errno := fdCall(unix.SYS_FTRUNCATE, fd, uintptr(size), 0, 0)
	return errno
}

// Fallocate is fallocate(2); mode is made of FALLOC_FL_*.
func Fallocate(fd int, mode uint32, off, length int64) syscall.Errno {
	_, errno := fdCall(unix.SYS_FALLOCATE, fd, uintptr(mode), uintptr(off), uintptr(length))
	return errno
}

// Fsync is fsync(2).
func Fsync(fd int) syscall.Errno {
	_, errno := fdCall(unix.SYS_FSYNC, fd, 0, 0, 0)
	return errno
}

// Fdatasync is fdatasync(2).
func Fdatasync(fd int) syscall.Errno {
	_, errno := fdCall(unix.SYS_FDATASYNC, fd, 0, 0, 0)
	return errno
}

// SyncFileRange is sync_file_range(2); n 0 means to the end of the file, flags are
// SYNC_FILE_RANGE_*. It writes out data alone, not what is needed to find them.
func SyncFileRange(fd int, off, n int64, flags int) syscall.Errno {
	_, errno := fdCall(unix.SYS_SYNC_FILE_RANGE, fd, uintptr(off), uintptr(n), uintptr(flags))
	return errno
}

// Fadvise is posix_fadvise(2); n 0 means to the end of the file, advice is one of
// FADV_*.
func Fadvise(fd int, off, n int64, advice int) syscall.Errno {
	_, errno := fdCall(unix.SYS_FADVISE64, fd, uintptr(off), uintptr(n), uintptr(advice))
	return errno
}

// Syncfs is syncfs(2): the whole file system that fd is on.
func Syncfs(fd int) syscall.Errno {
	_, errno := fdCall(unix.SYS_SYNCFS, fd, 0, 0, 0)
	return errno
}

// Flock is flock(2); how is LOCK_SH, LOCK_EX or LOCK_UN, and LOCK_NB. Without
// LOCK_NB it holds the thread until the lock is free.
func Flock(fd, how int) syscall.Errno {
	_, errno := fdCall(unix.SYS_FLOCK, fd, uintptr(how), 0, 0)
	return errno
}

// OFDGetlk is fcntl(F_OFD_GETLK): lk becomes the lock that stands in the way of
// lk, or its Type becomes F_UNLCK. lk.Pid goes in as 0 and comes back as -1 where
// an open file description and not a process holds the lock.
func OFDGetlk(fd int, lk *unix.Flock_t) syscall.Errno {
	_, errno := fdArgPtrCall(unix.SYS_FCNTL, fd, unix.F_OFD_GETLK, unsafe.Pointer(lk), 0)
	return errno
}

// OFDSetlk is fcntl(F_OFD_SETLK): a lock of the open file description, taken or
// given up without waiting; EAGAIN if another has it.
func OFDSetlk(fd int, lk *unix.Flock_t) syscall.Errno {
	_, errno := fdArgPtrCall(unix.SYS_FCNTL, fd, unix.F_OFD_SETLK, unsafe.Pointer(lk), 0)
	return errno
}

// Ioctl is ioctl(2) with a pointer to buf as its argument. The caller makes sure
// that buf is as large as cmd wants.
func Ioctl(fd int, cmd uint32, buf []byte) (int, syscall.Errno) {
	return count(fdArgPtrCall(unix.SYS_IOCTL, fd, uintptr(cmd), unsafe.Pointer(unsafe.SliceData(buf)), 0))
}
