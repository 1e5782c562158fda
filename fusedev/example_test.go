package fusedev_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fusedev"
	"github.com/isthmus-fs/isthmus/passthrough"
)

// A directory is seen at another place, as a guest that shared it would see it.
func Example() {
	from, _ := os.MkdirTemp("", "from")
	to, _ := os.MkdirTemp("", "to")
	defer os.RemoveAll(from)
	defer os.Remove(to)
	os.WriteFile(filepath.Join(from, "greeting"), []byte("hello"), 0o644)

	fs, err := passthrough.New(passthrough.Config{Path: from})
	if err != nil {
		log.Fatal(err)
	}
	defer fs.Close()
	ctx, unmount := context.WithCancel(context.Background())
	mnt, err := fusedev.Mount(ctx, fuse.NewServer(fs, fuse.Options{}), to, fusedev.Options{ReadOnly: true})
	if err != nil {
		log.Fatal(err)
	}
	// Other processes use the mount; the one that serves it must not.
	text, err := exec.Command("cat", filepath.Join(to, "greeting")).Output()
	fmt.Printf("%s %v\n", text, err)
	fmt.Println(exec.Command("rm", filepath.Join(to, "greeting")).Run())

	unmount()
	fmt.Println(mnt.Wait())
	// Output:
	// hello <nil>
	// exit status 1
	// <nil>
}
