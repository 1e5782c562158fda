package virtq_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

// stuck is how long a side may sleep before the test gives up: a wake-up that
// takes so long is lost.
const stuck = 60 * time.Second

// A driver and a device, each on its own thread, sleep whenever they have
// nothing to do and trust the other to wake them.
func TestNoWakeupIsLost(t *testing.T) {
	for _, eventIdx := range []bool{false, true} {
		for _, cfg := range []virtqtest.Config{
			{Size: 1, Indirect: 2, EventIdx: eventIdx},
			{Size: 4, EventIdx: eventIdx},
			{Size: 64, Indirect: 2, EventIdx: eventIdx},
		} {
			t.Run(fmt.Sprintf("size %d, event idx %v", cfg.Size, eventIdx), func(t *testing.T) {
				const chains = 100_000
				r := testRig(t, cfg)
				ring, err := r.drv.Ring(r.view)
				if err != nil {
					t.Fatal(err)
				}
				var done atomic.Bool
				var wg sync.WaitGroup
				wg.Go(func() {
					if err := device(ring, &done); err != nil {
						t.Errorf("device: %v", err)
					}
				})
				if err := drive(r, cfg, chains); err != nil {
					t.Errorf("driver: %v", err)
				}
				done.Store(true)
				r.drv.Kick()
				wg.Wait()
			})
		}
	}
}

// drive sends chains, each with its number, and wants the number back.
func drive(r *rig, cfg virtqtest.Config, chains int) error {
	depth := cfg.Size
	if cfg.Indirect == 0 {
		depth /= 2 // two descriptors each
	}
	in := make([]virtqtest.Buf, depth)
	out := make([]virtqtest.Buf, depth)
	for i := range depth {
		b, err := r.mem.Alloc(16, 8)
		if err != nil {
			return err
		}
		in[i] = virtqtest.Buf{GPA: b.GPA, Len: 8}
		out[i] = virtqtest.Buf{GPA: b.GPA + 8, Len: 8}
	}
	// The device serves in order, so buffers come back in the order in which
	// they went.
	for sent, got := 0, 0; got < chains; {
		r.drv.DisableInterrupts()
		for sent < chains && sent-got < depth {
			slot := sent % depth
			binary.LittleEndian.PutUint64(r.mem.Bytes(in[slot]), uint64(sent))
			if _, ok := r.drv.AddChain(in[slot:slot+1], out[slot:slot+1]); !ok {
				return fmt.Errorf("no room with %d of %d outstanding", sent-got, depth)
			}
			sent++
		}
		if r.drv.Publish() {
			r.drv.Kick()
		}
		for {
			_, written, ok := r.drv.Poll()
			if !ok {
				break
			}
			number := binary.LittleEndian.Uint64(r.mem.Bytes(out[got%depth]))
			if number != uint64(got) || written != 8 {
				return fmt.Errorf("chain %d came back as %d, %d bytes", got, number, written)
			}
			got++
		}
		if err := r.drv.Err(); err != nil {
			return err
		}
		if sent == got || r.drv.EnableInterrupts() {
			continue
		}
		ok, err := r.drv.Wait(stuck)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("no interrupt; sent %d, got %d, used index %d", sent, got, r.drv.UsedIdx())
		}
	}
	return nil
}

// device copies what comes into what goes, until done.
func device(r *virtq.Ring, done *atomic.Bool) error {
	var c virtq.Chain
	var b [8]byte
	poll := []unix.PollFd{{Fd: int32(r.Kick), Events: unix.POLLIN}}
	for !done.Load() {
		r.Queue.DisableNotify()
		for {
			ok, err := r.Queue.Pop(r.Mem, &c)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			oslib.IovRead(b[:], c.In)
			n, _ := oslib.IovWrite(c.Out, b[:])
			r.Queue.Push(c.Head, uint32(n))
		}
		if r.Queue.Flush() {
			r.Interrupt()
		}
		if r.Queue.EnableNotify() {
			continue
		}
		n, err := unix.Poll(poll, int(stuck.Milliseconds()))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case n == 0:
			return errors.New("no kick")
		default:
			oslib.EventfdRead(r.Kick)
		}
	}
	return nil
}
