package vfstest

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// sparseScenarios use files that are nearly empty, one of 5 GB.
func sparseScenarios(*suite) []scenario {
	const gig = 1 << 30
	const block = 1 << 16
	data, hole := uint32(unix.SEEK_DATA), uint32(unix.SEEK_HOLE)
	return []scenario{
		{"five gigabytes", []op{
			open("f", "f", creat|rdwr, 0o644), fsetattr("f", vfs.SetAttr{Valid: vfs.SetSize, Size: 5*gig + 1}), fstat("f"), blocks("f"),
			pwrite("f", pattern(block), 0), pwrite("f", pattern(block), 3*gig), pwrite("f", pattern(block), 4*gig+block/2), pwrite("f", "e", 5*gig),
			pread("f", 3*block, 3*gig-block), pread("f", block, 2*gig), pread("f", 10, 5*gig-5), fsync("f", false), blocks("f"),
			seek("f", 0, data), seek("f", 0, hole), seek("f", block, data), seek("f", 2*gig, data), seek("f", 3*gig+5, data), seek("f", 3*gig, hole),
			seek("f", 4*gig, data), seek("f", 5*gig, data), seek("f", 5*gig, hole), fails(syscall.ENXIO, seek("f", 5*gig+1, data)), fails(syscall.ENXIO, seek("f", 5*gig+1, hole)),
			fallocate("f", punchHole, 3*gig, block), seek("f", block, data), pread("f", block, 3*gig), fstat("f"), blocks("f"),
			fallocate("f", punchHole, 0, 5*gig), fsync("f", false), blocks("f"), fails(syscall.ENXIO, seek("f", 5*gig+1, data)), fstat("f"),
		}},
		{"seek", []op{
			mkfile("f", pattern(2*block), 0o644), open("f", "f", rdwr, 0), seek("f", 0, data), seek("f", 0, hole), seek("f", 2*block-1, data), seek("f", 2*block-1, hole),
			fails(syscall.ENXIO, seek("f", 2*block, data)), fails(syscall.ENXIO, seek("f", 1<<62, hole)), fails(syscall.ENXIO, seek("f", 1<<64-1, data)),
			fails(syscall.EINVAL, seek("f", 0, 9)), seek("f", 0, unix.SEEK_END), mkfile("e", "", 0o644), open("e", "e", rdonly, 0),
			fails(syscall.ENXIO, seek("e", 0, data)), fails(syscall.ENXIO, seek("e", 0, hole)),
		}},
		{"reserved", []op{
			open("f", "f", creat|rdwr, 0o644), fallocate("f", 0, 0, 1<<20), fstat("f"), blocks("f"), pread("f", 4096, 1<<19),
			open("g", "g", creat|rdwr, 0o644), fallocate("g", keepSize, 1<<20, 1<<20), fstat("g"), blocks("g"), truncate("g", 0), fstat("g"),
		}},
	}
}

// blocks compares how much room a file takes, to the megabyte: how blocks are
// laid out differs from file to file.
func blocks(p string) op {
	return op{text: "blocks(" + p + ")", run: func(a *actor) (any, syscall.Errno) {
		at, errno := a.stat(p)
		return (at.blocks + 1024) >> 11, errno
	}}
}

// testBlocks checks that a file of holes takes no room and one of data does.
func (s *suite) testBlocks(t *testing.T) {
	c := s.root(t)
	f, errno := c.open("room", creat|rdwr, 0o644)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer f.close()
	if a, errno := f.setattr(vfs.SetAttr{Valid: vfs.SetSize, Size: 1 << 40}); errno != 0 || a.blocks > 64 {
		t.Errorf("a terabyte of nothing takes %d blocks of 512 bytes, %s", a.blocks, errnoName(errno))
	}
	f.pwrite(pattern(1<<20), 1<<39)
	f.fsync(false)
	if a, errno := f.stat(); errno != 0 || a.blocks < 2048 || a.blocks > 4096 {
		t.Errorf("a megabyte in it takes %d blocks of 512 bytes, %s", a.blocks, errnoName(errno))
	}
}
