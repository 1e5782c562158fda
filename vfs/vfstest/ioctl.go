package vfstest

import (
	"encoding/binary"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// The commands of linux/fs.h that a guest's kernel passes on. The flag commands
// are numbered as if they took a long, and take an int.
const (
	fsGetFlags  = 0x80086601 // FS_IOC_GETFLAGS
	fsSetFlags  = 0x40086602 // FS_IOC_SETFLAGS
	fsGetXattr  = 0x801c581f // FS_IOC_FSGETXATTR
	fsSetXattr  = 0x401c5820 // FS_IOC_FSSETXATTR
	fsxattrSize = 28

	flagImmutable = 0x10
	flagNoDump    = 0x40
)

// chattr sets and clears inode flags. Others stay as they are: some of ext4's
// change how a file is stored, and may be set at one time and not at another.
func chattr(slot string, set, clear uint32) op {
	return onFile(slot, func(f file) (any, syscall.Errno) {
		b, errno := f.ioctl(fsGetFlags, nil, 4)
		if errno != 0 {
			return nil, errno
		}
		flags := binary.NativeEndian.Uint32(b)
		binary.NativeEndian.PutUint32(b, flags&^clear|set)
		_, errno = f.ioctl(fsSetFlags, b, 0)
		return nil, errno
	}, "chattr(%#x, %#x)", set, clear)
}

// ioctlScenarios read and set inode flags. What of it a host has is its own.
func ioctlScenarios(s *suite) []scenario {
	zeros := string(make([]byte, fsxattrSize))
	use := func(first op, slot string) []op {
		ops := []op{first}
		for _, o := range []op{
			ioctl(slot, fsGetFlags, "", 4), chattr(slot, flagNoDump, 0), ioctl(slot, fsGetFlags, "", 4), ioctl(slot, fsGetXattr, "", fsxattrSize),
			ioctl(slot, fsSetXattr, zeros, 0), ioctl(slot, fsGetFlags, "", 4), ioctl(slot, fsSetXattr, "\x80\x00\x00\x00"+zeros[4:], 0),
			ioctl(slot, fsGetXattr, "", fsxattrSize), ioctl(slot, fsSetFlags, "\xff\xff\xff\xff", 0), ioctl(slot, fsGetFlags, "", 4),
		} {
			ops = append(ops, whatever(o))
		}
		return ops
	}
	var immutable []op
	for _, o := range []op{
		mkfile("f", "x", 0o644), open("f", "f", rdonly, 0), chattr("f", flagImmutable, 0), statxOf("f"), chmod("f", 0o600), unlink("f"),
		open("g", "f", rdwr, 0), chattr("f", 0, flagImmutable), statxOf("f"), unlink("f"),
	} {
		immutable = append(immutable, whatever(o))
	}
	list := []scenario{
		{"file", append([]op{mkfile("f", "x", 0o644)}, use(open("f", "f", rdwr, 0), "f")...)},
		{"read-only file", append([]op{mkfile("f", "x", 0o644)}, use(open("f", "f", rdonly, 0), "f")...)},
		{"immutable", immutable},
	}
	if s.feat.Has(vfs.FeatIoctlDir) {
		list = append(list, scenario{"directory", append([]op{mkdir("d", 0o755)}, use(open("f", "d", unix.O_DIRECTORY, 0), "f")...)})
	}
	return list
}

// testIoctlUnknown sends commands that must not reach the host, some of which
// would do harm there, and known ones with buffers of the wrong size.
func (s *suite) testIoctlUnknown(t *testing.T) {
	c := s.root(t)
	of, errno := c.open("unknown", creat|rdwr, 0o644)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer of.close()
	f := of.(*openFile)
	for _, cmd := range []uint32{0, 1, 0xffffffff, unix.TCGETS, 0x541b /* FIONREAD */, 0xc0045877 /* FIFREEZE */, unix.FS_IOC_ADD_ENCRYPTION_KEY, 0x5451 /* FIOCLEX */} {
		n, _, errno := s.FS.Ioctl(&vfs.Request{}, f.node, f.h, cmd, 0, make([]byte, 64), make([]byte, 64))
		if errno != syscall.ENOTTY {
			t.Errorf("Ioctl %#x gives %d bytes, %s; want ENOTTY", cmd, n, errnoName(errno))
		}
	}
	for _, tt := range []struct {
		cmd     uint32
		in, out int
	}{{fsGetFlags, 0, 0}, {fsGetFlags, 0, 3}, {fsSetFlags, 0, 0}, {fsSetFlags, 3, 0}, {fsGetXattr, 0, 0}, {fsGetXattr, 0, fsxattrSize - 1}, {fsSetXattr, fsxattrSize - 1, 0}} {
		if n, _, errno := s.FS.Ioctl(&vfs.Request{}, f.node, f.h, tt.cmd, 0, make([]byte, tt.in), make([]byte, tt.out)); errno == 0 {
			t.Errorf("Ioctl %#x with %d bytes in and room for %d succeeds with %d", tt.cmd, tt.in, tt.out, n)
		}
	}
}
