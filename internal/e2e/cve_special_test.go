package e2e

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// forms are the ways to run a daemon that make a difference for what its host
// shows to it.
var forms = []struct {
	name string
	args []string
}{
	{"default", nil},
	{"descriptors", []string{"--file-handles", "never"}},
	{"open house", []string{"--sandbox", "none", "--seccomp", "none", "--landlock=false"}},
}

// specials are files that are something else when they are opened.
var specials = []struct {
	name string
	mode uint32
	dev  uint64
}{
	{"pipe", unix.S_IFIFO, 0},
	{"pipe with a reader and a writer", unix.S_IFIFO, 0},
	{"zero", unix.S_IFCHR, unix.Mkdev(1, 5)},
	{"loop", unix.S_IFBLK, unix.Mkdev(7, 0)},
	{"socket", unix.S_IFSOCK, 0},
}

// TestCVE_2020_35517: virtiofsd opened device nodes that a guest had made in the
// share, and so gave it the host's devices.
// Ours must open nothing but regular files and directories, whatever was there
// when the guest looked; a pipe it would hang in.
func TestCVE_2020_35517(t *testing.T) {
	for _, form := range forms {
		t.Run(form.name, func(t *testing.T) {
			share := t.TempDir()
			d := serve(t, share, form.args...)
			inner := d.inner()
			g := attack(t, d)
			ok := t.Run("of the host", func(t *testing.T) {
				for _, s := range specials {
					makeSpecial(t, filepath.Join(share, s.name), s.mode, s.dev)
				}
				pressOn(t, g, share)
			})
			ok = ok && t.Run("of the guest", func(t *testing.T) {
				for _, s := range specials {
					if err := os.Remove(filepath.Join(share, s.name)); err != nil {
						t.Fatal(err)
					}
					if _, errno := g.Mknod(vfs.Root, s.name, s.mode|0o666, uint32(unix.Major(s.dev)<<8|unix.Minor(s.dev)), 0); errno != 0 {
						t.Errorf("MKNOD of a %s: %v", s.name, errno)
					}
				}
				pressOn(t, g, share)
			})
			ok = ok && t.Run("swapped", func(t *testing.T) { swapUnder(t, g, share) })
			if !ok {
				return // a daemon that hangs in a pipe serves nobody
			}
			g.hangUp()
			d.survives(inner)
		})
	}
}

func makeSpecial(t *testing.T, path string, mode uint32, dev uint64) {
	t.Helper()
	if mode == unix.S_IFSOCK {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		l.Close()
		return
	}
	if err := unix.Mknod(path, mode|0o666, int(dev)); err != nil {
		t.Fatalf("mknod %s: %v", path, err)
	}
}

// pressOn has the guest open each special file of the share in every way that
// it has, and watches whether anything is opened.
func pressOn(t *testing.T, g *hostile, share string) {
	var paths []string
	for _, s := range specials {
		paths = append(paths, filepath.Join(share, s.name))
	}
	// One pipe has both ends open, so that another open of it succeeds at
	// once; the other would hang whoever opens it without O_NONBLOCK.
	both := holdPipe(t, filepath.Join(share, specials[1].name))
	w := watchOpens(t, paths...)
	for _, s := range specials {
		e := g.lookup(vfs.Root, s.name)
		if e.Attr.Mode&unix.S_IFMT != s.mode {
			t.Errorf("LOOKUP of %s says mode %#o", s.name, e.Attr.Mode)
		}
		openEveryWay(t, g, s.name, e.Node)
	}
	if seen := w.seen(); len(seen) != 0 {
		t.Errorf("the daemon opened %v", seen)
	}
	if n, err := unix.Read(both, make([]byte, 100)); err != unix.EAGAIN {
		t.Errorf("the pipe got %d bytes (%v)", n, err)
	}
	if _, err := os.OpenFile(filepath.Join(share, specials[0].name), os.O_WRONLY|unix.O_NONBLOCK, 0); !errors.Is(err, unix.ENXIO) {
		t.Errorf("somebody has the other pipe open for reading: %v, want ENXIO", err)
	}
	// The watch would have told.
	for _, name := range []string{"zero", specials[1].name} {
		f, err := os.OpenFile(filepath.Join(share, name), os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if seen := w.seen(); len(seen) != 2 {
		t.Errorf("of two opens by the test the watch saw %v", seen)
	}
}

// openEveryWay makes the requests that could lead a daemon to open a node.
// Each has to be answered, with an error.
func openEveryWay(t *testing.T, g *hostile, name string, node vfs.NodeID) {
	t.Helper()
	flags := []int{
		os.O_RDONLY, os.O_WRONLY, os.O_RDWR, 3, os.O_RDWR | unix.O_NONBLOCK, os.O_WRONLY | unix.O_TRUNC,
		os.O_RDWR | unix.O_NOCTTY | unix.O_DIRECT | unix.O_NOATIME, unix.O_PATH, unix.O_PATH | unix.O_NOFOLLOW,
		unix.O_DIRECTORY, unix.O_CREAT | unix.O_RDWR, unix.O_TMPFILE | unix.O_RDWR, -1,
	}
	for _, f := range flags {
		for _, try := range []struct {
			op string
			do func() syscall.Errno
		}{
			{"OPEN", func() syscall.Errno { return errnoOf(g.Open(node, uint32(f), true)) }},
			{"OPENDIR", func() syscall.Errno { return errnoOf(g.Opendir(node, uint32(f))) }},
			{"CREATE", func() syscall.Errno {
				_, _, errno := g.Create(vfs.Root, name, uint32(f)&^unix.O_EXCL, 0o100666, 0)
				return errno
			}},
		} {
			if errno := try.do(); errno == 0 {
				t.Errorf("%s of %s with flags %#x succeeds", try.op, name, f)
			}
			if err := g.Err(); err != nil {
				t.Fatalf("%s of %s with flags %#x: %v", try.op, name, f, err)
			}
		}
	}
	if _, errno := g.Setattr(node, vfs.NoHandle, vfs.SetAttr{Valid: vfs.SetSize}); errno == 0 {
		t.Errorf("SETATTR of the size of %s succeeds", name)
	}
	// Without a handle there is nothing that these could be about.
	for _, h := range []vfs.Handle{0, 1 << 32, vfs.NoHandle} {
		for op, errno := range map[string]syscall.Errno{
			"READ":      errnoOf(g.Read(node, h, make([]byte, 1), 0, 0)),
			"WRITE":     errnoOf(g.Write(node, h, []byte("x"), 0, 0, 0)),
			"FALLOCATE": g.Fallocate(node, h, 0, 1, 0),
			"LSEEK":     errnoOf(g.Lseek(node, h, 0, 3)),
			"FSYNC":     g.Fsync(node, h, false),
			"READDIR":   errnoOf(g.Readdir(node, h, 0, make([]byte, 512))),
		} {
			if errno == 0 {
				t.Errorf("%s of %s with handle %#x succeeds", op, name, h)
			}
		}
		const getFlags = 0x80086601 // FS_IOC_GETFLAGS
		if _, _, errno := g.Ioctl(node, h, 0, getFlags, 0, nil, make([]byte, 8)); errno == 0 {
			t.Errorf("IOCTL of %s with handle %#x succeeds", name, h)
		}
	}
	// These may succeed, but not by opening it.
	g.Syncfs(node)
	g.Statfs(node)
	g.Getxattr(node, "user.a", make([]byte, 10))
	g.Listxattr(node, make([]byte, 10))
	g.Setxattr(node, "user.a", []byte("x"), 0, false)
	g.Access(node, 7)
	g.Setattr(node, vfs.NoHandle, vfs.SetAttr{Valid: vfs.SetMode | vfs.SetMtimeNow, Mode: 0o666})
	if err := g.Err(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// swapUnder has the host exchange a regular file for special ones while the
// guest opens it by every name and node that it has been given.
func swapUnder(t *testing.T, g *hostile, share string) {
	const rounds, both = 400, 20 // rounds, and at least so many with each of the two there
	secret := filepath.Join(t.TempDir(), "secret")
	for _, path := range []string{secret, filepath.Join(share, "file")} {
		if err := os.WriteFile(path, []byte("something"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(secret, filepath.Join(share, "link")); err != nil {
		t.Fatal(err)
	}
	holdPipe(t, filepath.Join(share, specials[1].name))
	file := filepath.Join(share, "file")
	opens := watchOpens(t, file)
	for _, trap := range []string{specials[0].name, specials[1].name, "zero", "link"} {
		trap := filepath.Join(share, trap)
		watched := trap
		if trap == filepath.Join(share, "link") {
			watched = secret
		}
		traps := watchOpens(t, watched)
		var stop atomic.Bool
		swapper := make(chan error, 1)
		go func() {
			for !stop.Load() {
				for range 2 { // it ends as it began
					if err := unix.Renameat2(unix.AT_FDCWD, file, unix.AT_FDCWD, trap, unix.RENAME_EXCHANGE); err != nil {
						swapper <- err
						return
					}
				}
			}
			swapper <- nil
		}()
		opened, trapped := 0, 0
		end := time.Now().Add(patience)
		for round := 0; round < rounds || opened < both || trapped < both; round++ {
			if time.Now().After(end) {
				t.Fatalf("the guest opened the file %d times and met %s %d times", opened, trap, trapped)
			}
			e, errno := g.Lookup(vfs.Root, "file")
			if errno != 0 {
				t.Errorf("LOOKUP: %v", errno)
				break
			}
			if e.Attr.Mode&unix.S_IFMT != unix.S_IFREG {
				trapped++
			}
			if o, errno := g.Open(e.Node, uint32(os.O_RDWR|unix.O_TRUNC), false); errno == 0 {
				opened += len(opens.seen())
				g.Release(e.Node, o.Handle, vfs.ReleaseIn{})
			}
			g.Setattr(e.Node, vfs.NoHandle, vfs.SetAttr{Valid: vfs.SetSize})
			g.Forget(e.Node, 1)
			if e, o, errno := g.Create(vfs.Root, "file", uint32(os.O_RDWR), 0o100666, 0); errno == 0 {
				g.Release(e.Node, o.Handle, vfs.ReleaseIn{})
				g.Forget(e.Node, 1)
			}
			if err := g.Err(); err != nil {
				t.Fatalf("swapping with %s: %v", trap, err)
			}
		}
		stop.Store(true)
		if err := <-swapper; err != nil {
			t.Fatal(err)
		}
		if seen := traps.seen(); len(seen) != 0 {
			t.Errorf("the daemon opened %s: %d times", watched, len(seen))
		}
	}
	if b, err := os.ReadFile(secret); string(b) != "something" {
		t.Errorf("the file outside the share has %q (%v)", b, err)
	}
}

// holdPipe opens both ends of a pipe.
func holdPipe(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// openWatch tells of opens of files, by whomever and by whichever name; an
// open with O_PATH, which opens nothing, is none.
type openWatch struct {
	t     *testing.T
	fd    int
	paths map[int32]string
}

func watchOpens(t *testing.T, paths ...string) *openWatch {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	w := &openWatch{t: t, fd: fd, paths: map[int32]string{}}
	for _, p := range paths {
		wd, err := unix.InotifyAddWatch(fd, p, unix.IN_OPEN|unix.IN_DONT_FOLLOW)
		if err != nil {
			t.Fatalf("inotify_add_watch %s: %v", p, err)
		}
		w.paths[int32(wd)] = filepath.Base(p)
	}
	return w
}

// seen returns the names of the files that were opened since it was last
// called. Opens of the same file in a row count as one.
func (w *openWatch) seen() (opened []string) {
	w.t.Helper()
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(w.fd, buf)
		if err == unix.EAGAIN {
			return opened
		}
		if err != nil {
			w.t.Fatalf("read of inotify: %v", err)
		}
		// struct inotify_event: wd, mask, cookie, len, and no name for a
		// file that is watched itself.
		for e := buf[:n]; len(e) >= unix.SizeofInotifyEvent; e = e[unix.SizeofInotifyEvent:] {
			wd, mask := binary.NativeEndian.Uint32(e), binary.NativeEndian.Uint32(e[4:])
			if mask&unix.IN_OPEN != 0 {
				opened = append(opened, w.paths[int32(wd)])
			}
		}
	}
}

// errnoOf leaves out what a request returned beside its error number.
func errnoOf[T any](_ T, errno syscall.Errno) syscall.Errno { return errno }
