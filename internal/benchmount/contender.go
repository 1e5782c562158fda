package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// contender is one way to see the directory.
type contender struct {
	Name    string
	Command string // for sh; empty for the bare directory
	peer    bool   // not ours
}

const (
	startTimeout = 15 * time.Second
	stopTimeout  = 10 * time.Second
	pollInterval = 5 * time.Millisecond
)

// contenders returns the field: the bare directory, ours, the peers.
func contenders(c *config) ([]contender, error) {
	field := []contender{{Name: "bare"}}
	if c.program != "" {
		program, err := filepath.Abs(c.program)
		if err == nil {
			_, err = os.Stat(program)
		}
		if err != nil {
			return nil, fmt.Errorf("%w (make build makes it)", err)
		}
		for _, flags := range c.variants {
			field = append(field, contender{
				Name:    strings.TrimSpace("isthmus " + flags),
				Command: fmt.Sprintf("%s mount --log-level warn %s {dir} {mnt}", quote(program), flags),
			})
		}
	}
	for _, p := range c.peers {
		name, command, ok := strings.Cut(p, "=")
		if !ok || name == "" || !strings.Contains(command, "{dir}") || !strings.Contains(command, "{mnt}") {
			return nil, fmt.Errorf("--peer %q: want NAME=COMMAND with {dir} and {mnt} in COMMAND", p)
		}
		field = append(field, contender{Name: name, Command: command, peer: true})
	}
	return field, nil
}

// shell is the command with the places put in.
func (c *contender) shell(dir, mnt string) string {
	return "exec " + strings.NewReplacer("{dir}", quote(dir), "{mnt}", quote(mnt)).Replace(c.Command)
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// server is a process that serves a mount. It has a mount namespace of its own: no
// other process's namespace has a copy of the mount, which would keep it alive,
// and the mount goes with the server, however that ends.
type server struct {
	cmd  *exec.Cmd
	seen string        // the mount, as this process reaches it
	says bytes.Buffer  // its output
	gone chan struct{} // closed when it has ended
}

// start starts c's server and waits until dir can be seen at mnt. When ctx ends,
// the server is killed: calls that wait for it fail.
func (c *contender) start(ctx context.Context, dir, mnt string) (*server, error) {
	s := &server{cmd: exec.CommandContext(ctx, "sh", "-c", c.shell(dir, mnt)), gone: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = &s.says, &s.says
	s.cmd.SysProcAttr = &unix.SysProcAttr{
		Unshareflags: unix.CLONE_NEWNS,
		Setpgid:      true, // a terminal's Ctrl-C is for this process alone, which ends the others
		Pdeathsig:    unix.SIGKILL,
	}
	s.cmd.WaitDelay = stopTimeout
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start in a mount namespace, which takes root: %w", err)
	}
	s.seen = fmt.Sprintf("/proc/%d/root%s", s.cmd.Process.Pid, mnt)
	go func() {
		s.cmd.Wait()
		close(s.gone)
	}()
	deadline := time.After(startTimeout)
	for !mounted(s.seen) {
		select {
		case <-s.gone:
			return nil, fmt.Errorf("the server ended at once: %s", s.output())
		case <-deadline:
			return nil, errors.Join(fmt.Errorf("nothing is mounted after %v", startTimeout), s.stop())
		case <-time.After(pollInterval):
		}
	}
	return s, nil
}

// stop ends the server. It is an error if the server had ended before.
func (s *server) stop() error {
	select {
	case <-s.gone:
		return fmt.Errorf("the server ended too early: %s", s.output())
	default:
	}
	s.cmd.Process.Signal(unix.SIGTERM)
	select {
	case <-s.gone:
		return nil
	case <-time.After(stopTimeout):
	}
	s.cmd.Process.Kill()
	<-s.gone
	return fmt.Errorf("the server did not end: %s", s.output())
}

// output is what the server said. It has ended.
func (s *server) output() string {
	return fmt.Sprintf("%v: %s", s.cmd.ProcessState, bytes.TrimSpace(s.says.Bytes()))
}

// cpu returns the processor time that the server has used.
func (s *server) cpu() time.Duration {
	// MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of linux/posix-timers.h.
	clock := int32(^s.cmd.Process.Pid<<3 | 2)
	var ts unix.Timespec
	if unix.ClockGettime(clock, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// mounted tells whether something is mounted on dir. It does not ask who serves
// it.
func mounted(dir string) bool {
	const flags = unix.AT_STATX_DONT_SYNC | unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, dir, flags, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}
