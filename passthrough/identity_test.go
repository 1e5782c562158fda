package passthrough

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

func getattr(fs *FS, id vfs.NodeID) (vfs.Attr, syscall.Errno) {
	var a vfs.AttrOut
	errno := fs.Getattr(&root, id, vfs.NoHandle, &a)
	return a.Attr, errno
}

// evict takes the descriptors away from all nodes that can do without.
func evict(fs *FS) {
	fs.cache.mu.Lock()
	defer fs.cache.mu.Unlock()
	for {
		fd := fs.cache.evict()
		if fd < 0 {
			return
		}
		unix.Close(fd)
	}
}

// TestInodeReuse has the host remove a file that the guest knows and make
// others until one gets its inode number. Other processes of the host may be
// faster, so there are several rounds.
func TestInodeReuse(t *testing.T) {
	eachConfig(t, func(t *testing.T, fs *FS, dir string) {
		held := fs.cfg.FileHandles == HandlesNever
		reused := false
		for round := 0; round < 20 && !reused; round++ {
			reused = testInodeReuse(t, fs, dir)
			if held {
				break
			}
		}
		if held && reused {
			t.Error("a number was reused although a descriptor was open")
		}
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		if !held && !reused && st.Type == unix.EXT4_SUPER_MAGIC {
			t.Error("the inode number was not reused; nothing was tested")
		}
		if got := fs.Stats().Nodes; got != 1 {
			t.Errorf("%d nodes", got)
		}
	})
}

// testInodeReuse is one round; it tells whether the number was reused.
func testInodeReuse(t *testing.T, fs *FS, dir string) (reused bool) {
	t.Helper()
	write(t, join(dir, "old"), "old")
	old := walk(t, fs, "old")
	defer fs.Forget(old.Node, 1)
	held := fs.cfg.FileHandles == HandlesNever
	evict(fs)
	if err := os.Remove(join(dir, "old")); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < 200 && !reused; i++ {
		n := fmt.Sprint("new", i)
		write(t, join(dir, n), "new file")
		e := walk(t, fs, n)
		if e.Node == old.Node {
			t.Fatalf("%s has the node of a file that was removed", n)
		}
		if a, errno := getattr(fs, e.Node); errno != 0 || a.Size != 8 {
			t.Fatalf("getattr of %s: %v, size %d", n, errno, a.Size)
		}
		a, errno := getattr(fs, old.Node)
		switch {
		case held && (errno != 0 || a.Size != 3):
			t.Fatalf("getattr of the removed file: %v, size %d", errno, a.Size)
		case !held && errno != syscall.ESTALE:
			t.Fatalf("getattr of the removed file: %v, size %d, want ESTALE", errno, a.Size)
		}
		if e.Attr.Ino == old.Attr.Ino {
			reused = true
			again := walk(t, fs, n)
			if again.Node != e.Node {
				t.Errorf("a second lookup gives %#x, not %#x", again.Node, e.Node)
			}
			fs.Forget(e.Node, 1)
		}
		fs.Forget(e.Node, 1)
		if err := os.Remove(join(dir, n)); err != nil {
			t.Fatal(err)
		}
	}
	return reused
}

// TestEvictedNode wants a node that lost its descriptor to be found again by
// its handle, also after a rename.
func TestEvictedNode(t *testing.T) {
	eachConfig(t, func(t *testing.T, fs *FS, dir string) {
		write(t, join(dir, "a"), "content")
		a := walk(t, fs, "a")
		evict(fs)
		if err := os.Rename(join(dir, "a"), join(dir, "b")); err != nil {
			t.Fatal(err)
		}
		b := walk(t, fs, "b")
		if a.Node != b.Node {
			t.Errorf("nodes %#x and %#x of one file", a.Node, b.Node)
		}
		evict(fs)
		if attr, errno := getattr(fs, a.Node); errno != 0 || attr.Size != 7 {
			t.Errorf("getattr: %v, size %d", errno, attr.Size)
		}
	})
}

// TestUnlinkedOpen works on a file that has no name any more through its
// handle, when the node has lost its descriptor.
func TestUnlinkedOpen(t *testing.T) {
	eachConfig(t, func(t *testing.T, fs *FS, dir string) {
		write(t, join(dir, "f"), "content")
		e := walk(t, fs, "f")
		var o vfs.Opened
		want(t, "open", fs.Open(&root, e.Node, unix.O_RDWR, false, &o), 0)
		evict(fs)
		want(t, "unlink", fs.Unlink(&root, vfs.Root, name(t, "f")), 0)
		var a vfs.AttrOut
		want(t, "getattr", fs.Getattr(&root, e.Node, o.Handle, &a), 0)
		if a.Attr.Size != 7 || a.Attr.Nlink != 0 {
			t.Errorf("size %d, %d links", a.Attr.Size, a.Attr.Nlink)
		}
		if byNode, errno := getattr(fs, e.Node); errno != 0 || byNode != a.Attr {
			t.Errorf("getattr without the handle: %v, %+v", errno, byNode)
		}
		want(t, "truncate", fs.Setattr(&root, e.Node, o.Handle, &vfs.SetAttr{Valid: vfs.SetSize, Size: 3}, &a), 0)
		if a.Attr.Size != 3 {
			t.Errorf("size %d after truncate", a.Attr.Size)
		}
		want(t, "chmod", fs.Setattr(&root, e.Node, o.Handle, &vfs.SetAttr{Valid: vfs.SetMode, Mode: 0o600}, &a), 0)
	})
}

// TestCacheBound keeps more files in use than the cache may hold.
func TestCacheBound(t *testing.T) {
	dir := tempDir(t, "/dev/shm")
	const files = 100
	for i := range files {
		write(t, join(dir, fmt.Sprint(i)), fmt.Sprint(i))
	}
	fs := share(t, Config{Path: dir, FileHandles: HandlesMandatory, MaxCachedFDs: 8})
	ids := make([]vfs.NodeID, files)
	for i := range ids {
		ids[i] = walk(t, fs, fmt.Sprint(i)).Node
	}
	if n := fs.cache.len(); n > 8 {
		t.Errorf("%d descriptors cached after lookups", n)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 4 * files {
				n := (i*7 + g) % files
				if a, errno := getattr(fs, ids[n]); errno != 0 || a.Size != uint64(len(fmt.Sprint(n))) {
					t.Errorf("getattr of %d: %v, size %d", n, errno, a.Size)
				}
			}
		})
	}
	wg.Wait()
	want(t, "one more getattr", func() syscall.Errno { _, e := getattr(fs, ids[0]); return e }(), 0)
	_, errno := getattr(fs, ids[1])
	want(t, "and another", errno, 0)
	if n := fs.cache.len(); n > 8+4 {
		t.Errorf("%d descriptors cached", n)
	}
}

// TestPinOutlivesForget forgets a node while a call uses its descriptor.
func TestPinOutlivesForget(t *testing.T) {
	eachConfig(t, func(t *testing.T, fs *FS, dir string) {
		write(t, join(dir, "f"), "")
		e := walk(t, fs, "f")
		n, fd, errno := fs.pin(e.Node)
		want(t, "pin", errno, 0)
		fs.Forget(e.Node, 1)
		_, errno = getattr(fs, e.Node)
		want(t, "getattr after forget", errno, syscall.ESTALE)
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || st.Ino != e.Attr.Ino {
			t.Errorf("the pinned descriptor: %v, inode %d, want %d", err, st.Ino, e.Attr.Ino)
		}
		n.unpin()
		if err := unix.Fstat(fd, &st); err == nil && st.Ino == e.Attr.Ino {
			t.Error("the descriptor is still open")
		}
	})
}

func TestSubmounts(t *testing.T) {
	dir := tempDir(t, "/dev/shm")
	sub := join(dir, "sub")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", sub, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	mounted := true
	defer func() {
		if mounted {
			unix.Unmount(sub, unix.MNT_DETACH)
		}
	}()
	write(t, join(sub, "inner"), "inner")
	if err := os.Mkdir(join(sub, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, announce := range []bool{true, false} {
		for cfgName, cfg := range configs {
			t.Run(fmt.Sprint(cfgName, ", announced ", announce), func(t *testing.T) {
				cfg.Path, cfg.AnnounceSubmounts = dir, announce
				fs := share(t, cfg)
				e := walk(t, fs, "sub")
				if got := e.Attr.Flags&vfs.AttrSubmount != 0; got != announce {
					t.Errorf("the mounted directory is marked as such: %v", got)
				}
				inDir := walk(t, fs, "sub/dir")
				if inDir.Attr.Flags != 0 {
					t.Error("a directory inside is marked as a submount")
				}
				inner := walk(t, fs, "sub/inner")
				evict(fs)
				if a, errno := getattr(fs, inner.Node); errno != 0 || a.Size != 5 {
					t.Errorf("getattr in the submount: %v, size %d", errno, a.Size)
				}
				for _, id := range []vfs.NodeID{e.Node, inDir.Node, inner.Node} {
					fs.Forget(id, ^uint64(0))
				}
				if got := fs.mounts.len(); got > 1 {
					t.Errorf("%d mounts are held after everything was forgotten", got)
				}
			})
		}
	}
	if err := unix.Unmount(sub, 0); err != nil {
		t.Errorf("unmount after all was forgotten: %v", err)
	} else {
		mounted = false
	}
}

// TestSameNumberOnTwoMounts has two tmpfs, whose inode numbers are alike.
func TestSameNumberOnTwoMounts(t *testing.T) {
	dir := tempDir(t, "/dev/shm")
	var inos [2]uint64
	for i, d := range []string{"a", "b"} {
		d = join(dir, d)
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("none", d, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		defer unix.Unmount(d, unix.MNT_DETACH)
		write(t, join(d, "f"), d)
		var st unix.Stat_t
		if err := unix.Stat(join(d, "f"), &st); err != nil {
			t.Fatal(err)
		}
		inos[i] = st.Ino
	}
	if inos[0] != inos[1] {
		t.Fatalf("inode numbers %v differ; nothing is tested", inos)
	}
	for cfgName, cfg := range configs {
		t.Run(cfgName, func(t *testing.T) {
			cfg.Path = dir
			fs := share(t, cfg)
			if a, b := walk(t, fs, "a/f"), walk(t, fs, "b/f"); a.Node == b.Node {
				t.Error("two files have one node")
			}
		})
	}
}

// TestSpecialMountPoint binds a socket over a file. It cannot be used to open
// handles on its mount, and must not keep the others from having them.
func TestSpecialMountPoint(t *testing.T) {
	dir := tempDir(t, "/dev/shm")
	if err := unix.Mknod(join(dir, "socket"), unix.S_IFSOCK|0o600, 0); err != nil {
		t.Fatal(err)
	}
	write(t, join(dir, "point"), "")
	write(t, join(dir, "file"), "")
	if err := unix.Mount(join(dir, "socket"), join(dir, "point"), "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(join(dir, "point"), unix.MNT_DETACH)
	fs := share(t, Config{Path: dir})
	point := walk(t, fs, "point")
	if n := fs.nodes.get(point.Node); n.mount != nil || point.Attr.Mode&unix.S_IFMT != unix.S_IFSOCK {
		t.Errorf("the socket has mode %#o and a handle: %v", point.Attr.Mode, n.mount != nil)
	}
	if socket := walk(t, fs, "socket"); socket.Node == point.Node {
		t.Error("one node on two mounts")
	}
	if n := fs.nodes.get(walk(t, fs, "file").Node); n.mount == nil {
		t.Error("a file has no handle")
	}
}

// TestHandlesUnavailable shares a file system without file handles.
func TestHandlesUnavailable(t *testing.T) {
	const proc = "/proc/sys"
	if _, err := New(Config{Path: proc, FileHandles: HandlesMandatory}); err == nil {
		t.Error("New with mandatory handles succeeds on /proc")
	}
	fs := share(t, Config{Path: proc, FileHandles: HandlesPrefer})
	e := walk(t, fs, "kernel/ostype")
	if n := fs.nodes.get(e.Node); n.mount != nil {
		t.Error("the node has a handle")
	}
	if _, errno := getattr(fs, e.Node); errno != 0 {
		t.Error(errno)
	}
}

func TestNegativeEntries(t *testing.T) {
	dir := tempDir(t, "")
	ms := time.Millisecond
	for _, c := range []struct {
		cfg  Config
		want time.Duration
	}{
		{Config{}, 0},
		{Config{Cache: CacheNever}, 0},
		{Config{Cache: CacheAlways}, 24 * time.Hour},
		{Config{Cache: CacheMetadata, EntryTimeout: &ms}, ms},
		{Config{Cache: CacheAuto, EntryTimeout: &ms}, 0},
		{Config{Cache: CacheAuto, NegativeTimeout: &ms}, ms},
		{Config{Cache: CacheAlways, NegativeTimeout: new(time.Duration)}, 0},
	} {
		c.cfg.Path = dir
		fs := share(t, c.cfg)
		e := vfs.Entry{Node: 99}
		errno := fs.Lookup(&root, vfs.Root, name(t, "absent"), &e)
		if c.want == 0 {
			want(t, "lookup", errno, syscall.ENOENT)
		} else if errno != 0 || e.Node != 0 || e.EntryTTL != c.want {
			t.Errorf("%+v: %v, node %d for %v, want 0 for %v", c.cfg, errno, e.Node, e.EntryTTL, c.want)
		}
	}
}
