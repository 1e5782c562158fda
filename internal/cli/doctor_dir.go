package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// dirChecks examines the file system of the directory to share.
func dirChecks(dir string) []check {
	root, err := os.Open(dir)
	access := check{ID: "dir", Name: "access", State: stateOK, Required: true}
	if err == nil {
		defer root.Close()
		var info os.FileInfo
		if info, err = root.Stat(); err == nil && !info.IsDir() {
			err = unix.ENOTDIR
		}
	}
	if err != nil {
		access = access.missing(errno(err), "It cannot be shared.", "Name a directory that this user can read.")
		access.Group = groupDir
		return []check{access}
	}
	file, fileErr := probeFile(dir)
	if file != nil {
		defer file.Close()
	}
	access.Found = fileSystemName(dir)
	if fileErr != nil {
		access = access.limited(access.Found+", not writable: "+errno(fileErr), "The guest can only read.", "Run as a user who may write there, unless reading is all that is wanted.")
	}
	checks := []check{access, checkHandles(dir), checkMountID(dir)}
	if file != nil {
		checks = append(checks,
			checkTmpfile(dir),
			checkNowait(file),
			checkXattr(file, "xattr_user", "user.", "The guest cannot store extended attributes, so no labels and no metadata of desktop programs.", "Mount the file system with user_xattr, or use one that has them."),
			checkXattr(file, "xattr_trusted", "trusted.", "Nothing in the guest can use trusted.* attributes (overlayfs does, for its upper layer).", "Run as root on a file system that has them."),
		)
	}
	for i := range checks {
		checks[i].Group = groupDir
	}
	return checks
}

// probeFile makes a file in dir that has no name any more. The caller closes
// it.
func probeFile(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), filepath.Join(dir, "probe")), nil
	}
	f, err := os.CreateTemp(dir, ".isthmus-doctor-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// fileSystemNames are those of linux/magic.h that are likely to be shared.
var fileSystemNames = map[int64]string{
	unix.EXT4_SUPER_MAGIC:      "ext4",
	unix.XFS_SUPER_MAGIC:       "xfs",
	unix.BTRFS_SUPER_MAGIC:     "btrfs",
	unix.TMPFS_MAGIC:           "tmpfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlayfs",
	unix.NFS_SUPER_MAGIC:       "NFS",
	unix.SMB2_SUPER_MAGIC:      "SMB",
	unix.FUSE_SUPER_MAGIC:      "FUSE",
	unix.F2FS_SUPER_MAGIC:      "f2fs",
	unix.V9FS_MAGIC:            "9p",
	unix.SQUASHFS_MAGIC:        "squashfs",
	0x2fc12fc1:                 "ZFS",
	0xca451a4e:                 "bcachefs",
}

func fileSystemName(dir string) string {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return err.Error()
	}
	if name, ok := fileSystemNames[fs.Type]; ok {
		return name
	}
	return fmt.Sprintf("file system %#x", fs.Type)
}

// checkHandles takes the handle of the directory and opens it again.
func checkHandles(dir string) check {
	c := check{ID: "file_handles", Name: "file handles", State: stateOK, Found: "work"}
	const cost = "Each file the guest knows takes a file descriptor of the daemon."
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, dir, 0)
	if err != nil {
		return c.limited("name_to_handle_at: "+err.Error(), cost, "Local file systems such as ext4, xfs and btrfs have them.")
	}
	mount, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return c.limited(err.Error(), cost, "")
	}
	defer unix.Close(mount)
	fd, err := unix.OpenByHandleAt(mount, handle, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		fix := ""
		if err == unix.EPERM {
			fix = "Give the daemon CAP_DAC_READ_SEARCH, outside of any user namespace."
		}
		return c.limited("open_by_handle_at: "+err.Error(), cost, fix)
	}
	unix.Close(fd)
	return c
}

func checkMountID(dir string) check {
	c := check{ID: "mount_id", Name: "mount ids by statx", State: stateOK, Found: "work"}
	var stx unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, dir, 0, unix.STATX_MNT_ID, &stx)
	if err != nil || stx.Mask&unix.STATX_MNT_ID == 0 {
		found := "not there"
		if err != nil {
			found = err.Error()
		}
		return c.limited(found, "A bind mount of the same file system inside the share is not shown to the guest as one.", "Linux 5.8 or newer has them.")
	}
	return c
}

func checkTmpfile(dir string) check {
	c := check{ID: "tmpfile", Name: "O_TMPFILE", State: stateOK, Found: "works"}
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return c.limited(err.Error(), "Programs in the guest that use it fall back to a temporary name.", "")
	}
	unix.Close(fd)
	return c
}

// checkNowait reads a file that is in the page cache with RWF_NOWAIT.
func checkNowait(file *os.File) check {
	c := check{ID: "nowait", Name: "RWF_NOWAIT", State: stateOK, Found: "works"}
	if _, err := file.WriteAt([]byte("isthmus"), 0); err != nil {
		return c.limited("write: "+errno(err), "", "")
	}
	buf := make([]byte, 7)
	_, err := unix.Preadv2(int(file.Fd()), [][]byte{buf}, 0, unix.RWF_NOWAIT)
	if err != nil && err != unix.EAGAIN {
		return c.limited(err.Error(), "What is in the page cache cannot be told from what must be read from the disk, so a slow read can hold up others of its queue.", "")
	}
	return c
}

func checkXattr(file *os.File, id, prefix, cost, fix string) check {
	c := check{ID: id, Name: "attributes " + prefix + "*", State: stateOK, Found: "work"}
	const value = "probe"
	name := prefix + "isthmus-doctor"
	err := unix.Fsetxattr(int(file.Fd()), name, []byte(value), 0)
	buf := make([]byte, 16)
	n := 0
	if err == nil {
		n, err = unix.Fgetxattr(int(file.Fd()), name, buf)
	}
	if err == nil && string(buf[:n]) != value {
		err = errors.New("another value came back")
	}
	if err != nil {
		return c.limited(strings.TrimSpace(errno(err)), cost, fix)
	}
	return c
}
