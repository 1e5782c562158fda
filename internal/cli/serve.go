package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vhostuser"
	"github.com/isthmus-fs/isthmus/virtiofs"
)

// takeover is how long a new front end waits for the one before it to be gone: a
// VM that is started again at once connects before its old socket is closed.
const takeover = 5 * time.Second

type serveFlags struct {
	share  shareFlags
	log    logFlags
	dir    string
	socket string
	fd     int
	mode   string
	group  string
	tag    string
	queues int
	once   bool
	nofile uint64
}

func newServe() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve --socket PATH --share DIR",
		Short: "Share a directory with a VM over vhost-user virtio-fs",
		Long: `serve shares a host directory with a virtual machine. It listens on a UNIX socket to which
the VMM connects (vhost-user), serves it, and waits for the next when the VM has gone.

The guest mounts the share by its tag:
  mount -t virtiofs TAG /mnt

The VM's memory must be shared with other processes. In QEMU:
  -object memory-backend-memfd,id=mem,size=2G,share=on -machine q35,memory-backend=mem
  -chardev socket,id=fs,path=PATH -device vhost-user-fs-pci,chardev=fs,tag=TAG,queue-size=1024`,
		Example: `  isthmus serve --socket /run/vm1-src.sock --share /srv/src
  isthmus serve --socket /run/vm1-src.sock --share /srv/src --tag src --queues 4
  isthmus serve --fd 3 --share /srv/src --once          (socket activation)`,
		Args: cobra.NoArgs,
		RunE: runE(func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), &f, cmd.Flags().Changed("fd"))
		}),
	}
	fl := cmd.Flags()
	fl.StringVar(&f.dir, "share", "", "the directory to share")
	fl.StringVar(&f.socket, "socket", "", "listen on this UNIX socket")
	fl.IntVar(&f.fd, "fd", -1, "listen on this inherited file descriptor instead")
	fl.StringVar(&f.mode, "socket-mode", "", "permissions of the socket, octal (default 0600, with --socket-group 0660)")
	fl.StringVar(&f.group, "socket-group", "", "group of the socket, by name or number")
	fl.StringVar(&f.tag, "tag", "", "the share's name in the guest, for VMMs that ask the daemon for it")
	fl.IntVar(&f.queues, "queues", 1, "request queues, 1 to 64; the VM uses at most as many")
	fl.BoolVar(&f.once, "once", false, "end when the first VM has gone")
	fl.Uint64Var(&f.nofile, "rlimit-nofile", 0, "file descriptors that the daemon may use (default 1000000 or what the host allows)")
	f.share.bind(fl)
	f.log.bind(fl)
	cmd.MarkFlagsMutuallyExclusive("socket", "fd")
	cmd.MarkFlagsOneRequired("socket", "fd")
	cmd.MarkFlagRequired("share")
	cmd.MarkFlagsMutuallyExclusive("fd", "socket-mode")
	cmd.MarkFlagsMutuallyExclusive("fd", "socket-group")
	return cmd
}

func serve(ctx context.Context, f *serveFlags, fromFD bool) error {
	log, err := f.log.logger()
	if err != nil {
		return err
	}
	if f.dir == "" {
		return usagef("--share is empty: want a directory")
	}
	if f.tag != "" {
		if err := virtiofs.CheckTag(f.tag); err != nil {
			return usagef("--tag: %v", err)
		}
	}
	if f.queues < 1 || f.queues > virtiofs.MaxRequestQueues {
		return usagef("--queues %d: want 1 to %d", f.queues, virtiofs.MaxRequestQueues)
	}
	listenOptions, err := f.listenOptions()
	if err != nil {
		return err
	}
	if err := raiseFileLimit(f.nofile, log); err != nil {
		return err
	}
	share, err := openShare(f.dir, &f.share, shareConfig{tag: f.tag, queues: f.queues, log: log})
	if err != nil {
		return err
	}
	defer share.close()

	var l *vhostuser.Listener
	if fromFD {
		l, err = vhostuser.FromFD(f.fd)
	} else {
		l, err = vhostuser.Listen(f.socket, listenOptions)
	}
	if err != nil {
		return err
	}
	defer l.Close()

	log.Info("waiting for a VM", "socket", f.endpoint(), "share", f.dir)
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		log.Warn("systemd was not told that the daemon is ready", "error", err)
	}
	return share.serveListener(ctx, l, f.once)
}

// serveListener serves one front end after the other until ctx ends or, with
// once, the first is gone.
func (s *share) serveListener(ctx context.Context, l *vhostuser.Listener, once bool) error {
	busy := make(chan struct{}, 1)
	defer func() { busy <- struct{}{} }() // wait for the last one
	for {
		conn, err := l.Accept(ctx)
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		if once {
			return s.serveConn(ctx, conn)
		}
		select {
		case busy <- struct{}{}:
		case <-ctx.Done():
			conn.Close()
			return nil
		case <-time.After(takeover):
			s.log.Error("a second VM was turned away: this daemon serves one at a time, start another for it")
			conn.Close()
			continue
		}
		go func() {
			if err := s.serveConn(ctx, conn); err != nil {
				s.log.Error("the connection to the VM ended", "error", err)
			}
			<-busy
		}()
	}
}

func (s *share) serveConn(ctx context.Context, conn *net.UnixConn) error {
	defer conn.Close()
	s.log.Info("a VM has connected")
	err := vhostuser.ServeConn(ctx, conn, s.device, vhostuser.Options{Logger: s.log})
	if err == nil && ctx.Err() == nil {
		s.log.Info("the VM has disconnected")
	}
	return err
}

// endpoint is how a log calls what the daemon listens on.
func (f *serveFlags) endpoint() string {
	if f.socket != "" {
		return f.socket
	}
	return fmt.Sprintf("fd %d", f.fd)
}

func (f *serveFlags) listenOptions() (vhostuser.ListenOptions, error) {
	var opt vhostuser.ListenOptions
	if f.group != "" {
		gid, err := groupID(f.group)
		if err != nil {
			return opt, err
		}
		opt.Group, opt.Mode = gid, 0o660
	}
	if f.mode != "" {
		m, err := strconv.ParseUint(f.mode, 8, 32)
		if err != nil || m > 0o777 {
			return opt, usagef("--socket-mode %q: want octal permissions such as 0660", f.mode)
		}
		opt.Mode = os.FileMode(m)
	}
	return opt, nil
}

func groupID(name string) (int, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		g, err = user.LookupGroupId(name)
	}
	if err != nil {
		return 0, fmt.Errorf("--socket-group %s: there is no such group on this host", name)
	}
	return strconv.Atoi(g.Gid)
}

// defaultFiles is how many descriptors a daemon that was not told otherwise
// asks for; the guest's share of them is smaller (see passthrough.Config).
const defaultFiles = 1_000_000

// raiseFileLimit sets RLIMIT_NOFILE. With want 0 it does what it can.
func raiseFileLimit(want uint64, log *slog.Logger) error {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return fmt.Errorf("getrlimit: %w", err)
	}
	explicit := want != 0
	if !explicit {
		if want = min(defaultFiles, maxFiles()); lim.Cur >= want {
			return nil
		}
	}
	err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: want, Max: max(want, lim.Max)})
	if err == nil {
		return nil
	}
	if explicit {
		return fmt.Errorf("--rlimit-nofile %d: %w (the host allows %d to this user; the system's maximum is in /proc/sys/fs/nr_open)", want, err, lim.Max)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: lim.Max, Max: lim.Max}); err != nil {
		log.Warn("the limit of open files stays low", "limit", lim.Cur, "error", err)
	}
	return nil
}

// maxFiles returns the system's bound for RLIMIT_NOFILE.
func maxFiles() uint64 {
	b, err := os.ReadFile("/proc/sys/fs/nr_open")
	if err != nil {
		return defaultFiles
	}
	var n uint64
	if _, err := fmt.Sscan(string(b), &n); err != nil {
		return defaultFiles
	}
	return n
}
