package hypercall

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/scratch"
	"github.com/isthmus-fs/isthmus/vfs"
)

// featureless is a scratch space that agrees to nothing.
type featureless struct{ *scratch.FS }

func (fs featureless) Init(vfs.Features) (vfs.Features, syscall.Errno) { return fs.FS.Init(0) }

// TestUmask: it is taken from modes, and O_TRUNC empties files, whoever does it.
func TestUmask(t *testing.T) {
	for _, agrees := range []bool{true, false} {
		fs := newScratch(t)
		var served vfs.FileSystem = fs
		if !agrees {
			served = featureless{fs}
		}
		m := newMachine(t, Config{FS: served, UID: 7, GID: 8, Umask: 0o127})
		if m.g.agreed.Has(features) != agrees {
			t.Fatalf("agreed to %#x", m.g.agreed)
		}
		m.close(m.open("f", rdwrCreate, 0o666))
		m.mkdir("d")
		for name, mode := range map[string]uint32{"f": unix.S_IFREG | 0o640, "d": unix.S_IFDIR | 0o650} {
			a, errno := m.stat(name, KindStat)
			if errno != 0 || a.Mode.Get() != mode || a.UID.Get() != 7 || a.GID.Get() != 8 {
				t.Errorf("%s: mode %#o, ids %d %d, %v", name, a.Mode.Get(), a.UID.Get(), a.GID.Get(), errno)
			}
		}
		m.makeFile("f2", "data")
		m.close(m.open("f2", unix.O_WRONLY|unix.O_TRUNC, 0))
		if a, _ := m.stat("f2", KindStat); a.Size.Get() != 0 {
			t.Errorf("%d bytes after O_TRUNC", a.Size.Get())
		}
		held(t, fs, 0, 0)
	}
}

// blind is a space where lookups of one name find nothing, for a number of times.
type blind struct {
	*scratch.FS
	name  string
	times int
}

func (fs *blind) Lookup(r *vfs.Request, dir vfs.NodeID, name vfs.Name, out *vfs.Entry) syscall.Errno {
	if name.String() == fs.name && fs.times != 0 {
		fs.times--
		return syscall.ENOENT
	}
	return fs.FS.Lookup(r, dir, name, out)
}

// TestMadeMeanwhile: what another makes between the lookup and the creation is found, as
// what it is; or another's directory is walked through.
func TestMadeMeanwhile(t *testing.T) {
	fs := &blind{FS: newScratch(t)}
	m := newMachine(t, Config{FS: fs, MakeParents: func(vfs.NodeID) bool { return true }})
	m.makeFile("f", "12345")
	m.mkdir("d")
	symlink(t, fs.FS, "f", 1, "link")
	for _, name := range []string{"f", "link"} {
		fs.name, fs.times = name, 1
		fd := m.open(name, rdwrCreate, 0o644)
		if a, errno := m.fstat(fd); errno != 0 || a.Size.Get() != 5 {
			t.Errorf("%s: open %d, %d bytes, %v", name, fd, a.Size.Get(), errno)
		}
		m.close(fd)
		fs.times = 1
		want(t, "exclusive", m.open(name, rdwrCreate|unix.O_EXCL, 0o644), syscall.EEXIST)
		fs.times = 1 << 20
		want(t, "for ever", m.open(name, rdwrCreate, 0o644), syscall.EEXIST)
		fs.times = 0
		held(t, fs, 0, 0)
	}
	fs.name, fs.times = "d", 1
	m.makeFile("d/f", "in d")
	fs.times = 2
	want(t, "for ever", m.open("d/f", rdwrCreate, 0o644), syscall.ENOENT)
	held(t, fs, 0, 0)
}

// refusing is a space that refuses some calls.
type refusing struct{ *scratch.FS }

func (fs refusing) Init(vfs.Features) (vfs.Features, syscall.Errno) { return fs.FS.Init(0) }

func (refusing) Setattr(*vfs.Request, vfs.NodeID, vfs.Handle, *vfs.SetAttr, *vfs.AttrOut) syscall.Errno {
	return syscall.EACCES
}

func (refusing) Create(*vfs.Request, vfs.NodeID, vfs.Name, uint32, uint32, *vfs.Entry, *vfs.Opened) syscall.Errno {
	return syscall.EROFS
}

func (refusing) Opendir(*vfs.Request, vfs.NodeID, uint32, *vfs.Opened) syscall.Errno {
	return syscall.EACCES
}

func (refusing) Readlink(*vfs.Request, vfs.NodeID, []byte) (int, syscall.Errno) {
	return 0, syscall.EACCES
}

func (refusing) Lseek(*vfs.Request, vfs.NodeID, vfs.Handle, uint64, uint32) (uint64, syscall.Errno) {
	return 0, syscall.ENOSYS
}

func (refusing) Write(*vfs.Request, vfs.NodeID, vfs.Handle, []unix.Iovec, uint64, uint32, vfs.WriteFlags) (int, syscall.Errno) {
	return 0, 0
}

// TestRefused: what a file system refuses is told, and nothing is kept.
func TestRefused(t *testing.T) {
	fs := newScratch(t)
	m := newMachine(t, Config{FS: refusing{fs}})
	var e vfs.Entry
	n, _ := vfs.MakeName("f")
	if errno := fs.Mknod(&vfs.Request{}, 1, n, unix.S_IFREG|0o644, 0, &e); errno != 0 {
		t.Fatal(errno)
	}
	fs.Forget(e.Node, 1)
	n, _ = vfs.MakeName("fifo")
	if errno := fs.Mknod(&vfs.Request{}, 1, n, unix.S_IFIFO|0o644, 0, &e); errno != 0 {
		t.Fatal(errno)
	}
	fs.Forget(e.Node, 1)
	symlink(t, fs, "f", 1, "link")
	want(t, "truncate", m.open("f", unix.O_RDWR|unix.O_TRUNC, 0), syscall.EACCES)
	want(t, "create", m.open("new", rdwrCreate, 0), syscall.EROFS)
	want(t, "open a directory", m.open("/", 0, 0), syscall.EACCES)
	want(t, "follow a link", m.open("link", 0, 0), syscall.EACCES)
	want(t, "open a pipe", m.open("fifo", unix.O_RDWR, 0), syscall.EBADF)
	held(t, fs, 0, 0)
	fd := m.open("f", unix.O_RDWR, 0)
	if fd != firstFile {
		t.Fatal("a descriptor was kept")
	}
	want(t, "a write that does nothing", m.write(fd, dataAt, 1), syscall.EIO)
	if r := m.writeV1(fd, dataAt, 1); r.Errno != syscall.EIO {
		t.Errorf("a write of version 1 that does nothing: %v", r.Errno)
	}
	// A file system that knows no holes has data to the end.
	want(t, "lseek", m.lseek(fd, 0, unix.SEEK_DATA), syscall.ENXIO)
	m.g.fs = fs
	m.write(fd, dataAt, 10)
	m.g.fs = refusing{fs}
	if d, h := m.lseek(fd, 3, unix.SEEK_DATA), m.lseek(fd, 3, unix.SEEK_HOLE); d != 3 || h != 10 {
		t.Errorf("data at %d, a hole at %d", d, h)
	}
	m.close(fd)
	held(t, fs, 0, 0)
}
