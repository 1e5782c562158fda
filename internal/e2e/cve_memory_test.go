package e2e

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fuse/fusetest"
	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/virtiofs/virtiofstest"
	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

// A guarded guest has memory in one file, of which only the middle is the
// daemon's, and after it a last region of one page with nothing on either side:
//
//	file:   guard | the middle | guard | the last page | guard
//	daemon:         ^^^^^^^^^^           ^^^^^^^^^^^^^
const (
	guardSize  = 1 << 16
	middleSize = queues * (2*virtiofstest.Room + 1<<20)
	lastSize   = 4096
	// Offsets in the file and, with attackerMemory, addresses of the guest.
	middleAt = guardSize
	lastAt   = middleAt + middleSize + guardSize
	fileSize = lastAt + lastSize + guardSize
	lastEnd  = attackerMemory + lastAt + lastSize
)

var (
	guardPattern = bytes.Repeat([]byte("GUARD"), guardSize/5+1)[:guardSize]
	guards       = []uint64{0, middleAt + middleSize, lastAt + lastSize}
)

func attackGuarded(t *testing.T, d *daemon, cfg virtqtest.Config) *hostile {
	t.Helper()
	g := connect(t, d)
	g.remember(virtqtest.Segment{GPA: attackerMemory, Size: fileSize})
	for _, at := range guards {
		copy(g.bytes(attackerMemory+at, guardSize), guardPattern)
	}
	if _, err := g.mem.Alloc(guardSize, 1); err != nil { // what comes next is in the middle
		t.Fatal(err)
	}
	for _, r := range []guestmem.Region{{Offset: middleAt, Size: middleSize}, {Offset: lastAt, Size: lastSize}} {
		r.GPA, r.UVA, r.FD = attackerMemory+r.Offset, g.mem.UVA(attackerMemory+r.Offset), g.mem.FD()
		if err := g.fe.AddMemReg(r); err != nil {
			t.Fatal(err)
		}
	}
	g.startRings(cfg, fusetest.Linux())
	return g
}

// bytes returns n bytes of the guest's memory.
func (g *hostile) bytes(gpa uint64, n int) []byte {
	return g.mem.Bytes(virtqtest.Buf{GPA: gpa, Len: uint32(n)})
}

// guardsStand reports guards that were written to.
func (g *hostile) guardsStand() {
	g.t.Helper()
	for _, at := range guards {
		if !bytes.Equal(g.bytes(attackerMemory+at, guardSize), guardPattern) {
			g.t.Errorf("the daemon wrote into the guard at %#x", at)
		}
	}
}

// TestCVE_2023_41051: vm-memory handed out slices of guest memory that reached
// over its end, to be read and written.
// Ours must give nothing of a buffer that is not whole in memory: EFAULT for the
// request that it belongs to, or no answer at all.
func TestCVE_2023_41051(t *testing.T) {
	share := t.TempDir()
	content := bytes.Repeat([]byte{'c'}, guardSize)
	if err := os.WriteFile(filepath.Join(share, "source"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	d := serve(t, share)
	inner := d.inner()
	for _, tt := range []struct {
		name string
		buf  virtqtest.Buf // of data
		fine bool
	}{
		{"up to the end", virtqtest.Buf{GPA: lastEnd - 100, Len: 100}, true},
		{"the whole region", virtqtest.Buf{GPA: lastEnd - lastSize, Len: lastSize}, true},
		{"one byte over the end", virtqtest.Buf{GPA: lastEnd - 99, Len: 100}, false},
		{"far over the end", virtqtest.Buf{GPA: lastEnd - 16, Len: 8192}, false},
		{"behind the end", virtqtest.Buf{GPA: lastEnd, Len: 100}, false},
		{"before the beginning", virtqtest.Buf{GPA: lastEnd - lastSize - 1, Len: 100}, false},
		{"from before to behind", virtqtest.Buf{GPA: lastEnd - lastSize - 1, Len: lastSize + 2}, false},
		{"from one region to the other", virtqtest.Buf{GPA: attackerMemory + middleAt + middleSize - 16, Len: guardSize + 32}, false},
		{"at the end of all addresses", virtqtest.Buf{GPA: math.MaxUint64 - 99, Len: 100}, false},
		{"around the end of all addresses", virtqtest.Buf{GPA: math.MaxUint64 - 15, Len: 4096}, false},
		{"2 GiB", virtqtest.Buf{GPA: lastEnd - lastSize, Len: 1 << 31}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := attackGuarded(t, d, virtqtest.Config{Size: 64})
			size := min(tt.buf.Len, 64<<10)
			source := g.lookup(vfs.Root, "source")
			from, errno := g.Open(source.Node, uint32(os.O_RDONLY), false)
			if errno != 0 {
				t.Fatal(errno)
			}
			to, target, errno := g.Create(vfs.Root, fmt.Sprintf("target %s", tt.name), uint32(os.O_RDWR), 0o100644, 0)
			if errno != 0 {
				t.Fatal(errno)
			}
			if tt.fine {
				copy(g.bytes(tt.buf.GPA, int(tt.buf.Len)), bytes.Repeat([]byte{'w'}, int(tt.buf.Len)))
			}

			// The daemon reads the buffer: WRITE.
			write := fusetest.Append(nil).U64(uint64(target.Handle)).U64(0).U32(size).U32(0).U64(0).U32(2).U32(0)
			head := g.request(fuse.WRITE, to.Node, write, int(size))
			reply := g.alloc(make([]byte, 24))
			header := virtqtest.Buf{GPA: reply.GPA, Len: fusetest.OutHeaderSize}
			used := g.chain([]virtqtest.Buf{head, tt.buf}, []virtqtest.Buf{reply})
			wrote := checkReply(t, "WRITE", used, g.mem.Bytes(reply), 24, tt.fine)
			stored, err := os.ReadFile(filepath.Join(share, fmt.Sprintf("target %s", tt.name)))
			if err != nil {
				t.Fatal(err)
			}
			if bytes.ContainsAny(stored, "GUARD") || wrote != (len(stored) > 0) {
				t.Errorf("WRITE stored %d bytes: %.40q", len(stored), stored)
			}

			// The daemon writes the buffer: READ.
			read := fusetest.Append(nil).U64(uint64(from.Handle)).U64(0).U32(size).U32(0).U64(0).U32(0).U32(0)
			head = g.request(fuse.READ, source.Node, read, 0)
			used = g.chain([]virtqtest.Buf{head}, []virtqtest.Buf{header, tt.buf})
			if checkReply(t, "READ", used, g.mem.Bytes(reply), int(header.Len+size), tt.fine) && tt.fine {
				if got := g.bytes(tt.buf.GPA, int(size)); !bytes.Equal(got, content[:len(got)]) {
					t.Errorf("READ gave %.40q", got)
				}
			}

			// The request itself is there, and then the place of its answer.
			getattr := g.request(fuse.GETATTR, vfs.Root, make([]byte, 16), 0)
			g.chain([]virtqtest.Buf{tt.buf}, []virtqtest.Buf{reply})
			if used := g.chain([]virtqtest.Buf{getattr}, []virtqtest.Buf{tt.buf}); used != 0 && !tt.fine {
				t.Errorf("GETATTR says that it wrote %d bytes to where there is no memory", used)
			}
			g.guardsStand()
			if _, errno := g.Getattr(vfs.Root, vfs.NoHandle); errno != 0 {
				t.Errorf("GETATTR afterwards: %v, %v", errno, g.Err())
			}
			g.hangUp()
			d.survives(inner)
		})
	}
}

// checkReply checks a reply and reports whether it is one of success.
func checkReply(t *testing.T, op string, used int, reply []byte, want int, fine bool) bool {
	t.Helper()
	_, errno, err := fusetest.Reply(used, reply, handmade)
	switch {
	case err != nil:
		t.Errorf("%s: %v", op, err)
	case fine && (errno != 0 || used != want):
		t.Errorf("%s: %v, %d bytes, want success with %d", op, errno, used, want)
	case !fine && errno != syscall.EFAULT:
		t.Errorf("%s: %v, want EFAULT", op, errno)
	}
	return errno == 0
}

// handmade is the number of requests that a test lays into memory itself.
const handmade = 0x4711_0000

// request lays a request into memory, all but the data that follow args.
func (g *hostile) request(op fuse.Opcode, node vfs.NodeID, args []byte, data int) virtqtest.Buf {
	g.t.Helper()
	h := fusetest.Header{Len: uint32(fusetest.InHeaderSize + len(args) + data), Op: op, Unique: handmade, Node: uint64(node)}
	return g.alloc(append(h.Append(nil), args...))
}

func (g *hostile) alloc(b []byte) virtqtest.Buf {
	g.t.Helper()
	buf, err := g.mem.Alloc(len(b), 8)
	if err != nil {
		g.t.Fatal(err)
	}
	copy(g.mem.Bytes(buf), b)
	return buf
}

// chain sends one chain of buffers and waits until it comes back.
func (g *hostile) chain(in, out []virtqtest.Buf) (used int) {
	g.t.Helper()
	q := g.queues[1]
	if _, ok := q.AddChain(in, out); !ok {
		g.t.Fatal("no free descriptors")
	}
	q.Publish()
	q.Kick()
	used, err := q.Receive(nil)
	if err != nil {
		g.t.Fatal(err)
	}
	return used
}

// TestCVE_2023_41051_Tables has what the daemon itself reads and writes at the
// end of memory and over it: rings, and tables of descriptors.
func TestCVE_2023_41051_Tables(t *testing.T) {
	d := serve(t, t.TempDir())
	inner := d.inner()
	const size = 16
	desc, avail, used := uint64(virtq.DescSize(size)), uint64(virtq.AvailSize(size)), uint64(virtq.UsedSize(size))
	sane := virtqtest.Layout{Desc: lastEnd - 4096, Avail: lastEnd - 2048, Used: lastEnd - 1024}
	with := func(change func(l *virtqtest.Layout)) virtqtest.Layout {
		l := sane
		change(&l)
		return l
	}
	for _, tt := range []struct {
		name string
		at   virtqtest.Layout
		fine bool
	}{
		{"inside", sane, true},
		{"descriptors up to the end", with(func(l *virtqtest.Layout) { l.Desc = lastEnd - desc }), true},
		{"used up to the end", with(func(l *virtqtest.Layout) { l.Used = (lastEnd - used) &^ 3 }), true},
		{"descriptors over the end", with(func(l *virtqtest.Layout) { l.Desc = lastEnd - desc + 16 }), false},
		{"available over the end", with(func(l *virtqtest.Layout) { l.Avail = (lastEnd-avail)&^1 + 2 }), false},
		{"used over the end", with(func(l *virtqtest.Layout) { l.Used = (lastEnd-used)&^3 + 4 }), false},
		{"used in the guard", with(func(l *virtqtest.Layout) { l.Used = lastEnd }), false},
		{"descriptors in the guard", with(func(l *virtqtest.Layout) { l.Desc = attackerMemory }), false},
		{"descriptors at an odd place", with(func(l *virtqtest.Layout) { l.Desc += 8 }), false},
		{"used at an odd place", with(func(l *virtqtest.Layout) { l.Used += 2 }), false},
	} {
		t.Run("ring "+tt.name, func(t *testing.T) {
			g := attackGuarded(t, d, virtqtest.Config{Size: 64})
			if _, err := g.fe.GetVringBase(1); err != nil {
				t.Fatal(err)
			}
			q, err := virtqtest.New(g.mem, virtqtest.Config{Size: size, At: &tt.at})
			if err != nil {
				t.Fatal(err)
			}
			defer q.Close()
			err = g.fe.StartRing(1, g.mem, q, 0)
			for _, at := range guards { // virtqtest.New began a ring in them
				copy(g.bytes(attackerMemory+at, guardSize), guardPattern)
			}
			getattr, reply := g.request(fuse.GETATTR, vfs.Root, make([]byte, 16), 0), g.alloc(make([]byte, 200))
			if tt.fine {
				if err != nil {
					t.Fatal(err)
				}
				q.AddChain([]virtqtest.Buf{getattr}, []virtqtest.Buf{reply})
				q.Publish()
			}
			q.Kick()
			woken, werr := q.Wait(wait(tt.fine))
			if woken != tt.fine || werr != nil {
				t.Errorf("the ring, which was answered with %v, is served: %v, %v", err, woken, werr)
			}
			g.guardsStand()
			g.hangUp()
			d.survives(inner)
		})
	}

	// Indirect tables. The error descriptor tells when the ring is given up.
	for _, tt := range []struct {
		name   string
		table  virtqtest.Buf
		broken bool
	}{
		{"up to the end", virtqtest.Buf{GPA: lastEnd - 32, Len: 32}, false},
		{"over the end", virtqtest.Buf{GPA: lastEnd - 16, Len: 32}, true},
		{"behind the end", virtqtest.Buf{GPA: lastEnd, Len: 32}, true},
		{"of no length", virtqtest.Buf{GPA: lastEnd - 32, Len: 0}, true},
		{"of half a descriptor", virtqtest.Buf{GPA: lastEnd - 32, Len: 24}, true},
		{"of 4 GiB, of which two descriptors are used", virtqtest.Buf{GPA: lastEnd - 32, Len: math.MaxUint32 &^ 15}, false},
		{"around the end of all addresses", virtqtest.Buf{GPA: math.MaxUint64 - 15, Len: 32}, true},
	} {
		t.Run("indirect table "+tt.name, func(t *testing.T) {
			g := attackGuarded(t, d, virtqtest.Config{Size: 64, Indirect: 4})
			q := g.queues[1]
			broken := eventfd(t)
			if err := g.fe.SetVringErr(1, broken); err != nil {
				t.Fatal(err)
			}
			getattr, reply := g.request(fuse.GETATTR, vfs.Root, make([]byte, 16), 0), g.alloc(make([]byte, 200))
			// A device that reads on over the end finds what it needs.
			table := make([]byte, 32)
			virtqtest.PutDesc(table, 0, virtqtest.Desc{Addr: getattr.GPA, Len: getattr.Len, Flags: virtq.DescNext, Next: 1})
			virtqtest.PutDesc(table, 1, virtqtest.Desc{Addr: reply.GPA, Len: reply.Len, Flags: virtq.DescWrite})
			if tt.table.GPA < lastEnd+guardSize {
				copy(g.bytes(tt.table.GPA, 32), table)
			}
			before := q.UsedIdx()
			q.SetDesc(63, virtqtest.Desc{Addr: tt.table.GPA, Len: tt.table.Len, Flags: virtq.DescIndirect})
			q.SetAvail(before, 63)
			q.SetAvailIdx(before + 1)
			q.Kick()
			eventually(t, "the ring is served or given up", func() bool { return q.UsedIdx() != before || signalled(t, broken) })
			if _, wrote := q.Used(before); (q.UsedIdx() != before && wrote != 0) == tt.broken {
				t.Errorf("the device wrote %d bytes", wrote)
			}
			g.hangUp()
			d.survives(inner)
		})
	}
}

// wait is how long to wait for what comes, or for what must not come.
func wait(comes bool) time.Duration {
	if comes {
		return patience
	}
	return 20 * time.Millisecond
}

// signalled reports whether an eventfd has been written to.
func signalled(t *testing.T, fd int) bool {
	t.Helper()
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	if err != nil && err != unix.EINTR {
		t.Fatal(err)
	}
	return n > 0
}

// TestCVE_2023_41051_MemoryGoes has a VMM take the memory away that it gave: the
// rings are gone while the daemon looks at them.
func TestCVE_2023_41051_MemoryGoes(t *testing.T) {
	d := serve(t, t.TempDir())
	inner := d.inner()
	for name, after := range map[string]func(g *hostile){
		"and kicks":             func(g *hostile) { g.queues[1].Kick() },
		"and asks for the base": func(g *hostile) { g.fe.GetVringBase(1) },
		"and moves the ring": func(g *hostile) {
			at := g.queues[1].Layout()
			g.fe.SetVringAddr(1, g.mem.UVA(at.Desc)+16, g.mem.UVA(at.Used), g.mem.UVA(at.Avail))
		},
		"and adds more": func(g *hostile) {
			g.fe.AddMemReg(guestmem.Region{GPA: 1 << 40, Size: 4096, UVA: 1 << 45, FD: memfd(g.t, 4096)})
		},
		"and starts the ring anew": func(g *hostile) {
			g.fe.GetVringBase(1)
			g.fe.StartRing(1, g.mem, g.queues[1].Driver, 7)
		},
		"and hangs up": func(*hostile) {},
	} {
		t.Run(name, func(t *testing.T) {
			g := attack(t, d)
			g.queues[1].Kick()
			if err := unix.Ftruncate(g.mem.FD(), 0); err != nil {
				t.Fatal(err)
			}
			after(g)
			g.fe.CloseWrite()
			g.fe.Discard()
			d.survives(inner)
		})
	}
}

// TestCVE_2023_41051_BadSignals has a VMM give descriptors to be signalled that
// cannot be written to, or only at some time that never comes.
func TestCVE_2023_41051_BadSignals(t *testing.T) {
	d := serve(t, t.TempDir())
	inner := d.inner()
	for name, signal := range map[string]func(t *testing.T) int{
		"full eventfd": func(t *testing.T) int {
			fd := eventfd(t)
			if _, err := unix.Write(fd, quads(math.MaxUint64-1)); err != nil {
				t.Fatal(err)
			}
			return fd
		},
		"full pipe": func(t *testing.T) int {
			var p [2]int
			if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Close(p[0]); unix.Close(p[1]) })
			for {
				if _, err := unix.Write(p[1], make([]byte, 4096)); err != nil {
					break
				}
			}
			// The flag belongs to both sides' descriptor.
			if err := unix.SetNonblock(p[1], false); err != nil {
				t.Fatal(err)
			}
			return p[1]
		},
		"closed pipe": func(t *testing.T) int {
			var p [2]int
			if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			unix.Close(p[0])
			t.Cleanup(func() { unix.Close(p[1]) })
			return p[1]
		},
		"file": func(t *testing.T) int { return opened(t, filepath.Join(t.TempDir(), "f"), os.O_RDWR|os.O_CREATE) },
	} {
		t.Run(name, func(t *testing.T) {
			g := attack(t, d)
			g.fe.SetVringCall(1, signal(t))
			g.fe.SetVringErr(1, signal(t))
			q := g.queues[1]
			getattr, reply := g.request(fuse.GETATTR, vfs.Root, []byte("sixteen bytes..."), 0), g.alloc([]byte("a reply"))
			for range 2 {
				q.AddChain([]virtqtest.Buf{getattr}, []virtqtest.Buf{reply})
				q.Publish()
				q.Kick()
			}
			q.SetAvailIdx(500) // breaks the ring
			q.Kick()
			g.fe.SetVringCall(1, signal(t))
			g.fe.CloseWrite()
			g.fe.Discard()
			g.fe.Close()
			d.survives(inner)
		})
	}
}
