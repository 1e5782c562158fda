package tree

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// TestNameRules checks what a guest may do with names that are mounts, lead to
// mounts, or lie on different ones.
func TestNameRules(t *testing.T) {
	fs := newTree(t)
	below := dirOf(t, "f", "d/x", "covered/y", "empty/", "holder/", "source/")
	inner := dirOf(t, "g", "sub/z")
	mounted(t, fs, "/", below)
	mounted(t, fs, "/covered", inner)
	mounted(t, fs, "/holder/in", dirOf(t))
	mounted(t, fs, "/one", plain(t, tempDir(t, "/dev/shm", "one")+"/one"))
	mounted(t, fs, "/syn/th/deep", dirOf(t, "h"))
	begin(t, fs)
	node := map[string]vfs.NodeID{"/": vfs.Root}
	for _, p := range []string{"/d", "/covered", "/covered/sub", "/holder", "/holder/in", "/syn", "/syn/th", "/syn/th/deep", "/f", "/covered/g", "/one", "/syn/th/deep/h"} {
		node[p] = walk(t, fs, p).Node
	}
	var e vfs.Entry
	var o vfs.Opened
	rename := func(od, on, nd, nn string, flags uint32) func() syscall.Errno {
		return func() syscall.Errno { return fs.Rename(&root, node[od], name(on), node[nd], name(nn), flags) }
	}
	unlink := func(d, n string) func() syscall.Errno {
		return func() syscall.Errno { return fs.Unlink(&root, node[d], name(n)) }
	}
	rmdir := func(d, n string) func() syscall.Errno {
		return func() syscall.Errno { return fs.Rmdir(&root, node[d], name(n)) }
	}
	link := func(f, d, n string) func() syscall.Errno {
		return func() syscall.Errno { return fs.Link(&root, node[f], node[d], name(n), &e) }
	}
	mkdir := func(d, n string) func() syscall.Errno {
		return func() syscall.Errno { return fs.Mkdir(&root, node[d], name(n), 0o755, &e) }
	}
	for _, tt := range []struct {
		what  string
		call  func() syscall.Errno
		errno syscall.Errno
	}{
		{"rmdir of a mount", rmdir("/", "covered"), syscall.EBUSY},
		{"rmdir of a mount that covers nothing", rmdir("/holder", "in"), syscall.EBUSY},
		{"rmdir of a file mount", rmdir("/", "one"), syscall.ENOTDIR},
		{"rmdir of a synthetic directory", rmdir("/", "syn"), syscall.EBUSY},
		{"rmdir in a synthetic directory", rmdir("/syn", "th"), syscall.EROFS},
		{"rmdir of a directory with a mount", rmdir("/", "holder"), syscall.ENOTEMPTY},
		{"rmdir of what is not there", rmdir("/", "none"), syscall.ENOENT},
		{"unlink of a mount", unlink("/", "covered"), syscall.EISDIR},
		{"unlink of a file mount", unlink("/", "one"), syscall.EBUSY},
		{"unlink in a synthetic directory", unlink("/syn/th", "deep"), syscall.EROFS},

		{"mkdir over a mount", mkdir("/", "covered"), syscall.EEXIST},
		{"mkdir over a synthetic directory", mkdir("/", "syn"), syscall.EEXIST},
		{"mkdir in a synthetic directory", mkdir("/syn", "new"), syscall.EROFS},
		{"mkdir over a mount in a synthetic directory", mkdir("/syn/th", "deep"), syscall.EEXIST},
		{"mknod over a mount", func() syscall.Errno {
			return fs.Mknod(&root, vfs.Root, name("one"), unix.S_IFREG, 0, &e)
		}, syscall.EEXIST},
		{"symlink over a mount", func() syscall.Errno {
			return fs.Symlink(&root, vfs.Root, name("one"), []byte("x\x00"), &e)
		}, syscall.EEXIST},
		{"create over a mount", func() syscall.Errno {
			return fs.Create(&root, vfs.Root, name("covered"), unix.O_CREAT|unix.O_EXCL, 0o644, &e, &o)
		}, syscall.EEXIST},
		{"tmpfile in a synthetic directory", func() syscall.Errno {
			return fs.Tmpfile(&root, node["/syn"], unix.O_RDWR, 0o644, &e, &o)
		}, syscall.EROFS},

		{"link into another mount", link("/f", "/covered", "new"), syscall.EXDEV},
		{"link out of another mount", link("/covered/g", "/", "new"), syscall.EXDEV},
		{"link of a file mount", link("/one", "/", "new"), syscall.EXDEV},
		{"link to a name that is there", link("/covered/g", "/", "f"), syscall.EEXIST},
		{"link over a mount", link("/f", "/", "one"), syscall.EEXIST},
		{"link into a synthetic directory", link("/f", "/syn", "new"), syscall.EROFS},

		{"rename into another mount", rename("/", "f", "/covered", "new", 0), syscall.EXDEV},
		{"rename out of another mount", rename("/covered", "g", "/", "new", 0), syscall.EXDEV},
		{"rename of nothing into another mount", rename("/", "none", "/covered", "new", 0), syscall.EXDEV},
		{"rename in a synthetic directory", rename("/syn", "th", "/syn", "new", 0), syscall.EROFS},
		{"rename of a mount", rename("/", "covered", "/", "new", 0), syscall.EBUSY},
		{"rename of a mount to itself", rename("/", "covered", "/", "covered", 0), 0},
		{"rename of a mount to itself, no replacing", rename("/", "covered", "/", "covered", unix.RENAME_NOREPLACE), syscall.EEXIST},
		{"rename of a file mount", rename("/", "one", "/d", "new", 0), syscall.EBUSY},
		{"rename of a synthetic directory", rename("/", "syn", "/d", "new", 0), syscall.EBUSY},
		{"rename over a mount", rename("/", "source", "/", "covered", 0), syscall.EBUSY},
		{"rename of a file over a mount", rename("/", "f", "/", "covered", 0), syscall.EISDIR},
		{"rename of a directory over a file mount", rename("/", "source", "/", "one", 0), syscall.ENOTDIR},
		{"rename of a file over a file mount", rename("/", "f", "/", "one", 0), syscall.EBUSY},
		{"rename of nothing over a mount", rename("/", "none", "/", "one", 0), syscall.ENOENT},
		{"rename over a mount, no replacing", rename("/", "f", "/", "one", unix.RENAME_NOREPLACE), syscall.EEXIST},
		{"exchange with a mount", rename("/", "f", "/", "covered", unix.RENAME_EXCHANGE), syscall.EBUSY},
		{"exchange of a mount with nothing", rename("/", "covered", "/", "none", unix.RENAME_EXCHANGE), syscall.ENOENT},
		{"rename over a directory with a mount", rename("/", "source", "/", "holder", 0), syscall.ENOTEMPTY},
		{"rename of a file over a directory with a mount", rename("/", "f", "/", "holder", 0), syscall.EISDIR},
		{"rename of nothing over a directory with a mount", rename("/", "none", "/", "holder", 0), syscall.ENOENT},

		{"rename of a directory with a mount", rename("/", "holder", "/d", "moved", 0), 0},
		{"rename back", rename("/d", "moved", "/", "holder", 0), 0},
		{"exchange of a directory with a mount", rename("/", "holder", "/", "empty", unix.RENAME_EXCHANGE), 0},
		{"exchange back", rename("/", "holder", "/", "empty", unix.RENAME_EXCHANGE), 0},
		{"rename in a mount", rename("/covered", "g", "/covered/sub", "g", 0), 0},
		{"rename over an empty directory", rename("/", "source", "/", "empty", 0), 0},
	} {
		want(t, tt.what, tt.call(), tt.errno)
	}
	if got := names(t, fs, "/") + ", " + names(t, fs, "/covered") + ", " + names(t, fs, "/holder"); got != "covered d empty f holder one syn, sub, in" {
		t.Errorf("in the end there is %q", got)
	}
}

// TestAcrossMounts checks calls with two nodes of different mounts.
func TestAcrossMounts(t *testing.T) {
	fs := newTree(t)
	mounted(t, fs, "/a", dirOf(t, "f"))
	mounted(t, fs, "/b", dirOf(t, "f", "g"))
	begin(t, fs)
	open := func(path string) (vfs.NodeID, vfs.Handle) {
		e := walk(t, fs, path)
		var o vfs.Opened
		if errno := fs.Open(&root, e.Node, unix.O_RDWR, false, &o); errno != 0 {
			t.Fatal(errno)
		}
		t.Cleanup(func() { fs.Release(&root, e.Node, o.Handle, &vfs.ReleaseIn{}) })
		return e.Node, o.Handle
	}
	var c vfs.CopyRange
	c.SrcNode, c.SrcHandle = open("/a/f")
	c.DstNode, c.DstHandle = open("/b/f")
	c.Len = 100
	_, errno := fs.CopyFileRange(&root, &c)
	want(t, "copy between mounts", errno, syscall.EXDEV)
	gone := c
	gone.DstNode ^= 1 << 40
	_, errno = fs.CopyFileRange(&root, &gone)
	want(t, "copy to a node that is not there", errno, syscall.ESTALE)
	c.SrcNode, c.SrcHandle = open("/b/g")
	was := c
	n, errno := fs.CopyFileRange(&root, &c)
	if want(t, "copy in a mount", errno, 0); n != uint64(len("content of g")) || c != was {
		t.Errorf("copied %d bytes, and the request is now %+v", n, c)
	}
	if got := content(t, fs, "/b/f"); got != "content of g" {
		t.Errorf("the copy reads %q", got)
	}
	a, b := walk(t, fs, "/a").Node, walk(t, fs, "/b").Node
	var e vfs.Entry
	for _, bad := range []vfs.NodeID{0, a ^ 1<<40, a + 7<<indexShift, 1 << 63} {
		want(t, "rename from nowhere", fs.Rename(&root, bad, name("f"), b, name("x"), 0), syscall.ESTALE)
		want(t, "rename to nowhere", fs.Rename(&root, b, name("f"), bad, name("x"), 0), syscall.ESTALE)
		want(t, "link of nothing", fs.Link(&root, bad, b, name("x"), &e), syscall.ESTALE)
		want(t, "link to nowhere", fs.Link(&root, c.DstNode, bad, name("x"), &e), syscall.ESTALE)
	}
}

// TestSubmounts checks which directories say that they are the root of a mount.
func TestSubmounts(t *testing.T) {
	for _, offered := range []vfs.Features{everything, everything &^ vfs.FeatSubmounts} {
		fs := newTree(t)
		mounted(t, fs, "/", dirOf(t, "d/x"))
		mounted(t, fs, "/m", dirOf(t, "d/x"))
		mounted(t, fs, "/m/s/t/n", dirOf(t))
		agreed, errno := fs.Init(offered)
		if errno != 0 || agreed&^offered != 0 {
			t.Fatalf("agreed to %#x of %#x, %v", agreed, offered, errno)
		}
		for path, submount := range map[string]bool{"/d": false, "/m": true, "/m/d": false, "/m/s": true, "/m/s/t": false, "/m/s/t/n": true} {
			var flag vfs.AttrFlags
			if submount && offered == everything {
				flag = vfs.AttrSubmount
			}
			e := walk(t, fs, path)
			var a vfs.AttrOut
			var x vfs.Statx
			if errno := fs.Getattr(&root, e.Node, vfs.NoHandle, &a); errno != 0 {
				t.Fatal(errno)
			}
			if errno := fs.Statx(&root, e.Node, vfs.NoHandle, 0, unix.STATX_BASIC_STATS, &x); errno != 0 {
				t.Fatal(errno)
			}
			if e.Attr.Flags != flag || a.Attr.Flags != flag || x.Attr.Flags != flag {
				t.Errorf("%s has flags %d, %d, %d, want %d", path, e.Attr.Flags, a.Attr.Flags, x.Attr.Flags, flag)
			}
			if e.Attr != a.Attr {
				t.Errorf("%s: the entry says %+v, Getattr %+v", path, e.Attr, a.Attr)
			}
		}
	}
}

// TestSynthetic looks at a synthetic directory.
func TestSynthetic(t *testing.T) {
	fs := newTree(t)
	mounted(t, fs, "/a/b/c", dirOf(t))
	begin(t, fs)
	for _, e := range []vfs.Entry{{Node: vfs.Root}, walk(t, fs, "/a"), walk(t, fs, "/a/b")} {
		var a vfs.AttrOut
		var set vfs.SetAttr
		var st vfs.Statfs
		want(t, "getattr", fs.Getattr(&root, e.Node, vfs.NoHandle, &a), 0)
		if a.Attr.Mode != unix.S_IFDIR|0o555 || a.Attr.UID != 0 || a.Attr.GID != 0 || a.Attr.Mtime.Sec == 0 {
			t.Errorf("its attributes are %+v", a.Attr)
		}
		want(t, "setattr", fs.Setattr(&root, e.Node, vfs.NoHandle, &set, &a), syscall.EROFS)
		want(t, "access", fs.Access(&root, e.Node, unix.R_OK|unix.X_OK), 0)
		want(t, "access for writing", fs.Access(&root, e.Node, unix.W_OK), syscall.EROFS)
		want(t, "access for writing of a user", fs.Access(&vfs.Request{UID: 1}, e.Node, unix.W_OK), syscall.EACCES)
		want(t, "open", fs.Open(&root, e.Node, 0, false, &vfs.Opened{}), syscall.EISDIR)
		want(t, "statfs", fs.Statfs(&root, e.Node, &st), 0)
		if st.Namelen != vfs.MaxName {
			t.Errorf("statfs is %+v", st)
		}
		_, errno := fs.Getxattr(&root, e.Node, []byte("user.x\x00"), nil)
		want(t, "getxattr", errno, syscall.ENODATA)
		want(t, "readdir with a forged handle", fs.Readdir(&root, e.Node, 77, 0, &list{room: 9}), syscall.EBADF)
		want(t, "readdir of names of mounts with a forged handle", fs.Readdir(&root, e.Node, 77, tailBase, &list{room: 9}), syscall.EBADF)
	}
	begin(t, fs)
	e, errno := find(fs, "/a/b")
	want(t, "lookup", errno, 0)
	want(t, "getattr", fs.Getattr(&root, e.Node, vfs.NoHandle, &vfs.AttrOut{}), 0)
	fs.Forget(e.Node, 1)
	want(t, "getattr of a forgotten one", fs.Getattr(&root, e.Node, vfs.NoHandle, &vfs.AttrOut{}), syscall.ESTALE)
}
