package virtiofs_test

import (
	"io"
	"log/slog"
	"syscall"
	"testing"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fuse/fusetest"
	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/virtiofs"
	"github.com/isthmus-fs/isthmus/virtiofs/virtiofstest"
	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

const memoryBase = 0x10000

// machine is a guest with a virtio-fs device, without a transport.
type machine struct {
	t      testing.TB
	dev    *virtiofs.Device
	mem    *virtqtest.Memory
	view   *guestmem.View
	queues []*virtiofstest.Queue
	rings  []*virtq.Ring
	errs   []int // error eventfds
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// newMachine starts all queues of a device that serves fs.
func newMachine(t testing.TB, fs vfs.FileSystem, requestQueues int, cfg virtqtest.Config) *machine {
	t.Helper()
	return newMachineWith(t, fs, requestQueues, cfg, nil)
}

// newMachineWith counts requests.
func newMachineWith(t testing.TB, fs vfs.FileSystem, requestQueues int, cfg virtqtest.Config, stats *fuse.Stats) *machine {
	t.Helper()
	server := fuse.NewServer(fs, fuse.Options{Logger: quiet, Stats: stats})
	dev, err := virtiofs.New(server, virtiofs.Config{Tag: "t", RequestQueues: requestQueues, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	m := &machine{t: t, dev: dev}
	n := dev.NumQueues()
	if m.mem, err = virtqtest.NewMemory(virtqtest.Segment{GPA: memoryBase, Size: n * (2*virtiofstest.Room + 1<<20)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.mem.Close)
	if m.view, err = m.mem.View(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.view.Release)
	for i := range n {
		q, err := virtiofstest.NewQueue(m.mem, cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(q.Close)
		m.queues = append(m.queues, q)
		m.rings = append(m.rings, nil)
		m.errs = append(m.errs, eventfd(t))
		m.start(i)
	}
	t.Cleanup(func() { // before the memory goes
		for i := range m.queues {
			dev.Stop(i, false)
		}
	})
	return m
}

// start makes the device serve queue i as the ring in memory stands.
func (m *machine) start(i int) {
	m.t.Helper()
	r, err := m.queues[i].Ring(m.view)
	if err != nil {
		m.t.Fatal(err)
	}
	r.Err = m.errs[i]
	if old := m.rings[i]; old != nil {
		c, err := m.queues[i].QueueConfig(m.view)
		if err != nil {
			m.t.Fatal(err)
		}
		c.Next = old.Queue.Next()
		if r.Queue, err = virtq.New(c); err != nil {
			m.t.Fatal(err)
		}
	}
	m.rings[i] = r
	if err := m.dev.Start(i, r); err != nil {
		m.t.Fatal(err)
	}
}

// client begins a session through request queue i.
func (m *machine) client(i int) *fusetest.Client {
	m.t.Helper()
	c := fusetest.NewClient(m.queues[1+i])
	if _, errno := c.Init(fusetest.Linux()); errno != 0 {
		m.t.Fatalf("INIT: %v", errno)
	}
	return c
}

func eventfd(t testing.TB) int {
	t.Helper()
	fd, _, errno := syscall.Syscall(syscall.SYS_EVENTFD2, 0, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	t.Cleanup(func() { syscall.Close(int(fd)) })
	return int(fd)
}

// failed tells whether the device has signalled that queue i is broken.
func (m *machine) failed(i int) bool {
	var b [8]byte
	n, _ := syscall.Read(m.errs[i], b[:])
	return n == 8
}
