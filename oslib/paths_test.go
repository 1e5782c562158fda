package oslib_test

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

// cstr is s as the calls want it.
func cstr(s string) []byte { return append([]byte(s), 0) }

func must(t testing.TB, what string, errno syscall.Errno) {
	t.Helper()
	if errno != 0 {
		t.Fatalf("%s: %v", what, errno)
	}
}

func want(t testing.TB, what string, got, want syscall.Errno) {
	t.Helper()
	if got != want {
		t.Errorf("%s: errno %d (%v), want %d (%v)", what, int(got), got, int(want), want)
	}
}

// openDir returns a descriptor of a fresh directory and its path.
func openDir(t testing.TB) (int, string) {
	t.Helper()
	dir := t.TempDir()
	fd, errno := oslib.Openat(unix.AT_FDCWD, cstr(dir), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, "open directory", errno)
	t.Cleanup(func() { oslib.Close(fd) })
	return fd, dir
}

// newFile makes a file in dirfd and returns a descriptor of it.
func newFile(t testing.TB, dirfd int, name, content string) int {
	t.Helper()
	fd, errno := oslib.Openat(dirfd, cstr(name), unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o644)
	must(t, "create "+name, errno)
	t.Cleanup(func() { oslib.Close(fd) })
	if content != "" {
		n, errno := oslib.Pwritev2(fd, []unix.Iovec{oslib.Iov([]byte(content))}, 0, 0)
		must(t, "fill "+name, errno)
		if n != len(content) {
			t.Fatalf("wrote %d of %d bytes", n, len(content))
		}
	}
	return fd
}

func TestBadPaths(t *testing.T) {
	d, dir := openDir(t)
	newFile(t, d, "f", "x")
	good := cstr("f")
	var st unix.Stat_t
	var stx unix.Statx_t
	var h oslib.FileHandle
	var ts [2]unix.Timespec
	buf := make([]byte, 16)
	calls := map[string]func(p []byte) syscall.Errno{
		"Openat2":      func(p []byte) syscall.Errno { _, e := oslib.Openat2(d, p, unix.O_PATH, 0, 0); return e },
		"Openat":       func(p []byte) syscall.Errno { _, e := oslib.Openat(d, p, unix.O_PATH, 0); return e },
		"Fstatat":      func(p []byte) syscall.Errno { return oslib.Fstatat(d, p, &st, 0) },
		"Statx":        func(p []byte) syscall.Errno { return oslib.Statx(d, p, 0, 0, &stx) },
		"NameToHandle": func(p []byte) syscall.Errno { _, e := oslib.NameToHandle(d, p, &h, 0); return e },
		"Mkdirat":      func(p []byte) syscall.Errno { return oslib.Mkdirat(d, p, 0o755) },
		"Mknodat":      func(p []byte) syscall.Errno { return oslib.Mknodat(d, p, unix.S_IFIFO, 0) },
		"Unlinkat":     func(p []byte) syscall.Errno { return oslib.Unlinkat(d, p, 0) },
		"Symlinkat 1":  func(p []byte) syscall.Errno { return oslib.Symlinkat(p, d, cstr("new")) },
		"Symlinkat 2":  func(p []byte) syscall.Errno { return oslib.Symlinkat(good, d, p) },
		"Linkat 1":     func(p []byte) syscall.Errno { return oslib.Linkat(d, p, d, cstr("new"), 0) },
		"Linkat 2":     func(p []byte) syscall.Errno { return oslib.Linkat(d, good, d, p, 0) },
		"Renameat2 1":  func(p []byte) syscall.Errno { return oslib.Renameat2(d, p, d, cstr("new"), 0) },
		"Renameat2 2":  func(p []byte) syscall.Errno { return oslib.Renameat2(d, good, d, p, 0) },
		"Readlinkat":   func(p []byte) syscall.Errno { _, e := oslib.Readlinkat(d, p, buf); return e },
		"Fchmodat":     func(p []byte) syscall.Errno { return oslib.Fchmodat(d, p, 0) },
		"Fchownat":     func(p []byte) syscall.Errno { return oslib.Fchownat(d, p, 1, 1, 0) },
		"Utimensat":    func(p []byte) syscall.Errno { return oslib.Utimensat(d, p, &ts, 0) },
		"Getxattr 1":   func(p []byte) syscall.Errno { _, e := oslib.Getxattr(p, good, buf); return e },
		"Getxattr 2":   func(p []byte) syscall.Errno { _, e := oslib.Getxattr(cstr(dir), p, buf); return e },
		"Setxattr 1":   func(p []byte) syscall.Errno { return oslib.Setxattr(p, good, nil, 0) },
		"Setxattr 2":   func(p []byte) syscall.Errno { return oslib.Setxattr(cstr(dir), p, nil, 0) },
		"Listxattr":    func(p []byte) syscall.Errno { _, e := oslib.Listxattr(p, buf); return e },
		"Removexattr1": func(p []byte) syscall.Errno { return oslib.Removexattr(p, good) },
		"Removexattr2": func(p []byte) syscall.Errno { return oslib.Removexattr(cstr(dir), p) },
		"Fgetxattr":    func(p []byte) syscall.Errno { _, e := oslib.Fgetxattr(d, p, buf); return e },
		"Fsetxattr":    func(p []byte) syscall.Errno { return oslib.Fsetxattr(d, p, nil, 0) },
		"Fremovexattr": func(p []byte) syscall.Errno { return oslib.Fremovexattr(d, p) },
		"Getxattrat 1": func(p []byte) syscall.Errno { _, e := oslib.Getxattrat(d, p, 0, good, buf); return e },
		"Getxattrat 2": func(p []byte) syscall.Errno { _, e := oslib.Getxattrat(d, good, 0, p, buf); return e },
		"Setxattrat":   func(p []byte) syscall.Errno { return oslib.Setxattrat(d, p, 0, good, nil, 0) },
		"Listxattrat":  func(p []byte) syscall.Errno { _, e := oslib.Listxattrat(d, p, 0, buf); return e },
		"Removexattrat": func(p []byte) syscall.Errno {
			return oslib.Removexattrat(d, p, 0, good)
		},
		"MemfdCreate": func(p []byte) syscall.Errno { _, e := oslib.MemfdCreate(p, 0); return e },
	}
	for name, call := range calls {
		for _, path := range [][]byte{nil, {}, []byte("f"), []byte("f\x00g")} {
			if errno := call(path); errno != syscall.EINVAL {
				t.Errorf("%s(%q): %v, want EINVAL", name, path, errno)
			}
		}
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("refused calls left %v", names)
	}
	must(t, "file unharmed", oslib.Fstatat(d, good, &st, 0))
	if st.Uid != uint32(os.Getuid()) || st.Mode != unix.S_IFREG|0o644 {
		t.Errorf("refused calls changed the file: %+v", st)
	}
}

func TestOpen(t *testing.T) {
	d, dir := openDir(t)
	if !oslib.HaveOpenat2() {
		t.Fatal("openat2 missing")
	}
	old := oslib.ThreadUmask(0)
	defer oslib.ThreadUmask(old)

	// A mode beyond 07777 is cut, also one beyond 32 bits; without O_CREAT
	// the kernel refuses any mode, so it must be dropped.
	const wild = 1<<40 | unix.S_IFIFO | 0o4711
	fd, errno := oslib.Openat2(d, cstr("a"), unix.O_CREAT|unix.O_WRONLY, wild, unix.RESOLVE_BENEATH)
	must(t, "create a", errno)
	checkOpen(t, fd, unix.O_WRONLY, 0o4711)
	fd, errno = oslib.Openat2(d, cstr("a"), unix.O_RDONLY, wild, unix.RESOLVE_BENEATH)
	must(t, "open a", errno)
	checkOpen(t, fd, unix.O_RDONLY, 0o4711)
	fd, errno = oslib.Openat2(d, cstr("."), unix.O_TMPFILE|unix.O_RDWR, wild, 0)
	must(t, "tmpfile", errno)
	checkOpen(t, fd, unix.O_RDWR, 0o4711)
	fd, errno = oslib.Openat(d, cstr("b"), unix.O_CREAT|unix.O_RDWR, unix.S_IFIFO|0o640)
	must(t, "create b", errno)
	checkOpen(t, fd, unix.O_RDWR, 0o640)

	must(t, "symlink", oslib.Symlinkat(cstr("/etc"), d, cstr("out")))
	_, errno = oslib.Openat2(d, cstr("out/passwd"), unix.O_RDONLY, 0, unix.RESOLVE_BENEATH)
	want(t, "beneath", errno, syscall.EXDEV)
	_, errno = oslib.Openat2(d, cstr("out/passwd"), unix.O_RDONLY, 0, unix.RESOLVE_IN_ROOT)
	want(t, "in root", errno, syscall.ENOENT)
	_, errno = oslib.Openat2(d, cstr("../"+filepath.Base(dir)), unix.O_RDONLY, 0, unix.RESOLVE_BENEATH)
	want(t, "dotdot", errno, syscall.EXDEV)
	fd, errno = oslib.Openat2(d, cstr("none"), unix.O_RDONLY, 0, 0)
	want(t, "missing", errno, syscall.ENOENT)
	if fd != -1 {
		t.Errorf("failed open returned %d", fd)
	}
	want(t, "close a closed one", oslib.Close(1<<20-1), syscall.EBADF)
}

// checkOpen checks access mode, permissions and FD_CLOEXEC, and closes fd.
func checkOpen(t *testing.T, fd, access int, mode uint32) {
	t.Helper()
	defer oslib.Close(fd)
	var st unix.Stat_t
	must(t, "fstat", oslib.Fstat(fd, &st))
	if st.Mode != unix.S_IFREG|mode {
		t.Errorf("mode %o, want %o", st.Mode, unix.S_IFREG|mode)
	}
	fl, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || fl&unix.O_ACCMODE != access {
		t.Errorf("flags %x, %v, want access %x", fl, err, access)
	}
	checkCloexec(t, fd)
}

func checkCloexec(t *testing.T, fd int) {
	t.Helper()
	fl, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil || fl&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags %x, %v: not closed at exec", fl, err)
	}
}

func TestNames(t *testing.T) {
	d, dir := openDir(t)
	must(t, "mkdir", oslib.Mkdirat(d, cstr("dir"), 0o711))
	want(t, "mkdir again", oslib.Mkdirat(d, cstr("dir"), 0o711), syscall.EEXIST)
	newFile(t, d, "f", "content")

	must(t, "link", oslib.Linkat(d, cstr("f"), d, cstr("g"), 0))
	must(t, "rename", oslib.Renameat2(d, cstr("g"), d, cstr("dir/h"), 0))
	want(t, "noreplace", oslib.Renameat2(d, cstr("f"), d, cstr("dir/h"), unix.RENAME_NOREPLACE), syscall.EEXIST)
	must(t, "exchange", oslib.Renameat2(d, cstr("f"), d, cstr("dir"), unix.RENAME_EXCHANGE))
	if fi, err := os.Stat(filepath.Join(dir, "dir")); err != nil || fi.IsDir() {
		t.Errorf("after exchange: %v, %v", fi, err)
	}
	must(t, "exchange back", oslib.Renameat2(d, cstr("f"), d, cstr("dir"), unix.RENAME_EXCHANGE))

	must(t, "symlink", oslib.Symlinkat(cstr("some\xfftarget"), d, cstr("ln")))
	buf := make([]byte, 64)
	n, errno := oslib.Readlinkat(d, cstr("ln"), buf)
	must(t, "readlink", errno)
	if string(buf[:n]) != "some\xfftarget" {
		t.Errorf("target %q", buf[:n])
	}
	n, errno = oslib.Readlinkat(d, cstr("ln"), buf[:4])
	if n != 4 || errno != 0 {
		t.Errorf("short buffer: %d, %v", n, errno)
	}
	_, errno = oslib.Readlinkat(d, cstr("ln"), nil)
	want(t, "no buffer", errno, syscall.EINVAL)
	fd, errno := oslib.Openat(d, cstr("ln"), unix.O_PATH|unix.O_NOFOLLOW, 0)
	must(t, "open link", errno)
	defer oslib.Close(fd)
	if n, errno = oslib.Readlinkat(fd, oslib.Empty, buf); errno != 0 || n != 11 {
		t.Errorf("readlink of a descriptor: %d, %v", n, errno)
	}

	// 0x12345 in minor needs both halves of the kernel's form.
	const major, minor = 0xabc, 0x12345
	dev := uint32(minor&0xff | major<<8 | (minor&^0xff)<<12)
	must(t, "mknod", oslib.Mknodat(d, cstr("dev"), unix.S_IFCHR|0o600, dev))
	var st unix.Stat_t
	must(t, "stat dev", oslib.Fstatat(d, cstr("dev"), &st, unix.AT_SYMLINK_NOFOLLOW))
	if unix.Major(st.Rdev) != major || unix.Minor(st.Rdev) != minor || st.Mode&unix.S_IFMT != unix.S_IFCHR {
		t.Errorf("device %x:%x mode %o", unix.Major(st.Rdev), unix.Minor(st.Rdev), st.Mode)
	}

	want(t, "rmdir non-empty", oslib.Unlinkat(d, cstr("dir"), unix.AT_REMOVEDIR), syscall.ENOTEMPTY)
	must(t, "unlink", oslib.Unlinkat(d, cstr("dir/h"), 0))
	must(t, "rmdir", oslib.Unlinkat(d, cstr("dir"), unix.AT_REMOVEDIR))
	want(t, "gone", oslib.Fstatat(d, cstr("dir"), &st, 0), syscall.ENOENT)
}

func TestAttributes(t *testing.T) {
	d, _ := openDir(t)
	fd := newFile(t, d, "f", "12345")
	var st unix.Stat_t
	must(t, "chmod", oslib.Fchmod(fd, 0o604))
	must(t, "stat", oslib.Fstat(fd, &st))
	if st.Mode != unix.S_IFREG|0o604 || st.Size != 5 {
		t.Errorf("after fchmod: mode %o size %d", st.Mode, st.Size)
	}
	must(t, "chmodat", oslib.Fchmodat(d, cstr("f"), 0o4750))
	must(t, "chown", oslib.Fchownat(fd, oslib.Empty, 1234, ^uint32(0), unix.AT_EMPTY_PATH))
	must(t, "fstatat", oslib.Fstatat(fd, oslib.Empty, &st, unix.AT_EMPTY_PATH))
	if st.Mode != unix.S_IFREG|0o750 || st.Uid != 1234 || st.Gid != uint32(os.Getgid()) {
		t.Errorf("after chown: mode %o, %d:%d", st.Mode, st.Uid, st.Gid)
	}

	times := [2]unix.Timespec{{Sec: -5, Nsec: 7}, {Sec: 1e9, Nsec: 999999999}}
	must(t, "utimensat", oslib.Utimensat(d, cstr("f"), &times, 0))
	must(t, "stat", oslib.Fstat(fd, &st))
	if st.Atim != times[0] || st.Mtim != times[1] {
		t.Errorf("times %v %v", st.Atim, st.Mtim)
	}
	times[0] = unix.Timespec{Sec: 42}
	times[1].Nsec = unix.UTIME_OMIT
	must(t, "futimens", oslib.Futimens(fd, &times))
	var stx unix.Statx_t
	must(t, "statx", oslib.Statx(fd, oslib.Empty, unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, &stx))
	if stx.Atime.Sec != 42 || stx.Mtime.Nsec != 999999999 || stx.Mask&unix.STATX_MNT_ID == 0 {
		t.Errorf("statx: %+v", stx)
	}

	must(t, "truncate", oslib.Ftruncate(fd, 2))
	must(t, "fallocate", oslib.Fallocate(fd, 0, 0, 100))
	must(t, "stat", oslib.Fstat(fd, &st))
	if st.Size != 100 {
		t.Errorf("size %d after fallocate", st.Size)
	}
	want(t, "unknown mode", oslib.Fallocate(fd, 1<<31, 0, 1), syscall.EOPNOTSUPP)
	must(t, "fsync", oslib.Fsync(fd))
	must(t, "fdatasync", oslib.Fdatasync(fd))
	must(t, "syncfs", oslib.Syncfs(d))
	var sfs unix.Statfs_t
	must(t, "statfs", oslib.Fstatfs(d, &sfs))
	if sfs.Bsize == 0 || sfs.Blocks == 0 {
		t.Errorf("statfs %+v", sfs)
	}
}

func TestProcFDName(t *testing.T) {
	var buf [12]byte
	for _, c := range []struct {
		fd   int
		name string
	}{{0, "0"}, {9, "9"}, {10, "10"}, {1048575, "1048575"}, {1<<31 - 1, "2147483647"}, {-1, "-1"}, {-1 << 31, "-2147483648"}} {
		if got := oslib.ProcFDName(&buf, c.fd); !bytes.Equal(got, cstr(c.name)) {
			t.Errorf("%d: %q", c.fd, got)
		}
	}
	d, dir := openDir(t)
	link := make([]byte, 4096)
	proc, errno := oslib.Openat(unix.AT_FDCWD, cstr("/proc/self/fd"), unix.O_PATH, 0)
	must(t, "open /proc/self/fd", errno)
	defer oslib.Close(proc)
	n, errno := oslib.Readlinkat(proc, oslib.ProcFDName(&buf, d), link)
	must(t, "readlink", errno)
	if string(link[:n]) != dir {
		t.Errorf("%q, want %q", link[:n], dir)
	}
}

func TestDescriptors(t *testing.T) {
	r, w, errno := oslib.Pipe2(0)
	must(t, "pipe", errno)
	defer oslib.Close(r)
	checkCloexec(t, r)
	checkCloexec(t, w)
	out := []byte("through")
	if n, errno := oslib.Pwritev2(w, []unix.Iovec{oslib.Iov(out)}, -1, 0); n != 7 || errno != 0 {
		t.Fatalf("write pipe: %d, %v", n, errno)
	}
	must(t, "close writer", oslib.Close(w))
	in := make([]byte, 20)
	if n, errno := oslib.Preadv2(r, []unix.Iovec{oslib.Iov(in)}, -1, 0); n != 7 || errno != 0 || string(in[:n]) != "through" {
		t.Errorf("read pipe: %d, %v, %q", n, errno, in)
	}

	e, errno := oslib.Eventfd(3, unix.EFD_NONBLOCK)
	must(t, "eventfd", errno)
	defer oslib.Close(e)
	checkCloexec(t, e)
	must(t, "add", oslib.EventfdWrite(e, 4))
	if n, errno := oslib.EventfdRead(e); n != 7 || errno != 0 {
		t.Errorf("eventfd holds %d, %v", n, errno)
	}
	_, errno = oslib.EventfdRead(e)
	want(t, "empty eventfd", errno, syscall.EAGAIN)

	m, errno := oslib.MemfdCreate(cstr("test"), unix.MFD_ALLOW_SEALING)
	must(t, "memfd", errno)
	defer oslib.Close(m)
	checkCloexec(t, m)
	must(t, "grow", oslib.Ftruncate(m, 4096))
	m2, errno := oslib.Dup(m)
	must(t, "dup", errno)
	defer oslib.Close(m2)
	checkCloexec(t, m2)
	if pos, errno := oslib.Lseek(m2, -6, unix.SEEK_END); pos != 4090 || errno != 0 {
		t.Errorf("lseek: %d, %v", pos, errno)
	}
	if pos, _ := oslib.Lseek(m, 0, unix.SEEK_CUR); pos != 4090 {
		t.Errorf("duplicate has its own position: %d", pos)
	}
}
