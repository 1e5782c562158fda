package cli

import (
	"errors"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/internal/runspec"
)

// runStdio are the streams of a machine. The guest reads in, and its console goes to out.
type runStdio struct {
	in  *os.File
	out io.Writer
	err io.Writer
}

// startMachine runs a machine to its end.
var startMachine = runMachine

// runHelp is what `isthmus run` and uhyve both say of themselves.
const runHelp = `The guest is an application linked with the Hermit kernel: an ELF file, or a Hermit image (tar.gz with
hermit.toml). It sees the files that --file-mapping and --share give it, and nothing else of this host. What it creates
elsewhere is private to the run and gone at its end. It takes KVM: 'isthmus doctor' tells whether this host has it.

What is not said on the command line is taken from the environment (HERMIT_MEMORY_SIZE, HERMIT_CPU_COUNT,
HERMIT_GDB_PORT, HERMIT_CONFIG), then from the configuration file: ./uhyve.toml, or uhyve/uhyve.toml in
$XDG_CONFIG_HOME or ~/.config. The command line can take back what these say, as in --thp=false and --net none.

The exit status is the low eight bits of the guest's; 1 if it could not be run or ended without one, and 2 for a
mistake on the command line, in these variables or in the file.`

// newRun makes `isthmus run`.
func newRun() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [flags] IMAGE [KERNEL ARGS] [-- APP ARGS]",
		Short: "Run a Hermit unikernel, with files of this host",
		Long: `run starts a Hermit guest in a virtual machine of its own and ends with it.

` + runHelp + `

What follows a single -- is for the application, what precedes it for the kernel. With two, as in
'run IMAGE -- -freq 3000 -- a b', the first only ends the flags, so that kernel arguments can begin with a dash.
Without any, an image's own arguments are used.`,
		Example: `  isthmus run hello_world
  isthmus run -m 1GiB -c 4 --file-mapping data:/root/data:ro app -- /root/data/input
  isthmus run --share type=archive,source=site.tar.zst,target=/www --net tap:tap10 webserver.tar.gz
  isthmus run --stats=json -o console.log --file-isolation strict app
  isthmus run --gdb-port app     (and in gdb: target remote :6677)`,
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			return f.run(cmd, runspec.SplitRun(args, cmd.ArgsLenAtDash()))
		}),
	}
	f.bind(cmd)
	return cmd
}

// newUhyve makes the program that stands in for uhyve.
func newUhyve() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "uhyve [flags] KERNEL [KERNEL ARGS]",
		Short: "Run a Hermit unikernel as uhyve does, option for option",
		Long: `uhyve stands in for the program of that name. It is isthmus under another name: see 'isthmus run --help'.

` + runHelp + `

The first -- only ends the flags. Arguments of the application follow a second one, or the first one if it stands
behind another: 'uhyve app -- -freq 3000 -- a b', 'uhyve app -- -- a b'.`,
		Example: `  uhyve hello_world
  uhyve -m 1GiB -c 4 --file-mapping data:/root/data app -- -- /root/data/input`,
		Version:           version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			return f.run(cmd, runspec.SplitUhyve(args))
		}),
	}
	f.bind(cmd)
	cmd.Flags().BoolP("version", "V", false, "version for uhyve")
	cmd.SetVersionTemplate("uhyve (isthmus {{.Version}})\n")
	return cmd
}

// run runs what the flags and the arguments say.
func (f *runFlags) run(cmd *cobra.Command, args runspec.Arguments) error {
	log, _, err := f.log.logger()
	if err != nil {
		return err
	}
	in := runspec.Input{Flags: f.said, Arguments: args, LookupEnv: os.LookupEnv, AllowedCPUs: allowedCPUs}
	m, warnings, err := in.Resolve()
	if err != nil {
		return &usageError{err}
	}
	for _, w := range warnings {
		log.Warn(w)
	}
	status, err := startMachine(cmd.Context(), m, log, runStdio{os.Stdin, cmd.OutOrStdout(), cmd.ErrOrStderr()})
	return ended(status, err)
}

// ended is how the program ends with its guest: with the guest's status, of which a process
// has the low eight bits, and never with success if there is an error.
func ended(status int, err error) error {
	status &= 0xff
	switch {
	case err == nil && status == 0:
		return nil
	case err == nil:
		return &failure{err: errors.New("the guest failed"), code: status, quiet: true}
	case status == 0:
		status = exitFailure
	}
	var f *failure
	if errors.As(err, &f) {
		return err
	}
	return &failure{err: err, code: status}
}

// allowedCPUs are the CPUs that this process may run on.
func allowedCPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, err
	}
	cpus := make([]int, 0, set.Count())
	for cpu := 0; len(cpus) < cap(cpus); cpu++ {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return slices.Clip(cpus), nil
}
