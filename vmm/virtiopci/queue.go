package virtiopci

import (
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/kvm"
	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/virtq"
)

// queue is what the driver has written of one queue. It is the virtq.Signals of its
// ring.
type queue struct {
	dev    *Device
	index  int
	kick   int // eventfd
	vector atomic.Uint32

	// Under the device's lock:
	listening            uint64 // the address that KVM turns into kicks, or notDecoded
	anyWidth             bool   // how it was told to
	size                 int
	enabled              bool
	desc, driver, device uint64
	ring                 *virtq.Ring // with the backend
}

func newQueue(d *Device, index int) (*queue, error) {
	fd, errno := oslib.Eventfd(0, unix.EFD_NONBLOCK)
	if errno != 0 {
		return nil, fmt.Errorf("eventfd for queue %d: %w", index, errno)
	}
	return &queue{dev: d, index: index, kick: fd, listening: notDecoded}, nil
}

func (q *queue) close() {
	q.listenAt(notDecoded)
	oslib.Close(q.kick)
}

// signalKick wakes the worker. It is EAGAIN if it has been woken as often as can be
// counted.
func (q *queue) signalKick() { oslib.EventfdWrite(q.kick, 1) }

// Interrupt tells the driver of used buffers.
func (q *queue) Interrupt() { q.dev.signal(isrQueue, q.vector.Load()) }

// Fail is the end of a queue that the driver broke. The others go on.
func (q *queue) Fail() { q.dev.broken(fmt.Errorf("queue %d is broken", q.index)) }

// listenAt has KVM turn the driver's notifications into kicks, for a BAR at addr.
// Where KVM cannot, they come as accesses.
func (q *queue) listenAt(bar uint64) {
	set := func(addr uint64, anyWidth bool, flags uint32) error {
		arg := kvm.IOEventFD{Addr: addr, FD: int32(q.kick), Flags: flags}
		if !anyWidth {
			arg.Len = 2 // what the specification has drivers write
		}
		return q.dev.bus.cfg.KVM.IOEventFD(&arg)
	}
	if q.listening != notDecoded {
		if err := set(q.listening, q.anyWidth, kvm.IOEVENTFD_FLAG_DEASSIGN); err != nil {
			q.dev.log.Error("an address cannot be untied from its eventfd", "queue", q.index, "error", err)
		}
		q.listening = notDecoded
	}
	if bar == notDecoded {
		return
	}
	addr := bar + notifyOffset + notifyStep*uint64(q.index)
	for _, anyWidth := range [...]bool{true, false} {
		if err := set(addr, anyWidth, 0); err == nil {
			q.listening, q.anyWidth = addr, anyWidth
			return
		}
	}
}

// start gives the queue to the backend.
func (q *queue) start() error {
	d := q.dev
	if q.size > d.opt.QueueSize {
		return fmt.Errorf("size %d: the most is %d", q.size, d.opt.QueueSize)
	}
	view := d.view()
	cfg := virtq.Config{
		Size:     q.size,
		EventIdx: d.accepted&virtq.FeatRingEventIdx != 0,
		Indirect: d.accepted&virtq.FeatRingIndirectDesc != 0,
	}
	for _, a := range []struct {
		name string
		gpa  uint64
		size int
		mem  *[]byte
	}{
		{"descriptor table", q.desc, virtq.DescSize(q.size), &cfg.Desc},
		{"available ring", q.driver, virtq.AvailSize(q.size), &cfg.Avail},
		{"used ring", q.device, virtq.UsedSize(q.size), &cfg.Used},
	} {
		mem, ok := view.HostGPA(a.gpa, uint64(a.size))
		if !ok {
			view.Release()
			return fmt.Errorf("the %s (%d bytes at %#x) is not in guest memory", a.name, a.size, a.gpa)
		}
		*a.mem = mem
	}
	var vq *virtq.Queue
	var err error
	fault := oslib.CatchFault(func() { vq, err = virtq.New(cfg) })
	if err = errors.Join(err, fault); err == nil {
		ring := &virtq.Ring{Queue: vq, Mem: view, Kick: q.kick, Call: -1, Err: -1, Signals: q}
		if err = d.backend.Start(q.index, ring); err == nil {
			q.ring = ring
			return nil
		}
	}
	view.Release()
	return err
}

// stop takes the queue back.
func (q *queue) stop(drain bool) {
	if q.ring == nil {
		return
	}
	q.dev.backend.Stop(q.index, drain)
	q.ring.Mem.Release()
	q.ring = nil
}

// forget clears what the driver has written of a queue that does not run, and kicks
// for it. Its vector stays.
func (q *queue) forget() {
	oslib.EventfdRead(q.kick)
	q.size = q.dev.opt.QueueSize
	q.enabled = false
	q.desc, q.driver, q.device = 0, 0, 0
}
