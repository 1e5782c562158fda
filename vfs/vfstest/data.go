package vfstest

import (
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// pattern is n bytes that differ at every place within a page, so that data in
// the wrong place shows.
func pattern(n int) string {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return string(b)
}

const (
	keepSize  = unix.FALLOC_FL_KEEP_SIZE
	punchHole = unix.FALLOC_FL_PUNCH_HOLE | keepSize
	zeroRange = unix.FALLOC_FL_ZERO_RANGE
)

// dataScenarios read, write, append, truncate and copy.
func dataScenarios(s *suite) []scenario {
	big := pattern(3<<20 + 17)
	list := []scenario{
		{"offsets", []op{
			open("f", "f", creat|rdwr, 0o644), pwrite("f", "hello", 0), pwrite("f", "world", 10), pread("f", 100, 0),
			pread("f", 3, 4), pread("f", 10, 15), pread("f", 10, 14), pread("f", 10, 1000), pread("f", 0, 0),
			pwrite("f", "", 50), fstat("f"), pwrite("f", "J", 0), pread("f", 100, 0),
			pwrite("f", pattern(5000), 4094), pread("f", 9000, 0), pread("f", 1, 9093), fstat("f"),
		}},
		{"large", []op{
			mkfile("f", big, 0o644), cat("f"), open("f", "f", rdwr, 0),
			pread("f", 1<<20, 1<<20), pread("f", 1<<20, 1<<20+1), pread("f", 4<<20, 0),
			pwrite("f", pattern(1<<20), 12345), pread("f", 4<<20, 0), fstat("f"),
		}},
		{"append", []op{
			mkfile("f", "start ", 0o644), open("a", "f", wronly|appnd, 0), open("b", "f", rdwr|appnd, 0),
			pwrite("a", "one ", 0), pwrite("b", "two ", 3), pwrite("a", "three ", 1<<40), pread("b", 50, 0),
			truncate("f", 2), pwrite("b", "four", 0), cat("f"),
			open("c", "f", rdwr, 0), pwrite("c", "S", 0), pwrite("a", "!", 0), cat("f"),
		}},
		{"truncate", []op{
			mkfile("f", pattern(10000), 0o644), truncate("f", 5000), cat("f"), truncate("f", 5000), truncate("f", 9000), cat("f"),
			truncate("f", 0), cat("f"), truncate("f", 100), cat("f"),
			open("f", "f", rdwr, 0), fsetattr("f", vfs.SetAttr{Valid: vfs.SetSize, Size: 50}), fstat("f"),
			fsetattr("f", vfs.SetAttr{Valid: vfs.SetSize, Size: 70}), pread("f", 100, 0),
			open("r", "f", rdonly, 0), fails(syscall.EINVAL, fsetattr("r", vfs.SetAttr{Valid: vfs.SetSize, Size: 7})),
			chmod("f", 0o400), fsetattr("f", vfs.SetAttr{Valid: vfs.SetSize, Size: 3}), truncate("f", 2), cat("f"),
		}},
		{"offsets beyond the end of time", []op{
			open("f", "f", creat|rdwr, 0o644),
			fails(syscall.EINVAL, pread("f", 10, 1<<63)),
			fails(syscall.EINVAL, pwrite("f", "x", 1<<63)),
			whatever(pread("f", 10, 1<<63-1)),
			fails(syscall.EINVAL, pwrite("f", "x", 1<<63-1)),
			whatever(pwrite("f", "x", 1<<62)),
			whatever(fsetattr("f", vfs.SetAttr{Valid: vfs.SetSize, Size: 1<<63 - 1})),
			fsetattr("f", vfs.SetAttr{Valid: vfs.SetSize, Size: 0}), fstat("f"),
		}},
	}
	if s.Lacks&NoFallocate == 0 {
		list = append(list, scenario{"fallocate", []op{
			mkfile("f", pattern(20000), 0o644), open("f", "f", rdwr, 0),
			fallocate("f", 0, 0, 30000), fstat("f"), fallocate("f", keepSize, 30000, 10000), fstat("f"),
			fallocate("f", punchHole, 4096, 4096), pread("f", 30000, 0), fallocate("f", punchHole, 100, 50), pread("f", 30000, 0),
			whatever(fallocate("f", zeroRange, 9000, 30000)), fstat("f"), pread("f", 40000, 0),
			fails(syscall.EINVAL, fallocate("f", 0, 0, 0)), fails(syscall.EINVAL, fallocate("f", 0, 1<<63, 1)),
			whatever(fallocate("f", 0, 1<<63-1, 1<<63-1)),
			fails(syscall.EOPNOTSUPP, fallocate("f", unix.FALLOC_FL_PUNCH_HOLE, 0, 4096)),
			fails(syscall.EOPNOTSUPP, fallocate("f", 0x4000, 0, 4096)),
			open("r", "f", rdonly, 0), fails(syscall.EBADF, fallocate("r", 0, 0, 4096)), fstat("f"),
		}})
	}
	if s.Lacks&NoCopyRange == 0 {
		list = append(list, scenario{"copy_file_range", []op{
			mkfile("a", big, 0o644), open("a", "a", rdwr, 0), open("b", "b", creat|rdwr, 0o644),
			copyRange("a", "b", 0, 0, 1<<20, 0), fstat("b"), copyRange("a", "b", 1<<20+5, 3<<20, 100000, 0), cat("b"),
			copyRange("a", "b", 3<<20, 0, 1<<20, 0), copyRange("a", "b", 4<<20, 0, 10, 0), copyRange("a", "b", 0, 0, 0, 0),
			copyRange("a", "a", 0, 2<<20, 4096, 0), fails(syscall.EINVAL, copyRange("a", "a", 0, 10, 4096, 0)),
			fails(syscall.EINVAL, copyRange("a", "b", 0, 0, 10, 1)),
			open("r", "b", rdonly, 0), fails(syscall.EBADF, copyRange("a", "r", 0, 0, 10, 0)),
			open("w", "a", wronly, 0), fails(syscall.EBADF, copyRange("w", "b", 0, 0, 10, 0)),
			cat("a"), cat("b"),
		}})
	}
	return list
}

// testPieces reads and writes through buffers in many pieces, some empty.
func (s *suite) testPieces(t *testing.T) {
	c := s.root(t)
	of, errno := c.open("pieces", creat|rdwr, 0o644)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer of.close()
	f := of.(*openFile)
	want := pattern(300_000)
	for _, size := range []uint64{1 << 63, ^uint64(0)} {
		if _, errno := c.setattrOf(f.node, f.h, vfs.SetAttr{Valid: vfs.SetSize, Size: size}); errno != syscall.EINVAL && errno != syscall.EFBIG {
			t.Errorf("Setattr of size %#x: %s, want EINVAL or EFBIG", size, errnoName(errno))
		}
	}
	for _, sizes := range [][]int{{300_000}, {1}, {0, 1, 2, 0, 3}, {4096}, {255, 0, 4097}, {7, 100_000}} {
		cut := func(b []byte) (iov []unix.Iovec) {
			// The kernel takes at most MaxIov pieces in one call, and so
			// does the contract: the last takes the rest.
			for i := 0; len(b) > 0 && len(iov) < oslib.MaxIov-1; i++ {
				n := min(sizes[i%len(sizes)], len(b))
				iov = append(iov, oslib.Iov(b[:n]))
				b = b[n:]
			}
			return append(iov, oslib.Iov(b))
		}
		if _, errno := c.setattrOf(f.node, f.h, vfs.SetAttr{Valid: vfs.SetSize}); errno != 0 {
			t.Fatal(errno)
		}
		n, errno := s.FS.Write(&vfs.Request{}, f.node, f.h, cut([]byte(want)), 3, rdwr, 0)
		if n != len(want) || errno != 0 {
			t.Errorf("pieces %v: Write gives %d, %s; want %d", sizes, n, errnoName(errno), len(want))
		}
		got := make([]byte, len(want)+3)
		n, errno = s.FS.Read(&vfs.Request{}, f.node, f.h, cut(got), 0, rdwr)
		if n != len(got) || errno != 0 || string(got) != "\x00\x00\x00"+want {
			t.Errorf("pieces %v: Read gives %d, %s, equal %v; want %d", sizes, n, errnoName(errno), string(got[3:]) == want, len(got))
		}
	}
}

// testWriteBack writes data of the guest's cache to a file that is open for
// appending: they go where they belong.
func (s *suite) testWriteBack(t *testing.T) {
	c := s.root(t)
	of, errno := c.open("cache", creat|rdwr|appnd, 0o644)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer of.close()
	f := of.(*openFile)
	f.pwrite("0123456789", 0)
	n, errno := s.FS.Write(&vfs.Request{}, f.node, f.h, []unix.Iovec{oslib.Iov([]byte("ab"))}, 4, rdwr|appnd, vfs.WriteCache)
	if n != 2 || errno != 0 {
		t.Fatalf("Write with WriteCache gives %d, %s", n, errnoName(errno))
	}
	if got, _ := f.pread(100, 0); got != "0123ab6789" {
		t.Errorf("after a write-back at 4 the file is %q, want %q", got, "0123ab6789")
	}
}

// testFault reads into and writes from memory that cannot be touched.
func (s *suite) testFault(t *testing.T) {
	c := s.root(t)
	of, errno := c.open("fault", creat|rdwr, 0o644)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer of.close()
	f := of.(*openFile)
	f.pwrite(strings.Repeat("x", 4096), 0)
	gone, err := unix.Mmap(-1, 0, 4096, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(gone)
	iov := []unix.Iovec{oslib.Iov(gone)}
	if n, errno := s.FS.Read(&vfs.Request{}, f.node, f.h, iov, 0, rdwr); errno != syscall.EFAULT {
		t.Errorf("Read into it gives %d, %s; want EFAULT", n, errnoName(errno))
	}
	if n, errno := s.FS.Write(&vfs.Request{}, f.node, f.h, iov, 0, rdwr, 0); errno != syscall.EFAULT {
		t.Errorf("Write from it gives %d, %s; want EFAULT", n, errnoName(errno))
	}
}
