package tree_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"syscall"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/rules"
	"github.com/isthmus-fs/isthmus/tree"
	"github.com/isthmus-fs/isthmus/vfs"
)

// Two host directories, one of them read-only, become one tree. A mount is removed
// while a guest has its directory.
func Example() {
	dir, err := os.MkdirTemp("", "tree-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	fs := tree.New(tree.Config{})
	for _, path := range []string{"/src", "/opt/tools"} {
		host := filepath.Join(dir, filepath.Base(path))
		if err := os.Mkdir(host, 0o755); err != nil {
			log.Fatal(err)
		}
		share, err := passthrough.New(passthrough.Config{Path: host})
		if err != nil {
			log.Fatal(err)
		}
		defer share.Close()
		var child vfs.FileSystem = share
		if path == "/opt/tools" {
			child = rules.ReadOnly(share)
		}
		if err := fs.Mount(path, child); err != nil {
			log.Fatal(err)
		}
	}

	// From here on fs is for a door, such as package virtiofs. This is what a
	// guest does through it.
	if _, errno := fs.Init(vfs.FeatSubmounts); errno != 0 {
		log.Fatal(errno)
	}
	r := &vfs.Request{}
	lookup := func(parent vfs.NodeID, s string) vfs.Entry {
		var e vfs.Entry
		name, _ := vfs.MakeName(s)
		if errno := fs.Lookup(r, parent, name, &e); errno != 0 {
			log.Fatal(s, ": ", errno)
		}
		return e
	}
	tools := lookup(lookup(vfs.Root, "opt").Node, "tools")
	name, _ := vfs.MakeName("new")
	fmt.Println("submount:", tools.Attr.Flags&vfs.AttrSubmount != 0)
	fmt.Println("mkdir:", fs.Mkdir(r, tools.Node, name, 0o755, new(vfs.Entry)))

	if err := fs.Unmount("/opt/tools"); err != nil {
		log.Fatal(err)
	}
	errno := fs.Getattr(r, tools.Node, vfs.NoHandle, new(vfs.AttrOut))
	fmt.Println("after it is gone:", errno == syscall.ESTALE)
	for _, m := range fs.Mounts() {
		fmt.Println("left:", m.Path)
	}
	// Output:
	// submount: true
	// mkdir: read-only file system
	// after it is gone: true
	// left: /src
}
