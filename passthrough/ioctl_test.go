package passthrough

import (
	"encoding/binary"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

const (
	flagImmutable = 0x10 // FS_IMMUTABLE_FL
	flagNodump    = 0x40 // FS_NODUMP_FL
	flagNoatime   = 0x80 // FS_NOATIME_FL

	xflagNodump = 0x80 // FS_XFLAG_NODUMP
)

func TestIoctlFlags(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		fs := share(t, Config{Path: dir})
		write(t, join(dir, "f"), "")
		if err := os.Mkdir(join(dir, "d"), 0o755); err != nil {
			t.Fatal(err)
		}
		file, fileH := openAt(t, fs, "f", unix.O_WRONLY)
		sub := walk(t, fs, "d").Node
		subH := opendir(t, fs, sub)
		for _, c := range []struct {
			what string
			id   vfs.NodeID
			h    vfs.Handle
		}{{"file", file, fileH}, {"file without handle", file, vfs.NoHandle}, {"directory", sub, subH}, {"directory without handle", sub, vfs.NoHandle}} {
			for _, size := range []int{4, 8} {
				get, set := uint32(unix.FS_IOC_GETFLAGS), uint32(unix.FS_IOC_SETFLAGS)
				for _, flag := range []uint32{flagNodump, flagNoatime} {
					out := make([]byte, size)
					n, result, errno := fs.Ioctl(&root, c.id, c.h, get, 0, nil, out)
					if n != size || result != 0 || errno != 0 {
						t.Fatalf("%s: get %d bytes: %d, %d, %v", c.what, size, n, result, errno)
					}
					in := make([]byte, size)
					old := binary.LittleEndian.Uint32(out)
					binary.LittleEndian.PutUint32(in, old&^(flagNodump|flagNoatime)|flag)
					n, result, errno = fs.Ioctl(&root, c.id, c.h, set, 0xdeadbeef, in, nil)
					if n != 0 || result != 0 || errno != 0 {
						t.Fatalf("%s: set %d bytes: %d, %d, %v", c.what, size, n, result, errno)
					}
					// Seen through the 32-bit command, which is the same on the host.
					if _, _, errno = fs.Ioctl(&root, c.id, c.h, fsIoc32GetFlags, 0, nil, out); errno != 0 {
						t.Fatalf("%s: get by the 32-bit command: %v", c.what, errno)
					}
					if got := binary.LittleEndian.Uint32(out) & (flagNodump | flagNoatime); got != flag {
						t.Errorf("%s: flags %x after setting %x", c.what, got, flag)
					}
				}
			}
		}
	})
}

// TestIoctlFlagsAreTheOwners: guests before Linux 5.13 do not check who sets
// flags.
func TestIoctlFlagsAreTheOwners(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		fs := share(t, Config{Path: dir})
		write(t, join(dir, "f"), "")
		if err := os.Chown(join(dir, "f"), 1234, 1234); err != nil {
			t.Fatal(err)
		}
		file, h := openAt(t, fs, "f", unix.O_RDONLY)
		set := func(uid, flags uint32) syscall.Errno {
			in := binary.LittleEndian.AppendUint32(nil, flags)
			_, _, errno := fs.Ioctl(&vfs.Request{UID: uid, GID: uid}, file, h, unix.FS_IOC_SETFLAGS, 0, in, nil)
			return errno
		}
		out := make([]byte, 4)
		if _, _, errno := fs.Ioctl(&root, file, h, unix.FS_IOC_GETFLAGS, 0, nil, out); errno != 0 {
			t.Fatal(errno)
		}
		old := binary.LittleEndian.Uint32(out)
		want(t, "by another", set(4321, old|flagNodump), syscall.EPERM)
		want(t, "by the owner", set(1234, old|flagNodump), 0)
		want(t, "immutable, by the owner", set(1234, old|flagImmutable), syscall.EPERM)
		want(t, "by root", set(0, old), 0)
	})
}

func TestIoctlXattr(t *testing.T) {
	dir := tempDir(t, "")
	fs := share(t, Config{Path: dir})
	write(t, join(dir, "f"), "")
	id, h := openAt(t, fs, "f", unix.O_RDONLY)
	attr := make([]byte, 64)
	n, _, errno := fs.Ioctl(&root, id, h, fsIocGetXattr, 0, nil, attr)
	if n != fsxattrSize || errno != 0 {
		t.Fatalf("get: %d, %v", n, errno)
	}
	attr = attr[:n]
	binary.LittleEndian.PutUint32(attr, binary.LittleEndian.Uint32(attr)|xflagNodump)
	_, _, errno = fs.Ioctl(&root, id, vfs.NoHandle, fsIocSetXattr, 0, attr, nil)
	want(t, "set", errno, 0)
	flags := make([]byte, 4)
	_, _, errno = fs.Ioctl(&root, id, h, unix.FS_IOC_GETFLAGS, 0, nil, flags)
	want(t, "get flags", errno, 0)
	if binary.LittleEndian.Uint32(flags)&flagNodump == 0 {
		t.Errorf("flags %x", flags)
	}
}

func TestIoctlRefused(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		fs := share(t, Config{Path: dir})
		write(t, join(dir, "f"), "")
		for _, err := range []error{
			os.Symlink("f", join(dir, "link")),
			unix.Mkfifo(join(dir, "fifo"), 0o600),
			unix.Mknod(join(dir, "null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		id, h := openAt(t, fs, "f", unix.O_RDWR)
		big := make([]byte, 4096)
		for _, cmd := range []uint32{
			0, 1, ^uint32(0),
			unix.TIOCSTI, unix.FICLONE, unix.BLKDISCARD, unix.TIOCINQ,
			0xc020660b,             // FS_IOC_FIEMAP
			0x80087601, 0x40087602, // FS_IOC_GETVERSION, SETVERSION
			unix.FS_IOC_SET_ENCRYPTION_POLICY, unix.FS_IOC_ENABLE_VERITY,
			unix.FS_IOC_GETFLAGS &^ 0xff0000,
		} {
			for _, handle := range []vfs.Handle{h, vfs.NoHandle} {
				n, result, errno := fs.Ioctl(&root, id, handle, cmd, 1, big, big)
				if n != 0 || result != 0 || errno != syscall.ENOTTY {
					t.Errorf("%#x: %d, %d, %v", cmd, n, result, errno)
				}
			}
		}
		for _, name := range []string{"link", "fifo", "null"} {
			_, _, errno := fs.Ioctl(&root, walk(t, fs, name).Node, vfs.NoHandle, unix.FS_IOC_GETFLAGS, 0, nil, big)
			want(t, name, errno, syscall.ENOTTY)
		}
		for _, c := range []struct {
			cmd     uint32
			in, out int
		}{
			{unix.FS_IOC_GETFLAGS, 8, 0}, {unix.FS_IOC_GETFLAGS, 8, 3}, {unix.FS_IOC_SETFLAGS, 0, 8}, {unix.FS_IOC_SETFLAGS, 3, 8},
			{unix.FS_IOC_SETFLAGS, 9, 0}, {fsIoc32SetFlags, 8, 0}, {fsIocGetXattr, 28, 27}, {fsIocSetXattr, 27, 28}, {fsIocSetXattr, 29, 0},
		} {
			_, _, errno := fs.Ioctl(&root, id, h, c.cmd, 0, big[:c.in], big[:c.out])
			if errno != syscall.EINVAL {
				t.Errorf("%#x with %d in, %d out: %v", c.cmd, c.in, c.out, errno)
			}
		}
		_, _, errno := fs.Ioctl(&root, id, h+1, unix.FS_IOC_GETFLAGS, 0, nil, big)
		want(t, "forged handle", errno, syscall.EBADF)
		_, _, errno = fs.Ioctl(&root, 1<<40, vfs.NoHandle, unix.FS_IOC_GETFLAGS, 0, nil, big)
		want(t, "stale node", errno, syscall.ESTALE)
	})
}
