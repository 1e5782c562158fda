package virtiofs_test

import (
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fuse/fusetest"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/virtiofs"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

// gateFS holds up whoever asks for attributes until it lets one pass.
type gateFS struct {
	fusetest.NullFS
	entered chan struct{}
	pass    chan struct{}
}

func (f *gateFS) Getattr(r *vfs.Request, n vfs.NodeID, h vfs.Handle, out *vfs.AttrOut) syscall.Errno {
	f.entered <- struct{}{}
	<-f.pass
	return f.NullFS.Getattr(r, n, h, out)
}

// getattr sends a GETATTR on queue q without waiting for the answer.
func getattr(t *testing.T, m *machine, q int) [][]byte {
	t.Helper()
	request := fusetest.Request(fusetest.Header{Op: fuse.GETATTR, Unique: 2, Node: 1}, fusetest.Append(nil).Zero(16), nil)
	reply := [][]byte{make([]byte, fusetest.OutHeaderSize+fusetest.AttrSize)}
	if err := m.queues[q].Send([][]byte{request}, reply); err != nil {
		t.Fatal(err)
	}
	return reply
}

// TestBacklog has requests come in while a worker is held up: it sees them when
// it has answered the one that held it up.
func TestBacklog(t *testing.T) {
	fs := &gateFS{entered: make(chan struct{}, 16), pass: make(chan struct{})}
	m := newMachine(t, fs, 1, virtqtest.Config{Size: 64})
	m.client(0)
	idle := virtiofs.QueueState{Running: true}
	check := func(what string, want virtiofs.QueueState) {
		t.Helper()
		if d := cmp.Diff([]virtiofs.QueueState{idle, want}, m.dev.Queues()); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
	check("after INIT", virtiofs.QueueState{Running: true, Requests: 1})

	reply := getattr(t, m, 1)
	<-fs.entered
	for range 5 {
		getattr(t, m, 1)
	}
	check("while the first is served", virtiofs.QueueState{Running: true, Requests: 1})
	fs.pass <- struct{}{}
	<-fs.entered
	check("while the second is served", virtiofs.QueueState{Running: true, Requests: 1, Backlog: 4, MaxBacklog: 4})
	for range 5 {
		fs.pass <- struct{}{}
	}
	for range 6 {
		if _, err := m.queues[1].Receive(reply); err != nil {
			t.Fatal(err)
		}
	}
	check("when all are answered", virtiofs.QueueState{Running: true, Requests: 7, MaxBacklog: 4})

	// A worker that is stopped sees nothing, however much it came to.
	for range 6 {
		getattr(t, m, 1)
	}
	stopped := make(chan struct{})
	go func() {
		m.dev.Stop(1, false)
		close(stopped)
	}()
	close(fs.pass)
	<-stopped
	if got := m.dev.Queues()[1]; got.Running || got.Backlog != 0 || got.Requests < 7 {
		t.Errorf("after Stop: %+v", got)
	}
}

// TestQueuesShowWhatIsPending has a request wait beside its queue.
func TestQueuesShowWhatIsPending(t *testing.T) {
	fs := newLockFS()
	m := newMachine(t, fs, 2, virtqtest.Config{Size: 16, EventIdx: true})
	m.client(0)
	check := func(what string, pending int) {
		t.Helper()
		want := []virtiofs.QueueState{{Running: true}, {Running: true, Requests: 1}, {Running: true, Requests: 1, Pending: pending}}
		if d := cmp.Diff(want, m.dev.Queues()); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
	reply := setlkw(t, m, 2)
	<-fs.waiting
	m.dev.Stop(2, false)
	m.start(2)
	check("a lock", 1)
	close(fs.release)
	receive(t, m, 2, reply)
	check("none", 0)
}
