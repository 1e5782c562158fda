package fuse_test

import (
	"bytes"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fuse/fusetest"
	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// slowFS would block in Fsync until it is released, in Setlk with Wait until it
// is interrupted or released, and in Lookup not at all.
type slowFS struct {
	fusetest.NullFS
	started chan string // a note from each call that waits
	release chan struct{}
}

func newSlowFS() *slowFS {
	return &slowFS{started: make(chan string, 64), release: make(chan struct{})}
}

func (f *slowFS) Fsync(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _ bool) syscall.Errno {
	if r.Nowait {
		return vfs.WouldBlock
	}
	f.started <- "fsync"
	<-f.release
	return 0
}

func (f *slowFS) Setlk(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, lk *vfs.Lock) syscall.Errno {
	if r.Nowait {
		return vfs.WouldBlock
	}
	f.started <- "lock"
	select {
	case <-r.Interrupt:
		return syscall.EINTR
	case <-f.release:
		return 0
	}
}

// Write copies the data first, so as to see that they stay.
func (f *slowFS) Write(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, src []unix.Iovec, _ uint64, _ uint32, _ vfs.WriteFlags) (int, syscall.Errno) {
	if r.Nowait {
		return 0, vfs.WouldBlock
	}
	f.started <- "write"
	<-f.release
	var b [4]byte
	n, _ := oslib.IovRead(b[:], src)
	if !bytes.Equal(b[:n], []byte("data")) {
		return 0, syscall.EIO
	}
	return n, 0
}

// pendingCalls collects completions.
type pendingCalls struct {
	s    *fuse.Server
	mu   sync.Mutex
	used map[uint64]int // how often each Tag was completed
	done chan *fuse.Call
	outs map[uint64][]byte
}

func newPending(s *fuse.Server) *pendingCalls {
	return &pendingCalls{s: s, used: map[uint64]int{}, done: make(chan *fuse.Call, 64), outs: map[uint64][]byte{}}
}

func (p *pendingCalls) Complete(c *fuse.Call, used uint32) {
	p.mu.Lock()
	p.used[c.Tag]++
	p.outs[c.Tag] = p.outs[c.Tag][:used]
	p.mu.Unlock()
	p.done <- c
}

// begin serves a request with its own call, numbered unique.
func (p *pendingCalls) begin(op fuse.Opcode, unique uint64, args []byte) (c *fuse.Call, done bool) {
	request := fusetest.Request(fusetest.Header{Op: op, Unique: unique, Node: 1}, args, nil)
	out := make([]byte, 256)
	c = fuse.NewCall()
	c.In, c.Out, c.Done, c.Tag = pieces(request, 40), pieces(out, 16), p, unique
	p.mu.Lock()
	p.outs[unique] = out
	p.mu.Unlock()
	used, done := p.s.Serve(c)
	if done {
		p.mu.Lock()
		p.outs[unique] = out[:used]
		p.mu.Unlock()
	}
	return c, done
}

// wait returns the error of the next completion and its number.
func (p *pendingCalls) wait(t *testing.T) (unique uint64, errno syscall.Errno) {
	t.Helper()
	c := <-p.done
	return c.Tag, p.errno(t, c.Tag)
}

func (p *pendingCalls) errno(t *testing.T, unique uint64) syscall.Errno {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	errno, ok := checkReply(t, p.outs[unique], unique)
	if !ok {
		t.Errorf("request %d: no reply", unique)
	}
	if p.used[unique] > 1 {
		t.Errorf("request %d was completed %d times", unique, p.used[unique])
	}
	return errno
}

var (
	fsyncArgs = fusetest.Append(nil).U64(3).U64(0)
	lockArgs  = fusetest.Append(nil).U64(3).U64(9).U64(0).U64(100).U32(unix.F_WRLCK).U32(1).U64(0)
	writeArgs = fusetest.Append(nil).U64(3).U64(0).U32(4).U32(0).U64(0).U64(0).Bytes([]byte("data"))
)

func TestPending(t *testing.T) {
	fs := newSlowFS()
	s, c := start(t, fs, fuse.Options{})
	p := newPending(s)
	for unique, r := range map[uint64]struct {
		op   fuse.Opcode
		args []byte
	}{2: {fuse.FSYNC, fsyncArgs}, 4: {fuse.SETLKW, lockArgs}, 6: {fuse.WRITE, writeArgs}} {
		if _, done := p.begin(r.op, unique, r.args); done {
			t.Fatalf("%v was not handed over", r.op)
		}
		<-fs.started
	}
	if _, errno := c.Lookup(1, "a"); errno != 0 {
		t.Errorf("LOOKUP beside pending requests: %v", errno)
	}
	close(fs.release)
	for range 3 {
		if unique, errno := p.wait(t); errno != 0 {
			t.Errorf("request %d: %v", unique, errno)
		}
	}
}

func TestInterrupt(t *testing.T) {
	fs := newSlowFS()
	s, c := start(t, fs, fuse.Options{})
	p := newPending(s)
	c.Interrupt(4) // nothing yet
	p.begin(fuse.SETLKW, 4, lockArgs)
	p.begin(fuse.SETLKW, 6, lockArgs)
	<-fs.started
	<-fs.started
	c.Interrupt(8)
	c.Interrupt(6)
	if unique, errno := p.wait(t); unique != 6 || errno != syscall.EINTR {
		t.Errorf("request %d: %v", unique, errno)
	}
	c.Interrupt(6)
	close(fs.release)
	if unique, errno := p.wait(t); unique != 4 || errno != 0 {
		t.Errorf("request %d: %v", unique, errno)
	}
}

// TestInterruptTwins has two requests with the same number, which only a broken
// guest sends.
func TestInterruptTwins(t *testing.T) {
	fs := newSlowFS()
	s, c := start(t, fs, fuse.Options{})
	a, b := newPending(s), newPending(s)
	a.begin(fuse.SETLKW, 4, lockArgs)
	b.begin(fuse.SETLKW, 4, lockArgs)
	c.Interrupt(4)
	for _, p := range []*pendingCalls{a, b} {
		if _, errno := p.wait(t); errno != syscall.EINTR {
			t.Errorf("%v", errno)
		}
	}
}

func TestCancel(t *testing.T) {
	fs := newSlowFS()
	s, _ := start(t, fs, fuse.Options{})
	p := newPending(s)
	s.Cancel(fuse.NewCall())
	call, _ := p.begin(fuse.SETLKW, 4, lockArgs)
	p.begin(fuse.FSYNC, 6, fsyncArgs)
	s.Cancel(call)
	if unique, errno := p.wait(t); unique != 4 || errno != syscall.EINTR {
		t.Errorf("request %d: %v", unique, errno)
	}
	s.Cancel(call)
	// The call can be used again, and cancelled again.
	call.Tag = 8
	p.mu.Lock()
	out := make([]byte, 64)
	p.outs[8] = out
	p.mu.Unlock()
	request := fusetest.Request(fusetest.Header{Op: fuse.SETLKW, Unique: 8, Node: 1}, lockArgs, nil)
	call.In, call.Out = pieces(request, 100), pieces(out, 100)
	if _, done := s.Serve(call); done {
		t.Fatal("not handed over")
	}
	s.Cancel(call)
	s.Cancel(call)
	if unique, errno := p.wait(t); unique != 8 || errno != syscall.EINTR {
		t.Errorf("request %d: %v", unique, errno)
	}
	close(fs.release)
	if unique, errno := p.wait(t); unique != 6 || errno != 0 {
		t.Errorf("request %d: %v", unique, errno)
	}
}

// TestBounds goes beyond the number of requests that may wait.
func TestBounds(t *testing.T) {
	fs := newSlowFS()
	s, _ := start(t, fs, fuse.Options{MaxPending: 1, MaxLockWaits: 2})
	p := newPending(s)
	for _, unique := range []uint64{2, 4} {
		if _, done := p.begin(fuse.SETLKW, unique, lockArgs); done {
			t.Fatal("not handed over")
		}
	}
	if _, done := p.begin(fuse.SETLKW, 6, lockArgs); !done || p.errno(t, 6) != syscall.ENOLCK {
		t.Errorf("third lock wait: done %v", done)
	}
	if _, done := p.begin(fuse.FSYNC, 8, fsyncArgs); done {
		t.Error("an fsync was held up by lock waits")
	}
	unlock := bytes.Clone(lockArgs)
	unlock[32] = unix.F_UNLCK
	for range 3 {
		<-fs.started
	}
	inline := make(chan bool)
	for i, r := range []struct {
		op   fuse.Opcode
		args []byte
	}{{fuse.FSYNC, fsyncArgs}, {fuse.SETLKW, unlock}} {
		go func() {
			_, done := p.begin(r.op, uint64(10+2*i), r.args)
			inline <- done
		}()
		<-fs.started // blocked where it was served
	}
	close(fs.release)
	for range 2 {
		if !<-inline {
			t.Error("handed over beyond the bound")
		}
	}
	for range 3 {
		if unique, errno := p.wait(t); errno != 0 {
			t.Errorf("request %d: %v", unique, errno)
		}
	}
	for _, unique := range []uint64{10, 12} {
		if errno := p.errno(t, unique); errno != 0 {
			t.Errorf("request %d: %v", unique, errno)
		}
	}
}

// TestReset waits for all pending requests, of which it interrupts those that
// wait for a lock.
func TestReset(t *testing.T) {
	fs := newSlowFS()
	s, _ := start(t, fs, fuse.Options{})
	p := newPending(s)
	p.begin(fuse.SETLKW, 4, lockArgs)
	p.begin(fuse.FSYNC, 6, fsyncArgs)
	<-fs.started
	<-fs.started
	reset := make(chan struct{})
	go func() {
		s.Reset()
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.used[4] != 1 || p.used[6] != 1 {
			t.Errorf("Reset returned before all was completed: %v", p.used)
		}
		close(reset)
	}()
	if unique, errno := p.wait(t); unique != 4 || errno != syscall.EINTR {
		t.Errorf("request %d: %v", unique, errno)
	}
	select {
	case <-reset:
		t.Error("Reset did not wait")
	default:
	}
	close(fs.release)
	if unique, errno := p.wait(t); unique != 6 || errno != 0 {
		t.Errorf("request %d: %v", unique, errno)
	}
	<-reset
}

// TestInitEndsPending has a guest that begins anew while requests wait: INIT is
// handed over, interrupts them, and is answered when they have ended.
func TestInitEndsPending(t *testing.T) {
	initArgs := fusetest.Append(nil).U32(7).U32(45).U32(0).U32(0)
	for _, op := range []fuse.Opcode{fuse.INIT, fuse.DESTROY} {
		fs := newSlowFS()
		s, c := start(t, fs, fuse.Options{})
		p := newPending(s)
		p.begin(fuse.SETLKW, 4, lockArgs)
		p.begin(fuse.FSYNC, 6, fsyncArgs)
		<-fs.started
		<-fs.started
		if _, done := p.begin(op, 8, initArgs); done {
			t.Fatalf("%v did not wait", op)
		}
		if _, errno := c.Lookup(1, "a"); errno != syscall.EIO {
			t.Errorf("LOOKUP between sessions: %v", errno)
		}
		if _, done := p.begin(fuse.FSYNC, 10, fsyncArgs); !done || p.errno(t, 10) != syscall.EIO {
			t.Error("FSYNC between sessions was handed over")
		}
		if unique, errno := p.wait(t); unique != 4 || errno != syscall.EINTR {
			t.Errorf("request %d: %v", unique, errno)
		}
		close(fs.release)
		if unique, errno := p.wait(t); unique != 6 || errno != 0 {
			t.Errorf("request %d: %v", unique, errno)
		}
		if unique, errno := p.wait(t); unique != 8 || errno != 0 {
			t.Errorf("request %d: %v", unique, errno)
		}
		if got := s.Session().Started; got != (op == fuse.INIT) {
			t.Errorf("after %v: session %v", op, got)
		}
	}
}

// stubbornFS says that it would block even when it may.
type stubbornFS struct{ fusetest.NullFS }

func (stubbornFS) Fsync(*vfs.Request, vfs.NodeID, vfs.Handle, bool) syscall.Errno {
	return vfs.WouldBlock
}

// Access answers with the error number that it is asked about.
func (stubbornFS) Access(_ *vfs.Request, _ vfs.NodeID, mask uint32) syscall.Errno {
	return syscall.Errno(mask)
}

// TestErrorRange checks that no error leaves that Linux would not take.
func TestErrorRange(t *testing.T) {
	_, c := start(t, stubbornFS{}, fuse.Options{})
	if errno := c.Fsync(1, 1, false); errno != syscall.EIO {
		t.Errorf("WouldBlock became %v", errno)
	}
	for _, tc := range []struct{ errno, want uint32 }{
		{1, 1}, {511, 511}, {512, 5}, {516, 5}, {4095, 5}, {1 << 31, 5}, {^uint32(0), 5},
	} {
		if got := c.Access(1, tc.errno); got != syscall.Errno(tc.want) {
			t.Errorf("error %d became %d", tc.errno, got)
		}
	}
}

// TestFault lets the memory of a pending request vanish: it is completed without
// a reply, and what it would have given is taken back.
func TestFault(t *testing.T) {
	fd, err := unix.MemfdCreate("fuse-test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, 4096); err != nil {
		t.Fatal(err)
	}
	mem, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mem)
	fs := &slowLookup{release: make(chan struct{})}
	ledger := fusetest.NewLedger(fs)
	s, _ := start(t, ledger, fuse.Options{})
	raw := newRaw(s)
	raw.call.In = pieces(fusetest.Request(fusetest.Header{Op: fuse.LOOKUP, Unique: 2, Node: 1}, fusetest.Append(nil).Str("a"), nil), 100)
	raw.call.Out = pieces(mem[:256], 256)
	if _, done := s.Serve(raw.call); done {
		t.Fatal("not handed over")
	}
	if err := unix.Ftruncate(fd, 0); err != nil {
		t.Fatal(err)
	}
	close(fs.release)
	if used := <-raw.done; used != 0 {
		t.Errorf("reply of %d bytes", used)
	}
	if held := ledger.Held(); held != (fusetest.Held{}) {
		t.Errorf("held %+v", held)
	}
}

type slowLookup struct {
	fusetest.NullFS
	release chan struct{}
}

func (f *slowLookup) Lookup(r *vfs.Request, p vfs.NodeID, n vfs.Name, out *vfs.Entry) syscall.Errno {
	if r.Nowait {
		return vfs.WouldBlock
	}
	<-f.release
	return f.NullFS.Lookup(r, p, n, out)
}
