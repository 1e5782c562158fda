package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/archive"
	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// An archive is read, and then looked at as a guest would.
func Example() {
	fs, err := archive.Read(context.Background(), hello(), "hello.tar", archive.Options{MaxBytes: 1 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer fs.Close()

	r := &vfs.Request{}
	name, _ := vfs.MakeName("hello")
	var e vfs.Entry
	var o vfs.Opened
	if errno := fs.Lookup(r, vfs.Root, name, &e); errno != 0 || e.Node == 0 {
		log.Fatal("no such file")
	}
	if errno := fs.Open(r, e.Node, unix.O_RDONLY, false, &o); errno != 0 {
		log.Fatal(errno)
	}
	buf := make([]byte, 100)
	n, errno := fs.Read(r, e.Node, o.Handle, []unix.Iovec{oslib.Iov(buf)}, 0, unix.O_RDONLY)
	if errno != 0 {
		log.Fatal(errno)
	}
	fmt.Printf("%o %q\n", e.Attr.Mode, buf[:n])
	fmt.Println(fs.Unlink(r, vfs.Root, name) == syscall.EROFS)
	// Output:
	// 100644 "Hello, guest."
	// true
}

// hello is an archive with one file.
func hello() io.Reader {
	var b bytes.Buffer
	const data = "Hello, guest."
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "hello", Mode: 0o644, Size: int64(len(data))}); err != nil {
		log.Fatal(err)
	}
	if _, err := io.WriteString(w, data); err != nil {
		log.Fatal(err)
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}
	return &b
}
