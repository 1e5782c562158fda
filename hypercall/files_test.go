package hypercall

import (
	"math"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	rdwrCreate = unix.O_RDWR | unix.O_CREAT
	badAddr    = ramEnd // the first address behind guest memory
)

// TestOpenErrors: what open refuses, and that it takes nothing by that.
func TestOpenErrors(t *testing.T) {
	m, fs := scratchMachine(t)
	m.makeFile("file", "x")
	if errno := m.mkdir("dir"); errno != 0 {
		t.Fatal(errno)
	}
	symlink(t, fs, "file", 1, "link")
	symlink(t, fs, "gone", 1, "dangling")
	symlink(t, fs, "loop", 1, "loop")
	for _, tt := range []struct {
		name  string
		flags int32
		want  syscall.Errno
	}{
		{"", unix.O_RDONLY, syscall.ENOENT},
		{"absent", unix.O_RDONLY, syscall.ENOENT},
		{"../file", unix.O_RDONLY, syscall.ENOENT},
		{"a/../../file", unix.O_RDONLY, syscall.ENOENT},
		{"absent/file", rdwrCreate, syscall.ENOENT},
		{"file/below", unix.O_RDONLY, syscall.ENOTDIR},
		{"file/below", rdwrCreate, syscall.ENOTDIR},
		{"link/below", unix.O_RDONLY, syscall.ENOTDIR},
		{"file", unix.O_DIRECTORY, syscall.ENOTDIR},
		{"file", rdwrCreate | unix.O_EXCL, syscall.EEXIST},
		{"link", rdwrCreate | unix.O_EXCL, syscall.EEXIST},
		{"dangling", rdwrCreate | unix.O_EXCL, syscall.EEXIST},
		{"dangling", unix.O_RDWR, syscall.ENOENT},
		{"loop", unix.O_RDONLY, syscall.ELOOP},
		{"loop", rdwrCreate, syscall.ELOOP},
		{"loop/x", unix.O_RDONLY, syscall.ELOOP},
		{"new", rdwrCreate | unix.O_DIRECTORY, syscall.EINVAL},
		{"file", unix.O_ACCMODE, syscall.EINVAL},
		{"dir", unix.O_WRONLY, syscall.EISDIR},
		{"dir", unix.O_RDWR | unix.O_DIRECTORY, syscall.EISDIR},
		{"dir", unix.O_RDONLY | unix.O_TRUNC, syscall.EISDIR},
		{"dir", unix.O_RDONLY | unix.O_CREAT, syscall.EISDIR},
		{"/", unix.O_RDWR, syscall.EISDIR},
		{"/", unix.O_RDONLY | unix.O_CREAT, syscall.EISDIR},
		{strings.Repeat("n", 256), unix.O_RDONLY, syscall.ENAMETOOLONG},
		{strings.Repeat("n", 256), rdwrCreate, syscall.ENAMETOOLONG},
		{strings.Repeat("/", 4096), unix.O_RDONLY, syscall.ENAMETOOLONG},
	} {
		want(t, "open "+tt.name[:min(20, len(tt.name))], m.open(tt.name, tt.flags, 0o644), tt.want)
		held(t, fs, 0, 0)
	}
	for _, gpa := range []uint64{0, ramBase - 1, badAddr, 1 << 32, 1 << 63, math.MaxUint64, math.MaxUint64 - 4095} {
		want(t, "open of a bad address", m.openAt(gpa, unix.O_RDONLY, 0), syscall.EFAULT)
	}
	// A name without a NUL up to the end of memory.
	copy(m.mem(ramEnd-4, 4), "file")
	want(t, "open of a name that does not end", m.openAt(ramEnd-4, unix.O_RDONLY, 0), syscall.EFAULT)
	copy(m.mem(ramEnd-5, 5), "file\x00")
	fd := m.openAt(ramEnd-5, unix.O_RDONLY, 0)
	if fd != firstFile {
		t.Errorf("open of a name that ends with memory: %d", fd)
	}
	m.close(fd)
	// The longest path, over a page.
	fd = m.open(strings.Repeat("./", 2045)+"file", unix.O_RDONLY, 0)
	if fd != firstFile {
		t.Errorf("open of the longest path: %d", fd)
	}
	held(t, fs, 1, 1)
	m.close(fd)
	held(t, fs, 0, 0)
}

// TestOpenFlags: what open makes and empties.
func TestOpenFlags(t *testing.T) {
	m, fs := scratchMachine(t)
	symlink(t, fs, "made", 1, "dangling")
	fd := m.open("dangling", rdwrCreate, 0o107777)
	if fd != firstFile {
		t.Fatalf("create through a link: %d", fd)
	}
	if a, errno := m.stat("made", KindLstat); errno != 0 || a.Mode.Get() != unix.S_IFREG|0o777 {
		t.Errorf("it has mode %#o, %v", a.Mode.Get(), errno)
	}
	copy(m.mem(dataAt, 5), "12345")
	m.write(fd, dataAt, 5)
	m.close(fd)
	// O_CREAT on what exists; unknown flags.
	fd = m.open("/made", rdwrCreate|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_SYNC|unix.O_NONBLOCK|-1<<31, 0)
	if n := m.read(fd, dataAt+100, 100); n != 5 || string(m.mem(dataAt+100, 5)) != "12345" {
		t.Errorf("read: %d", n)
	}
	m.close(fd)
	fd = m.open("made", unix.O_RDWR|unix.O_TRUNC, 0)
	if a, errno := m.fstat(fd); errno != 0 || a.Size.Get() != 0 {
		t.Errorf("after O_TRUNC: %d bytes, %v", a.Size.Get(), errno)
	}
	m.close(fd)
	held(t, fs, 0, 0)
}

// TestDescriptors: the lowest free number is used, up to the limit.
func TestDescriptors(t *testing.T) {
	fs := newScratch(t)
	m := newMachine(t, Config{FS: fs, MaxFiles: 8})
	m.makeFile("f", "")
	for fd := int32(firstFile); fd < 8; fd++ {
		if got := m.open("f", unix.O_RDONLY, 0); got != fd {
			t.Errorf("open: %d, want %d", got, fd)
		}
	}
	want(t, "open beyond the limit", m.open("f", unix.O_RDONLY, 0), syscall.EMFILE)
	want(t, "create beyond the limit", m.open("new", rdwrCreate, 0o644), syscall.EMFILE)
	if _, errno := m.stat("new", KindStat); errno != syscall.ENOENT {
		t.Errorf("a file was made: %v", errno)
	}
	want(t, "open of nothing", m.open("absent", unix.O_RDONLY, 0), syscall.EMFILE)
	held(t, fs, 1, 5)
	for _, fd := range []int32{6, 4, 5} {
		want(t, "close", m.close(fd), 0)
		want(t, "close again", m.close(fd), syscall.EBADF)
	}
	want(t, "open of nothing", m.open("absent", unix.O_RDONLY, 0), syscall.ENOENT)
	for _, fd := range []int32{4, 5, 6} {
		if got := m.open("f", unix.O_RDONLY, 0); got != fd {
			t.Errorf("open: %d, want %d", got, fd)
		}
	}
	for _, fd := range []int32{-1, math.MinInt32, 8, math.MaxInt32} {
		want(t, "close", m.close(fd), syscall.EBADF)
	}
	for fd := range int32(firstFile) {
		want(t, "close of the console", m.close(fd), 0)
	}
	m.g.Close()
	held(t, fs, 0, 0)
}

// TestReadWriteErrors: bad descriptors, directions, addresses and lengths.
func TestReadWriteErrors(t *testing.T) {
	m, fs := scratchMachine(t)
	m.makeFile("f", "content")
	r := m.open("f", unix.O_RDONLY, 0)
	w := m.open("f", unix.O_WRONLY, 0)
	d := m.open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	for _, tt := range []struct {
		fd          int32
		read, write syscall.Errno
	}{
		{-1, syscall.EBADF, syscall.EBADF},
		{math.MinInt32, syscall.EBADF, syscall.EBADF},
		{42, syscall.EBADF, syscall.EBADF},
		{math.MaxInt32, syscall.EBADF, syscall.EBADF},
		{d, syscall.EISDIR, syscall.EBADF},
		{r, 0, syscall.EBADF},
		{w, syscall.EBADF, 0},
		{0, 0, syscall.EBADF},
		{1, syscall.EBADF, 0},
		{2, syscall.EBADF, 0},
	} {
		want(t, "read", m.read(tt.fd, dataAt, 0), tt.read)
		want(t, "write", m.write(tt.fd, dataAt, 0), tt.write)
		want(t, "read of version 1", m.readV1(tt.fd, dataAt, 0), tt.read)
		if got := m.writeV1(tt.fd, dataAt, 0); got.Errno != tt.write {
			t.Errorf("write of version 1 to %d: %v, want %v", tt.fd, got.Errno, tt.write)
		}
	}
	for _, tt := range []struct {
		addr, n uint64
		want    syscall.Errno
	}{
		{badAddr, 1, syscall.EFAULT},
		{0, 1, syscall.EFAULT},
		{ramBase - 1, 2, syscall.EFAULT},
		{ramEnd - 1, 2, syscall.EFAULT},
		{ramBase, ramSize + 1, syscall.EFAULT},
		{ramBase, 1 << 32, syscall.EFAULT},
		{ramBase, math.MaxInt64, syscall.EFAULT},
		{math.MaxUint64, 2, syscall.EFAULT},
		{math.MaxUint64 - 10, 20, syscall.EFAULT},
		{ramBase, 1 << 63, syscall.EINVAL},
		{ramBase, math.MaxUint64, syscall.EINVAL},
	} {
		for _, fd := range []int32{r, 0} {
			want(t, "read", m.read(fd, tt.addr, tt.n), tt.want)
			want(t, "read of version 1", m.readV1(fd, tt.addr, tt.n), tt.want)
		}
		for _, fd := range []int32{w, 1} {
			want(t, "write", m.write(fd, tt.addr, tt.n), tt.want)
		}
		if n := m.lseek(r, 0, unix.SEEK_CUR) + m.lseek(w, 0, unix.SEEK_CUR); n != 0 {
			t.Errorf("%#x+%#x: positions moved by %d", tt.addr, tt.n, n)
		}
	}
	if s := m.content("f"); s != "content" || m.out.Len() != 0 {
		t.Errorf("content %q, output %q", s, m.out.String())
	}
	held(t, fs, 1, 3)
}

// TestReadWrite: positions move along, the end of the file is 0.
func TestReadWrite(t *testing.T) {
	m, _ := scratchMachine(t)
	fd := m.open("f", rdwrCreate, 0o644)
	copy(m.mem(dataAt, 10), "0123456789")
	for _, n := range []uint64{4, 0, 6} {
		if got := m.write(fd, dataAt+uint64(m.lseek(fd, 0, unix.SEEK_CUR)), n); got != int64(n) {
			t.Errorf("write of %d: %d", n, got)
		}
	}
	if got := m.read(fd, dataAt+100, 10); got != 0 {
		t.Errorf("read at the end: %d", got)
	}
	m.lseek(fd, 3, unix.SEEK_SET)
	if got := m.read(fd, dataAt+100, 4); got != 4 || string(m.mem(dataAt+100, 4)) != "3456" {
		t.Errorf("read: %d %q", got, m.mem(dataAt+100, 4))
	}
	if got := m.read(fd, dataAt+100, 100); got != 3 || string(m.mem(dataAt+100, 4)) != "7896" {
		t.Errorf("short read: %d %q", got, m.mem(dataAt+100, 4))
	}
	// All of memory in one piece.
	if got := m.write(fd, ramBase, ramSize); got != ramSize {
		t.Errorf("write of all memory: %d", got)
	}
	// Two descriptors have two positions.
	other := m.open("f", unix.O_RDONLY, 0)
	if got := m.read(other, dataAt, 2); got != 2 || string(m.mem(dataAt, 2)) != "01" {
		t.Errorf("read of the other: %d %q", got, m.mem(dataAt, 2))
	}
}

// TestAppend: the position is behind what was written.
func TestAppend(t *testing.T) {
	m, _ := scratchMachine(t)
	m.makeFile("f", "12345")
	fd := m.open("f", unix.O_RDWR|unix.O_APPEND, 0)
	copy(m.mem(dataAt, 2), "67")
	if n, pos := m.write(fd, dataAt, 2), m.lseek(fd, 0, unix.SEEK_CUR); n != 2 || pos != 7 {
		t.Errorf("write %d, position %d", n, pos)
	}
	m.lseek(fd, 1, unix.SEEK_SET)
	if n := m.read(fd, dataAt, 2); n != 2 || string(m.mem(dataAt, 2)) != "23" {
		t.Errorf("read: %d %q", n, m.mem(dataAt, 2))
	}
	m.write(fd, dataAt, 2)
	if s := m.content("f"); s != "123456723" {
		t.Errorf("content %q", s)
	}
}

// TestNoSpace: a write that finds no room for all returns what it wrote, and the next
// one the error.
func TestNoSpace(t *testing.T) {
	m := newMachine(t, Config{FS: newSmallScratch(t, 64<<10)})
	fd := m.open("f", rdwrCreate, 0o644)
	if n := m.write(fd, dataAt, 100<<10); n != 64<<10 {
		t.Errorf("write: %d", n)
	}
	want(t, "write", m.write(fd, dataAt, 1), syscall.ENOSPC)
	if r := m.writeV1(fd, dataAt, 1); r.Errno != syscall.ENOSPC || !r.Known {
		t.Errorf("write of version 1: %+v", r)
	}
	// What version 1 cannot say is counted.
	if n := m.g.Failures(V1FileWrite); n != 1 {
		t.Errorf("%d failures", n)
	}
}

// TestLseek in all its forms.
func TestLseek(t *testing.T) {
	m, _ := scratchMachine(t)
	m.makeFile("f", "0123456789")
	fd := m.open("f", unix.O_RDWR, 0)
	m.lseek(fd, 3<<20, unix.SEEK_SET)
	m.write(fd, dataAt, 1)
	const size = 3<<20 + 1
	for _, tt := range []struct {
		off    int64
		whence uint32
		want   int64
	}{
		{5, unix.SEEK_SET, 5},
		{2, unix.SEEK_CUR, 7},
		{-7, unix.SEEK_CUR, 0},
		{-1, unix.SEEK_CUR, -int64(syscall.EINVAL)},
		{0, unix.SEEK_CUR, 0}, // as before
		{-1, unix.SEEK_SET, -int64(syscall.EINVAL)},
		{math.MinInt64, unix.SEEK_SET, -int64(syscall.EINVAL)},
		{0, unix.SEEK_END, size},
		{-1, unix.SEEK_END, size - 1},
		{1 << 40, unix.SEEK_END, size + 1<<40},
		{math.MaxInt64, unix.SEEK_END, -int64(syscall.EINVAL)},
		{math.MaxInt64, unix.SEEK_CUR, -int64(syscall.EINVAL)},
		{math.MinInt64, unix.SEEK_END, -int64(syscall.EINVAL)},
		{math.MaxInt64, unix.SEEK_SET, math.MaxInt64},
		{1, unix.SEEK_CUR, -int64(syscall.EINVAL)},
		{0, unix.SEEK_DATA, 0},
		{0, unix.SEEK_HOLE, 4096},
		{4096, unix.SEEK_DATA, 3 << 20},
		{3 << 20, unix.SEEK_HOLE, size},
		{size, unix.SEEK_DATA, -int64(syscall.ENXIO)},
		{-1, unix.SEEK_DATA, -int64(syscall.ENXIO)},
		{-1, unix.SEEK_HOLE, -int64(syscall.ENXIO)},
		{0, 5, -int64(syscall.EINVAL)},
		{0, math.MaxUint32, -int64(syscall.EINVAL)},
	} {
		if got := m.lseek(fd, tt.off, tt.whence); got != tt.want {
			t.Errorf("lseek %d, %d: %d, want %d", tt.off, tt.whence, got, tt.want)
		}
		// Version 1 says -1 for all errors.
		var p LseekParamsV1
		p.FD.Set(fd)
		p.Offset.Set(tt.off)
		p.Whence.Set(int32(tt.whence))
		if tt.whence == unix.SEEK_CUR {
			continue
		}
		r := with(m, V1FileLseek, &p)
		if got := p.Offset.Get(); got != max(-1, tt.want) || r.Errno != syscall.Errno(max(0, -tt.want)) {
			t.Errorf("lseek of version 1 %d, %d: %d, %v", tt.off, tt.whence, got, r.Errno)
		}
	}
	for fd, errno := range map[int32]syscall.Errno{0: syscall.ESPIPE, 1: syscall.ESPIPE, 2: syscall.ESPIPE, -1: syscall.EBADF, 99: syscall.EBADF} {
		want(t, "lseek", m.lseek(fd, 0, unix.SEEK_SET), errno)
	}
}

// TestUnlink, also of what is open.
func TestUnlink(t *testing.T) {
	m, fs := scratchMachine(t)
	m.makeFile("f", "data")
	m.mkdir("d")
	symlink(t, fs, "f", 1, "link")
	fd := m.open("f", unix.O_RDONLY, 0)
	for _, tt := range []struct {
		name string
		want syscall.Errno
	}{
		{"link", 0},
		{"link", syscall.ENOENT},
		{"f", 0},
		{"f", syscall.ENOENT},
		{"d", syscall.EISDIR},
		{"/", syscall.EISDIR},
		{"d/absent", syscall.ENOENT},
		{"absent/f", syscall.ENOENT},
		{"", syscall.ENOENT},
		{"..", syscall.ENOENT},
		{"/..", syscall.EISDIR},
	} {
		want(t, "unlink "+tt.name, m.unlink(tt.name), tt.want)
	}
	if n := m.read(fd, dataAt, 10); n != 4 {
		t.Errorf("read of an unlinked file: %d", n)
	}
	if a, errno := m.fstat(fd); errno != 0 || a.Nlink.Get() != 0 || a.Size.Get() != 4 {
		t.Errorf("fstat of an unlinked file: %v", errno)
	}
	held(t, fs, 1, 1)
	m.close(fd)
	held(t, fs, 0, 0)
}

// TestAttributes: stat, lstat and fstat.
func TestAttributes(t *testing.T) {
	m, fs := scratchMachine(t)
	m.makeFile("f", strings.Repeat("x", 5000))
	m.mkdir("d")
	symlink(t, fs, "d/../f", 1, "link")
	symlink(t, fs, "gone", 1, "dangling")
	fd := m.open("f", unix.O_RDONLY, 0)
	byFD, errno := m.fstat(fd)
	if errno != 0 {
		t.Fatal(errno)
	}
	if byFD.Mode.Get() != unix.S_IFREG|0o644 || byFD.Size.Get() != 5000 || byFD.Nlink.Get() != 1 || byFD.Dev.Get() != 1 ||
		byFD.Blocks.Get() != 16 || byFD.Blksize.Get() == 0 || byFD.Mtime.Sec.Get() < 1e9 || byFD.Atime.Sec.Get() < 1e9 {
		t.Errorf("fstat: % x", Bytes(&byFD))
	}
	for _, tt := range []struct {
		name string
		kind uint32
		typ  uint32
		want syscall.Errno
	}{
		{"f", KindStat, unix.S_IFREG, 0},
		{"f", KindLstat, unix.S_IFREG, 0},
		{"link", KindStat, unix.S_IFREG, 0},
		{"link", KindLstat, unix.S_IFLNK, 0},
		{"dangling", KindStat, 0, syscall.ENOENT},
		{"dangling", KindLstat, unix.S_IFLNK, 0},
		{"d", KindStat, unix.S_IFDIR, 0},
		{"/", KindStat, unix.S_IFDIR, 0},
		{".", KindLstat, unix.S_IFDIR, 0},
		{"f", 2, 0, syscall.EINVAL},
		{"f", math.MaxUint32, 0, syscall.EINVAL},
		{"absent", KindStat, 0, syscall.ENOENT},
	} {
		a, errno := m.stat(tt.name, tt.kind)
		if errno != tt.want || errno == 0 && a.Mode.Get()&unix.S_IFMT != tt.typ {
			t.Errorf("stat %s, %d: mode %#o, %v", tt.name, tt.kind, a.Mode.Get(), errno)
		}
		if tt.typ == unix.S_IFREG && a != byFD {
			t.Errorf("stat %s and fstat differ:\n% x\n% x", tt.name, Bytes(&a), Bytes(&byFD))
		}
	}
	d := m.open("d", unix.O_DIRECTORY, 0)
	if a, errno := m.fstat(d); errno != 0 || a.Mode.Get()&unix.S_IFMT != unix.S_IFDIR {
		t.Errorf("fstat of a directory: %#o, %v", a.Mode.Get(), errno)
	}
	for _, fd := range []int32{0, 1, 2, -1, 77} {
		if _, errno := m.fstat(fd); errno != syscall.EBADF {
			t.Errorf("fstat of %d: %v", fd, errno)
		}
	}
	// Places for the attributes that are not there.
	for _, gpa := range []uint64{0, ramEnd - 119, badAddr, math.MaxUint64} {
		var p StatParams
		p.Name.Set(m.name("f"))
		p.Attr.Set(gpa)
		if errno := m.tagged(with(m, FileStat, &p), p.Tag, p.Errno); errno != syscall.EFAULT {
			t.Errorf("stat to %#x: %v", gpa, errno)
		}
		var q FstatParams
		q.FD.Set(fd)
		q.Attr.Set(gpa)
		if errno := m.tagged(with(m, FileFstat, &q), q.Tag, q.Errno); errno != syscall.EFAULT {
			t.Errorf("fstat to %#x: %v", gpa, errno)
		}
	}
	m.close(fd)
	m.close(d)
	held(t, fs, 0, 0)
}

// TestMkdir, and what cannot be made.
func TestMkdir(t *testing.T) {
	m, fs := scratchMachine(t)
	m.makeFile("f", "")
	symlink(t, fs, "gone", 1, "dangling")
	for _, tt := range []struct {
		name string
		want syscall.Errno
	}{
		{"d", 0},
		{"d", syscall.EEXIST},
		{"d/e", 0},
		{"/d//e/./x", 0},
		{"f", syscall.EEXIST},
		{"dangling", syscall.EEXIST},
		{"f/x", syscall.ENOTDIR},
		{"absent/x", syscall.ENOENT},
		{"", syscall.ENOENT},
		{"/", syscall.EEXIST},
		{"/..", syscall.EEXIST},
		{"d/..", syscall.EEXIST},
	} {
		if errno := m.mkdir(tt.name); errno != tt.want {
			t.Errorf("mkdir %s: %v, want %v", tt.name, errno, tt.want)
		}
	}
	if a, errno := m.stat("d/e/x", KindStat); errno != 0 || a.Mode.Get() != unix.S_IFDIR|0o777 {
		t.Errorf("mode %#o, %v", a.Mode.Get(), errno)
	}
	held(t, fs, 0, 0)
}
