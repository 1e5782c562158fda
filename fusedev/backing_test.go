package fusedev_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fusedev"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
)

// backed is a passthrough file system that names its host files: those that this
// process has open with the number of the node's inode.
type backed struct {
	*passthrough.FS

	mu    sync.Mutex
	files map[vfs.Handle]*os.File
	reads int
	named int
	deny  atomic.Bool
}

func newBacked(fs *passthrough.FS) *backed {
	return &backed{FS: fs, files: make(map[vfs.Handle]*os.File)}
}

func (b *backed) Backing(node vfs.NodeID, h vfs.Handle) (int, bool) {
	var out vfs.AttrOut
	if b.deny.Load() || b.Getattr(new(vfs.Request), node, h, &out) != 0 {
		return 0, false
	}
	f, err := openOf(out.Attr.Ino)
	if err != nil {
		return 0, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.files[h] = f
	b.named++
	return int(f.Fd()), true
}

// openOf returns a duplicate of a descriptor of a regular file with an inode
// number.
func openOf(ino uint64) (*os.File, error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil || st.Ino != ino || st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_PATH != 0 {
			continue
		}
		if dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err == nil {
			return os.NewFile(uintptr(dup), "backing"), nil
		}
	}
	return nil, fmt.Errorf("inode %d is not open", ino)
}

func (b *backed) Release(r *vfs.Request, node vfs.NodeID, h vfs.Handle, in *vfs.ReleaseIn) syscall.Errno {
	b.mu.Lock()
	if f := b.files[h]; f != nil {
		f.Close()
		delete(b.files, h)
	}
	b.mu.Unlock()
	return b.FS.Release(r, node, h, in)
}

func (b *backed) Read(r *vfs.Request, node vfs.NodeID, h vfs.Handle, dst []unix.Iovec, off uint64, flags uint32) (int, syscall.Errno) {
	b.mu.Lock()
	b.reads++
	b.mu.Unlock()
	return b.FS.Read(r, node, h, dst, off, flags)
}

// unnamed names no files.
type unnamed struct{}

func (unnamed) Backing(vfs.NodeID, vfs.Handle) (int, bool) { return 0, false }

// mountBacked mounts a directory whose files have backing files.
func mountBacked(t *testing.T, cache passthrough.CachePolicy) (from, to string, b *backed) {
	t.Helper()
	from, to = tempDir(t, 0o755), tempDir(t, 0o755)
	fs, err := passthrough.New(passthrough.Config{Path: from, Logger: quiet, KillPriv: true, Cache: cache})
	if err != nil {
		t.Fatal(err)
	}
	b = newBacked(fs)
	ctx, cancel := context.WithCancel(context.Background())
	m, err := fusedev.Mount(ctx, fuse.NewServer(b, fuse.Options{Logger: quiet}), to, fusedev.Options{Backing: b, Logger: testLogger(t)})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := m.Wait(); err != nil {
			t.Error(err)
		}
		fs.Close()
	})
	if !m.Passthrough() {
		t.Fatal("the kernel did not offer FUSE_PASSTHROUGH")
	}
	b.deny.Store(true)
	settle(t, from, to)
	b.deny.Store(false)
	b.mu.Lock()
	b.reads = 0
	b.mu.Unlock()
	return from, to, b
}

func (b *backed) counts() (reads, named int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reads, b.named
}

// TestTheKernelReadsBackingFiles of files that were opened and created, whatever may be
// cached, and the file system sees neither reads nor writes.
func TestTheKernelReadsBackingFiles(t *testing.T) {
	for name, cache := range map[string]passthrough.CachePolicy{"auto": passthrough.CacheAuto, "always": passthrough.CacheAlways} {
		t.Run(name, func(t *testing.T) { testBackingFiles(t, cache) })
	}
}

func testBackingFiles(t *testing.T, cache passthrough.CachePolicy) {
	from, to, b := mountBacked(t, cache)
	text := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	write(t, from+"/old", string(text))
	write(t, to+"/new", string(text))
	for _, name := range []string{"/old", "/new"} {
		for _, dir := range []string{from, to} {
			if got, err := os.ReadFile(dir + name); err != nil || !bytes.Equal(got, text) {
				t.Errorf("%s%s: %d bytes, %v", dir, name, len(got), err)
			}
		}
	}
	f, err := os.OpenFile(to+"/old", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	again, err := os.Open(to + "/old")
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, err := f.WriteAt([]byte("changed"), 100_000); err != nil {
		t.Fatal(err)
	}
	page, err := unix.Mmap(int(again.Fd()), 98_304, 4096, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(page)
	if got := page[100_000-98_304:][:7]; string(got) != "changed" {
		t.Errorf("mapped: %q", got)
	}
	if reads, named := b.counts(); reads != 0 || named != 4 {
		t.Errorf("%d reads came to the file system, %d files were named; want 0, 4", reads, named)
	}
}

// TestOpenFilesOfANodeAreOfOneKind, which is that of the first.
func TestOpenFilesOfANodeAreOfOneKind(t *testing.T) {
	from, to, b := mountBacked(t, passthrough.CacheAuto)
	write(t, from+"/f", "text")
	b.deny.Store(true)
	first, err := os.Open(to + "/f")
	if err != nil {
		t.Fatal(err)
	}
	b.deny.Store(false)
	second, err := os.Open(to + "/f")
	if err != nil {
		t.Fatalf("open beside one without a backing file: %v", err)
	}
	for _, f := range []*os.File{first, second} {
		if got := make([]byte, 4); readFull(f, got) != nil || string(got) != "text" {
			t.Errorf("read %q", got)
		}
		f.Close()
	}
	reads, named := b.counts()
	if reads == 0 || named != 0 {
		t.Errorf("%d reads came to the file system, %d files were named; want some, 0", reads, named)
	}
	// RELEASE comes when it comes; from then on files are backed.
	for tries := 0; ; tries++ {
		if got, err := os.ReadFile(to + "/f"); err != nil || string(got) != "text" {
			t.Fatalf("read %q, %v", got, err)
		}
		if _, named := b.counts(); named != 0 {
			break
		}
		if tries == 10_000 {
			t.Fatal("the file is never backed again")
		}
	}
}

func readFull(f *os.File, buf []byte) error {
	_, err := f.ReadAt(buf, 0)
	return err
}
