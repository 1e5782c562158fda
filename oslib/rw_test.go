package oslib_test

import (
	"bytes"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

func read(t *testing.T, fd int, off int64, n int) string {
	t.Helper()
	buf := make([]byte, n)
	n, errno := oslib.Preadv2(fd, []unix.Iovec{oslib.Iov(buf)}, off, 0)
	must(t, "read", errno)
	return string(buf[:n])
}

func TestVectors(t *testing.T) {
	d, _ := openDir(t)
	fd := newFile(t, d, "f", "")
	src := []unix.Iovec{oslib.Iov([]byte("one ")), {}, oslib.Iov([]byte("two ")), oslib.Iov([]byte("three"))}
	if n, errno := oslib.Pwritev2(fd, src, 2, 0); n != 13 || errno != 0 {
		t.Fatalf("write: %d, %v", n, errno)
	}
	a, b := make([]byte, 5), make([]byte, 20)
	n, errno := oslib.Preadv2(fd, []unix.Iovec{oslib.Iov(a), oslib.Iov(b)}, 0, 0)
	if n != 15 || errno != 0 || string(a) != "\x00\x00one" || string(b[:10]) != " two three" {
		t.Errorf("read: %d, %v, %q %q", n, errno, a, b)
	}
	if n, errno := oslib.Preadv2(fd, nil, 0, 0); n != 0 || errno != 0 {
		t.Errorf("no iovecs: %d, %v", n, errno)
	}
	_, errno = oslib.Preadv2(fd, make([]unix.Iovec, oslib.MaxIov+1), 0, 0)
	want(t, "too many iovecs", errno, syscall.EINVAL)
	_, errno = oslib.Preadv2(fd, []unix.Iovec{{Len: 4}}, 0, 0)
	want(t, "read to nowhere", errno, syscall.EFAULT)
	_, errno = oslib.Pwritev2(fd, []unix.Iovec{{Len: 4}}, 0, 0)
	want(t, "write from nowhere", errno, syscall.EFAULT)

	// Offset -1 is the file position.
	one := []unix.Iovec{oslib.Iov([]byte("ABC"))}
	for range 2 {
		if n, errno := oslib.Pwritev2(fd, one, -1, 0); n != 3 || errno != 0 {
			t.Fatalf("write at the position: %d, %v", n, errno)
		}
	}
	if got := read(t, fd, 0, 6); got != "ABCABC" {
		t.Errorf("after two writes at the position: %q", got)
	}
	if pos, _ := oslib.Lseek(fd, 0, unix.SEEK_CUR); pos != 6 {
		t.Errorf("position %d", pos)
	}
}

func TestPerCallFlags(t *testing.T) {
	d, _ := openDir(t)
	fd := newFile(t, d, "f", "start")
	iov := []unix.Iovec{oslib.Iov([]byte("xyz"))}
	// Appending ignores the offset but for its sign.
	if n, errno := oslib.Pwritev2(fd, iov, 0, unix.RWF_APPEND); n != 3 || errno != 0 {
		t.Fatalf("append: %d, %v", n, errno)
	}
	if got := read(t, fd, 0, 20); got != "startxyz" {
		t.Errorf("after append: %q", got)
	}
	// NOAPPEND undoes O_APPEND.
	app, errno := oslib.Openat(d, cstr("f"), unix.O_WRONLY|unix.O_APPEND, 0)
	must(t, "open to append", errno)
	defer oslib.Close(app)
	if n, errno := oslib.Pwritev2(app, iov, 0, unix.RWF_NOAPPEND); n != 3 || errno != 0 {
		t.Fatalf("noappend: %d, %v", n, errno)
	}
	if got := read(t, fd, 0, 20); got != "xyzrtxyz" {
		t.Errorf("after noappend: %q", got)
	}
	for name, flag := range map[string]int{"DSYNC": unix.RWF_DSYNC, "SYNC": unix.RWF_SYNC} {
		if n, errno := oslib.Pwritev2(fd, iov, 0, flag); n != 3 || errno != 0 {
			t.Errorf("%s: %d, %v", name, n, errno)
		}
	}
	// Flags the file system may lack are refused as such, not ignored.
	for name, flag := range map[string]int{"HIPRI": unix.RWF_HIPRI, "ATOMIC": unix.RWF_ATOMIC, "DONTCACHE": unix.RWF_DONTCACHE} {
		n, errno := oslib.Pwritev2(fd, iov, 0, flag)
		if errno == 0 && n != 3 || errno != 0 && errno != syscall.EOPNOTSUPP && errno != syscall.EINVAL {
			t.Errorf("write with %s: %d, %v", name, n, errno)
		}
	}
	for name, flag := range map[string]int{"HIPRI": unix.RWF_HIPRI, "NOWAIT": unix.RWF_NOWAIT, "DONTCACHE": unix.RWF_DONTCACHE} {
		buf := make([]byte, 3)
		n, errno := oslib.Preadv2(fd, []unix.Iovec{oslib.Iov(buf)}, 0, flag)
		if errno == 0 && string(buf[:n]) != "xyz" || errno != 0 && errno != syscall.EOPNOTSUPP {
			t.Errorf("read with %s: %d, %v, %q", name, n, errno, buf)
		}
	}
	_, errno = oslib.Preadv2(fd, iov, 0, 1<<30)
	want(t, "unknown flag", errno, syscall.EOPNOTSUPP)
}

func TestSeekAndCopy(t *testing.T) {
	d, _ := openDir(t)
	in := newFile(t, d, "in", "")
	out := newFile(t, d, "out", "")
	data := []unix.Iovec{oslib.Iov([]byte("data"))}
	const far = 5 << 30
	if _, errno := oslib.Pwritev2(in, data, far, 0); errno != 0 {
		t.Fatal(errno)
	}
	if pos, errno := oslib.Lseek(in, 0, unix.SEEK_DATA); pos != far || errno != 0 {
		t.Errorf("SEEK_DATA: %d, %v", pos, errno)
	}
	if pos, errno := oslib.Lseek(in, far, unix.SEEK_HOLE); pos != far+4 || errno != 0 {
		t.Errorf("SEEK_HOLE: %d, %v", pos, errno)
	}
	_, errno := oslib.Lseek(in, far+4, unix.SEEK_DATA)
	want(t, "no data behind", errno, syscall.ENXIO)

	inOff, outOff := int64(far+1), int64(2)
	n, errno := oslib.CopyFileRange(in, &inOff, out, &outOff, 100, 0)
	if n != 3 || errno != 0 || inOff != far+4 || outOff != 5 {
		t.Errorf("copy: %d, %v, offsets %d %d", n, errno, inOff, outOff)
	}
	if got := read(t, out, 0, 10); got != "\x00\x00ata" {
		t.Errorf("copied %q", got)
	}
	must(t, "rewind", func() syscall.Errno { _, e := oslib.Lseek(in, far, unix.SEEK_SET); return e }())
	if n, errno := oslib.CopyFileRange(in, nil, out, nil, 2, 0); n != 2 || errno != 0 {
		t.Errorf("copy at the positions: %d, %v", n, errno)
	}
	if got := read(t, out, 0, 10); got != "daata" {
		t.Errorf("copied %q", got)
	}
}

// TestPageCache: what is written out can be dropped.
func TestPageCache(t *testing.T) {
	d, _ := openDir(t)
	fd := newFile(t, d, "f", "some data")
	pages := func() (all, dirty uint64) {
		var cs unix.Cachestat_t
		if err := unix.Cachestat(uint(fd), &unix.CachestatRange{}, &cs, 0); err != nil {
			t.Fatal(err)
		}
		return cs.Cache, cs.Dirty + cs.Writeback
	}
	must(t, "sync", oslib.SyncFileRange(fd, 0, 4096, unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER))
	if all, dirty := pages(); all != 1 || dirty != 0 {
		t.Errorf("written out: %d pages, %d dirty", all, dirty)
	}
	must(t, "drop", oslib.Fadvise(fd, 0, 0, unix.FADV_DONTNEED))
	if all, _ := pages(); all != 0 {
		t.Errorf("dropped: %d pages", all)
	}
	want(t, "sync nothing", oslib.SyncFileRange(fd, -1, 1, 0), syscall.EINVAL)
	want(t, "unknown advice", oslib.Fadvise(fd, 0, 0, 99), syscall.EINVAL)
	want(t, "no file", oslib.Fadvise(-1, 0, 0, unix.FADV_DONTNEED), syscall.EBADF)
}

func TestLocks(t *testing.T) {
	d, _ := openDir(t)
	a := newFile(t, d, "f", "")
	b, errno := oslib.Openat(d, cstr("f"), unix.O_RDWR, 0)
	must(t, "open again", errno)
	defer oslib.Close(b)

	must(t, "flock", oslib.Flock(a, unix.LOCK_EX|unix.LOCK_NB))
	want(t, "flock held", oslib.Flock(b, unix.LOCK_SH|unix.LOCK_NB), syscall.EAGAIN)
	must(t, "funlock", oslib.Flock(a, unix.LOCK_UN))
	must(t, "flock free", oslib.Flock(b, unix.LOCK_SH|unix.LOCK_NB))

	lk := unix.Flock_t{Type: unix.F_WRLCK, Start: 10, Len: 5}
	must(t, "lock", oslib.OFDSetlk(a, &lk))
	lk2 := unix.Flock_t{Type: unix.F_RDLCK, Start: 14, Len: 5}
	want(t, "lock held", oslib.OFDSetlk(b, &lk2), syscall.EAGAIN)
	must(t, "getlk", oslib.OFDGetlk(b, &lk2))
	if lk2.Type != unix.F_WRLCK || lk2.Start != 10 || lk2.Len != 5 || lk2.Pid != -1 {
		t.Errorf("found %+v", lk2)
	}
	lk2 = unix.Flock_t{Type: unix.F_RDLCK, Start: 15, Len: 5}
	must(t, "getlk", oslib.OFDGetlk(b, &lk2))
	if lk2.Type != unix.F_UNLCK {
		t.Errorf("found %+v where nothing is", lk2)
	}
}

func TestIoctl(t *testing.T) {
	r, w, errno := oslib.Pipe2(0)
	must(t, "pipe", errno)
	defer oslib.Close(r)
	defer oslib.Close(w)
	oslib.Pwritev2(w, []unix.Iovec{oslib.Iov([]byte("12345"))}, -1, 0)
	buf := make([]byte, 4)
	n, errno := oslib.Ioctl(r, unix.TIOCINQ, buf)
	if n != 0 || errno != 0 || !bytes.Equal(buf, []byte{5, 0, 0, 0}) {
		t.Errorf("TIOCINQ: %d, %v, %x", n, errno, buf)
	}
	_, errno = oslib.Ioctl(r, 0x12345678, buf)
	want(t, "unknown ioctl", errno, syscall.ENOTTY)
}
