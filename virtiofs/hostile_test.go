package virtiofs_test

import (
	"testing"
	"time"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fuse/fusetest"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

// outside is a guest-physical address without memory.
const outside = 1 << 40

// TestBrokenRingStopsItsQueueAlone writes what no driver writes into one ring. Its
// queue says so and ends; the others go on, and after a stop and a start with a
// sane ring it serves again.
func TestBrokenRingStopsItsQueueAlone(t *testing.T) {
	for name, damage := range map[string]func(q *virtqtest.Driver){
		"index jumps": func(q *virtqtest.Driver) { q.SetAvailIdx(500) },
		"head out of range": func(q *virtqtest.Driver) {
			q.SetAvail(0, 99)
			q.SetAvailIdx(1)
		},
		"loop": func(q *virtqtest.Driver) {
			q.SetDesc(0, virtqtest.Desc{Addr: memoryBase, Len: 8, Flags: virtq.DescNext, Next: 0})
			q.SetAvail(0, 0)
			q.SetAvailIdx(1)
		},
		"readable after writable": func(q *virtqtest.Driver) {
			q.SetDesc(0, virtqtest.Desc{Addr: memoryBase, Len: 8, Flags: virtq.DescNext | virtq.DescWrite, Next: 1})
			q.SetDesc(1, virtqtest.Desc{Addr: memoryBase, Len: 8})
			q.SetAvail(0, 0)
			q.SetAvailIdx(1)
		},
		"indirect not agreed": func(q *virtqtest.Driver) {
			q.SetDesc(0, virtqtest.Desc{Addr: memoryBase, Len: 16, Flags: virtq.DescIndirect})
			q.SetAvail(0, 0)
			q.SetAvailIdx(1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, fusetest.NullFS{}, 2, virtqtest.Config{Size: 16})
			c := m.client(1)
			damage(m.queues[1].Driver)
			m.queues[1].Kick()
			for end := time.Now().Add(30 * time.Second); !m.failed(1); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("the device does not say that the queue is broken")
				}
			}
			for range 100 {
				if _, errno := c.Getattr(vfs.Root, vfs.NoHandle); errno != 0 {
					t.Fatal(errno)
				}
			}
			m.dev.Stop(1, true)
		})
	}
}

// TestBufferOutsideMemory gives single requests a buffer that is not there, as
// honest guests do: an error reply where one can be given, and service goes on.
func TestBufferOutsideMemory(t *testing.T) {
	m := newMachine(t, fusetest.NullFS{}, 1, virtqtest.Config{Size: 16})
	c := m.client(0)
	q := m.queues[1]
	hole := virtqtest.Buf{GPA: outside, Len: 4096}
	alloc := func(b []byte) virtqtest.Buf {
		buf, err := m.mem.Alloc(max(len(b), 1), 8)
		if err != nil {
			t.Fatal(err)
		}
		copy(m.mem.Bytes(buf), b)
		return buf
	}
	write := fusetest.Request(fusetest.Header{Op: fuse.WRITE, Unique: 7, Node: 2},
		fusetest.Append(nil).U64(3).U64(0).U32(4096).U32(0).U64(0).U32(0).U32(0).Zero(4096), nil)
	getattr := fusetest.Request(fusetest.Header{Op: fuse.GETATTR, Unique: 8, Node: 1}, fusetest.Append(nil).Zero(16), nil)
	reply := alloc(make([]byte, 256))
	for _, tt := range []struct {
		name    string
		in, out []virtqtest.Buf
		used    uint32
	}{
		{"request not there", []virtqtest.Buf{hole}, []virtqtest.Buf{reply}, 16},
		{"reply not there", []virtqtest.Buf{alloc(getattr)}, []virtqtest.Buf{hole}, 0},
		{"nothing there", []virtqtest.Buf{hole}, []virtqtest.Buf{hole}, 0},
		{"arguments not there", []virtqtest.Buf{alloc(getattr[:40]), {GPA: outside, Len: 16}}, []virtqtest.Buf{reply}, 16},
		{"data not there", []virtqtest.Buf{alloc(write[:80]), hole}, []virtqtest.Buf{reply}, 24},
		{"no reply area", []virtqtest.Buf{alloc(getattr)}, nil, 0},
		{"no request", nil, []virtqtest.Buf{reply}, 16},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, ok := q.AddChain(tt.in, tt.out); !ok {
				t.Fatal("no descriptors")
			}
			q.Publish()
			q.Kick()
			used, err := q.Receive(nil)
			if err != nil {
				t.Fatal(err)
			}
			if uint32(used) != tt.used {
				t.Errorf("%d bytes used, want %d", used, tt.used)
			}
			if _, errno := c.Getattr(vfs.Root, vfs.NoHandle); errno != 0 {
				t.Error(errno)
			}
		})
	}
}

// TestUnsharedDataOfRealFile is the same with a host file behind it: a write from
// memory that is not there is EFAULT, and the file stays as it was.
func TestUnsharedDataOfRealFile(t *testing.T) {
	fs, err := passthrough.New(passthrough.Config{Path: t.TempDir(), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fs.Close() })
	m := newMachine(t, fs, 1, virtqtest.Config{Size: 16})
	c := m.client(0)
	e, o, errno := c.Create(vfs.Root, "f", 2, 0o100644, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	if _, errno := c.Write(e.Node, o.Handle, []byte("kept"), 0, 2, 0); errno != 0 {
		t.Fatal(errno)
	}
	head, err := m.mem.Alloc(80, 8)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := m.mem.Alloc(24, 8)
	if err != nil {
		t.Fatal(err)
	}
	copy(m.mem.Bytes(head), fusetest.Request(fusetest.Header{Op: fuse.WRITE, Unique: 9, Node: uint64(e.Node)},
		fusetest.Append(nil).U64(uint64(o.Handle)).U64(0).U32(4096).U32(0).U64(0).U32(2).U32(0).Zero(4096), nil))
	q := m.queues[1]
	q.AddChain([]virtqtest.Buf{head, {GPA: outside, Len: 4096}}, []virtqtest.Buf{reply})
	q.Publish()
	q.Kick()
	used, err := q.Receive(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, errno, err := fusetest.Reply(used, m.mem.Bytes(reply), 9); errno != 14 || err != nil {
		t.Errorf("errno %v (%v), want EFAULT", errno, err)
	}
	buf := make([]byte, 100)
	if n, errno := c.Read(e.Node, o.Handle, buf, 0, 0); errno != 0 || string(buf[:n]) != "kept" {
		t.Errorf("the file has %q (%v)", buf[:n], errno)
	}
}

// FuzzDevice gives a device with a host directory behind it messages in arbitrary
// pieces. It has to return every chain, with a sane length.
func FuzzDevice(f *testing.F) {
	for i, s := range fusetest.Samples() {
		f.Add(s.Request, uint16(s.Reply), uint8(i))
	}
	f.Fuzz(func(t *testing.T, request []byte, room uint16, cut uint8) {
		fs, err := passthrough.New(passthrough.Config{
			Path: t.TempDir(), Logger: quiet, MaxFDs: 64, Xattr: true,
			Locks: passthrough.Locks{POSIX: true, Flock: true},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { fs.Close() })
		m := newMachine(t, fs, 1, virtqtest.Config{Size: 16})
		c := m.client(0)
		c.Create(vfs.Root, "name", 2, 0o100644, 0)
		c.Mkdir(vfs.Root, "old", 0o755, 0)
		if len(request) > 100_000 {
			return
		}
		at := int(cut)
		if at > len(request) {
			at = len(request)
		}
		in := [][]byte{request[:at], request[at:]}
		out := [][]byte{make([]byte, room/2), make([]byte, room-room/2)}
		used, err := m.queues[1].Roundtrip(in, out)
		if err != nil {
			t.Fatal(err)
		}
		if used > int(room) || used != 0 && used < 16 {
			t.Fatalf("%d bytes used of %d", used, room)
		}
	})
}
