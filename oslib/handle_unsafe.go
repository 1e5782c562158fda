package oslib

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// NameToHandle is name_to_handle_at(2). It fills h, with what is behind the
// handle's bytes zero, and returns the id of the mount. EOPNOTSUPP and EOVERFLOW
// say that the file system has no handles for us. After an error h is zero.
func NameToHandle(dirfd int, path []byte, h *FileHandle, flags int) (mountID int, errno syscall.Errno) {
	*h = FileHandle{Bytes: MaxHandle}
	if !isPath(path) {
		*h = FileHandle{}
		return 0, syscall.EINVAL
	}
	// With AT_HANDLE_MNT_ID_UNIQUE the kernel writes 64 bits, otherwise 32.
	var mnt uint64
	for {
		_, _, errno = syscall.Syscall6(unix.SYS_NAME_TO_HANDLE_AT, uintptr(dirfd), uintptr(unsafe.Pointer(&path[0])),
			uintptr(unsafe.Pointer(h)), uintptr(unsafe.Pointer(&mnt)), uintptr(flags), 0)
		if errno != syscall.EINTR {
			break
		}
	}
	if errno != 0 {
		*h = FileHandle{}
		return 0, errno
	}
	return int(mnt), 0
}

// OpenByHandle is open_by_handle_at(2). mountFD is any descriptor, but no O_PATH
// one, on the mount that the handle is of; the result is the caller's to close.
// It needs CAP_DAC_READ_SEARCH. ESTALE says that the object is gone.
func OpenByHandle(mountFD int, h *FileHandle, flags int) (fd int, errno syscall.Errno) {
	for wait := handleWait; ; wait *= 2 {
		fd, errno = descriptor(fdPtrCall(unix.SYS_OPEN_BY_HANDLE_AT, mountFD, unsafe.Pointer(h), uintptr(flags|unix.O_CLOEXEC), 0, 0, 0))
		if errno != syscall.ENOMEM || wait > longestHandleWait {
			return fd, errno
		}
		// ext4 says so, too, of an inode that it is just about to give to a new file
		// (iget_locked finds it I_CREATING). When it has, the handle is stale.
		time.Sleep(wait)
	}
}

// How long OpenByHandle waits before it believes that there is no memory.
const (
	handleWait        = 50 * time.Microsecond
	longestHandleWait = 20 * time.Millisecond
)
