package cli

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/isthmus-fs/isthmus/internal/spec"
	"github.com/isthmus-fs/isthmus/vhostuser"
	"github.com/isthmus-fs/isthmus/virtiofs"
)

type serveFlags struct {
	share   shareFlags
	sandbox sandboxFlags
	observe observeFlags
	log     logFlags
	socket  string
	fd      int
	mode    string
	group   string
	tag     string
	queues  int
	once    bool
	nofile  uint64
	tempDir string
	set     *pflag.FlagSet
}

func newServe() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve --socket PATH --share SPEC... | --config FILE",
		Short: "Share files with a VM over vhost-user virtio-fs",
		Long: `serve shares files of this host with a virtual machine. It listens on a UNIX socket to which
the VMM connects (vhost-user), serves it, and waits for the next when the VM has gone.

What the guest sees is one tree. Each --share puts something into it:
  --share /srv/src                             a directory, as the whole tree
  --share /srv/src:/src:ro                     a directory or a file, at a path of the guest
  --share type=archive,source=root.tar.zst     what a tar archive holds, read-only
  --share type=scratch,target=/tmp,size=1G     private space, gone at the end
  --share /usr:/usr:type=overlay               a directory that the guest may change and the
                                               host never sees changed
Flags such as --readonly and --cache hold for all mounts that say nothing else. A file with
--config says the same in TOML.

The guest mounts the share by its tag:
  mount -t virtiofs TAG /mnt

The VM's memory must be shared with other processes. In QEMU:
  -object memory-backend-memfd,id=mem,size=2G,share=on -machine q35,memory-backend=mem
  -chardev socket,id=fs,path=PATH -device vhost-user-fs-pci,chardev=fs,tag=TAG,queue-size=1024`,
		Example: `  isthmus serve --socket /run/vm1-src.sock --share /srv/src
  isthmus serve --socket /run/vm1-src.sock --share /srv/src --tag src --queues 4
  isthmus serve --socket /run/vm1.sock --control /run/vm1.ctl --share /srv/src:/src --share type=scratch,target=/tmp
  isthmus serve --config /etc/isthmus/vm1.toml
  isthmus serve --fd 3 --share /srv/src --once          (socket activation)`,
		Args: cobra.NoArgs,
		RunE: runE(func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), &f)
		}),
	}
	fl := cmd.Flags()
	f.set = fl
	fl.StringVar(&f.socket, "socket", "", "listen on this UNIX socket")
	fl.IntVar(&f.fd, "fd", -1, "listen on this inherited file descriptor instead")
	fl.StringVar(&f.mode, "socket-mode", "", "permissions of the socket, octal (default 0600, with --socket-group 0660)")
	fl.StringVar(&f.group, "socket-group", "", "group of the socket, by name or number")
	fl.StringVar(&f.tag, "tag", "", "the share's name in the guest, for VMMs that ask the daemon for it")
	fl.IntVar(&f.queues, "queues", 1, "request queues, 1 to 64; the VM uses at most as many")
	fl.BoolVar(&f.once, "once", false, "end when the first VM has gone")
	fl.Uint64Var(&f.nofile, "rlimit-nofile", 0, "file descriptors that the daemon may use (default 1000000 or what the host allows)")
	fl.StringVar(&f.tempDir, "tempdir", "", "where private data with backing=disk are kept (default $TMPDIR, or /tmp)")
	f.share.bindShares(fl)
	f.sandbox.bind(fl)
	f.observe.bind(fl)
	f.observe.bindLater(fl)
	f.log.bind(fl)
	cmd.MarkFlagsMutuallyExclusive("socket", "fd")
	cmd.MarkFlagsMutuallyExclusive("fd", "socket-mode")
	cmd.MarkFlagsMutuallyExclusive("fd", "socket-group")
	return cmd
}

// adopt has settings of a configuration file fill in what no flag says.
func (f *serveFlags) adopt(s *spec.Settings) error {
	socket := []string{"socket", "socket-mode", "socket-group"}
	byFD, bySocket := f.set.Changed("fd"), f.set.Changed("socket")
	return s.Each(func(word string, values []string) error {
		if f.set.Changed(word) || byFD && slices.Contains(socket, word) || bySocket && word == "fd" {
			return nil
		}
		for _, v := range values {
			if err := f.set.Set(word, v); err != nil {
				return usagef("%s: %s: %v", f.share.config, word, err)
			}
		}
		return nil
	})
}

func serve(ctx context.Context, f *serveFlags) error {
	list, settings, err := f.share.read()
	if err != nil {
		return err
	}
	if err := f.adopt(settings); err != nil {
		return err
	}
	log, level, err := f.log.logger()
	if err != nil {
		return err
	}
	fromFD := f.set.Changed("fd")
	if f.socket == "" && !fromFD {
		return usagef("neither the path of a socket nor the number of an inherited one: give --socket PATH")
	}
	if f.tag != "" {
		if err := virtiofs.CheckTag(f.tag); err != nil {
			return usagef("--tag: %v", err)
		}
	}
	if f.queues < 1 || f.queues > virtiofs.MaxRequestQueues {
		return usagef("--queues %d: want 1 to %d", f.queues, virtiofs.MaxRequestQueues)
	}
	if err := f.observe.check(); err != nil {
		return err
	}
	if !fromFD && f.observe.control != "" && filepath.Clean(f.socket) == filepath.Clean(f.observe.control) {
		return usagef("--control %s: VMs connect there: give another path", f.observe.control)
	}
	c := daemonConfig{
		listen:  listenSpec{path: f.socket, fd: f.fd},
		observe: f.observe,
		nofile:  defaultFileLimit(),
		once:    f.once,
		says:    phrases{"waiting for a VM", "a VM has connected", "the VM has disconnected"},
		log:     log,
		level:   level,
	}
	if c.listen.options, err = f.listenOptions(); err != nil {
		return err
	}
	if f.nofile != 0 {
		c.nofile = fileLimit{f.nofile, true}
	}
	c.share = shareSpec{tempDir: f.tempDir, tag: f.tag, queues: f.queues, all: &f.share.all}
	if c.share.mounts, err = f.share.resolve(list, log); err != nil {
		return err
	}
	if err := c.share.checkRoot(); err != nil {
		return err
	}
	if err := f.sandbox.apply(&c, saysHandles(list, &f.share.all)); err != nil {
		return err
	}
	return runDaemon(ctx, &c)
}

// checkRoot refuses a lone file: a guest can mount nothing but directories.
func (s *shareSpec) checkRoot() error {
	for i := range s.mounts {
		if m := &s.mounts[i]; m.Target == "/" && m.IsFile() {
			return fmt.Errorf("share %s: it is a file, and a guest can mount only directories: give it a name in the guest, as in %s:/NAME, or share the directory that it is in", m.Source, m.Source)
		}
	}
	return nil
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
