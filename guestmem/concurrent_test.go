package guestmem

import (
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// Readers hold Views and read through them while the table changes: none may
// find memory gone that its View has, or a byte of another region.
func TestViewsWhileTheTableChanges(t *testing.T) {
	const name = "concurrent-test"
	fd := memfd(t, name, 8*page)
	defer unix.Close(fd)
	for i := range 8 {
		if _, err := unix.Pwrite(fd, []byte{byte(i + 1)}, int64(i*page)); err != nil {
			t.Fatal(err)
		}
	}
	var s Space
	// Page i of the file is at i × 2 pages.
	nth := func(i int) Region {
		return Region{GPA: uint64(i) * 2 * page, Size: page, UVA: uint64(i) * 2 * page, FD: dup(t, fd), Offset: uint64(i) * page}
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			iov := make([]unix.Iovec, 0, 2)
			for !stop.Load() {
				v := s.Acquire()
				v.Retain()
				v.Release()
				for i := range 8 {
					var ok bool
					iov, ok = v.Iovecs(iov[:0], uint64(i)*2*page, 1)
					if ok && *iov[0].Base != byte(i+1) {
						t.Errorf("page %d reads %d", i, *iov[0].Base)
					}
				}
				v.Release()
			}
		})
	}
	for round := range 200 {
		var err error
		switch round % 4 {
		case 0:
			err = s.Replace([]Region{nth(0), nth(3)})
		case 1:
			err = s.Add(nth(round/4%2*4 + 1))
		case 2:
			err = s.Add(nth(7))
		case 3:
			err = s.Remove(0, page, 0)
		}
		if err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	wg.Wait()
	s.Close()
	if n := mappings(t, name); n != 0 {
		t.Errorf("mapped %d times after all was released", n)
	}
}
