//go:build !cgo

package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// chores are what a server does all day. The sandbox must let it.
var chores = []attackCase{
	{name: "open anew what a descriptor refers to", run: func(a *attacker) error {
		fd, err := a.reopen("program", unix.O_RDWR)
		if err != nil {
			return err
		}
		return errors.Join(unix.Ftruncate(fd, 4096), unix.Fallocate(fd, 0, 0, 8192), unix.Fsync(fd), unix.Syncfs(fd))
	}},
	{name: "truncate with the opening", run: func(a *attacker) error {
		_, err := a.reopen("program", unix.O_WRONLY|unix.O_TRUNC)
		return err
	}},
	{name: "give a name to a file without one", run: func(a *attacker) error {
		fd, err := unix.Openat(a.share, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		return unix.Linkat(a.procFD, fmt.Sprint(fd), a.share, "sub/named", unix.AT_SYMLINK_FOLLOW)
	}},
	{name: "rename and link between directories", run: func(a *attacker) error {
		return errors.Join(
			unix.Renameat2(a.share, "program", a.share, "sub/program", unix.RENAME_NOREPLACE),
			unix.Renameat2(a.share, "setuid", a.share, "sub/program", unix.RENAME_EXCHANGE),
			unix.Linkat(a.share, "sub/program", a.share, "again", 0),
			unix.Mkdirat(a.share, "dir", 0o700),
			unix.Renameat2(a.share, "dir", a.share, "sub/dir", 0),
			unix.Unlinkat(a.share, "again", 0),
			unix.Unlinkat(a.share, "sub/dir", unix.AT_REMOVEDIR),
		)
	}},
	{name: "use a file that has been deleted", run: func(a *attacker) error {
		fd, err := unix.Openat(a.share, "program", unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := unix.Unlinkat(a.share, "program", 0); err != nil {
			return err
		}
		_, err = unix.Openat(a.procFD, fmt.Sprint(fd), unix.O_RDWR|unix.O_CLOEXEC, 0)
		return err
	}},
	{name: "make what is no file or directory", run: func(a *attacker) error {
		return errors.Join(
			unix.Mknodat(a.share, "fifo", unix.S_IFIFO|0o600, 0),
			unix.Mknodat(a.share, "sock", unix.S_IFSOCK|0o600, 0),
			unix.Mknodat(a.share, "whiteout", unix.S_IFCHR|0o600, 0),
			unix.Symlinkat("anywhere", a.share, "symlink"),
		)
	}},
	{name: "use what is mounted below the share", mount: true, run: func(a *attacker) error {
		fd, err := unix.Openat(a.share, "sub/file", unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		return errors.Join(unix.Flock(fd, unix.LOCK_EX), unix.Unlinkat(a.share, "sub/file", 0))
	}},
	{name: "list a directory", run: func(a *attacker) error {
		fd, err := a.reopen("sub", unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		_, err = unix.Getdents(fd, make([]byte, 4096))
		return err
	}},
	{name: "set attributes, lock", run: func(a *attacker) error {
		fd, err := a.reopen("program", unix.O_RDWR)
		if err != nil {
			return err
		}
		now := []unix.Timespec{{Sec: 1}, {Sec: 2}}
		lock := unix.Flock_t{Type: unix.F_WRLCK}
		_, err = unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
		return errors.Join(err,
			unix.Fchmodat(a.share, "program", 0o640, 0), unix.Fchownat(a.share, "program", 0, 0, 0),
			unix.UtimesNanoAt(a.share, "program", now, 0), unix.Fsetxattr(fd, "user.a", []byte("b"), 0),
			unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &lock),
		)
	}},
	{name: "act as another user", run: func(a *attacker) error {
		const keep = ^uintptr(0)
		var errs []error
		for _, c := range [][4]uintptr{
			{unix.SYS_UNSHARE, unix.CLONE_FS}, {unix.SYS_UMASK, 0o22}, {unix.SYS_SETGROUPS},
			{unix.SYS_SETRESGID, keep, escapeUser, keep}, {unix.SYS_SETRESUID, keep, escapeUser, keep},
			{unix.SYS_SETRESUID, keep, 0, keep}, {unix.SYS_SETRESGID, keep, 0, keep},
		} {
			if _, _, errno := syscall.RawSyscall(c[0], c[1], c[2], c[3]); errno != 0 {
				errs = append(errs, errno)
			}
		}
		return errors.Join(errs...)
	}},
	{name: "the Go runtime: threads, timers, collection, poller", run: func(a *attacker) error {
		conn, err := net.FileConn(a.control)
		if err != nil {
			return err
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			return err
		}
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("read with a deadline: %v", err)
		}
		var threads sync.WaitGroup
		for range 16 {
			threads.Go(func() {
				runtime.LockOSThread() // the thread ends with the goroutine
				_ = make([]byte, 1<<20)
				time.Sleep(time.Millisecond)
			})
		}
		threads.Wait()
		runtime.GC()
		return nil
	}},
	{name: "open by handle what the host's caches have forgotten, and link it", handles: true, run: func(a *attacker) error {
		h, _, err := unix.NameToHandleAt(a.share, "program", 0)
		if err != nil {
			return err
		}
		mount, err := unix.Open(a.view, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := a.ask(answerDrop); err != nil {
			return brokenError{err}
		}
		fd, err := unix.OpenByHandleAt(mount, h, unix.O_PATH|unix.O_CLOEXEC)
		if err != nil {
			return err
		}
		if _, err := unix.Openat(a.procFD, fmt.Sprint(fd), unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Linkat(a.procFD, fmt.Sprint(fd), a.share, "sub/linked", unix.AT_SYMLINK_FOLLOW)
	}},
}

// reopen opens a file of the share for its node alone, and then again by that
// descriptor, as package passthrough does.
func (a *attacker) reopen(name string, flags int) (int, error) {
	fd, err := unix.Openat(a.share, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	return unix.Openat(a.procFD, fmt.Sprint(fd), flags|unix.O_CLOEXEC, 0)
}

// TestTheServerGoesOn does in the sandbox what a server does, with the layers that could
// be in its way alone and with all.
func TestTheServerGoesOn(t *testing.T) {
	stage := newStage(t)
	for _, c := range []column{
		{name: "none"},
		{name: "namespaces", layers: inNamespace},
		{name: "Landlock", layers: withLandlock},
		{name: "seccomp", layers: withSeccomp},
		{name: "all", layers: allLayers},
		{name: "all, chroot", layers: allLayers, mode: ModeChroot},
		{name: "all, mode none", layers: allLayers, mode: ModeNone},
	} {
		for i := range chores {
			if got := stage.try(&chores[i], &c); got != answerThrough {
				t.Errorf("%s: %s: %s", c.name, chores[i].name, got)
			}
		}
	}
}

// dropCaches makes the host forget the names that nobody uses.
func dropCaches(share string) error {
	dir, err := os.Open(filepath.Dir(share))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return err
	}
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0)
}

// caseNamed finds an attack or a chore.
func caseNamed(name string) *attackCase {
	for _, list := range [][]attackCase{attacks, chores} {
		for i := range list {
			if list[i].name == name {
				return &list[i]
			}
		}
	}
	return nil
}
