package fuse_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fuse/fusetest"
	"github.com/isthmus-fs/isthmus/vfs"
)

// start returns a client in a session with fs.
func start(t testing.TB, fs vfs.FileSystem, opt fuse.Options) (*fuse.Server, *fusetest.Client) {
	t.Helper()
	s := fuse.NewServer(fs, opt)
	c := fusetest.NewClient(fusetest.NewDirect(s))
	c.UID, c.GID, c.PID = 1000, 1001, 1002
	if _, errno := c.Init(fusetest.Linux()); errno != 0 {
		t.Fatalf("INIT: %v", errno)
	}
	t.Cleanup(func() {
		if err := c.Err(); err != nil {
			t.Error(err)
		}
	})
	return s, c
}

const ttl = 1500 * time.Millisecond

var (
	wantEntry  = vfs.Entry{Node: 2, Generation: 1, Attr: fusetest.NullAttr, EntryTTL: ttl, AttrTTL: 2 * ttl}
	wantAttr   = vfs.AttrOut{Attr: fusetest.NullAttr, TTL: ttl}
	wantOpened = vfs.Opened{Handle: 3, Flags: vfs.OpenKeepCache}
)

// TestOperations sends every request and compares what the file system was
// asked, and what came back.
func TestOperations(t *testing.T) {
	lock := vfs.Lock{Owner: 9, Start: 5, End: 99, Type: unix.F_WRLCK, PID: 7}
	long := strings.Repeat("x", vfs.MaxName)
	target := strings.Repeat("t", 4095)
	setattr := vfs.SetAttr{
		Valid: vfs.SetMode | vfs.SetUID | vfs.SetGID | vfs.SetSize | vfs.SetAtime | vfs.SetMtimeNow | vfs.SetCtime | vfs.SetKillSUIDGID,
		Mode:  0o4755, UID: 1, GID: 2, Size: 1 << 40,
		Atime: vfs.Timespec{Sec: -1, Nsec: 999_999_999}, Mtime: vfs.Timespec{Nsec: 1<<30 - 1}, Ctime: vfs.Timespec{Sec: 6},
	}
	copying := vfs.CopyRange{SrcNode: 2, DstNode: 3, SrcHandle: 4, DstHandle: 5, SrcOff: 6, DstOff: 7, Len: 1 << 33, Flags: 8}
	type result = []any
	for _, tc := range []struct {
		name string
		do   func(c *fusetest.Client) result
		call string
		want result
	}{
		{"LOOKUP", func(c *fusetest.Client) result { e, err := c.Lookup(1, "a"); return result{e, err} },
			`Lookup 1 "a\x00"`, result{wantEntry, syscall.Errno(0)}},
		{"LOOKUP long", func(c *fusetest.Client) result { e, err := c.Lookup(1, long); return result{e, err} },
			`Lookup 1 "` + long + `\x00"`, result{wantEntry, syscall.Errno(0)}},
		{"LOOKUP bytes", func(c *fusetest.Client) result { e, err := c.Lookup(1<<63, "\xff\n..."); return result{e, err} },
			`Lookup 9223372036854775808 "\xff\n...\x00"`, result{wantEntry, syscall.Errno(0)}},
		{"FORGET", func(c *fusetest.Client) result { c.Forget(5, 1<<40); return nil }, "Forget 5 1099511627776", nil},
		{"GETATTR", func(c *fusetest.Client) result { a, err := c.Getattr(5, vfs.NoHandle); return result{a, err} },
			"Getattr 5 -1", result{wantAttr, syscall.Errno(0)}},
		{"GETATTR handle", func(c *fusetest.Client) result { a, err := c.Getattr(5, 6); return result{a, err} },
			"Getattr 5 6", result{wantAttr, syscall.Errno(0)}},
		{"SETATTR", func(c *fusetest.Client) result { a, err := c.Setattr(5, 6, setattr); return result{a, err} },
			"Setattr 5 6 {Valid:3359 Mode:2541 UID:1 GID:2 Size:1099511627776 Atime:{Sec:-1 Nsec:999999999} Mtime:{Sec:0 Nsec:1073741823} Ctime:{Sec:6 Nsec:0}}",
			result{wantAttr, syscall.Errno(0)}},
		{"SETATTR unknown bits", func(c *fusetest.Client) result {
			_, err := c.Setattr(5, vfs.NoHandle, vfs.SetAttr{Valid: 1<<31 | 1<<9, Mode: ^uint32(0)})
			return result{err}
		}, "Setattr 5 -1 {Valid:0 Mode:4095 UID:0 GID:0 Size:0 Atime:{Sec:0 Nsec:0} Mtime:{Sec:0 Nsec:0} Ctime:{Sec:0 Nsec:0}}", result{syscall.Errno(0)}},
		{"STATX", func(c *fusetest.Client) result { x, err := c.Statx(5, 6, 0x100, 0xfff); return result{x, err} },
			"Statx 5 6 0x100 0xfff", result{vfs.Statx{
				Mask: 0xfff, Attributes: 1 << 40, AttributesMask: 3 << 40, Attr: fusetest.NullAttr,
				Btime: vfs.Timespec{Sec: 11, Nsec: 12}, DevMajor: 13, DevMinor: 14, TTL: ttl,
			}, syscall.Errno(0)}},
		{"ACCESS", func(c *fusetest.Client) result { return result{c.Access(5, 4)} }, "Access 5 4", result{syscall.Errno(0)}},
		{"READLINK", func(c *fusetest.Client) result {
			buf := make([]byte, 4095)
			n, err := c.Readlink(5, buf)
			return result{string(buf[:n]), err}
		}, "Readlink 5 4096", result{"some/where/else", syscall.Errno(0)}},
		{"SYMLINK", func(c *fusetest.Client) result { e, err := c.Symlink(1, "l", "../x"); return result{e, err} },
			`Symlink 1 "l\x00" "../x\x00"`, result{wantEntry, syscall.Errno(0)}},
		{"SYMLINK long", func(c *fusetest.Client) result { e, err := c.Symlink(1, long, target); return result{e, err} },
			`Symlink 1 "` + long + `\x00" "` + target + `\x00"`, result{wantEntry, syscall.Errno(0)}},
		{"MKNOD", func(c *fusetest.Client) result {
			e, err := c.Mknod(1, "n", unix.S_IFCHR|0o600, 0x105, 0o22)
			return result{e, err}
		}, `Mknod 1 "n\x00" 020600 0x105`, result{wantEntry, syscall.Errno(0)}},
		{"MKDIR", func(c *fusetest.Client) result { e, err := c.Mkdir(1, "d", 0o1777, 0o22); return result{e, err} },
			`Mkdir 1 "d\x00" 01777`, result{wantEntry, syscall.Errno(0)}},
		{"LINK", func(c *fusetest.Client) result { e, err := c.Link(5, 1, "n"); return result{e, err} },
			`Link 5 1 "n\x00"`, result{wantEntry, syscall.Errno(0)}},
		{"UNLINK", func(c *fusetest.Client) result { return result{c.Unlink(1, "a")} }, `Unlink 1 "a\x00"`, result{syscall.Errno(0)}},
		{"RMDIR", func(c *fusetest.Client) result { return result{c.Rmdir(1, "a")} }, `Rmdir 1 "a\x00"`, result{syscall.Errno(0)}},
		{"RENAME", func(c *fusetest.Client) result { return result{c.Rename(1, "a", 2, "b")} },
			`Rename 1 "a\x00" 2 "b\x00" 0`, result{syscall.Errno(0)}},
		{"RENAME2", func(c *fusetest.Client) result { return result{c.Rename2(1, "a", 2, "b", 5)} },
			`Rename 1 "a\x00" 2 "b\x00" 5`, result{syscall.Errno(0)}},
		{"OPEN", func(c *fusetest.Client) result {
			o, err := c.Open(5, unix.O_RDWR|unix.O_TRUNC, true)
			return result{o, err}
		},
			"Open 5 0x202 true", result{wantOpened, syscall.Errno(0)}},
		{"CREATE", func(c *fusetest.Client) result {
			e, o, err := c.Create(1, "c", unix.O_RDWR, 0o100644, 0o22)
			return result{e, o, err}
		}, `Create 1 "c\x00" 0x2 0100644`, result{wantEntry, wantOpened, syscall.Errno(0)}},
		{"TMPFILE", func(c *fusetest.Client) result {
			e, o, err := c.Tmpfile(1, unix.O_RDWR, 0o600, 0)
			return result{e, o, err}
		}, `Tmpfile 1 0x2 0600`, result{wantEntry, wantOpened, syscall.Errno(0)}},
		{"READ", func(c *fusetest.Client) result {
			buf := make([]byte, 5)
			n, err := c.Read(5, 6, buf, 1<<40, unix.O_APPEND)
			return result{n, buf, err}
		}, "Read 5 6 5@1099511627776 0x400", result{3, []byte{1, 2, 3, 4, 5}, syscall.Errno(0)}},
		{"WRITE", func(c *fusetest.Client) result {
			n, err := c.Write(5, 6, []byte("data"), 7, unix.O_WRONLY, 1|2|4)
			return result{n, err}
		}, `Write 5 6 "data"@7 0x1 3`, result{4, syscall.Errno(0)}},
		{"FLUSH", func(c *fusetest.Client) result { return result{c.Flush(5, 6, 7)} }, "Flush 5 6 7", result{syscall.Errno(0)}},
		{"RELEASE", func(c *fusetest.Client) result {
			return result{c.Release(5, 6, vfs.ReleaseIn{OpenFlags: 2, LockOwner: 7, FlockUnlock: true})}
		}, "Release 5 6 {OpenFlags:2 LockOwner:7 FlockUnlock:true}", result{syscall.Errno(0)}},
		{"FSYNC", func(c *fusetest.Client) result { return result{c.Fsync(5, 6, true)} }, "Fsync 5 6 true", result{syscall.Errno(0)}},
		{"FALLOCATE", func(c *fusetest.Client) result { return result{c.Fallocate(5, 6, 7, 8, 3)} }, "Fallocate 5 6 7 8 3", result{syscall.Errno(0)}},
		{"LSEEK", func(c *fusetest.Client) result { o, err := c.Lseek(5, 6, 1<<62, unix.SEEK_HOLE); return result{o, err} },
			"Lseek 5 6 4611686018427387904 4", result{uint64(1<<62 + 1), syscall.Errno(0)}},
		{"COPY_FILE_RANGE", func(c *fusetest.Client) result { n, err := c.CopyFileRange(copying); return result{n, err} },
			"CopyFileRange {SrcNode:2 DstNode:3 SrcHandle:4 DstHandle:5 SrcOff:6 DstOff:7 Len:4294963200 Flags:8}", result{uint64(0xfffff000), syscall.Errno(0)}},
		{"COPY_FILE_RANGE_64", func(c *fusetest.Client) result { n, err := c.CopyFileRange64(copying); return result{n, err} },
			"CopyFileRange {SrcNode:2 DstNode:3 SrcHandle:4 DstHandle:5 SrcOff:6 DstOff:7 Len:8589934592 Flags:8}", result{uint64(1 << 33), syscall.Errno(0)}},
		{"OPENDIR", func(c *fusetest.Client) result { o, err := c.Opendir(5, unix.O_DIRECTORY); return result{o, err} },
			"Opendir 5 0x10000", result{wantOpened, syscall.Errno(0)}},
		{"RELEASEDIR", func(c *fusetest.Client) result { return result{c.Releasedir(5, 6)} }, "Releasedir 5 6", result{syscall.Errno(0)}},
		{"FSYNCDIR", func(c *fusetest.Client) result { return result{c.Fsyncdir(5, 6, false)} }, "Fsyncdir 5 6 false", result{syscall.Errno(0)}},
		{"STATFS", func(c *fusetest.Client) result { f, err := c.Statfs(5); return result{f, err} }, "Statfs 5",
			result{vfs.Statfs{Blocks: 1, Bfree: 2, Bavail: 3, Files: 4, Ffree: 5, Bsize: 6, Frsize: 7, Namelen: 8}, syscall.Errno(0)}},
		{"SYNCFS", func(c *fusetest.Client) result { return result{c.Syncfs(5)} }, "Syncfs 5", result{syscall.Errno(0)}},
		{"SETXATTR", func(c *fusetest.Client) result { return result{c.Setxattr(5, "user.a", []byte("v\x00v"), 2, true)} },
			`Setxattr 5 "user.a\x00" "v\x00v" 2 true`, result{syscall.Errno(0)}},
		{"SETXATTR empty", func(c *fusetest.Client) result { return result{c.Setxattr(5, "user.a", nil, 0, false)} },
			`Setxattr 5 "user.a\x00" "" 0 false`, result{syscall.Errno(0)}},
		{"SETXATTR long", func(c *fusetest.Client) result { return result{c.Setxattr(5, long, make([]byte, 64<<10), 0, false)} },
			`Setxattr 5 "` + long + `\x00" 65536 bytes 0 false`, result{syscall.Errno(0)}},
		{"GETXATTR", func(c *fusetest.Client) result {
			buf := make([]byte, 40)
			n, err := c.Getxattr(5, "user.a", buf)
			return result{string(buf[:n]), err}
		}, `Getxattr 5 "user.a\x00" 40`, result{"a value of some length", syscall.Errno(0)}},
		{"GETXATTR length", func(c *fusetest.Client) result { n, err := c.Getxattr(5, "user.a", nil); return result{n, err} },
			`Getxattr 5 "user.a\x00" 0`, result{22, syscall.Errno(0)}},
		{"GETXATTR short", func(c *fusetest.Client) result {
			n, err := c.Getxattr(5, "user.a", make([]byte, 4))
			return result{n, err}
		}, `Getxattr 5 "user.a\x00" 4`, result{0, syscall.ERANGE}},
		{"GETXATTR huge", func(c *fusetest.Client) result {
			n, err := c.Getxattr(5, "user.a", make([]byte, 1<<20))
			return result{n, err}
		}, `Getxattr 5 "user.a\x00" 65536`, result{22, syscall.Errno(0)}},
		{"LISTXATTR", func(c *fusetest.Client) result { n, err := c.Listxattr(5, make([]byte, 1<<17)); return result{n, err} },
			"Listxattr 5 65536", result{22, syscall.Errno(0)}},
		{"LISTXATTR length", func(c *fusetest.Client) result { n, err := c.Listxattr(5, nil); return result{n, err} },
			"Listxattr 5 0", result{22, syscall.Errno(0)}},
		{"REMOVEXATTR", func(c *fusetest.Client) result { return result{c.Removexattr(5, "user.a")} },
			`Removexattr 5 "user.a\x00"`, result{syscall.Errno(0)}},
		{"GETLK", func(c *fusetest.Client) result { l, err := c.Getlk(5, 6, lock); return result{l, err} },
			"Getlk 5 6 {Owner:9 Start:5 End:99 Type:1 PID:7 Flock:false Wait:false}",
			result{vfs.Lock{Start: 1, End: 2, Type: unix.F_RDLCK, PID: 4}, syscall.Errno(0)}},
		{"SETLK", func(c *fusetest.Client) result { return result{c.Setlk(5, 6, lock)} },
			"Setlk 5 6 {Owner:9 Start:5 End:99 Type:1 PID:7 Flock:false Wait:false}", result{syscall.Errno(0)}},
		{"SETLKW flock", func(c *fusetest.Client) result {
			l := lock
			l.Wait, l.Flock, l.End = true, true, vfs.MaxLockEnd
			return result{c.Setlk(5, 6, l)}
		}, "Setlk 5 6 {Owner:9 Start:5 End:9223372036854775807 Type:1 PID:7 Flock:true Wait:true}", result{syscall.Errno(0)}},
		{"SETLKW unlock", func(c *fusetest.Client) result {
			l := lock
			l.Wait, l.Type = true, unix.F_UNLCK
			return result{c.Setlk(5, 6, l)}
		}, "Setlk 5 6 {Owner:9 Start:5 End:99 Type:2 PID:7 Flock:false Wait:false}", result{syscall.Errno(0)}},
		{"IOCTL", func(c *fusetest.Client) result {
			out := make([]byte, 8)
			n, ret, err := c.Ioctl(5, 6, 0, 0x80086601, 7, []byte("in"), out)
			return result{n, string(out[:n]), ret, err}
		}, `Ioctl 5 6 0x80086601 7 "in" 8`, result{2, "in", int32(5), syscall.Errno(0)}},
		{"IOCTL long", func(c *fusetest.Client) result {
			n, ret, err := c.Ioctl(5, 6, 0, 1, 0, nil, make([]byte, 16<<10))
			return result{n, ret, err}
		}, `Ioctl 5 6 0x1 0 "" 16384`, result{0, int32(5), syscall.Errno(0)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fs := &recordFS{}
			_, c := start(t, fs, fuse.Options{})
			fs.take()
			got := tc.do(c)
			if diff := cmp.Diff([]string{tc.call}, fs.take()); diff != "" {
				t.Errorf("call (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			if fs.last.UID != 0 || !strings.HasPrefix(tc.call, "Forget") {
				if fs.last.UID != 1000 || fs.last.GID != 1001 || fs.last.PID != 1002 || !fs.last.Nowait || fs.last.Interrupt != nil {
					t.Errorf("request %+v", fs.last)
				}
			}
		})
	}
}

// TestArguments sends what a decoder must refuse before the file system is asked.
func TestArguments(t *testing.T) {
	lock := fusetest.WholeFile(1, false)
	with := func(change func(l *vfs.Lock)) vfs.Lock { l := lock; change(&l); return l }
	long := strings.Repeat("x", 4096)
	for _, tc := range []struct {
		name string
		do   func(c *fusetest.Client) syscall.Errno
		want syscall.Errno
	}{
		{"lock type", func(c *fusetest.Client) syscall.Errno { return c.Setlk(1, 1, with(func(l *vfs.Lock) { l.Type = 3 })) }, syscall.EINVAL},
		{"lock order", func(c *fusetest.Client) syscall.Errno {
			return c.Setlk(1, 1, with(func(l *vfs.Lock) { l.Start, l.End = 2, 1 }))
		}, syscall.EINVAL},
		{"lock end", func(c *fusetest.Client) syscall.Errno {
			return c.Setlk(1, 1, with(func(l *vfs.Lock) { l.End = 1 << 63 }))
		}, syscall.EINVAL},
		{"rename flags", func(c *fusetest.Client) syscall.Errno { return c.Rename2(1, "a", 1, "b", 8) }, syscall.EINVAL},
		{"nanoseconds", func(c *fusetest.Client) syscall.Errno {
			_, errno := c.Setattr(1, 1, vfs.SetAttr{Valid: vfs.SetAtime, Atime: vfs.Timespec{Nsec: 1_000_000_000}})
			return errno
		}, syscall.EINVAL},
		{"link to nothing", func(c *fusetest.Client) syscall.Errno { _, errno := c.Symlink(1, "a", ""); return errno }, syscall.ENOENT},
		{"link too long", func(c *fusetest.Client) syscall.Errno { _, errno := c.Symlink(1, "a", long); return errno }, syscall.ENAMETOOLONG},
		{"name too long", func(c *fusetest.Client) syscall.Errno { return c.Unlink(1, long[:256]) }, syscall.ENAMETOOLONG},
		{"attribute without name", func(c *fusetest.Client) syscall.Errno { return c.Removexattr(1, "") }, syscall.ERANGE},
		{"attribute name too long", func(c *fusetest.Client) syscall.Errno { return c.Removexattr(1, long[:256]) }, syscall.ERANGE},
		{"attribute value too long", func(c *fusetest.Client) syscall.Errno {
			return c.Setxattr(1, "user.a", make([]byte, 64<<10+1), 0, false)
		}, syscall.E2BIG},
		{"attribute value far too long", func(c *fusetest.Client) syscall.Errno {
			return c.Setxattr(1, "user.a", make([]byte, 1<<20), 0, false)
		}, syscall.E2BIG},
		{"read too long", func(c *fusetest.Client) syscall.Errno {
			_, errno := c.Read(1, 1, make([]byte, 1<<20+1), 0, 0)
			return errno
		}, syscall.EINVAL},
		{"write too long", func(c *fusetest.Client) syscall.Errno {
			_, errno := c.Write(1, 1, make([]byte, 1<<20+1), 0, 0, 0)
			return errno
		}, syscall.EINVAL},
		{"message too long", func(c *fusetest.Client) syscall.Errno {
			_, errno := c.Write(1, 1, make([]byte, 1<<20+4096), 0, 0, 0)
			return errno
		}, syscall.ENOMEM},
		{"unrestricted ioctl", func(c *fusetest.Client) syscall.Errno {
			_, _, errno := c.Ioctl(1, 1, 2, 1, 0, nil, nil)
			return errno
		}, syscall.ENOSYS},
		{"ioctl input too long", func(c *fusetest.Client) syscall.Errno {
			_, _, errno := c.Ioctl(1, 1, 0, 1, 0, make([]byte, 16<<10+1), nil)
			return errno
		}, syscall.E2BIG},
		{"ioctl output too long", func(c *fusetest.Client) syscall.Errno {
			_, _, errno := c.Ioctl(1, 1, 0, 1, 0, nil, make([]byte, 16<<10+1))
			return errno
		}, syscall.E2BIG},
		{"no such opcode", func(c *fusetest.Client) syscall.Errno { _, errno := c.Do(54, 1, nil, nil); return errno }, syscall.ENOSYS},
		{"cuse", func(c *fusetest.Client) syscall.Errno { _, errno := c.Do(fuse.CUSE_INIT, 1, nil, nil); return errno }, syscall.ENOSYS},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fs := &recordFS{}
			_, c := start(t, fs, fuse.Options{})
			fs.take()
			if got := tc.do(c); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
			if calls := fs.take(); len(calls) != 0 {
				t.Errorf("file system was asked: %q", calls)
			}
		})
	}
}
