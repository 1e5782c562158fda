package virtqtest

import (
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/virtq"
)

// Layout says where the areas of a ring are, as guest-physical addresses.
type Layout struct{ Desc, Avail, Used uint64 }

// Config describes a ring to [New].
type Config struct {
	Size int // a power of two up to virtq.MaxSize
	// EventIdx is whether VIRTIO_F_EVENT_IDX is negotiated.
	EventIdx bool
	// Indirect is the number of descriptors in the indirect table that each
	// head has; 0: VIRTIO_F_INDIRECT_DESC is not negotiated. Chains of one
	// descriptor, and those that a table is too short for, go without.
	Indirect int
	// Start is the index that both rings begin at.
	Start uint16
	// At places the ring; nil: it is allocated.
	At *Layout
}

// Driver is the driver side of one ring.
type Driver struct {
	// KickFD and CallFD are the ring's eventfds, non-blocking, closed by
	// Close.
	KickFD, CallFD int

	mem      *Memory
	cfg      Config
	at       Layout
	tables   uint64 // GPA of the indirect tables
	mask     uint16
	desc     []byte
	avail    []byte
	used     []byte
	table    []byte
	scratch  uint32
	nextFree []uint16 // free list of descriptors, and order within a chain
	free     uint16   // its first
	numFree  int
	length   []uint16 // by head: descriptors in the ring; 0: not outstanding
	added    uint16   // avail.idx with what AddChain added
	avlIdx   uint16   // avail.idx that the device sees
	taken    uint16   // used.idx up to which Poll came
	err      error
	poll     [1]unix.PollFd
}

// New makes a ring in m. The caller closes it.
func New(m *Memory, c Config) (*Driver, error) {
	if c.Size < 1 || c.Size > virtq.MaxSize || c.Size&(c.Size-1) != 0 {
		return nil, fmt.Errorf("queue size %d: want a power of two up to %d", c.Size, virtq.MaxSize)
	}
	d := &Driver{
		KickFD: -1, CallFD: -1,
		mem: m, cfg: c, mask: uint16(c.Size - 1),
		nextFree: make([]uint16, c.Size),
		length:   make([]uint16, c.Size),
		numFree:  c.Size,
		added:    c.Start, avlIdx: c.Start, taken: c.Start,
	}
	for i := range d.nextFree {
		d.nextFree[i] = uint16(i + 1)
	}
	if err := d.place(); err != nil {
		return nil, err
	}
	store16(d.avail, 2, c.Start)
	store16(d.used, 2, c.Start)
	for _, fd := range []*int{&d.KickFD, &d.CallFD} {
		var errno error
		if *fd, errno = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); errno != nil {
			*fd = -1
			d.Close()
			return nil, fmt.Errorf("eventfd: %w", errno)
		}
	}
	return d, nil
}

// place finds the memory of the ring and its tables.
func (d *Driver) place() error {
	alloc := func(n, align int) (gpa uint64, err error) {
		b, err := d.mem.Alloc(n, align)
		return b.GPA, err
	}
	size := d.cfg.Size
	var err error
	if d.cfg.At != nil {
		d.at = *d.cfg.At
	} else {
		if d.at.Desc, err = alloc(virtq.DescSize(size), 16); err != nil {
			return fmt.Errorf("descriptor table: %w", err)
		}
		if d.at.Avail, err = alloc(virtq.AvailSize(size), 4); err != nil {
			return fmt.Errorf("available ring: %w", err)
		}
		if d.at.Used, err = alloc(virtq.UsedSize(size), 4); err != nil {
			return fmt.Errorf("used ring: %w", err)
		}
	}
	d.desc = d.mem.Bytes(Buf{d.at.Desc, uint32(virtq.DescSize(size))})
	d.avail = d.mem.Bytes(Buf{d.at.Avail, uint32(virtq.AvailSize(size))})
	d.used = d.mem.Bytes(Buf{d.at.Used, uint32(virtq.UsedSize(size))})
	if n := virtq.DescSize(size * d.cfg.Indirect); n > 0 {
		if d.tables, err = alloc(n, 16); err != nil {
			return fmt.Errorf("indirect tables: %w", err)
		}
		d.table = d.mem.Bytes(Buf{d.tables, uint32(n)})
	}
	return nil
}

// Close closes the eventfds.
func (d *Driver) Close() {
	for _, fd := range []*int{&d.KickFD, &d.CallFD} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}

// Layout returns where the ring is.
func (d *Driver) Layout() Layout { return d.at }

// Size returns the number of descriptors.
func (d *Driver) Size() int { return d.cfg.Size }

// QueueConfig describes the ring to virtq.New, translated with v.
func (d *Driver) QueueConfig(v *guestmem.View) (virtq.Config, error) {
	c := virtq.Config{
		Size: d.cfg.Size, Next: d.avlIdx,
		EventIdx: d.cfg.EventIdx, Indirect: d.cfg.Indirect > 0,
	}
	for _, a := range []struct {
		area *[]byte
		gpa  uint64
		n    int
	}{
		{&c.Desc, d.at.Desc, len(d.desc)},
		{&c.Avail, d.at.Avail, len(d.avail)},
		{&c.Used, d.at.Used, len(d.used)},
	} {
		var ok bool
		if *a.area, ok = v.HostUVA(d.mem.UVA(a.gpa), uint64(a.n)); !ok {
			return c, fmt.Errorf("the ring at %#x is not within one region of the view", a.gpa)
		}
	}
	return c, nil
}

// Ring returns the device's side, with the driver's eventfds. The caller keeps v
// as long as it is used.
func (d *Driver) Ring(v *guestmem.View) (*virtq.Ring, error) {
	c, err := d.QueueConfig(v)
	if err != nil {
		return nil, err
	}
	q, err := virtq.New(c)
	if err != nil {
		return nil, err
	}
	return &virtq.Ring{Queue: q, Mem: v, Kick: d.KickFD, Call: d.CallFD, Err: -1}, nil
}

// AddChain adds a chain of the device-readable buffers in and the
// device-writable buffers out. The device sees it after [Driver.Publish]. It
// returns false if there are not enough free descriptors, or no buffers.
func (d *Driver) AddChain(in, out []Buf) (head uint16, ok bool) {
	n := len(in) + len(out)
	if n == 0 || d.numFree == 0 {
		return 0, false
	}
	head = d.free
	if n > 1 && n <= d.cfg.Indirect {
		first := int(head) * d.cfg.Indirect
		table := d.table[virtq.DescSize(first):]
		for i := range n {
			PutDesc(table, i, chainDesc(in, out, i, uint16(i+1)))
		}
		PutDesc(d.desc, int(head), Desc{
			Addr:  d.tables + uint64(virtq.DescSize(first)),
			Len:   uint32(virtq.DescSize(n)),
			Flags: virtq.DescIndirect,
		})
		n = 1
		d.free = d.nextFree[head]
	} else {
		if n > d.numFree {
			return 0, false
		}
		i := head
		for k := range n {
			next := d.nextFree[i]
			PutDesc(d.desc, int(i), chainDesc(in, out, k, next))
			i = next
		}
		d.free = i
	}
	d.numFree -= n
	d.length[head] = uint16(n)
	d.SetAvail(d.added, head)
	d.added++
	return head, true
}

// chainDesc returns descriptor i of a chain; next follows it unless it is the
// last.
func chainDesc(in, out []Buf, i int, next uint16) Desc {
	var r Desc
	if i < len(in) {
		r = Desc{Addr: in[i].GPA, Len: in[i].Len}
	} else {
		b := out[i-len(in)]
		r = Desc{Addr: b.GPA, Len: b.Len, Flags: virtq.DescWrite}
	}
	if i < len(in)+len(out)-1 {
		r.Flags |= virtq.DescNext
		r.Next = next
	}
	return r
}

// Publish makes the added chains available and says whether the device wants to
// be kicked for them (virtio 1.3 §2.7.10).
func (d *Driver) Publish() (kick bool) {
	old := d.avlIdx
	if d.added == old {
		return false
	}
	d.avlIdx = d.added
	d.SetAvailIdx(d.avlIdx)
	if d.cfg.EventIdx {
		return d.avlIdx-d.AvailEvent()-1 < d.avlIdx-old
	}
	return d.UsedFlags()&virtq.UsedNoNotify == 0
}

// Kick notifies the device.
func (d *Driver) Kick() { oslib.EventfdWrite(d.KickFD, 1) }

// Poll takes the next used chain back: its head and the number of bytes that the
// device says it wrote. Its descriptors are free then. It returns false if there
// is none, or if the device broke the ring (see [Driver.Err]).
func (d *Driver) Poll() (head uint16, written uint32, ok bool) {
	if d.err != nil {
		return 0, 0, false
	}
	idx := d.UsedIdx()
	if idx == d.taken {
		return 0, 0, false
	}
	fence(&d.scratch)
	id, written := d.Used(d.taken)
	switch {
	case idx-d.taken > d.mask+1:
		d.err = fmt.Errorf("the used index jumped from %d to %d in a ring of %d", d.taken, idx, d.cfg.Size)
		return 0, 0, false
	case id >= uint32(d.cfg.Size) || d.length[id] == 0:
		d.err = fmt.Errorf("used entry %d returns chain %d, which is not outstanding", d.taken, id)
		return 0, 0, false
	}
	d.taken++
	head = uint16(id)
	last := head
	for range d.length[head] - 1 {
		last = d.nextFree[last]
	}
	d.nextFree[last] = d.free
	d.free = head
	d.numFree += int(d.length[head])
	d.length[head] = 0
	return head, written, true
}

// Err returns how the device broke the ring; nil if it did not.
func (d *Driver) Err() error { return d.err }

// DisableInterrupts asks the device not to interrupt. It is a hint.
func (d *Driver) DisableInterrupts() {
	if d.cfg.EventIdx {
		// As far from any index that comes as it gets.
		d.SetUsedEvent(d.taken - 1)
		return
	}
	d.SetAvailFlags(virtq.AvailNoInterrupt)
}

// EnableInterrupts asks the device to interrupt when it returns the next chain.
// If more is true it has done so already, and no interrupt may come.
func (d *Driver) EnableInterrupts() (more bool) {
	if d.cfg.EventIdx {
		d.SetUsedEvent(d.taken)
	} else {
		d.SetAvailFlags(0)
	}
	return d.UsedIdx() != d.taken
}

// Wait waits for an interrupt, for ever if timeout is negative, and takes it. It
// returns false when the time is up.
func (d *Driver) Wait(timeout time.Duration) (bool, error) {
	deadline := time.Now().Add(timeout)
	for {
		d.poll[0] = unix.PollFd{Fd: int32(d.CallFD), Events: unix.POLLIN}
		ms := -1
		if timeout >= 0 {
			ms = int(max(time.Until(deadline), 0).Milliseconds())
		}
		n, err := unix.Poll(d.poll[:], ms)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return false, fmt.Errorf("poll of the call eventfd: %w", err)
		case n == 0:
			return false, nil
		}
		oslib.EventfdRead(d.CallFD)
		return true, nil
	}
}

// PutDesc writes entry i of a descriptor table.
func PutDesc(table []byte, i int, d Desc) {
	b := table[virtq.DescSize(i):][:virtq.DescSize(1)]
	binary.LittleEndian.PutUint64(b, d.Addr)
	binary.LittleEndian.PutUint64(b[8:], uint64(d.Len)|uint64(d.Flags)<<32|uint64(d.Next)<<48)
}
