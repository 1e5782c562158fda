package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/isthmus-fs/isthmus/vhostuser"
	"github.com/isthmus-fs/isthmus/virtiofs"
)

type serveFlags struct {
	share   shareFlags
	sandbox sandboxFlags
	log     logFlags
	dir     string
	socket  string
	fd      int
	mode    string
	group   string
	tag     string
	queues  int
	once    bool
	nofile  uint64
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
	f.sandbox.bind(fl)
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
	c := daemonConfig{
		listen: listenSpec{path: f.socket, fd: f.fd},
		nofile: defaultFileLimit(),
		once:   f.once,
		says:   phrases{"waiting for a VM", "a VM has connected", "the VM has disconnected"},
		log:    log,
	}
	if c.listen.options, err = f.listenOptions(); err != nil {
		return err
	}
	if f.nofile != 0 {
		c.nofile = fileLimit{f.nofile, true}
	}
	if c.share, err = f.share.spec(f.dir, log); err != nil {
		return err
	}
	c.share.tag, c.share.queues = f.tag, f.queues
	if err := f.sandbox.apply(&c, f.share.set.Changed("file-handles")); err != nil {
		return err
	}
	switch info, err := os.Stat(f.dir); {
	case err != nil:
		return fmt.Errorf("share %s: %w", f.dir, errors.Unwrap(err))
	case info.Mode().IsRegular():
		return fmt.Errorf("share %s: it is a file, and a guest can mount only directories: share the directory that it is in", f.dir)
	}
	return runDaemon(ctx, &c)
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
