package virtiofs_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fuse/fusetest"
	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/virtiofs"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

func TestConfigSpace(t *testing.T) {
	m := newMachine(t, fusetest.NullFS{}, 3, virtqtest.Config{Size: 8})
	want := append([]byte("t"), make([]byte, 35)...)
	want = append(want, 3, 0, 0, 0)
	if got := m.dev.Config(); !bytes.Equal(got, want) {
		t.Errorf("configuration space % x, want % x", got, want)
	}
	if n := m.dev.NumQueues(); n != 4 {
		t.Errorf("%d queues, want 4", n)
	}
}

func TestTags(t *testing.T) {
	for tag, ok := range map[string]bool{
		"":                             false,
		"a":                            true,
		strings.Repeat("x", 36):        true,
		strings.Repeat("x", 37):        false,
		"größe":                        true,
		"\xff":                         false,
		"with\x00nul":                  false,
		strings.Repeat("ö", 18) + "xy": false,
	} {
		if err := virtiofs.CheckTag(tag); (err == nil) != ok {
			t.Errorf("CheckTag(%q): %v", tag, err)
		}
	}
}

func TestRequestQueueCount(t *testing.T) {
	server := fuse.NewServer(fusetest.NullFS{}, fuse.Options{Logger: quiet})
	for _, n := range []int{-1, 65} {
		if _, err := virtiofs.New(server, virtiofs.Config{RequestQueues: n}); err == nil {
			t.Errorf("a device with %d request queues was made", n)
		}
	}
}

// TestRequestsOnEveryQueue has each queue carry a session's requests at once.
func TestRequestsOnEveryQueue(t *testing.T) {
	for _, cfg := range []virtqtest.Config{
		{Size: 8},
		{Size: 8, EventIdx: true},
		{Size: 128, EventIdx: true, Indirect: 16},
	} {
		m := newMachine(t, fusetest.NullFS{}, 4, cfg)
		m.client(0)
		done := make(chan error, 4)
		for i := range 4 {
			go func() {
				c := fusetest.NewClient(m.queues[1+i])
				data := make([]byte, 100_000)
				for range 2000 {
					c.Getattr(vfs.Root, vfs.NoHandle)
					c.Read(2, 3, data, 0, 0)
				}
				done <- c.Err()
			}()
		}
		for range 4 {
			if err := <-done; err != nil {
				t.Errorf("%+v: %v", cfg, err)
			}
		}
	}
}

// TestForgetHasNoReply: the chain comes back with nothing written.
func TestForgetHasNoReply(t *testing.T) {
	m := newMachine(t, fusetest.NullFS{}, 1, virtqtest.Config{Size: 8})
	m.client(0)
	c := fusetest.NewClient(m.queues[0])
	c.Forget(2, 1)
	c.BatchForget(2, 3, 4)
	if err := c.Err(); err != nil {
		t.Error(err)
	}
}

// lockFS has requests wait until they are let go or interrupted.
type lockFS struct {
	fusetest.NullFS
	waiting chan struct{} // a wait has begun
	release chan struct{}
}

func newLockFS() *lockFS {
	return &lockFS{waiting: make(chan struct{}, 64), release: make(chan struct{})}
}

func (f *lockFS) Setlk(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _ *vfs.Lock) syscall.Errno {
	if r.Nowait {
		return vfs.WouldBlock
	}
	f.waiting <- struct{}{}
	select {
	case <-f.release:
		return 0
	case <-r.Interrupt:
		return syscall.EINTR
	}
}

// setlkw sends a SETLKW on queue q without waiting for the answer, and returns
// the room for it.
func setlkw(t *testing.T, m *machine, q int) [][]byte {
	t.Helper()
	for _, s := range fusetest.Samples() {
		if s.Op == fuse.SETLKW {
			reply := [][]byte{make([]byte, s.Reply)}
			if err := m.queues[q].Send([][]byte{s.Request}, reply); err != nil {
				t.Fatal(err)
			}
			return reply
		}
	}
	t.Fatal("no sample of SETLKW")
	return nil
}

func receive(t *testing.T, m *machine, q int, reply [][]byte) (errno int32) {
	t.Helper()
	used, err := m.queues[q].Receive(reply)
	if err != nil {
		t.Fatal(err)
	}
	if used != 16 {
		t.Fatalf("a reply of %d bytes", used)
	}
	b := reply[0]
	return -int32(uint32(b[4]) | uint32(b[5])<<8 | uint32(b[6])<<16 | uint32(b[7])<<24)
}

// TestWaitHoldsUpNobody: while a request waits for a lock, the queue serves
// others; when it is done its reply comes.
func TestWaitHoldsUpNobody(t *testing.T) {
	fs := newLockFS()
	m := newMachine(t, fs, 1, virtqtest.Config{Size: 16, EventIdx: true})
	c := m.client(0)
	reply := setlkw(t, m, 0) // on a queue of its own: the client takes any reply for its own
	<-fs.waiting
	for range 100 {
		if _, errno := c.Getattr(vfs.Root, vfs.NoHandle); errno != 0 {
			t.Fatal(errno)
		}
	}
	close(fs.release)
	if errno := receive(t, m, 0, reply); errno != 0 {
		t.Errorf("the lock: %v", syscall.Errno(errno))
	}
}

// TestStopWithoutDrainIsAPause: a request that waits is answered on the ring
// that the queue is started with next.
func TestStopWithoutDrainIsAPause(t *testing.T) {
	fs := newLockFS()
	m := newMachine(t, fs, 1, virtqtest.Config{Size: 16})
	m.client(0)
	reply := setlkw(t, m, 1)
	<-fs.waiting
	m.dev.Stop(1, false)
	close(fs.release)
	m.start(1)
	if errno := receive(t, m, 1, reply); errno != 0 {
		t.Errorf("the lock: %v", syscall.Errno(errno))
	}
}

// TestStopWithDrainAnswers: lock waits end with EINTR.
func TestStopWithDrainAnswers(t *testing.T) {
	fs := newLockFS()
	m := newMachine(t, fs, 1, virtqtest.Config{Size: 16})
	m.client(0)
	reply := setlkw(t, m, 1)
	<-fs.waiting
	m.dev.Stop(1, true)
	if errno := receive(t, m, 1, reply); errno != int32(unix.EINTR) {
		t.Errorf("the lock: %v, want EINTR", syscall.Errno(errno))
	}
}

// TestDrainAfterAPauseDrops: when the ring has gone in a pause, what waits is
// answered on no other.
func TestDrainAfterAPauseDrops(t *testing.T) {
	fs := newLockFS()
	m := newMachine(t, fs, 1, virtqtest.Config{Size: 16})
	m.client(0)
	setlkw(t, m, 1)
	<-fs.waiting
	m.dev.Stop(1, false)
	m.dev.Stop(1, true)
	m.start(1)
	close(fs.release)
	m.dev.Stop(1, true)
	if _, _, ok := m.queues[1].Poll(); ok {
		t.Error("the ring got an answer to a request of the ring before")
	}
}

// TestResetForgetsWhatWaits: nothing of an earlier session reaches the ring that
// comes after.
func TestResetForgetsWhatWaits(t *testing.T) {
	fs := newLockFS()
	m := newMachine(t, fs, 1, virtqtest.Config{Size: 16})
	m.client(0)
	setlkw(t, m, 1)
	<-fs.waiting
	for i := range m.queues {
		m.dev.Stop(i, false)
	}
	m.dev.Reset()
	for i := range m.queues {
		m.start(i)
	}
	c := fusetest.NewClient(m.queues[0])
	if _, errno := c.Init(fusetest.Linux()); errno != 0 {
		t.Fatal(errno)
	}
	if _, _, ok := m.queues[1].Poll(); ok {
		t.Error("the ring got an answer from before the reset")
	}
}

// TestNoKicks serves a driver that gave no kick eventfd.
func TestNoKicks(t *testing.T) {
	m := newMachine(t, fusetest.NullFS{}, 1, virtqtest.Config{Size: 16})
	m.dev.Stop(1, true)
	m.rings[1].Kick = -1
	if err := m.dev.Start(1, m.rings[1]); err != nil {
		t.Fatal(err)
	}
	c := m.client(0)
	for range 10 {
		c.Getattr(vfs.Root, vfs.NoHandle)
	}
	if err := c.Err(); err != nil {
		t.Error(err)
	}
}

// TestBlockingKick uses a kick eventfd in blocking mode, which another process
// may have read already when we come to it.
func TestBlockingKick(t *testing.T) {
	m := newMachine(t, fusetest.NullFS{}, 1, virtqtest.Config{Size: 16})
	if err := unix.SetNonblock(m.queues[1].KickFD, false); err != nil {
		t.Fatal(err)
	}
	c := m.client(0)
	for range 100 {
		c.Getattr(vfs.Root, vfs.NoHandle)
	}
	if err := c.Err(); err != nil {
		t.Error(err)
	}
	m.dev.Stop(1, true)
}

func TestQueueStartsOnce(t *testing.T) {
	m := newMachine(t, fusetest.NullFS{}, 1, virtqtest.Config{Size: 16})
	if err := m.dev.Start(1, m.rings[1]); err == nil {
		t.Error("a running queue was started again")
	}
	for _, i := range []int{-1, 2} {
		if err := m.dev.Start(i, m.rings[1]); err == nil {
			t.Errorf("queue %d of two was started", i)
		}
		m.dev.Stop(i, true)
	}
	m.dev.Stop(1, true)
	m.dev.Stop(1, true)
}

// TestVanishedMemory truncates the file behind guest memory while a queue is
// served. The queue breaks; the process, and what is left to it, go on.
func TestVanishedMemory(t *testing.T) {
	m := newMachine(t, fusetest.NullFS{}, 1, virtqtest.Config{Size: 16})
	m.client(0)
	if err := unix.Ftruncate(m.mem.FD(), 0); err != nil {
		t.Fatal(err)
	}
	oslib.EventfdWrite(m.queues[1].KickFD, 1)
	for end := time.Now().Add(30 * time.Second); !m.failed(1); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the device does not say that the queue is broken")
		}
	}
	for i := range m.queues {
		m.dev.Stop(i, true)
	}
	m.dev.Reset()
}

// TestStopFreesAWorkerThatHangsInACall: a front end makes its call eventfd
// blocking when it has been looked at, and fills it up.
func TestStopFreesAWorkerThatHangsInACall(t *testing.T) {
	m := newMachine(t, fusetest.NullFS{}, 1, virtqtest.Config{Size: 16})
	m.client(0) // the device has interrupted by now
	call := m.queues[1].CallFD
	if err := unix.SetNonblock(call, false); err != nil {
		t.Fatal(err)
	}
	var full [8]byte
	binary.NativeEndian.PutUint64(full[:], 1<<64-2)
	for end := time.Now().Add(30 * time.Second); ; {
		p := []unix.PollFd{{Fd: int32(call), Events: unix.POLLIN}}
		if n, _ := unix.Poll(p, 0); n == 1 {
			oslib.EventfdRead(call)
		}
		if _, err := unix.Write(call, full[:]); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the eventfd cannot be filled")
		}
	}
	if err := m.queues[1].Send([][]byte{fusetest.Request(fusetest.Header{Op: fuse.STATFS, Unique: 1, Node: 1}, nil, nil)},
		[][]byte{make([]byte, 96)}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, _, ok := m.queues[1].Poll(); ok {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no answer")
		}
	}
	m.dev.Stop(1, true)
}
