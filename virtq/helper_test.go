package virtq_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

// rig is a ring with both of its sides.
type rig struct {
	mem  *virtqtest.Memory
	drv  *virtqtest.Driver
	view *guestmem.View
	q    *virtq.Queue
}

// The guest memory of a rig: two segments that touch, and one apart.
const (
	lowSize  = 16 << 20
	midSize  = 1 << 20
	highBase = 0x1_0000_0000
	highSize = 1 << 20
)

// fataler is what *testing.T, *testing.B and *rapid.T have in common.
type fataler interface {
	Helper()
	Fatal(args ...any)
}

// newRig makes a ring in guest memory. The caller closes it.
func newRig(t fataler, c virtqtest.Config) *rig {
	t.Helper()
	mem, err := virtqtest.NewMemory(
		virtqtest.Segment{GPA: 0, Size: lowSize},
		virtqtest.Segment{GPA: lowSize, Size: midSize},
		virtqtest.Segment{GPA: highBase, Size: highSize},
	)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{mem: mem}
	if r.drv, err = virtqtest.New(mem, c); err != nil {
		t.Fatal(err)
	}
	if r.view, err = mem.View(); err != nil {
		t.Fatal(err)
	}
	cfg, err := r.drv.QueueConfig(r.view)
	if err != nil {
		t.Fatal(err)
	}
	if r.q, err = virtq.New(cfg); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) close() {
	r.drv.Close()
	r.view.Release()
	r.mem.Close()
}

// testRig is newRig for the length of a test.
func testRig(t testing.TB, c virtqtest.Config) *rig {
	t.Helper()
	r := newRig(t, c)
	t.Cleanup(r.close)
	return r
}

// lens returns the lengths of iovecs, negative for those without a base.
func lens(v []unix.Iovec) []int64 {
	out := make([]int64, 0, len(v))
	for i := range v {
		n := int64(v[i].Len)
		if v[i].Base == nil {
			n = -n
		}
		out = append(out, n)
	}
	return out
}
