package vfs_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// TestOpenErrno compares with open(2) for writing where that opens nothing.
func TestOpenErrno(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name  string
		mode  uint32
		want  syscall.Errno
		opens bool // something else than a file of the file system
	}{
		{"file", unix.S_IFREG | 0o644, 0, false},
		{"directory", unix.S_IFDIR | 0o755, syscall.EISDIR, false},
		{"link", unix.S_IFLNK | 0o777, syscall.ELOOP, false},
		{"socket", unix.S_IFSOCK | 0o644, syscall.ENXIO, false},
		{"fifo", unix.S_IFIFO | 0o644, syscall.EBADF, true},
		{"character device", unix.S_IFCHR | 0o644, syscall.EBADF, true},
		{"block device", unix.S_IFBLK | 0o644, syscall.EBADF, true},
		{"nothing", 0o644, syscall.EBADF, true},
	} {
		if got := vfs.OpenErrno(tt.mode); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
		if tt.opens {
			continue
		}
		path := filepath.Join(dir, tt.name)
		var err error
		switch tt.mode & unix.S_IFMT {
		case unix.S_IFDIR:
			err = os.Mkdir(path, 0o755)
		case unix.S_IFLNK:
			err = os.Symlink("target", path)
		default:
			err = unix.Mknod(path, tt.mode, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
		}
		if errno, _ := err.(syscall.Errno); errno != tt.want {
			t.Errorf("%s: the host says %v, want %v", tt.name, err, tt.want)
		}
	}
}
