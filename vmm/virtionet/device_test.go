package virtionet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
	"github.com/isthmus-fs/isthmus/vmm/virtiopci"
)

var (
	_ virtiopci.Backend    = (*Device)(nil)
	_ virtiopci.Negotiator = (*Device)(nil)
	_ virtiopci.Changer    = (*Device)(nil)
)

func TestFramesToTheHost(t *testing.T) {
	for _, features := range []uint64{0, virtq.FeatRingEventIdx} {
		r := newRig(t, features)
		r.start(transmitQueue, 0)
		for n, cuts := range [][]int{nil, {12}, {5, 3}, {1, 1, 10}, {12, 14, 1}, {26}} {
			want := frame(ethernetSize+1+200*n, byte(n))
			r.transmit(header{}, want, cuts...)
			if h, got := r.host.receive(); !bytes.Equal(got, want) || h.flags != 0 {
				t.Errorf("cut at %v, %d bytes arrived of %d, flags %#x", cuts, len(got), len(want), h.flags)
			}
			if written := r.used(transmitQueue); written != 0 {
				t.Errorf("%d bytes written", written)
			}
		}
		if s := r.dev.Stats(); s.TxFrames != 6 || s.TxDropped != 0 || s.TxBytes != 6*(ethernetSize+1)+200*15 {
			t.Errorf("%+v", s)
		}
		r.eventually("an interrupt", func() bool { return r.told[transmitQueue].interrupts.Load() > 0 })
	}
}

func TestFramesToTheGuest(t *testing.T) {
	for _, features := range []uint64{0, featGuestCsum, featGuestCsum | virtq.FeatRingEventIdx} {
		r := newRig(t, features)
		r.start(receiveQueue, 0)
		for n, cuts := range [][]uint32{{2048}, {12, 2048}, {11, 2048}, {5, 6, 1, 2048}, {1, 2, 2, 2, 2, 2, 2, 2048}} {
			var out []virtqtest.Buf
			b := r.buffer(slotSize)
			for _, cut := range cuts {
				out = append(out, virtqtest.Buf{GPA: b.GPA, Len: cut})
				b.GPA += uint64(cut)
			}
			r.give(receiveQueue, nil, out)
			want := frame(ethernetSize+1+300*n, byte(n))
			r.host.send(header{}, want)
			written := int(r.used(receiveQueue))
			got := r.mem.Bytes(virtqtest.Buf{GPA: out[0].GPA, Len: uint32(written)})
			if !bytes.Equal(got[headerSize:], want) {
				t.Errorf("cut at %v, %d bytes arrived of %d", cuts, len(got)-headerSize, len(want))
			}
			if got[0] != 0 || got[1] != 0 || binary.LittleEndian.Uint16(got[10:]) != 1 {
				t.Errorf("header % x", got[:headerSize])
			}
		}
		if s := r.dev.Stats(); s.RxFrames != 5 || s.RxDropped != 0 || s.RxBytes != 5*(ethernetSize+1)+300*10 {
			t.Errorf("%+v", s)
		}
	}
}

// partial is a frame whose checksum is to be computed: over what follows byte 20, at
// byte 30. The sum that is there already stands for a pseudo header.
func partial() (h header, incomplete, complete []byte) {
	h = header{flags: needsCsum, csumStart: 20, csumOffset: 10}
	incomplete = frame(201, 0x5a)
	binary.BigEndian.PutUint16(incomplete[30:], 0x1234)
	complete = bytes.Clone(incomplete)
	sum := uint32(0)
	for i := 20; i < 201; i += 2 {
		sum += uint32(complete[i]) << 8
		if i+1 < 201 {
			sum += uint32(complete[i+1])
		}
	}
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(complete[30:], ^uint16(sum))
	return h, incomplete, complete
}

func TestChecksumsToTheGuest(t *testing.T) {
	h, incomplete, complete := partial()
	for _, c := range []struct {
		name     string
		features uint64
		flags    byte
		want     []byte
	}{
		{"the driver takes it without", featGuestCsum, needsCsum, incomplete},
		{"the driver insists", 0, 0, complete},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, c.features)
			if !r.tap.checksums {
				t.Fatal("the interface takes no part in checksums")
			}
			r.start(receiveQueue, 0)
			b := r.buffer(2048)
			r.give(receiveQueue, nil, []virtqtest.Buf{b})
			r.host.send(h, incomplete)
			b.Len = r.used(receiveQueue)
			got := r.mem.Bytes(b)
			if !bytes.Equal(got[headerSize:], c.want) {
				t.Errorf("checksum % x, want % x", got[headerSize+30:][:2], c.want[30:32])
			}
			gotHead := parseHeader((*[headerSize]byte)(got))
			want := header{}
			if c.flags != 0 {
				want = h
			}
			if gotHead != want {
				t.Errorf("header %+v, want %+v", gotHead, want)
			}
		})
	}
}

func TestChecksumsToTheHost(t *testing.T) {
	h, incomplete, _ := partial()
	r := newRig(t, featCsum)
	r.start(transmitQueue, 0)
	r.transmit(h, incomplete)
	if got, f := r.host.receive(); got != h || !bytes.Equal(f, incomplete) {
		t.Errorf("the host has header %+v, want %+v", got, h)
	}
	// A flag that is not known is ignored.
	r.transmit(header{flags: 0x80}, frame(60, 1))
	if got, _ := r.host.receive(); got.flags != 0 {
		t.Errorf("the host has header %+v", got)
	}
}

func TestHeadersThatAreDropped(t *testing.T) {
	for _, c := range []struct {
		name     string
		features uint64
		h        header
		n        int
	}{
		{"checksum that is not negotiated", 0, header{flags: needsCsum, csumStart: 20}, 60},
		{"a flag and nothing negotiated", 0, header{flags: 2}, 60},
		{"segmentation", featCsum, header{gsoType: 1}, 60},
		{"checksum beyond the end", featCsum, header{flags: needsCsum, csumStart: 20, csumOffset: 39}, 60},
		{"checksum far away", featCsum, header{flags: needsCsum, csumStart: 0xffff, csumOffset: 0xffff}, 60},
		{"no whole Ethernet header", 0, header{}, ethernetSize - 1},
		{"nothing", 0, header{}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, c.features)
			r.start(transmitQueue, 0)
			f := frame(60, 1)[:c.n]
			r.transmit(c.h, f)
			r.used(transmitQueue)
			good := frame(61, 2)
			r.transmit(header{}, good)
			if _, got := r.host.receive(); !bytes.Equal(got, good) {
				t.Errorf("the host received % x", got)
			}
			if s := r.dev.Stats(); s.TxDropped != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestFramesThatAreTooLong(t *testing.T) {
	for _, features := range []uint64{0, featGuestCsum} {
		r := newRig(t, features)
		r.start(receiveQueue, 0)
		// The driver's buffer has room for 100 bytes, exactly.
		b := r.buffer(headerSize + 100)
		r.give(receiveQueue, nil, []virtqtest.Buf{b})
		r.host.send(header{}, frame(101, 1))
		r.host.send(header{}, frame(1000, 2))
		r.host.send(header{}, frame(100, 3))
		if n := r.used(receiveQueue); n != headerSize+100 {
			t.Errorf("%d bytes", n)
		}
		if got := r.mem.Bytes(b)[headerSize+20]; got != 3 {
			t.Errorf("frame %d arrived", got)
		}
		if s := r.dev.Stats(); s.RxDropped != 2 || s.RxFrames != 1 {
			t.Errorf("%+v", s)
		}
	}
}

func TestChainsThatBreakTheirQueue(t *testing.T) {
	ok := virtqtest.Buf{GPA: slotBase, Len: 2048}
	outside := virtqtest.Buf{GPA: 0, Len: 2048}
	for _, c := range []struct {
		name    string
		queue   int
		in, out []virtqtest.Buf
		nowhere bool // the only buffer is outside of memory
	}{
		{"readable buffer to receive into", receiveQueue, []virtqtest.Buf{ok}, []virtqtest.Buf{ok}, false},
		{"only readable", receiveQueue, []virtqtest.Buf{ok}, nil, false},
		{"no room", receiveQueue, nil, []virtqtest.Buf{{GPA: slotBase, Len: headerSize + ethernetSize - 1}}, false},
		{"outside of memory", receiveQueue, nil, []virtqtest.Buf{outside}, true},
		{"writable buffer to transmit", transmitQueue, []virtqtest.Buf{ok}, []virtqtest.Buf{ok}, false},
		{"no header", transmitQueue, []virtqtest.Buf{{GPA: slotBase, Len: headerSize - 1}}, nil, false},
		{"outside of memory", transmitQueue, []virtqtest.Buf{outside}, nil, true},
	} {
		for _, features := range []uint64{0, featGuestCsum} {
			t.Run(c.name, func(t *testing.T) {
				r := newRig(t, features)
				r.start(receiveQueue, 0)
				r.start(transmitQueue, 0)
				drv := r.rings[c.queue]
				drv.AddChain(c.in, c.out)
				if c.nowhere {
					flags := uint16(0)
					if c.queue == receiveQueue {
						flags = virtq.DescWrite
					}
					drv.SetDesc(0, virtqtest.Desc{Addr: 1 << 40, Len: 2048, Flags: flags})
				}
				drv.Publish()
				drv.Kick()
				r.host.send(header{}, frame(60, 1)) // to be received
				r.eventually("the end of the queue", func() bool { return r.told[c.queue].fails.Load() == 1 })
				if c.queue == receiveQueue {
					want := frame(60, 4)
					r.transmit(header{}, want)
					if _, got := r.host.receive(); !bytes.Equal(got, want) {
						t.Error("the other queue does not work")
					}
				}
				if n := r.told[1-c.queue].fails.Load(); n != 0 {
					t.Error("the other queue broke too")
				}
			})
		}
	}
}

func TestNoFrameIsLostByStopping(t *testing.T) {
	r := newRig(t, 0)
	ring := r.start(receiveQueue, 0)
	for range 4 {
		r.give(receiveQueue, nil, []virtqtest.Buf{r.buffer(2048)})
	}
	r.host.send(header{}, frame(60, 1))
	r.used(receiveQueue)
	r.dev.Stop(receiveQueue, true)
	if n := ring.Queue.Next(); n != 1 {
		t.Errorf("the ring goes on at %d, want 1", n)
	}
	if n := r.rings[receiveQueue].UsedIdx(); n != 1 {
		t.Errorf("%d buffers came back, want 1: there was one frame", n)
	}
	r.host.send(header{}, frame(61, 2)) // while nobody looks
	r.start(receiveQueue, ring.Queue.Next())
	if n := r.used(receiveQueue); n != headerSize+61 {
		t.Errorf("%d bytes", n)
	}
}

func TestLinkStatus(t *testing.T) {
	r := newRig(t, 0)
	status := func() uint16 { return binary.LittleEndian.Uint16(r.dev.Config()[6:]) }
	if status() != 1 {
		t.Error("the link is down at first")
	}
	changes := 0
	r.dev.OnConfigChange(func() { changes++ })
	r.dev.SetLink(true)
	r.dev.SetLink(false)
	r.dev.SetLink(false)
	if changes != 1 || status() != 0 {
		t.Errorf("%d changes, status %d", changes, status())
	}
	r.start(receiveQueue, 0)
	r.start(transmitQueue, 0)
	r.transmit(header{}, frame(60, 1))
	r.used(transmitQueue)
	r.give(receiveQueue, nil, []virtqtest.Buf{r.buffer(2048)})
	r.host.send(header{}, frame(60, 1))
	r.eventually("two frames to be dropped", func() bool { s := r.dev.Stats(); return s.RxDropped == 1 && s.TxDropped == 1 })
	r.dev.SetLink(true)
	if changes != 2 || status() != 1 {
		t.Errorf("%d changes, status %d", changes, status())
	}
	r.host.send(header{}, frame(61, 1))
	if n := r.used(receiveQueue); n != headerSize+61 {
		t.Errorf("%d bytes", n)
	}
}

func TestAnInterfaceThatIsDeleted(t *testing.T) {
	r := newRig(t, 0)
	changed := make(chan struct{}, 8)
	r.dev.OnConfigChange(func() { changed <- struct{}{} })
	r.start(receiveQueue, 0)
	r.start(transmitQueue, 0)
	r.give(receiveQueue, nil, []virtqtest.Buf{r.buffer(2048)})
	deleteInterface(t, r.tap.Name())
	<-changed
	if binary.LittleEndian.Uint16(r.dev.Config()[6:]) != 0 {
		t.Error("the link is up")
	}
	r.transmit(header{}, frame(60, 1))
	r.used(transmitQueue)
	if s := r.dev.Stats(); s.TxDropped != 1 || s.RxFrames != 0 {
		t.Errorf("%+v", s)
	}
}

// deleteInterface is `ip link del`.
func deleteInterface(t *testing.T, name string) {
	t.Helper()
	r := newIfreq(name)
	if err := interfaceCall(unix.SIOCGIFINDEX, &r); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	msg := make([]byte, unix.SizeofNlMsghdr+unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(msg, uint32(len(msg)))
	binary.NativeEndian.PutUint16(msg[4:], unix.RTM_DELLINK)
	binary.NativeEndian.PutUint16(msg[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	copy(msg[unix.SizeofNlMsghdr+4:], r[ifreqUnion:ifreqUnion+4])
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 4096)
	if n, err := unix.Read(fd, answer); err != nil || n < 20 || binary.NativeEndian.Uint32(answer[16:]) != 0 {
		t.Fatalf("delete %s: %v, % x", name, err, answer[:max(n, 0)])
	}
}

func TestConfigurationSpace(t *testing.T) {
	for _, c := range []struct {
		mtu  uint32
		want uint16
	}{{1500, 1500}, {9000, 9000}, {576, 576}, {68, 68}} {
		tap := newTAP(t)
		setMTU(t, tap.Name(), c.mtu)
		again, err := readAgain(tap)
		if err != nil {
			t.Fatal(err)
		}
		dev, err := New(Config{TAP: again, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		defer dev.Close()
		space := dev.Config()
		if !bytes.Equal(space[:6], tap.MAC()) || len(space) != 24 {
			t.Errorf("% x, want MAC %s", space, tap.MAC())
		}
		if mtu := binary.LittleEndian.Uint16(space[10:]); mtu != c.want || dev.Features()&featMTU == 0 {
			t.Errorf("MTU %d, want %d", mtu, c.want)
		}
		if want := featCsum | featGuestCsum | featMAC | featStatus | featMTU; dev.Features() != want {
			t.Errorf("features %#x, want %#x", dev.Features(), want)
		}
	}
}

// readAgain looks at the interface once more.
func readAgain(tap *TAP) (*TAP, error) {
	r := newIfreq(tap.name)
	again := *tap
	err := interfaceCall(unix.SIOCGIFMTU, &r)
	again.mtu = int(binary.NativeEndian.Uint32(r[ifreqUnion:]))
	return &again, err
}

func TestOpenTAP(t *testing.T) {
	newNetwork(t)
	var te *TAPError
	_, err := OpenTAP("nothere")
	if !errors.As(err, &te) || !errors.Is(err, unix.ENODEV) {
		t.Errorf("an interface that is not there: %v", err)
	}
	const want = "network interface \"nothere\": look for it: no such device: make it with " +
		"`ip tuntap add nothere mode tap user $USER` and `ip link set nothere up`"
	if err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if _, err := OpenTAP("a/b"); !errors.As(err, &te) {
		t.Errorf("a bad name: %v", err)
	}
	if _, err := OpenTAP("lo"); !errors.Is(err, unix.EINVAL) || !errors.As(err, &te) || te.Advice == "" {
		t.Errorf("no TAP interface: %v", err)
	}
	made, err := CreateTAP("tap7")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenTAP("tap7"); !errors.Is(err, unix.EBUSY) || !errors.As(err, &te) || te.Advice == "" {
		t.Errorf("one that another has: %v", err)
	}
	setMTU(t, "tap7", 1234)
	if err := unix.IoctlSetInt(made.fd, unix.TUNSETPERSIST, 1); err != nil {
		t.Fatal(err)
	}
	mac := append([]byte(nil), made.MAC()...)
	made.Close()
	tap, err := OpenTAP("tap7")
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	if tap.Name() != "tap7" || tap.MTU() != 1234 || !bytes.Equal(tap.MAC(), mac) {
		t.Errorf("%s, MTU %d, MAC %s; want tap7, 1234, %x", tap.Name(), tap.MTU(), tap.MAC(), mac)
	}
}

func TestOnThread(t *testing.T) {
	tap := newTAP(t)
	setUp(t, tap.Name(), true)
	threads := make(chan int, numQueues)
	r := newRigOn(t, tap, Config{TAP: tap, Logger: quiet, OnThread: func() error { threads <- unix.Gettid(); return nil }}, 0)
	r.start(receiveQueue, 0)
	r.start(transmitQueue, 0)
	if a, b := <-threads, <-threads; a == b || a == unix.Gettid() || b == unix.Gettid() {
		t.Errorf("the workers are on threads %d and %d", a, b)
	}
	want := errors.New("no filter")
	bad := newRigOn(t, tap, Config{TAP: tap, Logger: quiet, OnThread: func() error { return want }}, 0)
	ring, err := bad.rings[0].Ring(bad.view)
	if err != nil {
		t.Fatal(err)
	}
	if err := bad.dev.Start(0, ring); !errors.Is(err, want) {
		t.Errorf("Start: %v", err)
	}
	bad.dev.Stop(0, false)
}

func TestWrongStarts(t *testing.T) {
	r := newRig(t, 0)
	ring := r.start(receiveQueue, 0)
	for i, ring := range []*virtq.Ring{0: ring, 1: {Kick: -1}, 2: ring} {
		if err := r.dev.Start(i, ring); err == nil {
			t.Errorf("queue %d started", i)
		}
	}
	r.dev.Stop(2, false)
	if _, err := New(Config{}); err == nil {
		t.Error("a card without an interface")
	}
}

func TestNoAllocations(t *testing.T) {
	for _, features := range []uint64{0, featGuestCsum | featCsum | virtq.FeatRingEventIdx} {
		r := newRig(t, features)
		r.start(receiveQueue, 0)
		r.start(transmitQueue, 0)
		rx, tx := r.rings[receiveQueue], r.rings[transmitQueue]
		out := []virtqtest.Buf{r.buffer(2048)}
		in := []virtqtest.Buf{r.buffer(headerSize), r.buffer(100)}
		copy(r.mem.Bytes(in[1]), frame(100, 1))
		packet := append(make([]byte, hostHeader), frame(100, 2)...)
		n := testing.AllocsPerRun(200, func() {
			rx.AddChain(nil, out)
			if rx.Publish() {
				rx.Kick()
			}
			tx.AddChain(in, nil)
			if tx.Publish() {
				tx.Kick()
			}
			if _, err := unix.Write(r.host.fd, packet); err != nil {
				t.Fatal(err)
			}
			for left := 2; left > 0; {
				if _, _, ok := rx.Poll(); ok {
					left--
				}
				if _, _, ok := tx.Poll(); ok {
					left--
				}
			}
		})
		if n != 0 {
			t.Errorf("features %#x: %v allocations for a frame each way", features, n)
		}
	}
}
