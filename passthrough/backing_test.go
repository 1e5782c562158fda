package passthrough

import (
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

func TestBacking(t *testing.T) {
	for what, c := range map[string]struct {
		cfg Config
		ok  bool
	}{
		"auto":          {Config{}, true},
		"always":        {Config{Cache: CacheAlways}, true},
		"never":         {Config{Cache: CacheNever}, false},
		"metadata":      {Config{Cache: CacheMetadata}, false},
		"never, mapped": {Config{Cache: CacheNever, DirectIOMmap: true}, false},
		"direct":        {Config{IO: IODirect}, false},
		"sync":          {Config{IO: IOSync}, false},
	} {
		t.Run(what, func(t *testing.T) {
			dir := tempDir(t, "")
			write(t, join(dir, "f"), "content")
			c.cfg.Path = dir
			fs := share(t, c.cfg)
			for _, flags := range []uint32{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR} {
				id, h := openAt(t, fs, "f", flags)
				fd, ok := fs.Backing(id, h)
				if ok != c.ok || ok != (fd >= 0) {
					t.Fatalf("descriptor %d, %t", fd, ok)
				}
				if ok {
					wantSameFile(t, fd, join(dir, "f"))
				}
				for what, f := range map[string]struct {
					id vfs.NodeID
					h  vfs.Handle
				}{"another node": {vfs.Root, h}, "a forged handle": {id, h ^ 1<<40}, "no handle": {id, vfs.NoHandle}} {
					if fd, ok := fs.Backing(f.id, f.h); ok || fd != -1 {
						t.Errorf("%s: descriptor %d, %t", what, fd, ok)
					}
				}
				want(t, "release", fs.Release(&root, id, h, &vfs.ReleaseIn{}), 0)
				if fd, ok := fs.Backing(id, h); ok || fd != -1 {
					t.Errorf("a handle that was released: descriptor %d, %t", fd, ok)
				}
			}
			var o vfs.Opened
			want(t, "opendir", fs.Opendir(&root, vfs.Root, 0, &o), 0)
			if fd, ok := fs.Backing(vfs.Root, o.Handle); ok || fd != -1 {
				t.Errorf("a directory: descriptor %d, %t", fd, ok)
			}
			var e vfs.Entry
			want(t, "create", fs.Create(&root, vfs.Root, name(t, "new"), unix.O_WRONLY, 0o600, &e, &o), 0)
			if fd, ok := fs.Backing(e.Node, o.Handle); ok != c.ok {
				t.Errorf("a new file: %t", ok)
			} else if ok {
				wantSameFile(t, fd, join(dir, "new"))
			}
		})
	}
}

// wantSameFile wants fd to be open, and not only as a place.
func wantSameFile(t *testing.T, fd int, path string) {
	t.Helper()
	var got syscall.Stat_t
	if err := syscall.Fstat(fd, &got); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := st.Sys().(*syscall.Stat_t); got.Ino != want.Ino || got.Dev != want.Dev {
		t.Errorf("inode %d:%d, want %d:%d", got.Dev, got.Ino, want.Dev, want.Ino)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_PATH != 0 {
		t.Errorf("flags %#x, %v", flags, err)
	}
}
