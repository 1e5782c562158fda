package hypercall_test

import (
	"encoding/binary"
	"fmt"
	"log"
	"os"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/hypercall"
	"github.com/isthmus-fs/isthmus/scratch"
)

// A guest creates a file and writes to it and to its console. What it would do by an OUT
// instruction with an address in RDI is here a call of Guest.Call.
func Example() {
	ram := make([]byte, 1<<20)
	const base = 1 << 32
	var space guestmem.Space
	if err := space.AddMapped(base, ram); err != nil {
		log.Fatal(err)
	}
	view := space.Acquire()
	defer view.Release()
	files, err := scratch.New(scratch.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer files.Close()
	guest, err := hypercall.New(hypercall.Config{FS: files, Memory: view, Output: os.Stdout})
	if err != nil {
		log.Fatal(err)
	}
	defer guest.Close()

	copy(ram[0x1000:], "/greeting\x00")
	var open hypercall.OpenParams
	open.Name.Set(base + 0x1000)
	open.Flags.Set(unix.O_WRONLY | unix.O_CREAT)
	open.Mode.Set(0o644)
	copy(ram, hypercall.Bytes(&open))
	guest.Call(hypercall.FileOpen, base, hypercall.CPU{})
	copy(hypercall.Bytes(&open), ram)
	fmt.Println("descriptor", open.Ret.Get())

	copy(ram[0x2000:], "hello\n")
	for _, fd := range []int32{open.Ret.Get(), 1, 42} {
		var write hypercall.WriteParams
		write.FD.Set(fd)
		write.Buf.Set(base + 0x2000)
		write.Len.Set(6)
		copy(ram, hypercall.Bytes(&write))
		guest.Call(hypercall.FileWrite, base, hypercall.CPU{})
		fmt.Println("written", int64(binary.LittleEndian.Uint64(ram[8:])))
	}
	fmt.Printf("%+v\n", guest.Call(hypercall.Exit, 3, hypercall.CPU{}))
	// Output:
	// descriptor 3
	// written 6
	// hello
	// written 6
	// written -9
	// {Known:true Exit:true Code:3 Errno:errno 0}
}
