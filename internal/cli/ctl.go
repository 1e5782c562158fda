package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/internal/control"
)

// envControl names the socket where --socket does not.
const envControl = "ISTHMUS_CONTROL"

// ctlPatience is how long a daemon may take for an answer that needs no work.
const ctlPatience = 10 * time.Second

type ctlFlags struct {
	socket string
	json   bool
}

func newCtl() *cobra.Command {
	var f ctlFlags
	cmd := &cobra.Command{
		Use:   "ctl COMMAND",
		Short: "Look at a daemon that is running, and change what it shares",
		Long: `ctl asks a daemon that was started with --control PATH: what is mounted, which files guests have
open, how fast requests are answered. It adds and removes mounts while guests use the share, and
changes what is logged. Only the user who started the daemon may do that.

--socket names the daemon's PATH, or else the variable ` + envControl + ` does. With --json, a command
prints what the daemon answers; docs/control.md describes it, for programs that speak to
the socket themselves.`,
		Example: `  isthmus serve --socket /run/vm1.sock --share /srv/src --control /run/vm1.control
  export ` + envControl + `=/run/vm1.control
  isthmus ctl mounts
  isthmus ctl top
  isthmus ctl add /srv/data:/data:ro
  isthmus ctl remove /data`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var names []string
			for _, c := range cmd.Commands() {
				names = append(names, c.Name())
			}
			return usagef("which command? One of %s", strings.Join(names, ", "))
		},
	}
	fl := cmd.PersistentFlags()
	fl.StringVar(&f.socket, "socket", "", "the daemon's control socket (default $"+envControl+")")
	fl.BoolVar(&f.json, "json", false, "print JSON")
	cmd.AddCommand(newCtlMounts(&f), newCtlFiles(&f), newCtlStats(&f), newCtlTop(&f), newCtlAdd(&f), newCtlRemove(&f), newCtlLogLevel(&f), newCtlVersion(&f))
	return cmd
}

// ctlCall is what a command asks of a daemon.
type ctlCall struct {
	*ctlFlags
	client *control.Client
	cmd    *cobra.Command
	args   []string
	out    io.Writer
}

// run is the body of a command. A patience of 0 is none.
func (f *ctlFlags) run(patience time.Duration, body func(ctx context.Context, c *ctlCall) error) func(*cobra.Command, []string) error {
	return runE(func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		if patience != 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, patience, fmt.Errorf("the daemon has not answered for %v", patience))
			defer cancel()
		}
		client, err := f.dial(ctx)
		if err != nil {
			return err
		}
		defer client.Close()
		err = body(ctx, &ctlCall{f, client, cmd, args, cmd.OutOrStdout()})
		if errors.Is(err, control.ErrEnded) {
			err = fmt.Errorf("%w: is %s the path that it was given as --control, not as --socket?", err, f.path())
		}
		return err
	})
}

// path is where the daemon is to be found.
func (f *ctlFlags) path() string {
	if f.socket != "" {
		return f.socket
	}
	return os.Getenv(envControl)
}

func (f *ctlFlags) dial(ctx context.Context) (*control.Client, error) {
	path := f.path()
	if path == "" {
		return nil, usagef("which daemon? --socket PATH, or %s=PATH in the environment, as in: isthmus serve --control PATH", envControl)
	}
	c, err := control.Dial(ctx, path)
	switch {
	case errors.Is(err, unix.ENOENT):
		err = fmt.Errorf("there is no socket %s: start the daemon with --control %[1]s", path)
	case errors.Is(err, unix.ECONNREFUSED):
		err = fmt.Errorf("no daemon listens at %s: start it with --control %[1]s", path)
	case errors.Is(err, unix.EACCES):
		err = fmt.Errorf("%s: permission denied: only the user who started the daemon may connect", path)
	}
	return c, err
}

// printJSON prints an answer.
func (c *ctlCall) printJSON(answer any) error {
	enc := json.NewEncoder(c.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(answer)
}

// print prints an answer, as text makes a table of it or as JSON.
func (c *ctlCall) print(answer any, text func() string) error {
	if c.json {
		return c.printJSON(answer)
	}
	_, err := io.WriteString(c.out, text())
	return err
}

// done is the end of a command whose answer has nothing to show.
func (c *ctlCall) done(err error) error {
	if err == nil && c.json {
		return c.printJSON(struct{}{})
	}
	return err
}

func newCtlMounts(f *ctlFlags) *cobra.Command {
	var long bool
	cmd := &cobra.Command{
		Use:   "mounts",
		Short: "What is mounted where",
		Long: `mounts lists the mounts of the share: the path in the guest, what stands there, and what it holds at
the moment. NODES are files and directories that the guest knows, OPEN those that it has open,
FDS descriptors of the host, REFS what the guest has to give back before a removed mount
is quite gone (not counted at /), DATA what private space takes.`,
		Args: cobra.NoArgs,
		RunE: f.run(ctlPatience, func(ctx context.Context, c *ctlCall) error {
			mounts, err := c.client.Mounts(ctx)
			if err != nil {
				return err
			}
			return c.print(map[string]any{"mounts": mounts}, func() string { return mountsTable(mounts, long) })
		}),
	}
	cmd.Flags().BoolVarP(&long, "long", "l", false, "show each mount's options, as --share takes them")
	return cmd
}

func newCtlFiles(f *ctlFlags) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "files",
		Short: "Which files guests have open",
		Long: `files lists what guests have open, that which has been open longest first: for how long, how it was
opened, by which user and process of the guest, and how much was read and written since then.`,
		Args: cobra.NoArgs,
		RunE: f.run(ctlPatience, func(ctx context.Context, c *ctlCall) error {
			if limit < 1 || limit > control.MaxListed {
				return usagef("--limit %d: want 1 to %d", limit, control.MaxListed)
			}
			files, err := c.client.Files(ctx, limit)
			if err != nil {
				return err
			}
			return c.print(files, func() string { return filesTable(&files, time.Now()) })
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", control.DefaultFiles, fmt.Sprintf("how many, up to %d", control.MaxListed))
	return cmd
}

func newCtlStats(f *ctlFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "stats",
		Short: "What has been counted since the daemon started",
		Long: `stats shows how often each FUSE operation was asked for and how long the answers took: on average,
the time that 50, 90, 99 and 99.9 % of them did not exceed, and the longest. To see
what is going on now, use top.`,
		Args: cobra.NoArgs,
		RunE: f.run(ctlPatience, func(ctx context.Context, c *ctlCall) error {
			s, err := c.client.Stats(ctx)
			if err != nil {
				return err
			}
			return c.print(s, func() string { return statsText(s) })
		}),
	}
}

func newCtlRemove(f *ctlFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "remove PATH",
		Short: "Take a mount away from guests",
		Long: `remove takes away what is mounted at PATH in the guest. Files of it that a guest has open are stale
from then on (ESTALE); nothing else changes, on the host or for the guest.`,
		Example: `  isthmus ctl remove /data`,
		Args:    cobra.ExactArgs(1),
		RunE: f.run(0, func(ctx context.Context, c *ctlCall) error {
			return c.done(c.client.Remove(ctx, c.args[0]))
		}),
		ValidArgsFunction: f.completeMounts,
	}
}

// completeMounts offers the paths of mounts to a shell.
func (f *ctlFlags) completeMounts(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	if len(args) > 0 {
		return nil, none
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	client, err := f.dial(ctx)
	if err != nil {
		return nil, none
	}
	defer client.Close()
	mounts, err := client.Mounts(ctx)
	if err != nil {
		return nil, none
	}
	var paths []string
	for _, m := range mounts {
		paths = append(paths, string(m.Path))
	}
	return paths, none
}

func newCtlLogLevel(f *ctlFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "log-level [LEVEL]",
		Short: "What the daemon logs: look or change",
		Long: `log-level shows what the daemon logs, or changes it until it ends: error what failed, warn also what is
odd, info also what is worth knowing, debug also each step.`,
		Example: `  isthmus ctl log-level
  isthmus ctl log-level debug`,
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: control.Levels(),
		RunE: f.run(ctlPatience, func(ctx context.Context, c *ctlCall) error {
			if len(c.args) > 0 {
				return c.setLogLevel(ctx, c.args[0])
			}
			level, err := c.client.LogLevel(ctx)
			if err != nil {
				return err
			}
			return c.print(map[string]string{"level": level}, func() string { return level + "\n" })
		}),
	}
}

// setLogLevel leaves it to the daemon which levels there are.
func (c *ctlCall) setLogLevel(ctx context.Context, level string) error {
	if level == "" {
		return usagef("no level: want one of %s", strings.Join(control.Levels(), ", "))
	}
	err := c.client.SetLogLevel(ctx, level)
	if err == nil && c.json {
		return c.printJSON(map[string]string{"level": level})
	}
	return err
}

func newCtlVersion(f *ctlFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Which daemon it is, and for how long it has been up",
		Args:  cobra.NoArgs,
		RunE: f.run(ctlPatience, func(ctx context.Context, c *ctlCall) error {
			v, err := c.client.Version(ctx)
			if err != nil {
				return err
			}
			return c.print(v, func() string {
				return fmt.Sprintf("isthmus %s\nprotocol %d\npid %d\nup %s\nshares %s\n",
					printable(v.Program), v.Protocol, v.PID, age(v.Uptime), orDash(printable(strings.Join(v.Shares, " "))))
			})
		}),
	}
}
