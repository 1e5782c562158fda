package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// command is the command the agent runs.
type command struct {
	stdin    *os.File // end to write its input to; for a terminal, the master; nil without input
	outputs  []stream // ends to read its output from
	terminal bool
	pumps    sync.WaitGroup
}

// stream is one output of the command.
type stream struct {
	file  *os.File
	frame frameType
}

// Exit codes of a command that could not be started, as shells report them.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
	exitSignalled     = 128 // plus the number of the signal
)

// runCommand runs the command of the order to its end and returns its exit
// code. Its processes are all reaped, and everything it printed has been sent.
func (a *agent) runCommand() (int, error) {
	o := &a.order
	os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	os.Setenv("HOME", "/root")
	os.Setenv("ISTHMUS_BOOT", strconv.Itoa(o.Boot))
	for _, entry := range o.Env {
		name, value, _ := cut(entry)
		if err := os.Setenv(name, value); err != nil {
			return 0, fmt.Errorf("environment %q: %w", entry, err)
		}
	}
	if o.Root == nil {
		if err := installBusybox(); err != nil {
			return 0, err
		}
	}
	if o.Dir == "" {
		o.Dir = "/"
	}
	if err := unix.Chdir(o.Dir); err != nil {
		return 0, fmt.Errorf("working directory %s: %w", o.Dir, err)
	}
	c := &command{terminal: o.Terminal}
	files, err := c.open(o)
	if err != nil {
		return 0, err
	}
	pid, code := a.spawn(files)
	for _, f := range files {
		f.Close()
	}
	for _, s := range c.outputs {
		c.pumps.Go(func() { a.pump(s) })
	}
	go a.serveHost(c)
	if pid > 0 {
		code = reapUntil(pid)
	}
	// All that the command itself printed is in the pipes by now; whoever
	// still holds their other ends may keep them.
	for _, s := range c.outputs {
		s.file.SetReadDeadline(time.Unix(1, 0))
	}
	c.pumps.Wait()
	if c.stdin != nil {
		c.stdin.Close()
	}
	return code, nil
}

// cut divides NAME=value.
func cut(entry string) (name, value string, ok bool) {
	for i := range len(entry) {
		if entry[i] == '=' {
			return entry[:i], entry[i+1:], true
		}
	}
	return entry, "", false
}

// installBusybox makes busybox available under the names of all its tools.
func installBusybox() error {
	pid, err := syscall.ForkExec("/bin/busybox", []string{"busybox", "--install", "-s"}, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2},
	})
	if err != nil {
		return fmt.Errorf("busybox: %w", err)
	}
	if code := reapUntil(pid); code != 0 {
		return fmt.Errorf("busybox --install ended with status %d", code)
	}
	return nil
}

// open prepares the command's streams and returns its ends of them.
func (c *command) open(o *start) (files []*os.File, err error) {
	if o.Terminal {
		master, slave, err := openTerminal(o.Rows, o.Cols)
		if err != nil {
			return nil, fmt.Errorf("terminal: %w", err)
		}
		c.stdin = master
		c.outputs = []stream{{master, frameStdout}}
		return []*os.File{slave, slave, slave}, nil
	}
	var in *os.File
	if o.Stdin {
		in, c.stdin, err = os.Pipe()
	} else {
		in, err = os.Open(os.DevNull)
	}
	if err != nil {
		return nil, err
	}
	files = append(files, in)
	for _, t := range []frameType{frameStdout, frameStderr} {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		c.outputs = append(c.outputs, stream{r, t})
		files = append(files, w)
	}
	return files, nil
}

// openTerminal makes a new terminal and returns its two ends.
func openTerminal(rows, cols uint16) (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	master = os.NewFile(uintptr(fd), "terminal")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, err
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, nil, err
	}
	if rows > 0 && cols > 0 {
		if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}); err != nil {
			return nil, nil, err
		}
	}
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	return master, slave, err
}

// spawn starts the command with files as its standard streams. If that fails
// it says so on the command's error output, as a shell would, and returns no
// pid but an exit code.
func (a *agent) spawn(files []*os.File) (pid, code int) {
	o := &a.order
	file, err := exec.LookPath(o.Args[0])
	if err == nil {
		pid, err = syscall.ForkExec(file, o.Args, &syscall.ProcAttr{
			Env:   os.Environ(),
			Files: []uintptr{files[0].Fd(), files[1].Fd(), files[2].Fd()},
			Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: o.Terminal},
		})
	}
	if err == nil {
		return pid, 0
	}
	code = exitNotExecutable
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		code = exitNotFound
	}
	var errno syscall.Errno
	reason := "not found"
	if code == exitNotExecutable && errors.As(err, &errno) {
		reason = errno.Error()
	}
	fmt.Fprintf(files[2], "%s: %s\n", o.Args[0], reason)
	return 0, code
}

// reapUntil reaps every child that ends, the orphans that fall to process 1
// too, until pid does, and returns its exit code.
func reapUntil(pid int) int {
	for {
		var status unix.WaitStatus
		ended, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return exitNotFound
		case ended == pid && status.Signaled():
			return exitSignalled + int(status.Signal())
		case ended == pid:
			return status.ExitStatus()
		}
	}
}

// killEverything kills all other processes of the guest and reaps them.
func killEverything() {
	unix.Kill(-1, unix.SIGKILL)
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if err == unix.ECHILD {
			return
		}
		if pid == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// pump sends what the command prints until the stream ends or, once its
// deadline has passed, until it is empty.
func (a *agent) pump(s stream) {
	err := a.out.sendStream(s.frame, s.file)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	conn, err := s.file.SyscallConn()
	if err != nil {
		return
	}
	// The file does not block, so a read that finds nothing fails.
	conn.Control(func(fd uintptr) {
		a.out.sendStream(s.frame, rawReader(fd))
	})
}

// rawReader reads a file descriptor without regard to deadlines.
type rawReader int

func (fd rawReader) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(fd), p)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// input passes on input from the host; no bytes mean its end.
func (c *command) input(p []byte) {
	switch {
	case c.stdin == nil:
	case len(p) > 0:
		// An error says that the command no longer reads.
		c.stdin.Write(p)
	case c.terminal:
		const endOfTransmission = 4
		c.stdin.Write([]byte{endOfTransmission})
	default:
		c.stdin.Close()
	}
}

// resize passes on the size of the host's terminal.
func (c *command) resize(p []byte) {
	if !c.terminal || len(p) != 4 {
		return
	}
	size := unix.Winsize{Row: binary.BigEndian.Uint16(p), Col: binary.BigEndian.Uint16(p[2:])}
	conn, err := c.stdin.SyscallConn()
	if err != nil {
		return
	}
	conn.Control(func(fd uintptr) { unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &size) })
}

// becomeInit hands the guest to the init of its root. It returns only if
// that fails.
func (a *agent) becomeInit() error {
	a.link.Close()
	a.link = nil
	err := unix.Exec(a.order.Init, []string{a.order.Init}, []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=linux"})
	return fmt.Errorf("start the init %s: %w", a.order.Init, err)
}
