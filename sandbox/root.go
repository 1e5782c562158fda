package sandbox

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// newRoot mounts the shares where [changeRoot] can make them this process's all: clones
// of them with their submounts. A single directory is the root itself, on top
// of "/". Otherwise that is an empty, read-only tmpfs in which they are called by
// their numbers. All by descriptors, so that no name can change its meaning meanwhile.
func newRoot(cfg *Config, sources []*source) (root *os.File, paths []string, err error) {
	if len(sources) == 1 && sources[0].dir {
		clone, err := restrictedClone(cfg, sources[0])
		if err != nil {
			return nil, nil, err
		}
		if err := attach(clone, "/"); err != nil {
			clone.Close()
			return nil, nil, err
		}
		return clone, []string{"/"}, nil
	}
	if root, err = newTmpfs(len(sources)); err != nil {
		return nil, nil, fmt.Errorf("make a tmpfs: %w", err)
	}
	err = attach(root, "/")
	for i, src := range sources {
		if err != nil {
			break
		}
		name := strconv.Itoa(i)
		err = attachInside(cfg, root, src, name)
		paths = append(paths, "/"+name)
	}
	if err == nil {
		err = unix.MountSetattr(int(root.Fd()), "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
		if errors.Is(err, unix.ENOSYS) {
			err = nil
		}
	}
	if err != nil {
		root.Close()
		return nil, nil, err
	}
	return root, paths, nil
}

// restrictedClone is a detached mount of a share.
func restrictedClone(cfg *Config, src *source) (*os.File, error) {
	clone, err := cloneMount(src.File)
	if err != nil {
		return nil, fmt.Errorf("clone the mount of %s: %w", src.Name(), err)
	}
	if err := restrictMount(clone, src.readOnly); err != nil {
		// It is one layer of several.
		cfg.logger().Warn("the share is mounted with the host's flags, without nodev, nosuid and ro", "reason", err)
	}
	return clone, nil
}

// attachInside mounts a share in a tmpfs by a name of its own.
func attachInside(cfg *Config, root *os.File, src *source, name string) error {
	clone, err := restrictedClone(cfg, src)
	if err != nil {
		return err
	}
	defer clone.Close()
	flags := unix.O_CREAT | unix.O_EXCL | unix.O_RDONLY | unix.O_CLOEXEC
	if src.dir {
		if err := unix.Mkdirat(int(root.Fd()), name, 0o500); err != nil {
			return fmt.Errorf("make a mount point: %w", err)
		}
		flags = unix.O_DIRECTORY | unix.O_PATH | unix.O_CLOEXEC
	}
	at, err := unix.Openat(int(root.Fd()), name, flags, 0o400)
	if err != nil {
		return fmt.Errorf("make a mount point: %w", err)
	}
	defer unix.Close(at)
	err = unix.MoveMount(int(clone.Fd()), "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("mount %s: %w", src.Name(), err)
	}
	return nil
}

// cloneMount clones the mount of a file or directory, as seen from it, with what is
// mounted below.
func cloneMount(f *os.File) (*os.File, error) {
	fd, err := unix.OpenTree(int(f.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)
	if errors.Is(err, unix.ENOSYS) {
		return nil, fmt.Errorf("open_tree: %w: it takes Linux 5.2, and a container that lets it pass; %s", err, elsewise)
	}
	if err != nil {
		return nil, fmt.Errorf("open_tree: %w", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// shareAttrs are the attributes that all mounts of the share get: nothing on it acts
// on the host, be it a device or a set-user-ID program. Not noexec: with that,
// access(2) would deny the guest the right to execute its files.
const shareAttrs = unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID

// restrictMount sets attributes on a clone and its submounts.
func restrictMount(clone *os.File, readOnly bool) error {
	var want uint64 = shareAttrs
	if readOnly {
		want |= unix.MOUNT_ATTR_RDONLY
	}
	err := setAttrs(clone, want|unix.MOUNT_ATTR_NOSYMFOLLOW)
	if errors.Is(err, unix.EINVAL) { // before Linux 5.14
		err = setAttrs(clone, want)
	}
	return err
}

func setAttrs(clone *os.File, attrs uint64) error {
	return unix.MountSetattr(int(clone.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: attrs})
}

// attach mounts a detached mount on a path.
func attach(mount *os.File, path string) error {
	if err := unix.MoveMount(int(mount.Fd()), "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount %s: %w", mount.Name(), err)
	}
	return nil
}

// newTmpfs makes a file system for n mount points.
func newTmpfs(n int) (*os.File, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fs)
	for _, o := range [][2]string{{"size", "4k"}, {"nr_inodes", strconv.Itoa(n + 1)}, {"mode", "0755"}} {
		if err := unix.FsconfigSetString(fs, o[0], o[1]); err != nil {
			return nil, fmt.Errorf("%s=%s: %w", o[0], o[1], err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, err
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, shareAttrs)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "tmpfs"), nil
}

// changeRoot makes a mount on "/" the root directory and lets go of the old one. The
// working directory is the new root.
func changeRoot(root *os.File) error {
	if err := chdir(root); err != nil {
		return err
	}
	// The old root goes on top of the new, at the same place (pivot_root(2), notes).
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the old root: %w", err)
	}
	return os.Chdir("/")
}
