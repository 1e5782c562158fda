package vhostuser_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/vhostuser"
	"github.com/isthmus-fs/isthmus/vhostuser/vhosttest"
	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

// attacker is a front end that follows a script of bytes. Most of what it sends
// is nearly right, as the nonsense ends at the first check.
type attacker struct {
	t       testing.TB
	fe      *vhosttest.FrontEnd
	script  []byte
	mem     *virtqtest.Memory
	regions []guestmem.Region
	rings   []*guest
	fds     []int // one of each kind
}

// next takes a byte of the script; 0 behind its end.
func (a *attacker) next() byte {
	if len(a.script) == 0 {
		return 0
	}
	b := a.script[0]
	a.script = a.script[1:]
	return b
}

// someFDs returns up to 3 descriptors, now and then the most or more.
func (a *attacker) someFDs() []int {
	n := int(a.next())
	kind := int(a.next())
	count := n & 3
	if n >= 0xf0 {
		count = 28 + n&0xf
	}
	fds := make([]int, count)
	for i := range fds {
		fds[i] = a.fds[(kind+i)%len(a.fds)]
	}
	return fds
}

func (a *attacker) send(r vhostuser.Request, payload []byte, fds ...int) error {
	flags := plain
	if a.next()&1 == 0 {
		flags = needReply
	}
	return a.fe.Send(vhosttest.Message{Request: r, Flags: flags, Payload: payload, FDs: fds})
}

// word returns a number that is likely to matter.
func (a *attacker) word() uint64 {
	k := a.next()
	r := a.regions[int(k>>6)%len(a.regions)]
	at := a.rings[int(k>>6)%len(a.rings)].drv.Layout()
	likely := [...]uint64{
		0, 1, 2, 16, 32, 255, 0x100, 0x101, 4096, 32768, 65535, 65536, 1<<32 - 1, 1 << 63, ^uint64(0),
		r.GPA, r.UVA, r.Size, r.Offset, r.UVA + r.Size, r.Size - 1,
		a.mem.UVA(at.Desc), a.mem.UVA(at.Avail), a.mem.UVA(at.Used),
		virtq.FeatVersion1, driverFeatures, driverFeatures | vhostuser.FeatProtocol,
	}
	v := likely[int(k&0x3f)%len(likely)]
	if k&0x20 != 0 {
		v += uint64(int8(a.next()))
	}
	return v
}

// step does one thing. It returns false when the connection is gone.
func (a *attacker) step() bool {
	var err error
	op := a.next()
	i := int(a.next()) % len(a.rings)
	ring, region := a.rings[i], a.regions[i%len(a.regions)]
	switch op % 16 {
	case 0: // any bytes
		n := min(int(a.next()), len(a.script))
		b := a.script[:n]
		a.script = a.script[n:]
		if n > 0 {
			err = a.fe.SendBytes(b, a.someFDs()...)
		}
	case 1, 2: // any message of the right shape
		r := vhostuser.Request(a.next() % 48)
		var p []byte
		for range a.next() % 8 {
			p = append(p, vhosttest.U64(a.word())...)
		}
		err = a.send(r, p, a.someFDs()...)
	case 3: // messages with two 32-bit numbers
		r := []vhostuser.Request{8, 10, 11, 18}[a.next()%4]
		err = a.send(r, vhosttest.State(uint32(a.next()%3), uint32(a.word())))
	case 4: // messages with a descriptor
		r := []vhostuser.Request{12, 13, 14}[a.next()%3]
		err = a.send(r, vhosttest.U64(uint64(a.next()%3)|uint64(a.next()&1)<<8), a.someFDs()...)
	case 5: // addresses
		err = a.send(9, vhosttest.Addr(uint32(i), uint32(a.next()&1), a.word(), a.word(), a.word(), 0))
	case 6:
		err = a.send(37, vhosttest.MemReg(region), region.FD)
	case 7:
		err = a.send(38, vhosttest.MemReg(region), a.someFDs()...)
	case 8: // a region that is nearly right
		region.GPA, region.Size, region.Offset = a.word(), a.word(), a.word()
		err = a.send(37, vhosttest.MemReg(region), region.FD)
	case 9:
		p, fds := vhosttest.MemTable(a.regions[:1+int(a.next())%len(a.regions)]...)
		err = a.send(5, p, fds...)
	case 10: // all that a ring needs
		at := ring.drv.Layout()
		n := uint32(i)
		err = errors.Join(
			a.send(8, vhosttest.State(n, uint32(ring.drv.Size()))),
			a.send(9, vhosttest.Addr(n, 0, a.mem.UVA(at.Desc), a.mem.UVA(at.Used), a.mem.UVA(at.Avail), 0)),
			a.send(13, vhosttest.FDIndex(uint8(n), ring.drv.CallFD), ring.drv.CallFD),
			a.send(12, vhosttest.FDIndex(uint8(n), ring.drv.KickFD), ring.drv.KickFD),
			a.send(18, vhosttest.State(n, 1)),
		)
	case 11:
		ring.send(a.next()&1 == 0)
	case 12: // a ring that makes no sense
		ring.drv.SetDesc(int(a.next())%ring.drv.Size(), virtqtest.Desc{
			Addr: a.word(), Len: uint32(a.word()), Flags: uint16(a.next() & 7), Next: uint16(a.next()),
		})
		ring.drv.SetAvail(uint16(a.next()), uint16(a.next()))
		ring.drv.SetAvailIdx(uint16(a.word()))
		ring.drv.Kick()
	case 13:
		err = a.send(34, nil)
	case 14:
		err = a.send(11, vhosttest.State(uint32(i), 0))
	case 15:
		err = a.send(24, vhosttest.ConfigRange(uint32(a.word()), uint32(a.word()), 0, make([]byte, a.next())))
	}
	return err == nil
}

// newAttacker makes two regions of memory and a ring in each.
func newAttacker(t testing.TB, fe *vhosttest.FrontEnd, script []byte) *attacker {
	a := &attacker{t: t, fe: fe, script: script}
	a.mem = newMemory(t, virtqtest.Segment{GPA: 0, Size: 1 << 14}, virtqtest.Segment{GPA: 1 << 20, Size: 1 << 14})
	a.regions = regionsOf(t, a.mem)
	for range 2 {
		a.rings = append(a.rings, newGuest(t, a.mem, virtqtest.Config{Size: 16, EventIdx: true}))
	}
	var p [2]int
	ok(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
	blocking, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	ok(t, err)
	t.Cleanup(func() { unix.Close(p[0]); unix.Close(p[1]); unix.Close(blocking) })
	a.fds = []int{a.mem.FD(), a.rings[0].drv.KickFD, blocking, p[0], p[1]}
	return a
}

// FuzzBackend lets an attacker talk to a back end: whatever it sends, the back
// end ends when the attacker hangs up, and nothing of it is left.
func FuzzBackend(f *testing.F) {
	f.Add([]byte{}, false)
	f.Add([]byte{6, 0, 0, 6, 1, 0, 10, 0, 0, 0, 0, 0, 0, 11, 0, 0, 11, 0, 1, 14, 0, 0, 10, 0, 0, 0, 0, 0, 0}, true)
	f.Add([]byte{9, 0, 0, 0, 10, 1, 0, 0, 0, 0, 0, 11, 1, 0, 7, 1, 0, 0, 0, 9, 0, 1, 0, 13, 0, 0}, false)
	f.Add([]byte{9, 0, 1, 0, 10, 0, 0, 0, 0, 0, 0, 12, 0, 0, 5, 5, 1, 1, 0, 0, 12, 3, 0, 12, 14, 0, 0}, false)
	f.Add([]byte{1, 0, 5, 4, 1, 2, 3, 4, 0xff, 0, 0}, true)
	f.Add([]byte{4, 0, 0, 1, 0, 1, 3, 0, 4, 0, 0, 1, 0, 1, 1, 0, 15, 0, 0, 3, 12, 0}, true)
	f.Add([]byte{0, 0, 12, 5, 0, 0, 0, 1, 0, 0, 0, 72, 0, 0, 0, 1, 0, 8, 0, 1, 2, 3, 0}, false)
	f.Fuzz(func(t *testing.T, script []byte, hold bool) {
		before := held(t)
		t.Cleanup(func() {
			if after := held(t); !reflect.DeepEqual(after, before) {
				t.Errorf("held afterwards: %+v\nbefore: %+v", after, before)
			}
		})
		attack(t, script, hold)
	})
}

// attack runs a script against a back end of its own.
func attack(t *testing.T, script []byte, hold bool) {
	dev := newEcho(2)
	dev.config = make([]byte, 40)
	dev.hold.Store(hold)
	fe, sock, err := vhosttest.Pair()
	ok(t, err)
	fe.Timeout = patience
	opt := vhostuser.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	done := make(chan error, 1)
	go func() { done <- vhostuser.ServeConn(context.Background(), sock, dev, opt) }()
	discarded := make(chan struct{})
	go func() {
		fe.Discard()
		close(discarded)
	}()
	a := newAttacker(t, fe, script)
	for steps := 0; len(a.script) > 0 && steps < 200 && a.step(); steps++ {
	}
	ok(t, ignoreGone(fe.CloseWrite()))
	select {
	case <-done:
	case <-time.After(patience):
		panic(fmt.Sprintf("the back end hangs after %x", script))
	}
	<-discarded
	fe.Close()
	ok(t, dev.close())
}

// ignoreGone drops the error of talking to a back end that has hung up.
func ignoreGone(err error) error {
	if errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.EPIPE) {
		return nil
	}
	return err
}
