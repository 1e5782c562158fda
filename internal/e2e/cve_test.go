package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/isthmus-fs/isthmus/fuse/fusetest"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/vhostuser/vhosttest"
	"github.com/isthmus-fs/isthmus/virtiofs/virtiofstest"
	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

// The tests in cve_*_test.go are named after what went wrong in other daemons
// that share files with virtual machines. In each, a hostile guest does to ours
// what was done to them, and a control shows that the blow would have been
// felt.

// hostile is a guest without a kernel: it says to the daemon what it likes, in
// vhost-user messages, in its rings, and in FUSE messages.
type hostile struct {
	*fusetest.Client
	t      *testing.T
	fe     *vhosttest.FrontEnd
	mem    *virtqtest.Memory
	queues []*virtiofstest.Queue
}

// attackerMemory is where the memory of a hostile guest begins.
const attackerMemory = 1 << 20

// attack connects to the daemon and begins a session, as Linux does.
func attack(t *testing.T, d *daemon) *hostile {
	t.Helper()
	return attackAs(t, d, fusetest.Linux())
}

// attackAs is attack with an INIT of the caller's choice.
func attackAs(t *testing.T, d *daemon, init fusetest.InitIn) *hostile {
	t.Helper()
	g := connect(t, d)
	const size = queues * (2*virtiofstest.Room + 1<<20)
	g.remember(virtqtest.Segment{GPA: attackerMemory, Size: size})
	if err := g.fe.ShareMemory(g.mem); err != nil {
		t.Fatal(err)
	}
	g.startRings(virtqtest.Config{Size: 64}, init)
	return g
}

// queues are those of a daemon with one for requests, and with that for high
// priority.
const queues = 2

// connect connects to the daemon and agrees on what it offers.
func connect(t *testing.T, d *daemon) *hostile {
	t.Helper()
	fe, err := vhosttest.Dial(d.socket)
	if err != nil {
		t.Fatal(err)
	}
	g := &hostile{t: t, fe: fe}
	fe.Timeout = patience
	t.Cleanup(func() { fe.Close() })
	if _, err := fe.Negotiate(virtq.FeatRingIndirectDesc); err != nil {
		t.Fatal(err)
	}
	return g
}

// remember gives the guest memory, of which the daemon is told nothing.
func (g *hostile) remember(segments ...virtqtest.Segment) {
	g.t.Helper()
	var err error
	if g.mem, err = virtqtest.NewMemory(segments...); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(g.mem.Close)
}

// startRings makes the rings and begins a session.
func (g *hostile) startRings(cfg virtqtest.Config, init fusetest.InitIn) {
	g.t.Helper()
	for i := range queues {
		q, err := virtiofstest.NewQueue(g.mem, cfg)
		if err != nil {
			g.t.Fatal(err)
		}
		g.t.Cleanup(q.Close)
		g.queues = append(g.queues, q)
		if err := g.fe.StartRing(i, g.mem, q.Driver, 0); err != nil {
			g.t.Fatal(err)
		}
	}
	g.Client = fusetest.NewClient(g.queues[1])
	if _, errno := g.Init(init); errno != 0 {
		g.t.Fatalf("INIT: %v, %v", errno, g.Err())
	}
}

// hangUp ends the session and checks that the daemon kept to the protocol.
func (g *hostile) hangUp() {
	g.t.Helper()
	if err := g.Err(); err != nil {
		g.t.Error(err)
	}
	g.fe.Close()
}

// lookup looks up a name that has to be there.
func (g *hostile) lookup(parent vfs.NodeID, name string) vfs.Entry {
	g.t.Helper()
	e, errno := g.Lookup(parent, name)
	if errno != 0 || e.Node == 0 {
		g.t.Fatalf("LOOKUP %q: node %d, %v, %v", name, e.Node, errno, g.Err())
	}
	return e
}

// survives checks what has to hold of a daemon after any attack: it is the
// same process, nothing in it panicked, and it serves the next VM.
func (d *daemon) survives(inner int) {
	d.t.Helper()
	if state, err := processState(inner); err != nil || state == 'Z' || d.inner() != inner {
		d.t.Fatalf("the process that served, %d, is no more:\n%s", inner, d.log)
	}
	for _, word := range []string{"panic", "goroutine ", "SIGSEGV", "SIGBUS"} {
		if strings.Contains(d.log.String(), word) {
			d.t.Errorf("the daemon's log has the word %q:\n%s", word, d.log)
		}
	}
	g := attack(d.t, d)
	if _, errno := g.Getattr(vfs.Root, vfs.NoHandle); errno != 0 {
		d.t.Errorf("GETATTR of the next VM: %v", errno)
	}
	g.hangUp()
}

// eventually waits for what the daemon does some time after an answer.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// wantErrno reports an error other than one of those wanted.
func wantErrno(t *testing.T, what string, got syscall.Errno, wanted ...syscall.Errno) {
	t.Helper()
	for _, w := range wanted {
		if got == w {
			return
		}
	}
	t.Errorf("%s: got %v (%d), want one of %v", what, got, int(got), wanted)
}
