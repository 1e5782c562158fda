package guestmem

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

func TestUnmappedWithTheLastRelease(t *testing.T) {
	const name = "refcount-test"
	var s Space
	fd := memfd(t, name, 2*page)
	keep := dup(t, fd)
	defer unix.Close(keep)
	r := Region{GPA: 0, Size: page, UVA: page, FD: fd, Offset: page}
	expect := func(when string, want int) {
		t.Helper()
		if got := mappings(t, name); got != want {
			t.Fatalf("%s: mapped %d times, want %d", when, got, want)
		}
	}
	if err := s.Add(r); err != nil {
		t.Fatal(err)
	}
	if isOpen(fd) {
		t.Fatal("Add left the file open")
	}
	expect("added", 1)
	v1 := s.Acquire()
	if err := s.Add(region(t, 0x100000, page, 0x100000)); err != nil {
		t.Fatal(err)
	}
	v2 := s.Acquire()
	expect("in two Views", 1)
	if err := s.Remove(0, page, page); err != nil {
		t.Fatal(err)
	}
	expect("removed", 1)
	v1.Retain()
	v1.Release()
	v1.Release()
	expect("first View released", 1)
	b, ok := v2.HostGPA(0, page)
	if !ok {
		t.Fatal("not in the View")
	}
	b[0] = 1
	v2.Release()
	expect("second View released", 0)

	r.FD = dup(t, keep)
	if err := s.Replace([]Region{r}); err != nil {
		t.Fatal(err)
	}
	r.FD = dup(t, keep)
	if err := s.Replace([]Region{r}); err != nil {
		t.Fatal(err)
	}
	expect("replaced by itself", 1)
	r.FD = dup(t, keep)
	if err := s.Add(r); err == nil {
		t.Fatal("overlap accepted")
	}
	expect("refused", 1)
	v := s.Acquire()
	s.Close()
	expect("closed, with a View", 1)
	v.Release()
	expect("closed", 0)
	s.Close()
	after := s.Acquire()
	defer after.Release()
	if _, ok := after.Iovecs(nil, 0, 1); ok {
		t.Error("memory after Close")
	}
}

// Huge pages are mapped and unmapped whole, though the region is a part of one.
// Nothing touches them: the host need not have any.
func TestHugePages(t *testing.T) {
	const name = "huge-test"
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_HUGETLB)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Ftruncate(fd, 1<<30); err != nil {
		t.Fatal(err)
	}
	var s Space
	if err := s.Add(Region{GPA: 0, Size: 3 * page, UVA: 0, FD: fd, Offset: page}); err != nil {
		t.Fatal(err)
	}
	if n := mappings(t, name); n != 1 {
		t.Errorf("mapped %d times", n)
	}
	s.Close()
	if n := mappings(t, name); n != 0 {
		t.Errorf("after Close, mapped %d times", n)
	}
}

func TestOneFileInSeveralRegions(t *testing.T) {
	var s Space
	defer s.Close()
	fd := memfd(t, "one", 2*page)
	if err := s.Replace([]Region{
		{GPA: 0, Size: page, UVA: 0, FD: fd},
		{GPA: page, Size: page, UVA: page, FD: fd, Offset: page},
	}); err != nil {
		t.Fatal(err)
	}
	if isOpen(fd) {
		t.Error("the file is still open")
	}
}

func TestMisusePanics(t *testing.T) {
	mustPanic := func(name string, f func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s: no panic", name)
			}
		}()
		f()
	}
	var s Space
	if err := s.AddMapped(0, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	v := s.Acquire()
	s.Close()
	v.Release()
	mustPanic("Retain after the last Release", v.Retain)
	v.refs.Store(0)
	mustPanic("Release too often", v.Release)
}

func TestTruncatedFileIsAnError(t *testing.T) {
	var s Space
	defer s.Close()
	fd := memfd(t, "truncated", 2*page)
	keep := dup(t, fd)
	defer unix.Close(keep)
	if err := s.Add(Region{GPA: 0, Size: 2 * page, UVA: 0, FD: fd}); err != nil {
		t.Fatal(err)
	}
	v := acquire(t, &s)
	iov, ok := v.Iovecs(nil, page, 16)
	if !ok {
		t.Fatal("not in memory")
	}
	var b [16]byte
	read := func() { oslib.IovRead(b[:], iov) }
	if err := oslib.CatchFault(read); err != nil {
		t.Fatalf("before: %v", err)
	}
	if err := unix.Ftruncate(keep, page); err != nil {
		t.Fatal(err)
	}
	var fault *oslib.FaultError
	if err := oslib.CatchFault(read); !errors.As(err, &fault) {
		t.Errorf("after: %v, want a FaultError", err)
	}
}
