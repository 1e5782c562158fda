package lab

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// newRoot is where a root share is mounted before it becomes the root.
const newRoot = agentDir + "/root"

// kernelMounts are the file systems a command finds besides the shares. The
// ones that move follow into a root share.
var kernelMounts = []struct {
	kind, dir, data string
	moves           bool
}{
	{"proc", "/proc", "", true},
	{"sysfs", "/sys", "", true},
	{"devtmpfs", "/dev", "mode=0755", true},
	{"devpts", "/dev/pts", "mode=0620,ptmxmode=0666", false}, // goes with /dev
	{"tmpfs", "/dev/shm", "mode=1777", false},
	{"tmpfs", "/tmp", "mode=1777", false},
	{"tmpfs", "/run", "mode=0755", true},
}

func mountKernelFilesystems() error {
	for _, m := range kernelMounts {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		// A kernel may have mounted /dev itself.
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, m.data); err != nil && err != unix.EBUSY {
			return fmt.Errorf("mount %s on %s: %w", m.kind, m.dir, err)
		}
	}
	for link, target := range map[string]string{
		"/dev/fd":     "/proc/self/fd",
		"/dev/stdin":  "/proc/self/fd/0",
		"/dev/stdout": "/proc/self/fd/1",
		"/dev/stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(target, link); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// mountFlags are the options of mount(8) that are flags of mount(2). Those
// with value zero only undo a default.
var mountFlags = map[string]uintptr{
	"defaults": 0, "rw": 0, "suid": 0, "dev": 0, "exec": 0,
	"ro":          unix.MS_RDONLY,
	"nosuid":      unix.MS_NOSUID,
	"nodev":       unix.MS_NODEV,
	"noexec":      unix.MS_NOEXEC,
	"sync":        unix.MS_SYNCHRONOUS,
	"dirsync":     unix.MS_DIRSYNC,
	"noatime":     unix.MS_NOATIME,
	"nodiratime":  unix.MS_NODIRATIME,
	"relatime":    unix.MS_RELATIME,
	"strictatime": unix.MS_STRICTATIME,
	"lazytime":    unix.MS_LAZYTIME,
	"nosymfollow": unix.MS_NOSYMFOLLOW,
}

// splitOptions divides the options of mount(8) into the flags and the data of
// mount(2).
func splitOptions(options string) (flags uintptr, data string) {
	var rest []string
	for _, option := range strings.Split(options, ",") {
		if option == "" {
			continue
		}
		if flag, ok := mountFlags[option]; ok {
			flags |= flag
		} else {
			rest = append(rest, option)
		}
	}
	return flags, strings.Join(rest, ",")
}

// mountShare mounts the share m on dir.
func mountShare(m guestMount, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	flags, data := splitOptions(m.Options)
	err := unix.Mount(m.Tag, dir, "virtiofs", flags, data)
	// The device may still be on its way when its driver has just been loaded.
	for i := 0; err == unix.EINVAL && i < 40; i++ {
		time.Sleep(25 * time.Millisecond)
		err = unix.Mount(m.Tag, dir, "virtiofs", flags, data)
	}
	if err == unix.EINVAL {
		return fmt.Errorf("mount share %s on %s: the guest has no virtio-fs device with this tag, or an option of %q is unknown", m.Tag, dir, m.Options)
	}
	if err != nil {
		return fmt.Errorf("mount share %s on %s: %w", m.Tag, dir, err)
	}
	return nil
}

// mountShares mounts the root share, which then is the root, and the others.
func (a *agent) mountShares() error {
	if a.order.Root != nil {
		if err := mountShare(*a.order.Root, newRoot); err != nil {
			return err
		}
		if err := switchRoot(newRoot); err != nil {
			return fmt.Errorf("make share %s the root: %w", a.order.Root.Tag, err)
		}
	}
	for _, m := range a.order.Mounts {
		if err := mountShare(m, m.Dir); err != nil {
			return err
		}
	}
	return nil
}

// switchRoot makes dir the root of this process and its children. The
// kernel's file systems move along to where the new root has a directory for
// them; none is made, since the share is not ours.
func switchRoot(dir string) error {
	for _, m := range kernelMounts {
		if !m.moves {
			continue
		}
		if info, err := os.Stat(dir + m.dir); err != nil || !info.IsDir() {
			continue
		}
		if err := unix.Mount(m.dir, dir+m.dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", m.dir, err)
		}
	}
	if err := unix.Chdir(dir); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return err
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return unix.Chdir("/")
}

// unmountShares takes the shares away again, the last first, so that their
// back ends see an orderly end. One that is busy is only flushed.
func (a *agent) unmountShares() {
	unix.Chdir("/") // the command's working directory may lie in one
	unix.Sync()
	for i := len(a.order.Mounts) - 1; i >= 0; i-- {
		m := a.order.Mounts[i]
		if err := unix.Unmount(m.Dir, 0); err != nil {
			fmt.Fprintf(os.Stderr, "\n%sunmount %s: %v\n", agentWarning, m.Dir, err)
			unix.Unmount(m.Dir, unix.MNT_DETACH)
		}
	}
	if a.order.Root != nil {
		unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
}
