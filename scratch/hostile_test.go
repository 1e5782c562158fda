package scratch

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// memory maps n pages that a test may take away.
func memory(t testing.TB, n int) []byte {
	t.Helper()
	b, err := unix.Mmap(-1, 0, n*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(b) })
	return b
}

// TestFaults writes from memory of which a page is missing, at all places of a write
// and of a file, and reads into such. A write does what it says, and leaves nothing
// behind: no page, nothing behind the end, no old data.
func TestFaults(t *testing.T) {
	const pages = 6
	for _, dir := range []string{"", "/tmp"} {
		fs := newSpace(t, Options{Dir: dir, Size: 64 * pageSize})
		src := memory(t, pages)
		for _, tt := range []struct {
			name    string
			prepare func(f *open)
		}{
			{"new file", func(*open) {}},
			{"over data", func(f *open) { f.pwrite(bytes.Repeat([]byte{1}, 5*pageSize), 0) }},
			{"over reserved pages", func(f *open) { f.fallocate(keepSize, 0, 5*pageSize) }},
			{"holes and pages", func(f *open) {
				f.pwrite([]byte{1}, 2*pageSize+7)
				f.fallocate(keepSize, 4*pageSize, pageSize)
			}},
		} {
			for missing := range pages {
				for _, off := range []uint64{0, 100, pageSize - 1, 3 * pageSize} {
					what := fmt.Sprintf("%q, %s, page %d missing, at %d", dir, tt.name, missing, off)
					f := create(t, fs, "f")
					tt.prepare(f)
					want := f.contents()
					// Fresh data, but for the page that is missing.
					for i := range src {
						src[i] = byte(i*7 + missing)
					}
					plain := bytes.Clone(src)
					if err := unix.Mprotect(src[missing*pageSize:][:pageSize], unix.PROT_NONE); err != nil {
						t.Fatal(err)
					}
					n, errno := f.pwrite(src[50:len(src)-50], off)
					if errno == 0 && (n <= 0 || n > max(missing*pageSize-50, 0)) || errno != 0 && (errno != syscall.EFAULT || n != 0) {
						t.Errorf("%s: Write gives %d, %v", what, n, errno)
					}
					if n > 0 {
						grown := make([]byte, max(uint64(len(want)), off+uint64(n)))
						copy(grown, want)
						copy(grown[off:], plain[50:50+n])
						want = grown
					}
					if got := f.contents(); !bytes.Equal(got, want) {
						t.Errorf("%s: after a write of %d the file has %d bytes, want %d; the same: false", what, n, len(got), len(want))
					}
					checkSound(t, fs)
					// What comes with a longer file is zero.
					f.truncate(20 * pageSize)
					got := f.contents()
					if len(got) < len(want) || !bytes.Equal(got[:len(want)], want) || bytes.Count(got[len(want):], []byte{0}) != len(got)-len(want) {
						t.Errorf("%s: behind the end there is something", what)
					}
					if n, errno := f.pread(src, 0); errno != 0 && errno != syscall.EFAULT || errno == 0 && (n > missing*pageSize || n == 0) {
						t.Errorf("%s: Read gives %d, %v", what, n, errno)
					}
					if err := unix.Mprotect(src, unix.PROT_READ|unix.PROT_WRITE); err != nil {
						t.Fatal(err)
					}
					f.close()
					fs.Unlink(root, vfs.Root, name("f"))
					if s := fs.Stats(); s.Pages != 0 {
						t.Fatalf("%s: %d pages are left", what, s.Pages)
					}
				}
			}
		}
	}
}

// TestVanishing has memory come and go while it is written from and read into.
func TestVanishing(t *testing.T) {
	const pages = 8
	fs := newSpace(t, Options{Size: 200 * pageSize})
	mem := memory(t, pages)
	stop := make(chan struct{})
	var flips, calls sync.WaitGroup
	flips.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				unix.Mprotect(mem, unix.PROT_READ|unix.PROT_WRITE)
				return
			default:
			}
			part := mem[i%pages*pageSize:][:pageSize]
			unix.Mprotect(part, unix.PROT_NONE)
			unix.Mprotect(part, unix.PROT_READ|unix.PROT_WRITE)
		}
	})
	for k := range 3 {
		calls.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(k), 1))
			f := create(t, fs, fmt.Sprint("f", k))
			for range 1500 {
				off := uint64(rng.IntN(40 * pageSize))
				part := mem[rng.IntN(pageSize):][:rng.IntN((pages-1)*pageSize)+1]
				call := f.pwrite
				switch rng.IntN(6) {
				case 0, 1:
					call = f.pread
				case 2:
					f.truncate(off)
				case 3:
					f.fallocate(punchHole, off, uint64(len(part)))
				}
				if n, errno := call(part, off); n > len(part) || errno != 0 && errno != syscall.EFAULT && errno != syscall.ENOSPC {
					t.Errorf("a call with memory that comes and goes: %d, %v", n, errno)
				}
			}
			f.close()
		})
	}
	calls.Wait()
	close(stop)
	flips.Wait()
	checkSound(t, fs)
}

// TestBadIovecs passes lists that no guest should get through, but that a bug
// elsewhere might let through.
func TestBadIovecs(t *testing.T) {
	fs := newSpace(t, Options{Size: 64 * pageSize})
	f := create(t, fs, "f")
	f.pwrite(bytes.Repeat([]byte("data"), 5000), 0)
	before := f.contents()
	one := make([]byte, 16)
	huge := oslib.Iov(one)
	huge.Len = math.MaxUint64
	half := oslib.Iov(one)
	half.Len = 1 << 63
	gone := unix.Iovec{Len: pageSize}
	for _, tt := range []struct {
		what string
		iov  []unix.Iovec
	}{
		{"no memory", []unix.Iovec{gone}},
		{"no memory, many times", []unix.Iovec{gone, gone, {}, gone}},
		{"nothing", nil},
		{"empty ones", make([]unix.Iovec, 3000)},
		{"an empty one with no memory behind it", []unix.Iovec{{}, gone}},
	} {
		n, errno := fs.Read(root, f.id, f.h, tt.iov, 0, unix.O_RDWR)
		if errno != 0 && errno != syscall.EFAULT && errno != syscall.EINVAL || errno == 0 && n != 0 {
			t.Errorf("Read with %s: %d, %v", tt.what, n, errno)
		}
		n, errno = fs.Write(root, f.id, f.h, tt.iov, 30_000, unix.O_RDWR, 0)
		if errno != 0 && errno != syscall.EFAULT && errno != syscall.EINVAL || errno == 0 && n != 0 {
			t.Errorf("Write with %s: %d, %v", tt.what, n, errno)
		}
	}
	if got := f.contents(); !bytes.Equal(got, before) {
		t.Errorf("a refused write changed the file")
	}
	for _, iov := range [][]unix.Iovec{{huge}, {half, half}, {huge, huge, huge}} {
		if n := length(iov); n != maxIO {
			t.Errorf("a list of more than there is counts %d bytes", n)
		}
	}
	if got := length([]unix.Iovec{{Len: maxIO - 1}, {Len: 1}}); got != maxIO {
		t.Errorf("the longest list counts %d bytes", got)
	}
}

// TestManyPieces writes and reads lists longer than the host takes in one call, over
// pages that lie apart.
func TestManyPieces(t *testing.T) {
	fs := newSpace(t, Options{})
	f, g := create(t, fs, "f"), create(t, fs, "g")
	for i := range uint64(200) { // in turns, so that pages of f do not lie together
		f.pwrite([]byte{1}, i*3*pageSize)
		g.pwrite([]byte{1}, i*pageSize)
	}
	want := make([]byte, 600*pageSize)
	for i := range want {
		want[i] = byte(i * 31 >> 3)
	}
	for _, size := range []int{1, 100, 511, 4097, 70_000} {
		pieces := func(b []byte) (iov []unix.Iovec) {
			for len(b) > 0 {
				n := min(size, len(b))
				iov = append(iov, oslib.Iov(b[:n]))
				b = b[n:]
			}
			return iov
		}
		data := want[:min(len(want), size*3000)]
		if n, errno := fs.Write(root, f.id, f.h, pieces(data), 5, unix.O_RDWR, 0); n != len(data) || errno != 0 {
			t.Errorf("pieces of %d: Write gives %d, %v, want %d", size, n, errno, len(data))
		}
		got := make([]byte, len(data))
		if n, errno := fs.Read(root, f.id, f.h, pieces(got), 5, unix.O_RDWR); n != len(got) || errno != 0 || !bytes.Equal(got, data) {
			t.Errorf("pieces of %d: Read gives %d, %v, want %d", size, n, errno, len(got))
		}
	}
}

// TestHostileNumbers passes offsets, lengths and flags from the edges.
func TestHostileNumbers(t *testing.T) {
	fs := newSpace(t, Options{Size: 64 * pageSize})
	f := create(t, fs, "f")
	edges := []uint64{0, 1, pageSize - 1, pageSize, 1<<31 - 1, 1 << 32, 1 << 51, 1<<52 - 1, 1<<62 + 3, math.MaxInt64 - pageSize, math.MaxInt64 - 1, math.MaxInt64, 1 << 63, math.MaxUint64}
	var o vfs.Opened
	for _, a := range edges {
		for _, b := range edges {
			for mode := range uint32(0x100) {
				f.fallocate(mode, a, b)
			}
			fs.CopyFileRange(root, &vfs.CopyRange{SrcNode: f.id, SrcHandle: f.h, SrcOff: a, DstNode: f.id, DstHandle: f.h, DstOff: b, Len: b})
			fs.CopyFileRange(root, &vfs.CopyRange{SrcNode: f.id, SrcHandle: f.h, SrcOff: b, DstNode: f.id, DstHandle: f.h, DstOff: a, Len: math.MaxUint64})
			f.setattr(vfs.SetAttr{Valid: ^vfs.SetAttrMask(0), Size: a, Mode: uint32(b), UID: uint32(a), Atime: vfs.Timespec{Sec: int64(a), Nsec: uint32(b)}})
			fs.Lseek(root, f.id, f.h, a, uint32(b))
		}
		for whence := range uint32(8) {
			fs.Lseek(root, f.id, f.h, a, whence)
		}
		for _, n := range []int{0, 1, 3 * pageSize} {
			f.pwrite(make([]byte, n), a)
			f.pread(make([]byte, n), a)
			fs.Write(root, f.id, f.h, []unix.Iovec{oslib.Iov(make([]byte, n))}, a, uint32(a)|unix.O_APPEND, vfs.WriteFlags(a))
		}
		fs.Rename(root, vfs.Root, name("f"), vfs.Root, name("f"), uint32(a))
		fs.Setxattr(root, f.id, []byte("user.x\x00"), []byte("v"), uint32(a), true)
		fs.Access(root, f.id, uint32(a))
		var e vfs.Entry
		if fs.Mknod(root, vfs.Root, name("n"), uint32(a), uint32(a), &e) == 0 {
			fs.Forget(e.Node, 1)
			fs.Unlink(root, vfs.Root, name("n"))
		}
		if fs.Open(root, f.id, uint32(a)&^unix.O_TRUNC, true, &o) == 0 {
			fs.Release(root, f.id, o.Handle, nil)
		}
		if fs.Opendir(root, vfs.Root, uint32(a), &o) == 0 {
			fs.Readdir(root, vfs.Root, o.Handle, a, &names{})
			fs.Releasedir(root, vfs.Root, o.Handle)
		}
		checkSound(t, fs)
	}
	for _, b := range [][]byte{nil, {}, {0}, []byte("x"), []byte("user.x"), []byte("user.x\x00y\x00"), []byte("\x00\x00")} {
		var e vfs.Entry
		if errno := fs.Symlink(root, vfs.Root, name("l"), b, &e); errno == 0 {
			t.Errorf("Symlink to %q succeeds", b)
		}
		if errno := fs.Setxattr(root, f.id, b, nil, 0, false); errno == 0 {
			t.Errorf("Setxattr of %q succeeds", b)
		}
		if _, errno := fs.Getxattr(root, f.id, b, nil); errno == 0 {
			t.Errorf("Getxattr of %q succeeds", b)
		}
	}
}

// TestHandlesAreBounded opens a file as often as it goes.
func TestHandlesAreBounded(t *testing.T) {
	fs := newSpace(t, Options{})
	f := create(t, fs, "f")
	var o vfs.Opened
	opened := 1
	for ; opened <= maxHandles; opened++ {
		if errno := fs.Open(root, f.id, 0, false, &o); errno == syscall.ENFILE {
			break
		} else if errno != 0 {
			t.Fatal(errno)
		}
	}
	if opened != maxHandles {
		t.Errorf("%d handles are open, want %d", opened, maxHandles)
	}
	fs.Destroy()
	if s := fs.Counts(); s.Handles != 0 || s.Nodes != 1 {
		t.Errorf("after Destroy: %+v", s)
	}
}
