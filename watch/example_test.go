package watch_test

import (
	"fmt"
	"log"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/scratch"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/watch"
)

// printing is a Recorder that shows what happens.
type printing struct{}

func (printing) Record(rec *watch.Record) {
	fmt.Printf("uid %d: %v %s: %d\n", rec.UID, rec.Op, rec.Path, rec.Errno)
}

func Example() {
	space, err := scratch.New(scratch.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer space.Close()
	fs := watch.New(space, watch.Options{Recorder: printing{}})
	fs.Init(0)

	// What a door does for a guest.
	r := &vfs.Request{PID: 7, UID: 1000}
	file, _ := vfs.MakeName("notes.txt")
	var e vfs.Entry
	var o vfs.Opened
	fs.Create(r, vfs.Root, file, unix.O_RDWR, 0o644, &e, &o)
	fs.Unlink(r, vfs.Root, file)

	for f := range fs.OpenFiles() {
		fmt.Printf("pid %d has %s open\n", f.PID, f.Path)
	}
	// Output:
	// uid 1000: create /notes.txt: 0
	// uid 1000: unlink /notes.txt: 0
	// pid 7 has /notes.txt (deleted) open
}
