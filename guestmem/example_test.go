package guestmem_test

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/oslib"
)

func Example() {
	fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := unix.Ftruncate(fd, 0x4000); err != nil {
		fmt.Println(err)
		return
	}
	var space guestmem.Space
	defer space.Close()
	// The Space closes fd.
	if err := space.Replace([]guestmem.Region{
		{GPA: 0, Size: 0x1000, UVA: 0x7f0000000000, FD: fd},
		{GPA: 0x1000, Size: 0x1000, UVA: 0x7f0000002000, FD: fd, Offset: 0x2000},
	}); err != nil {
		fmt.Println(err)
		return
	}

	view := space.Acquire()
	defer view.Release()
	iov, ok := view.Iovecs(nil, 0xffe, 4)
	fmt.Println(ok, len(iov), oslib.IovLen(iov))
	iov, ok = view.Iovecs(nil, 0x1ffe, 4)
	fmt.Println(ok, len(iov), oslib.IovLen(iov), iov[0].Base == nil)
	// Output:
	// true 2 4
	// false 1 4 true
}
