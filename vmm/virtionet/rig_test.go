package virtionet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// newNetwork gives the test a network of its own, with nothing in it. Its goroutine
// keeps its thread, which ends with it.
func newNetwork(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("a network namespace: %v", err)
	}
	// Else the kernel itself talks on each interface.
	err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

func newTAP(t testing.TB) *TAP {
	t.Helper()
	newNetwork(t)
	tap, err := CreateTAP("test%d")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tap.Close)
	return tap
}

// setUp switches an interface on or off.
func setUp(t testing.TB, name string, up bool) {
	t.Helper()
	r := newIfreq(name)
	if up {
		binary.NativeEndian.PutUint16(r[ifreqUnion:], unix.IFF_UP)
	}
	if err := interfaceCall(unix.SIOCSIFFLAGS, &r); err != nil {
		t.Fatal(err)
	}
}

func setMTU(t testing.TB, name string, mtu uint32) {
	t.Helper()
	r := newIfreq(name)
	binary.NativeEndian.PutUint32(r[ifreqUnion:], mtu)
	if err := interfaceCall(unix.SIOCSIFMTU, &r); err != nil {
		t.Fatal(err)
	}
}

// hostSocket sends and receives frames at the host's end, each after 10 bytes of
// header (PACKET_VNET_HDR).
type hostSocket struct {
	t  testing.TB
	fd int
}

const hostHeader = 10

func newHostSocket(t testing.TB, name string) *hostSocket {
	t.Helper()
	r := newIfreq(name)
	if err := interfaceCall(unix.SIOCGIFINDEX, &r); err != nil {
		t.Fatal(err)
	}
	const allProtocols = 0x0300 // ETH_P_ALL in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	const packetVnetHdr = 15
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, packetVnetHdr, 1); err != nil {
		t.Fatal(err)
	}
	index := int(int32(binary.NativeEndian.Uint32(r[ifreqUnion:])))
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: allProtocols, Ifindex: index}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 60}); err != nil {
		t.Fatal(err)
	}
	return &hostSocket{t, fd}
}

func (h *hostSocket) send(head header, frame []byte) {
	h.t.Helper()
	var b [headerSize]byte
	head.put(&b, 0)
	if _, err := unix.Write(h.fd, append(b[:hostHeader:hostHeader], frame...)); err != nil {
		h.t.Fatal(err)
	}
}

// receive returns the next frame of the test's own protocol.
func (h *hostSocket) receive() (header, []byte) {
	h.t.Helper()
	buf := make([]byte, hostHeader+maxFrame)
	for {
		n, err := unix.Read(h.fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			h.t.Fatal(err)
		}
		if frame := buf[hostHeader:n]; len(frame) > ethernetSize && bytes.Equal(frame[12:14], protocol) {
			return parseHeader((*[headerSize]byte)(append(buf[:hostHeader:hostHeader], 0, 0))), frame
		}
	}
}

// protocol is the EtherType for experiments.
var protocol = []byte{0x88, 0xb5}

// frame makes a frame of n bytes.
func frame(n int, fill byte) []byte {
	f := bytes.Repeat([]byte{fill}, n)
	copy(f, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1})
	copy(f[12:], protocol)
	return f
}

// signals counts what the device tells a driver.
type signals struct{ interrupts, fails atomic.Int32 }

func (s *signals) Interrupt() { s.interrupts.Add(1) }
func (s *signals) Fail()      { s.fails.Add(1) }

const (
	ringSize = 16
	slotSize = 4096
	slotBase = 1 << 20 // of buffers
)

// rig is a card with a driver, without a transport.
type rig struct {
	t     testing.TB
	tap   *TAP
	dev   *Device
	host  *hostSocket
	mem   *virtqtest.Memory
	view  *guestmem.View
	rings [numQueues]*virtqtest.Driver
	told  [numQueues]*signals
	next  uint64 // buffer
}

func newRig(t testing.TB, features uint64) *rig {
	t.Helper()
	tap := newTAP(t)
	setUp(t, tap.Name(), true)
	return newRigOn(t, tap, Config{TAP: tap, Logger: quiet}, features)
}

func newRigOn(t testing.TB, tap *TAP, cfg Config, features uint64) *rig {
	t.Helper()
	r := &rig{t: t, tap: tap, host: newHostSocket(t, tap.Name())}
	var err error
	if r.mem, err = virtqtest.NewMemory(virtqtest.Segment{GPA: 0, Size: slotBase + 64*slotSize}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.mem.Close)
	if r.view, err = r.mem.View(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.view.Release)
	if r.dev, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.dev.Close)
	if err := r.dev.Negotiate(features | virtq.FeatVersion1); err != nil {
		t.Fatal(err)
	}
	for i := range r.rings {
		if r.rings[i], err = virtqtest.New(r.mem, virtqtest.Config{Size: ringSize, EventIdx: features&virtq.FeatRingEventIdx != 0}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.rings[i].Close)
		r.told[i] = &signals{}
	}
	t.Cleanup(func() {
		for i := range numQueues {
			r.dev.Stop(i, false)
		}
	})
	return r
}

// start begins the service of a queue where its ring is.
func (r *rig) start(i int, at uint16) *virtq.Ring {
	r.t.Helper()
	c, err := r.rings[i].QueueConfig(r.view)
	if err != nil {
		r.t.Fatal(err)
	}
	c.Next = at
	q, err := virtq.New(c)
	if err != nil {
		r.t.Fatal(err)
	}
	ring := &virtq.Ring{Queue: q, Mem: r.view, Kick: r.rings[i].KickFD, Call: -1, Err: -1, Signals: r.told[i]}
	if err := r.dev.Start(i, ring); err != nil {
		r.t.Fatal(err)
	}
	return ring
}

// buffer returns guest memory of n bytes.
func (r *rig) buffer(n int) virtqtest.Buf {
	b := virtqtest.Buf{GPA: slotBase + r.next%64*slotSize, Len: uint32(n)}
	r.next++
	return b
}

// give makes a chain available.
func (r *rig) give(i int, in, out []virtqtest.Buf) {
	r.t.Helper()
	if _, ok := r.rings[i].AddChain(in, out); !ok {
		r.t.Fatal("the ring is full")
	}
	if r.rings[i].Publish() {
		r.rings[i].Kick()
	}
}

// used waits for a chain to come back.
func (r *rig) used(i int) (written uint32) {
	r.t.Helper()
	r.eventually("a used chain", func() (ok bool) {
		_, written, ok = r.rings[i].Poll()
		return ok
	})
	return written
}

func (r *rig) eventually(what string, f func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain for %s; %+v", what, r.dev.Stats())
		}
	}
}

// transmit sends a frame as the driver does, cut at the given lengths.
func (r *rig) transmit(h header, f []byte, cuts ...int) {
	r.t.Helper()
	b := r.buffer(headerSize + len(f))
	mem := r.mem.Bytes(b)
	h.put((*[headerSize]byte)(mem), 0)
	copy(mem[headerSize:], f)
	var in []virtqtest.Buf
	for _, cut := range cuts {
		in = append(in, virtqtest.Buf{GPA: b.GPA, Len: uint32(cut)})
		b.GPA, b.Len = b.GPA+uint64(cut), b.Len-uint32(cut)
	}
	r.give(transmitQueue, append(in, b), nil)
}
