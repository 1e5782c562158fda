package vhostuser_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/vhostuser"
	"github.com/isthmus-fs/isthmus/vhostuser/vhosttest"
	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

// Each front end sends the same things in an order of its own.

const driverFeatures = virtq.FeatVersion1 | virtq.FeatRingEventIdx | virtq.FeatRingIndirectDesc

// plan is a start sequence under way.
type plan struct {
	t       *testing.T
	s       *session
	fe      *vhosttest.FrontEnd
	mem     *virtqtest.Memory
	regions []guestmem.Region
	guests  []*guest // one for each ring
	errFDs  []int
}

// ok ends the sequence when the front end was to hang up in it.
func (p *plan) ok(err error) {
	p.t.Helper()
	if errors.Is(err, errHungUp) {
		panic(errHungUp)
	}
	ok(p.t, err)
}

func (p *plan) rings(steps ...func(i int)) {
	for i := range p.guests {
		for _, step := range steps {
			step(i)
		}
	}
}

func (p *plan) num(i int)    { p.t.Helper(); p.ok(p.fe.SetVringNum(i, p.guests[i].drv.Size())) }
func (p *plan) base(i int)   { p.t.Helper(); p.ok(p.fe.SetVringBase(i, 0)) }
func (p *plan) addr(i int)   { p.t.Helper(); p.ok(p.fe.SetDriverAddr(i, p.mem, p.guests[i].drv)) }
func (p *plan) kick(i int)   { p.t.Helper(); p.ok(p.fe.SetVringKick(i, p.guests[i].drv.KickFD)) }
func (p *plan) call(i int)   { p.t.Helper(); p.ok(p.fe.SetVringCall(i, p.guests[i].drv.CallFD)) }
func (p *plan) err(i int)    { p.t.Helper(); p.ok(p.fe.SetVringErr(i, p.errFDs[i])) }
func (p *plan) enable(i int) { p.t.Helper(); p.ok(p.fe.SetVringEnable(i, true)) }

// features makes sure of what is offered and returns it.
func (p *plan) features() uint64 {
	p.t.Helper()
	f, err := p.fe.GetFeatures()
	p.ok(err)
	if want := driverFeatures | vhostuser.FeatProtocol; f != want {
		p.t.Fatalf("features %#x, want %#x", f, want)
	}
	return f
}

func (p *plan) protocol(wanted uint64) {
	p.t.Helper()
	offered, err := p.fe.GetProtocolFeatures()
	p.ok(err)
	p.ok(p.fe.SetProtocolFeatures(offered & wanted))
}

func (p *plan) queueNum(want uint64) {
	p.t.Helper()
	n, err := p.fe.GetQueueNum()
	p.ok(err)
	if n != want {
		p.t.Fatalf("%d queues, want %d", n, want)
	}
}

// channel sends a socket for messages of the back end.
func (p *plan) channel() {
	p.t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	p.ok(err)
	p.t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	p.ok(p.fe.Do(vhostuser.ReqSetBackendReqFD, nil, fds[1]))
}

func alioth(p *plan) {
	p.fe.NeedReply = true // on every message, from the first on
	p.features()
	p.protocol(vhostuser.ProtoMQ | vhostuser.ProtoReplyAck | vhostuser.ProtoConfigureMemSlots | vhostuser.ProtoStatus)
	p.queueNum(2)
	p.channel()
	p.rings(p.err)
	p.ok(p.fe.SetOwner())
	for _, r := range p.regions {
		p.ok(p.fe.AddMemReg(r))
	}
	p.ok(p.fe.SetFeatures(driverFeatures | vhostuser.FeatProtocol))
	p.rings(p.kick)
	p.rings(p.call, p.num, p.base, p.addr, p.enable)
}

func cloudHypervisor(p *plan) {
	f := p.features()
	p.protocol(vhostuser.ProtoMQ | vhostuser.ProtoReplyAck | vhostuser.ProtoConfigureMemSlots |
		vhostuser.ProtoInflightShmfd | vhostuser.ProtoLogShmfd | vhostuser.ProtoDeviceState)
	p.fe.NeedReply = true
	p.queueNum(2)
	p.ok(p.fe.SetOwner())
	p.ok(p.fe.SetFeatures(f))
	p.ok(p.fe.SetMemTable(p.regions...))
	p.rings(p.num)
	p.rings(p.addr, p.base, p.call, p.kick)
	p.rings(p.enable)
}

func crosvm(p *plan) {
	p.ok(p.fe.SetOwner())
	f := p.features()
	p.protocol(vhostuser.ProtoMQ | vhostuser.ProtoReplyAck | vhostuser.ProtoBackendReq |
		vhostuser.ProtoConfig | vhostuser.ProtoDeviceState | vhostuser.ProtoShmem)
	p.channel()
	p.queueNum(2)
	_, err := p.fe.GetConfig(0, 40)
	p.ok(err)
	p.ok(p.fe.SetFeatures(f))
	p.ok(p.fe.SetMemTable(p.regions...))
	p.rings(p.num, p.base, p.addr, p.call, p.kick, p.enable)
}

func qemu(p *plan) {
	f := p.features()
	p.protocol(^uint64(0))
	p.fe.NeedReply = true
	p.queueNum(2)
	n, err := p.fe.GetMaxMemSlots()
	p.ok(err)
	if n != guestmem.MaxRegions {
		p.t.Fatalf("%d memory slots, want %d", n, guestmem.MaxRegions)
	}
	p.channel()
	p.ok(p.fe.SetOwner())
	p.rings(p.call) // while the guest's interrupts are masked
	p.ok(p.fe.SetFeatures(f))
	for _, r := range p.regions {
		p.ok(p.fe.AddMemReg(r))
	}
	p.rings(p.num, p.base, p.addr, p.kick, p.call)
	p.rings(p.enable)
}

func userModeLinux(p *plan) {
	p.ok(p.fe.SetOwner())
	p.features()
	p.protocol(vhostuser.ProtoMQ | vhostuser.ProtoReplyAck | vhostuser.ProtoBackendReq | vhostuser.ProtoConfig)
	p.fe.NeedReply = true
	p.channel()
	for size := uint32(0x1c); size <= 0x34; size += 8 {
		_, err := p.fe.GetConfig(0, size)
		p.ok(err)
	}
	p.ok(p.fe.SetFeatures(driverFeatures | vhostuser.FeatProtocol))
	payload, fds := vhosttest.MemTable(p.regions...)
	payload = append(payload, make([]byte, 32)...)
	p.ok(p.fe.Do(vhostuser.ReqSetMemTable, payload, fds...))
	p.rings(p.call, p.num, p.base, p.addr)
	p.rings(p.kick, p.enable)
}

// minimal negotiates nothing: all rings are enabled from SET_FEATURES on.
func minimal(p *plan) {
	p.ok(p.fe.SetOwner())
	p.features()
	p.ok(p.fe.SetFeatures(driverFeatures))
	p.ok(p.fe.SetMemTable(p.regions...))
	p.rings(p.num, p.base, p.addr, p.kick, p.call)
}

var frontEnds = []struct {
	name  string
	start func(*plan)
}{
	{"alioth", alioth},
	{"Cloud Hypervisor", cloudHypervisor},
	{"crosvm", crosvm},
	{"QEMU", qemu},
	{"User-Mode Linux", userModeLinux},
	{"minimal", minimal},
}

func newPlan(t *testing.T) *plan {
	dev := newEcho(2)
	dev.config = make([]byte, 40)
	s := serve(t, dev)
	mem := newMemory(t, virtqtest.Segment{GPA: 0, Size: 1 << 20})
	p := &plan{t: t, s: s, fe: s.fe, mem: mem, regions: regionsOf(t, mem)}
	for range 2 {
		p.guests = append(p.guests, newGuest(t, mem, virtqtest.Config{Size: 32, EventIdx: true, Indirect: 4}))
		p.errFDs = append(p.errFDs, eventfd(t))
	}
	return p
}

func TestStartOrders(t *testing.T) {
	for _, f := range frontEnds {
		t.Run(f.name, func(t *testing.T) {
			p := newPlan(t)
			// The guest has been quick: its kicks come before anything runs.
			for _, g := range p.guests {
				g.send(false)
			}
			f.start(p)
			for _, g := range p.guests {
				g.await()
				g.echoes(20)
			}
			// Replies to everything have been taken: none came twice.
			ok(t, p.fe.CloseWrite())
			ok(t, p.s.wait())
			if m, err := p.fe.Recv(); err == nil {
				t.Fatalf("a reply too many: %+v", m)
			}
		})
	}
}

// What comes next in the life of a VM: a reboot of the guest, then another
// driver in it.
func TestRestartOrders(t *testing.T) {
	stops := map[string]func(*plan, int) uint16{
		"alioth": func(p *plan, i int) uint16 { // a disabled ring is all it needs
			p.ok(p.fe.SetVringEnable(i, false))
			return 0
		},
		"Cloud Hypervisor": func(p *plan, i int) uint16 {
			p.ok(p.fe.SetVringEnable(i, false))
			base, err := p.fe.GetVringBase(i)
			p.ok(err)
			return base
		},
		"User-Mode Linux": func(p *plan, i int) uint16 { // never disables
			base, err := p.fe.GetVringBase(i)
			p.ok(err)
			return base
		},
	}
	starts := map[string]func(*plan){
		"alioth": func(p *plan) {
			p.ok(p.fe.SetFeatures(driverFeatures | vhostuser.FeatProtocol))
			p.rings(p.kick)
			p.rings(p.call, p.num, p.base, p.addr, p.enable)
		},
		"Cloud Hypervisor": func(p *plan) {
			p.rings(p.num)
			p.rings(p.addr, p.base, p.call, p.kick)
			p.rings(p.enable)
		},
		"User-Mode Linux": func(p *plan) {
			p.rings(p.call, p.num, p.base, p.addr)
			p.rings(p.kick, p.enable)
		},
	}
	for _, f := range frontEnds {
		if stops[f.name] == nil {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			p := newPlan(t)
			f.start(p)
			for range 3 {
				for i, g := range p.guests {
					g.echoes(3)
					p.s.hold(i, g, 1)
					base := stops[f.name](p, i)
					if g.await(); f.name != "alioth" && int(base) != g.n {
						t.Fatalf("the base of ring %d is %d, want %d", i, base, g.n)
					}
					p.s.dev.release()
				}
				for i := range p.guests {
					p.guests[i] = newGuest(t, p.mem, virtqtest.Config{Size: 32, EventIdx: true, Indirect: 4})
				}
				starts[f.name](p)
				for _, g := range p.guests {
					g.echoes(5)
				}
			}
		})
	}
}

var errHungUp = errors.New("the front end hung up as planned")

func TestDisconnectAtEveryStep(t *testing.T) {
	for _, f := range frontEnds {
		t.Run(f.name, func(t *testing.T) {
			for steps, finished := 0, false; !finished && !t.Failed(); steps++ {
				t.Run("", func(t *testing.T) { finished = disconnectAfter(t, steps, f.start) })
			}
		})
	}
}

// disconnectAfter runs a start sequence and hangs up before message number
// steps. It returns whether the sequence was over before.
func disconnectAfter(t *testing.T, steps int, start func(*plan)) (finished bool) {
	p := newPlan(t)
	p.fe.Before = func(vhosttest.Message) error {
		if steps--; steps < 0 {
			return errHungUp
		}
		return nil
	}
	for _, g := range p.guests {
		g.send(true)
	}
	func() {
		defer func() {
			if v := recover(); v != nil && v != any(errHungUp) {
				panic(v)
			}
		}()
		start(p)
		finished = true
	}()
	p.fe.Close()
	ok(t, p.s.wait())
	return finished
}
