//go:build !cgo

package sandbox

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/rules"
	"github.com/isthmus-fs/isthmus/scratch"
	"github.com/isthmus-fs/isthmus/vfs"
)

const (
	stressVCPUs   = 4
	stressDevices = 2
	stressRounds  = 150
)

// probeMachineStress does on threads with a role what processors and devices do, while the
// rest of the program keeps the Go runtime busy: garbage, new threads, timers, crashes of
// goroutines that are caught. The argument is a shared directory.
func probeMachineStress(cfg *MachineConfig, j *machineJob, a *machineAnswer) {
	fail := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	host, err := passthrough.New(passthrough.Config{
		Path: j.Arg, FileHandles: passthrough.HandlesNever, Xattr: true, IO: passthrough.IOSync,
	})
	fail(err)
	private, err := scratch.New(scratch.Options{})
	fail(err)
	systems := []vfs.FileSystem{rules.Restrict(host, rules.Restrictions{NoSUID: true, NoDev: true}), private}
	for _, fs := range systems {
		if _, errno := fs.Init(vfs.FeatDontMask); errno != 0 {
			fail(errno)
		}
	}

	var roles, rest sync.WaitGroup
	var done atomic.Bool
	for range 4 {
		rest.Go(func() { // it takes threads and gives them back
			for !done.Load() {
				var all sync.WaitGroup
				for range 8 {
					all.Go(func() {
						runtime.LockOSThread() // for good, so the thread ends
						time.Sleep(time.Microsecond)
					})
				}
				all.Wait()
			}
		})
	}
	rest.Go(func() {
		for !done.Load() {
			runtime.GC()
		}
	})
	onThread := func(role Role, f func() error) {
		roles.Go(func() {
			runtime.LockOSThread()
			fail(cfg.LockThread(role))
			fail(f())
		})
	}
	for i := range stressVCPUs {
		onThread(RoleVCPU, func() error {
			for round := range stressRounds {
				for _, fs := range systems {
					if err := fileCalls(fs, fmt.Sprintf("%d-%d", i, round)); err != nil {
						return err
					}
				}
				churn()
			}
			return setIDFile(systems[0])
		})
	}
	for i := range stressDevices {
		onThread(RoleDevice, func() error { return moveFrames(j.Pipes[i][0], j.Pipes[i][1]) })
	}
	roles.Wait()
	done.Store(true)
	rest.Wait()
	a.Tried["all"] = "ok"
}

var churned atomic.Pointer[[]byte]

// churn makes the thread take part in what the runtime does: garbage, growing stacks, other
// goroutines, timers, a caught fault.
func churn() {
	for n := range 20 {
		b := bytes.Repeat([]byte{1}, 1<<10<<(n%8))
		churned.Store(&b)
	}
	var deep func(n int) int
	deep = func(n int) int {
		var frame [256]byte
		if n == 0 {
			return int(frame[n])
		}
		return deep(n-1) + int(frame[n%256])
	}
	deep(500)
	answer := make(chan bool)
	time.AfterFunc(time.Microsecond, func() { answer <- true })
	<-answer
	runtime.Gosched()
	func() {
		defer func() { recover() }()
		var p *int
		*p = 1
	}()
	// What a log line takes: the time zone, which is in a file.
	slog.New(slog.NewTextHandler(io.Discard, nil)).Info("a line", "at", time.Now())
}

// moveFrames is a device: it moves data between descriptors, and waits for them.
func moveFrames(r, w int) error {
	defer unix.Close(r)
	defer unix.Close(w)
	buf := make([]byte, 2048)
	for range stressRounds {
		if _, err := unix.Writev(w, [][]byte{buf[:100], buf[100:200]}); err != nil {
			return err
		}
		if _, err := unix.Ppoll([]unix.PollFd{{Fd: int32(r), Events: unix.POLLIN}}, nil, nil); err != nil {
			return err
		}
		if n, err := unix.Readv(r, [][]byte{buf[:50], buf[50:]}); err != nil || n != 200 {
			return fmt.Errorf("%d bytes, %v", n, err)
		}
		churn()
	}
	return nil
}

// fileCalls are the calls that hypercalls lead to, on a file and a directory of their own.
func fileCalls(fs vfs.FileSystem, unique string) error {
	r := &vfs.Request{}
	name, errno := vfs.MakeName("file-" + unique)
	dirName, _ := vfs.MakeName("dir-" + unique)
	var e, dir vfs.Entry
	var o vfs.Opened
	var attr vfs.AttrOut
	step := func(what string, errno syscall.Errno) error {
		if errno != 0 {
			return fmt.Errorf("%s %s: %w", what, unique, errno)
		}
		return nil
	}
	data := []byte("what the guest writes")
	iov := []unix.Iovec{{Base: &data[0], Len: uint64(len(data))}}
	for _, s := range []struct {
		what string
		do   func() syscall.Errno
	}{
		{"name", func() syscall.Errno { return errno }},
		{"create", func() syscall.Errno { return fs.Create(r, vfs.Root, name, unix.O_RDWR|unix.O_EXCL, 0o600, &e, &o) }},
		{"write", func() syscall.Errno { _, errno := fs.Write(r, e.Node, o.Handle, iov, 0, unix.O_RDWR, 0); return errno }},
		{"read", func() syscall.Errno { _, errno := fs.Read(r, e.Node, o.Handle, iov, 0, unix.O_RDWR); return errno }},
		{"fstat", func() syscall.Errno { return fs.Getattr(r, e.Node, o.Handle, &attr) }},
		{"truncate", func() syscall.Errno {
			return fs.Setattr(r, e.Node, vfs.NoHandle, &vfs.SetAttr{Valid: vfs.SetSize | vfs.SetKillSUIDGID, Size: 3}, &attr)
		}},
		{"close", func() syscall.Errno { return fs.Release(r, e.Node, o.Handle, &vfs.ReleaseIn{OpenFlags: unix.O_RDWR}) }},
		{"open", func() syscall.Errno { return fs.Open(r, e.Node, unix.O_WRONLY, false, &o) }},
		{"close", func() syscall.Errno { return fs.Release(r, e.Node, o.Handle, &vfs.ReleaseIn{OpenFlags: unix.O_WRONLY}) }},
		{"mkdir", func() syscall.Errno { return fs.Mkdir(r, vfs.Root, dirName, 0o700, &dir) }},
		{"open directory", func() syscall.Errno { return fs.Opendir(r, vfs.Root, unix.O_RDONLY, &o) }},
		{"list", func() syscall.Errno { return fs.Readdir(r, vfs.Root, o.Handle, 0, new(tenNames)) }},
		{"close directory", func() syscall.Errno { return fs.Releasedir(r, vfs.Root, o.Handle) }},
		{"unlink", func() syscall.Errno { return fs.Unlink(r, vfs.Root, name) }},
	} {
		if err := step(s.what, s.do()); err != nil {
			return err
		}
	}
	fs.Forget(e.Node, 1)
	fs.Forget(dir.Node, 1)
	return nil
}

// setIDFile writes to a set-user-ID file, whose bit the rules then take away.
func setIDFile(fs vfs.FileSystem) error {
	r := &vfs.Request{}
	name, _ := vfs.MakeName("setid")
	var e vfs.Entry
	var o vfs.Opened
	data := []byte("x")
	if errno := fs.Lookup(r, vfs.Root, name, &e); errno != 0 {
		return errno
	}
	if errno := fs.Open(r, e.Node, unix.O_WRONLY, false, &o); errno != 0 {
		return errno
	}
	if _, errno := fs.Write(r, e.Node, o.Handle, []unix.Iovec{{Base: &data[0], Len: 1}}, 0, unix.O_WRONLY, 0); errno != 0 {
		return errno
	}
	return nil
}

// tenNames takes the beginning of a listing.
type tenNames struct{ n int }

func (*tenNames) Plus() bool                                       { return false }
func (s *tenNames) Fits(int) bool                                  { return s.n < 10 }
func (s *tenNames) Add([]byte, uint64, uint64, uint32, *vfs.Entry) { s.n++ }

// A machine under load makes no call that is not on its lists.
func TestMachineUnderLoad(t *testing.T) {
	share := filepath.Join(testDir(t), "share")
	setID := filepath.Join(share, "setid")
	if err := os.WriteFile(setID, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(setID, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	j := machineJob{Probe: "stress", Arg: share, Shares: []Share{{Path: share}}, MemoryFiles: true}
	a, log, status := j.run(t)
	if status != 0 || a.Failed != "" || a.Tried["all"] != "ok" {
		t.Fatalf("status %#x, %+v\n%s", status, a, log)
	}
	if info, err := os.Stat(setID); err != nil || info.Mode()&os.ModeSetuid != 0 {
		t.Errorf("%v, %v: want a file without set-user-ID", info.Mode(), err)
	}
	entries, err := os.ReadDir(share)
	if err != nil {
		t.Fatal(err)
	}
	dirs := 0
	for _, e := range entries {
		if e.IsDir() {
			dirs++
		}
	}
	if want := stressVCPUs * stressRounds; dirs != want {
		t.Errorf("%d directories were made, want %d", dirs, want)
	}
}
