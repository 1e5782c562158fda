package virtq

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Config describes a ring to [New].
type Config struct {
	// Size is the number of descriptors: a power of two up to [MaxSize].
	Size int
	// Desc, Avail and Used are the three areas in guest memory, with exactly
	// the lengths of [DescSize], [AvailSize] and [UsedSize], aligned to 16, 2
	// and 4 bytes. The caller keeps them mapped as long as the Queue is used.
	Desc, Avail, Used []byte
	// Next is the available index of the first chain to pop: 0 for a new
	// ring, what [Queue.Next] returned for one that goes on.
	Next uint16
	// EventIdx and Indirect say that the driver has accepted
	// VIRTIO_F_EVENT_IDX and VIRTIO_F_INDIRECT_DESC.
	EventIdx, Indirect bool
}

// Queue is the device side of a split virtqueue. [Queue.Pop], [Queue.Push] and
// [Queue.Flush] do not allocate once their [Chain] has grown. All methods touch
// guest memory: their callers run under oslib.CatchFault.
type Queue struct {
	mask        uint16 // size − 1
	eventIdx    bool
	indirect    bool
	quiet       bool // without eventIdx: kicks are not wanted
	announced   bool // Flush has published something: published is known to the driver
	desc, avail []byte
	used        []byte
	availIdx    availWord
	usedIdx     usedWord
	usedEvent   int // offset in avail
	availEvent  int // offset in used
	next        uint16
	seen        uint16 // avail.idx as last loaded: next … seen are there to pop
	staged      uint16 // used index after the last Push
	published   uint16 // used index that the driver sees
	outstanding int    // chains popped and not pushed
	scratch     uint32
	err         error
	straddling  [descLen]unix.Iovec // pieces of one indirect descriptor
}

// New returns the queue of a ring. It takes up the used index that it finds.
func New(c Config) (*Queue, error) {
	if c.Size < 1 || c.Size > MaxSize || c.Size&(c.Size-1) != 0 {
		return nil, fmt.Errorf("queue size %d: want a power of two up to %d", c.Size, MaxSize)
	}
	for _, a := range []struct {
		name  string
		area  []byte
		want  int
		align uintptr
	}{
		{"descriptor table", c.Desc, DescSize(c.Size), 16},
		{"available ring", c.Avail, AvailSize(c.Size), 2},
		{"used ring", c.Used, UsedSize(c.Size), 4},
	} {
		if len(a.area) != a.want {
			return nil, fmt.Errorf("%s of %d bytes: a queue of %d needs %d", a.name, len(a.area), c.Size, a.want)
		}
		if misaligned(a.area, a.align) != 0 {
			return nil, fmt.Errorf("%s is not aligned to %d bytes", a.name, a.align)
		}
	}
	q := &Queue{
		mask:       uint16(c.Size - 1),
		eventIdx:   c.EventIdx,
		indirect:   c.Indirect,
		desc:       c.Desc,
		avail:      c.Avail,
		used:       c.Used,
		availIdx:   newAvailWord(c.Avail),
		usedIdx:    newUsedWord(c.Used),
		usedEvent:  AvailSize(c.Size) - eventLen,
		availEvent: UsedSize(c.Size) - eventLen,
		next:       c.Next,
		seen:       c.Next,
	}
	_, idx := q.usedIdx.load()
	q.staged, q.published = idx, idx
	return q, nil
}

// Size returns the number of descriptors.
func (q *Queue) Size() int { return int(q.mask) + 1 }

// Next returns the available index of the chain that the next Pop returns
// (GET_VRING_BASE).
func (q *Queue) Next() uint16 { return q.next }

// Backlog returns how many chains are known to wait for Pop: those that were
// there when a Pop last looked at the available index, and have not been popped.
// It reads no guest memory.
func (q *Queue) Backlog() int { return int(q.seen - q.next) }

// Err returns why the queue is broken; nil if it is not.
func (q *Queue) Err() error { return q.err }

// Push stages a popped chain as used: head is [Chain.Head], written the number
// of bytes written to [Chain.Out] from its beginning. The driver sees it after
// [Queue.Flush], and may reuse its memory from then on.
func (q *Queue) Push(head uint16, written uint32) {
	if q.err != nil {
		return
	}
	putUsed(q.used[ringHeadLen+usedElemLen*int(q.staged&q.mask):], head, written)
	q.staged++
	// A queue that succeeds another may push chains of the former.
	q.outstanding = max(q.outstanding-1, 0)
}

// Unpop gives back the chain that the last Pop returned, before any Push of it:
// the next Pop returns it again. It is for a device that took a buffer and then had
// nothing to put in it.
func (q *Queue) Unpop() {
	if q.err != nil {
		return
	}
	q.next--
	q.outstanding = max(q.outstanding-1, 0)
}

// Flush makes all staged chains visible to the driver at once and says whether
// the driver wants to be interrupted for them (virtio 1.3 §2.7.7). Without
// staged chains it does nothing. The first time it always wants: what the driver
// knows from the queue's predecessor is unknown.
func (q *Queue) Flush() (interrupt bool) {
	if q.err != nil || q.staged == q.published {
		return false
	}
	old := q.published
	q.published = q.staged
	q.usedIdx.publish(q.flags(), q.published)
	if !q.eventIdx {
		return load16(q.avail, 0)&AvailNoInterrupt == 0
	}
	if !q.announced {
		q.announced = true
		return true
	}
	return needEvent(load16(q.avail, q.usedEvent), q.published, old)
}

// DisableNotify asks the driver not to kick while the device is busy with the
// ring. It is a hint.
func (q *Queue) DisableNotify() {
	// With eventIdx, an avail_event that stays behind does the same.
	if q.err != nil || q.eventIdx || q.quiet {
		return
	}
	q.quiet = true
	q.usedIdx.publish(q.flags(), q.published)
}

// EnableNotify asks the driver to kick when it makes the next chain available.
// If it has done so already, or the queue is broken, more is true and no kick
// may come: the device pops again before it sleeps.
func (q *Queue) EnableNotify() (more bool) {
	if q.err != nil {
		return true
	}
	if q.eventIdx {
		store16(q.used, q.availEvent, q.next)
		fence(&q.scratch)
	} else {
		q.quiet = false
		q.usedIdx.publish(q.flags(), q.published)
	}
	return q.availIdx.load() != q.next
}

// flags returns what used.flags is to be.
func (q *Queue) flags() uint16 {
	if q.quiet {
		return UsedNoNotify
	}
	return 0
}

// needEvent is vring_need_event of virtio 1.3 §2.7.7.1 and §2.7.10.1: whether an
// index that went from old to now has passed event.
func needEvent(event, now, old uint16) bool {
	return now-event-1 < now-old
}
