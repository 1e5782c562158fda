package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/sandbox"
)

// virtiofsdVersion is the virtiofsd whose command line this is.
const virtiofsdVersion = "1.14.0"

// virtiofsdFeatures are what --print-capabilities names: the options' forms that
// a launcher may use. migrate-precopy is not among them.
var virtiofsdFeatures = []string{
	"posix-acl-negotiation-mode",
	"security-label-negotiation-mode",
	"separate-options",
}

// newVirtiofsd makes the command that stands in for virtiofsd. It is a
// subcommand, and the whole program where that is called virtiofsd.
func newVirtiofsd() *cobra.Command { return newVirtiofsdCommand(newVirtiofsdOptions()) }

// newVirtiofsdCommand makes the command that sets o and runs it.
func newVirtiofsdCommand(o *virtiofsdOptions) *cobra.Command {
	groups := o.groups()
	cmd := &cobra.Command{
		Use:   "virtiofsd --shared-dir DIR --socket-path PATH",
		Short: "Share a directory as virtiofsd does, option for option",
		Long: `virtiofsd stands in for the program of that name, version ` + virtiofsdVersion + `: it takes the same options, and
launchers that start virtiofsd (libvirt, Kata Containers, Podman, Cloud Hypervisor, Proxmox) can start this
instead. It serves one VM and ends when that has gone. Under the name virtiofsd, as a symbolic link,
the program takes these options without the subcommand.

Without such a launcher, "isthmus serve" has better defaults.`,
		Example: `  isthmus virtiofsd --shared-dir /srv/src --socket-path /run/vm1-src.sock
  isthmus virtiofsd --shared-dir /srv/src --socket-path /run/vm1-src.sock --cache always --xattr
  isthmus virtiofsd --fd 3 -o source=/srv/src,cache=none`,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: runE(func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().NFlag() == 0 {
				printVirtiofsdHelp(cmd, cmd.ErrOrStderr(), groups)
				return &failure{err: errors.New("no options"), code: exitUsage, quiet: true}
			}
			return o.run(cmd)
		}),
	}
	bindVirtiofsd(cmd, groups)
	cmd.SetHelpFunc(func(cmd *cobra.Command, _ []string) { printVirtiofsdHelp(cmd, cmd.OutOrStdout(), groups) })
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		switch {
		case errors.Is(err, errHelp):
			return cmd.Help()
		case errors.Is(err, errVersion):
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "virtiofsd %s (isthmus %s)\n", virtiofsdVersion, version)
			return err
		}
		return err
	})
	return cmd
}

func bindVirtiofsd(cmd *cobra.Command, groups []virtiofsdGroup) {
	fl := cmd.Flags()
	fl.SortFlags = false
	for _, g := range groups {
		for _, f := range g.flags {
			p := &pflag.Flag{Name: f.name, Shorthand: f.short, Usage: f.help, Value: f.value, NoOptDefVal: f.bare}
			if _, alone := f.value.(*given); !alone {
				p.DefValue = f.value.String()
			}
			fl.AddFlag(p)
			if w, ok := f.value.(interface{ completions() []string }); ok && w.completions() != nil {
				cmd.RegisterFlagCompletionFunc(f.name, cobra.FixedCompletions(w.completions(), cobra.ShellCompDirectiveNoFileComp))
			}
		}
	}
	cmd.MarkFlagDirname("shared-dir")
}

func printVirtiofsdHelp(cmd *cobra.Command, w io.Writer, groups []virtiofsdGroup) {
	fmt.Fprintf(w, "%s\n\nUsage:\n  %s --shared-dir DIR --socket-path PATH [options]\n", cmd.Long, cmd.CommandPath())
	for _, g := range groups {
		fmt.Fprintf(w, "\n%s:\n", g.title)
		for _, f := range g.flags {
			name := "    --" + f.name
			switch {
			case f.short == f.name:
				name = "-" + f.name
			case f.short != "":
				name = "-" + f.short + ", --" + f.name
			}
			fmt.Fprintf(w, "  %s%s\n          %s\n", name, f.arg, strings.ReplaceAll(f.help, "\n", "\n          "))
		}
	}
}

// checkUsage finds what no command line may say, and applies the -o lists.
func (o *virtiofsdOptions) checkUsage(changed func(flag string) bool) error {
	if changed("fd") {
		for _, other := range []string{"socket-path", "socket", "socket-group"} {
			if changed(other) {
				return usagef("--fd and --%s exclude each other: the inherited socket is ready as it is", other)
			}
		}
	}
	if !o.capabilities {
		if !changed("shared-dir") && !changed("o") {
			return usagef("nothing is shared: give --shared-dir DIR")
		}
		if !changed("fd") && !changed("socket-path") && !changed("socket") {
			return usagef("no VM could connect: give --socket-path PATH or --fd N")
		}
	}
	for _, list := range o.legacy {
		for _, change := range list {
			change(o)
		}
	}
	if o.debug {
		o.level = slog.LevelDebug
	}
	if !changed("socket-path") {
		o.socketPath = o.oldSocketPath
	}
	return nil
}

// warnings are what is said once about options that one should not use.
func (o *virtiofsdOptions) warnings(changed func(flag string) bool) []string {
	var w []string
	for _, c := range []struct {
		is   bool
		text string
	}{
		{changed("socket") && !changed("socket-path"), "use of deprecated parameter '--socket': please use the '--socket-path' option instead"},
		{o.ignored, "use of deprecated flag '-f': this flag has no effect, please remove it"},
		{o.debug, "use of deprecated flag '-d': please use the '--log-level debug' option instead"},
		{len(o.legacy) > 0, "use of deprecated option format '-o': please specify options without it (such as '--cache auto' instead of '-o cache=auto')"},
		{o.oldHandles, "use of deprecated value 'fallback' for '--inode-file-handles': please use 'prefer' instead"},
		{changed("migration-mode") || changed("migration-on-error") || o.verifyHandles || o.confirmPaths,
			"migration is not offered to the VMM: the --migration options have no effect"},
		{o.nofile != 0 && o.nofile < minVirtiofsdFiles+enoughGuestFiles,
			fmt.Sprintf("--rlimit-nofile %d is very small: it leaves the guest only %d file descriptors", o.nofile, o.guestFiles())},
	} {
		if c.is {
			w = append(w, c.text)
		}
	}
	return w
}

func (o *virtiofsdOptions) run(cmd *cobra.Command) error {
	changed := cmd.Flags().Changed
	if err := o.checkUsage(changed); err != nil {
		return err
	}
	if o.capabilities {
		return printVirtiofsdCapabilities(cmd.OutOrStdout())
	}
	env, hasEnv := os.LookupEnv("RUST_LOG")
	log, note := virtiofsdLogger(o, env, hasEnv)
	endAtOnce()
	if !sandbox.Inside() {
		if note != "" {
			log.Warn(note)
		}
		for _, w := range o.warnings(changed) {
			log.Warn(w)
		}
	}
	c, err := o.daemon(log, changed("rlimit-nofile"))
	if err == nil {
		if changed("thread-pool-size") {
			log.Debug("the thread pool size has no effect: each queue has its own thread, and what would hold it up goes to others, made when needed", "asked", o.pool)
		}
		err = runDaemon(cmd.Context(), c)
	}
	if err == nil {
		return nil
	}
	f := &failure{err: err, code: exitFailure, quiet: true}
	var inner *failure
	if errors.As(err, &inner) {
		f.code = inner.code
	}
	if inner == nil || !inner.quiet {
		log.Error(err.Error())
	}
	return f
}

// endAtOnce makes SIGTERM and SIGHUP end the process with status 1, and gives
// SIGINT its usual meaning.
func endAtOnce() {
	signal.Reset(unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	end := make(chan os.Signal, 1)
	signal.Notify(end, unix.SIGTERM, unix.SIGHUP)
	go func() {
		<-end
		os.Exit(exitFailure)
	}()
}

func printVirtiofsdCapabilities(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		Type     string   `json:"type"`
		Features []string `json:"features"`
	}{"fs", virtiofsdFeatures})
}
