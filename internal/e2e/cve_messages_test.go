package e2e

import (
	"encoding/binary"
	"math"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/vhostuser"
	"github.com/isthmus-fs/isthmus/vhostuser/vhosttest"
)

// TestCVE_2023_50711: vmm-sys-util believed the count in a serialised structure,
// and read and wrote behind the elements that were there.
// Ours must check every length against what came, and outlive whoever lies.
func TestCVE_2023_50711(t *testing.T) {
	d := serve(t, t.TempDir())
	inner, idle := d.inner(), 0
	fd := func(t *testing.T) int { return memfd(t, 1<<20) }
	region := guestmem.Region{GPA: 1 << 40, Size: 1 << 20, UVA: 1 << 45}
	regions := func(n int) []guestmem.Region {
		var r []guestmem.Region
		for i := range uint64(n) {
			r = append(r, guestmem.Region{GPA: 1<<40 + i<<20, Size: 1 << 20, UVA: 1<<45 + i<<20})
		}
		return r
	}
	table := func(says uint32, has int) []byte {
		return vhosttest.Regions(vhosttest.State(says, 0), regions(has)...)
	}
	long := make([]byte, vhostuser.MaxPayload)
	for _, tt := range []struct {
		name    string
		request vhostuser.Request
		payload []byte
		fds     int
		says    int // the header's size less that of the payload
	}{
		{"table of none", vhostuser.ReqSetMemTable, table(0, 0), 0, 0},
		{"table of one without any", vhostuser.ReqSetMemTable, table(1, 0), 1, 0},
		{"table of eight with one", vhostuser.ReqSetMemTable, table(8, 1), 8, 0},
		{"table of nine", vhostuser.ReqSetMemTable, table(9, 9), 9, 0},
		{"table of 2³²−1", vhostuser.ReqSetMemTable, table(math.MaxUint32, 8), 8, 0},
		{"table of 2³¹", vhostuser.ReqSetMemTable, table(1<<31, 8), 8, 0},
		{"table of 2²⁷, which is 0 bytes in 32 bits", vhostuser.ReqSetMemTable, table(1<<27, 8), 8, 0},
		{"table that is cut", vhostuser.ReqSetMemTable, table(2, 2)[:60], 2, 0},
		{"table of four bytes", vhostuser.ReqSetMemTable, table(1, 1)[:4], 1, 0},
		{"table with too few files", vhostuser.ReqSetMemTable, table(2, 2), 1, 0},
		{"table with too many files", vhostuser.ReqSetMemTable, table(1, 1), 8, 0},
		{"table with 200 files", vhostuser.ReqSetMemTable, table(8, 8), 200, 0},
		{"region that is cut", vhostuser.ReqAddMemReg, vhosttest.MemReg(region)[:39], 1, 0},
		{"region without its file", vhostuser.ReqAddMemReg, vhosttest.MemReg(region), 0, 0},
		{"region with three files", vhostuser.ReqAddMemReg, vhosttest.MemReg(region), 3, 0},
		{"removal that is cut", vhostuser.ReqRemMemReg, vhosttest.MemReg(region)[:20], 0, 0},
		{"removal of what is not there", vhostuser.ReqRemMemReg, vhosttest.MemReg(region), 0, 0},
		{"configuration of no length", vhostuser.ReqGetConfig, vhosttest.ConfigRange(0, 0, 0, nil), 0, 0},
		{"configuration of 4 GiB", vhostuser.ReqGetConfig, vhosttest.ConfigRange(0, math.MaxUint32, 0, nil), 0, 0},
		{"configuration at 4 GiB", vhostuser.ReqGetConfig, vhosttest.ConfigRange(math.MaxUint32, 44, 0, make([]byte, 44)), 0, 0},
		{"configuration that wraps around", vhostuser.ReqGetConfig, vhosttest.ConfigRange(math.MaxUint32-4, 44, 0, make([]byte, 44)), 0, 0},
		{"configuration with less than it says", vhostuser.ReqGetConfig, vhosttest.ConfigRange(0, 256, 0, make([]byte, 8)), 0, 0},
		{"configuration that is cut", vhostuser.ReqGetConfig, vhosttest.ConfigRange(0, 44, 0, nil)[:7], 0, 0},
		{"configuration to be written", vhostuser.ReqSetConfig, vhosttest.ConfigRange(0, 44, 0, make([]byte, 44)), 0, 0},
		{"configuration to be written everywhere", vhostuser.ReqSetConfig, vhosttest.ConfigRange(math.MaxUint32, math.MaxUint32, 0, long[:100]), 0, 0},
		{"log of 2⁶⁴−1", vhostuser.ReqSetLogBase, quads(math.MaxUint64, 0), 1, 0},
		{"log that wraps around", vhostuser.ReqSetLogBase, quads(1<<20, math.MaxUint64), 1, 0},
		{"log without a file", vhostuser.ReqSetLogBase, quads(4096, 0), 0, 0},
		{"log that is cut", vhostuser.ReqSetLogBase, quads(4096), 1, 0},
		{"log descriptor that is a file", vhostuser.ReqSetLogFD, nil, 1, 0},
		{"inflight of 2⁶⁴−1", vhostuser.ReqSetInflightFD, append(quads(math.MaxUint64, 0), 255, 255, 255, 255), 1, 0},
		{"inflight without a file", vhostuser.ReqSetInflightFD, append(quads(4096, 0), 2, 0, 64, 0), 0, 0},
		{"inflight of 65535 queues", vhostuser.ReqGetInflightFD, append(quads(0, 0), 255, 255, 255, 255), 0, 0},
		{"state to a file", vhostuser.ReqSetDeviceStateFD, quads(math.MaxUint64), 1, 0},
		{"IOTLB", vhostuser.ReqIotlbMsg, long[:40], 0, 0},
		{"ring of no size", vhostuser.ReqSetVringNum, vhosttest.State(1, 0), 0, 0},
		{"ring of 3", vhostuser.ReqSetVringNum, vhosttest.State(1, 3), 0, 0},
		{"ring of 65536", vhostuser.ReqSetVringNum, vhosttest.State(1, 1<<16), 0, 0},
		{"ring of 2³¹", vhostuser.ReqSetVringNum, vhosttest.State(1, 1<<31), 0, 0},
		{"ring number 2", vhostuser.ReqSetVringNum, vhosttest.State(2, 64), 0, 0},
		{"ring number 2³²−1", vhostuser.ReqGetVringBase, vhosttest.State(math.MaxUint32, 0), 0, 0},
		{"base of 65536", vhostuser.ReqSetVringBase, vhosttest.State(1, 1<<16), 0, 0},
		{"ring at the end of all addresses", vhostuser.ReqSetVringAddr, vhosttest.Addr(1, 0, math.MaxUint64-15, math.MaxUint64-15, math.MaxUint64-15, 0), 0, 0},
		{"ring with a log", vhostuser.ReqSetVringAddr, vhosttest.Addr(1, 1, 0, 0, 0, math.MaxUint64), 0, 0},
		{"addresses that are cut", vhostuser.ReqSetVringAddr, vhosttest.Addr(1, 0, 0, 0, 0, 0)[:39], 0, 0},
		{"kick by a file", vhostuser.ReqSetVringKick, vhosttest.U64(1), 1, 0},
		{"kick for ring 255", vhostuser.ReqSetVringKick, vhosttest.U64(255), 1, 0},
		{"kick that is cut", vhostuser.ReqSetVringKick, vhosttest.U64(1)[:1], 1, 0},
		{"kick of none with one", vhostuser.ReqSetVringKick, vhosttest.U64(1 << 8), 1, 0},
		{"features in four bytes", vhostuser.ReqSetFeatures, quads(1 << 32)[:4], 0, 0},
		{"features that nobody has", vhostuser.ReqSetFeatures, quads(math.MaxUint64), 0, 0},
		{"protocol features that nobody has", vhostuser.ReqSetProtocolFeatures, quads(math.MaxUint64), 0, 0},
		{"back channel that is a file", vhostuser.ReqSetBackendReqFD, nil, 1, 0},
		{"message 0", 0, long, 8, 0},
		{"message 2³²−1", math.MaxUint32, long, 8, 0},
		{"header of less than there is", vhostuser.ReqSetFeatures, long, 0, 8 - vhostuser.MaxPayload},
		{"header of nothing", vhostuser.ReqSetMemTable, table(1, 1), 1, -40},
		{"header of more than there is", vhostuser.ReqSetMemTable, table(1, 1), 1, 1000},
		{"header of one more than allowed", vhostuser.ReqSetMemTable, long, 1, 1},
		{"header of 2³²−1", vhostuser.ReqGetConfig, nil, 0, math.MaxUint32},
		{"header of 2³¹", vhostuser.ReqGetConfig, nil, 0, math.MinInt32},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var fds []int
			for range tt.fds {
				fds = append(fds, fd(t))
			}
			for _, reply := range []uint32{0, vhostuser.FlagNeedReply} {
				g := attack(t, d)
				if idle == 0 {
					idle = d.openFiles()
				}
				m := vhosttest.Message{Request: tt.request, Flags: vhostuser.FlagVersion | reply, Payload: tt.payload, FDs: fds}
				b := m.Append(nil)
				binary.NativeEndian.PutUint32(b[8:], uint32(len(tt.payload)+tt.says))
				if err := g.fe.SendBytes(b, fds...); err != nil {
					t.Fatal(err)
				}
				g.fe.CloseWrite()
				g.fe.Discard()
				g.fe.Close()
			}
			d.survives(inner)
		})
	}
	// Descriptors that came along were not kept.
	g := attack(t, d)
	eventually(t, "the daemon closes what it was sent", func() bool { return d.openFiles() <= idle })
	g.hangUp()
}

// TestCVE_2023_50711_Regions has memory regions that are no memory, each
// described without fault of form. The daemon has to say no, and the guest goes
// on with the memory that it has.
func TestCVE_2023_50711_Regions(t *testing.T) {
	share := t.TempDir()
	d := serve(t, share)
	inner := d.inner()
	const page = 4096
	good := guestmem.Region{GPA: 1 << 40, Size: page, UVA: 1 << 45}
	with := func(change func(r *guestmem.Region)) guestmem.Region {
		r := good
		change(&r)
		return r
	}
	for _, tt := range []struct {
		name string
		r    guestmem.Region
		file func(t *testing.T) int // nil: of one page
		fine bool
	}{
		{"as it should be", good, nil, true},
		{"no size", with(func(r *guestmem.Region) { r.Size = 0 }), nil, false},
		{"one byte more than the file", with(func(r *guestmem.Region) { r.Size++ }), nil, false},
		{"offset one too far", with(func(r *guestmem.Region) { r.Offset = 1 }), nil, false},
		{"offset of 2⁶³", with(func(r *guestmem.Region) { r.Offset = 1 << 63 }), nil, false},
		{"offset that wraps around", with(func(r *guestmem.Region) { r.Offset = math.MaxUint64 - page + 1 }), nil, false},
		{"size of 2⁶³", with(func(r *guestmem.Region) { r.Size = 1 << 63 }), nil, false},
		{"size of 2⁶⁴−1", with(func(r *guestmem.Region) { r.Size = math.MaxUint64 }), nil, false},
		{"at the end of all addresses", with(func(r *guestmem.Region) { r.GPA = math.MaxUint64 - page + 2 }), nil, false},
		{"front end at the end of all addresses", with(func(r *guestmem.Region) { r.UVA = math.MaxUint64 - page + 2 }), nil, false},
		{"where there is memory", with(func(r *guestmem.Region) { r.GPA = attackerMemory }), nil, false},
		{"ending in memory", with(func(r *guestmem.Region) { r.GPA = attackerMemory - page + 1 }), nil, false},
		{"empty file", good, func(t *testing.T) int { return memfd(t, 0) }, false},
		{"read-only file", good, func(t *testing.T) int { return opened(t, "/etc/passwd", os.O_RDONLY) }, false},
		{"directory", good, func(t *testing.T) int { return opened(t, "/", os.O_RDONLY) }, false},
		{"name only", good, func(t *testing.T) int { return opened(t, share, unix.O_PATH) }, false},
		{"eventfd", good, eventfd, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.r.FD = memfd(t, page)
			if tt.file != nil {
				tt.r.FD = tt.file(t)
			}
			for name, send := range map[string]func(g *hostile) error{
				"ADD_MEM_REG":   func(g *hostile) error { return g.fe.AddMemReg(tt.r) },
				"SET_MEM_TABLE": func(g *hostile) error { return g.fe.SetMemTable(g.withRegion(tt.r)...) },
			} {
				g := attack(t, d)
				if err := send(g); (err == nil) != tt.fine {
					t.Errorf("%s: %v", name, err)
				}
				if _, errno := g.Getattr(vfs.Root, vfs.NoHandle); errno != 0 {
					t.Errorf("GETATTR after %s: %v", name, errno)
				}
				g.hangUp()
			}
			d.survives(inner)
		})
	}
}

// withRegion returns the guest's memory and one more region.
func (g *hostile) withRegion(r guestmem.Region) []guestmem.Region {
	g.t.Helper()
	regions, err := g.mem.Regions()
	if err != nil {
		g.t.Fatal(err)
	}
	for i := range regions {
		g.t.Cleanup(func() { unix.Close(regions[i].FD) })
	}
	return append(regions, r)
}

func quads(v ...uint64) (b []byte) {
	for _, q := range v {
		b = binary.NativeEndian.AppendUint64(b, q)
	}
	return b
}

func memfd(t *testing.T, size int64) int {
	t.Helper()
	fd, err := unix.MemfdCreate("e2e", unix.MFD_CLOEXEC)
	if err == nil {
		t.Cleanup(func() { unix.Close(fd) })
		err = unix.Ftruncate(fd, size)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func opened(t *testing.T, path string, flags int) int {
	t.Helper()
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func eventfd(t *testing.T) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}
