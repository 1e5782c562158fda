package passthrough

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

const (
	rd = unix.F_RDLCK
	wr = unix.F_WRLCK
	un = unix.F_UNLCK
)

var bothLocks = Locks{POSIX: true, Flock: true}

// locking is one guest's view of a file.
type locking struct {
	t  testing.TB
	fs *FS
	id vfs.NodeID
	h  vfs.Handle
}

func newLocking(t testing.TB, dir string) *locking {
	t.Helper()
	fs := share(t, Config{Path: dir, Locks: bothLocks})
	id, h := openAt(t, fs, "f", unix.O_RDWR)
	return &locking{t, fs, id, h}
}

func (l *locking) lock(owner uint64, typ uint32, start, end uint64) syscall.Errno {
	return l.fs.Setlk(&root, l.id, l.h, &vfs.Lock{Owner: owner, Type: typ, Start: start, End: end})
}

func (l *locking) want(what string, errno syscall.Errno, owner uint64, typ uint32, start, end uint64) {
	l.t.Helper()
	want(l.t, what, l.lock(owner, typ, start, end), errno)
}

// owners is how many owners have something locked.
func (l *locking) owners() int {
	l.fs.locks.mu.Lock()
	defer l.fs.locks.mu.Unlock()
	n := 0
	for _, node := range l.fs.locks.nodes {
		n += len(node.owners)
	}
	return n
}

// waiters waits until so many calls wait for a lock of the node.
func (l *locking) waiters(n int) {
	for {
		l.fs.locks.mu.Lock()
		node := l.fs.locks.nodes[l.id]
		have := 0
		if node != nil {
			have = node.waiters
		}
		l.fs.locks.mu.Unlock()
		if have == n {
			return
		}
		runtime.Gosched()
	}
}

// wait asks for a lock and waits for it elsewhere.
func (l *locking) wait(lk vfs.Lock) (result <-chan syscall.Errno, interrupt chan struct{}) {
	lk.Wait = true
	done, interrupt := make(chan syscall.Errno, 1), make(chan struct{})
	go func() { done <- l.fs.Setlk(&vfs.Request{Interrupt: interrupt}, l.id, l.h, &lk) }()
	return done, interrupt
}

func TestPOSIXLocks(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		write(t, join(dir, "f"), "")
		a, b := newLocking(t, dir), newLocking(t, dir) // two guests
		fds := openFDs(t)
		a.want("lock", 0, 1, wr, 10, 19)
		a.want("own lock is not in the way", 0, 1, rd, 15, 15)
		a.want("another process of the guest", syscall.EAGAIN, 2, wr, 19, 30)
		b.want("another guest, same owner number", syscall.EAGAIN, 1, rd, 10, 10)
		b.want("another guest, beside it", 0, 1, wr, 20, vfs.MaxLockEnd)
		b.want("shared with the part that is shared", 0, 1, rd, 15, 15)

		for _, c := range []struct {
			l     *locking
			owner uint64
			ask   vfs.Lock
			found vfs.Lock
		}{
			{b, 1, vfs.Lock{Type: wr, Start: 0, End: vfs.MaxLockEnd}, vfs.Lock{Type: wr, Start: 10, End: 14}},
			{a, 1, vfs.Lock{Type: rd, Start: 0, End: 25}, vfs.Lock{Type: wr, Start: 20, End: vfs.MaxLockEnd}},
			{a, 1, vfs.Lock{Type: rd, Start: 0, End: 19}, vfs.Lock{Type: un, Start: 0, End: 19}},
			{a, 7, vfs.Lock{Type: rd, Start: 11, End: 11}, vfs.Lock{Type: wr, Start: 10, End: 14}},
			{a, 7, vfs.Lock{Type: rd, Start: 15, End: 15}, vfs.Lock{Type: un, Start: 15, End: 15}},
		} {
			lk := c.ask
			lk.Owner = c.owner
			c.found.Owner = c.owner
			want(t, "getlk", c.l.fs.Getlk(&root, c.l.id, c.l.h, &lk), 0)
			if lk != c.found {
				t.Errorf("asked for %+v as %d: %+v, want %+v", c.ask, c.owner, lk, c.found)
			}
		}

		a.want("unlock a part", 0, 1, un, 10, 12)
		b.want("what was unlocked", 0, 2, wr, 10, 12)
		a.want("unlock the rest", 0, 1, un, 0, vfs.MaxLockEnd)
		b.want("all of it", 0, 1, wr, 13, 19)
		a.want("unlock what is not locked", 0, 3, un, 0, 100)
		b.want("unlock", 0, 1, un, 0, vfs.MaxLockEnd)
		b.want("unlock exactly", 0, 2, un, 10, 12)
		if a.owners() != 0 || b.owners() != 0 {
			t.Errorf("owners left: %d, %d", a.owners(), b.owners())
		}
		if n := openFDs(t); n != fds {
			t.Errorf("%d descriptors, %d before", n, fds)
		}
	})
}

// TestLocksEnd: locks end with the flush of their owner, with their node, and
// with the session.
func TestLocksEnd(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		write(t, join(dir, "f"), "")
		a, b := newLocking(t, dir), newLocking(t, dir)
		used := a.fs.fds.used.Load()
		for what, end := range map[string]func(){
			"flush":   func() { want(t, "flush", a.fs.Flush(&root, a.id, a.h, 1), 0) },
			"forget":  func() { a.fs.locks.forget(a.fs, a.id) },
			"session": func() { a.fs.locks.clear(a.fs) },
		} {
			a.want("lock", 0, 1, wr, 0, 5)
			a.want("lock", 0, 1, wr, 10, 15)
			b.want("before "+what, syscall.EAGAIN, 1, wr, 15, 15)
			want(t, "another's flush", a.fs.Flush(&root, a.id, a.h, 2), 0)
			b.want("after another's flush", syscall.EAGAIN, 1, wr, 15, 15)
			end()
			b.want("after "+what, 0, 1, wr, 0, vfs.MaxLockEnd)
			b.want("unlock", 0, 1, un, 0, vfs.MaxLockEnd)
			if a.owners() != 0 || len(a.fs.locks.nodes) != 0 || a.fs.fds.used.Load() != used {
				t.Errorf("%s leaves %d owners, %d nodes, %d descriptors", what, a.owners(), len(a.fs.locks.nodes), a.fs.fds.used.Load()-used)
			}
		}
		// The guest really forgets, and the session really ends.
		a.want("lock", 0, 1, wr, 0, 5)
		want(t, "release", a.fs.Release(&root, a.id, a.h, &vfs.ReleaseIn{}), 0)
		a.fs.Forget(a.id, 1)
		b.want("after the node", 0, 1, wr, 0, 5)
		b.fs.Destroy()
		c := newLocking(t, dir)
		c.want("after the session", 0, 1, wr, 0, 5)
	})
}

func TestLockQuota(t *testing.T) {
	dir := tempDir(t, "")
	write(t, join(dir, "f"), "")
	fs := share(t, Config{Path: dir, Locks: bothLocks, MaxFDs: 8})
	id, h := openAt(t, fs, "f", unix.O_RDWR)
	l := &locking{t, fs, id, h}
	var errno syscall.Errno
	owner := uint64(0)
	for ; errno == 0; owner++ {
		errno = l.lock(owner, rd, 0, 0)
	}
	want(t, "too many owners", errno, syscall.ENOLCK)
	if owner > 8 {
		t.Errorf("%d owners with 8 descriptors", owner)
	}
	l.want("unlock", 0, 0, un, 0, 0)
	l.want("lock again", 0, 100, rd, 0, 0)
}

func TestLocksRefused(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		write(t, join(dir, "f"), "")
		l := newLocking(t, dir)
		off := share(t, Config{Path: dir})
		offID, offH := openAt(t, off, "f", unix.O_RDWR)
		good := vfs.Lock{Type: wr, End: 5}
		flock := vfs.Lock{Type: wr, Flock: true, End: vfs.MaxLockEnd}
		want(t, "posix while off", off.Setlk(&root, offID, offH, &good), syscall.ENOSYS)
		want(t, "flock while off", off.Setlk(&root, offID, offH, &flock), syscall.ENOSYS)
		want(t, "getlk while off", off.Getlk(&root, offID, offH, &good), syscall.ENOSYS)
		for what, lk := range map[string]vfs.Lock{
			"type":            {Type: 3, End: 5},
			"large type":      {Type: 1 << 16, End: 5},
			"end first":       {Type: wr, Start: 6, End: 5},
			"start too large": {Type: wr, Start: 1 << 63, End: 1<<64 - 1},
			"end too large":   {Type: wr, End: vfs.MaxLockEnd + 1},
			"flock type":      {Type: 99, Flock: true},
		} {
			want(t, what, l.fs.Setlk(&root, l.id, l.h, &lk), syscall.EINVAL)
			want(t, "getlk "+what, l.fs.Getlk(&root, l.id, l.h, &lk), syscall.EINVAL)
		}
		want(t, "getlk of flock", l.fs.Getlk(&root, l.id, l.h, &flock), syscall.EINVAL)
		want(t, "forged handle", l.fs.Setlk(&root, l.id, l.h+1, &good), syscall.EBADF)
		want(t, "getlk, forged handle", l.fs.Getlk(&root, l.id, l.h+1, &good), syscall.EBADF)

		// The access of the handle counts, not that of another of the owner.
		l.want("lock", 0, 0, wr, 0, 0)
		_, reader := openAt(t, l.fs, "f", unix.O_RDONLY)
		_, writer := openAt(t, l.fs, "f", unix.O_WRONLY)
		want(t, "write lock by a reader", l.fs.Setlk(&root, l.id, reader, &good), syscall.EBADF)
		want(t, "read lock by a writer", l.fs.Setlk(&root, l.id, writer, &vfs.Lock{Type: rd, End: 5}), syscall.EBADF)
		want(t, "write lock by a writer", l.fs.Setlk(&root, l.id, writer, &good), 0)
	})
}

func TestFlock(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		write(t, join(dir, "f"), "")
		a := newLocking(t, dir)
		_, second := openAt(t, a.fs, "f", unix.O_RDONLY)
		b := newLocking(t, dir)
		flock := func(l *locking, h vfs.Handle, typ uint32) syscall.Errno {
			return l.fs.Setlk(&root, l.id, h, &vfs.Lock{Type: typ, Flock: true, End: vfs.MaxLockEnd})
		}
		want(t, "exclusive", flock(a, a.h, wr), 0)
		want(t, "another open file of the guest", flock(a, second, rd), syscall.EAGAIN)
		want(t, "another guest", flock(b, b.h, rd), syscall.EAGAIN)
		want(t, "fcntl locks are others", b.lock(1, wr, 0, 5), 0)
		want(t, "shared", flock(a, a.h, rd), 0)
		want(t, "another guest, shared", flock(b, b.h, rd), 0)
		want(t, "back to exclusive", flock(a, second, wr), syscall.EAGAIN)
		want(t, "unlock", flock(a, a.h, un), 0)
		want(t, "unlock", flock(b, b.h, un), 0)
		want(t, "exclusive", flock(a, a.h, wr), 0)

		done, _ := a.wait(vfs.Lock{Type: wr, Flock: true, End: vfs.MaxLockEnd})
		want(t, "a lock that one has", <-done, 0)
		w := &locking{t, a.fs, a.id, second}
		done, _ = w.wait(vfs.Lock{Type: rd, Flock: true, End: vfs.MaxLockEnd})
		w.waiters(1)
		want(t, "release", a.fs.Release(&root, a.id, a.h, &vfs.ReleaseIn{FlockUnlock: true}), 0)
		want(t, "the lock of a released handle", <-done, 0)
	})
}

func TestLockWait(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		write(t, join(dir, "f"), "")
		l := newLocking(t, dir)
		l.want("lock", 0, 1, wr, 0, 9)
		lk := vfs.Lock{Owner: 2, Type: wr, Start: 5, End: 5, Wait: true}
		want(t, "nowait", l.fs.Setlk(&nowait, l.id, l.h, &lk), vfs.WouldBlock)

		done, _ := l.wait(lk)
		l.waiters(1)
		l.want("unlock another part", 0, 1, un, 0, 4)
		l.waiters(1)
		l.want("unlock", 0, 1, un, 5, 9)
		want(t, "wait", <-done, 0)
		l.want("it is held", syscall.EAGAIN, 1, wr, 5, 5)

		done, interrupt := l.wait(vfs.Lock{Owner: 3, Type: rd, Start: 5, End: 5})
		l.waiters(1)
		close(interrupt)
		want(t, "interrupted wait", <-done, syscall.EINTR)

		done, _ = l.wait(vfs.Lock{Owner: 3, Type: rd, Start: 5, End: 5})
		l.waiters(1)
		want(t, "flush", l.fs.Flush(&root, l.id, l.h, 2), 0)
		want(t, "wait for a flush", <-done, 0)

		done, _ = l.wait(vfs.Lock{Owner: 4, Type: wr, Start: 5, End: 5})
		l.waiters(1)
		l.fs.locks.clear(l.fs)
		if errno := <-done; errno != syscall.EINTR {
			t.Errorf("wait at the end of a session: %v", errno)
		}
		l.waiters(0)
		if l.owners() != 0 || len(l.fs.locks.nodes) != 0 {
			t.Errorf("%d owners, %d nodes", l.owners(), len(l.fs.locks.nodes))
		}
	})
}

// TestLockHost: locks hold against the host, and a wait for a lock of the host
// ends when that does.
func TestLockHost(t *testing.T) {
	eachFS(t, func(t *testing.T, dir string) {
		write(t, join(dir, "f"), "")
		l := newLocking(t, dir)
		host, err := os.OpenFile(join(dir, "f"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer host.Close()
		set := func(typ int16) error {
			return unix.FcntlFlock(host.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: typ, Start: 0, Len: 10})
		}
		if err := set(wr); err != nil {
			t.Fatal(err)
		}
		l.want("locked on the host", syscall.EAGAIN, 1, rd, 0, 0)
		lk := vfs.Lock{Owner: 1, Type: rd, End: vfs.MaxLockEnd}
		want(t, "getlk", l.fs.Getlk(&root, l.id, l.h, &lk), 0)
		if exp := (vfs.Lock{Owner: 1, Type: wr, End: 9}); lk != exp {
			t.Errorf("found %+v, want %+v", lk, exp)
		}
		done, _ := l.wait(vfs.Lock{Owner: 1, Type: wr, Start: 3, End: 3})
		l.waiters(1)
		if err := set(un); err != nil {
			t.Fatal(err)
		}
		want(t, "wait for the host", <-done, 0)
		if err := set(rd); err != syscall.EAGAIN {
			t.Errorf("the host locks what a guest has locked: %v", err)
		}
		if err := unix.Flock(int(host.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		flock := vfs.Lock{Type: rd, Flock: true, End: vfs.MaxLockEnd}
		want(t, "flock of the host", l.fs.Setlk(&root, l.id, l.h, &flock), syscall.EAGAIN)
	})
}

// TestLockBusyProgram: a program that runs cannot be opened for writing, and can
// be locked all the same.
func TestLockBusyProgram(t *testing.T) {
	dir := tempDir(t, "")
	program, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(join(dir, "f"), code, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Cmd{Path: join(dir, "f"), Args: []string{"sleep", "1000"}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	fs := share(t, Config{Path: dir, Locks: bothLocks})
	id, h := openAt(t, fs, "f", unix.O_RDONLY)
	l := &locking{t, fs, id, h}
	l.want("lock", 0, 1, rd, 0, 9)
	l.want("unlock", 0, 1, un, 0, 9)
}

// TestLockHandleReleased: a hostile guest releases the handle that it waits with.
func TestLockHandleReleased(t *testing.T) {
	dir := tempDir(t, "")
	write(t, join(dir, "f"), "")
	l := newLocking(t, dir)
	_, second := openAt(t, l.fs, "f", unix.O_RDWR)
	l.want("lock", 0, 1, wr, 0, 9)
	done, _ := (&locking{t, l.fs, l.id, second}).wait(vfs.Lock{Owner: 2, Type: wr, Start: 0, End: 0})
	l.waiters(1)
	want(t, "release", l.fs.Release(&root, l.id, second, &vfs.ReleaseIn{}), 0)
	want(t, "wait with a released handle", <-done, syscall.EINTR)
	if l.owners() != 1 {
		t.Errorf("%d owners", l.owners())
	}
}

// TestLocksOfAnOpenFile: F_OFD_SETLK in a guest has the open file for an owner,
// and nothing but the release of its handle tells that it is gone. Locks through
// other handles stay.
func TestLocksOfAnOpenFile(t *testing.T) {
	dir := tempDir(t, "")
	write(t, join(dir, "f"), "")
	a, b := newLocking(t, dir), newLocking(t, dir)
	other := vfs.Opened{}
	want(t, "open", a.fs.Open(&root, a.id, unix.O_RDWR, false, &other), 0)
	a.want("lock", 0, 1, wr, 0, 5)
	want(t, "lock through another handle", a.fs.Setlk(&root, a.id, other.Handle,
		&vfs.Lock{Owner: 2, Type: wr, Start: 10, End: 15}), 0)
	want(t, "release", a.fs.Release(&root, a.id, a.h, &vfs.ReleaseIn{}), 0)
	b.want("what the released handle had", 0, 1, wr, 0, 5)
	b.want("what the other has", syscall.EAGAIN, 1, wr, 10, 15)
	want(t, "release", a.fs.Release(&root, a.id, other.Handle, &vfs.ReleaseIn{}), 0)
	b.want("after both", 0, 1, wr, 0, vfs.MaxLockEnd)
	if n := a.owners(); n != 0 {
		t.Errorf("%d owners are left", n)
	}
}

// TestLockLate: a lock that is taken while its handle is released does not stay.
func TestLockLate(t *testing.T) {
	dir := tempDir(t, "")
	write(t, join(dir, "f"), "")
	l := newLocking(t, dir)
	h, errno := l.fs.handle(l.id, l.h, kindFile)
	want(t, "pin", errno, 0)
	want(t, "release", l.fs.Release(&root, l.id, l.h, &vfs.ReleaseIn{}), 0)
	lk := vfs.Lock{Owner: 1, Type: wr, End: 5}
	k, _ := flockOf(&lk)
	want(t, "lock", l.fs.tryLock(l.id, l.h, h, &lk, k), syscall.EBADF)
	h.unpin()
	if l.owners() != 0 {
		t.Errorf("%d owners", l.owners())
	}
}

// TestLockOwnerBounds compares with a list of all bytes.
func TestLockOwnerBounds(t *testing.T) {
	const size = 12
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		o := lockOwner{first: 1}
		var locked [size]bool
		for range 12 {
			start := rnd.Uint64N(size)
			lk := vfs.Lock{Type: []uint32{rd, wr, un}[rnd.IntN(3)], Start: start, End: start + rnd.Uint64N(size-start)}
			o.note(&lk)
			none := true
			for i := range locked {
				if uint64(i) >= lk.Start && uint64(i) <= lk.End {
					locked[i] = lk.Type != un
				}
				if locked[i] {
					none = false
					if uint64(i) < o.first || uint64(i) > o.last {
						t.Fatalf("byte %d is locked, outside %d..%d", i, o.first, o.last)
					}
				}
			}
			if lk.Type == un && lk.Start == 0 && lk.End == size-1 && (o.first <= o.last || !none) {
				t.Fatalf("all is unlocked, but not %d..%d", o.first, o.last)
			}
		}
	}
}

// TestLockStorm has many owners fight for one byte.
func TestLockStorm(t *testing.T) {
	dir := tempDir(t, "/dev/shm")
	write(t, join(dir, "f"), "")
	l := newLocking(t, dir)
	const owners, rounds = 8, 30
	inside := 0 // guarded by the lock that is tested; the race detector looks on
	done := make(chan syscall.Errno)
	for owner := range uint64(owners) {
		go func() {
			var errno syscall.Errno
			for range rounds {
				if errno = l.fs.Setlk(&root, l.id, l.h, &vfs.Lock{Owner: owner, Type: wr, Start: 7, End: 7, Wait: true}); errno != 0 {
					break
				}
				inside++
				if errno = l.lock(owner, un, 7, 7); errno != 0 {
					break
				}
			}
			done <- errno
		}()
	}
	for range owners {
		want(t, "lock or unlock", <-done, 0)
	}
	if inside != owners*rounds {
		t.Errorf("%d of %d", inside, owners*rounds)
	}
	if l.owners() != 0 || len(l.fs.locks.nodes) != 0 {
		t.Errorf("%d owners, %d nodes left", l.owners(), len(l.fs.locks.nodes))
	}
}
