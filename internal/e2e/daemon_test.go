package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait; it is a bound for a failing run, never a
// measurement.
const patience = 2 * time.Minute

// daemon is a running `isthmus serve`.
type daemon struct {
	t      *testing.T
	cmd    *exec.Cmd
	socket string
	log    *logBuffer
	exited chan error
}

// launch says how a daemon is started. The zero value is as the tests' own
// user, in this directory, on a socket of its own.
type launch struct {
	socket string
	// wrapper is a command line that ends in executing the words after it.
	wrapper []string
	// credential, when set, is who the daemon is started as.
	credential *syscall.Credential
	dir        string // working directory
	env        []string
}

// serve starts the daemon for dir and returns when it listens.
func serve(t *testing.T, dir string, args ...string) *daemon {
	t.Helper()
	return launch{}.serve(t, dir, args...)
}

func (l launch) serve(t *testing.T, dir string, args ...string) *daemon {
	t.Helper()
	d := l.start(t, dir, args...)
	d.waitLog("waiting for a VM")
	return d
}

// start is serve without the wait.
func (l launch) start(t *testing.T, dir string, args ...string) *daemon {
	t.Helper()
	if l.socket == "" {
		l.socket = filepath.Join(t.TempDir(), "s")
	}
	return l.run(t, append([]string{"serve", "--socket", l.socket, "--share", dir, "--tag", tag}, args...)...)
}

// run starts isthmus with args, which have to name l.socket.
func (l launch) run(t *testing.T, args ...string) *daemon {
	t.Helper()
	d := &daemon{
		t:      t,
		socket: l.socket,
		log:    &logBuffer{},
		exited: make(chan error, 1),
	}
	words := append(l.wrapper[:len(l.wrapper):len(l.wrapper)], isthmus)
	words = append(words, args...)
	d.cmd = exec.Command(words[0], words[1:]...)
	d.cmd.Stderr = d.log
	d.cmd.Dir = l.dir
	if l.env != nil {
		d.cmd.Env = append(os.Environ(), l.env...)
	}
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: l.credential}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { d.exited <- d.cmd.Wait() }()
	t.Cleanup(func() {
		if t.Failed() {
			d.dump()
			t.Logf("daemon:\n%s", d.log)
		}
		d.cmd.Process.Kill()
	})
	return d
}

// dump has a daemon that still runs say in its log what each goroutine does: a guest that
// waits for ever may be waiting for one of them.
func (d *daemon) dump() {
	select {
	case err := <-d.exited:
		d.exited <- err
		return
	default:
	}
	pid := d.cmd.Process.Pid
	if out, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)); err == nil && len(out) != 0 {
		if child, err := strconv.Atoi(strings.Fields(string(out))[0]); err == nil {
			pid = child
		}
	}
	if syscall.Kill(pid, syscall.SIGQUIT) != nil {
		return
	}
	select {
	case err := <-d.exited:
		d.exited <- err
	case <-time.After(10 * time.Second):
	}
}

// waitLog waits until the daemon has logged text.
func (d *daemon) waitLog(text string) {
	d.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if strings.Contains(d.log.String(), text) {
			return
		}
		if time.Now().After(end) {
			d.t.Fatalf("the daemon has not logged %q:\n%s", text, d.log)
		}
		select {
		case err := <-d.exited:
			d.exited <- err
			if !strings.Contains(d.log.String(), text) {
				d.t.Fatalf("the daemon ended (%v):\n%s", err, d.log)
			}
		default:
		}
	}
}

// wait returns the daemon's exit status, −1 if a signal ended it.
func (d *daemon) wait() int {
	d.t.Helper()
	select {
	case err := <-d.exited:
		d.exited <- err
		return d.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		d.t.Fatalf("the daemon does not end:\n%s", d.log)
	}
	return -1
}

// stop ends the daemon with a signal and checks that it does so cleanly.
func (d *daemon) stop(sig syscall.Signal) {
	d.t.Helper()
	d.cmd.Process.Signal(sig)
	if status := d.wait(); status != 0 {
		d.t.Errorf("exit status %d after %v", status, sig)
	}
	for _, left := range []string{d.socket, d.socket + ".pid"} {
		if _, err := os.Lstat(left); err == nil {
			d.t.Errorf("%s is left behind", left)
		}
	}
}

// outer is the process that was started.
func (d *daemon) outer() int { return d.cmd.Process.Pid }

// inner is the process that serves: the only child of the one that was started
// or, without a sandbox of its own, that one itself.
func (d *daemon) inner() int {
	d.t.Helper()
	children := childrenOf(d.t, d.outer())
	switch len(children) {
	case 0:
		return d.outer()
	case 1:
		return children[0]
	}
	d.t.Fatalf("the daemon, process %d, has the children %v", d.outer(), children)
	return -1
}

// childrenOf returns the children of a process, whichever thread started them.
func childrenOf(t *testing.T, pid int) []int {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil || len(lists) == 0 {
		t.Fatalf("process %d has no threads (%v)", pid, err)
	}
	var children []int
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for word := range strings.FieldsSeq(string(b)) {
			child, err := strconv.Atoi(word)
			if err != nil {
				t.Fatalf("%s: %q", list, b)
			}
			children = append(children, child)
		}
	}
	return children
}

// openFiles counts the descriptors of the process that serves.
func (d *daemon) openFiles() int {
	d.t.Helper()
	ents, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.inner()))
	if err != nil {
		d.t.Fatal(err)
	}
	return len(ents)
}

// waitGone waits until a process is no more, not even as a zombie of somebody
// who does not care for it.
func waitGone(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		state, err := processState(pid)
		if err != nil || state == 'Z' || state == 'X' {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("process %d is still there, in state %c", pid, state)
		}
	}
}

// processState returns the letter that stat in /proc has for a process.
func processState(pid int) (byte, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := bytes.Cut(b, []byte(") "))
	if !ok || len(rest) == 0 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, b)
	}
	return rest[0], nil
}

// logBuffer is a bytes.Buffer for two goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
