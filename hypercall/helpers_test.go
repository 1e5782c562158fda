package hypercall

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/scratch"
	"github.com/isthmus-fs/isthmus/vfs"
)

var quiet = slog.New(slog.DiscardHandler)

// Where things are in the memory of a test's guest.
const (
	ramBase = 0x10_0000
	ramSize = 4 << 20
	ramEnd  = ramBase + ramSize

	structAt = ramBase + 0x1000 // the structure of a call
	nameAt   = ramBase + 0x3000
	attrAt   = ramBase + 0x5000
	tablesAt = ramBase + 0x10_0000 // page tables, see pager
	dataAt   = ramBase + 0x20_0000
)

// machine is a guest with its memory. It makes calls as a guest would; those that
// tests make at once use different structures.
type machine struct {
	t    testing.TB
	g    *Guest
	view *guestmem.View
	ram  []byte
	cpu  CPU
	at   uint64 // where structures go; names 0x2000 behind
	out  bytes.Buffer
	err  bytes.Buffer
}

// ram maps memory of size bytes.
func mapRAM(t testing.TB, size int) []byte {
	t.Helper()
	ram, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(ram) })
	return ram
}

// viewOf is guest memory made of pieces at addresses.
func viewOf(t testing.TB, pieces map[uint64][]byte) *guestmem.View {
	t.Helper()
	var s guestmem.Space
	for gpa, mem := range pieces {
		if err := s.AddMapped(gpa, mem); err != nil {
			t.Fatal(err)
		}
	}
	v := s.Acquire()
	t.Cleanup(func() { v.Release(); s.Close() })
	return v
}

func newMachine(t testing.TB, cfg Config) *machine {
	t.Helper()
	m := &machine{t: t, ram: mapRAM(t, ramSize), at: structAt}
	m.view = viewOf(t, map[uint64][]byte{ramBase: m.ram})
	cfg.Memory = m.view
	if cfg.Logger == nil {
		cfg.Logger = quiet
	}
	if cfg.Output == nil {
		cfg.Output, cfg.ErrOutput = &m.out, &m.err
	}
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.g = g
	t.Cleanup(g.Close)
	m.identity()
	return m
}

// newScratch is a file system in memory.
func newScratch(t testing.TB) *scratch.FS {
	t.Helper()
	return newSmallScratch(t, 64<<20)
}

// scratchMachine has a scratch space for its files.
func scratchMachine(t testing.TB) (*machine, *scratch.FS) {
	t.Helper()
	fs := newScratch(t)
	return newMachine(t, Config{FS: fs}), fs
}

// held checks that the guest holds as many nodes, beside the root, and handles.
func held(t testing.TB, fs vfs.Counter, nodes, handles uint64) {
	t.Helper()
	if c := fs.Counts(); c.Nodes != nodes+1 || c.Handles != handles {
		t.Errorf("%d nodes and %d handles are held, want %d and %d", c.Nodes-1, c.Handles, nodes, handles)
	}
}

// identity maps the first GiB of virtual memory to the same physical addresses, with one
// page of 1 GiB.
func (m *machine) identity() {
	m.u64(tablesAt, tablesAt+0x1000|3)
	m.u64(tablesAt+0x1000, 0x83)
	m.cpu.CR3 = tablesAt
}

// fork is a machine that makes calls for another processor of the same guest.
func (m *machine) fork(i int) *machine {
	return &machine{t: m.t, g: m.g, view: m.view, ram: m.ram, cpu: m.cpu, at: m.at + uint64(i)*0x8000}
}

// mem is guest memory at an address.
func (m *machine) mem(gpa uint64, n int) []byte {
	m.t.Helper()
	b, ok := m.view.HostGPA(gpa, uint64(n))
	if !ok {
		m.t.Fatalf("%#x is not guest memory", gpa)
	}
	return b
}

func (m *machine) u64(gpa, v uint64) { binary.LittleEndian.PutUint64(m.mem(gpa, 8), v) }

// name puts a path into memory and returns its address.
func (m *machine) name(s string) uint64 {
	at := m.at + nameAt - structAt
	copy(m.mem(at, len(s)+1), s+"\x00")
	return at
}

func (m *machine) call(n Number, arg uint64) Result { return m.g.Call(n, arg, m.cpu) }

// with makes a call about a structure and returns what has become of that.
func with[T Struct](m *machine, n Number, p *T) Result {
	copy(m.mem(m.at, len(Bytes(p))), Bytes(p))
	r := m.call(n, m.at)
	copy(Bytes(p), m.mem(m.at, len(Bytes(p))))
	return r
}

// agree checks that a result and an answer say the same.
func (m *machine) agree(r Result, answer int64) int64 {
	m.t.Helper()
	if !r.Known || r.Exit || answer < 0 && -answer != int64(r.Errno) || answer >= 0 && r.Errno != 0 {
		m.t.Errorf("the guest is told %d, the machine %+v", answer, r)
	}
	return answer
}

// The calls, by names of C. They return what the guest gets: a count or -errno.

func (m *machine) open(name string, flags, mode int32) int32 {
	m.t.Helper()
	return m.openAt(m.name(name), flags, mode)
}

func (m *machine) openAt(gpa uint64, flags, mode int32) int32 {
	m.t.Helper()
	var p OpenParams
	p.Name.Set(gpa)
	p.Flags.Set(flags)
	p.Mode.Set(mode)
	p.Ret.Set(-12345)
	return int32(m.agree(with(m, FileOpen, &p), int64(p.Ret.Get())))
}

func (m *machine) close(fd int32) int32 {
	m.t.Helper()
	var p CloseParams
	p.FD.Set(fd)
	p.Ret.Set(-12345)
	return int32(m.agree(with(m, FileClose, &p), int64(p.Ret.Get())))
}

func (m *machine) unlink(name string) int32 {
	m.t.Helper()
	var p UnlinkParams
	p.Name.Set(m.name(name))
	p.Ret.Set(-12345)
	return int32(m.agree(with(m, FileUnlink, &p), int64(p.Ret.Get())))
}

func (m *machine) write(fd int32, buf, n uint64) int64 {
	m.t.Helper()
	var p WriteParams
	p.FD.Set(fd)
	p.Buf.Set(buf)
	p.Len.Set(n)
	p.Ret.Set(-12345)
	return m.agree(with(m, FileWrite, &p), p.Ret.Get())
}

func (m *machine) read(fd int32, buf, n uint64) int64 {
	m.t.Helper()
	var p ReadParams
	p.FD.Set(fd)
	p.Buf.Set(buf)
	p.Len.Set(n)
	p.Ret.Set(-12345)
	return m.agree(with(m, FileRead, &p), p.Ret.Get())
}

func (m *machine) writeV1(fd int32, va, n uint64) Result {
	var p WriteParamsV1
	p.FD.Set(fd)
	p.Buf.Set(va)
	p.Len.Set(n)
	return with(m, V1FileWrite, &p)
}

func (m *machine) readV1(fd int32, va, n uint64) int64 {
	m.t.Helper()
	var p ReadParamsV1
	p.FD.Set(fd)
	p.Buf.Set(va)
	p.Len.Set(n)
	p.Ret.Set(-12345)
	return m.agree(with(m, V1FileRead, &p), p.Ret.Get())
}

func (m *machine) lseek(fd int32, off int64, whence uint32) int64 {
	m.t.Helper()
	var p LseekParams
	p.FD.Set(fd)
	p.Offset.Set(off)
	p.Whence.Set(whence)
	return m.agree(with(m, FileLseek, &p), p.Offset.Get())
}

func (m *machine) mkdir(name string) syscall.Errno {
	m.t.Helper()
	var p MkdirParams
	p.Path.Set(m.name(name))
	return m.tagged(with(m, Mkdir, &p), p.Tag, p.Errno)
}

func (m *machine) stat(name string, kind uint32) (FileAttr, syscall.Errno) {
	m.t.Helper()
	var p StatParams
	p.Name.Set(m.name(name))
	p.Kind.Set(kind)
	p.Attr.Set(m.at + attrAt - structAt)
	errno := m.tagged(with(m, FileStat, &p), p.Tag, p.Errno)
	return m.attr(), errno
}

func (m *machine) fstat(fd int32) (FileAttr, syscall.Errno) {
	m.t.Helper()
	var p FstatParams
	p.FD.Set(fd)
	p.Attr.Set(m.at + attrAt - structAt)
	errno := m.tagged(with(m, FileFstat, &p), p.Tag, p.Errno)
	return m.attr(), errno
}

func (m *machine) attr() (a FileAttr) {
	copy(Bytes(&a), m.mem(m.at+attrAt-structAt, 120))
	return a
}

// tagged checks that tag, errno and result say the same.
func (m *machine) tagged(r Result, tag U32, errno I32) syscall.Errno {
	m.t.Helper()
	switch {
	case tag.Get() == Success && errno.Get() == 0 && r.Errno == 0:
	case tag.Get() == Error && errno.Get() > 0 && syscall.Errno(errno.Get()) == r.Errno:
	default:
		m.t.Errorf("tag %d, errno %d, result %+v", tag.Get(), errno.Get(), r)
	}
	return r.Errno
}

// getdents returns the number of bytes, 0 at the end, or -errno.
func (m *machine) getdents(fd int32, buf, n uint64) int64 {
	m.t.Helper()
	var p GetdentsParams
	p.FD.Set(fd)
	p.Buf.Set(buf)
	p.Len.Set(n)
	r := with(m, Getdents, &p)
	switch p.Tag.Get() {
	case GetdentsSuccess:
		if p.Payload.Get() == 0 {
			m.t.Error("success with nothing")
		}
		return m.agree(r, int64(p.Payload.Get()))
	case GetdentsEnd:
		return m.agree(r, 0)
	case GetdentsError:
		return m.agree(r, -int64(p.Payload.Get()))
	}
	m.t.Errorf("tag %d", p.Tag.Get())
	return -12345
}

// dirent is one record of a listing.
type dirent struct {
	ino  uint64
	next int64
	typ  uint8
	name string
}

// records takes apart what getdents put at an address.
func (m *machine) records(buf uint64, n int64) (list []dirent) {
	m.t.Helper()
	b := m.mem(buf, int(n))
	for len(b) > 0 {
		var d Dirent64
		copy(Bytes(&d), b)
		l := int(d.Reclen.Get())
		if l%8 != 0 || l > len(b) || l < direntSize+2 {
			m.t.Fatalf("a record of %d bytes in %d", l, len(b))
		}
		name := b[direntSize:l]
		end := bytes.IndexByte(name, 0)
		if end < 0 || recordLen(end) != l {
			m.t.Fatalf("a record of %d bytes has the name %q", l, name)
		}
		list = append(list, dirent{d.Ino.Get(), d.Off.Get(), d.Type, string(name[:end])})
		b = b[l:]
	}
	return list
}

// makeFile makes a file with contents.
func (m *machine) makeFile(name, data string) {
	m.t.Helper()
	fd := m.open(name, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o644)
	if fd < firstFile {
		m.t.Fatalf("create %s: %d", name, fd)
	}
	copy(m.mem(dataAt, len(data)), data)
	if n := m.write(fd, dataAt, uint64(len(data))); n != int64(len(data)) {
		m.t.Fatalf("write %s: %d", name, n)
	}
	if e := m.close(fd); e != 0 {
		m.t.Fatalf("close %s: %d", name, e)
	}
}

// content reads a file, or returns an error as text.
func (m *machine) content(name string) string {
	m.t.Helper()
	fd := m.open(name, unix.O_RDONLY, 0)
	if fd < firstFile {
		return syscall.Errno(-fd).Error()
	}
	defer m.close(fd)
	n := m.read(fd, dataAt, 1<<20)
	if n < 0 {
		return syscall.Errno(-n).Error()
	}
	return string(m.mem(dataAt, int(n)))
}

// want compares a call's return value with -errno.
func want[T int32 | int64](t testing.TB, what string, got T, errno syscall.Errno) {
	t.Helper()
	if got != -T(errno) {
		t.Errorf("%s: %d, want -%d (%v)", what, got, uint(errno), errno)
	}
}

// symlink, which guests cannot make themselves.
func symlink(t testing.TB, fs vfs.FileSystem, target string, dir vfs.NodeID, name string) {
	t.Helper()
	n, errno := vfs.MakeName(name)
	if errno != 0 {
		t.Fatal(errno)
	}
	var e vfs.Entry
	if errno := fs.Symlink(&vfs.Request{}, dir, n, append([]byte(target), 0), &e); errno != 0 {
		t.Fatalf("symlink %s: %v", name, errno)
	}
	fs.Forget(e.Node, 1)
}

// node looks a name up and gives the reference back at the end of the test.
func node(t testing.TB, fs vfs.FileSystem, dir vfs.NodeID, name string) vfs.NodeID {
	t.Helper()
	n, _ := vfs.MakeName(name)
	var e vfs.Entry
	if errno := fs.Lookup(&vfs.Request{}, dir, n, &e); errno != 0 || e.Node == 0 {
		t.Fatalf("lookup %s: %v", name, errno)
	}
	return e.Node
}

// newSmallScratch has room for size bytes.
func newSmallScratch(t testing.TB, size uint64) *scratch.FS {
	t.Helper()
	fs, err := scratch.New(scratch.Options{Size: size, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fs.Close() })
	return fs
}
