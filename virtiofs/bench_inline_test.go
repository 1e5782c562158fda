package virtiofs_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fuse/fusetest"
	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/virtiofs/virtiofstest"
	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

// inline is driver, ring and device on one goroutine: the way of a request
// without a wake-up.
type inline struct {
	driver *virtiofstest.Queue
	ring   *virtq.Queue
	view   *guestmem.View
	server *fuse.Server
	call   *fuse.Call
	chain  virtq.Chain
	done   chan uint32
}

func (t *inline) Complete(_ *fuse.Call, used uint32) { t.done <- used }

func (t *inline) Roundtrip(in, out [][]byte) (int, error) {
	if err := t.driver.Send(in, out); err != nil {
		return 0, err
	}
	ok, err := t.ring.Pop(t.view, &t.chain)
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, errors.New("the ring is empty")
	}
	t.call.In, t.call.Out = t.chain.In, t.chain.Out
	used, done := t.server.Serve(t.call)
	if !done {
		used = <-t.done
	}
	t.ring.Push(t.chain.Head, used)
	t.ring.Flush()
	return t.driver.Receive(out)
}

// newInline returns a client of a server for fs, which counts requests if stats
// is not nil.
func newInline(b *testing.B, fs vfs.FileSystem, stats *fuse.Stats) *fusetest.Client {
	mem, err := virtqtest.NewMemory(virtqtest.Segment{GPA: memoryBase, Size: 2*virtiofstest.Room + 1<<20})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(mem.Close)
	view, err := mem.View()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(view.Release)
	driver, err := virtiofstest.NewQueue(mem, virtqtest.Config{Size: 128})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(driver.Close)
	cfg, err := driver.QueueConfig(view)
	if err != nil {
		b.Fatal(err)
	}
	ring, err := virtq.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	ring.DisableNotify()
	t := &inline{driver: driver, ring: ring, view: view, call: fuse.NewCall(), done: make(chan uint32, 1),
		server: fuse.NewServer(fs, fuse.Options{Logger: quiet, Stats: stats})}
	t.call.Done = t
	b.Cleanup(t.server.Reset)
	c := fusetest.NewClient(t)
	if _, errno := c.Init(fusetest.Linux()); errno != 0 {
		b.Fatal(errno)
	}
	return c
}

// BenchmarkRequest is the cost of a request through the ring, the server and the
// file system, the driver's part included, with nobody to be woken.
func BenchmarkRequest(b *testing.B) {
	for _, back := range backends {
		b.Run(back.name, func(b *testing.B) {
			c := newInline(b, back.fs(b), nil)
			s := back.open(b, c)
			for _, w := range workloads {
				b.Run(w.name, func(b *testing.B) { benchWorkload(b, w, c, s) })
			}
		})
	}
}

func benchWorkload(b *testing.B, w workload, c *fusetest.Client, s *scene) {
	b.ReportAllocs()
	for b.Loop() {
		if err := w.do(c, s); err != nil {
			b.Fatal(err)
		}
	}
	if err := c.Err(); err != nil {
		b.Error(err)
	}
}

// BenchmarkCounted is what BenchmarkRequest is, with and without a fuse.Stats.
func BenchmarkCounted(b *testing.B) {
	for _, back := range backends {
		for _, w := range workloads {
			if w.name != "GETATTR" && w.name != "READ-4K" {
				continue
			}
			for _, stats := range []*fuse.Stats{nil, fuse.NewStats()} {
				b.Run(fmt.Sprintf("%s/%s/%v", back.name, w.name, stats != nil), func(b *testing.B) {
					c := newInline(b, back.fs(b), stats)
					benchWorkload(b, w, c, back.open(b, c))
				})
			}
		}
	}
}
