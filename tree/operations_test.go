package tree

import (
	"fmt"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// propertyOp is an operation of the property test, on a path or two. Both sides
// give an error and what there was to see.
type propertyOp struct {
	name string
	two  bool
	got  func(fs *FS, a, b string) (string, syscall.Errno)
	want func(a, b string) (string, error)
}

func (o propertyOp) String() string { return o.name }

// onName runs a call with a directory and a name in it.
func onName(fs *FS, p string, call func(dir vfs.NodeID, n vfs.Name) syscall.Errno) syscall.Errno {
	dir := vfs.Root
	if up := path.Dir(p); up != "/" {
		e, errno := find(fs, up)
		if errno != 0 {
			return errno
		}
		defer fs.Forget(e.Node, 1)
		if e.Attr.Mode&unix.S_IFMT != unix.S_IFDIR {
			return syscall.ENOTDIR
		}
		dir = e.Node
	}
	return call(dir, name(path.Base(p)))
}

// changing is an operation on a name, which shows nothing.
func changing(name string, got func(fs *FS, d vfs.NodeID, n vfs.Name) syscall.Errno, want func(p string) error) propertyOp {
	return propertyOp{name, false, func(fs *FS, a, _ string) (string, syscall.Errno) {
		return "", onName(fs, a, func(d vfs.NodeID, n vfs.Name) syscall.Errno { return got(fs, d, n) })
	}, func(a, _ string) (string, error) { return "", want(a) }}
}

// making is changing for a call that makes something, whose reference it gives back.
func making(name string, got func(fs *FS, d vfs.NodeID, n vfs.Name, e *vfs.Entry) syscall.Errno, want func(p string) error) propertyOp {
	return changing(name, func(fs *FS, d vfs.NodeID, n vfs.Name) syscall.Errno {
		var e vfs.Entry
		errno := got(fs, d, n, &e)
		if errno == 0 {
			fs.Forget(e.Node, 1)
		}
		return errno
	}, want)
}

// onNode is an operation on what a path leads to, if it is of one of the types. A
// guest's kernel does not ask for others, or follows them first.
func onNode(name string, types []uint32, got func(fs *FS, node vfs.NodeID) (string, syscall.Errno), want func(p string) (string, error)) propertyOp {
	fits := func(mode uint32) bool {
		for _, t := range types {
			if mode&unix.S_IFMT == t {
				return true
			}
		}
		return false
	}
	return propertyOp{name, false, func(fs *FS, a, _ string) (string, syscall.Errno) {
		e, errno := find(fs, a)
		if errno != 0 {
			return "", errno
		}
		defer fs.Forget(e.Node, 1)
		if !fits(e.Attr.Mode) {
			return "another type", 0
		}
		return got(fs, e.Node)
	}, func(a, _ string) (string, error) {
		var st unix.Stat_t
		if err := unix.Lstat(a, &st); err != nil {
			return "", err
		}
		if !fits(st.Mode) {
			return "another type", nil
		}
		return want(a)
	}}
}

func renameOp(name string, flags uint32) propertyOp {
	return propertyOp{name, true, func(fs *FS, a, b string) (string, syscall.Errno) {
		return "", onName(fs, a, func(od vfs.NodeID, on vfs.Name) syscall.Errno {
			return onName(fs, b, func(nd vfs.NodeID, nn vfs.Name) syscall.Errno {
				return fs.Rename(&root, od, on, nd, nn, flags)
			})
		})
	}, func(a, b string) (string, error) {
		return "", unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, uint(flags))
	}}
}

// linkTarget leads to a file in all places, so that a path through a link is ENOTDIR
// on both sides, whoever resolves it.
const linkTarget = "/proc/version"

var (
	regular   = []uint32{unix.S_IFREG}
	links     = []uint32{unix.S_IFLNK}
	anything  = []uint32{unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK}
	notLinks  = []uint32{unix.S_IFREG, unix.S_IFDIR}
	attribute = "user.property"
)

var propertyOps = []propertyOp{
	making("mkdir", func(fs *FS, d vfs.NodeID, n vfs.Name, e *vfs.Entry) syscall.Errno {
		return fs.Mkdir(&root, d, n, 0o755, e)
	}, func(p string) error { return unix.Mkdir(p, 0o755) }),
	making("mknod", func(fs *FS, d vfs.NodeID, n vfs.Name, e *vfs.Entry) syscall.Errno {
		return fs.Mknod(&root, d, n, unix.S_IFREG|0o644, 0, e)
	}, func(p string) error { return unix.Mknod(p, unix.S_IFREG|0o644, 0) }),
	making("symlink", func(fs *FS, d vfs.NodeID, n vfs.Name, e *vfs.Entry) syscall.Errno {
		return fs.Symlink(&root, d, n, []byte(linkTarget+"\x00"), e)
	}, func(p string) error { return unix.Symlink(linkTarget, p) }),
	making("create", func(fs *FS, d vfs.NodeID, n vfs.Name, e *vfs.Entry) syscall.Errno {
		var o vfs.Opened
		errno := fs.Create(&root, d, n, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600, e, &o)
		if errno == 0 {
			fs.Release(&root, e.Node, o.Handle, &vfs.ReleaseIn{})
		}
		return errno
	}, func(p string) error {
		fd, err := unix.Open(p, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
		unix.Close(fd)
		return err
	}),
	changing("rmdir", func(fs *FS, d vfs.NodeID, n vfs.Name) syscall.Errno { return fs.Rmdir(&root, d, n) }, unix.Rmdir),
	changing("unlink", func(fs *FS, d vfs.NodeID, n vfs.Name) syscall.Errno { return fs.Unlink(&root, d, n) }, unix.Unlink),
	renameOp("rename", 0),
	renameOp("rename without replacing", unix.RENAME_NOREPLACE),
	renameOp("exchange", unix.RENAME_EXCHANGE),
	{"link", true, func(fs *FS, a, b string) (string, syscall.Errno) {
		e, errno := find(fs, a)
		if errno != 0 {
			return "", errno
		}
		defer fs.Forget(e.Node, 1)
		return "", onName(fs, b, func(d vfs.NodeID, n vfs.Name) syscall.Errno {
			var made vfs.Entry
			errno := fs.Link(&root, e.Node, d, n, &made)
			if errno == 0 {
				fs.Forget(made.Node, 1)
			}
			return errno
		})
	}, func(a, b string) (string, error) { return "", unix.Link(a, b) }},
	onNode("chmod", notLinks, func(fs *FS, n vfs.NodeID) (string, syscall.Errno) {
		return "", fs.Setattr(&root, n, vfs.NoHandle, &vfs.SetAttr{Valid: vfs.SetMode, Mode: 0o700}, &vfs.AttrOut{})
	}, func(p string) (string, error) { return "", unix.Chmod(p, 0o700) }),
	onNode("chown", anything, func(fs *FS, n vfs.NodeID) (string, syscall.Errno) {
		return "", fs.Setattr(&root, n, vfs.NoHandle, &vfs.SetAttr{Valid: vfs.SetUID, UID: 7}, &vfs.AttrOut{})
	}, func(p string) (string, error) { return "", unix.Lchown(p, 7, -1) }),
	onNode("truncate", regular, func(fs *FS, n vfs.NodeID) (string, syscall.Errno) {
		return "", fs.Setattr(&root, n, vfs.NoHandle, &vfs.SetAttr{Valid: vfs.SetSize, Size: 3}, &vfs.AttrOut{})
	}, func(p string) (string, error) { return "", unix.Truncate(p, 3) }),
	onNode("write", regular, func(fs *FS, n vfs.NodeID) (string, syscall.Errno) {
		var o vfs.Opened
		if errno := fs.Open(&root, n, unix.O_WRONLY, false, &o); errno != 0 {
			return "", errno
		}
		defer fs.Release(&root, n, o.Handle, &vfs.ReleaseIn{})
		k, errno := fs.Write(&root, n, o.Handle, []unix.Iovec{oslib.Iov([]byte("new"))}, 5, unix.O_WRONLY, 0)
		return fmt.Sprint(k), errno
	}, func(p string) (string, error) {
		fd, err := unix.Open(p, unix.O_WRONLY, 0)
		if err != nil {
			return "", err
		}
		defer unix.Close(fd)
		k, err := unix.Pwrite(fd, []byte("new"), 5)
		return fmt.Sprint(k), err
	}),
	onNode("read", regular, func(fs *FS, n vfs.NodeID) (string, syscall.Errno) {
		var o vfs.Opened
		if errno := fs.Open(&root, n, unix.O_RDONLY, false, &o); errno != 0 {
			return "", errno
		}
		defer fs.Release(&root, n, o.Handle, &vfs.ReleaseIn{})
		return readAt(fs, n, o.Handle)
	}, func(p string) (string, error) {
		fd, err := unix.Open(p, unix.O_RDONLY, 0)
		if err != nil {
			return "", err
		}
		defer unix.Close(fd)
		return preadAt(fd)
	}),
	onNode("readlink", links, func(fs *FS, n vfs.NodeID) (string, syscall.Errno) {
		buf := make([]byte, unix.PathMax)
		k, errno := fs.Readlink(&root, n, buf)
		return string(buf[:k]), errno
	}, func(p string) (string, error) {
		buf := make([]byte, unix.PathMax)
		k, err := unix.Readlink(p, buf)
		return string(buf[:max(k, 0)]), err
	}),
	onNode("stat", anything, func(fs *FS, n vfs.NodeID) (string, syscall.Errno) {
		var a vfs.AttrOut
		errno := fs.Getattr(&root, n, vfs.NoHandle, &a)
		return fmt.Sprintf("%#o %d", a.Attr.Mode, a.Attr.UID), errno
	}, func(p string) (string, error) {
		var st unix.Stat_t
		err := unix.Lstat(p, &st)
		return fmt.Sprintf("%#o %d", st.Mode, st.Uid), err
	}),
	onNode("statfs", notLinks, func(fs *FS, n vfs.NodeID) (string, syscall.Errno) {
		var out vfs.Statfs
		errno := fs.Statfs(&root, n, &out)
		return fmt.Sprint(out.Namelen), errno
	}, func(p string) (string, error) {
		var st unix.Statfs_t
		err := unix.Statfs(p, &st)
		return fmt.Sprint(st.Namelen), err
	}),
	onNode("setxattr", notLinks, func(fs *FS, n vfs.NodeID) (string, syscall.Errno) {
		return "", fs.Setxattr(&root, n, []byte(attribute+"\x00"), []byte("value"), 0, false)
	}, func(p string) (string, error) { return "", unix.Setxattr(p, attribute, []byte("value"), 0) }),
	onNode("getxattr", notLinks, func(fs *FS, n vfs.NodeID) (string, syscall.Errno) {
		buf := make([]byte, 10)
		k, errno := fs.Getxattr(&root, n, []byte(attribute+"\x00"), buf)
		return string(buf[:k]), errno
	}, func(p string) (string, error) {
		buf := make([]byte, 10)
		k, err := unix.Getxattr(p, attribute, buf)
		return string(buf[:max(k, 0)]), err
	}),
	onNode("removexattr", notLinks, func(fs *FS, n vfs.NodeID) (string, syscall.Errno) {
		return "", fs.Removexattr(&root, n, []byte(attribute+"\x00"))
	}, func(p string) (string, error) { return "", unix.Removexattr(p, attribute) }),
}

// readAt and preadAt read a small file that is open.
func readAt(fs *FS, n vfs.NodeID, h vfs.Handle) (string, syscall.Errno) {
	buf := make([]byte, 100)
	k, errno := fs.Read(&root, n, h, []unix.Iovec{oslib.Iov(buf)}, 0, 0)
	return string(buf[:k]), errno
}

func preadAt(fd int) (string, error) {
	buf := make([]byte, 100)
	k, err := unix.Pread(fd, buf, 0)
	return string(buf[:max(k, 0)]), err
}

// openFile is a file that is open on both sides while other things happen.
type openFile struct {
	node  vfs.NodeID
	h     vfs.Handle
	fd    int
	mount *refMount // that it is on
}

// open opens a file on both sides, if there is one.
func (p *propertyRun) open() {
	a := p.drawNear("path to open")
	e, errno := find(p.fs, a)
	if errno != 0 || e.Attr.Mode&unix.S_IFMT != unix.S_IFREG {
		if errno == 0 {
			p.fs.Forget(e.Node, 1)
		}
		return
	}
	var o vfs.Opened
	if errno := p.fs.Open(&root, e.Node, unix.O_RDONLY, false, &o); errno != 0 {
		p.rt.Fatalf("open %s: %v", a, errno)
	}
	f := &openFile{node: e.Node, h: o.Handle, mount: p.mountOf(e.Node)}
	p.must("open "+a, func() (err error) {
		f.fd, err = unix.Open(p.top+a, unix.O_RDONLY, 0)
		return err
	})
	p.opened = append(p.opened, f)
}

// mountOf returns the mount of a node.
func (p *propertyRun) mountOf(node vfs.NodeID) *refMount {
	for _, in := range p.fs.Mounts() {
		if in.Root>>indexShift == node>>indexShift {
			return p.mounts[in.Path]
		}
	}
	p.rt.Fatalf("node %#x is on no mount", node)
	return nil
}

// readOpen reads all files that are open: those of mounts that are gone are ESTALE
// here, while the host goes on with them.
func (p *propertyRun) readOpen() {
	for _, f := range p.opened {
		got, errno := readAt(p.fs, f.node, f.h)
		if f.mount.gone {
			if errno != syscall.ESTALE {
				p.rt.Fatalf("read of a file in %s, which is gone: %v", f.mount.path, errno)
			}
			continue
		}
		var want string
		p.must("read", func() (err error) {
			want, err = preadAt(f.fd)
			return err
		})
		if errno != 0 || got != want {
			p.rt.Fatalf("an open file of %s has %q, %v; on the host %q", f.mount.path, got, errno, want)
		}
	}
}

func (p *propertyRun) closeAll() {
	for _, f := range p.opened {
		p.fs.Release(&root, f.node, f.h, &vfs.ReleaseIn{})
		p.fs.Forget(f.node, 1)
		p.ref.do(func() error { return unix.Close(f.fd) })
	}
	p.opened = nil
}

// related tells whether one path is above the other.
func related(a, b string) bool {
	return strings.HasPrefix(a, b+"/") || strings.HasPrefix(b, a+"/")
}
