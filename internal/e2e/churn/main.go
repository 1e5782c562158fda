// Command churn is carried into a guest whose share has mounts that come and go. It
// keeps files open that are to go on as if nothing happened, and uses what it finds in
// the mounts.
//
//	churn DIR
//
// The 200 files DIR/stay/N are written and read back all the time. DIR/comes/N/f are
// opened, read and kept open for a while; there, and nowhere else, ENOENT and ESTALE are in
// order. It prints "ready" when the files are open, goes on until a line comes in, lets go of all but
// the 200 files, drops the kernel's caches, prints what it did, and ends with its input.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	staying = 200
	writers = 4
	readers = 3
	coming  = 10 // directories that mounts may be at
	kept    = 8  // files that each reader keeps open
	size    = 64 << 10
)

func main() {
	if len(os.Args) != 2 {
		fatal(errors.New("usage: churn DIR"))
	}
	if err := run(os.Args[1]); err != nil {
		fatal(err)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "churn:", err)
	os.Exit(1)
}

func run(dir string) error {
	var files [staying]*file
	for i := range files {
		f, err := os.OpenFile(filepath.Join(dir, "stay", fmt.Sprint(i)), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		files[i] = &file{f: f, want: make([]byte, size)}
		if err := f.Truncate(size); err != nil {
			return err
		}
	}
	if err := dropCaches(); err != nil {
		return err
	}
	in := bufio.NewReader(os.Stdin)
	fmt.Println("ready")

	var c counts
	var stop atomic.Bool
	var ends sync.WaitGroup
	errs := make(chan error, writers+readers)
	for w := range writers {
		ends.Go(func() { errs <- c.use(files[w*staying/writers:(w+1)*staying/writers], &stop) })
	}
	for range readers {
		ends.Go(func() { errs <- c.visit(filepath.Join(dir, "comes"), &stop) })
	}
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	stop.Store(true)
	ends.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := f.check(); err != nil {
			return err
		}
	}
	if err := dropCaches(); err != nil {
		return err
	}
	fmt.Printf("used %d visited %d stale %d absent %d\n", c.used.Load(), c.visited.Load(), c.stale.Load(), c.absent.Load())
	_, err := io.Copy(io.Discard, in)
	return err
}

// dropCaches has the kernel give back the nodes that nobody uses.
func dropCaches() error {
	unix.Sync()
	for range 3 { // the first round only marks what was used lately
		if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
			return err
		}
	}
	return nil
}

type counts struct{ used, visited, stale, absent atomic.Uint64 }

// file is one that stays, with what it must hold. It has one user.
type file struct {
	f    *os.File
	want []byte
}

func (f *file) check() error {
	got := make([]byte, size)
	if _, err := f.f.ReadAt(got, 0); err != nil {
		return err
	}
	if !bytes.Equal(got, f.want) {
		return fmt.Errorf("%s: it does not hold what was written to it", f.f.Name())
	}
	return nil
}

// use writes to files and reads them.
func (c *counts) use(files []*file, stop *atomic.Bool) error {
	for !stop.Load() {
		f := files[rand.IntN(len(files))]
		at := rand.IntN(size)
		n := min(1+rand.IntN(8<<10), size-at)
		part := f.want[at : at+n]
		for i := range part {
			part[i] = byte(rand.Uint32())
		}
		if _, err := f.f.WriteAt(part, int64(at)); err != nil {
			return err
		}
		if rand.IntN(8) == 0 {
			// What is read next comes from the host.
			if err := errors.Join(f.f.Sync(), unix.Fadvise(int(f.f.Fd()), 0, 0, unix.FADV_DONTNEED)); err != nil {
				return err
			}
		}
		if rand.IntN(4) == 0 {
			if err := f.check(); err != nil {
				return err
			}
		}
		if info, err := f.f.Stat(); err != nil {
			return err
		} else if info.Size() != size {
			return fmt.Errorf("%s: it has %d bytes", f.f.Name(), info.Size())
		}
		c.used.Add(1)
	}
	return nil
}

// visit opens and reads files in mounts that come and go.
func (c *counts) visit(dir string, stop *atomic.Bool) error {
	var open []*os.File
	defer func() {
		for _, f := range open {
			f.Close()
		}
	}()
	for !stop.Load() {
		f, err := os.Open(filepath.Join(dir, fmt.Sprint(rand.IntN(coming)), "f"))
		if err := c.note(err); err != nil {
			return err
		}
		if err == nil {
			open = append(open, f)
		} else {
			time.Sleep(time.Millisecond)
		}
		for _, f := range open {
			if err := c.read(f); err != nil {
				return err
			}
		}
		if len(open) > kept {
			open[0].Close()
			open = open[1:]
		}
	}
	return nil
}

// text is what each file in a mount holds.
const text = "a file of a mount that comes and goes\n"

func (c *counts) read(f *os.File) error {
	if rand.IntN(2) == 0 {
		unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	}
	got := make([]byte, 100)
	n, err := f.ReadAt(got, 0)
	if err == io.EOF {
		err = nil
	}
	if err == nil && string(got[:n]) != text {
		return fmt.Errorf("%s holds %q", f.Name(), got[:n])
	}
	return c.note(err)
}

// note counts what may happen and returns what may not.
func (c *counts) note(err error) error {
	switch {
	case err == nil:
		c.visited.Add(1)
	case errors.Is(err, unix.ENOENT):
		c.absent.Add(1)
	case errors.Is(err, unix.ESTALE):
		c.stale.Add(1)
	default:
		return err
	}
	return nil
}
