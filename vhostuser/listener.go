package vhostuser

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxSocketPath is the longest path in a sockaddr_un, without its NUL.
const maxSocketPath = 107

// ListenOptions says who may connect. The zero value lets only the owner.
type ListenOptions struct {
	// Mode is the permissions of the socket, independent of the umask; to
	// connect takes the write permission. 0 means 0600, or 0660 with a
	// Group.
	Mode os.FileMode
	// Group is the gid that the socket is given to; 0 leaves it as it is.
	Group int
}

func (o ListenOptions) mode() uint32 {
	switch {
	case o.Mode != 0:
		return uint32(o.Mode.Perm())
	case o.Group != 0:
		return 0o660
	}
	return 0o600
}

// Listener is a UNIX socket that front ends connect to.
type Listener struct {
	sock *net.UnixListener
	// The rest is empty for a socket that was inherited.
	name string
	dir  *os.File // where the socket and the pid file are, O_PATH
	pid  *os.File // holds the lock
	st   unix.Stat_t
}

// Listen makes a socket at path. Beside it stands PATH.pid, which holds our
// process id and a lock for as long as we live: a second daemon for the same
// path is refused, while a socket without a daemon is replaced. Nothing but a
// socket is ever replaced.
//
// Until Close, the Listener holds a descriptor of the directory, so that Close
// finds its files also after a change of the root directory.
func Listen(path string, opt ListenOptions) (*Listener, error) {
	l, err := listen(path, opt)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", path, err)
	}
	return l, nil
}

func listen(path string, opt ListenOptions) (_ *Listener, err error) {
	dir, name := filepath.Split(path)
	if name == "" || name == "." || name == ".." {
		return nil, errors.New("this is no path of a socket")
	}
	if dir == "" {
		dir = "."
	}
	l := &Listener{name: name}
	defer func() {
		if err != nil {
			l.closeFiles()
		}
	}()
	if l.dir, err = openDir(dir); err != nil {
		return nil, err
	}
	if l.pid, err = lockPidFile(l.dir, l.pidName()); err != nil {
		return nil, err
	}
	if err := removeStale(l.dir, name); err != nil {
		return nil, err
	}
	bindPath := path
	if path[0] == '@' {
		bindPath = "./" + path // not an abstract socket
	}
	if len(bindPath) > maxSocketPath {
		bindPath = fmt.Sprintf("/proc/self/fd/%d/%s", l.dir.Fd(), name)
		if len(bindPath) > maxSocketPath {
			return nil, fmt.Errorf("the name of the socket has %d bytes: too long for a socket address", len(name))
		}
	}
	if err := l.bind(bindPath, opt); err != nil {
		return nil, err
	}
	return l, nil
}

func openDir(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	switch err {
	case nil:
		return os.NewFile(uintptr(fd), dir), nil
	case unix.ENOENT:
		return nil, fmt.Errorf("the directory %q does not exist: create it first", dir)
	case unix.ENOTDIR:
		return nil, fmt.Errorf("%q is not a directory", dir)
	}
	return nil, fmt.Errorf("open the directory %q: %w", dir, err)
}

// lockPidFile takes the lock that says that a daemon serves the socket and
// writes our process id into it.
func lockPidFile(dir *os.File, name string) (*os.File, error) {
	for {
		fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open the pid file %q: %w", name, err)
		}
		f := os.NewFile(uintptr(fd), name)
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			err = lockError(f, err)
			f.Close()
			return nil, err
		}
		// The daemon that had the lock may have removed the file between
		// our open and our lock: then the lock is worth nothing.
		same, err := isStill(dir, name, fd)
		if err == nil && same {
			if err = writePid(f); err == nil {
				return f, nil
			}
		}
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("pid file %q: %w", name, err)
		}
	}
}

func lockError(f *os.File, err error) error {
	if err != unix.EWOULDBLOCK {
		return fmt.Errorf("lock the pid file %q: %w", f.Name(), err)
	}
	var b [20]byte
	n, _ := f.ReadAt(b[:], 0)
	if pid, perr := strconv.Atoi(strings.TrimSpace(string(b[:n]))); perr == nil {
		return fmt.Errorf("another daemon, process %d, serves this socket: stop it or choose another path", pid)
	}
	return errors.New("another daemon serves this socket: stop it or choose another path")
}

func writePid(f *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.New("it exists and is not a regular file")
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// isStill says whether name is the file that fd is open on.
func isStill(dir *os.File, name string, fd int) (bool, error) {
	var open, named unix.Stat_t
	if err := unix.Fstat(fd, &open); err != nil {
		return false, err
	}
	err := unix.Fstatat(int(dir.Fd()), name, &named, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return false, nil
	}
	return err == nil && open.Dev == named.Dev && open.Ino == named.Ino, err
}

// removeStale removes the socket that a daemon has left behind.
func removeStale(dir *os.File, name string) error {
	var st unix.Stat_t
	err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case err == unix.ENOENT:
		return nil
	case err != nil:
		return err
	case st.Mode&unix.S_IFMT != unix.S_IFSOCK:
		return errors.New("it exists and is not a socket: remove it or choose another path")
	}
	if err := unix.Unlinkat(int(dir.Fd()), name, 0); err != nil {
		return fmt.Errorf("remove the stale socket: %w", err)
	}
	return nil
}

// bind makes the socket. It appears with the permissions of its inode less the
// umask, so fchmod first keeps it closed until all is set, and nobody can
// connect before listen.
func (l *Listener) bind(path string, opt ListenOptions) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if err := unix.Fchmod(fd, 0o600); err != nil {
		return fmt.Errorf("fchmod: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if err := l.adopt(opt); err != nil {
		return err
	}
	err = unix.Listen(fd, 16)
	if err == nil {
		l.sock, err = listenerOf(f)
	}
	if err != nil {
		l.removeOurs()
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// adopt notes which file the new socket is and gives it its group and mode,
// without following a link that took its place.
func (l *Listener) adopt(opt ListenOptions) error {
	fd, err := unix.Openat(int(l.dir.Fd()), l.name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the new socket: %w", err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("fstat of the new socket: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return errors.New("another process replaced the new socket")
	}
	l.st = st
	if opt.Group != 0 {
		err = unix.Fchownat(fd, "", -1, opt.Group, unix.AT_EMPTY_PATH)
		if err != nil {
			err = fmt.Errorf("give the socket to group %d: %w", opt.Group, err)
		}
	}
	if err == nil {
		err = unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), opt.mode())
		if err != nil {
			err = fmt.Errorf("set the mode of the socket: %w", err)
		}
	}
	if err != nil {
		l.removeOurs()
	}
	return err
}

// FromFD takes over a listening UNIX stream socket that was inherited. The
// Listener closes it; Close removes no file.
func FromFD(fd int) (*Listener, error) {
	f := os.NewFile(uintptr(fd), fmt.Sprintf("descriptor %d", fd))
	if f == nil {
		return nil, fmt.Errorf("descriptor %d: it is not open", fd)
	}
	defer f.Close()
	return FromFile(f)
}

// FromFile is [FromFD] for a socket that stays the caller's, who may close it at
// once.
func FromFile(f *os.File) (*Listener, error) {
	fd := int(f.Fd())
	if err := checkListening(fd); err != nil {
		return nil, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	sock, err := listenerOf(f)
	if err != nil {
		return nil, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	return &Listener{sock: sock}, nil
}

// File returns a duplicate of the socket, for another process to accept on; the
// caller closes it.
func (l *Listener) File() (*os.File, error) { return l.sock.File() }

func checkListening(fd int) error {
	for _, o := range []struct {
		opt, want int
		otherwise string
	}{
		{unix.SO_DOMAIN, unix.AF_UNIX, "it is a socket, but not a UNIX socket"},
		{unix.SO_TYPE, unix.SOCK_STREAM, "it is a UNIX socket, but not of type stream"},
	} {
		got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, o.opt)
		switch {
		case err == unix.EBADF:
			return errors.New("it is not open")
		case err == unix.ENOTSOCK:
			return errors.New("it is not a socket")
		case err != nil:
			return err
		case got != o.want:
			return errors.New(o.otherwise)
		}
	}
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return err
	}
	if listening != 0 {
		return nil
	}
	if _, err := unix.Getpeername(fd); err == nil {
		return errors.New("it is a connected socket: a listening one is needed")
	}
	return errors.New("it is a socket that does not listen")
}

// Dir is the directory of the socket, in which Close removes files; nil for a
// socket that was inherited. It stays the Listener's.
func (l *Listener) Dir() *os.File { return l.dir }

// listenerOf makes a net.UnixListener of a duplicate of f. It never removes the
// socket's file.
func listenerOf(f *os.File) (*net.UnixListener, error) {
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		l.Close()
		return nil, errors.New("it is not a UNIX stream socket")
	}
	u.SetUnlinkOnClose(false)
	return u, nil
}

// Accept waits for the next front end. When ctx ends, it returns ctx.Err(). It
// is not for several goroutines at once.
func (l *Listener) Accept(ctx context.Context) (*net.UnixConn, error) {
	if err := l.sock.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	interrupt := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		// On a closed listener nothing is left to interrupt.
		_ = l.sock.SetDeadline(time.Unix(1, 0))
		close(interrupt)
	})
	conn, err := l.sock.AcceptUnix()
	if !stop() {
		<-interrupt
	}
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return conn, err
}

// Close stops listening, and removes the socket and the pid file if they are
// still ours. Connections that were accepted go on.
func (l *Listener) Close() error {
	err := l.sock.Close()
	if l.dir == nil {
		return err
	}
	err = errors.Join(err, l.removeOurs())
	l.closeFiles()
	return err
}

// removeOurs removes the socket unless another file has taken its place.
func (l *Listener) removeOurs() error {
	var st unix.Stat_t
	err := unix.Fstatat(int(l.dir.Fd()), l.name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && st.Dev == l.st.Dev && st.Ino == l.st.Ino {
		err = unix.Unlinkat(int(l.dir.Fd()), l.name, 0)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the socket %q: %w", l.name, err)
	}
	return nil
}

// closeFiles removes the pid file while the lock on it is still ours, and closes
// what is open.
func (l *Listener) closeFiles() {
	if l.pid != nil {
		if same, err := isStill(l.dir, l.pidName(), int(l.pid.Fd())); err == nil && same {
			// A pid file that stays is taken over by the next daemon.
			_ = unix.Unlinkat(int(l.dir.Fd()), l.pidName(), 0)
		}
		l.pid.Close()
	}
	if l.dir != nil {
		l.dir.Close()
	}
}

func (l *Listener) pidName() string { return l.name + ".pid" }
