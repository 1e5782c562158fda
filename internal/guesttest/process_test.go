package guesttest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// user is somebody without rights of his own.
type user struct {
	uid, gid uint32
	groups   []uint32
}

var (
	alice = user{uid: 5001, gid: 5001}
	bob   = user{uid: 5002, gid: 5002, groups: []uint32{staff}}
	carol = user{uid: 5003, gid: 5003}
)

// staff is a group that no one has as his first.
const staff = 6000

// onThread runs f on a thread of its own that ends with f, so that whatever f
// changes about it (credentials, umask, working directory) ends with it too.
// As f runs outside of the test's goroutine it must not end the test.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Without the matching unlock the thread ends with the goroutine.
		runtime.LockOSThread()
		f()
	}()
	<-done
}

// as runs f with the rights of u, as onThread does.
func as(t *testing.T, u user, f func()) {
	t.Helper()
	onThread(func() {
		if err := becomeThread(u); err != nil {
			t.Errorf("become user %d: %v", u.uid, err)
			return
		}
		f()
	})
}

// becomeThread gives the calling thread, and no other, the identity of u. The
// wrappers of the syscall package would change all threads.
func becomeThread(u user) error {
	if err := setThreadGroups(u.groups); err != nil {
		return err
	}
	g, id := uintptr(u.gid), uintptr(u.uid)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, g, g, g); errno != 0 {
		return errno
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, id, id, id)
	return asError(errno)
}

// helperVar names the function of helpers that a copy of the test binary is
// to run instead of the tests.
const helperVar = "ISTHMUS_TEST_HELPER"

var helpers = map[string]func() int{
	"identity":     helpIdentity,
	"hold":         helpHold,
	"lock":         helpLock,
	"capabilities": helpCapabilities,
	"prepare":      helpPrepare,
	"calls":        helpCalls,
}

func runHelper(name string) int {
	f, ok := helpers[name]
	if !ok {
		fmt.Fprintln(os.Stderr, "guesttest: no helper", name)
		return 2
	}
	return f()
}

// helpIdentity prints the effective and the real user id, and ends with a
// status that nothing else ends with.
func helpIdentity() int {
	fmt.Printf("%d %d\n", os.Geteuid(), os.Getuid())
	return identityStatus
}

const identityStatus = 42

// helpHold says that it runs, and ends when its input does.
func helpHold() int {
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	return 0
}

// helperCommand prepares a run of the helper by the given binary, as u if u is
// not nil.
func helperCommand(binary, helper string, u *user) *exec.Cmd {
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), helperVar+"="+helper)
	cmd.Dir = "/"
	cmd.Stderr = os.Stderr
	if u != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Credential: &syscall.Credential{Uid: u.uid, Gid: u.gid, Groups: u.groups},
		}
	}
	return cmd
}

// child is a helper process that answers a line with a line.
type child struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startChild starts a helper and ends it at the end of the test.
func startChild(t *testing.T, binary, helper string) *child {
	t.Helper()
	cmd := helperCommand(binary, helper, nil)
	in, err := cmd.StdinPipe()
	check(t, err, "pipe to the helper")
	out, err := cmd.StdoutPipe()
	check(t, err, "pipe from the helper")
	check(t, cmd.Start(), "start the helper")
	c := &child{t, cmd, in, bufio.NewReader(out)}
	t.Cleanup(c.end)
	return c
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// end closes the helper's input, at which it ends, and waits for it. A helper
// in the middle of a wait is killed.
func (c *child) end() {
	if c.cmd.ProcessState != nil {
		return
	}
	c.in.Close()
	if c.t.Failed() {
		c.cmd.Process.Kill()
	}
	c.cmd.Wait()
}

// send gives the helper a line without waiting for the answer.
func (c *child) send(format string, args ...any) {
	c.t.Helper()
	_, err := fmt.Fprintf(c.in, format+"\n", args...)
	check(c.t, err, "write to the helper")
}

// receive waits for a line of the helper.
func (c *child) receive() string {
	c.t.Helper()
	line, err := c.out.ReadString('\n')
	check(c.t, err, "read from the helper")
	return strings.TrimSuffix(line, "\n")
}

// ask sends a line and returns the answer.
func (c *child) ask(format string, args ...any) string {
	c.t.Helper()
	c.send(format, args...)
	return c.receive()
}
