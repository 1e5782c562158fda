package fusedev

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

// mountPoint is what a file system is to be mounted on.
type mountPoint struct {
	path string // absolute, without symbolic links
	fd   int    // O_PATH
	typ  uint32 // S_IFDIR or S_IFREG
}

// openMountPoint finds and checks a mount point. The caller closes it before the
// mount is used: it is the directory underneath.
func openMountPoint(dir string) (*mountPoint, error) {
	path, err := filepath.Abs(dir)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return nil, explainDead(err, dir)
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, explainDead(&os.PathError{Op: "open", Path: path, Err: err}, dir)
	}
	at := &mountPoint{path: path, fd: fd}
	var st unix.Stat_t
	var fs unix.Statfs_t // unlike attributes it is never cached
	if err := errors.Join(unix.Fstat(fd, &st), unix.Fstatfs(fd, &fs)); err != nil {
		at.close()
		return nil, explainDead(err, dir)
	}
	if at.typ = st.Mode & unix.S_IFMT; at.typ != unix.S_IFDIR && at.typ != unix.S_IFREG {
		at.close()
		return nil, errors.New("it is neither a directory nor a regular file")
	}
	return at, nil
}

// explainDead adds to an error what to do where it comes from a mount whose
// server has died.
func explainDead(err error, dir string) error {
	if errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED) {
		return fmt.Errorf("%w (a FUSE file system that nobody serves any more is mounted there; remove it with: umount -l %s)", err, dir)
	}
	return err
}

func (at *mountPoint) close() { oslib.Close(at.fd) }
