package guesttest

import (
	"fmt"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSpecialFilesKeepTypeModeAndDevice(t *testing.T) {
	dir := scratch(t)
	for i, c := range []struct {
		mode uint32
		dev  uint64
	}{
		{unix.S_IFREG | 0o600, 0},
		{unix.S_IFIFO | 0o622, 0},
		{unix.S_IFSOCK | 0o700, 0},
		{unix.S_IFCHR | 0o666, unix.Mkdev(1, 3)},
		{unix.S_IFCHR | 0o600, unix.Mkdev(0, 0)},
		{unix.S_IFBLK | 0o660, unix.Mkdev(7, 255)},
		{unix.S_IFBLK | 0o660, unix.Mkdev(259, 70000)},    // a minor beyond 16 bits
		{unix.S_IFCHR | 0o600, unix.Mkdev(4095, 1048575)}, // the largest numbers
	} {
		path := fmt.Sprint(dir, "/", i)
		check(t, unix.Mknod(path, c.mode, int(c.dev)), "mknod with mode %#o, device %#x", c.mode, c.dev)
		if st := lstat(t, path); st.Mode != c.mode || st.Rdev != c.dev || st.Size != 0 {
			t.Errorf("mode %#o, device %#x, size %d; want mode %#o, device %#x", st.Mode, st.Rdev, st.Size, c.mode, c.dev)
		}
		want(t, unix.Mknod(path, c.mode, int(c.dev)), unix.EEXIST, "mknod again")
		check(t, unix.Chmod(path, 0o640), "chmod")
		check(t, unix.Rename(path, path+"-"), "rename")
		check(t, unix.Link(path+"-", path), "link")
		if st := lstat(t, path); st.Mode != c.mode&unix.S_IFMT|0o640 || st.Rdev != c.dev || st.Nlink != 2 {
			t.Errorf("after chmod, rename and link: mode %#o, device %#x, %d links", st.Mode, st.Rdev, st.Nlink)
		}
	}
	want(t, unix.Mknod(dir+"/d", unix.S_IFDIR|0o755, 0), unix.EPERM, "mknod of a directory")
}

func TestAFifoCarriesBytesBetweenItsOpeners(t *testing.T) {
	path := scratch(t) + "/fifo"
	check(t, unix.Mkfifo(path, 0o600), "mkfifo")
	want(t, tryOpen(path, unix.O_WRONLY|unix.O_NONBLOCK, 0), unix.ENXIO, "open for writing without a reader")

	data := pattern(1, 0, 300_000) // more than a pipe holds
	sent := make(chan error, 1)
	go func() {
		w, err := os.OpenFile(path, os.O_WRONLY, 0) // waits for the reader
		if err == nil {
			_, err = w.Write(data)
			w.Close()
		}
		sent <- err
	}()
	r, err := os.OpenFile(path, os.O_RDONLY, 0)
	check(t, err, "open for reading")
	defer r.Close()
	got, err := io.ReadAll(r)
	check(t, err, "read")
	check(t, <-sent, "write")
	same(t, got, data, 0, "through the fifo")
	if st := lstat(t, path); st.Size != 0 {
		t.Errorf("the fifo has size %d", st.Size)
	}
}

func TestASocketConnectsProcessesOfTheSameMachine(t *testing.T) {
	dir := scratch(t)
	// The path of a socket is short, so it goes by way of the directory's descriptor.
	d := open(t, dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	addr := &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/socket", fd(d))}
	l := socket(t)
	check(t, unix.Bind(l, addr), "bind")
	if st := lstat(t, dir+"/socket"); st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		t.Errorf("mode %#o", st.Mode)
	}
	want(t, unix.Bind(socket(t), addr), unix.EADDRINUSE, "bind again")
	want(t, unix.Connect(socket(t), addr), unix.ECONNREFUSED, "connect before listen")
	want(t, tryOpen(dir+"/socket", unix.O_RDWR, 0), unix.ENXIO, "open of a socket")
	check(t, unix.Listen(l, 1), "listen")
	check(t, unix.Rename(dir+"/socket", dir+"/moved"), "rename")
	addr = &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/moved", fd(d))}
	c := socket(t)
	check(t, unix.Connect(c, addr), "connect to the moved socket")
	s, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
	check(t, err, "accept")
	defer unix.Close(s)
	_, err = unix.Write(c, []byte("hello"))
	check(t, err, "send")
	buf := make([]byte, 10)
	n, err := unix.Read(s, buf)
	if err != nil || string(buf[:n]) != "hello" {
		t.Errorf("received %q, %v", buf[:max(n, 0)], err)
	}
	check(t, unix.Unlink(dir+"/moved"), "unlink")
	want(t, unix.Connect(socket(t), addr), unix.ENOENT, "connect to the removed socket")
}

func socket(t *testing.T) int {
	t.Helper()
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	check(t, err, "socket")
	t.Cleanup(func() { unix.Close(s) })
	return s
}

func TestDeviceNodesAreThoseOfTheMachineThatOpensThem(t *testing.T) {
	dir := scratch(t)
	var fs unix.Statfs_t
	check(t, unix.Statfs(dir, &fs), "statfs")
	var wanted error
	if fs.Flags&unix.ST_NODEV != 0 {
		t.Log("mounted nodev: only the refusal APPLIES")
		wanted = unix.EACCES
	}
	check(t, unix.Mknod(dir+"/zero", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))), "mknod")
	want(t, tryOpen(dir+"/zero", unix.O_RDWR, 0), wanted, "open of a device")
	if wanted == nil {
		f := open(t, dir+"/zero", unix.O_RDWR, 0)
		got := pattern(1, 0, 1000)
		_, err := io.ReadFull(f, got)
		check(t, err, "read")
		same(t, got, make([]byte, 1000), 0, "/dev/zero by another name")
		_, err = f.Write(make([]byte, 1<<20))
		check(t, err, "write")
	}
	// Numbers that no driver has taken lead to nothing.
	check(t, unix.Mknod(dir+"/none", unix.S_IFCHR|0o666, int(unix.Mkdev(0, 0))), "mknod")
	if wanted == nil {
		wanted = unix.ENXIO
	}
	want(t, tryOpen(dir+"/none", unix.O_RDONLY, 0), wanted, "open of a device without driver")
}
