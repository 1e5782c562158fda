package lab

import (
	"os"
	"os/exec"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// process is a guest on the host: a program and all it starts, in a process
// group of its own.
type process struct {
	pid   int
	ended chan struct{}    // closed when the whole group is gone
	state *os.ProcessState // how the program ended; valid once ended is closed

	mu     sync.Mutex
	reaped bool // pid may belong to another process
}

// startProcess starts cmd. Its group dies when the program of the group does
// or when kill is called. Should this process die first, the program of the
// group is killed, unless kept says that the group has a keeper.
func startProcess(cmd *exec.Cmd, kept bool) (*process, error) {
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if !kept {
		cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	}
	p := &process{ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The death signal comes when the thread that forked ends, so the
		// thread stays for as long as the guest does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err != nil {
			return
		}
		defer close(p.ended)
		// Not reaped yet, so that the group's number still belongs to it when
		// the rest of the group is killed.
		for {
			err := unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
			if err != unix.EINTR {
				break
			}
		}
		p.kill()
		p.mu.Lock()
		defer p.mu.Unlock()
		cmd.Wait()
		p.state = cmd.ProcessState
		p.reaped = true
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// kill kills the group, if it is still there.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		unix.Kill(-p.pid, unix.SIGKILL)
	}
}

// stop kills the group and waits until it is gone.
func (p *process) stop() {
	p.kill()
	<-p.ended
}

// fitForMemory reports whether dir is on a tmpfs that lets files be mapped
// executable.
func fitForMemory(dir string) bool {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil {
		return false
	}
	return fs.Type == unix.TMPFS_MAGIC && fs.Flags&unix.ST_NOEXEC == 0 && unix.Access(dir, unix.W_OK|unix.X_OK) == nil
}
