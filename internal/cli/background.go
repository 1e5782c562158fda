package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

// envBackground tells a process in the background the descriptor on which its starter
// waits to hear that all is well.
const envBackground = "ISTHMUS_BACKGROUND"

// background runs this program again with the same arguments, in a session of its own,
// and returns when [notifyBackground] was called there. In that process it is not called:
// see [inBackground]. What goes wrong before that shows on stderr, and what is logged
// later too, but not into a pipe: who reads to its end would wait for the process.
func background(ctx context.Context, stderr io.Writer) error {
	ready, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = stderr
	cmd.Env = append(os.Environ(), envBackground+"=3")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return fmt.Errorf("start the process in the background: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(unix.SIGTERM) })
	defer stop()
	if n, _ := ready.Read(make([]byte, 1)); n == 1 {
		return nil
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &failure{err: err, code: max(exit.ExitCode(), exitFailure), quiet: exit.ExitCode() > 0}
	}
	return errors.New("the process in the background ended at once")
}

// inBackground tells whether [background] has started this process.
func inBackground() bool { return os.Getenv(envBackground) != "" }

// notifyBackground tells the process that started this one by [background], if one did,
// that all is well.
func notifyBackground() {
	fd, err := strconv.Atoi(os.Getenv(envBackground))
	if err != nil {
		return
	}
	os.Unsetenv(envBackground)
	leavePipe(os.Stderr)
	f := os.NewFile(uintptr(fd), "background")
	_, _ = f.Write([]byte{1}) // it may have been interrupted and gone
	f.Close()
}

// leavePipe has what is written to f from now on vanish if it is a pipe.
func leavePipe(f *os.File) {
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return
	}
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		_ = unix.Dup3(int(null.Fd()), int(f.Fd()), 0)
		null.Close()
	}
}

// startServe runs `isthmus serve` for one VM on a socket in a private temporary
// directory, until stop is called. Of flags it gets those that were given and
// that it has too, and then more. It returns when the daemon is ready, or with an error
// when ctx ends before.
func startServe(ctx context.Context, flags *pflag.FlagSet, stderr io.Writer, more ...string) (socket string, stop func(), err error) {
	tmp, err := os.MkdirTemp("", "isthmus-")
	if err != nil {
		return "", nil, fmt.Errorf("a directory for the socket: %w", err)
	}
	socket = filepath.Join(tmp, "share.sock")
	cmd, err := runServe(ctx, tmp, socket, append(serveArgs(flags), more...), stderr)
	if err != nil {
		os.RemoveAll(tmp)
		return "", nil, err
	}
	return socket, func() {
		// Its exit status says how the VM left, which is not its fault.
		_ = cmd.Process.Signal(unix.SIGTERM)
		_ = cmd.Wait()
		os.RemoveAll(tmp)
	}, nil
}

// serveArgs are the given flags as arguments for serve.
func serveArgs(flags *pflag.FlagSet) []string {
	has := newServe().Flags()
	args := []string{"serve", "--once"}
	flags.Visit(func(f *pflag.Flag) {
		if has.Lookup(f.Name) == nil {
			return
		}
		values := []string{f.Value.String()}
		if s, ok := f.Value.(pflag.SliceValue); ok {
			values = s.GetSlice()
		}
		for _, v := range values {
			args = append(args, "--"+f.Name+"="+v)
		}
	})
	return args
}

// runServe starts the daemon and waits until it says, by the protocol of
// sd_notify(3), that it is ready.
func runServe(ctx context.Context, tmp, socket string, args []string, stderr io.Writer) (*exec.Cmd, error) {
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(tmp, "notify"), Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	defer notify.Close()
	// Nobody but us can come to tmp, and none but the daemon keeps the socket: a
	// VMM does not wait for one that has died.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	file, err := l.File()
	l.Close()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	cmd := exec.Command("/proc/self/exe", append(args, "--fd=3")...)
	cmd.Args[0] = os.Args[0]
	cmd.ExtraFiles = []*os.File{file}
	cmd.Stderr = stderr
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify.LocalAddr().String())
	// A signal from the terminal is for us: the guest comes to its end first.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		// Without reaping it, which is for Wait.
		_ = unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		notify.Close()
		close(ended)
	}()
	defer context.AfterFunc(ctx, func() { notify.Close() })()
	var msg [256]byte
	n, err := notify.Read(msg[:])
	if err == nil && strings.Contains(string(msg[:n]), "READY=1") {
		return cmd, nil
	}
	_ = cmd.Process.Kill()
	<-ended
	_ = cmd.Wait()
	if ctx.Err() != nil {
		return nil, errors.New("interrupted while the daemon started")
	}
	return nil, errors.New("the daemon has not started")
}
