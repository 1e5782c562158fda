package fusedev

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

// direct mounts by system calls, which takes CAP_SYS_ADMIN.
type direct struct{}

// setting is one parameter of a file system; without a value it is a flag.
type setting struct{ key, value string }

func (direct) mount(at *mountPoint, opt *Options) (int, error) {
	dev, err := openDevice()
	if err != nil {
		return -1, err
	}
	if err := attach(dev, at, opt); err != nil {
		oslib.Close(dev)
		return -1, err
	}
	return dev, nil
}

// settings returns the parameters of the file system (fs/fuse/inode.c,
// fuse_fs_parameters).
func settings(dev int, at *mountPoint, opt *Options) []setting {
	s := []setting{
		{"source", opt.FSName},
		{"subtype", opt.Subtype},
		{"fd", strconv.Itoa(dev)},
		{"rootmode", strconv.FormatUint(uint64(at.typ), 8)},
		{"user_id", strconv.Itoa(os.Geteuid())},
		{"group_id", strconv.Itoa(os.Getegid())},
		{"default_permissions", ""},
	}
	if opt.AllowOther {
		s = append(s, setting{"allow_other", ""})
	}
	if opt.ReadOnly {
		s = append(s, setting{"ro", ""})
	}
	return s
}

func mountAttrs(opt *Options) int {
	attrs := 0
	for _, a := range [...]struct {
		set  bool
		attr int
	}{
		{opt.ReadOnly, unix.MOUNT_ATTR_RDONLY},
		{!opt.AllowSUID, unix.MOUNT_ATTR_NOSUID},
		{!opt.AllowDev, unix.MOUNT_ATTR_NODEV},
	} {
		if a.set {
			attrs |= a.attr
		}
	}
	return attrs
}

// attach makes the file system whose device is dev and mounts it.
func attach(dev int, at *mountPoint, opt *Options) error {
	ctx, err := unix.Fsopen("fuse", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("fsopen fuse: %w", err)
	}
	defer oslib.Close(ctx)
	for _, s := range settings(dev, at, opt) {
		if s.value == "" {
			err = unix.FsconfigSetFlag(ctx, s.key)
		} else {
			err = unix.FsconfigSetString(ctx, s.key, s.value)
		}
		if err != nil {
			return fmt.Errorf("mount option %s=%s: %w%s", s.key, s.value, err, complaint(ctx))
		}
	}
	if err := unix.FsconfigCreate(ctx); err != nil {
		return fmt.Errorf("make the file system: %w%s", err, complaint(ctx))
	}
	tree, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, mountAttrs(opt))
	if err != nil {
		return fmt.Errorf("fsmount: %w%s", err, complaint(ctx))
	}
	defer oslib.Close(tree)
	if err := unix.MoveMount(tree, "", at.fd, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return fmt.Errorf("move_mount: %w", err)
	}
	return nil
}

// complaint returns what the kernel has to say about an error, in brackets.
func complaint(ctx int) string {
	var buf [256]byte
	n, err := unix.Read(ctx, buf[:])
	if err != nil || n < 2 {
		return ""
	}
	return " (" + string(bytes.TrimSpace(buf[2:n])) + ")" // behind "e " or "w "
}

func (direct) unmount(dir string, lazy bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	if lazy {
		flags |= unix.MNT_DETACH
	}
	return unix.Unmount(dir, flags)
}
