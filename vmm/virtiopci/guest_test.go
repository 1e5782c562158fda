package virtiopci_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/kvm"
	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
	"github.com/isthmus-fs/isthmus/vmm/virtiopci"
)

const (
	base = 0xfe000000
	size = 4 << 20
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// fakeKVM remembers what it was told, and does none of it.
type fakeKVM struct {
	mu      sync.Mutex
	high    map[uint32]bool
	rises   map[uint32]int
	irqfds  map[uint32]int      // GSI to fd
	kicks   map[uint64]int      // address to fd
	widths  map[uint64]uint32   // address to Len
	routes  map[uint32][]uint32 // MSI routes: GSI to U
	narrow  bool                // no ioeventfds of any width
	without bool                // no ioeventfds
	refuse  uint32              // data of MSIs that cannot be routed
}

func newFakeKVM() *fakeKVM {
	return &fakeKVM{
		high: map[uint32]bool{}, rises: map[uint32]int{}, irqfds: map[uint32]int{}, kicks: map[uint64]int{},
		widths: map[uint64]uint32{}, routes: map[uint32][]uint32{}, refuse: 0xbad,
	}
}

func (k *fakeKVM) IRQLine(gsi uint32, level bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if level && !k.high[gsi] {
		k.rises[gsi]++
	}
	k.high[gsi] = level
	return nil
}

func (k *fakeKVM) IRQFD(a *kvm.IRQFD) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	old, ok := k.irqfds[a.GSI]
	switch {
	case a.Flags&kvm.IRQFD_FLAG_DEASSIGN == 0 && !ok:
		k.irqfds[a.GSI] = int(a.FD)
	case a.Flags&kvm.IRQFD_FLAG_DEASSIGN != 0 && ok && old == int(a.FD):
		delete(k.irqfds, a.GSI)
	default:
		panic(fmt.Sprintf("IRQFD(%+v) on %v", *a, k.irqfds))
	}
	return nil
}

func (k *fakeKVM) IOEventFD(a *kvm.IOEventFD) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	old, ok := k.kicks[a.Addr]
	switch {
	case k.without || k.narrow && a.Len == 0:
		return unix.EINVAL
	case a.Flags&kvm.IOEVENTFD_FLAG_DEASSIGN != 0:
		if !ok || old != int(a.FD) || k.widths[a.Addr] != a.Len {
			panic(fmt.Sprintf("IOEventFD(%+v) on %v", *a, k.kicks))
		}
		delete(k.kicks, a.Addr)
	case ok:
		return unix.EEXIST
	default:
		k.kicks[a.Addr], k.widths[a.Addr] = int(a.FD), a.Len
	}
	return nil
}

func (k *fakeKVM) SetGSIRouting(table []kvm.IRQRoutingEntry) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	routes := map[uint32][]uint32{}
	for _, e := range table {
		if e.Type == kvm.IRQ_ROUTING_MSI {
			if e.U[2] == k.refuse {
				return unix.EINVAL
			}
			routes[e.GSI] = e.U[:3]
		}
	}
	k.routes = routes
	return nil
}

func (k *fakeKVM) line(gsi uint32) (high bool, rises int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.high[gsi], k.rises[gsi]
}

// echo is a device whose queues answer each chain with the length of what it reads.
type echo struct {
	t        testing.TB
	queues   int
	space    []byte
	refuse   uint64 // features that do not go with each other
	accepted uint64
	changed  func()

	stops  []chan struct{}
	ended  []chan struct{}
	starts int
	resets int
}

func (e *echo) Features() uint64 { return 1<<0 | 1<<5 }
func (e *echo) NumQueues() int   { return e.queues }
func (e *echo) Config() []byte   { return append([]byte(nil), e.space...) }
func (e *echo) Reset()           { e.resets++ }

func (e *echo) OnConfigChange(f func()) { e.changed = f }

func (e *echo) Negotiate(f uint64) error {
	if e.refuse != 0 && f&e.refuse == e.refuse {
		return fmt.Errorf("not both of %#x", e.refuse)
	}
	e.accepted = f
	return nil
}

func (e *echo) Start(i int, r *virtq.Ring) error {
	if e.stops == nil {
		e.stops, e.ended = make([]chan struct{}, e.queues), make([]chan struct{}, e.queues)
	}
	if e.stops[i] != nil {
		e.t.Errorf("queue %d was started twice", i)
	}
	e.starts++
	stop, ended := make(chan struct{}), make(chan struct{})
	e.stops[i], e.ended[i] = stop, ended
	go func() {
		defer close(ended)
		e.work(r, stop)
	}()
	return nil
}

func (e *echo) Stop(i int, _ bool) {
	if e.stops == nil || e.stops[i] == nil {
		e.t.Errorf("queue %d was stopped but did not run", i)
		return
	}
	close(e.stops[i])
	<-e.ended[i]
	e.stops[i] = nil
}

func (e *echo) work(r *virtq.Ring, stop <-chan struct{}) {
	var c virtq.Chain
	p := []unix.PollFd{{Fd: int32(r.Kick), Events: unix.POLLIN}}
	err := oslib.CatchFault(func() {
		for {
			ok, err := r.Queue.Pop(r.Mem, &c)
			switch {
			case err != nil:
				r.Fail()
				return
			case ok:
				r.Queue.Push(c.Head, uint32(c.InLen))
				if r.Queue.Flush() {
					r.Interrupt()
				}
				continue
			case r.Queue.EnableNotify():
				continue
			}
			for n := 0; n == 0; {
				select {
				case <-stop:
					return
				default:
				}
				n, _ = unix.Poll(p, 1)
			}
			oslib.EventfdRead(r.Kick)
		}
	})
	if err != nil {
		r.Fail()
	}
}

// guest is the driver of the first device on a bus.
type guest struct {
	t     testing.TB
	kvm   *fakeKVM
	bus   *virtiopci.Bus
	dev   *virtiopci.Device
	echo  *echo
	mem   *virtqtest.Memory
	space *guestmem.Space
	slot  uint32
	bar   uint64
	caps  map[byte]uint32 // type of virtio capability to where it is
	// offsets are where the structures are in the BAR.
	offsets map[byte]uint64
	msix    uint32
}

func newGuest(t testing.TB, opt virtiopci.Options, change ...func(*virtiopci.Config, *echo, *fakeKVM)) *guest {
	t.Helper()
	g := &guest{t: t, space: new(guestmem.Space), kvm: newFakeKVM(), echo: &echo{t: t, queues: 2, space: []byte("configuration")}}
	cfg := virtiopci.Config{KVM: g.kvm, Memory: g.space, Base: base, Size: size, Logger: quiet}
	for _, f := range change {
		f(&cfg, g.echo, g.kvm)
	}
	var err error
	if g.mem, err = virtqtest.NewMemory(virtqtest.Segment{GPA: 0, Size: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.mem.Close)
	regions, err := g.mem.Regions()
	if err == nil {
		err = g.space.Replace(regions)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.space.Close)
	if g.bus, err = virtiopci.NewBus(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.bus.Close)
	if opt.ID == 0 {
		opt.ID, opt.Class = 1, 0x020000
	}
	if g.dev, err = g.bus.Add(g.echo, opt); err != nil {
		t.Fatal(err)
	}
	g.slot = uint32(g.dev.Slot())
	g.bar = uint64(g.config32(0x10)&^0xf) | uint64(g.config32(0x14))<<32
	g.caps, g.offsets = map[byte]uint32{}, map[byte]uint64{}
	for at := g.config32(0x34) & 0xff; at != 0; at = g.config32(at) >> 8 & 0xff {
		switch v := g.config32(at); v & 0xff {
		case 0x09:
			g.caps[byte(v>>24)] = at
			g.offsets[byte(v>>24)] = uint64(g.config32(at + 8))
		case 0x11:
			g.msix = at
		}
	}
	return g
}

// address selects a register of the configuration space.
func (g *guest) address(reg uint32) {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], 1<<31|g.slot<<11|reg&^3)
	g.bus.Ports().Write(0, b[:])
}

func (g *guest) configRead(reg uint32, n int) uint32 {
	g.address(reg)
	b := []byte{0xff, 0xff, 0xff, 0xff}
	g.bus.Ports().Read(4+uint64(reg&3), b[:n])
	return binary.LittleEndian.Uint32(append(b[:n:n], 0, 0, 0, 0))
}

func (g *guest) configWrite(reg uint32, n int, v uint32) {
	g.address(reg)
	g.bus.Ports().Write(4+uint64(reg&3), binary.LittleEndian.AppendUint32(nil, v)[:n])
}

func (g *guest) config32(reg uint32) uint32         { return g.configRead(reg, 4) }
func (g *guest) setConfig32(reg uint32, v uint32)   { g.configWrite(reg, 4, v) }
func (g *guest) structure(kind byte) (where uint64) { return g.bar + g.offsets[kind] }

// load and store are accesses to memory, or what KVM makes of them.
func (g *guest) load(addr uint64, n int) uint64 {
	b := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	g.bus.Memory().Read(addr-base, b[:n])
	return binary.LittleEndian.Uint64(append(b[:n:n], make([]byte, 8)...))
}

func (g *guest) store(addr uint64, n int, v uint64) {
	g.kvm.mu.Lock()
	fd, ok := g.kvm.kicks[addr]
	ok = ok && (g.kvm.widths[addr] == 0 || int(g.kvm.widths[addr]) == n)
	g.kvm.mu.Unlock()
	if ok {
		oslib.EventfdWrite(fd, 1)
		return
	}
	g.bus.Memory().Write(addr-base, binary.LittleEndian.AppendUint64(nil, v)[:n])
}

// Registers of the common structure, with their widths.
type reg struct {
	off uint64
	n   int
}

var (
	deviceSelect = reg{0x00, 4}
	deviceWord   = reg{0x04, 4}
	driverSelect = reg{0x08, 4}
	driverWord   = reg{0x0c, 4}
	cfgVector    = reg{0x10, 2}
	numQueues    = reg{0x12, 2}
	status       = reg{0x14, 1}
	generation   = reg{0x15, 1}
	queueSelect  = reg{0x16, 2}
	queueSize    = reg{0x18, 2}
	queueVector  = reg{0x1a, 2}
	queueEnable  = reg{0x1c, 2}
	notifyOff    = reg{0x1e, 2}
	queueDesc    = reg{0x20, 8}
	queueDriver  = reg{0x28, 8}
	queueDevice  = reg{0x30, 8}
	queueReset   = reg{0x3a, 2}
)

func (g *guest) get(r reg) uint64    { return g.load(g.structure(1)+r.off, r.n) }
func (g *guest) set(r reg, v uint64) { g.store(g.structure(1)+r.off, r.n, v) }

func (g *guest) want(r reg, v uint64, what string) {
	g.t.Helper()
	if got := g.get(r); got != v {
		g.t.Errorf("%s: register %#x is %#x, want %#x", what, r.off, got, v)
	}
}

func (g *guest) features() uint64 {
	g.set(deviceSelect, 0)
	lo := g.get(deviceWord)
	g.set(deviceSelect, 1)
	return lo | g.get(deviceWord)<<32
}

func (g *guest) acceptFeatures(f uint64) {
	g.set(driverSelect, 0)
	g.set(driverWord, f&0xffffffff)
	g.set(driverSelect, 1)
	g.set(driverWord, f>>32)
}

// negotiate takes the device to FEATURES_OK.
func (g *guest) negotiate(f uint64) {
	g.t.Helper()
	g.set(status, 0)
	g.want(status, 0, "reset")
	g.set(status, 1)
	g.set(status, 3)
	g.acceptFeatures(f)
	g.set(status, 0xb)
	g.want(status, 0xb, "features")
}

const features = virtq.FeatVersion1 | virtq.FeatRingEventIdx | virtq.FeatRingReset

// ring makes a ring and shows it to the device.
func (g *guest) ring(i int, f uint64) *virtqtest.Driver {
	g.t.Helper()
	drv, err := virtqtest.New(g.mem, virtqtest.Config{Size: 16, EventIdx: f&virtq.FeatRingEventIdx != 0})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(drv.Close)
	g.show(i, drv)
	return drv
}

func (g *guest) show(i int, drv *virtqtest.Driver) {
	g.set(queueSelect, uint64(i))
	g.set(queueSize, uint64(drv.Size()))
	at := drv.Layout()
	g.set(queueDesc, at.Desc)
	g.set(queueDriver, at.Avail)
	g.set(queueDevice, at.Used)
	g.set(queueEnable, 1)
}

// notify kicks queue i, as a driver does.
func (g *guest) notify(i int) {
	g.set(queueSelect, uint64(i))
	g.store(g.structure(2)+4*g.get(notifyOff), 2, uint64(i))
}

// start takes the device to DRIVER_OK with all its queues.
func (g *guest) start(f uint64) []*virtqtest.Driver {
	g.t.Helper()
	g.negotiate(f)
	var rings []*virtqtest.Driver
	for i := range g.echo.queues {
		rings = append(rings, g.ring(i, f))
	}
	g.set(status, 0xf)
	g.want(status, 0xf, "start")
	return rings
}

// roundTrip sends a chain of n bytes through a queue and waits for its return.
func (g *guest) roundTrip(i int, drv *virtqtest.Driver, n uint32) {
	g.t.Helper()
	if _, ok := drv.AddChain([]virtqtest.Buf{{GPA: 0x1000, Len: n}}, nil); !ok {
		g.t.Fatal("the ring is full")
	}
	if drv.Publish() {
		g.notify(i)
	}
	eventually(g.t, "an answer", func() bool {
		_, written, ok := drv.Poll()
		if ok && written != n {
			g.t.Errorf("written %d, want %d", written, n)
		}
		return ok || drv.Err() != nil
	})
	if drv.Err() != nil {
		g.t.Fatal(drv.Err())
	}
}
