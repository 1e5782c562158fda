package guesttest

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// headStart gives a wait that does not wait the time to show itself. No correct
// wait depends on it.
const headStart = 50 * time.Millisecond

// waits are the calls that wait for a lock, with the one that gives it up.
var waits = []struct {
	name         string
	take, giveUp func(f *os.File) error
	command      string // of the helper: the same wait
	release      string
}{
	{
		"record lock",
		func(f *os.File) error { _, err := fcntl(f, unix.F_SETLKW, writeLock, 0, 0); return err },
		func(f *os.File) error { _, err := fcntl(f, unix.F_SETLK, unlock, 0, 0); return err },
		fmt.Sprint("fcntl ", unix.F_SETLKW, writeLock, 0, 0),
		fmt.Sprint("fcntl ", unix.F_SETLK, unlock, 0, 0),
	}, {
		"open file lock",
		func(f *os.File) error { _, err := fcntl(f, unix.F_OFD_SETLKW, writeLock, 0, 0); return err },
		func(f *os.File) error { _, err := fcntl(f, unix.F_OFD_SETLK, unlock, 0, 0); return err },
		fmt.Sprint("fcntl ", unix.F_OFD_SETLKW, writeLock, 0, 0),
		fmt.Sprint("fcntl ", unix.F_OFD_SETLK, unlock, 0, 0),
	}, {
		"flock",
		func(f *os.File) error { return unix.Flock(fd(f), unix.LOCK_EX) },
		func(f *os.File) error { return unix.Flock(fd(f), unix.LOCK_UN) },
		fmt.Sprint("flock ", unix.LOCK_EX),
		fmt.Sprint("flock ", unix.LOCK_UN),
	},
}

func TestAWaitForALockEndsWhenTheLockDoes(t *testing.T) {
	for _, w := range waits {
		t.Run(w.name, func(t *testing.T) {
			f, other := lockSetup(t)
			check(t, w.take(f), "lock")
			other.send("%s", w.command)
			time.Sleep(headStart)
			// What the file says now is there for whoever gets the lock.
			writeAt(t, f, 0, []byte("released"))
			check(t, w.giveUp(f), "unlock")
			answer(t, other.receive(), "ok", "the wait")
			answer(t, other.ask("read"), "released", "what the waiter found")

			// The other way around, and the holder dies.
			got := make(chan error, 1)
			go func() { got <- w.take(f) }()
			time.Sleep(headStart)
			select {
			case err := <-got:
				t.Errorf("a wait against a held lock returned: %v", err)
				return
			default:
			}
			other.cmd.Process.Kill()
			check(t, <-got, "wait until the holder died")
			check(t, w.giveUp(f), "unlock")
		})
	}
}

// TestAWaitForALockIsInterruptedByASignal checks with the word locks that the
// wait stays whole at least: a guest's driver cannot call it off.
func TestAWaitForALockIsInterruptedByASignal(t *testing.T) {
	// The runtime's handlers restart system calls; this one must not.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGUSR1)
	defer signal.Stop(signals)
	act, err := swapSigaction(unix.SIGUSR1, nil)
	check(t, err, "sigaction")
	restarting := act
	act.flags &^= saRestart
	_, err = swapSigaction(unix.SIGUSR1, &act)
	check(t, err, "sigaction")
	defer swapSigaction(unix.SIGUSR1, &restarting)

	for _, w := range waits {
		t.Run(w.name, func(t *testing.T) {
			f, other := lockSetup(t)
			answer(t, other.ask("%s", w.command), "ok", "lock of the other process")
			thread, got := make(chan int, 1), make(chan error, 1)
			go func() {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				thread <- unix.Gettid()
				got <- w.take(f)
			}()
			tid := <-thread
			interrupt := func() {
				if err := unix.Tgkill(unix.Getpid(), tid, unix.SIGUSR1); err != nil {
					t.Errorf("tgkill: %v", err)
				}
			}
			if expected[featLocks] {
				time.Sleep(headStart)
				interrupt()
				answer(t, other.ask("%s", w.release), "ok", "unlock")
				want(t, <-got, nil, "the wait, in spite of a signal")
				check(t, w.giveUp(f), "unlock")
				answer(t, other.ask("%s", w.command), "ok", "lock again")
				return
			}
			var result error
			eventually(t, "an interrupted wait", func() bool {
				interrupt()
				select {
				case result = <-got:
					return true
				default:
					return false
				}
			})
			want(t, result, unix.EINTR, "the wait")
			// A wait that was given up must not take the lock later on.
			answer(t, other.ask("%s", w.release), "ok", "unlock")
			answer(t, other.ask("%s", w.command), "ok", "lock again")
		})
	}
}

func TestADeadlockOfRecordLocksIsSeen(t *testing.T) {
	if expected[featLocks] {
		t.Log("locks: no part of this test APPLIES, as nobody sees all waits")
		return
	}
	f, other := lockSetup(t)
	_, err := fcntl(f, unix.F_SETLK, writeLock, 0, 1)
	check(t, err, "lock of the first byte")
	answer(t, other.ask("fcntl %d %d 1 1", unix.F_SETLK, writeLock), "ok", "lock of the second byte")
	other.send("fcntl %d %d 0 1", unix.F_SETLKW, writeLock)
	ours := make(chan error, 1)
	go func() {
		_, err := fcntl(f, unix.F_SETLKW, writeLock, 1, 1)
		if errors.Is(err, unix.EDEADLK) {
			_, unlockErr := fcntl(f, unix.F_SETLK, unlock, 0, 1)
			err = errors.Join(err, unlockErr)
		}
		ours <- err
	}()
	// Whichever waits second is refused, and makes way for the first.
	switch got := other.receive(); got {
	case "EDEADLK":
		answer(t, other.ask("fcntl %d %d 1 1", unix.F_SETLK, unlock), "ok", "unlock")
		want(t, <-ours, nil, "our wait, which was first")
	case "ok":
		want(t, <-ours, unix.EDEADLK, "our wait, which was second")
	default:
		t.Errorf("the other's wait: %s", got)
	}
}
