package e2e

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fuse/fusetest"
	"github.com/isthmus-fs/isthmus/vfs"
)

// TestCVE_2026_47243: a launcher ran virtiofsd without sandbox, and that passed
// names like "../x" and "/x" on to the host's calls, which made them there.
// Ours must take no name that is more than a name, whatever else keeps it in.
func TestCVE_2026_47243(t *testing.T) {
	for _, form := range forms {
		t.Run(form.name, func(t *testing.T) {
			top, away := t.TempDir(), t.TempDir()
			share, canary := filepath.Join(top, "share"), filepath.Join(top, "canary")
			plantCanary(t, canary)
			plantCanary(t, filepath.Join(share, "own"))
			before, beforeInside := listing(t, canary), listing(t, share)
			d := serve(t, share, form.args...)
			inner := d.inner()
			g := attack(t, d)
			own := g.lookup(vfs.Root, "own")
			file := g.lookup(own.Node, "file")

			bad := []string{
				"", ".", "..", "/", "//", "./", "../", "/.", "../..", "own/", "own/file", "./own", "own/../own", "x/",
				canary, canary + "/new", canary + "/file", canary + "/dir", canary + "/empty",
				"../canary", "../canary/new", "../canary/file", "../canary/dir", "../canary/empty", "../../canary/new",
				away + "/new", strings.Repeat("../", 20) + away[1:] + "/new",
				"own/../../canary/new", "link/new", "way out/new", "way out/file", "way out/empty",
				"\x00", "\x00x", "x\x00y", "..\x00", "own\x00/../../canary/new", "..\x00../canary/new",
				strings.Repeat("n", 256), strings.Repeat("n", 4095), strings.Repeat("n", 4096), strings.Repeat("n", 70000),
				strings.Repeat("../", 80) + away[1:] + "/new",
			}
			for _, parent := range []vfs.NodeID{vfs.Root, own.Node} {
				for _, name := range bad {
					for _, op := range namedRequests(parent, file.Node, name) {
						g.tryName(t, op, name)
					}
				}
			}
			if err := g.Err(); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(before, listing(t, canary)); diff != "" {
				t.Errorf("outside of the share something has changed:\n%s", diff)
			}
			if diff := cmp.Diff(beforeInside, listing(t, share)); diff != "" {
				t.Errorf("a request that was refused has done something:\n%s", diff)
			}
			if left := listing(t, away); len(left) != 1 {
				t.Errorf("the guest has been here:\n%v", left)
			}
			g.hangUp()
			d.survives(inner)
		})
	}
	t.Run("control", func(t *testing.T) {
		// What such a name does in the hands of a daemon that passes it on.
		top := t.TempDir()
		canary := filepath.Join(top, "canary")
		plantCanary(t, canary)
		before := listing(t, canary)
		share := opened(t, t.TempDir(), unix.O_PATH)
		if err := unix.Symlinkat("x", share, canary+"/new"); err != nil {
			t.Fatal(err)
		}
		if cmp.Equal(before, listing(t, canary)) {
			t.Error("a new symbolic link cannot be seen in the listing")
		}
		for _, change := range []func() error{
			func() error { return os.Remove(canary + "/new") },
			func() error { return os.Chmod(canary+"/file", 0o600) },
		} {
			before = listing(t, canary)
			if err := change(); err != nil {
				t.Fatal(err)
			}
			if cmp.Equal(before, listing(t, canary)) {
				t.Error("a change cannot be seen in the listing")
			}
		}
	})
}

// namedRequest is a request with names in it, as it is behind the header.
type namedRequest struct {
	op   fuse.Opcode
	node vfs.NodeID
	body []byte
	what string
}

// namedRequests are all requests that a name can be in, with it in each place.
func namedRequests(parent, file vfs.NodeID, name string) []namedRequest {
	a := fusetest.Append(nil)
	n := a.Str(name)
	r := []namedRequest{
		{fuse.LOOKUP, parent, n, "name"},
		{fuse.SYMLINK, parent, n.Str("target"), "name"},
		{fuse.MKNOD, parent, a.U32(unix.S_IFREG | 0o666).U32(0).U32(0).U32(0).Bytes(n), "file"},
		{fuse.MKNOD, parent, a.U32(unix.S_IFCHR | 0o666).U32(0x105).U32(0).U32(0).Bytes(n), "device"},
		{fuse.MKDIR, parent, a.U32(0o777).U32(0).Bytes(n), "name"},
		{fuse.UNLINK, parent, n, "name"},
		{fuse.RMDIR, parent, n, "name"},
		{fuse.LINK, parent, a.U64(uint64(file)).Bytes(n), "name"},
		{fuse.CREATE, parent, a.U32(uint32(os.O_RDWR)).U32(0o100666).U32(0).U32(0).Bytes(n), "new"},
		{fuse.CREATE, parent, a.U32(uint32(os.O_RDWR | unix.O_TRUNC)).U32(0o100666).U32(0).U32(0).Bytes(n), "old"},
		{fuse.RENAME, parent, a.U64(uint64(parent)).Bytes(n).Str("moved"), "old name"},
		{fuse.RENAME, parent, a.U64(uint64(parent)).Str("file").Bytes(n), "new name"},
		{fuse.RENAME, parent, a.U64(uint64(parent)).Bytes(n).Bytes(n), "both names"},
	}
	for _, flags := range []uint32{0, unix.RENAME_EXCHANGE, unix.RENAME_WHITEOUT} {
		r = append(r,
			namedRequest{fuse.RENAME2, parent, a.U64(uint64(parent)).U32(flags).U32(0).Bytes(n).Str("moved"), fmt.Sprint("old name, flags ", flags)},
			namedRequest{fuse.RENAME2, parent, a.U64(uint64(parent)).U32(flags).U32(0).Str("file").Bytes(n), fmt.Sprint("new name, flags ", flags)})
	}
	return r
}

// tryName sends a request with a bad name, which has to fail. One with a NUL in
// the name is two names to whoever reads it, and both are tried as such.
func (g *hostile) tryName(t *testing.T, r namedRequest, name string) {
	t.Helper()
	n, errno := g.Do(r.op, r.node, nil, make([]byte, 1024), r.body)
	if errno == 0 {
		t.Errorf("%v of %.40q as its %s succeeds, with %d bytes", r.op, name, r.what, n)
	}
	// The same without its last byte: a name that does not end.
	if _, errno := g.Do(r.op, r.node, nil, make([]byte, 1024), r.body[:len(r.body)-1]); errno == 0 {
		t.Errorf("%v of %.40q as its %s succeeds without an end", r.op, name, r.what)
	}
}

// plantCanary makes a tree in which any change is seen.
func plantCanary(t *testing.T, dir string) {
	t.Helper()
	for _, d := range []string{"", "dir", "dir/in", "empty"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"file", "dir/file", "dir/in/file"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte(f), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("file", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
}

// listing describes all of a tree: names, attributes, change times, contents.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		content := ""
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = fmt.Sprintf("%x", sha256.Sum256(b))
		case unix.S_IFLNK:
			if content, err = os.Readlink(path); err != nil {
				return err
			}
		}
		all[path] = fmt.Sprintf("mode %o, %d:%d, %d links, inode %d, %d bytes, changed %v: %s",
			st.Mode, st.Uid, st.Gid, st.Nlink, st.Ino, st.Size, st.Ctim, content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestLibkrun329: libkrun's server let a guest out of its directory, by links
// and by directories that went elsewhere while it held them.
// Ours must follow no link, and go down from what the guest holds, never up.
func TestLibkrun329(t *testing.T) {
	for _, form := range forms {
		t.Run(form.name, func(t *testing.T) {
			top := t.TempDir()
			share, outside := filepath.Join(top, "share"), filepath.Join(top, "outside")
			plantCanary(t, outside)
			plantCanary(t, filepath.Join(share, "moving"))
			for link, target := range map[string]string{
				"absolute": outside, "relative": "../outside", "root": "/", "proc": "/proc/self/root", "cwd": "/proc/self/cwd", "file": "../outside/file",
			} {
				if err := os.Symlink(target, filepath.Join(share, link)); err != nil {
					t.Fatal(err)
				}
			}
			d := serve(t, share, form.args...)
			inner := d.inner()
			g := attack(t, d)
			opens := watchOpens(t, filepath.Join(outside, "file"), filepath.Join(outside, "dir"), filepath.Join(outside, "dir/file"))
			before := listing(t, outside)

			for _, link := range []string{"absolute", "relative", "root", "proc", "cwd", "file"} {
				e := g.lookup(vfs.Root, link)
				if e.Attr.Mode&unix.S_IFMT != unix.S_IFLNK {
					t.Errorf("LOOKUP of the link %q gives mode %#o: it was followed", link, e.Attr.Mode)
				}
				g.refused(t, "through the link "+link, e.Node, "dir", "file", "etc", "new")
				_, errno := g.Open(e.Node, uint32(os.O_RDONLY), false)
				wantErrno(t, "OPEN of the link "+link, errno, syscall.ELOOP, syscall.EBADF)
				_, errno = g.Opendir(e.Node, 0)
				wantErrno(t, "OPENDIR of the link "+link, errno, syscall.ENOTDIR)
				if _, errno := g.Setattr(e.Node, vfs.NoHandle, vfs.SetAttr{Valid: vfs.SetSize}); errno == 0 {
					t.Errorf("the file behind the link %q was truncated", link)
				}
				if _, errno := g.Setattr(e.Node, vfs.NoHandle, vfs.SetAttr{Valid: vfs.SetMode, Mode: 0o777}); errno == 0 {
					t.Errorf("the mode of the file behind the link %q was changed", link)
				}
				if errno := g.Setxattr(e.Node, "user.a", []byte("x"), 0, false); errno == 0 {
					t.Errorf("the file behind the link %q got an attribute", link)
				}
				// These are about the link itself.
				g.Setattr(e.Node, vfs.NoHandle, vfs.SetAttr{Valid: vfs.SetUID | vfs.SetMtimeNow, UID: stranger})
				if _, errno := g.Link(e.Node, vfs.Root, link+" again"); errno != 0 {
					t.Errorf("LINK of the link %q: %v", link, errno)
				}
			}
			// No number that the guest makes up is a way out.
			for _, node := range []vfs.NodeID{0, 1 << 32, 1<<48 | 1, 1<<64 - 1, 77<<32 | 2, 1 << 20} {
				g.refused(t, fmt.Sprintf("from node %#x", uint64(node)), node, "..", "outside", "canary", "etc")
			}
			if diff := cmp.Diff(before, listing(t, outside)); diff != "" {
				t.Errorf("outside of the share something has changed:\n%s", diff)
			}
			if seen := opens.seen(); len(seen) == 0 {
				t.Error("the watch does not see the listing")
			} else {
				opens.seen()
			}

			movedAway(t, g, share, outside)
			g.hangUp()
			d.survives(inner)
		})
	}
}

// refused checks that no name leads anywhere from a node.
func (g *hostile) refused(t *testing.T, how string, node vfs.NodeID, names ...string) {
	t.Helper()
	for _, name := range names {
		if e, errno := g.Lookup(node, name); errno == 0 {
			t.Errorf("%s, %q is node %d, mode %#o", how, name, e.Node, e.Attr.Mode)
		}
		if _, _, errno := g.Create(node, name, uint32(os.O_RDWR), 0o100666, 0); errno == 0 {
			t.Errorf("%s, %q can be created", how, name)
		}
		if errno := g.Unlink(node, name); errno == 0 {
			t.Errorf("%s, %q can be removed", how, name)
		}
	}
}

// movedAway has the host move a directory, of which the guest holds nodes, out of
// the share, beside a canary. The guest may keep what it holds and what is below:
// the host gave it that. It must not see what the directory is in now, nor find a
// way back to it once it has let go.
func movedAway(t *testing.T, g *hostile, share, outside string) {
	dir := g.lookup(vfs.Root, "moving")
	sub := g.lookup(dir.Node, "dir")
	file := g.lookup(sub.Node, "file")
	if err := os.Rename(filepath.Join(share, "moving"), filepath.Join(outside, "moved")); err != nil {
		t.Fatal(err)
	}
	canary := filepath.Join(outside, "file")
	opens := watchOpens(t, canary, outside)
	for _, node := range []vfs.NodeID{dir.Node, sub.Node} {
		g.refused(t, "from the moved directory", node, "..", "../file", "../outside", "../../share")
	}
	for what, errno := range map[string]syscall.Errno{
		"RENAME up":   g.Rename(sub.Node, "file", dir.Node, "../stolen"),
		"RENAME from": g.Rename(dir.Node, "../file", vfs.Root, "stolen"),
		"LINK up":     errnoOf(g.Link(file.Node, dir.Node, "../stolen")),
	} {
		if errno == 0 {
			t.Errorf("%s from the moved directory succeeds", what)
		}
	}
	_, errno := g.Lookup(vfs.Root, "moving")
	wantErrno(t, "LOOKUP of the name that is gone", errno, syscall.ENOENT)
	// What is below is reached or refused: a handle may not lead to it any more,
	// and Landlock may forbid it or, as newer kernels do, count the mount that it
	// was reached by. It is the same files either way.
	if e, errno := g.Lookup(sub.Node, "in"); errno == 0 {
		st, err := os.Stat(filepath.Join(outside, "moved/dir/in"))
		if err != nil || e.Attr.Ino != st.Sys().(*syscall.Stat_t).Ino {
			t.Errorf("below the moved directory is inode %d, which is not what was there (%v)", e.Attr.Ino, err)
		}
		g.Forget(e.Node, 1)
	} else {
		wantErrno(t, "LOOKUP below the moved directory", errno, syscall.ESTALE, syscall.EACCES, syscall.ENOENT)
	}
	o, errno := g.Open(file.Node, uint32(os.O_RDONLY), false)
	wantErrno(t, "OPEN below the moved directory", errno, 0, syscall.ESTALE, syscall.EACCES)
	if errno == 0 {
		g.Release(file.Node, o.Handle, vfs.ReleaseIn{})
	}
	if seen := opens.seen(); len(seen) != 0 {
		t.Errorf("the daemon opened %v outside of the share", seen)
	}
	for _, node := range []vfs.NodeID{file.Node, sub.Node, dir.Node} {
		g.Forget(node, 10)
		if _, errno := g.Getattr(node, vfs.NoHandle); errno == 0 {
			t.Errorf("node %#x is there although the guest let it go", uint64(node))
		}
	}
}
