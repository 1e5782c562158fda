// Command holdlock is carried into guests by the lock tests. It tries to take a
// lock on a file, says whether it got it, and keeps it until its input ends.
package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) != 3 {
		fatal(fmt.Errorf("usage: holdlock flock|posix FILE"))
	}
	f, err := os.OpenFile(os.Args[2], os.O_RDWR, 0)
	if err != nil {
		fatal(err)
	}
	switch os.Args[1] {
	case "flock":
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	case "posix":
		err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	}
	switch err {
	case nil:
		fmt.Println("locked")
	case unix.EAGAIN:
		fmt.Println("busy")
		return
	default:
		fatal(err)
	}
	io.Copy(io.Discard, os.Stdin)
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "holdlock:", err)
	os.Exit(1)
}
