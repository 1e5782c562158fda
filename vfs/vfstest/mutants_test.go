package vfstest_test

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/vfs/vfstest"
)

// A mutant is a file system that is right but for one thing.
type mutant struct {
	name string
	area string // where the suite must find it
	make func(vfs.FileSystem) vfs.FileSystem
}

// plain is a file system to be wrong on top of.
type plain struct{ vfs.FileSystem }

var mutants = []mutant{
	{"ENOTEMPTY is EEXIST", "names", func(fs vfs.FileSystem) vfs.FileSystem { return wrongErrno{plain{fs}} }},
	{"names must be UTF-8", "names", func(fs vfs.FileSystem) vfs.FileSystem { return onlyUTF8{plain{fs}} }},
	{"mkdir takes a reference too many", "names", func(fs vfs.FileSystem) vfs.FileSystem { return leakyMkdir{plain{fs}} }},
	{"O_EXCL is ignored", "files", func(fs vfs.FileSystem) vfs.FileSystem { return noExcl{plain{fs}} }},
	{"the last byte of a write is lost", "data", func(fs vfs.FileSystem) vfs.FileSystem { return lostByte{plain{fs}} }},
	{"O_APPEND is ignored", "data", func(fs vfs.FileSystem) vfs.FileSystem { return noAppend{plain{fs}} }},
	{"reads end at a page", "data", func(fs vfs.FileSystem) vfs.FileSystem { return shortRead{plain{fs}} }},
	{"listings lose an entry", "dirs", func(fs vfs.FileSystem) vfs.FileSystem { return lossyList{plain{fs}} }},
	{"entries that do not fit keep their reference", "dirs", func(fs vfs.FileSystem) vfs.FileSystem { return leakyList{plain{fs}} }},
	{"times have no nanoseconds", "attrs", func(fs vfs.FileSystem) vfs.FileSystem { return coarseTimes{plain{fs}} }},
	{"setuid survives a write", "attrs", func(fs vfs.FileSystem) vfs.FileSystem { return keepSetuid{plain{fs}} }},
	{"the entry of a link has the old count", "links", func(fs vfs.FileSystem) vfs.FileSystem { return oldCount{plain{fs}} }},
	{"RENAME_NOREPLACE is ignored", "rename", func(fs vfs.FileSystem) vfs.FileSystem { return replacing{plain{fs}} }},
	{"long attributes are cut", "xattr", func(fs vfs.FileSystem) vfs.FileSystem { return cutXattr{plain{fs}} }},
	{"minor numbers have 8 bits", "special", func(fs vfs.FileSystem) vfs.FileSystem { return smallMinor{plain{fs}} }},
	{"there are no holes", "sparse", func(fs vfs.FileSystem) vfs.FileSystem { return noHoles{plain{fs}} }},
	{"the mode of a nameless file is ignored", "tmpfile", func(fs vfs.FileSystem) vfs.FileSystem { return tmpMode{plain{fs}} }},
	{"every lock is granted", "locks", func(fs vfs.FileSystem) vfs.FileSystem { return freeLocks{plain{fs}} }},
	{"unknown ioctls succeed", "ioctl", func(fs vfs.FileSystem) vfs.FileSystem { return anyIoctl{plain{fs}} }},
	{"setgid of a directory is forgotten", "identity", func(fs vfs.FileSystem) vfs.FileSystem { return noSetgid{plain{fs}} }},
	{"directories belong to root", "identity", func(fs vfs.FileSystem) vfs.FileSystem { return rootsDirs{plain{fs}} }},
	{"a forged handle is another's", "forged", func(fs vfs.FileSystem) vfs.FileSystem { return &anyHandle{plain: plain{fs}} }},
	{"an unknown node is the root", "forged", func(fs vfs.FileSystem) vfs.FileSystem { return rootForAll{plain{fs}} }},
	{"forgetting several forgets one", "references", func(fs vfs.FileSystem) vfs.FileSystem { return forgetOne{plain{fs}} }},
	{"what would block is done already", "nowait", func(fs vfs.FileSystem) vfs.FileSystem { return doneAlready{plain{fs}} }},
	{"O_EXCL is ignored among others", "concurrency", func(fs vfs.FileSystem) vfs.FileSystem { return noExcl{plain{fs}} }},
	{"the last byte is lost in a sequence", "property", func(fs vfs.FileSystem) vfs.FileSystem { return lostByte{plain{fs}} }},
	{"a read-only file system takes a chmod", "readonly", func(fs vfs.FileSystem) vfs.FileSystem { return chmodAnyway{readOnly{plain{fs}}} }},
}

// mutantEnv names the mutant that TestMutant runs.
const mutantEnv = "VFSTEST_MUTANT"

// TestMutants shows that the suite can fail: each mutant is run in a process of
// its own, and its area must report it. Every area has a mutant.
func TestMutants(t *testing.T) {
	for _, area := range vfstest.AreaNames() {
		if !slices.ContainsFunc(mutants, func(m mutant) bool { return m.area == area }) {
			t.Errorf("no mutant shows that area %s can fail", area)
		}
	}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestMutant$/^"+m.area+"$", "-test.short", "-rapid.seed=1")
			cmd.Env = append(os.Environ(), mutantEnv+"="+m.name)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "--- FAIL: TestMutant/"+m.area+" ") {
				t.Errorf("the suite ends with %v, and should find this in area %s:\n%s", err, m.area, out)
			}
		})
	}
}

// TestMutant is the process that TestMutants starts.
func TestMutant(t *testing.T) {
	for _, m := range mutants {
		if m.name == os.Getenv(mutantEnv) {
			vfstest.Run(t, func(t *testing.T) vfstest.Subject { return subject(t, m.area == "readonly", m.make) })
		}
	}
}

// TestReadOnly runs the suite on a file system that refuses all changes.
func TestReadOnly(t *testing.T) {
	vfstest.Run(t, func(t *testing.T) vfstest.Subject {
		return subject(t, true, func(fs vfs.FileSystem) vfs.FileSystem { return readOnly{plain{fs}} })
	})
}

type wrongErrno struct{ plain }

func (fs wrongErrno) Rmdir(r *vfs.Request, parent vfs.NodeID, name vfs.Name) syscall.Errno {
	errno := fs.plain.Rmdir(r, parent, name)
	if errno == syscall.ENOTEMPTY {
		return syscall.EEXIST
	}
	return errno
}

type onlyUTF8 struct{ plain }

func (fs onlyUTF8) Create(r *vfs.Request, parent vfs.NodeID, name vfs.Name, flags, mode uint32, e *vfs.Entry, o *vfs.Opened) syscall.Errno {
	if !utf8.Valid(name.Bytes()) {
		return syscall.EILSEQ
	}
	return fs.plain.Create(r, parent, name, flags, mode, e, o)
}

type leakyMkdir struct{ plain }

func (fs leakyMkdir) Mkdir(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode uint32, e *vfs.Entry) syscall.Errno {
	if errno := fs.plain.Mkdir(r, parent, name, mode, e); errno != 0 {
		return errno
	}
	return fs.plain.Lookup(&vfs.Request{}, parent, name, e)
}

type noExcl struct{ plain }

func (fs noExcl) Create(r *vfs.Request, parent vfs.NodeID, name vfs.Name, flags, mode uint32, e *vfs.Entry, o *vfs.Opened) syscall.Errno {
	return fs.plain.Create(r, parent, name, flags&^unix.O_EXCL, mode, e, o)
}

type lostByte struct{ plain }

func (fs lostByte) Write(r *vfs.Request, node vfs.NodeID, h vfs.Handle, src []unix.Iovec, off uint64, openFlags uint32, flags vfs.WriteFlags) (int, syscall.Errno) {
	n := oslib.IovLen(src)
	if n < 2 {
		return fs.plain.Write(r, node, h, src, off, openFlags, flags)
	}
	done, errno := fs.plain.Write(r, node, h, oslib.IovSlice(nil, src, 0, n-1), off, openFlags, flags)
	return done + 1, errno
}

type noAppend struct{ plain }

func (fs noAppend) Write(r *vfs.Request, node vfs.NodeID, h vfs.Handle, src []unix.Iovec, off uint64, openFlags uint32, flags vfs.WriteFlags) (int, syscall.Errno) {
	return fs.plain.Write(r, node, h, src, off, openFlags&^unix.O_APPEND, flags)
}

type shortRead struct{ plain }

func (fs shortRead) Read(r *vfs.Request, node vfs.NodeID, h vfs.Handle, dst []unix.Iovec, off uint64, openFlags uint32) (int, syscall.Errno) {
	return fs.plain.Read(r, node, h, oslib.IovSlice(nil, dst, 0, 4096), off, openFlags)
}

// lossySink loses the last entry that fits.
type lossySink struct {
	vfs.DirSink
	lost *bool
}

func (s lossySink) Add(name []byte, ino, next uint64, typ uint32, e *vfs.Entry) {
	if e == nil && !*s.lost && len(name) > 2 {
		*s.lost = true
		return
	}
	s.DirSink.Add(name, ino, next, typ, e)
}

type lossyList struct{ plain }

func (fs lossyList) Readdir(r *vfs.Request, node vfs.NodeID, h vfs.Handle, off uint64, sink vfs.DirSink) syscall.Errno {
	return fs.plain.Readdir(r, node, h, off, lossySink{sink, new(bool)})
}

// leakySink hands on an entry without telling that it was looked up.
type leakySink struct{ vfs.DirSink }

func (s leakySink) Add(name []byte, ino, next uint64, typ uint32, _ *vfs.Entry) {
	s.DirSink.Add(name, ino, next, typ, nil)
}

type leakyList struct{ plain }

func (fs leakyList) Readdir(r *vfs.Request, node vfs.NodeID, h vfs.Handle, off uint64, sink vfs.DirSink) syscall.Errno {
	return fs.plain.Readdir(r, node, h, off, leakySink{sink})
}

type coarseTimes struct{ plain }

func (fs coarseTimes) Setattr(r *vfs.Request, node vfs.NodeID, h vfs.Handle, in *vfs.SetAttr, out *vfs.AttrOut) syscall.Errno {
	c := *in
	c.Atime.Nsec, c.Mtime.Nsec = 0, 0
	return fs.plain.Setattr(r, node, h, &c, out)
}

type keepSetuid struct{ plain }

func (fs keepSetuid) Write(r *vfs.Request, node vfs.NodeID, h vfs.Handle, src []unix.Iovec, off uint64, openFlags uint32, flags vfs.WriteFlags) (int, syscall.Errno) {
	return fs.plain.Write(r, node, h, src, off, openFlags, flags&^vfs.WriteKillSUIDGID)
}

type oldCount struct{ plain }

func (fs oldCount) Link(r *vfs.Request, node, newParent vfs.NodeID, newName vfs.Name, e *vfs.Entry) syscall.Errno {
	errno := fs.plain.Link(r, node, newParent, newName, e)
	e.Attr.Nlink--
	return errno
}

type replacing struct{ plain }

func (fs replacing) Rename(r *vfs.Request, oldParent vfs.NodeID, oldName vfs.Name, newParent vfs.NodeID, newName vfs.Name, flags uint32) syscall.Errno {
	return fs.plain.Rename(r, oldParent, oldName, newParent, newName, flags&^unix.RENAME_NOREPLACE)
}

type cutXattr struct{ plain }

func (fs cutXattr) Getxattr(r *vfs.Request, node vfs.NodeID, name, buf []byte) (int, syscall.Errno) {
	n, errno := fs.plain.Getxattr(r, node, name, buf)
	if errno != syscall.ERANGE {
		return n, errno
	}
	return len(buf), 0
}

type smallMinor struct{ plain }

func (fs smallMinor) Mknod(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode, rdev uint32, e *vfs.Entry) syscall.Errno {
	return fs.plain.Mknod(r, parent, name, mode, rdev&0xfffff, e)
}

type noHoles struct{ plain }

func (fs noHoles) Lseek(r *vfs.Request, node vfs.NodeID, h vfs.Handle, off uint64, whence uint32) (uint64, syscall.Errno) {
	if whence == unix.SEEK_DATA {
		return off, 0
	}
	return fs.plain.Lseek(r, node, h, off, whence)
}

type tmpMode struct{ plain }

func (fs tmpMode) Tmpfile(r *vfs.Request, parent vfs.NodeID, flags, mode uint32, e *vfs.Entry, o *vfs.Opened) syscall.Errno {
	return fs.plain.Tmpfile(r, parent, flags, 0o600, e, o)
}

type freeLocks struct{ plain }

func (fs freeLocks) Setlk(r *vfs.Request, node vfs.NodeID, h vfs.Handle, lk *vfs.Lock) syscall.Errno {
	errno := fs.plain.Setlk(r, node, h, lk)
	if errno == syscall.EAGAIN {
		return 0
	}
	return errno
}

type anyIoctl struct{ plain }

func (fs anyIoctl) Ioctl(r *vfs.Request, node vfs.NodeID, h vfs.Handle, cmd uint32, arg uint64, in, out []byte) (int, int32, syscall.Errno) {
	n, result, errno := fs.plain.Ioctl(r, node, h, cmd, arg, in, out)
	if errno == syscall.ENOTTY {
		errno = 0
	}
	return n, result, errno
}

type noSetgid struct{ plain }

func (fs noSetgid) Mkdir(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode uint32, e *vfs.Entry) syscall.Errno {
	errno := fs.plain.Mkdir(r, parent, name, mode, e)
	if errno == 0 && e.Attr.Mode&unix.S_ISGID != 0 {
		var out vfs.AttrOut
		fs.plain.Setattr(r, e.Node, vfs.NoHandle, &vfs.SetAttr{Valid: vfs.SetMode, Mode: e.Attr.Mode & 0o5777}, &out)
		e.Attr = out.Attr
	}
	return errno
}

type rootsDirs struct{ plain }

func (fs rootsDirs) Mkdir(r *vfs.Request, parent vfs.NodeID, name vfs.Name, mode uint32, e *vfs.Entry) syscall.Errno {
	q := *r
	q.UID, q.GID = 0, 0
	return fs.plain.Mkdir(&q, parent, name, mode, e)
}

// anyHandle takes the handle opened last for one that it does not know.
type anyHandle struct {
	plain
	last struct {
		node vfs.NodeID
		h    vfs.Handle
	}
}

func (fs *anyHandle) Create(r *vfs.Request, parent vfs.NodeID, name vfs.Name, flags, mode uint32, e *vfs.Entry, o *vfs.Opened) syscall.Errno {
	errno := fs.plain.Create(r, parent, name, flags, mode, e, o)
	fs.last.node, fs.last.h = e.Node, o.Handle
	return errno
}

func (fs *anyHandle) Read(r *vfs.Request, node vfs.NodeID, h vfs.Handle, dst []unix.Iovec, off uint64, openFlags uint32) (int, syscall.Errno) {
	n, errno := fs.plain.Read(r, node, h, dst, off, openFlags)
	if errno == syscall.EBADF {
		return fs.plain.Read(r, fs.last.node, fs.last.h, dst, off, openFlags)
	}
	return n, errno
}

type rootForAll struct{ plain }

func (fs rootForAll) Getattr(r *vfs.Request, node vfs.NodeID, h vfs.Handle, out *vfs.AttrOut) syscall.Errno {
	errno := fs.plain.Getattr(r, node, h, out)
	if errno == syscall.ESTALE {
		return fs.plain.Getattr(r, vfs.Root, vfs.NoHandle, out)
	}
	return errno
}

type forgetOne struct{ plain }

func (fs forgetOne) Forget(node vfs.NodeID, n uint64) { fs.plain.Forget(node, min(n, 1)) }

type doneAlready struct{ plain }

func (fs doneAlready) Symlink(r *vfs.Request, parent vfs.NodeID, name vfs.Name, target []byte, e *vfs.Entry) syscall.Errno {
	errno := fs.plain.Symlink(r, parent, name, target, e)
	if errno == 0 && r.Nowait {
		fs.plain.Forget(e.Node, 1)
		return vfs.WouldBlock
	}
	return errno
}

type chmodAnyway struct{ readOnly }

func (fs chmodAnyway) Setattr(r *vfs.Request, node vfs.NodeID, h vfs.Handle, in *vfs.SetAttr, out *vfs.AttrOut) syscall.Errno {
	return fs.plain.Setattr(r, node, h, in, out)
}
