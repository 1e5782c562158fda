package vfstest

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// lockTestOf makes a test of a method that takes locks for several owners, as
// guests and their processes would. A host has no call to compare with: its
// locks belong to our process.
func lockTestOf(feat vfs.Features, run func(*lockTest)) func(*suite, *testing.T) {
	return func(s *suite, t *testing.T) {
		if !s.feat.Has(feat) {
			return
		}
		l := &lockTest{s: s, t: t, c: s.root(t)}
		l.c.unlink("locked")
		l.a, l.b = l.open(creat|rdwr), l.open(rdwr)
		run(l)
		l.a.close()
		l.b.close()
		l.c.end()
		s.checkLeaks(t)
	}
}

// lockTest has one file open twice.
type lockTest struct {
	s    *suite
	t    *testing.T
	c    *session
	a, b *openFile
}

func (l *lockTest) open(flags int) *openFile {
	l.t.Helper()
	f, errno := l.c.open("locked", flags, 0o644)
	if errno != 0 {
		l.t.Fatal(errno)
	}
	return f.(*openFile)
}

func (l *lockTest) set(f *openFile, lk vfs.Lock) syscall.Errno {
	return l.s.FS.Setlk(&vfs.Request{PID: uint32(lk.Owner)}, f.node, f.h, &lk)
}

// expect sets a lock and checks the answer.
func (l *lockTest) expect(f *openFile, lk vfs.Lock, want syscall.Errno) {
	l.t.Helper()
	if errno := l.set(f, lk); errno != want {
		l.t.Errorf("Setlk %+v: %s, want %s", lk, errnoName(errno), errnoName(want))
	}
}

func posix(owner uint64, typ int, start, end uint64) vfs.Lock {
	return vfs.Lock{Owner: owner, PID: uint32(owner), Type: uint32(typ), Start: start, End: end}
}

// conflict asks what stands in the way of a write lock of owner.
func (l *lockTest) conflict(f *openFile, owner, start, end uint64) vfs.Lock {
	l.t.Helper()
	lk := posix(owner, unix.F_WRLCK, start, end)
	if errno := l.s.FS.Getlk(&vfs.Request{}, f.node, f.h, &lk); errno != 0 {
		l.t.Errorf("Getlk: %s", errnoName(errno))
	}
	return lk
}

func (l *lockTest) ranges() {
	const one, two = 101, 102
	l.expect(l.a, posix(one, unix.F_WRLCK, 100, 199), 0)
	l.expect(l.b, posix(two, unix.F_WRLCK, 150, 160), syscall.EAGAIN)
	l.expect(l.b, posix(two, unix.F_RDLCK, 199, 199), syscall.EAGAIN)
	l.expect(l.b, posix(two, unix.F_WRLCK, 200, vfs.MaxLockEnd), 0)
	l.expect(l.b, posix(two, unix.F_RDLCK, 0, 99), 0)
	l.expect(l.a, posix(one, unix.F_RDLCK, 50, 60), 0)
	l.expect(l.a, posix(one, unix.F_WRLCK, 50, 60), syscall.EAGAIN)

	for _, tt := range []struct {
		start, end uint64
		typ        int
		from, to   uint64
	}{
		{100, 100, unix.F_WRLCK, 100, 199},
		{180, 500, unix.F_WRLCK, 100, 199},
		{200, 200, unix.F_UNLCK, 0, 0},
		{50, 55, unix.F_RDLCK, 50, 60},
	} {
		lk := l.conflict(l.b, two, tt.start, tt.end)
		if lk.Type != uint32(tt.typ) || tt.typ != unix.F_UNLCK && (lk.Start != tt.from || lk.End != tt.to) {
			l.t.Errorf("Getlk of %d..%d finds %+v, want type %d, %d..%d", tt.start, tt.end, lk, tt.typ, tt.from, tt.to)
		}
	}
	if lk := l.conflict(l.a, one, 1<<40, 1<<40); lk.Type != unix.F_WRLCK || lk.Start != 200 || lk.End != vfs.MaxLockEnd {
		l.t.Errorf("Getlk far out finds %+v, want a write lock from 200 to the end", lk)
	}
	// Unlocking the middle leaves both ends.
	l.expect(l.a, posix(one, unix.F_UNLCK, 120, 179), 0)
	l.expect(l.b, posix(two, unix.F_WRLCK, 120, 179), 0)
	l.expect(l.b, posix(two, unix.F_WRLCK, 119, 119), syscall.EAGAIN)
	l.expect(l.b, posix(two, unix.F_WRLCK, 180, 180), syscall.EAGAIN)
	// The same owner may change its own, on whichever handle.
	l.expect(l.b, posix(one, unix.F_UNLCK, 0, vfs.MaxLockEnd), 0)
	l.expect(l.b, posix(two, unix.F_WRLCK, 0, vfs.MaxLockEnd), 0)
	l.expect(l.b, posix(two, unix.F_UNLCK, 0, vfs.MaxLockEnd), 0)
	l.expect(l.a, posix(one, unix.F_WRLCK, 0, vfs.MaxLockEnd), 0)
}

// flush closes a descriptor, which ends the locks of that owner and no other.
func (l *lockTest) flush() {
	const one, two, three = 201, 202, 203
	l.expect(l.a, posix(one, unix.F_WRLCK, 0, 9), 0)
	l.expect(l.b, posix(two, unix.F_WRLCK, 10, 19), 0)
	for _, tt := range []struct {
		owner      uint64
		start, end uint64
		before     syscall.Errno
		after      syscall.Errno
	}{{one, 0, 9, syscall.EAGAIN, 0}, {two, 10, 19, syscall.EAGAIN, 0}} {
		l.expect(l.b, posix(three, unix.F_RDLCK, tt.start, tt.end), tt.before)
		if errno := l.s.FS.Flush(&vfs.Request{}, l.b.node, l.b.h, tt.owner); errno != 0 {
			l.t.Errorf("Flush: %s", errnoName(errno))
		}
		l.expect(l.b, posix(three, unix.F_RDLCK, tt.start, tt.end), tt.after)
	}
}

// waiting starts a Setlk that waits and returns where its answer will come.
func (l *lockTest) waiting(f *openFile, lk vfs.Lock, interrupt <-chan struct{}) <-chan syscall.Errno {
	lk.Wait = true
	answer := make(chan syscall.Errno, 1)
	go func() {
		answer <- l.s.FS.Setlk(&vfs.Request{Interrupt: interrupt}, f.node, f.h, &lk)
	}()
	return answer
}

// within waits for an answer. The time is only there to end a test that fails.
func (l *lockTest) within(answer <-chan syscall.Errno, want syscall.Errno) {
	l.t.Helper()
	select {
	case errno := <-answer:
		if errno != want {
			l.t.Errorf("a lock that was waited for: %s, want %s", errnoName(errno), errnoName(want))
		}
	case <-time.After(10 * time.Second):
		l.t.Fatalf("a lock that was waited for: no answer, want %s", errnoName(want))
	}
}

func (l *lockTest) wait() {
	const one, two = 301, 302
	l.waitFor(posix(one, unix.F_WRLCK, 0, 9), posix(two, unix.F_WRLCK, 5, 5))
}

func (l *lockTest) waitFlock() {
	l.waitFor(vfs.Lock{Owner: 401, Type: unix.F_WRLCK, End: vfs.MaxLockEnd, Flock: true},
		vfs.Lock{Owner: 402, Type: unix.F_WRLCK, End: vfs.MaxLockEnd, Flock: true})
}

// waitFor has second wait for first: until it is interrupted, and until first
// is given up.
func (l *lockTest) waitFor(first, second vfs.Lock) {
	l.expect(l.a, first, 0)
	l.expect(l.b, second, syscall.EAGAIN)
	nowait := second
	nowait.Wait = true
	if errno := l.s.FS.Setlk(&vfs.Request{Nowait: true}, l.b.node, l.b.h, &nowait); errno != vfs.WouldBlock {
		l.t.Errorf("Setlk with Wait and Nowait of a taken lock: %s, want WouldBlock", errnoName(errno))
	}

	interrupt := make(chan struct{})
	answer := l.waiting(l.b, second, interrupt)
	close(interrupt)
	l.within(answer, syscall.EINTR)

	free := first
	free.Type = unix.F_UNLCK
	answer = l.waiting(l.b, second, make(chan struct{}))
	l.expect(l.a, free, 0)
	l.within(answer, 0)
	l.expect(l.a, first, syscall.EAGAIN)

	// A lock that is had after all is not waited for.
	l.within(l.waiting(l.b, second, make(chan struct{})), 0)
	free = second
	free.Type = unix.F_UNLCK
	l.expect(l.b, free, 0)
	l.expect(l.a, first, 0)
}

func (l *lockTest) flock() {
	lock := func(owner uint64, typ int) vfs.Lock {
		return vfs.Lock{Owner: owner, Type: uint32(typ), End: vfs.MaxLockEnd, Flock: true}
	}
	third := l.open(rdonly)
	l.expect(l.a, lock(1, unix.F_RDLCK), 0)
	l.expect(l.b, lock(2, unix.F_RDLCK), 0)
	l.expect(third, lock(3, unix.F_WRLCK), syscall.EAGAIN)
	l.expect(l.a, lock(1, unix.F_UNLCK), 0)
	l.expect(third, lock(3, unix.F_WRLCK), syscall.EAGAIN)
	l.expect(l.b, lock(2, unix.F_UNLCK), 0)
	l.expect(third, lock(3, unix.F_WRLCK), 0)
	l.expect(l.a, lock(1, unix.F_RDLCK), syscall.EAGAIN)
	r := &vfs.ReleaseIn{LockOwner: 3, FlockUnlock: true}
	if errno := l.s.FS.Release(&vfs.Request{}, third.node, third.h, r); errno != 0 {
		l.t.Errorf("Release: %s", errnoName(errno))
	}
	l.c.put(third.node)
	l.expect(l.a, lock(1, unix.F_WRLCK), 0)
}

// onHost looks at the locks of guests from the host, and the other way round.
func (l *lockTest) onHost() {
	if l.s.Dir == "" {
		return
	}
	fd, err := unix.Open(filepath.Join(l.s.Dir, "locked"), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		l.t.Fatal(err)
	}
	defer unix.Close(fd)
	l.expect(l.a, posix(501, unix.F_WRLCK, 10, 19), 0)
	lk := unix.Flock_t{Type: unix.F_WRLCK, Start: 0, Len: 15}
	if err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &lk); err != nil || lk.Type != unix.F_WRLCK || lk.Start != 10 || lk.Len != 10 {
		l.t.Errorf("the host finds %+v, %v; want a write lock from 10, 10 long", lk, err)
	}
	lk = unix.Flock_t{Type: unix.F_WRLCK, Start: 100, Len: 50}
	if err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &lk); err != nil {
		l.t.Fatal(err)
	}
	l.expect(l.b, posix(502, unix.F_RDLCK, 120, 130), syscall.EAGAIN)
	if got := l.conflict(l.b, 502, 120, 130); got.Type != unix.F_WRLCK || got.Start != 100 || got.End != 149 {
		l.t.Errorf("Getlk finds %+v, want the host's write lock of 100..149", got)
	}
	l.expect(l.a, posix(501, unix.F_UNLCK, 0, vfs.MaxLockEnd), 0)
}

// refused asks for what is no lock. A guest's kernel checks how the file was
// opened.
func (l *lockTest) refused() {
	l.expect(l.a, posix(601, 7, 0, 0), syscall.EINVAL)
	for _, x := range [][2]uint64{{10, 9}, {1 << 63, 1<<64 - 1}, {1<<64 - 1, 0}} {
		if errno := l.set(l.a, posix(601, unix.F_WRLCK, x[0], x[1])); errno != syscall.EINVAL && errno != syscall.EOVERFLOW {
			l.t.Errorf("Setlk of %#x..%#x: %s, want EINVAL or EOVERFLOW", x[0], x[1], errnoName(errno))
		}
	}
}
