package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// serve starts the daemon for dir and returns when it listens.
func serve(t *testing.T, dir string, args ...string) *daemon {
	t.Helper()
	d := &daemon{
		t:      t,
		socket: filepath.Join(t.TempDir(), "s"),
		log:    &logBuffer{},
		exited: make(chan error, 1),
	}
	d.cmd = exec.Command(isthmus, append([]string{"serve", "--socket", d.socket, "--share", dir, "--tag", tag}, args...)...)
	d.cmd.Stderr = d.log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { d.exited <- d.cmd.Wait() }()
	t.Cleanup(func() {
		d.cmd.Process.Kill()
		if t.Failed() {
			t.Logf("daemon:\n%s", d.log)
		}
	})
	d.waitLog("waiting for a VM")
	return d
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

// wait returns the daemon's exit status.
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

// openFiles counts the daemon's descriptors.
func (d *daemon) openFiles() int {
	d.t.Helper()
	ents, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.cmd.Process.Pid))
	if err != nil {
		d.t.Fatal(err)
	}
	return len(ents)
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
