package oslib_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

// onThread runs f on a thread that is thrown away afterwards.
func onThread(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		f(t)
	})
	wg.Wait()
}

// status returns lines of /proc/<pid>/task/<tid>/status by their names.
func status(t *testing.T, tid int, names ...string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/status", tid))
	if err != nil {
		t.Error(err)
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		for _, n := range names {
			if strings.HasPrefix(line, n+":") {
				out = append(out, strings.Join(strings.Fields(line), " "))
			}
		}
	}
	return strings.Join(out, "; ")
}

func TestThreadCredentials(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fields := []string{"Uid", "Gid", "Groups", "CapEff", "Umask"}
	me := unix.Gettid()
	before := status(t, me, fields...)

	onThread(t, func(t *testing.T) {
		tid := unix.Gettid()
		pristine := status(t, tid, fields...)
		if errno := oslib.UnshareFS(); errno != 0 {
			t.Errorf("unshare: %v", errno)
		}
		outer := oslib.ScopedUmask(0o027)
		inner := oslib.ScopedUmask(0o777)
		want(t, "groups", oslib.SetThreadGroups([]uint32{100, 70000}), 0)
		want(t, "ids", oslib.SetThreadIDs(1000, 2000), 0)
		got := status(t, tid, fields...)
		if exp := "Umask: 0777; Uid: 0 1000 0 1000; Gid: 0 2000 0 2000; Groups: 100 70000; CapEff: 0000000000000000"; got != exp {
			t.Errorf("switched thread: %s\nwant %s", got, exp)
		}
		// While this thread is another user, no other thread is.
		if got := status(t, me, fields...); got != before {
			t.Errorf("leaked to another thread: %s, was %s", got, before)
		}
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil || len(tasks) < 2 {
			t.Errorf("%d threads, %v", len(tasks), err)
		}
		for _, task := range tasks {
			other, _ := strconv.Atoi(task.Name())
			if other == tid {
				continue
			}
			if got := status(t, other, "Uid", "Gid", "Umask"); got == status(t, tid, "Uid", "Gid", "Umask") {
				t.Errorf("leaked to thread %d: %s", other, got)
			}
		}
		if oslib.ThreadHasCap(unix.CAP_FSETID) {
			t.Error("capability kept by an ordinary user")
		}
		want(t, "other ids without privilege", oslib.SetThreadIDs(oslib.KeepID, 4000), syscall.EPERM)

		want(t, "uid back", oslib.SetThreadIDs(0, 0), 0)
		want(t, "drop groups", oslib.SetThreadGroups(nil), 0)
		inner.Restore()
		if got := status(t, tid, "Umask"); got != "Umask: 0027" {
			t.Errorf("after the inner scope: %s", got)
		}
		outer.Restore()
		if got := status(t, tid, fields...); !sameBut(pristine, got, "Groups") {
			t.Errorf("after the way back: %s, was %s", got, pristine)
		}
		if got := status(t, tid, "Groups"); got != "Groups:" {
			t.Errorf("groups after dropping all: %s", got)
		}
	})
	if got := status(t, me, fields...); got != before {
		t.Errorf("after it all: %s, was %s", got, before)
	}
}

// sameBut reports whether two statuses agree in all but one field.
func sameBut(a, b, field string) bool {
	strip := func(s string) string {
		var keep []string
		for _, f := range strings.Split(s, "; ") {
			if !strings.HasPrefix(f, field+":") {
				keep = append(keep, f)
			}
		}
		return strings.Join(keep, "; ")
	}
	return strip(a) == strip(b)
}

func TestKeepIDs(t *testing.T) {
	onThread(t, func(t *testing.T) {
		tid := unix.Gettid()
		for _, c := range []struct {
			uid, gid uint32
			want     string
		}{
			{oslib.KeepID, oslib.KeepID, "Uid: 0 0 0 0; Gid: 0 0 0 0"},
			{oslib.KeepID, 5, "Uid: 0 0 0 0; Gid: 0 5 0 5"},
			{7, oslib.KeepID, "Uid: 0 7 0 7; Gid: 0 5 0 5"},
			{0, 0, "Uid: 0 0 0 0; Gid: 0 0 0 0"},
		} {
			want(t, "set", oslib.SetThreadIDs(c.uid, c.gid), 0)
			if got := status(t, tid, "Uid", "Gid"); got != c.want {
				t.Errorf("%d:%d: %s, want %s", c.uid, c.gid, got, c.want)
			}
		}
	})
}

func TestThreadCaps(t *testing.T) {
	onThread(t, func(t *testing.T) {
		eff := status(t, unix.Gettid(), "CapEff", "CapPrm")
		for _, c := range []int{unix.CAP_FSETID, unix.CAP_MAC_ADMIN} { // one in each half
			if !oslib.ThreadHasCap(c) {
				t.Fatalf("capability %d is missing to begin with", c)
			}
			want(t, "off", oslib.SetThreadCap(c, false), 0)
			if oslib.ThreadHasCap(c) {
				t.Errorf("capability %d still there", c)
			}
			want(t, "off again", oslib.SetThreadCap(c, false), 0)
			want(t, "on", oslib.SetThreadCap(c, true), 0)
			if !oslib.ThreadHasCap(c) {
				t.Errorf("capability %d did not come back", c)
			}
		}
		if got := status(t, unix.Gettid(), "CapEff", "CapPrm"); got != eff {
			t.Errorf("%s, was %s", got, eff)
		}
		for _, c := range []int{-1, 64, 1 << 20} {
			want(t, "no such capability", oslib.SetThreadCap(c, true), syscall.EINVAL)
			if oslib.ThreadHasCap(c) {
				t.Errorf("has capability %d", c)
			}
		}
	})
}

// TestKillSetuid is what CAP_FSETID is taken away for.
func TestKillSetuid(t *testing.T) {
	d, _ := openDir(t)
	fd := newFile(t, d, "f", "")
	must(t, "chmod", oslib.Fchmod(fd, 0o6755))
	iov := []unix.Iovec{oslib.Iov(bytes.Repeat([]byte("x"), 8))}
	var st unix.Stat_t
	onThread(t, func(t *testing.T) {
		oslib.Pwritev2(fd, iov, 0, 0)
		if oslib.Fstat(fd, &st); st.Mode&0o7777 != 0o6755 {
			t.Errorf("privileged write: mode %o", st.Mode)
		}
		oslib.SetThreadCap(unix.CAP_FSETID, false)
		oslib.Pwritev2(fd, iov, 0, 0)
		if oslib.Fstat(fd, &st); st.Mode&0o7777 != 0o755 {
			t.Errorf("write without CAP_FSETID: mode %o", st.Mode)
		}
	})
}
