package vhostuser

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/virtq"
)

// vring is what the front end has said of one ring. Front ends say it in any
// order, so each message notes its part, and settle starts or stops the ring
// when that has become right.
//
//	          settle: all known, kick given, enabled
//	stopped ───────────────────────────────────────────→ running
//	   ↑ ←──── disabled, GET_VRING_BASE, RESET_DEVICE ────── │
//	   │ life ends                                           │ memory, kick, call, err
//	   └────────────────────── paused ←──────────────────────┘ or features change
//	                              └──── at once, or when its memory is back ──→ running
//
// Requests that the device has taken from a running ring are answered before it
// stops, but survive a pause.
type vring struct {
	index int

	size     int // 0: not known
	areas    vringAreas
	hasAreas bool
	base     uint16 // of the next chain to take, while the ring does not run

	hasKick bool // SET_VRING_KICK came, with a descriptor or without
	kick    int  // these are −1 where there is none
	call    int
	err     int

	enabled bool

	ring   *virtq.Ring // with the device; nil while the ring does not run
	paused bool        // stopped with requests in flight
}

func newVring(index int) *vring {
	return &vring{index: index, kick: -1, call: -1, err: -1}
}

// wanted says whether the ring ought to run.
func (v *vring) wanted() bool {
	return v.size > 0 && v.hasAreas && v.hasKick && v.enabled
}

// settle makes a ring run, or not, as what is known of it demands.
func (b *backend) settle(v *vring) error {
	if !v.wanted() {
		b.stop(v)
		return nil
	}
	if v.ring != nil {
		return nil
	}
	return b.start(v)
}

// start gives a ring to the device. What the driver made available before is
// the first thing that the device looks at, so no kick is lost.
func (b *backend) start(v *vring) error {
	view := b.mem.Acquire()
	cfg := virtq.Config{
		Size:     v.size,
		Next:     v.base,
		EventIdx: b.acked&virtq.FeatRingEventIdx != 0,
		Indirect: b.acked&virtq.FeatRingIndirectDesc != 0,
	}
	for _, a := range []struct {
		name string
		uva  uint64
		size int
		mem  *[]byte
	}{
		{"descriptor table", v.areas.desc, virtq.DescSize(v.size), &cfg.Desc},
		{"available ring", v.areas.avail, virtq.AvailSize(v.size), &cfg.Avail},
		{"used ring", v.areas.used, virtq.UsedSize(v.size), &cfg.Used},
	} {
		mem, ok := view.HostUVA(a.uva, uint64(a.size))
		if !ok {
			view.Release()
			if b.regions == 0 {
				return errNotShared
			}
			return fmt.Errorf("ring %d: the %s (%d bytes at front-end address %#x) is not in guest memory", v.index, a.name, a.size, a.uva)
		}
		*a.mem = mem
	}
	var queue *virtq.Queue
	var err error
	fault := oslib.CatchFault(func() { queue, err = virtq.New(cfg) })
	if err = errors.Join(err, fault); err == nil {
		ring := &virtq.Ring{Queue: queue, Mem: view, Kick: v.kick, Call: v.call, Err: v.err}
		if err = b.dev.Start(v.index, ring); err == nil {
			v.ring = ring
			v.paused = false
			b.log.Debug("ring started", "ring", v.index, "size", v.size, "base", v.base)
			return nil
		}
	}
	view.Release()
	return fmt.Errorf("ring %d: %w", v.index, err)
}

// pause takes a ring away from the device, which keeps what requests it has
// until the ring runs again.
func (b *backend) pause(v *vring) {
	b.take(v, false)
}

// stop ends the life of a ring: all requests that the device has from it are
// answered, or dropped if the ring is not there any more to answer on.
func (b *backend) stop(v *vring) {
	if v.ring == nil && v.paused {
		b.dev.Stop(v.index, true)
		v.paused = false
	}
	b.take(v, true)
}

func (b *backend) take(v *vring, drain bool) {
	if v.ring == nil {
		return
	}
	b.dev.Stop(v.index, drain)
	v.base = v.ring.Queue.Next()
	v.ring.Mem.Release()
	v.ring = nil
	v.paused = !drain
	b.log.Debug("ring stopped", "ring", v.index, "base", v.base, "drained", drain)
}

// replaceFD closes the descriptor in *slot and puts fd there. The ring that uses
// it must not run.
func replaceFD(slot *int, fd int) {
	if *slot >= 0 {
		unix.Close(*slot)
	}
	*slot = fd
}

// reset forgets all but the call and error descriptors, which some front ends
// send once per connection. The ring must not run.
func (v *vring) reset() {
	replaceFD(&v.kick, -1)
	*v = vring{index: v.index, kick: -1, call: v.call, err: v.err}
}

func (v *vring) close() {
	replaceFD(&v.kick, -1)
	replaceFD(&v.call, -1)
	replaceFD(&v.err, -1)
}

// checkKick refuses descriptors that a device cannot wait on as on an eventfd.
func checkKick(fd int) error {
	name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return checkAnonymous(fd)
	}
	if name != "anon_inode:[eventfd]" {
		return fmt.Errorf("the kick descriptor is no eventfd but %q", name)
	}
	return nil
}

// checkAnonymous is checkKick without /proc, as in some sandboxes: any anonymous
// inode, which has no file type, has to do.
func checkAnonymous(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("kick descriptor: fstat: %w", err)
	}
	if st.Mode&unix.S_IFMT != 0 {
		return fmt.Errorf("the kick descriptor is no eventfd but a file of mode %#o", st.Mode)
	}
	return nil
}
