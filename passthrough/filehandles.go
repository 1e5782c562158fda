package passthrough

import (
	"context"
	"log/slog"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

// fileHandle is a file handle as a node keeps it: only the bytes that count.
// The zero value, of empty data, is none.
type fileHandle struct {
	typ  int32
	data string
}

func makeFileHandle(h *oslib.FileHandle) fileHandle {
	return fileHandle{h.Type, string(h.Data[:h.Bytes])}
}

// is tells whether h names the same object.
func (f fileHandle) is(h *oslib.FileHandle) bool {
	return f.typ == h.Type && f.data == string(h.Data[:h.Bytes])
}

// open makes a descriptor from a handle. ESTALE says that the object is gone.
func (f fileHandle) open(m *mount, flags int) (int, syscall.Errno) {
	h := oslib.FileHandle{Bytes: uint32(len(f.data)), Type: f.typ}
	copy(h.Data[:], f.data)
	return oslib.OpenByHandle(m.fd, &h, flags)
}

// noHandles tells whether an error of name_to_handle_at or open_by_handle_at
// means that this file system, or this process, has none, rather than that
// something is wrong with the one object.
func noHandles(errno syscall.Errno) bool {
	switch errno {
	case syscall.EOPNOTSUPP, syscall.EOVERFLOW, syscall.EPERM, syscall.ENOSYS, syscall.EINVAL:
		return true
	}
	return false
}

// handleOf gets the handle of the object behind fd, and the mount through which
// it can be opened, with a reference to it. Where there are no handles, m is nil
// and the node has to be held by its descriptor.
func (fs *FS) handleOf(fd int, k *nodeKey, typ uint32) (fh fileHandle, m *mount, errno syscall.Errno) {
	// A device or a socket that is itself a mount point cannot serve to open
	// handles by, and is the only object on its mount.
	if m = fs.mounts.get(k.mnt); m == nil && (openErrno(typ) != 0 || fs.mounts.refused(k)) {
		return fileHandle{}, nil, fs.withoutHandle()
	}
	var h oslib.FileHandle
	if _, errno = oslib.NameToHandle(fd, oslib.Empty, &h, unix.AT_EMPTY_PATH); errno != 0 {
		if m != nil {
			fs.mounts.put(m)
		}
		if !noHandles(errno) {
			return fileHandle{}, nil, errno
		}
		fs.refuse(k, "name_to_handle_at", errno)
		return fileHandle{}, nil, fs.withoutHandle()
	}
	if m == nil {
		if m, errno = fs.tryMount(fd, k, typ, &h); errno != 0 {
			fs.refuse(k, "open_by_handle_at", errno)
			return fileHandle{}, nil, fs.withoutHandle()
		}
	}
	return makeFileHandle(&h), m, 0
}

// withoutHandle is the answer for an object that has no handle.
func (fs *FS) withoutHandle() syscall.Errno {
	if fs.cfg.FileHandles == HandlesMandatory {
		return syscall.EOPNOTSUPP
	}
	return 0
}

// refuse notes that a file system has no handles, with one message for each. It
// is a warning unless it only says that the daemon has not got the capability.
func (fs *FS) refuse(k *nodeKey, call string, errno syscall.Errno) {
	if !fs.mounts.refuse(k) || fs.cfg.FileHandles != HandlesPrefer {
		return
	}
	level := slog.LevelWarn
	if errno == syscall.EPERM || errno == syscall.EACCES {
		level = slog.LevelInfo
	}
	fs.log.Log(context.Background(), level, "no file handles on this file system: each file that the guest knows keeps a descriptor open",
		"path", fs.cfg.Name, "major", unix.Major(k.dev), "minor", unix.Minor(k.dev), "call", call, "err", errno)
}
