package oslib_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

func TestIovSlice(t *testing.T) {
	parts := []string{"abc", "", "de", "fghi"}
	var v []unix.Iovec
	for _, p := range parts {
		v = append(v, oslib.Iov([]byte(p)))
	}
	all := strings.Join(parts, "")
	if n := oslib.IovLen(v); n != uint64(len(all)) {
		t.Errorf("length %d", n)
	}
	for off := range len(all) + 2 {
		for n := range len(all) + 2 {
			from := min(off, len(all))
			exp := all[from:min(from+n, len(all))]
			s := oslib.IovSlice(nil, v, uint64(off), uint64(n))
			buf := make([]byte, len(all))
			m, ok := oslib.IovRead(buf, s)
			if !ok || string(buf[:m]) != exp {
				t.Errorf("[%d:+%d]: %q, %t, want %q", off, n, buf[:m], ok, exp)
			}
			for _, part := range s {
				if part.Len == 0 {
					t.Errorf("[%d:+%d] has an empty part", off, n)
				}
			}
		}
	}
	// A hole stays one, whatever part of it is asked for.
	hole := oslib.IovSlice(nil, []unix.Iovec{{Len: 10}}, 4, 3)
	if len(hole) != 1 || hole[0].Base != nil || hole[0].Len != 3 {
		t.Errorf("slice of a hole: %v", hole)
	}
	if s := oslib.IovSlice(nil, v, ^uint64(0), ^uint64(0)); len(s) != 0 {
		t.Errorf("far outside: %v", s)
	}
}

func TestIovCopy(t *testing.T) {
	a, b := make([]byte, 3), make([]byte, 4)
	v := []unix.Iovec{oslib.Iov(a), {}, oslib.Iov(b)}
	if n, ok := oslib.IovWrite(v, []byte("123456789")); n != 7 || !ok || string(a)+string(b) != "1234567" {
		t.Errorf("write: %d, %t, %q %q", n, ok, a, b)
	}
	if n, ok := oslib.IovWrite(v, []byte("xyzw")); n != 4 || !ok || string(a)+string(b) != "xyzw567" {
		t.Errorf("short write: %d, %t, %q %q", n, ok, a, b)
	}
	buf := make([]byte, 5)
	if n, ok := oslib.IovRead(buf, v); n != 5 || !ok || string(buf) != "xyzw5" {
		t.Errorf("read: %d, %t, %q", n, ok, buf)
	}
	holed := []unix.Iovec{oslib.Iov(a), {Len: 2}, oslib.Iov(b)}
	if n, ok := oslib.IovRead(buf, holed); n != 3 || ok {
		t.Errorf("read over a hole: %d, %t", n, ok)
	}
	if n, ok := oslib.IovWrite(holed, buf); n != 3 || ok {
		t.Errorf("write over a hole: %d, %t", n, ok)
	}
	if n, ok := oslib.IovRead(buf[:3], holed); n != 3 || !ok {
		t.Errorf("read up to a hole: %d, %t", n, ok)
	}
}

// mapTruncated maps a page of a file that then goes away.
func mapTruncated(t *testing.T) []byte {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(4096); err != nil {
		t.Fatal(err)
	}
	m, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(m) })
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestCatchFault(t *testing.T) {
	m := mapTruncated(t)
	v := []unix.Iovec{oslib.Iov(m)}
	buf := make([]byte, 16)
	err := oslib.CatchFault(func() { oslib.IovRead(buf, v) })
	fault, ok := err.(*oslib.FaultError)
	if !ok || fault.Addr == 0 || !strings.Contains(fault.Error(), "truncated") {
		t.Errorf("reading memory that is gone: %v", err)
	}
	if err := oslib.CatchFault(func() { oslib.IovWrite(v, buf) }); err == nil {
		t.Error("writing memory that is gone: no error")
	}
	// The kernel gives an error of its own for the same memory.
	d, _ := openDir(t)
	_, errno := oslib.Pwritev2(newFile(t, d, "f", ""), v, 0, 0)
	want(t, "write from memory that is gone", errno, syscall.EFAULT)

	if err := oslib.CatchFault(func() {}); err != nil {
		t.Errorf("no fault: %v", err)
	}
	defer func() {
		if p := recover(); p != "other" {
			t.Errorf("recovered %v", p)
		}
	}()
	oslib.CatchFault(func() { panic("other") })
}

// TestCatchFaultBug: a bug of our own is not taken for a guest's doing.
func TestCatchFaultBug(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an index out of range was swallowed")
		}
	}()
	var s []int
	i := 3
	oslib.CatchFault(func() { s[i]++ })
}
