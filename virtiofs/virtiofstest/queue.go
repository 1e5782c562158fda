package virtiofstest

import (
	"errors"
	"fmt"
	"time"

	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

const (
	// Room is the size of the guest buffers that a message and its reply
	// pass through: file data of 1 MiB and what stands around them.
	Room = 1<<20 + 64<<10
	// patience bounds the wait for a reply of a device that never answers.
	patience = 30 * time.Second
)

// ErrNoReply is what a device gets that does not answer in half a minute.
var ErrNoReply = errors.New("the device does not answer")

// Queue sends one message at a time through a ring. It is a
// fusetest.Transport.
type Queue struct {
	*virtqtest.Driver
	mem     *virtqtest.Memory
	in, out virtqtest.Buf
	ins     []virtqtest.Buf
	outs    []virtqtest.Buf
}

// NewQueue makes a queue in mem. The caller closes it.
func NewQueue(mem *virtqtest.Memory, cfg virtqtest.Config) (*Queue, error) {
	d, err := virtqtest.New(mem, cfg)
	if err != nil {
		return nil, err
	}
	q := &Queue{Driver: d, mem: mem}
	for _, b := range []*virtqtest.Buf{&q.in, &q.out} {
		if *b, err = mem.Alloc(Room, 4096); err != nil {
			d.Close()
			return nil, err
		}
	}
	return q, nil
}

// Send makes a message available, a descriptor for each piece of it and for each
// piece of the reply, and kicks if the device wants that.
func (q *Queue) Send(in, out [][]byte) error {
	q.ins, q.outs = q.ins[:0], q.outs[:0]
	off := uint64(0)
	for _, piece := range in {
		b := virtqtest.Buf{GPA: q.in.GPA + off, Len: uint32(len(piece))}
		copy(q.mem.Bytes(b), piece)
		q.ins = append(q.ins, b)
		off += uint64(len(piece))
	}
	off = 0
	for _, piece := range out {
		q.outs = append(q.outs, virtqtest.Buf{GPA: q.out.GPA + off, Len: uint32(len(piece))})
		off += uint64(len(piece))
	}
	if _, ok := q.AddChain(q.ins, q.outs); !ok {
		return errors.New("no free descriptors")
	}
	if q.Publish() {
		q.Kick()
	}
	return nil
}

// Receive waits for the answer to what Send sent, copies it to out and returns
// its length.
func (q *Queue) Receive(out [][]byte) (used int, err error) {
	for end := time.Now().Add(patience); ; {
		if _, n, ok := q.Poll(); ok {
			used = int(n)
			break
		}
		if err := q.Err(); err != nil {
			return 0, err
		}
		if q.EnableInterrupts() {
			continue
		}
		woken, err := q.Wait(time.Until(end))
		if err != nil {
			return 0, err
		}
		if !woken {
			return 0, ErrNoReply
		}
	}
	reply := q.mem.Bytes(virtqtest.Buf{GPA: q.out.GPA, Len: Room})
	if used > len(reply) {
		return 0, fmt.Errorf("the device says it wrote %d bytes", used)
	}
	reply = reply[:used]
	for _, piece := range out {
		reply = reply[copy(piece, reply):]
	}
	return used, nil
}

// Roundtrip sends a message and waits for the answer.
func (q *Queue) Roundtrip(in, out [][]byte) (used int, err error) {
	if err := q.Send(in, out); err != nil {
		return 0, err
	}
	return q.Receive(out)
}
