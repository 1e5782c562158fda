package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/internal/lab"
	"github.com/isthmus-fs/isthmus/virtiofs"
)

// tryMount is where the guest of `isthmus try` has the share.
const tryMount = "/mnt/share"

type tryFlags struct {
	share   shareFlags
	sandbox sandboxFlags
	log     logFlags
	vmm     string
	kernel  string
	memory  int
	cpus    int
	queues  int
	tag     string
	socket  string
	options string
	env     []string
	console string
	timeout time.Duration
	set     *pflag.FlagSet
}

func newTry() *cobra.Command {
	var f tryFlags
	cmd := &cobra.Command{
		Use:   "try [flags] SPEC... [-- COMMAND [ARGUMENT...]]",
		Short: "Run a command, or a shell, in a throw-away Linux guest that has a directory",
		Long: `try starts a real Linux guest with a share at ` + tryMount + `, over vhost-user virtio-fs,
runs COMMAND in it, in that directory, and returns its output and its exit status. Without
COMMAND it gives a shell. A SPEC is a directory, or what --share of 'isthmus serve' takes. Nothing but
what it names outlives the guest.

The guest is User-Mode Linux, up in about a second, or with --vmm qemu a PC with an emulated
processor. Neither needs hardware virtualisation. The Debian packages are user-mode-linux,
busybox-static, and for --vmm qemu: qemu-system-x86 and linux-image-cloud-amd64.`,
		Example: `  isthmus try /srv/src
  isthmus try /srv/src -- ls -l
  isthmus try --vmm qemu --cpus 2 --queues 2 /srv/src -- sh -c 'dd if=/dev/zero of=x bs=1M count=100'
  isthmus try type=overlay,source=/usr type=scratch,target=/tmp
  isthmus try --socket /run/vm1-src.sock --tag src    (a daemon that runs already)`,
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			command, err := f.positional(args, cmd.ArgsLenAtDash())
			if err != nil {
				return err
			}
			return try(cmd, &f, command)
		}),
	}
	fl := cmd.Flags()
	f.set = fl
	fl.StringVar(&f.vmm, "vmm", lab.UML.String(), "the guest: uml (User-Mode Linux) or qemu")
	fl.StringVar(&f.kernel, "kernel", "", "the kernel to boot: a linux.uml, or for qemu a vmlinuz (default: what is installed)")
	fl.IntVar(&f.memory, "memory", 0, "the guest's memory in MiB (default 256, for qemu 512)")
	fl.IntVar(&f.cpus, "cpus", 1, "the guest's processors, for qemu")
	fl.IntVar(&f.queues, "queues", 1, "request queues of the share, for qemu")
	fl.StringVar(&f.tag, "tag", "share", "the share's name in the guest")
	fl.StringVar(&f.socket, "socket", "", "use the daemon that listens on this UNIX socket; there is no DIR then")
	fl.StringVarP(&f.options, "options", "o", "", "mount options in the guest, such as ro")
	fl.StringArrayVar(&f.env, "env", nil, "NAME=VALUE for the command's environment; may be repeated")
	fl.StringVar(&f.console, "console", "", "write what the guest kernel prints to this file, or to standard error with -")
	fl.DurationVar(&f.timeout, "timeout", 0, "stop the guest after this time (default: never)")
	f.share.bind(fl)
	f.sandbox.bind(fl)
	f.log.bind(fl)
	fl.Lookup("log-level").DefValue = "warn"
	f.log.level = "warn"
	return cmd
}

// positional divides the arguments into what is shared and the command, which it
// returns; dash is how many stood before "--", or -1.
func (f *tryFlags) positional(args []string, dash int) (command []string, err error) {
	if dash >= 0 {
		args, command = args[:dash], args[dash:]
	}
	f.share.shares = args
	given := len(args) > 0 || f.share.config != ""
	switch {
	case f.socket != "" && given:
		return nil, usagef("--socket and something to share: the daemon behind the socket has that already")
	case f.socket == "" && !given:
		return nil, usagef("no directory to share: isthmus try DIR")
	}
	return command, nil
}

// try runs command in a guest, or a shell without one.
func try(cmd *cobra.Command, f *tryFlags, command []string) error {
	kind, err := lab.ParseKind(f.vmm)
	if err != nil {
		return usagef("--vmm: %v", err)
	}
	if err := virtiofs.CheckTag(f.tag); err != nil {
		return usagef("--tag: %v", err)
	}
	if f.timeout < 0 {
		return usagef("--timeout %v: a time cannot be negative", f.timeout)
	}
	log, _, err := f.log.logger()
	if err != nil {
		return err
	}
	if f.socket == "" {
		if err := f.check(log); err != nil {
			if s := f.share.shares; len(s) > 1 && cmd.ArgsLenAtDash() < 0 {
				err = fmt.Errorf("%w (a command comes after --, as in: isthmus try %s -- %s)", err, s[0], s[1])
			}
			return err
		}
	}
	// What is missing should be known before anything is started.
	if _, err := lab.Find(kind); err != nil && f.kernel == "" {
		return err
	}
	stderr := shared(cmd.ErrOrStderr())
	console, closeConsole, err := f.openConsole(stderr)
	if err != nil {
		return err
	}
	defer closeConsole()
	socket, stop, err := f.backEnd(cmd.Context(), kind, stderr)
	if err != nil {
		return err
	}
	defer stop()
	ctx := cmd.Context()
	if f.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, f.timeout, fmt.Errorf("--timeout %v is over", f.timeout))
		defer cancel()
	}
	cfg := lab.Config{
		Kind:          kind,
		Kernel:        f.kernel,
		MemoryMiB:     f.memory,
		CPUs:          f.cpus,
		RequestQueues: f.queues,
		Shares:        []lab.Share{{Tag: f.tag, Socket: socket, Dir: tryMount, Options: f.options}},
		Args:          command,
		Env:           f.env,
		Dir:           tryMount,
		Stdin:         cmd.InOrStdin(),
		Stdout:        cmd.OutOrStdout(),
		Stderr:        stderr,
		Console:       console,
	}
	if len(command) == 0 {
		cfg.Args = []string{"/bin/sh", "-l"}
		cfg.Env = append([]string{"PS1=guest:\\w# "}, cfg.Env...)
		leave, err := useTerminal(&cfg)
		if err != nil {
			return err
		}
		defer leave()
	}
	result, err := lab.Run(ctx, cfg)
	if err != nil {
		return err
	}
	if result.ExitCode != 0 {
		return &failure{err: fmt.Errorf("the command ended with status %d", result.ExitCode), code: result.ExitCode, quiet: true}
	}
	return nil
}

// check finds what is wrong with what is to be shared.
func (f *tryFlags) check(log *slog.Logger) error {
	list, _, err := f.share.read()
	if err != nil {
		return err
	}
	var spec shareSpec
	if spec.mounts, err = f.share.resolve(list, log); err != nil {
		return err
	}
	return spec.checkRoot()
}

// backEnd returns the socket of the daemon to use, which is one of our own
// unless there is one already.
func (f *tryFlags) backEnd(ctx context.Context, kind lab.Kind, stderr io.Writer) (socket string, stop func(), err error) {
	if f.socket != "" {
		socket, err = filepath.Abs(f.socket)
		return socket, func() {}, err
	}
	// What a configuration file says of a daemon's own files is not about this one.
	more := []string{"--log-level=" + f.log.level, "--control=", "--metrics=", "--audit="}
	for _, s := range f.share.shares {
		more = append(more, "--share="+s)
	}
	if kind == lab.UML { // QEMU tells the guest the tag itself
		more = append(more, "--tag="+f.tag)
	}
	return startServe(ctx, f.set, stderr, more...)
}

// shared makes a writer that the guest and the daemon may write to at the same
// time, which they may to a file.
func shared(w io.Writer) io.Writer {
	if file, ok := w.(*os.File); ok {
		return file
	}
	return &lockedWriter{w: w}
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// openConsole opens what takes the guest's console.
func (f *tryFlags) openConsole(stderr io.Writer) (io.Writer, func(), error) {
	switch f.console {
	case "":
		return io.Discard, func() {}, nil
	case "-":
		return stderr, func() {}, nil
	}
	file, err := os.Create(f.console)
	if err != nil {
		return nil, nil, fmt.Errorf("--console: %w", err)
	}
	return file, func() { file.Close() }, nil
}

// useTerminal gives the guest's command a terminal if standard input is one:
// that is put into raw mode until leave is called, and its size is passed on.
func useTerminal(cfg *lab.Config) (leave func(), err error) {
	fd := int(os.Stdin.Fd())
	saved, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return func() {}, nil // a script, or nothing
	}
	raw := *saved
	lab.RawTerminal(&raw)
	if err := unix.IoctlSetTermios(fd, unix.TCSETSW, &raw); err != nil {
		return nil, fmt.Errorf("raw mode of the terminal: %w", err)
	}
	cfg.Terminal = true
	cfg.Size = terminalSize(fd)
	cfg.Env = append([]string{"TERM=" + os.Getenv("TERM")}, cfg.Env...)
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, unix.SIGWINCH)
	sizes := make(chan lab.Size, 1)
	cfg.Resize = sizes
	go func() {
		defer close(sizes)
		for range changed {
			select {
			case <-sizes: // only the last one counts
			default:
			}
			sizes <- terminalSize(fd)
		}
	}()
	return func() {
		signal.Stop(changed)
		close(changed)
		unix.IoctlSetTermios(fd, unix.TCSETSW, saved)
	}, nil
}

// terminalSize returns the size of the terminal, zero if it is unknown.
func terminalSize(fd int) lab.Size {
	size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil {
		return lab.Size{}
	}
	return lab.Size{Rows: size.Row, Cols: size.Col}
}
