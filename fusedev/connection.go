package fusedev

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

// fusectl is where the control files of connections are, if anybody has mounted
// them.
const fusectl = "/sys/fs/fuse/connections"

// connection identifies a connection by its mount's device number, which is the
// number that the kernel gives it among the control files. 0 is none.
type connection uint32

// connectionAt returns the connection that is mounted on path, or something that
// is none if another kind of file system is there. It asks the kernel only, not
// the server, and so works when nobody serves.
func connectionAt(path string) connection { return statConnection(unix.AT_FDCWD, path, 0) }

// connectionOf is [connectionAt] for an open file.
func connectionOf(fd int) connection { return statConnection(fd, "", unix.AT_EMPTY_PATH) }

func statConnection(dir int, path string, flags int) connection {
	var st unix.Statx_t
	err := unix.Statx(dir, path, flags|unix.AT_STATX_DONT_SYNC|unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &st)
	if err != nil || st.Dev_major != 0 {
		return 0
	}
	return connection(st.Dev_minor)
}

// abort ends the connection: the kernel answers all requests with ECONNABORTED,
// and later calls with ENOTCONN. The user who made the mount may do that, through
// the mounted control files; root needs nothing to be mounted.
func (c connection) abort() error {
	name := filepath.Join(strconv.FormatUint(uint64(c), 10), "abort")
	err := abortThrough(unix.AT_FDCWD, filepath.Join(fusectl, name))
	if err == nil {
		return nil
	}
	if private, perr := mountControl(); perr == nil {
		defer oslib.Close(private)
		err = abortThrough(private, name)
	}
	if err != nil {
		return fmt.Errorf("abort connection %d: %w (are the control files mounted? mount -t fusectl none %s)", c, err, fusectl)
	}
	return nil
}

func abortThrough(dir int, path string) error {
	fd, err := unix.Openat(dir, path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer oslib.Close(fd)
	_, err = unix.Write(fd, []byte("1"))
	return err
}

// waiting returns how many requests the connection has that are not answered.
func (c connection) waiting() (int, error) {
	name := filepath.Join(strconv.FormatUint(uint64(c), 10), "waiting")
	n, err := countIn(unix.AT_FDCWD, filepath.Join(fusectl, name))
	if err == nil {
		return n, nil
	}
	if private, perr := mountControl(); perr == nil {
		defer oslib.Close(private)
		n, err = countIn(private, name)
	}
	if err != nil {
		return 0, fmt.Errorf("requests of connection %d: %w (are the control files mounted? mount -t fusectl none %s)", c, err, fusectl)
	}
	return n, nil
}

// countIn reads a file that holds a number.
func countIn(dir int, path string) (int, error) {
	fd, err := unix.Openat(dir, path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer oslib.Close(fd)
	var buf [32]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return 0, &os.PathError{Op: "read", Path: path, Err: err}
	}
	return strconv.Atoi(string(bytes.TrimSpace(buf[:n])))
}

// mountControl mounts the control files where only this process sees them.
func mountControl() (int, error) {
	ctx, err := unix.Fsopen("fusectl", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer oslib.Close(ctx)
	if err := unix.FsconfigCreate(ctx); err != nil {
		return -1, err
	}
	return unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, 0)
}
