package overlay_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// hostTree is all that a host directory has, by path, but for atimes.
func hostTree(t testing.TB, dir string) map[string]string {
	t.Helper()
	tree := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := os.Lstat(p)
		if err != nil {
			return err
		}
		st := fi.Sys().(*syscall.Stat_t)
		s := fmt.Sprintf("ino %d mode %#o nlink %d owner %d:%d rdev %#x size %d blocks %d mtime %v ctime %v", st.Ino, st.Mode, st.Nlink,
			st.Uid, st.Gid, st.Rdev, st.Size, st.Blocks, st.Mtim, st.Ctim)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			s += fmt.Sprintf(" data %q", b)
		case unix.S_IFLNK:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			s += " to " + target
		}
		tree[strings.TrimPrefix(p, dir)] = s + xattrsOf(p)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// xattrsOf is the extended attributes of a host file as text.
func xattrsOf(p string) string {
	names := make([]byte, 1<<16)
	n, err := unix.Llistxattr(p, names)
	if err != nil {
		return ""
	}
	var b strings.Builder
	for _, name := range strings.Split(string(names[:n]), "\x00") {
		value := make([]byte, 1<<16)
		if n, err := unix.Lgetxattr(p, name, value); err == nil {
			fmt.Fprintf(&b, " %s=%q", name, value[:n])
		}
	}
	return b.String()
}

func sameTree(t testing.TB, before, after map[string]string) {
	t.Helper()
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the lower directory has changed (-before +after):\n%s", diff)
	}
}
