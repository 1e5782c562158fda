package passthrough

import (
	"bytes"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// uncache drops a file from the page cache.
func uncache(t *testing.T, path string) {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for range 1000 {
		if err := unix.Fsync(fd); err != nil {
			t.Fatal(err)
		}
		if err := unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED); err != nil {
			t.Fatal(err)
		}
		var rng unix.CachestatRange
		var cs unix.Cachestat_t
		if err := unix.Cachestat(uint(fd), &rng, &cs, 0); err != nil {
			t.Fatal(err)
		}
		if cs.Cache == 0 {
			return
		}
		runtime.Gosched()
	}
	t.Fatalf("%s stays in the page cache", path)
}

func TestReadNowait(t *testing.T) {
	dir := tempDir(t, "")
	fs := share(t, Config{Path: dir})
	data := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	write(t, join(dir, "f"), string(data))
	id, h := openAt(t, fs, "f", unix.O_RDONLY)
	buf := make([]byte, len(data)+100)

	uncache(t, join(dir, "f"))
	_, errno := fs.Read(&nowait, id, h, iovs(buf, 5000), 0, 0)
	want(t, "read what is on the disk", errno, vfs.WouldBlock)
	n, errno := fs.Read(&root, id, h, iovs(buf, 5000), 0, 0)
	if n != len(data) || errno != 0 || !bytes.Equal(buf[:n], data) {
		t.Errorf("read: %d, %v", n, errno)
	}
	n, errno = fs.Read(&nowait, id, h, iovs(buf, 5000), 0, 0)
	if n != len(data) || errno != 0 {
		t.Errorf("read what is cached: %d, %v", n, errno)
	}

	// A file system without RWF_NOWAIT that is not memory.
	open := fs.handles.at(uint32(h))
	if how := open.inline.refused(open.fd); how != inlineNever {
		t.Errorf("a disk without RWF_NOWAIT: %d", how)
	}
	_, errno = fs.Read(&nowait, id, h, iovs(buf, 5000), 0, 0)
	want(t, "nowait where there is none", errno, vfs.WouldBlock)
	n, errno = fs.Read(&root, id, h, iovs(buf, 5000), 0, 0)
	if n != len(data) || errno != 0 {
		t.Errorf("plain read there: %d, %v", n, errno)
	}
	// The handle's next owner starts afresh.
	want(t, "release", fs.Release(&root, id, h, &vfs.ReleaseIn{}), 0)
	_, h2 := openAt(t, fs, "f", unix.O_RDONLY)
	if uint32(h2) != uint32(h) {
		t.Fatalf("handle %x after %x was released", h2, h)
	}
	if _, errno = fs.Read(&nowait, id, h2, iovs(buf, 5000), 0, 0); errno != 0 {
		t.Errorf("read from a reused handle: %v", errno)
	}
	_, errno = fs.Read(&nowait, id, h, iovs(buf, 5000), 0, 0)
	want(t, "read from a released handle", errno, syscall.EBADF)
}

func TestReadNowaitInMemory(t *testing.T) {
	dir := tempDir(t, "/dev/shm")
	fs := share(t, Config{Path: dir})
	write(t, join(dir, "f"), "in memory")
	id, h := openAt(t, fs, "f", unix.O_RDONLY)
	buf := make([]byte, 100)
	for range 2 {
		if n, errno := fs.Read(&nowait, id, h, iovs(buf, 4), 0, 0); n != 9 || errno != 0 {
			t.Errorf("%d, %v", n, errno)
		}
	}
}
