package overlay_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"syscall"

	"github.com/isthmus-fs/isthmus/overlay"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
)

// A guest removes a file of the host, and the host still has it.
func Example() {
	dir, err := os.MkdirTemp("", "overlay-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	lower, upper := filepath.Join(dir, "lower"), filepath.Join(dir, "upper")
	for _, d := range []string{lower, upper} {
		if err := os.Mkdir(d, 0o700); err != nil {
			log.Fatal(err)
		}
	}
	file := filepath.Join(lower, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o644); err != nil {
		log.Fatal(err)
	}

	below, err := passthrough.New(passthrough.Config{Path: lower})
	if err != nil {
		log.Fatal(err)
	}
	defer below.Close()
	private, err := passthrough.New(passthrough.Config{Path: upper})
	if err != nil {
		log.Fatal(err)
	}
	defer private.Close()
	fs, err := overlay.New(below, private, overlay.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if _, errno := fs.Init(0); errno != 0 {
		log.Fatal(errno)
	}
	defer fs.Destroy()

	name, _ := vfs.MakeName("file")
	r := &vfs.Request{}
	if errno := fs.Unlink(r, vfs.Root, name); errno != 0 {
		log.Fatal(errno)
	}
	fmt.Println("guest:", fs.Lookup(r, vfs.Root, name, &vfs.Entry{}) == syscall.ENOENT)
	data, err := os.ReadFile(file)
	fmt.Printf("host: %s %v\n", data, err)
	// Output:
	// guest: true
	// host: precious <nil>
}
