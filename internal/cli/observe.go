package cli

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/internal/metrics"
	"github.com/isthmus-fs/isthmus/vhostuser"
)

// observeFlags are the flags by which an owner watches and changes what is being served.
// Empty ones are off.
type observeFlags struct {
	control string   // path of the socket for isthmus ctl
	metrics string   // address for Prometheus
	audit   string   // path of the access log
	later   []string // directories that mounts may come from later
}

func (f *observeFlags) bind(fl *pflag.FlagSet) {
	fl.StringVar(&f.control, "control", "", "the UNIX socket for 'isthmus ctl', for this user alone: look at the share and change it while it is in use")
	fl.StringVar(&f.metrics, "metrics", "", "serve Prometheus metrics at this address of the host itself, such as localhost:9100")
	fl.StringVar(&f.audit, "audit", "", "append each access to this file, as JSON lines: which guest process did what, where, and the result")
}

// bindLater is for a daemon that is closed in.
func (f *observeFlags) bindLater(fl *pflag.FlagSet) {
	fl.StringArrayVar(&f.later, "allow-source", nil, `a directory below which 'isthmus ctl add' may take directories and files; may be repeated. It is
needed where Landlock closes the daemon in by paths, which is without file handles`)
}

// check finds what does not go together.
func (f *observeFlags) check() error {
	if len(f.later) != 0 && f.control == "" {
		return usagef("--allow-source is for mounts that are added by way of --control: give that too")
	}
	return nil
}

// changing says that mounts may come and go.
func (f *observeFlags) changing() bool { return f.control != "" }

// watching says that it has to be known which files are open and what they are called.
func (f *observeFlags) watching() bool { return f.control != "" || f.audit != "" }

// counting says that requests are counted.
func (f *observeFlags) counting() bool { return f.control != "" || f.metrics != "" }

// observed is what observeFlags name, opened.
type observed struct {
	control *vhostuser.Listener
	audit   *os.File
	metrics net.Listener
	// asks is the end of a connection on which the process that serves metrics asks the one
	// that serves the share, and answers the other end. Both are nil where they are one
	// process.
	asks, answers *os.File
	// statm says how much memory this process takes. Nil if nobody may want to know.
	statm *os.File
}

// enter opens what a process that serves needs of its own /proc.
func (o *observed) enter(f *observeFlags) {
	if f.counting() {
		o.statm, _ = os.Open("/proc/self/statm") // without it, the size is not known
	}
}

func (f *observeFlags) open() (o observed, err error) {
	defer func() {
		if err != nil {
			o.close()
		}
	}()
	if f.metrics != "" {
		if o.metrics, err = metrics.Listen(f.metrics); err != nil {
			return o, fmt.Errorf("--metrics: %w", err)
		}
	}
	if f.audit != "" {
		if o.audit, err = openAudit(f.audit); err != nil {
			return o, fmt.Errorf("--audit %s: %w", f.audit, err)
		}
	}
	if f.control != "" {
		if o.control, err = vhostuser.Listen(f.control, vhostuser.ListenOptions{}); err != nil {
			return o, fmt.Errorf("--control: %w", err)
		}
	}
	return o, nil
}

// openAudit opens or makes the file of an access log. A pipe whose reader is slow, or not
// there, would make guests lose calls or the daemon wait.
func openAudit(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	switch err {
	case nil:
	case unix.ELOOP:
		return nil, errors.New("it is a symbolic link: name the file that it leads to")
	case unix.ENXIO:
		return nil, errNoAuditFile
	default:
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() && info.Mode()&os.ModeDevice == 0 {
		err = errNoAuditFile
	}
	if err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

var errNoAuditFile = errors.New("it is a pipe or a socket: name a regular file")

// pair makes the connection between two processes.
func (o *observed) pair() error {
	if o.metrics == nil || o.asks != nil {
		return nil
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("make a socket for metrics: %w", err)
	}
	o.asks, o.answers = os.NewFile(uintptr(fds[0]), "metrics"), os.NewFile(uintptr(fds[1]), "metrics")
	return nil
}

// take makes an observed of what [held.files] lists and returns the rest of the list.
func (o *observed) take(f *observeFlags, list []*os.File) (rest []*os.File, err error) {
	var control *os.File
	for _, t := range []struct {
		given string
		to    **os.File
	}{{f.control, &control}, {f.audit, &o.audit}, {f.metrics, &o.answers}} {
		if t.given == "" {
			continue
		}
		if len(list) == 0 {
			return nil, fmt.Errorf("the outer process passed on too few files")
		}
		*t.to, list = list[0], list[1:]
	}
	if control != nil {
		defer control.Close()
		if o.control, err = vhostuser.FromFile(control); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// close closes what is open.
func (o *observed) close() {
	if o.control != nil {
		o.control.Close()
	}
	if o.metrics != nil {
		o.metrics.Close()
	}
	for _, f := range []*os.File{o.audit, o.asks, o.answers, o.statm} {
		if f != nil {
			f.Close()
		}
	}
}
