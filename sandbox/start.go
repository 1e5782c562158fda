package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// envInner tells the inner process that it is one, and how many files it was given.
// They follow the control socket.
const (
	envInner  = "ISTHMUS_SANDBOX"
	controlFD = 3
	firstFile = 4
)

// What goes over the control socket: from the outer process that the id maps are
// written, from the inner one that it is ready. Its end says that the other has died.
const (
	goAhead    = 'g'
	innerReady = 'r'
)

// Process is the inner process, as the outer one sees it. Its methods may be
// called by any goroutine.
type Process struct {
	proc    *os.Process
	control *os.File // the outer end
	ready   chan struct{}

	done   chan struct{} // closed once the two below are set
	status int
	err    error
}

// Start runs this program again, with the same arguments and environment, in
// namespaces of its own, where [Inherited] returns the given files. It is for
// ModeNamespace. An error for which errors.Is(err, [ErrNotPermitted]) holds says that
// this machine does not allow namespaces.
//
// After success this process is there to wait for the other and no more: it has no
// capabilities left, cannot get new ones (no_new_privs), and the files are closed.
// After an error the files are the caller's, and the capabilities as before.
//
// The inner process ends when this one does, in whatever way. It is in a session
// of its own, so that a terminal's signals come to this process alone, to be passed on by
// Signal. It has this one's standard output and error, and nothing to read; of other
// descriptors it gets none, as all from 3 on become close-on-exec here.
func Start(cfg *Config, files ...*os.File) (*Process, error) {
	if cfg.Mode != ModeNamespace {
		return nil, fmt.Errorf("the sandbox mode %s has no inner process", cfg.Mode)
	}
	ns, err := planUserNamespace(cfg)
	if err != nil {
		return nil, err
	}
	// What is wrong with a share is better said while there is one process.
	for _, s := range cfg.Shares {
		if _, err := os.Stat(s.Path); err != nil {
			return nil, fmt.Errorf("share: %w", err)
		}
	}
	p := &Process{ready: make(chan struct{}), done: make(chan struct{})}
	if err := p.launch(ns, files); err != nil {
		return nil, fmt.Errorf("start the inner process: %w", err)
	}
	if err := p.release(ns); err != nil {
		p.proc.Kill()
		<-p.done
		p.control.Close()
		return nil, err
	}
	for _, f := range files {
		f.Close()
	}
	return p, nil
}

// launch starts the inner process, which then waits for the go-ahead.
func (p *Process) launch(ns *userNamespace, files []*os.File) error {
	if err := closeOnExec(); err != nil {
		return fmt.Errorf("mark descriptors close-on-exec: %w", err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("make a socket: %w", err)
	}
	inner := os.NewFile(uintptr(pair[1]), "control")
	defer inner.Close()
	p.control = os.NewFile(uintptr(pair[0]), "control")

	attr := &syscall.ProcAttr{
		Env: append(os.Environ(), envInner+"="+strconv.Itoa(len(files))),
		Sys: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
			Setsid:     true,
			Pdeathsig:  syscall.SIGKILL,
		},
	}
	if ns != nil {
		attr.Sys.Cloneflags |= unix.CLONE_NEWUSER
		attr.Sys.AmbientCaps = ns.ambient
	}
	for _, f := range append([]*os.File{null, os.Stdout, os.Stderr, inner}, files...) {
		fd, err := rawFD(f)
		if err != nil {
			p.control.Close()
			return fmt.Errorf("hand over %s: %w", f.Name(), err)
		}
		attr.Files = append(attr.Files, fd)
	}
	err = p.fork(attr, ns != nil)
	runtime.KeepAlive(files)
	if err != nil {
		p.control.Close()
	}
	return err
}

// rawFD is f.Fd() without its side effect, which would make a listener block that
// its owner goes on to use after an error.
func rawFD(f *os.File) (fd uintptr, err error) {
	c, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	err = c.Control(func(n uintptr) { fd = n })
	return fd, err
}

// closeOnExec keeps descriptors that this process itself inherited from the inner one.
func closeOnExec() error {
	err := unix.CloseRange(controlFD, ^uint(0)>>32, unix.CLOSE_RANGE_CLOEXEC)
	if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) {
		return err
	}
	// Kernels before 5.11.
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, name := range names {
		if fd, err := strconv.Atoi(name.Name()); err == nil && fd >= controlFD {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// fork starts the inner process from a thread that then waits for it. The kernel
// sends the parent-death signal when the thread dies that cloned, so this one may
// serve nothing else.
func (p *Process) fork(attr *syscall.ProcAttr, user bool) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		pid, err := syscall.ForkExec("/proc/self/exe", os.Args, attr)
		if err == nil {
			p.proc, err = os.FindProcess(pid)
		} else {
			err = explainClone(err, user)
		}
		started <- err
		if err == nil {
			p.reap()
		}
	}()
	return <-started
}

// reap waits until the inner process is gone.
func (p *Process) reap() {
	state, err := p.proc.Wait()
	if err != nil {
		p.err = fmt.Errorf("wait for the inner process: %w", err)
	} else if ws := state.Sys().(syscall.WaitStatus); ws.Signaled() {
		p.status = 128 + int(ws.Signal())
	} else {
		p.status = ws.ExitStatus()
	}
	close(p.done)
}

// release writes the id maps, drops what this process may no longer do, and lets the
// inner one go.
func (p *Process) release(ns *userNamespace) error {
	if ns != nil {
		if err := ns.writeMaps(p.proc.Pid); err != nil {
			return err
		}
	}
	if err := dropCaps(0); err != nil {
		return err
	}
	if err := noNewPrivs(); err != nil {
		return err
	}
	if _, err := p.control.Write([]byte{goAhead}); err != nil {
		return fmt.Errorf("let the inner process go: %w", err)
	}
	go p.awaitReady()
	return nil
}

// awaitReady keeps the control socket open for as long as the inner process lives.
func (p *Process) awaitReady() {
	var b [1]byte
	if n, _ := p.control.Read(b[:]); n == 1 && b[0] == innerReady {
		close(p.ready)
	}
	<-p.done
	p.control.Close()
}

// Ready is closed when the inner process has called [Inner.Ready], and stays open if it
// ends without.
func (p *Process) Ready() <-chan struct{} { return p.ready }

// Signal sends a signal to the inner process, which is pid 1 in its namespace: one
// that it has no handler for is lost, but SIGKILL. Go programs have
// handlers for those that end a process. After its end the error is os.ErrProcessDone.
func (p *Process) Signal(sig os.Signal) error { return p.proc.Signal(sig) }

// Wait waits for the end of the inner process and returns its exit status, which is
// 128+n if signal n ended it.
func (p *Process) Wait() (status int, err error) {
	<-p.done
	return p.status, p.err
}
