package guesttest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// helpLock takes locks on one file as it is told: lines of a command and its
// numbers, each answered with "ok", the name of an error, or what was found.
//
//	open PATH
//	fcntl CMD TYPE START LEN
//	flock HOW
//	read
//	close
func helpLock() int {
	var f *os.File
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var err error
		answer := "ok"
		verb, rest, _ := strings.Cut(in.Text(), " ")
		switch verb {
		case "open":
			f, err = os.OpenFile(rest, os.O_RDWR, 0)
		case "fcntl":
			var cmd int
			var lk unix.Flock_t
			fmt.Sscan(rest, &cmd, &lk.Type, &lk.Start, &lk.Len)
			err = unix.FcntlFlock(f.Fd(), cmd, &lk)
			if cmd == unix.F_GETLK || cmd == unix.F_OFD_GETLK {
				answer = fmt.Sprintln(lk.Type, lk.Start, lk.Len, lk.Pid)
			}
		case "flock":
			var how int
			fmt.Sscan(rest, &how)
			err = unix.Flock(fd(f), how)
		case "read":
			var b []byte
			b, err = io.ReadAll(io.NewSectionReader(f, 0, 100))
			answer = string(b)
		case "close":
			err = f.Close()
		}
		var errno unix.Errno
		if errors.As(err, &errno) {
			answer = unix.ErrnoName(errno)
		}
		fmt.Println(strings.TrimSpace(answer))
	}
	return 0
}

const (
	readLock  = unix.F_RDLCK
	writeLock = unix.F_WRLCK
	unlock    = unix.F_UNLCK
)

// fcntl sets, tests or waits for a lock of this process.
func fcntl(f *os.File, cmd, typ int, start, n int64) (unix.Flock_t, error) {
	lk := unix.Flock_t{Type: int16(typ), Start: start, Len: n}
	err := unix.FcntlFlock(f.Fd(), cmd, &lk)
	return lk, err
}

// lockSetup makes a file and a second process that has it open too.
func lockSetup(t *testing.T) (*os.File, *child) {
	t.Helper()
	path := scratch(t) + "/f"
	write(t, path, nil)
	other := startChild(t, "/proc/self/exe", "lock")
	answer(t, other.ask("open %s", path), "ok", "open in the other process")
	return open(t, path, unix.O_RDWR, 0), other
}

func answer(t *testing.T, got, wanted, what string) {
	t.Helper()
	if got != wanted {
		t.Errorf("%s: %q, want %q", what, got, wanted)
	}
}

func TestRecordLocksConflictWhereTheyOverlap(t *testing.T) {
	f, other := lockSetup(t)
	for _, c := range []struct {
		held             int
		start, len       int64
		asked            int
		askStart, askLen int64
		answer           string
	}{
		{writeLock, 0, 0, writeLock, 0, 0, "EAGAIN"},
		{writeLock, 0, 0, readLock, 1 << 40, 1, "EAGAIN"},
		{readLock, 0, 0, readLock, 0, 0, "ok"},
		{readLock, 0, 0, writeLock, 0, 1, "EAGAIN"},
		{writeLock, 10, 10, writeLock, 0, 10, "ok"},
		{writeLock, 10, 10, writeLock, 0, 11, "EAGAIN"},
		{writeLock, 10, 10, writeLock, 19, 1, "EAGAIN"},
		{writeLock, 10, 10, writeLock, 20, 0, "ok"},
		{writeLock, 10, 10, readLock, 15, -5, "EAGAIN"},
		{writeLock, 10, 10, readLock, 10, -5, "ok"},
		{readLock, 1 << 62, 10, writeLock, 1<<62 + 9, 1, "EAGAIN"},
		{unlock, 0, 0, writeLock, 0, 0, "ok"},
	} {
		what := fmt.Sprintf("type %d on %d+%d against type %d on %d+%d", c.asked, c.askStart, c.askLen, c.held, c.start, c.len)
		_, err := fcntl(f, unix.F_SETLK, c.held, c.start, c.len)
		check(t, err, "take the lock")
		answer(t, other.ask("fcntl %d %d %d %d", unix.F_SETLK, c.asked, c.askStart, c.askLen), c.answer, what)
		answer(t, other.ask("fcntl %d %d 0 0", unix.F_SETLK, unlock), "ok", "unlock")
		_, err = fcntl(f, unix.F_SETLK, unlock, 0, 0)
		check(t, err, "unlock")
	}
}

func TestLockQueriesTellWhoHoldsWhat(t *testing.T) {
	f, other := lockSetup(t)
	answer(t, other.ask("fcntl %d %d 100 50", unix.F_SETLK, writeLock), "ok", "take the lock")
	lk, err := fcntl(f, unix.F_GETLK, readLock, 0, 0)
	check(t, err, "F_GETLK")
	if lk.Type != writeLock || lk.Start != 100 || lk.Len != 50 || lk.Whence != 0 {
		t.Errorf("found %+v", lk)
	}
	switch {
	case lk.Pid == int32(other.pid()):
	case expected[featLocks] && lk.Pid <= 0:
		t.Logf("locks: the holder is unknown (%d)", lk.Pid)
	default:
		t.Errorf("the holder is %d, want %d", lk.Pid, other.pid())
	}
	lk, err = fcntl(f, unix.F_GETLK, writeLock, 0, 100)
	if err != nil || lk.Type != unlock {
		t.Errorf("before the lock: %+v, %v", lk, err)
	}
	_, err = fcntl(f, unix.F_SETLK, writeLock, 0, 10)
	check(t, err, "take a lock")
	lk, err = fcntl(f, unix.F_GETLK, writeLock, 0, 10)
	if err != nil || lk.Type != unlock {
		t.Errorf("a lock of our own: %+v, %v", lk, err)
	}
}

func TestRecordLocksSplitMergeAndChangeTheirKind(t *testing.T) {
	f, other := lockSetup(t)
	set := func(typ int, start, n int64) {
		t.Helper()
		_, err := fcntl(f, unix.F_SETLK, typ, start, n)
		check(t, err, "set type %d on %d+%d", typ, start, n)
	}
	probe := func(wanted string, start, n int64) {
		t.Helper()
		lk := other.ask("fcntl %d %d %d %d", unix.F_GETLK, writeLock, start, n)
		got := strings.Join(strings.Fields(lk)[:3], " ")
		if wanted == "free" {
			wanted = fmt.Sprint(unlock, start, n)
		}
		answer(t, got, wanted, fmt.Sprintf("what is at %d+%d", start, n))
	}
	set(writeLock, 0, 100)
	set(unlock, 40, 20) // in the middle
	probe(fmt.Sprint(writeLock, 0, 40), 0, 40)
	probe("free", 40, 20)
	probe(fmt.Sprint(writeLock, 60, 40), 40, 60)
	set(readLock, 60, 40) // downgrade
	probe(fmt.Sprint(readLock, 60, 40), 60, 40)
	answer(t, other.ask("fcntl %d %d 60 40", unix.F_SETLK, readLock), "ok", "share the downgraded part")
	_, err := fcntl(f, unix.F_SETLK, writeLock, 60, 40)
	want(t, err, unix.EAGAIN, "upgrade of a lock that is shared")
	probe(fmt.Sprint(readLock, 60, 40), 60, 40) // and still holds it
	answer(t, other.ask("fcntl %d %d 60 40", unix.F_SETLK, unlock), "ok", "unlock")
	set(writeLock, 60, 40)
	set(writeLock, 40, 20)
	probe(fmt.Sprint(writeLock, 0, 100), 0, 100) // one again
	answer(t, other.ask("fcntl %d %d 0 0", unix.F_SETLK, readLock), "EAGAIN", "lock against it")

	r := open(t, f.Name(), unix.O_RDONLY, 0)
	_, err = fcntl(r, unix.F_SETLK, writeLock, 200, 1)
	want(t, err, unix.EBADF, "write lock through a descriptor for reading")
	_, err = fcntl(f, unix.F_SETLK, 99, 0, 0)
	want(t, err, unix.EINVAL, "lock of an unknown kind")
	_, err = fcntl(f, unix.F_SETLK, readLock, -1, 1)
	want(t, err, unix.EINVAL, "lock before the start")
}

func TestRecordLocksEndWithAnyCloseAndWithTheProcess(t *testing.T) {
	f, other := lockSetup(t)
	_, err := fcntl(f, unix.F_SETLK, writeLock, 0, 0)
	check(t, err, "lock")
	answer(t, other.ask("fcntl %d %d 0 0", unix.F_SETLK, writeLock), "EAGAIN", "against the lock")
	// POSIX: a close of any descriptor of the file drops the locks of the process.
	check(t, open(t, f.Name(), unix.O_RDONLY, 0).Close(), "close of another descriptor")
	eventually(t, "lock after the close", func() bool {
		return other.ask("fcntl %d %d 0 0", unix.F_SETLK, writeLock) == "ok"
	})
	_, err = fcntl(f, unix.F_SETLK, writeLock, 0, 0)
	want(t, err, unix.EAGAIN, "against the other's lock")
	other.end()
	eventually(t, "lock after the holder's end", func() bool {
		_, err := fcntl(f, unix.F_SETLK, writeLock, 0, 0)
		return err == nil
	})
}

func TestFlockBelongsToTheOpenFile(t *testing.T) {
	f, other := lockSetup(t)
	const nb = unix.LOCK_NB
	flock := func(g *os.File, how int, wanted error, what string) {
		t.Helper()
		want(t, unix.Flock(fd(g), how|nb), wanted, "%s", what)
	}
	g := open(t, f.Name(), unix.O_RDONLY, 0)
	flock(f, unix.LOCK_EX, nil, "exclusive")
	flock(g, unix.LOCK_SH, unix.EWOULDBLOCK, "shared against it, from the same process")
	answer(t, other.ask("flock %d", unix.LOCK_SH|nb), "EAGAIN", "shared against it, from another process")
	flock(f, unix.LOCK_SH, nil, "downgrade")
	flock(g, unix.LOCK_SH, nil, "shared with it")
	answer(t, other.ask("flock %d", unix.LOCK_SH|nb), "ok", "shared with both")
	answer(t, other.ask("flock %d", unix.LOCK_EX|nb), "EAGAIN", "upgrade of a shared one")
	answer(t, other.ask("flock %d", unix.LOCK_UN), "ok", "unlock")
	flock(g, unix.LOCK_UN, nil, "unlock")
	flock(f, unix.LOCK_EX, nil, "upgrade of the last one")

	// The two kinds of lock do not know each other.
	answer(t, other.ask("fcntl %d %d 0 0", unix.F_SETLK, writeLock), "ok", "record lock beside flock")
	answer(t, other.ask("fcntl %d %d 0 0", unix.F_SETLK, unlock), "ok", "unlock")

	// A duplicate holds the same lock, which lasts until both are closed.
	n, err := unix.Dup(fd(f))
	check(t, err, "dup")
	dup := os.NewFile(uintptr(n), "dup")
	flock(dup, unix.LOCK_EX, nil, "exclusive through a duplicate")
	check(t, f.Close(), "close")
	answer(t, other.ask("flock %d", unix.LOCK_EX|nb), "EAGAIN", "against the duplicate")
	check(t, dup.Close(), "close")
	eventually(t, "flock after the last close", func() bool {
		return other.ask("flock %d", unix.LOCK_EX|nb) == "ok"
	})
	flock(g, unix.LOCK_EX, unix.EWOULDBLOCK, "against another process")
	answer(t, other.ask("close"), "ok", "close")
	eventually(t, "flock after the other's close", func() bool {
		return unix.Flock(fd(g), unix.LOCK_EX|nb) == nil
	})
	want(t, unix.Flock(fd(g), 16), unix.EINVAL, "unknown kind")
}

func TestOpenFileLocksBelongToTheOpenFile(t *testing.T) {
	f, other := lockSetup(t)
	g := open(t, f.Name(), unix.O_RDWR, 0)
	set := func(h *os.File, typ int, start, n int64, wanted error, what string) {
		t.Helper()
		_, err := fcntl(h, unix.F_OFD_SETLK, typ, start, n)
		want(t, err, wanted, "%s", what)
	}
	set(f, writeLock, 0, 100, nil, "lock")
	set(g, readLock, 99, 1, unix.EAGAIN, "against it, from the same process")
	set(g, readLock, 100, 1, nil, "beside it")
	answer(t, other.ask("fcntl %d %d 50 1", unix.F_OFD_SETLK, readLock), "EAGAIN", "against it, from another process")
	// They do know the record locks of processes, even of their own.
	answer(t, other.ask("fcntl %d %d 50 1", unix.F_SETLK, readLock), "EAGAIN", "record lock against it")
	_, err := fcntl(f, unix.F_SETLK, writeLock, 0, 1)
	want(t, err, unix.EAGAIN, "record lock of the same process against it")
	lk, err := fcntl(g, unix.F_OFD_GETLK, writeLock, 0, 10)
	if err != nil || lk.Type != writeLock || lk.Start != 0 || lk.Len != 100 {
		t.Errorf("query: %+v, %v", lk, err)
	}
	set(f, unlock, 0, 50, nil, "unlock the first half")
	set(g, writeLock, 0, 50, nil, "lock of what was unlocked")

	// The close of another descriptor of the file leaves them alone.
	check(t, open(t, f.Name(), unix.O_RDONLY, 0).Close(), "close of a third descriptor")
	set(g, writeLock, 50, 10, unix.EAGAIN, "against what is left")
	check(t, f.Close(), "close")
	eventually(t, "lock after the close", func() bool {
		_, err := fcntl(g, unix.F_OFD_SETLK, writeLock, 50, 10)
		return err == nil
	})
}
