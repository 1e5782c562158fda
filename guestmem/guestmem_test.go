package guestmem

import (
	"math"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const page = 4096

// memfd returns a file of n bytes that the receiver closes.
func memfd(t testing.TB, name string, n int64) int {
	t.Helper()
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Ftruncate(fd, n); err != nil {
		t.Fatal(err)
	}
	return fd
}

func dup(t testing.TB, fd int) int {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func isOpen(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil
}

// mappings returns how often the memfd name is mapped in this process.
func mappings(t testing.TB, name string) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(maps), "/memfd:"+name+" ")
}

// region returns a region of a file of its own.
func region(t testing.TB, gpa, size, uva uint64) Region {
	return Region{GPA: gpa, Size: size, UVA: uva, FD: memfd(t, "region", int64(size))}
}

func acquire(t testing.TB, s *Space) *View {
	t.Helper()
	v := s.Acquire()
	t.Cleanup(v.Release)
	return v
}

func TestIovecs(t *testing.T) {
	const top = math.MaxUint64 - page + 1 // the last page there is
	var s Space
	defer s.Close()
	fd := memfd(t, "iovecs", 16*page)
	if err := s.Replace([]Region{
		{GPA: 0x4000, Size: 0x1000, UVA: 0x10000, FD: dup(t, fd), Offset: 0x1000},
		{GPA: 0x0000, Size: 0x1000, UVA: 0x30000, FD: dup(t, fd), Offset: 0x3008},
		{GPA: 0x1000, Size: 0x0801, UVA: 0x50000, FD: dup(t, fd), Offset: 0x6000},
		{GPA: 0x1801, Size: 0x07ff, UVA: 0x70000, FD: dup(t, fd), Offset: 0x8000},
		{GPA: top, Size: page, UVA: top, FD: fd, Offset: 0xa000},
	}); err != nil {
		t.Fatal(err)
	}
	v := acquire(t, &s)
	for _, c := range []struct {
		name string
		gpa  uint64
		n    uint32
		want []uint64 // lengths; nil: outside
	}{
		{"nothing", 0x10, 0, []uint64{}},
		{"nothing, outside", 0x9999999, 0, []uint64{}},
		{"first byte", 0, 1, []uint64{1}},
		{"a region", 0, 0x1000, []uint64{0x1000}},
		{"last byte", 0xfff, 1, []uint64{1}},
		{"a border", 0xfff, 2, []uint64{1, 1}},
		{"an odd border", 0x1800, 2, []uint64{1, 1}},
		{"two borders", 0xffe, 0x1002, []uint64{2, 0x801, 0x7ff}},
		{"all before the hole", 0, 0x2000, []uint64{0x1000, 0x801, 0x7ff}},
		{"into the hole", 0x1fff, 2, nil},
		{"all, and into the hole", 0, 0x2001, nil},
		{"in the hole", 0x2000, 1, nil},
		{"across the hole", 0x1fff, 0x2002, nil},
		{"out of the hole", 0x3fff, 2, nil},
		{"after the hole", 0x4000, 0x1000, []uint64{0x1000}},
		{"beyond", 0x5000, 1, nil},
		{"before the last page", top - 1, 2, nil},
		{"the last page", top, page, []uint64{page}},
		{"last byte of all", math.MaxUint64, 1, []uint64{1}},
		{"around the end", math.MaxUint64, 2, nil},
		{"the longest", 0, math.MaxUint32, nil},
		{"the longest from the end", math.MaxUint64, math.MaxUint32, nil},
	} {
		first := unix.Iovec{Len: 77}
		got, ok := v.Iovecs([]unix.Iovec{first}, c.gpa, c.n)
		if got[0] != first {
			t.Errorf("%s: touched what stood before", c.name)
		}
		got = got[1:]
		if ok != (c.want != nil) {
			t.Errorf("%s: ok = %v", c.name, ok)
			continue
		}
		if !ok {
			if len(got) != 1 || got[0].Base != nil || got[0].Len != uint64(c.n) {
				t.Errorf("%s: %v, want one iovec without base", c.name, got)
			}
			continue
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: %d iovecs, want %d", c.name, len(got), len(c.want))
			continue
		}
		gpa := c.gpa
		for i := range got {
			want, _ := v.HostGPA(gpa, 1)
			if got[i].Len != c.want[i] || got[i].Base != &want[0] {
				t.Errorf("%s: iovec %d is %v, want %d bytes at %p", c.name, i, got[i], c.want[i], &want[0])
			}
			gpa += got[i].Len
		}
	}
}

func TestHost(t *testing.T) {
	var s Space
	defer s.Close()
	fd := memfd(t, "host", 4*page)
	content := make([]byte, 4*page)
	for i := range content {
		content[i] = byte(i / 7)
	}
	if _, err := unix.Pwrite(fd, content, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Replace([]Region{
		{GPA: 0, Size: page, UVA: 0x7f0000001000, FD: dup(t, fd), Offset: page + 3},
		{GPA: page, Size: page, UVA: 0x7f0000000000, FD: fd, Offset: 2*page + 8},
	}); err != nil {
		t.Fatal(err)
	}
	v := acquire(t, &s)
	for _, c := range []struct {
		name string
		f    func(addr, n uint64) ([]byte, bool)
		addr uint64
		n    uint64
		want int // file offset; −1: outside
	}{
		{"GPA", v.HostGPA, 5, 10, page + 8},
		{"GPA, whole", v.HostGPA, page, page, 2*page + 8},
		{"GPA, none", v.HostGPA, 7, 0, page + 10},
		{"GPA, over a border", v.HostGPA, page - 1, 2, -1},
		{"GPA, beyond", v.HostGPA, 2 * page, 0, -1},
		{"GPA, huge", v.HostGPA, 1, math.MaxUint64, -1},
		{"UVA", v.HostUVA, 0x7f0000001000, page, page + 3},
		{"UVA, other", v.HostUVA, 0x7f0000000fff, 1, 2*page + 8 + 0xfff},
		{"UVA, over a border", v.HostUVA, 0x7f0000000fff, 2, -1},
		{"UVA, below", v.HostUVA, 0x7effffffffff, 1, -1},
		{"UVA, above", v.HostUVA, 0x7f0000002000, 1, -1},
		{"UVA, huge", v.HostUVA, 0x7f0000000001, math.MaxUint64, -1},
	} {
		got, ok := c.f(c.addr, c.n)
		switch {
		case ok != (c.want >= 0):
			t.Errorf("%s: ok = %v", c.name, ok)
		case ok && string(got) != string(content[c.want:c.want+int(c.n)]):
			t.Errorf("%s: wrong bytes", c.name)
		case ok && cap(got) != len(got):
			t.Errorf("%s: the slice can grow beyond what was asked for", c.name)
		}
	}
}

func TestRefusals(t *testing.T) {
	base := func() Region { return region(t, 0x10000, 0x2000, 0x7f0000010000) }
	with := func(change func(*Region)) Region {
		r := base()
		change(&r)
		return r
	}
	readOnly := func() int {
		f, err := os.CreateTemp(t.TempDir(), "ro")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(0x2000); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Open(f.Name(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	for _, c := range []struct {
		name string
		add  Region
		want string // part of the message
	}{
		{"same GPA", region(t, 0x10000, 0x2000, 0x1000000), "overlap"},
		{"last byte", region(t, 0xf000, 0x1001, 0x1000000), "overlap"},
		{"inside", region(t, 0x10800, 1, 0x1000000), "overlap"},
		{"around", region(t, 0, 0x40000, 0x1000000), "overlap"},
		{"tail", region(t, 0x11fff, 0x1000, 0x1000000), "overlap"},
		{"same UVA", region(t, 0x100000, 1, 0x7f0000011fff), "front-end"},
		{"empty", with(func(r *Region) { r.Size = 0 }), "empty"},
		{"GPA wraps", with(func(r *Region) { r.GPA = math.MaxUint64 - 0x1ffe }), "guest-physical"},
		{"UVA wraps", with(func(r *Region) { r.UVA = math.MaxUint64 - 0x1ffe }), "front-end"},
		{"offset wraps", with(func(r *Region) { r.Offset = math.MaxUint64 - 0x1000 }), "end of any file"},
		{"offset too large for a file", with(func(r *Region) { r.Offset = math.MaxInt64 }), "end of any file"},
		{"beyond the file", with(func(r *Region) { r.Offset = 1 }), "0x2001 of a file of 0x2000"},
		{"far beyond the file", with(func(r *Region) { r.Offset = 1 << 40 }), "of a file of 0x2000"},
		{"read-only", with(func(r *Region) { unix.Close(r.FD); r.FD = readOnly() }), "not open for reading and writing"},
		{"no file", with(func(r *Region) { unix.Close(r.FD); r.FD = -1 }), "shared"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s Space
			defer s.Close()
			if err := s.Add(base()); err != nil {
				t.Fatal(err)
			}
			again := c.add
			if again.FD >= 0 {
				again.FD = dup(t, c.add.FD)
			}
			for how, err := range map[string]error{
				"Add":     s.Add(c.add),
				"Replace": s.Replace([]Region{base(), again}),
			} {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: error %v, want one with %q", how, err, c.want)
				}
			}
			if c.add.FD >= 0 && (isOpen(c.add.FD) || isOpen(again.FD)) {
				t.Error("the file is still open")
			}
			v := acquire(t, &s)
			if _, ok := v.HostGPA(0x10000, 0x2000); !ok || len(v.byGPA) != 1 {
				t.Error("a change that failed changed the table")
			}
		})
	}
}

func TestTouchingRegionsAreNoOverlap(t *testing.T) {
	var s Space
	defer s.Close()
	for _, gpa := range []uint64{0x2000, 0, 0x1000} {
		if err := s.Add(region(t, gpa, 0x1000, 0x10000-gpa)); err != nil {
			t.Fatal(err)
		}
	}
	v := acquire(t, &s)
	if iov, ok := v.Iovecs(nil, 0, 0x3000); !ok || len(iov) != 3 {
		t.Errorf("%v, %v", iov, ok)
	}
}

func TestMaxRegions(t *testing.T) {
	var s Space
	defer s.Close()
	fd := memfd(t, "many", page)
	var rs []Region
	for i := range uint64(MaxRegions) {
		rs = append(rs, Region{GPA: i * 8, Size: 8, UVA: i * 8, FD: fd, Offset: i})
	}
	extra := func() Region { return region(t, 1<<32, page, 1<<32) }
	if err := s.Replace(append(rs, extra())); err == nil || isOpen(fd) {
		t.Errorf("Replace with one too many: %v, file open: %v", err, isOpen(fd))
	}
	fd = memfd(t, "many", page)
	for i := range rs {
		rs[i].FD = fd
	}
	if err := s.Replace(rs); err != nil {
		t.Fatal(err)
	}
	if err := s.Add(extra()); err == nil {
		t.Error("Add of one too many")
	}
	if err := s.AddMapped(1<<32, make([]byte, 8)); err == nil {
		t.Error("AddMapped of one too many")
	}
	v := acquire(t, &s)
	for i := range uint64(MaxRegions) {
		if b, ok := v.HostGPA(i*8, 8); !ok || len(b) != 8 {
			t.Fatalf("region %d is not there", i)
		}
	}
	if iov, ok := v.Iovecs(nil, 1, MaxRegions*8-2); !ok || len(iov) != MaxRegions {
		t.Errorf("%d iovecs, %v", len(iov), ok)
	}
}

func TestRemove(t *testing.T) {
	var s Space
	defer s.Close()
	for _, gpa := range []uint64{0x1000, 0x4000, 0x8000} {
		if err := s.Add(region(t, gpa, 0x1000, gpa+0x100000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.AddMapped(0x20000, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range [][3]uint64{
		{0x4001, 0x1000, 0x104000}, {0x4000, 0xfff, 0x104000}, {0x4000, 0x1000, 0x104001}, {0x4000, 0x1000, 0x101000},
	} {
		if err := s.Remove(wrong[0], wrong[1], wrong[2]); err == nil {
			t.Errorf("%#x: removed", wrong)
		}
	}
	old := s.Acquire()
	if err := s.Remove(0x4000, 0x1000, 0x104000); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(0x20000, 100, 0); err != nil {
		t.Fatal(err)
	}
	v := acquire(t, &s)
	for gpa, want := range map[uint64]bool{0x1000: true, 0x4000: false, 0x8000: true, 0x20000: false} {
		if _, ok := v.HostGPA(gpa, 1); ok != want {
			t.Errorf("after Remove, %#x is there: %v", gpa, ok)
		}
		if _, ok := v.HostUVA(gpa+0x100000, 1); ok != want {
			t.Errorf("after Remove, front-end address of %#x is there: %v", gpa, ok)
		}
		if _, ok := old.HostGPA(gpa, 1); !ok {
			t.Errorf("%#x vanished from an old View", gpa)
		}
	}
	old.Release()
}

func TestAddMapped(t *testing.T) {
	var s Space
	defer s.Close()
	mem := make([]byte, 100)
	if err := s.AddMapped(0x1000, mem); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"overlap": s.AddMapped(0x1063, mem),
		"empty":   s.AddMapped(0, nil),
		"wraps":   s.AddMapped(math.MaxUint64-98, mem),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	// Several have no front-end address; that is no overlap.
	if err := s.AddMapped(0x5000, mem); err != nil {
		t.Fatal(err)
	}
	v := acquire(t, &s)
	if b, ok := v.HostGPA(0x1001, 3); !ok || &b[0] != &mem[1] {
		t.Error("not the memory that was added")
	}
	if _, ok := v.HostUVA(0, 1); ok {
		t.Error("front-end address 0 is there")
	}
}

func TestLookupsDoNotAllocate(t *testing.T) {
	var s Space
	defer s.Close()
	for gpa := uint64(0); gpa < 4*page; gpa += page {
		if err := s.Add(region(t, gpa, page, gpa)); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]unix.Iovec, 0, 8)
	if n := testing.AllocsPerRun(100, func() {
		v := s.Acquire()
		v.Retain()
		buf, _ = v.Iovecs(buf[:0], page-1, 2*page)
		buf, _ = v.Iovecs(buf[:0], 100*page, 1)
		v.HostGPA(0, 1)
		v.HostUVA(0, 1)
		v.Release()
		v.Release()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkIovecs(b *testing.B) {
	var s Space
	defer s.Close()
	for gpa := uint64(0); gpa < 4*page; gpa += page {
		if err := s.Add(region(b, gpa, page, gpa)); err != nil {
			b.Fatal(err)
		}
	}
	v := s.Acquire()
	defer v.Release()
	buf := make([]unix.Iovec, 0, 8)
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = v.Iovecs(buf[:0], 2*page+8, 128)
	}
}
