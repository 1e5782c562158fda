package fuse_test

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fuse/fusetest"
	"github.com/isthmus-fs/isthmus/vfs"
)

// oneFile is a file system with nothing but an empty file called "hello".
type oneFile struct{ vfs.Unimplemented }

func (oneFile) Lookup(_ *vfs.Request, parent vfs.NodeID, name vfs.Name, out *vfs.Entry) syscall.Errno {
	if parent != vfs.Root || name.String() != "hello" {
		return syscall.ENOENT
	}
	out.Node = 2
	out.Attr = vfs.Attr{Ino: 2, Mode: unix.S_IFREG | 0o444, Nlink: 1}
	return 0
}

// A file system is served by a Server; here it is asked by a Client instead of
// a guest.
func ExampleServer() {
	server := fuse.NewServer(oneFile{}, fuse.Options{})
	guest := fusetest.NewClient(fusetest.NewDirect(server))

	agreed, errno := guest.Init(fusetest.Linux())
	fmt.Println(agreed.Major, agreed.Minor, errno == 0)

	entry, errno := guest.Lookup(vfs.Root, "hello")
	fmt.Printf("%d %#o %v\n", entry.Node, entry.Attr.Mode, errno == 0)

	_, errno = guest.Lookup(vfs.Root, "goodbye")
	fmt.Println(errno)
	// Output:
	// 7 45 true
	// 2 0100444 true
	// no such file or directory
}
