package scratch_test

import (
	"fmt"
	"log"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/scratch"
	"github.com/isthmus-fs/isthmus/vfs"
)

// A space of 64 KiB is filled, emptied and filled again, as a guest would.
func Example() {
	fs, err := scratch.New(scratch.Options{Size: 64 << 10})
	if err != nil {
		log.Fatal(err)
	}
	defer fs.Close()

	r := &vfs.Request{}
	name, _ := vfs.MakeName("log")
	var e vfs.Entry
	var o vfs.Opened
	if errno := fs.Create(r, vfs.Root, name, unix.O_RDWR, 0o600, &e, &o); errno != 0 {
		log.Fatal(errno)
	}
	data := []unix.Iovec{oslib.Iov(make([]byte, 100<<10))}
	n, _ := fs.Write(r, e.Node, o.Handle, data, 0, unix.O_RDWR, 0)
	_, errno := fs.Write(r, e.Node, o.Handle, data, uint64(n), unix.O_RDWR, 0)
	fmt.Println(n, errno == syscall.ENOSPC)

	var a vfs.AttrOut
	fs.Setattr(r, e.Node, o.Handle, &vfs.SetAttr{Valid: vfs.SetSize, Size: 10}, &a)
	fmt.Println(fs.Stats().Pages)
	fs.Release(r, e.Node, o.Handle, &vfs.ReleaseIn{})
	fs.Forget(e.Node, 1)
	fs.Unlink(r, vfs.Root, name)
	fmt.Println(fs.Stats().Pages)
	// Output:
	// 65536 true
	// 1
	// 0
}
