package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// version is set by the linker.
var version = "unknown"

// Exit statuses.
const (
	exitFailure = 1
	exitUsage   = 2
)

// failure marks an error as one of the work, not of the command line. code is
// the exit status; with quiet the message has been shown already.
type failure struct {
	err   error
	code  int
	quiet bool
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// runE is the body of a subcommand whose errors are failures of the work.
func runE(body func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := body(cmd, args)
		var f *failure
		var u *usageError
		if err == nil || errors.As(err, &f) || errors.As(err, &u) {
			return err
		}
		return &failure{err: err, code: exitFailure}
	}
}

// usageError marks an error found by a body as one of the command line.
type usageError struct{ err error }

func (u *usageError) Error() string { return u.err.Error() }

func usagef(format string, a ...any) error {
	return &usageError{fmt.Errorf(format, a...)}
}

// Main runs the program with its arguments, the program's name first, and
// returns the exit status.
func Main(args []string) int {
	if isGuestInit(args) {
		return guestInit(args)
	}
	ctx, stop := signal.NotifyContext(context.Background(), endSignals()...)
	defer stop()
	return execute(ctx, args, os.Stdout, os.Stderr)
}

// endSignals are those that end the program in good order: a mount or a guest would stay
// behind otherwise. SIGHUP, which comes when the terminal goes, is not one for who started
// us with nohup(1).
func endSignals() []os.Signal {
	list := []os.Signal{unix.SIGINT, unix.SIGTERM}
	if !signal.Ignored(unix.SIGHUP) {
		list = append(list, unix.SIGHUP)
	}
	return list
}

func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newProgram(args[0])
	root.SetArgs(runArguments(root, args[1:]))
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	name := filepath.Base(args[0])
	var f *failure
	if errors.As(err, &f) {
		if !f.quiet {
			fmt.Fprintf(stderr, "%s: %v\n", name, err)
		}
		return f.code
	}
	fmt.Fprintf(stderr, "%s: %v\nTry '%s --help'.\n", name, err, cmd.CommandPath())
	return exitUsage
}

// newProgram is the program that goes by the given name.
func newProgram(name string) *cobra.Command {
	switch filepath.Base(name) {
	case "virtiofsd":
		return newVirtiofsd()
	case "uhyve":
		return newUhyve()
	}
	return newRoot()
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "isthmus",
		Short: "Give virtual machines host files, safely and fast",
		Long: `isthmus gives virtual machines the files of this host that you name, and nothing else.

  isthmus serve    a daemon that shares a directory with any VM over vhost-user virtio-fs
                   (QEMU, libvirt, Cloud Hypervisor, crosvm, User-Mode Linux)
  isthmus virtiofsd  the same, in the place of virtiofsd: its options, its messages
  isthmus mount    the same share on this host, through FUSE: what a guest would see
  isthmus run      a Hermit unikernel in a virtual machine, with such files; what uhyve does
  isthmus try      a throw-away Linux guest with a directory at /mnt/share
  isthmus ctl      look at a running daemon, and change what it shares
  isthmus doctor   what this host can do, and what each lack costs`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("isthmus {{.Version}}\n")
	root.AddCommand(newServe(), newMount(), newVirtiofsd(), newRun(), newTry(), newCtl(), newDoctor())
	return root
}

// NewCommand returns the whole command tree, for what documents it.
func NewCommand() *cobra.Command { return newRoot() }
