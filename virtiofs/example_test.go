package virtiofs_test

import (
	"context"
	"log"
	"os"
	"path/filepath"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vhostuser"
	"github.com/isthmus-fs/isthmus/virtiofs"
)

// A daemon that shares a directory with one VM.
func Example() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	fs, err := passthrough.New(passthrough.Config{Path: dir, Xattr: true})
	if err != nil {
		log.Fatal(err)
	}
	defer fs.Close()
	device, err := virtiofs.New(fuse.NewServer(fs, fuse.Options{}), virtiofs.Config{Tag: "src"})
	if err != nil {
		log.Fatal(err)
	}
	defer device.Close()

	listener, err := vhostuser.Listen(filepath.Join(dir, "vm.sock"), vhostuser.ListenOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // where a real daemon would wait for a signal
	conn, err := listener.Accept(ctx)
	if err != nil {
		return
	}
	if err := vhostuser.ServeConn(ctx, conn, device, vhostuser.Options{}); err != nil {
		log.Print(err)
	}
	// Output:
}
