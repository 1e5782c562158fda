package oslib_test

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

// TestAllocs runs everything that may stand on a hot path with arguments on the
// caller's stack.
func TestAllocs(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	d, _ := openDir(t)
	fd := newFile(t, d, "f", "some content")
	name, other, attr := cstr("f"), cstr("g"), cstr("user.a")
	big := make([]byte, 8192)
	must(t, "setxattr", oslib.Fsetxattr(fd, attr, []byte("v"), 0))
	event, errno := oslib.Eventfd(0, unix.EFD_NONBLOCK)
	must(t, "eventfd", errno)
	defer oslib.Close(event)
	oslib.HaveOpenat2()
	oslib.HaveXattrat()

	for what, f := range map[string]func(){
		"open": func() {
			n, errno := oslib.Openat2(d, name, unix.O_PATH|unix.O_NOFOLLOW, 0, unix.RESOLVE_IN_ROOT)
			must(t, "openat2", errno)
			oslib.Close(n)
			n, errno = oslib.Openat(d, name, unix.O_RDONLY, 0)
			must(t, "openat", errno)
			oslib.Close(n)
		},
		"probe": func() { _ = oslib.HaveOpenat2() && oslib.HaveXattrat() },
		"stat": func() {
			var st unix.Stat_t
			var stx unix.Statx_t
			var sfs unix.Statfs_t
			must(t, "fstat", oslib.Fstat(fd, &st))
			must(t, "fstatat", oslib.Fstatat(d, name, &st, unix.AT_SYMLINK_NOFOLLOW))
			must(t, "statx", oslib.Statx(fd, oslib.Empty, unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &stx))
			must(t, "statfs", oslib.Fstatfs(fd, &sfs))
		},
		"handle": func() {
			var h oslib.FileHandle
			_, errno := oslib.NameToHandle(d, name, &h, 0)
			must(t, "name to handle", errno)
			n, errno := oslib.OpenByHandle(d, &h, unix.O_PATH)
			must(t, "open by handle", errno)
			oslib.Close(n)
		},
		"names": func() {
			var times [2]unix.Timespec
			must(t, "link", oslib.Linkat(d, name, d, other, 0))
			must(t, "unlink", oslib.Unlinkat(d, other, 0))
			must(t, "symlink", oslib.Symlinkat(name, d, other))
			var buf [16]byte
			_, errno := oslib.Readlinkat(d, other, buf[:])
			must(t, "readlink", errno)
			must(t, "rename", oslib.Renameat2(d, other, d, other, 0))
			must(t, "unlink", oslib.Unlinkat(d, other, 0))
			must(t, "utimens", oslib.Utimensat(d, name, &times, 0))
			must(t, "chown", oslib.Fchownat(d, name, oslib.KeepID, oslib.KeepID, 0))
		},
		"read and write": func() {
			var buf [512]byte
			iov := [2]unix.Iovec{oslib.Iov(buf[:100]), oslib.Iov(buf[100:])}
			_, errno := oslib.Pwritev2(fd, iov[:], 0, 0)
			must(t, "write", errno)
			_, errno = oslib.Preadv2(fd, iov[:], 0, 0)
			must(t, "read", errno)
			_, errno = oslib.Lseek(fd, 0, unix.SEEK_DATA)
			must(t, "seek", errno)
			in, out := int64(0), int64(1000)
			_, errno = oslib.CopyFileRange(fd, &in, fd, &out, 100, 0)
			must(t, "copy", errno)
			c := oslib.IovCursor{Left: iov[:]}
			c.Aligned(0, oslib.Alignment{Mem: 1, Block: 4}, 1)
			must(t, "sync", oslib.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE))
			must(t, "advise", oslib.Fadvise(fd, 0, 0, unix.FADV_DONTNEED))
		},
		"list": func() {
			_, errno := oslib.Lseek(d, 0, unix.SEEK_SET)
			must(t, "rewind", errno)
			n, errno := oslib.Getdents(d, big)
			must(t, "getdents", errno)
			ents := oslib.Dirents(big[:n])
			var e oslib.Dirent
			for ents.Read(&e) {
				if len(e.Name()) == 0 {
					t.Error("no name")
				}
			}
		},
		"xattr": func() {
			var buf [64]byte
			_, errno := oslib.Getxattrat(d, name, 0, attr, buf[:])
			must(t, "getxattrat", errno)
			_, errno = oslib.Fgetxattr(fd, attr, buf[:])
			must(t, "fgetxattr", errno)
			_, errno = oslib.Listxattrat(d, name, 0, buf[:])
			must(t, "listxattrat", errno)
			must(t, "setxattrat", oslib.Setxattrat(d, name, 0, attr, buf[:3], 0))
		},
		"locks": func() {
			lk := unix.Flock_t{Type: unix.F_WRLCK}
			must(t, "setlk", oslib.OFDSetlk(fd, &lk))
			must(t, "getlk", oslib.OFDGetlk(fd, &lk))
			must(t, "flock", oslib.Flock(fd, unix.LOCK_UN))
		},
		"event": func() {
			must(t, "write", oslib.EventfdWrite(event, 1))
			_, errno := oslib.EventfdRead(event)
			must(t, "read", errno)
		},
		"credentials": func() {
			groups := [1]uint32{0}
			must(t, "groups", oslib.SetThreadGroups(groups[:]))
			must(t, "no groups", oslib.SetThreadGroups(nil))
			must(t, "ids", oslib.SetThreadIDs(1, 1))
			must(t, "ids back", oslib.SetThreadIDs(0, 0))
			must(t, "capability", oslib.SetThreadCap(unix.CAP_FSETID, false))
			must(t, "capability back", oslib.SetThreadCap(unix.CAP_FSETID, true))
		},
		"descriptor name": func() {
			var buf [12]byte
			if len(oslib.ProcFDName(&buf, fd)) < 2 {
				t.Error("no name")
			}
		},
	} {
		if n := testing.AllocsPerRun(50, f); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}
