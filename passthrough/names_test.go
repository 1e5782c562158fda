package passthrough

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

func TestReadlink(t *testing.T) {
	eachConfig(t, func(t *testing.T, fs *FS, dir string) {
		targets := []string{"/etc/passwd", "..", "\xff\xfe", strings.Repeat("x/", 2047)}
		for i, target := range targets {
			n := name(t, string(rune('a'+i)))
			var e vfs.Entry
			want(t, "symlink", fs.Symlink(&root, vfs.Root, n, []byte(target+"\x00"), &e), 0)
			if e.Attr.Mode&unix.S_IFMT != unix.S_IFLNK || e.Attr.Size != uint64(len(target)) {
				t.Errorf("entry %+v", e.Attr)
			}
			evict(fs)
			var buf [unix.PathMax]byte
			got, errno := fs.Readlink(&root, e.Node, buf[:])
			if errno != 0 || string(buf[:got]) != target {
				t.Errorf("readlink: %v, %q, want %q", errno, buf[:got], target)
			}
		}
		_, errno := fs.Readlink(&root, vfs.Root, make([]byte, 10))
		want(t, "readlink of a directory", errno, syscall.EINVAL)
	})
}

// TestLinksAreNotFollowed puts links that lead out of the share wherever a
// name may stand.
func TestLinksAreNotFollowed(t *testing.T) {
	eachConfig(t, func(t *testing.T, fs *FS, dir string) {
		outside := tempDir(t, "")
		write(t, join(outside, "secret"), "secret")
		if err := os.Symlink(outside, join(dir, "out")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(join(outside, "secret"), join(dir, "file")); err != nil {
			t.Fatal(err)
		}
		out, file := walk(t, fs, "out"), walk(t, fs, "file")
		var e vfs.Entry
		var o vfs.Opened
		n := name(t, "secret")
		for what, errno := range map[string]syscall.Errno{
			"lookup":  fs.Lookup(&root, out.Node, n, &e),
			"create":  fs.Create(&root, out.Node, n, unix.O_RDWR, 0o644, &e, &o),
			"mkdir":   fs.Mkdir(&root, out.Node, n, 0o755, &e),
			"mknod":   fs.Mknod(&root, out.Node, n, unix.S_IFREG, 0, &e),
			"symlink": fs.Symlink(&root, out.Node, n, []byte("x\x00"), &e),
			"link":    fs.Link(&root, file.Node, out.Node, n, &e),
			"unlink":  fs.Unlink(&root, out.Node, n),
			"rmdir":   fs.Rmdir(&root, out.Node, n),
			"tmpfile": fs.Tmpfile(&root, out.Node, unix.O_RDWR, 0o644, &e, &o),
			"rename":  fs.Rename(&root, vfs.Root, name(t, "file"), out.Node, n, 0),
		} {
			want(t, what+" through a link", errno, syscall.ENOTDIR)
		}
		want(t, "open of a link", fs.Open(&root, file.Node, unix.O_RDONLY, false, &o), syscall.ELOOP)
		// A hard link to a symbolic link is one to the link itself.
		want(t, "link to a link", fs.Link(&root, file.Node, vfs.Root, name(t, "second"), &e), 0)
		if e.Node != file.Node || e.Attr.Mode&unix.S_IFMT != unix.S_IFLNK || e.Attr.Nlink != 2 {
			t.Errorf("link: %+v", e)
		}
		if st := host(t, join(outside, "secret")); st.Nlink != 1 || st.Size != 6 {
			t.Error("the target was touched")
		}
	})
}

func TestRename(t *testing.T) {
	eachConfig(t, func(t *testing.T, fs *FS, dir string) {
		write(t, join(dir, "a"), "a")
		write(t, join(dir, "b"), "bb")
		if err := os.Mkdir(join(dir, "d"), 0o755); err != nil {
			t.Fatal(err)
		}
		a, b, d := walk(t, fs, "a"), walk(t, fs, "b"), walk(t, fs, "d")
		A, B := name(t, "a"), name(t, "b")
		for _, flags := range []uint32{8, 1 << 31, unix.RENAME_NOREPLACE | unix.RENAME_EXCHANGE} {
			want(t, "flags", fs.Rename(&root, vfs.Root, A, vfs.Root, B, flags), syscall.EINVAL)
		}
		want(t, "noreplace", fs.Rename(&root, vfs.Root, A, vfs.Root, B, unix.RENAME_NOREPLACE), syscall.EEXIST)
		want(t, "exchange", fs.Rename(&root, vfs.Root, A, vfs.Root, B, unix.RENAME_EXCHANGE), 0)
		if got := walk(t, fs, "a"); got.Node != b.Node {
			t.Error("exchange: the name leads to the other node no longer")
		}
		want(t, "into a directory", fs.Rename(&root, vfs.Root, B, d.Node, A, 0), 0)
		if got := walk(t, fs, "d/a"); got.Node != a.Node || got.Attr.Size != 1 {
			t.Errorf("after rename: node %#x, want %#x", got.Node, a.Node)
		}
		want(t, "directory into itself", fs.Rename(&root, vfs.Root, name(t, "d"), d.Node, A, 0), syscall.EINVAL)
		want(t, "rmdir of a file", fs.Rmdir(&root, d.Node, A), syscall.ENOTDIR)
		want(t, "rmdir of a full directory", fs.Rmdir(&root, vfs.Root, name(t, "d")), syscall.ENOTEMPTY)
		want(t, "unlink of a directory", fs.Unlink(&root, vfs.Root, name(t, "d")), syscall.EISDIR)
		want(t, "whiteout", fs.Rename(&root, d.Node, A, vfs.Root, B, unix.RENAME_WHITEOUT), 0)
		if w := walk(t, fs, "d/a"); w.Attr.Mode&unix.S_IFMT != unix.S_IFCHR || w.Attr.Rdev != 0 {
			t.Errorf("whiteout: %+v", w.Attr)
		}
		want(t, "unlink", fs.Unlink(&root, d.Node, A), 0)
		want(t, "rmdir", fs.Rmdir(&root, vfs.Root, name(t, "d")), 0)
	})
}

func TestNames(t *testing.T) {
	eachConfig(t, func(t *testing.T, fs *FS, dir string) {
		for _, s := range []string{strings.Repeat("n", 255), "\xff\x80 \n", "...", "-rf", "a\\b"} {
			n := name(t, s)
			var e, again vfs.Entry
			want(t, "mkdir", fs.Mkdir(&root, vfs.Root, n, 0o755, &e), 0)
			want(t, "lookup", fs.Lookup(&root, vfs.Root, n, &again), 0)
			if e.Node != again.Node {
				t.Errorf("%q: nodes %#x and %#x", s, e.Node, again.Node)
			}
			want(t, "rmdir", fs.Rmdir(&root, vfs.Root, n), 0)
			want(t, "lookup", fs.Lookup(&root, vfs.Root, n, &again), syscall.ENOENT)
		}
	})
}
