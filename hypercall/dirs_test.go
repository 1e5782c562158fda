package hypercall

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestGetdents: the records to the byte.
func TestGetdents(t *testing.T) {
	m, fs := scratchMachine(t)
	m.mkdir("d")
	m.makeFile("d/f", "")
	symlink(t, fs, "x", node(t, fs, 1, "d"), "12345")
	fs.Forget(node(t, fs, 1, "d"), 3)
	f, _ := m.stat("d/f", KindStat)
	d, _ := m.stat("d", KindStat)
	fd := m.open("d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	for i := range m.mem(dataAt, 200) {
		m.mem(dataAt, 200)[i] = 0xee
	}
	n := m.getdents(fd, dataAt, 200)
	got := m.mem(dataAt, 200)
	record := func(ino, off uint64, typ byte, name string) string {
		var b strings.Builder
		l := (19 + len(name) + 1 + 7) / 8 * 8
		for i := range 8 {
			b.WriteByte(byte(ino >> (8 * i)))
		}
		for i := range 8 {
			b.WriteByte(byte(off >> (8 * i)))
		}
		b.WriteByte(byte(l))
		b.WriteByte(0)
		b.WriteByte(typ)
		b.WriteString(name)
		return b.String() + strings.Repeat("\x00", l-b.Len())
	}
	list := m.records(dataAt, n)
	if len(list) != 4 {
		t.Fatalf("%+v", list)
	}
	// The positions and the inode number of the link are the file system's choice.
	want := record(d.Ino.Get(), uint64(list[0].next), 4, ".") + record(1, uint64(list[1].next), 4, "..") +
		record(f.Ino.Get(), uint64(list[2].next), 8, "f") + record(list[3].ino, uint64(list[3].next), 10, "12345")
	if string(got[:n]) != want {
		t.Errorf("got  %q\nwant %q", got[:n], want)
	}
	if got[n] != 0xee || n != 24*3+32 {
		t.Errorf("%d bytes, and %#x behind", n, got[n])
	}
	if n := m.getdents(fd, dataAt, 200); n != 0 {
		t.Errorf("at the end: %d", n)
	}
	m.close(fd)
	held(t, fs, 0, 0)
}

// TestGetdentsErrors: none of them moves the position.
func TestGetdentsErrors(t *testing.T) {
	m, fs := scratchMachine(t)
	m.makeFile("f", "")
	fd := m.open(".", unix.O_RDONLY, 0)
	file := m.open("f", unix.O_RDONLY, 0)
	for _, tt := range []struct {
		fd      int32
		addr, n uint64
		want    syscall.Errno
	}{
		{fd, dataAt, 0, syscall.EINVAL},
		{fd, dataAt, 23, syscall.EINVAL},
		{fd, badAddr, 200, syscall.EFAULT},
		{fd, ramEnd - 71, 200, syscall.EFAULT},
		{fd, math.MaxUint64, math.MaxUint64, syscall.EFAULT},
		{file, dataAt, 200, syscall.ENOTDIR},
		{1, dataAt, 200, syscall.ENOTDIR},
		{-1, dataAt, 200, syscall.EBADF},
		{50, dataAt, 200, syscall.EBADF},
	} {
		want(t, "getdents", m.getdents(tt.fd, tt.addr, tt.n), tt.want)
	}
	// The length is no promise: what is there fits.
	if n := m.getdents(fd, ramEnd-72, math.MaxUint64); n != 72 {
		t.Errorf("getdents: %d", n)
	}
	m.close(fd)
	m.close(file)
	held(t, fs, 0, 0)
}

// TestGetdentsInPieces: any size of buffer gives all entries once, and seeking to the
// position of one gives the rest.
func TestGetdentsInPieces(t *testing.T) {
	m, _ := scratchMachine(t)
	var all []string
	for i := range 300 {
		name := fmt.Sprintf("%d%s", i, strings.Repeat("n", i%250))
		m.makeFile(name, "")
		all = append(all, name)
	}
	all = append(all, ".", "..")
	slices.Sort(all)
	fd := m.open("/", unix.O_DIRECTORY, 0)
	for _, size := range []uint64{280, 281, 500, 4096, 1 << 20} {
		if pos := m.lseek(fd, 0, unix.SEEK_SET); pos != 0 {
			t.Fatal(pos)
		}
		var list []dirent
		for {
			n := m.getdents(fd, dataAt, size)
			if n < 0 || uint64(n) > size {
				t.Fatalf("getdents of %d: %d", size, n)
			}
			if n == 0 {
				break
			}
			list = append(list, m.records(dataAt, n)...)
			if pos := m.lseek(fd, 0, unix.SEEK_CUR); pos != list[len(list)-1].next {
				t.Errorf("the position is %d, want %d", pos, list[len(list)-1].next)
			}
		}
		var names []string
		for _, e := range list {
			names = append(names, e.name)
		}
		slices.Sort(names)
		if !slices.Equal(names, all) {
			t.Errorf("size %d: %d names, want %d", size, len(names), len(all))
		}
		m.lseek(fd, list[100].next, unix.SEEK_SET)
		n := m.getdents(fd, dataAt, size)
		if n <= 0 || m.records(dataAt, n)[0] != list[101] {
			t.Errorf("after a seek: %d", n)
		}
	}
	want(t, "lseek to before the start", m.lseek(fd, -1, unix.SEEK_SET), syscall.EINVAL)
	want(t, "lseek to the end", m.lseek(fd, 0, unix.SEEK_END), syscall.EINVAL)
	want(t, "lseek to data", m.lseek(fd, 0, unix.SEEK_DATA), syscall.EINVAL)
	m.lseek(fd, math.MaxInt64, unix.SEEK_SET)
	if n := m.getdents(fd, dataAt, 500); n != 0 {
		t.Errorf("getdents far behind the end: %d", n)
	}
}
