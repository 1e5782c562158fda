package cli

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// syslogSocket is where the system's log takes messages (syslog(3)).
const syslogSocket = "/dev/log"

// facilityUser is LOG_USER of syslog.h, in its place in a priority.
const facilityUser = 1 << 3

// syslogWriter sends each line as a datagram. It is connected once, as nothing
// can be connected to in a sandbox. When the system's log is gone, lines go to
// other.
type syslogWriter struct {
	fd    int
	pid   int
	other io.Writer
}

// dialSyslog connects to the system's log. The connection is for the life of the
// process.
func dialSyslog(path string, other io.Writer) (*syslogWriter, error) {
	// Not blocking: a log that nobody reads must not hold up a guest.
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket: %w", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	return &syslogWriter{fd: fd, pid: hostPid(), other: other}, nil
}

// hostPid is our process id as the host has it, also in a new pid namespace as
// long as the host's /proc is there.
func hostPid() int {
	if link, err := os.Readlink("/proc/self"); err == nil {
		if pid, err := strconv.Atoi(link); err == nil {
			return pid
		}
	}
	return os.Getpid()
}

// head begins a message as syslog(3) does: priority, local time, program and
// process id.
func (s *syslogWriter) head(buf *bytes.Buffer, t time.Time, level slog.Level) {
	fmt.Fprintf(buf, "<%d>%s virtiofsd[%d]: ", facilityUser|severity(level), t.Local().Format(time.Stamp), s.pid)
}

// severity is LOG_ERR, LOG_WARNING, LOG_INFO or LOG_DEBUG of syslog.h.
func severity(l slog.Level) int {
	switch {
	case l >= slog.LevelError:
		return 3
	case l >= slog.LevelWarn:
		return 4
	case l >= slog.LevelInfo:
		return 6
	}
	return 7
}

// Write sends one line.
func (s *syslogWriter) Write(line []byte) (int, error) {
	_, err := unix.Write(s.fd, bytes.TrimSuffix(line, []byte("\n")))
	if err == nil {
		return len(line), nil
	}
	return s.other.Write(line)
}
